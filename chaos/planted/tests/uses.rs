//! The catalogue and the code name the same bugs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use raftkv_planted::{BUGS, PROPERTIES, find, is_planted, plant};

/// All names that the shipped sources ask for.
fn asked_for() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut open: Vec<PathBuf> = vec![root.join("src"), root.join("wal/src")];
    let mut found = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a readable directory");
            open.extend(entries.map(|entry| entry.expect("a readable entry").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            let uses = text.split("planted!(\"").skip(1);
            found.extend(uses.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    found
}

#[test]
fn every_bug_is_planted_somewhere_and_nothing_else_is() {
    let listed: BTreeSet<String> = BUGS.iter().map(|bug| bug.name.to_owned()).collect();
    let asked = asked_for();
    let absent: Vec<_> = listed.difference(&asked).collect();
    let unknown: Vec<_> = asked.difference(&listed).collect();
    assert!(absent.is_empty(), "listed, and in no source: {absent:?}");
    assert!(unknown.is_empty(), "in a source, not listed: {unknown:?}");
}

#[test]
fn every_bug_has_a_number_and_a_name_of_its_own_and_a_property_that_it_breaks() {
    let mut seen = BTreeSet::new();
    for bug in BUGS {
        assert!(seen.insert(bug.id), "{} is there twice", bug.id);
        assert!(seen.insert(bug.name), "{} is there twice", bug.name);
        assert!(bug.what.ends_with('.'), "{}: one sentence", bug.id);
        assert!(!bug.must_fire.is_empty(), "{} breaks nothing", bug.id);
        for property in bug.must_fire {
            assert!(PROPERTIES.contains(property), "{}: {property}", bug.id);
        }
        assert_eq!(find(bug.id), Some(bug));
        assert_eq!(find(bug.name), Some(bug));
    }
}

#[test]
fn a_bug_is_planted_in_its_thread_until_it_is_mended() {
    let bug = find("M1").expect("the first");
    assert!(!is_planted(bug.name));
    plant(Some(bug));
    assert!(is_planted(bug.name));
    assert!(!is_planted("vote_not_persisted"));
    let elsewhere = std::thread::spawn(|| is_planted(bug.name));
    assert!(!elsewhere.join().expect("no panic"));
    plant(None);
    assert!(!is_planted(bug.name));
}
