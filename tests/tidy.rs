//! House rules that a compiler does not hold: which module may import which, determinism where it
//! is promised, sizes that fit a screen and a mind, and documents that point at files that exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

const FUNCTION_MAX_LINES: usize = 70;
const FILE_MAX_CODE_LINES: usize = 500;
const LINE_MAX_COLUMNS: usize = 100;

/// Which of our own modules each one may import: arrows point down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("src/raft", &[]),
    ("src/kv", &["raft"]),
    ("src/codec", &["raft", "kv", "proto"]),
    ("src/storage", &["raft", "codec", "kv"]),
    ("src/replica", &["raft", "kv", "codec", "storage"]),
    ("src/h2", &[]),
    ("src/grpc", &["h2"]),
    ("src/client", &["h2", "grpc", "proto"]),
    (
        "src/node",
        &["raft", "kv", "codec", "storage", "replica", "proto"],
    ),
    ("src/offline", &["raft", "kv", "codec", "storage", "node"]),
    (
        "src/gateway",
        &["raft", "kv", "replica", "node", "h2", "grpc", "proto"],
    ),
];

/// What would make two runs of one seed differ.
const CHANCE: &[&str] = &[
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "thread::",
    "std::net",
    "getrandom",
];

const DETERMINISTIC: &[&str] = &["src/raft", "src/kv", "src/replica", "src/storage"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` with this extension, with its path from the root.
fn files(dir: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("readable directory");
            open.extend(entries.map(|entry| entry.expect("readable entry").path()));
        } else if path.extension().is_some_and(|e| e == extension) {
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            let name = path.strip_prefix(root()).expect("below the root");
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
    found.retain(|(name, _)| {
        !name
            .split('/')
            .any(|part| part == "target" || part == "data")
    });
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    ["src", "wal", "tests", "chaos", "bench"]
        .iter()
        .flat_map(|dir| files(dir, "rs"))
        .collect()
}

/// The part of a source file before its unit tests.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ")
        .next()
        .expect("split yields one")
}

fn code_of(line: &str) -> &str {
    line.split("//").next().expect("split yields one")
}

fn report(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

#[test]
fn imports_point_down_only() {
    let mut faults = Vec::new();
    for (module, allowed) in ARROWS {
        for (name, text) in sources()
            .iter()
            .filter(|(name, _)| name.starts_with(module))
        {
            for import in imports(shipped(text)) {
                let own = module.trim_start_matches("src/").trim_end_matches(".rs");
                if import != own && !allowed.contains(&import.as_str()) {
                    faults.push(format!("{name} imports {import}"));
                }
            }
        }
    }
    report("a lower module imports a higher one", &faults);
}

/// The modules of this crate that a source names: `crate::x`, or `use crate::{x, y::z}`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().map(code_of).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(rest.to_owned());
        }
    }
    let head = |path: &String| -> String {
        path.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    found
        .iter()
        .map(head)
        .filter(|name| !name.is_empty() && name != "self")
        .collect()
}

#[test]
fn nothing_below_the_replica_can_tell_one_run_from_another() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        if DETERMINISTIC.iter().any(|dir| name.starts_with(dir)) {
            for (number, line) in shipped(&text).lines().enumerate() {
                for word in CHANCE.iter().filter(|word| code_of(line).contains(**word)) {
                    faults.push(format!("{name}:{} uses {word}", number + 1));
                }
            }
        }
    }
    report("not deterministic", &faults);
}

#[test]
fn functions_fit_a_screen() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(indent) = function_indent(line) else {
                continue;
            };
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|l| *l == close).unwrap_or(0) + 1;
            if length > FUNCTION_MAX_LINES {
                faults.push(format!("{name}:{} is {length} lines", start + 1));
            }
        }
    }
    report(
        &format!("a function exceeds {FUNCTION_MAX_LINES} lines"),
        &faults,
    );
}

/// The indent of a line that begins a function with a body of its own lines.
fn function_indent(line: &str) -> Option<usize> {
    let code = line.trim_start();
    let mut bare = code;
    for word in [
        "pub ",
        "pub(super) ",
        "pub(crate) ",
        "const ",
        "unsafe ",
        "extern \"C\" ",
    ] {
        bare = bare.trim_start_matches(word);
    }
    let one_line = code.ends_with('}') || code.ends_with(';');
    (bare.starts_with("fn ") && !one_line).then(|| line.len() - code.len())
}

#[test]
fn files_fit_a_mind() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        let code = shipped(&text).lines().map(str::trim);
        let count = code
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
        if count > FILE_MAX_CODE_LINES {
            faults.push(format!("{name} has {count} lines of code"));
        }
    }
    report(
        &format!("a file exceeds {FILE_MAX_CODE_LINES} lines of code"),
        &faults,
    );
}

#[test]
fn lines_fit_a_page() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_MAX_COLUMNS && !line.contains("://") {
                faults.push(format!("{name}:{}", number + 1));
            }
        }
    }
    report(
        &format!("a line exceeds {LINE_MAX_COLUMNS} columns"),
        &faults,
    );
}

#[test]
fn source_holds_no_plans() {
    let words = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "XX".to_owned() + "X",
    ];
    let mut faults = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                faults.push(format!("{name}:{}", number + 1));
            }
        }
    }
    report("a plan belongs into an issue", &faults);
}

#[test]
fn documents_point_at_files_that_exist() {
    let mut faults = Vec::new();
    let mut documents = files("docs", "md");
    for name in ["README.md", "CHANGELOG.md", "SECURITY.md"] {
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            documents.push((name.to_owned(), text));
        }
    }
    for (name, text) in &documents {
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().expect("split yields one");
            let outside = target.is_empty() || target.contains("://");
            let from = PathBuf::from(name);
            let here = root().join(from.parent().expect("a file has a parent"));
            if !outside && !here.join(target).exists() {
                faults.push(format!("{name} links to {target}"));
            }
        }
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split("::").next().expect("split yields one");
            let ours = [
                "src/", "wal/", "tests/", "chaos/", "bench/", "docs/", "proto/",
            ];
            let plain = path
                .chars()
                .all(|c| c.is_alphanumeric() || "/._-".contains(c));
            if plain && ours.iter().any(|dir| path.starts_with(dir)) && !root().join(path).exists()
            {
                faults.push(format!("{name} names {path}"));
            }
        }
    }
    report("a document points at nothing", &faults);
}
