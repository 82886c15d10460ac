//! I7: term, commit, applied, snapshot and the log's base never fall while a node runs, nor does
//! what a leader knows of a follower within its term. What falls was wrong before or is wrong now.

use raftkv::raft::{Index, RoleName, Status, invariants};

use super::hold;

/// A node took a step.
pub(super) fn check(before: &Status, after: &Status) {
    let id = after.id;
    let falls = [
        ("term", before.hard.term.0, after.hard.term.0),
        ("commit", before.commit.0, after.commit.0),
        ("applied", before.applied.0, after.applied.0),
        ("snapshot", before.snapshot.0, after.snapshot.0),
        ("base", before.base.index.0, after.base.index.0),
    ];
    for (what, was, is) in falls {
        hold!(
            Monotone,
            is >= was,
            "n{id}: {what} falls from {was} to {is}"
        );
    }
    let (commit, applied) = (after.commit, after.applied);
    let (base, snapshot) = (after.base.index, after.snapshot);
    let in_order = [base, snapshot, applied, commit, after.last.index].is_sorted();
    hold!(
        Monotone,
        in_order,
        "n{id}: the log begins after {base}, snapshot {snapshot}, applied {applied}, commit \
         {commit}, the log ends {}",
        after.last
    );
    let led = before.role == RoleName::Leader && before.hard.term == after.hard.term;
    if led && after.role == RoleName::Leader {
        for is in &after.progress {
            let (peer, next) = (is.node, is.next);
            let was = before.progress.iter().find(|was| was.node == peer);
            let (was, is) = (was.map_or(Index::ZERO, |was| was.matched), is.matched);
            hold!(
                Monotone,
                is >= was,
                "n{id}: match of n{peer} falls from {was} to {is}"
            );
            hold!(
                Monotone,
                next > is,
                "n{id}: next of n{peer} is {next}, its match {is}"
            );
        }
    }
    invariants::check_step(before, after);
}
