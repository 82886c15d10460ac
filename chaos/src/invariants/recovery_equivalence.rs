//! I12: what a node recovers is what it had synced and a beginning of what it wrote after that,
//! record by record. Anything else is a record that came back from the dead, one that was jumped
//! over, or one that never was.

use super::{
    Shadow, hold,
    shadow::{Image, Match},
};

/// A node found `found` on a disk that nobody damaged.
pub(super) fn check(shadow: &Shadow, found: &Image, verdict: Match) {
    hold!(
        RecoveryEquivalence,
        matches!(verdict, Match::Whole | Match::Beginning),
        "n{} wrote up to {} and {}, and came back with {} and {}, which it never had in between",
        shadow.id,
        shadow.view().hard,
        shadow.view().last(),
        found.hard,
        found.last()
    );
}
