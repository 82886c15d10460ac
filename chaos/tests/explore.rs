//! Small bounds of the search that `make explore` does at length.

use raftkv_chaos::explore::{BOUNDS, Bound, Outcome, Verdict, run};

fn bound(name: &str) -> Bound {
    *BOUNDS
        .iter()
        .find(|bound| bound.name == name)
        .expect("a bound of this name")
}

fn exhaust(bound: &Bound, threads: usize) -> Outcome {
    let outcome = run(bound, threads);
    match &outcome.verdict {
        Verdict::Exhausted => outcome,
        Verdict::Cut => panic!("{}: cut at {} states", bound.name, outcome.states),
        Verdict::Violated { rule, trace } => {
            panic!("{}: {rule}\n  {}", bound.name, trace.join("\n  "))
        }
    }
}

fn happened(outcome: &Outcome, names: &[&str]) {
    for name in names {
        assert!(outcome.marks.has(name), "nothing of it: {name}");
    }
}

#[test]
fn every_behaviour_of_two_rivals_keeps_the_rules() {
    let outcome = exhaust(&bound("rivals"), 2);
    happened(
        &outcome,
        &[
            "Elected",
            "VoteDenied/VotedFor",
            "VoteDenied/LogBehind",
            "SteppedDown/HigherTerm",
            "StaleLeader",
            "GoBack",
            "Truncated",
            "Committed",
            "CommittedLater",
            "Applied",
        ],
    );
}

#[test]
fn every_behaviour_of_one_election_with_a_crash_keeps_the_rules() {
    let outcome = exhaust(&bound("one-election"), 2);
    let names = ["Elected", "Applied", "CrashLostWrite", "CrashKeptPart"];
    happened(&outcome, &names);
}

#[test]
fn every_read_while_its_leader_is_deposed_shows_what_is_committed() {
    let outcome = exhaust(&bound("reads"), 2);
    let names = ["ReadsAwaitOwnTerm", "ReadServed", "SteppedDown/NoQuorum"];
    happened(&outcome, &names);
}

#[test]
fn every_hand_over_beside_an_election_keeps_the_rules() {
    let outcome = exhaust(&bound("transfer"), 2);
    happened(&outcome, &["TransferBegun", "VoteDenied/LeaderAlive"]);
}

#[test]
fn every_snapshot_beside_two_commands_keeps_the_rules() {
    let outcome = exhaust(&bound("snapshot"), 2);
    happened(
        &outcome,
        &[
            "SnapshotTaken",
            "Compacted",
            "SnapshotOffered",
            "SnapshotWanted",
            "SnapshotNotNeeded",
            "SnapshotInstalled",
        ],
    );
}

#[test]
fn every_change_of_two_members_and_one_that_waits_keeps_the_rules() {
    let outcome = exhaust(&bound("change-of-two"), 2);
    let names = ["CaughtUp", "ConfigCommitted", "ChangeDone", "TransferBegun"];
    happened(&outcome, &names);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let count = |threads| {
        let outcome = exhaust(&bound("rivals"), threads);
        (
            outcome.states,
            outcome.transitions,
            outcome.depth,
            outcome.marks,
        )
    };
    assert_eq!(count(1), count(2));
}

#[test]
fn a_limit_of_states_cuts_the_search() {
    let small = Bound {
        max_states: 100,
        ..bound("rivals")
    };
    assert!(matches!(run(&small, 1).verdict, Verdict::Cut));
}

/// Rules broken one at a time: the search finds each, within the bound named.
#[cfg(feature = "planted-bugs")]
#[test]
fn broken_rules_are_found() {
    const FOUND: &[(&str, &str)] = &[
        ("M1", "crash"),
        ("M2", "rivals"),
        ("M3a", "rivals"),
        ("M3b", "heartbeat"),
        ("M4", "rivals"),
        ("M5", "rivals"),
        ("M6", "one-election"),
        ("M7a", "rivals"),
        ("M7b", "three-commanded"),
        ("M8", "rivals"),
        ("M9", "rivals"),
        ("M10a", "one-election"),
        ("M10b", "rivals"),
        ("M18", "two-commands"),
        ("M20", "heartbeat"),
        ("M21", "heartbeat"),
        ("M22a", "two-commands"),
        ("M22b", "duplicate"),
        ("M5b", "snapshot"),
        ("M19", "snapshot-again"),
        ("M39", "snapshot"),
        ("M12", "change"),
        ("M13a", "change-of-two"),
        ("M13b", "change"),
        ("M13c", "change-of-two"),
        ("M14a", "change"),
        ("M14b", "change"),
        ("M15a", "change"),
        ("M15b", "change"),
        ("M16", "change-of-two-apart"),
        ("M17a", "change"),
        ("M17b", "change-of-two"),
    ];
    for (id, name) in FOUND {
        let bug = raftkv_planted::find(id).expect("a bug of this number");
        raftkv_planted::plant(Some(bug));
        // One thread: a bug is planted for the thread that runs.
        let outcome = run(&bound(name), 1);
        raftkv_planted::plant(None);
        match outcome.verdict {
            Verdict::Violated { rule, trace } => {
                let (states, actions) = (outcome.states, trace.len());
                println!("{id}: {actions} actions, {states} states");
                trace.iter().for_each(|line| println!("  {line}"));
                println!("{rule}");
            }
            _ => panic!("{id} is not found in {name}"),
        }
    }
}
