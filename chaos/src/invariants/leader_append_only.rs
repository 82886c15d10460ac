//! I2, Leader Append-Only (Figure 3, §5.3): a leader never overwrites or deletes entries of its
//! log. A leader that did could take back what it has already told a majority.

use raftkv::raft::{Index, RoleName, Status};

use super::hold;

/// A node replaces its log by a snapshot.
pub(super) fn installed(after: &Status) {
    hold!(
        LeaderAppendOnly,
        after.role != RoleName::Leader,
        "n{} leads term {} and replaces its log",
        after.id,
        after.hard.term
    );
}

/// A node writes entries from `first` on.
pub(super) fn check(before: &Status, after: &Status, first: Index) {
    let leads = before.role == RoleName::Leader && before.hard.term == after.hard.term;
    let (id, last) = (after.id, before.last);
    hold!(
        LeaderAppendOnly,
        !leads || first > last.index,
        "n{id} leads term {} and rewrites {first}, its log ended {last}",
        before.hard.term
    );
}
