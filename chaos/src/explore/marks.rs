//! What happened at least once: a search that saw no election proves nothing about elections.

use std::fmt::{self, Display, Formatter};

use raftkv::raft::{Note, StepDown, VoteDenial};

/// A set of events, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u64);

const NAMES: [&str; 45] = [
    "Campaign",
    "VoteGranted",
    "VoteDenied/StaleTerm",
    "VoteDenied/VotedFor",
    "VoteDenied/IsLeader",
    "VoteDenied/LogBehind",
    "VoteDenied/LeaderAlive",
    "Elected",
    "ElectionLost",
    "SteppedDown/HigherTerm",
    "SteppedDown/LeaderExists",
    "SteppedDown/NoQuorum",
    "StaleLeader",
    "AppendRefused",
    "Truncated",
    "NothingNew",
    "GoBack",
    "Stream",
    "StaleReply",
    "OldTermNotCounted",
    "Committed",
    "ReadsAwaitOwnTerm",
    "ReadsConfirmed",
    "TransferBegun",
    "TransferGivenUp",
    "TransferRefused",
    "SnapshotTaken",
    "Compacted",
    "CompactedSkipped",
    "SnapshotOffered",
    "SnapshotWanted",
    "SnapshotNotNeeded",
    "SnapshotInstalled",
    "Applied",
    "ReadServed",
    "CommittedLater",
    "CrashLostWrite",
    "CrashKeptPart",
    "SteppedDown/Removed",
    "ConfigAppended",
    "ConfigUndone",
    "ConfigCommitted",
    "CaughtUp",
    "ChangeDone",
    "NotAVoter",
];

impl Marks {
    /// Adds the event of this name.
    pub(super) fn set(&mut self, name: &str) {
        self.0 |= bit(name);
    }

    /// Adds what a note says.
    pub(super) fn note(&mut self, note: &Note) {
        self.set(match note {
            Note::Campaign { .. } => "Campaign",
            Note::VoteGranted { .. } => "VoteGranted",
            Note::VoteDenied { why, .. } => denied(*why),
            Note::Elected => "Elected",
            Note::ElectionLost => "ElectionLost",
            Note::SteppedDown { why } => stepped_down(*why),
            Note::StaleLeader { .. } => "StaleLeader",
            Note::AppendRefused { .. } => "AppendRefused",
            Note::Truncated { .. } => "Truncated",
            Note::NothingNew { .. } => "NothingNew",
            Note::GoBack { .. } => "GoBack",
            Note::Stream { .. } => "Stream",
            Note::StaleReply { .. } => "StaleReply",
            Note::OldTermNotCounted { .. } => "OldTermNotCounted",
            Note::Committed { .. } => "Committed",
            Note::ReadsAwaitOwnTerm => "ReadsAwaitOwnTerm",
            Note::ReadsConfirmed { .. } => "ReadsConfirmed",
            Note::TransferBegun { .. } => "TransferBegun",
            Note::TransferGivenUp { .. } => "TransferGivenUp",
            Note::TransferRefused => "TransferRefused",
            Note::SnapshotTaken { .. } => "SnapshotTaken",
            Note::Compacted { .. } => "Compacted",
            Note::CompactedSkipped { .. } => "CompactedSkipped",
            Note::SnapshotOffered { .. } => "SnapshotOffered",
            Note::SnapshotWanted { .. } => "SnapshotWanted",
            Note::SnapshotNotNeeded { .. } => "SnapshotNotNeeded",
            Note::SnapshotInstalled { .. } => "SnapshotInstalled",
            Note::ConfigAppended { .. } => "ConfigAppended",
            Note::ConfigUndone => "ConfigUndone",
            Note::ConfigCommitted { .. } => "ConfigCommitted",
            Note::CaughtUp { .. } => "CaughtUp",
            Note::ChangeDone { .. } => "ChangeDone",
            Note::NotAVoter => "NotAVoter",
            // Here time stands still, and a new voter is waited for as long as it takes.
            Note::ChangeGivenUp | Note::Impossible { .. } => return,
        });
    }

    /// Whether the event of this name happened.
    ///
    /// # Panics
    /// If there is no event of this name.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.0 & bit(name) != 0
    }

    /// The events of both.
    #[must_use]
    pub fn and(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    /// The events that did not happen.
    #[must_use]
    pub fn missing(self) -> Marks {
        Marks(!self.0 & ((1 << NAMES.len()) - 1))
    }
}

fn bit(name: &str) -> u64 {
    let place = NAMES.iter().position(|known| *known == name);
    1 << place.expect("an event of a known name")
}

fn denied(why: VoteDenial) -> &'static str {
    match why {
        VoteDenial::StaleTerm => "VoteDenied/StaleTerm",
        VoteDenial::VotedFor(_) => "VoteDenied/VotedFor",
        VoteDenial::IsLeader => "VoteDenied/IsLeader",
        VoteDenial::LogBehind { .. } => "VoteDenied/LogBehind",
        VoteDenial::LeaderAlive(_) => "VoteDenied/LeaderAlive",
    }
}

fn stepped_down(why: StepDown) -> &'static str {
    match why {
        StepDown::HigherTerm(_) => "SteppedDown/HigherTerm",
        StepDown::LeaderExists(_) => "SteppedDown/LeaderExists",
        StepDown::NoQuorum => "SteppedDown/NoQuorum",
        StepDown::Removed => "SteppedDown/Removed",
    }
}

impl Display for Marks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let happened = NAMES.iter().filter(|name| self.has(name));
        let names: Vec<&str> = happened.copied().collect();
        f.write_str(&names.join(" "))
    }
}
