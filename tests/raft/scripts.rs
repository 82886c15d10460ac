//! The golden scripts of `tests/scripts`: a rule each, named by the file, shown by what the nodes
//! say. `make golden` rewrites their output.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cluster::{Cluster, Setup},
    command::Command,
    parse,
};

const SCRIPT_MAX_LINES: usize = 100;

/// Set by `make golden`.
const UPDATE: &str = "UPDATE_GOLDENFILES";

/// A script's parsed line, as the script crate wants it.
struct Line(Command);

impl TryFrom<&goldenscript::Command> for Line {
    type Error = Box<dyn Error>;

    fn try_from(line: &goldenscript::Command) -> Result<Line, Box<dyn Error>> {
        Ok(Line(parse::command(line)?))
    }
}

struct Runner {
    cluster: Cluster,
}

impl goldenscript::Runner for Runner {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        self.cluster.trace = Some(Vec::new());
        self.cluster.execute(&line.0)?;
        Ok(self.cluster.trace.take().unwrap_or_default().join("\n"))
    }
}

struct Script {
    name: String,
    path: PathBuf,
    text: String,
}

fn scripts() -> Vec<Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a readable directory");
            open.extend(entries.map(|entry| entry.expect("a readable entry").path()));
        } else {
            let text = fs::read_to_string(&path).expect("a script is UTF-8");
            let name = path
                .strip_prefix(&root)
                .expect("below the root")
                .display()
                .to_string();
            found.push(Script { name, path, text });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Script {
    /// The notes that it promises to show, from its `# covers:` line.
    fn covers(&self) -> BTreeSet<String> {
        let lines = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# covers: "));
        lines
            .flat_map(|list| list.split(", "))
            .map(str::to_owned)
            .collect()
    }

    /// Runs it. Returns its text with what happened, and the notes that were made.
    fn run(&self) -> Result<(String, BTreeSet<String>), String> {
        let cluster = Cluster::new(Setup::default());
        let mut runner = Runner { cluster };
        let output = crate::caught(|| goldenscript::generate(&mut runner, &self.text))?;
        Ok((
            output.map_err(|error| error.to_string())?,
            runner.cluster.fired,
        ))
    }

    fn check(&self) -> Result<(), String> {
        let (output, fired) = self.run()?;
        if let Some(note) = self.covers().difference(&fired).next() {
            return Err(format!("promises the note {note}, which was not made"));
        }
        if std::env::var_os(UPDATE).is_some() {
            return fs::write(&self.path, output).map_err(|error| error.to_string());
        }
        let lines = self.text.lines().zip(output.lines()).enumerate();
        let parted = lines.clone().find(|(_, (want, got))| want != got);
        match parted {
            _ if self.text == output => Ok(()),
            Some((number, (want, got))) => {
                let number = number + 1;
                Err(format!(
                    "line {number}:\n    recorded {want}\n    now      {got}\n{output}"
                ))
            }
            None => Err(format!("ends differently:\n{output}")),
        }
    }
}

#[test]
fn every_script_still_tells_what_it_recorded() {
    let scripts = scripts();
    assert!(!scripts.is_empty(), "no scripts in tests/scripts");
    let faults: Vec<String> = scripts
        .iter()
        .filter_map(|script| {
            script
                .check()
                .err()
                .map(|fault| format!("{}: {fault}", script.name))
        })
        .collect();
    let count = faults.len();
    assert!(
        faults.is_empty(),
        "{count} scripts differ; if rightly so, run `make golden`\n{}",
        faults.join("\n\n")
    );
}

#[test]
fn every_script_opens_with_its_claim_and_its_source() {
    for script in scripts() {
        let name = &script.name;
        let lines: Vec<&str> = script.text.lines().collect();
        let head: Vec<&str> = lines
            .iter()
            .copied()
            .take_while(|l| l.starts_with("# "))
            .collect();
        assert!(
            head.len() >= 3,
            "{name}: claim, source and covers come first"
        );
        let cites = head[1].contains('§') || head[1].contains("th. ");
        assert!(
            cites,
            "{name}: the second line cites the paper (§) or the thesis (th.)"
        );
        assert!(
            !script.covers().is_empty(),
            "{name}: `# covers:` names no note"
        );
        assert!(
            lines.len() <= SCRIPT_MAX_LINES,
            "{name} has {} lines",
            lines.len()
        );
    }
}

/// The names of all notes.
pub fn notes() -> BTreeSet<String> {
    let source = include_str!("../../src/raft/note.rs");
    let (_, body) = source
        .split_once("pub enum Note {")
        .expect("the enum of notes");
    let (body, _) = body.split_once("\n}").expect("its end");
    body.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(char::is_uppercase))
        .map(|line| line.trim_end_matches([' ', '{', ',']).to_owned())
        .collect()
}

#[test]
fn every_note_is_shown_by_a_script() {
    let notes = notes();
    let shown: BTreeSet<String> = scripts().iter().flat_map(Script::covers).collect();
    let missing: Vec<&String> = notes.difference(&shown).collect();
    assert!(missing.is_empty(), "no script covers {missing:?}");
    let unknown: Vec<&String> = shown.difference(&notes).collect();
    assert!(
        unknown.is_empty(),
        "scripts cover notes that do not exist: {unknown:?}"
    );
}

/// The scripts that no longer tell what they recorded.
#[cfg(feature = "planted-bugs")]
pub fn failing() -> Vec<String> {
    let mut scripts = scripts();
    scripts.retain(|script| script.check().is_err());
    scripts.into_iter().map(|script| script.name).collect()
}

/// The scripts' paths below `tests/scripts`.
pub fn names() -> Vec<String> {
    scripts().into_iter().map(|script| script.name).collect()
}
