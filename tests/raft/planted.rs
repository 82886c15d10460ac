//! Whether this suite finds the bugs that it exists to find. Each is planted in turn, and the
//! random schedules run until a property breaks: it must be one that the bug breaks, or the find
//! was luck. What schedules without clients and clocks cannot show, a golden script must.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use raftkv_planted::{BUGS, Bug, find, plant};

use crate::{properties, scripts};

/// Schedules until a bug counts as not found.
const CASES_MAX: u32 = 50_000;

/// Bugs of other layers: replica, state machine and WAL have tests of their own for these.
const ELSEWHERE: &[&str] = &[
    "M29", "M31a", "M32", "M33", "M34a", "M34b", "M35", "M35b", "M35c", "M36a", "M36b", "M37",
    "M38", "M46", "M47", "M49", "M50", "M51", "M52",
];

/// Bugs of which a script tells: they cost time or stability, and no schedule here is timed.
const SCRIPTED: &[&str] = &["M42a", "M42b", "M43a", "M43b"];

/// Bugs about members: schedules find them, and scripts show the rule.
const ABOUT_MEMBERS: &[&str] = &[
    "M12", "M13a", "M13b", "M13c", "M14a", "M14b", "M15a", "M15b", "M16", "M17a", "M17b", "M28b",
    "M31b",
];

/// The property that a failure is about, by the words of who asserts it.
fn property(failure: &str) -> &'static str {
    let told = [
        ("Election Safety", "election_safety"),
        ("Leader Append-Only", "leader_append_only"),
        ("Log Matching", "log_matching"),
        ("one vote", "one_vote"),
        ("Leader Completeness", "leader_completeness"),
        ("State Machine Safety", "state_machine_safety"),
        ("but no leader did", "state_machine_safety"),
        ("configuration: ", "configuration"),
        ("one change: ", "configuration"),
        ("own term: ", "configuration"),
        ("follow from the one before", "configuration"),
        ("a configuration at", "configuration"),
        ("two changes at once", "configuration"),
        ("§5.4.2", "committed_on_quorum"),
        ("committed on a majority", "committed_on_quorum"),
        ("matchIndex", "committed_on_quorum"),
        ("not durable", "persist_before_reply"),
        ("stale read", "read_rule"),
        ("read rule", "read_rule"),
        ("falls from", "monotone"),
        (">= next", "monotone"),
        ("> commit", "monotone"),
        ("a second vote", "one_vote"),
        ("is applied everywhere", "liveness"),
    ];
    let first_line = failure.lines().next().unwrap_or_default();
    let found = told.iter().find(|(words, _)| first_line.contains(words));
    found.map_or("assertion", |(_, property)| property)
}

/// Runs schedules with the bug until one fails; gives how many it took, and the failure.
fn hunt(bug: &'static Bug) -> Option<(u32, String)> {
    let mut runner = TestRunner::deterministic();
    plant(Some(bug));
    let failure = (1..=CASES_MAX).find_map(|case| {
        let nodes = if case % 2 == 0 { 3..4u64 } else { 1..6 };
        let strategy = (properties::setup(nodes), properties::schedule(), 0..1024u64);
        let tree = strategy.new_tree(&mut runner).expect("nothing is filtered");
        let (setup, events, lost) = tree.current();
        // Setting up elects a leader, which may already be too much.
        let ended = crate::caught(|| properties::safe_then_live(setup, &events, lost));
        let failure = match ended {
            Ok(lived) => lived.err()?.to_string(),
            Err(panic) => panic,
        };
        Some((case, failure))
    });
    plant(None);
    failure
}

/// The scripts that tell another story with the bug.
fn told_by(bug: &'static Bug) -> Vec<String> {
    plant(Some(bug));
    let told = scripts::failing();
    plant(None);
    told
}

#[test]
fn schedules_find_every_bug_of_the_consensus_rules_by_what_it_breaks() {
    let mut faults = Vec::new();
    for bug in BUGS {
        if ELSEWHERE.contains(&bug.id) || SCRIPTED.contains(&bug.id) {
            continue;
        }
        match hunt(bug) {
            None => faults.push(format!("{} {}: not found", bug.id, bug.name)),
            Some((case, failure)) => {
                let (id, name, broken) = (bug.id, bug.name, property(&failure));
                let what = failure.lines().next().unwrap_or_default();
                println!("{id:5} {name:40} {case:6} {broken}: {what}");
                if !bug.must_fire.contains(&broken) {
                    faults.push(format!("{id} {name}: by {broken}: {failure}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn scripts_find_what_schedules_cannot_and_every_bug_about_members() {
    for id in SCRIPTED.iter().chain(ABOUT_MEMBERS) {
        let bug = find(id).expect("a bug of the catalogue");
        let told = told_by(bug);
        println!("{id:5} {:40} {told:?}", bug.name);
        assert!(!told.is_empty(), "{id} {}: no script differs", bug.name);
    }
}
