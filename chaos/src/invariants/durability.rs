//! I11: what was synced is there after any crash. And the rules for a disk that was damaged: it is
//! found, or it did no harm; what is missing then is at most the last write, when nothing after it
//! proves that it was synced (docs/wal.md says why no log can tell that apart from a torn one).

use super::{Shadow, hold, recovery_equivalence, shadow::Image, shadow::Match};

/// What was done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Bytes changed, and what was written after them is as it was.
    Within,
    /// The last trailer of a file changed, and with it whatever proved the bytes before
    /// (docs/wal.md, what cannot be decided).
    ToTheEnd,
    /// Bytes of a file beside the log changed: the log has everything.
    Snapshot,
    /// The newest segment is as it once was, or its name is gone: all that was written since may be
    /// missing, with all proofs of it.
    Stale,
}

/// What became of opening a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The node may go on.
    Sound,
    /// The last write is gone, and the disk was damaged: the node may not go on.
    Damaged,
}

/// A node found `found` on its disk.
pub(crate) fn opened(
    shadow: &Shadow,
    found: &Image,
    damage: Option<Damage>,
    proven: bool,
) -> Opened {
    let id = shadow.id;
    let verdict = shadow.compare(found);
    let Some(damage) = damage.filter(|&damage| damage != Damage::Snapshot) else {
        let synced = shadow.synced();
        let kept = found.hard.term >= synced.hard.term
            && match verdict {
                Match::Whole | Match::Beginning => true,
                Match::LacksLastWrites | Match::Other => found.log.starts_with(&synced.log),
            };
        hold!(
            Durability,
            kept,
            "n{id} synced {} and {}, and came back with {} and {}",
            synced.hard,
            synced.last(),
            found.hard,
            found.last()
        );
        recovery_equivalence::check(shadow, found, verdict);
        return Opened::Sound;
    };
    let lost = match verdict {
        Match::Whole | Match::Beginning => return Opened::Sound,
        Match::LacksLastWrites => !proven || damage != Damage::Within,
        Match::Other => damage != Damage::Within && shadow.was(found),
    };
    hold!(
        Damage,
        lost,
        "n{id} opened a damaged disk that ended {} and found {}",
        shadow.view().last(),
        found.last()
    );
    Opened::Damaged
}
