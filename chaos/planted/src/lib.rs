//! Bugs to plant: a checker that never saw its bug may not be able to.
//!
//! Each is a line at the rule it breaks, `planted!("name")`, in raftkv or raftkv-wal. Built with
//! the feature `planted-bugs` it asks this crate whether the test has planted that bug; built
//! without, which is how the program ships, it is the constant `false` and leaves no trace.
//! [`MARKER`] stands in every program that was built with the feature, so that a test can tell.
//!
//! [`BUGS`] numbers them as the catalogue of the project's checkers does: most have happened in
//! a trusted system. A number with a letter is one of several ways to break the same rule.
//! Absent are the bugs of what does not exist here:
//!
//! - M3 as WRaft had it (a snapshot's term taken for the node's), for which M3b takes that of
//!   appended entries;
//! - sessions: M30, M40, M41;
//! - M48's other half, a wiped node that votes under its old id: pins in a data directory stand
//!   against it, beyond the reach of a cluster that has none.

mod table;

use std::{cell::Cell, hint::black_box};

pub use table::BUGS;

/// One way to be wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its number in the catalogue.
    pub id: &'static str,
    /// What the code calls it.
    pub name: &'static str,
    /// What it does, and to which rule: §n of the Raft paper, th. n of the dissertation.
    pub what: &'static str,
    /// Who had it.
    pub precedent: &'static str,
    /// The [`PROPERTIES`] of which any is the right one to be found broken first.
    pub must_fire: &'static [&'static str],
}

/// What checkers watch over.
pub const PROPERTIES: &[&str] = &[
    // One leader a term (Figure 3).
    "election_safety",
    // A leader only adds to its log (Figure 3).
    "leader_append_only",
    // Equal positions, equal logs up to there (Figure 3).
    "log_matching",
    // One vote a term, across restarts; and the term never falls (§5.2).
    "one_vote",
    // Later leaders have what is committed (Figure 3).
    "leader_completeness",
    // One entry is applied at each index (Figure 3).
    "state_machine_safety",
    // Term, commit, applied and matchIndex never fall; next > match.
    "monotone",
    // What is committed is on a majority's disks, and by an entry of the leader's term (§5.4.2).
    "committed_on_quorum",
    // In force is the last configuration of the log, and each follows from a committed one (§6).
    "configuration",
    // What a message vouches for is durable when it leaves (Figure 2).
    "persist_before_reply",
    // What was synced is there after a crash.
    "durability",
    // What is recovered is what the disk holds, no more and no less.
    "recovery_equivalence",
    // Equal applied indices, equal states.
    "state_equality",
    // A read is confirmed after it came, and shows all that was acknowledged before (§8).
    "read_rule",
    // Queues, log and memory stay within bounds.
    "bounds",
    // One seed, one run.
    "determinism",
    // What clients saw has one order that explains it.
    "linearizability",
    // A healed cluster elects, commits and serves.
    "liveness",
    // Damage is refused, never cut and never silent.
    "damage",
    // An assertion of the shipped code or of `raft::invariants` is first to see it.
    "assertion",
];

/// Stands in a program into which bugs can be planted, and in no other.
#[used]
pub static MARKER: &str = "raftkv-planted-bugs: compiled in";

thread_local! {
    static PLANTED: Cell<Option<&'static Bug>> = const { Cell::new(None) };
}

/// Plants a bug in all that this thread runs from now on, in place of any before; `None` mends it.
pub fn plant(bug: Option<&'static Bug>) {
    PLANTED.set(bug);
}

/// The bug that this thread runs with.
#[must_use]
pub fn planted() -> Option<&'static Bug> {
    PLANTED.get()
}

/// The bug of this number or name.
#[must_use]
pub fn find(id_or_name: &str) -> Option<&'static Bug> {
    let is = |bug: &&Bug| bug.id == id_or_name || bug.name == id_or_name;
    BUGS.iter().find(is)
}

/// Whether the bug of this name is planted. `planted!` is the way to ask: it knows the names.
#[must_use]
pub fn is_planted(name: &str) -> bool {
    // Whatever the optimizer makes of the rest, the marker stays.
    black_box(MARKER);
    planted().is_some_and(|bug| bug.name == name)
}

/// Whether there is a bug of this name.
#[must_use]
pub const fn is_known(name: &str) -> bool {
    let mut at = 0;
    while at < BUGS.len() {
        if equal(BUGS[at].name.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// `==` cannot be asked for at compile time.
const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Whether this bug is planted. A name that [`BUGS`] lacks does not compile.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        const { assert!($crate::is_known($name), "no bug of this name") };
        $crate::is_planted($name)
    }};
}
