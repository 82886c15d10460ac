//! Plants every known bug in turn, and runs seeds until a checker finds it. One that survives is a
//! hole in the suite.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use clap::Args;
use raftkv_chaos::{run_seed, shrink};
use raftkv_planted::{BUGS, Bug, plant};

/// The first seeds of the starts, far enough apart.
const STARTS: [u64; 5] = [1, 1_000_001, 2_000_001, 3_000_001, 4_000_001];

/// Bugs that scenarios may miss: why, and which test finds each.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "M32",
        "Old bytes behind the end return only if what is written before them is, byte for byte, \
         what they were chained to. `wal/tests/crash.rs` and `wal/tests/damage.rs` write just \
         that.",
    ),
    (
        "M34a",
        "The second lock on the same door: a checksum covers the offset too, and recovery leaves \
         zeros behind the end. Scenarios have disks that lose those zeros, but what such a disk \
         shows again would have to begin just where something newer ends. `wal/tests/damage.rs` \
         arranges that.",
    ),
    (
        "M42b",
        "It costs time alone: a voter that campaigns too soon asks for pre-votes, and is refused \
         by whoever has heard the new leader. No limit in election timeouts is missed. A golden \
         script shows the timer (`tests/scripts/election`).",
    ),
    (
        "M44",
        "It needs a node with the newer log two terms behind the only other one that is left. \
         Schedules of single steps come to it (`tests/raft/planted.rs`).",
    ),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Only these bugs, by number or name.
    bugs: Vec<String>,
    /// Give up after so many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Shrink what the first so many starts find.
    #[arg(long, value_name = "STARTS", default_value_t = 0)]
    shrink: usize,
    /// Where the table goes; without it nothing is written.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What became of one bug.
struct Hunt {
    bug: &'static Bug,
    /// Seeds needed from each start; none where it survived.
    seeds: Vec<Option<u64>>,
    /// Which properties were found broken, and how often.
    fired: BTreeMap<&'static str, u64>,
    /// Something that was found, as it was told.
    what: String,
    /// What was left of what the first starts found.
    shrunk: Vec<String>,
}

impl Hunt {
    fn is_killed(&self) -> bool {
        self.seeds.iter().all(Option::is_some)
    }

    fn is_right(&self) -> bool {
        self.fired
            .keys()
            .all(|fired| self.bug.must_fire.contains(fired))
    }

    /// The reason why scenarios may miss it.
    fn elsewhere(&self) -> Option<&'static str> {
        let known = ELSEWHERE.iter().find(|(id, _)| *id == self.bug.id);
        known.map(|(_, why)| *why)
    }

    /// Whether the suite may be content.
    fn is_good(&self) -> bool {
        self.is_right() && (self.is_killed() || self.elsewhere().is_some())
    }

    fn median(&self) -> Option<u64> {
        let mut seeds: Vec<u64> = self.seeds.iter().copied().collect::<Option<_>>()?;
        seeds.sort_unstable();
        seeds.get(seeds.len() / 2).copied()
    }
}

fn hunt(bug: &'static Bug, options: &Options) -> Hunt {
    let limit = options.seeds;
    plant(Some(bug));
    let mut hunt = Hunt {
        bug,
        seeds: Vec::new(),
        fired: BTreeMap::new(),
        what: String::new(),
        shrunk: Vec::new(),
    };
    for start in STARTS {
        let found = (start..start + limit).find_map(|seed| {
            let failure = run_seed(seed, false).failure?;
            Some((seed - start + 1, failure))
        });
        let Some((seeds, failure)) = found else {
            hunt.seeds.push(None);
            break;
        };
        hunt.seeds.push(Some(seeds));
        *hunt.fired.entry(failure.property.name()).or_default() += 1;
        hunt.what = failure.what;
        if hunt.shrunk.len() < options.shrink {
            let shrunk = shrink(start + seeds - 1).expect("it fails");
            plant(None);
            let sound = !shrunk.fails();
            plant(Some(bug));
            hunt.shrunk.push(format!(
                "{} of {} events left in {} lines by {} runs{}",
                shrunk.lines.len(),
                shrunk.events_before,
                shrunk.told().len(),
                shrunk.tried,
                if sound { "" } else { ", NOT BY THE BUG" }
            ));
        }
    }
    plant(None);
    hunt
}

/// Hunts all that are asked for, prints what became of each, and writes the table.
pub(crate) fn run(options: &Options) -> ExitCode {
    let is_asked = |bug: &&Bug| {
        let names = options.bugs.iter();
        options.bugs.is_empty() || names.clone().any(|name| name == bug.id || name == bug.name)
    };
    let bugs: Vec<&'static Bug> = BUGS.iter().filter(is_asked).collect();
    let next = AtomicUsize::new(0);
    let hunts: Mutex<BTreeMap<usize, Hunt>> = Mutex::default();
    let work = || {
        while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hunt = hunt(bug, options);
            say!("{}", line(&hunt));
            let number = BUGS
                .iter()
                .position(|other| other.id == bug.id)
                .expect("it is one");
            hunts.lock().expect("no hunt panics").insert(number, hunt);
        }
    };
    thread::scope(|scope| {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        (0..jobs).for_each(|_| drop(scope.spawn(work)));
    });
    let hunts = hunts.into_inner().expect("no hunt panics");
    if let Some(out) = &options.out
        && let Err(error) = fs::write(out, table(hunts.values()))
    {
        eprintln!("raftkv-chaos: cannot write {}: {error}", out.display());
        return ExitCode::FAILURE;
    }
    let count = |is: fn(&Hunt) -> bool| hunts.values().filter(|hunt| is(hunt)).count();
    say!(
        "{} of {} killed, {} of them by a wrong checker",
        count(Hunt::is_killed),
        hunts.len(),
        count(|hunt| !hunt.is_right())
    );
    match hunts.values().all(Hunt::is_good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn fired(hunt: &Hunt) -> String {
    let fired = hunt
        .fired
        .iter()
        .map(|(name, count)| match hunt.fired.len() {
            1 => (*name).to_owned(),
            _ => format!("{name} ×{count}"),
        });
    fired.collect::<Vec<_>>().join(", ")
}

fn line(hunt: &Hunt) -> String {
    let Hunt { bug, what, .. } = hunt;
    let verdict = match hunt.median() {
        None => "SURVIVES".to_owned(),
        Some(seeds) if hunt.is_right() => format!("killed in {seeds}"),
        Some(seeds) => format!("WRONG CHECKER in {seeds}"),
    };
    let shrunk = hunt.shrunk.iter();
    let shrunk: String = shrunk.map(|shrunk| format!("; {shrunk}")).collect();
    format!(
        "{:5} {:40} {verdict}: {} ({what}){shrunk}",
        bug.id,
        bug.name,
        fired(hunt)
    )
}

fn table<'a>(hunts: impl Iterator<Item = &'a Hunt> + Clone) -> String {
    let mut text = include_str!("mutants.md").to_owned();
    for hunt in hunts.clone() {
        let Bug {
            id,
            what,
            precedent,
            ..
        } = hunt.bug;
        let seeds = match hunt.median() {
            Some(seeds) => seeds.to_string(),
            None if hunt.elsewhere().is_some() => "see below".to_owned(),
            None => "**survives**".to_owned(),
        };
        let fired = fired(hunt);
        let _ = writeln!(text, "| {id} | {what} | {precedent} | {fired} | {seeds} |");
    }
    for hunt in hunts.filter(|hunt| !hunt.is_killed()) {
        let why = hunt.elsewhere().unwrap_or("A hole in the suite.");
        let _ = write!(text, "\n**{}.** {why}\n", hunt.bug.id);
    }
    text
}
