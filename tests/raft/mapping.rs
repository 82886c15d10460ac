//! `docs/raft-spec-mapping.md` names only what exists, and names every script; `docs/membership.md`
//! every one about members.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::scripts;

struct Row {
    rule: String,
    code: Vec<String>,
    shown_by: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn rows() -> Vec<Row> {
    let path = root().join("docs/raft-spec-mapping.md");
    let text = fs::read_to_string(path).expect("the mapping is there");
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [rule, code, shown_by] = cells.as_slice() else {
                panic!("a row has three cells: {line}")
            };
            Row {
                rule: (*rule).to_owned(),
                code: quoted(code),
                shown_by: quoted(shown_by),
            }
        });
    rows.filter(|row| !["Rule", "Property"].contains(&row.rule.as_str()))
        .collect()
}

/// Whether the source below the root declares the name, as anything.
fn declares(path: &str, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(root().join(path)) else {
        return false;
    };
    text.lines().any(|line| {
        let line = line.trim_start();
        let is = |rest: &str| {
            let rest = rest.strip_prefix(name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        let kinds = ["fn ", "struct ", "enum ", "const "];
        // A variant of an enum stands alone on its line.
        is(line) && line.ends_with(['{', ','])
            || kinds
                .iter()
                .any(|kind| line.split_once(kind).is_some_and(|(_, rest)| is(rest)))
    })
}

#[test]
fn every_row_names_code_and_tests_that_exist() {
    let rows = rows();
    assert!(
        rows.len() > 30,
        "Figure 2 has more than {} rules",
        rows.len()
    );
    for Row {
        rule,
        code,
        shown_by,
    } in &rows
    {
        assert!(!code.is_empty(), "no code for: {rule}");
        for symbol in code {
            let (file, name) = symbol.split_once("::").expect("code is file::symbol");
            assert!(
                declares(&format!("src/raft/{file}"), name),
                "{rule}: no {symbol}"
            );
        }
        assert!(!shown_by.is_empty(), "nothing shows: {rule}");
        for test in shown_by {
            let there = match test.split_once("::") {
                Some((file, name)) => declares(&format!("tests/raft/{file}.rs"), name),
                None => root().join(format!("tests/scripts/{test}.txt")).is_file(),
            };
            assert!(there, "{rule}: no {test}");
        }
    }
}

#[test]
fn every_script_stands_in_a_row() {
    let named: BTreeSet<String> = rows().into_iter().flat_map(|row| row.shown_by).collect();
    for name in scripts::names() {
        let name = name.trim_end_matches(".txt");
        assert!(named.contains(name), "no row is shown by {name}");
    }
}

#[test]
fn every_script_about_members_shows_a_rule_of_membership_md() {
    let path = root().join("docs/membership.md");
    let text = fs::read_to_string(path).expect("the page is there");
    let named = quoted(&text).into_iter();
    let named: BTreeSet<String> = named
        .filter(|name| name.starts_with("membership/"))
        .collect();
    let scripts = scripts::names().into_iter();
    let scripts = scripts.filter(|name| name.starts_with("membership/"));
    let scripts: BTreeSet<String> = scripts
        .map(|name| name.trim_end_matches(".txt").to_owned())
        .collect();
    assert_eq!(named, scripts);
}
