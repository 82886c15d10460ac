//! Which branches of the FSM a run has taken, told by its notes.

use raftkv::raft::{Note, StepDown, VoteDenial};

use super::fault::listed;

listed! {
    /// A branch of the FSM.
    Mark {
        /// A pre-vote campaign began.
        PreVoteCampaign = "pre_vote_campaign",
        /// A campaign began.
        Campaign = "campaign",
        /// A pre-vote was given.
        PreVoteGranted = "pre_vote_granted",
        /// A vote was given.
        VoteGranted = "vote_granted",
        /// A vote was refused: the term is over.
        DeniedStaleTerm = "denied_stale_term",
        /// A vote was refused: it was given to another.
        DeniedVotedFor = "denied_voted_for",
        /// A vote was refused by the leader of the term.
        DeniedIsLeader = "denied_is_leader",
        /// A vote was refused: the candidate's log is behind.
        DeniedLogBehind = "denied_log_behind",
        /// A vote was refused: a leader is alive.
        DeniedLeaderAlive = "denied_leader_alive",
        /// A node was elected.
        Elected = "elected",
        /// A campaign was lost.
        ElectionLost = "election_lost",
        /// A role was given up for a higher term.
        SteppedDownHigherTerm = "stepped_down_higher_term",
        /// A candidacy was given up for the leader.
        SteppedDownLeaderExists = "stepped_down_leader_exists",
        /// Leadership was given up without a majority.
        SteppedDownNoQuorum = "stepped_down_no_quorum",
        /// An old leader was told that its term is over.
        StaleLeader = "stale_leader",
        /// An append did not fit the log.
        AppendRefused = "append_refused",
        /// Entries that conflict were dropped.
        Truncated = "truncated",
        /// An append had nothing new.
        NothingNew = "nothing_new",
        /// A leader went back in a follower's log.
        GoBack = "go_back",
        /// A leader found where the logs match.
        Stream = "stream",
        /// A late answer changed nothing.
        StaleReply = "stale_reply",
        /// A majority's entry of an old term was not counted.
        OldTermNotCounted = "old_term_not_counted",
        /// The commit index rose.
        Committed = "committed",
        /// Reads waited for the term's first commit.
        ReadsAwaitOwnTerm = "reads_await_own_term",
        /// A round of reads was confirmed.
        ReadsConfirmed = "reads_confirmed",
        /// An append began below what was compacted.
        CompactedSkipped = "compacted_skipped",
        /// A snapshot was taken.
        SnapshotTaken = "snapshot_taken",
        /// A log was compacted.
        Compacted = "compacted",
        /// A snapshot was offered to a follower.
        SnapshotOffered = "snapshot_offered",
        /// An offered snapshot was needed.
        SnapshotWanted = "snapshot_wanted",
        /// An offered or fetched snapshot was not needed.
        SnapshotNotNeeded = "snapshot_not_needed",
        /// A snapshot was installed.
        SnapshotInstalled = "snapshot_installed",
        /// A hand-over began.
        TransferBegun = "transfer_begun",
        /// A hand-over was given up.
        TransferGivenUp = "transfer_given_up",
        /// A hand-over was refused.
        TransferRefused = "transfer_refused",
        /// Leadership was given up by a node that is no voter any more.
        SteppedDownRemoved = "stepped_down_removed",
        /// A configuration came into force.
        ConfigAppended = "config_appended",
        /// C_old,new came into force.
        JointAppended = "joint_appended",
        /// A configuration was cut off with the end of a log.
        ConfigUndone = "config_undone",
        /// The configuration in force was committed.
        ConfigCommitted = "config_committed",
        /// A new voter had caught up.
        CaughtUp = "caught_up",
        /// A change of members was done.
        ChangeDone = "change_done",
        /// A change of members was given up.
        ChangeGivenUp = "change_given_up",
        /// A node that does not vote was told to campaign: not owed, since it voted when its leader
        /// said so, and only a golden script is late enough.
        NotAVoter = "not_a_voter",
    }
}

impl Mark {
    /// The branch that a note tells of. There is none for what no correct member does.
    #[must_use]
    pub fn of(note: &Note) -> Option<Mark> {
        Some(match note {
            Note::Campaign { pre_vote: true, .. } => Mark::PreVoteCampaign,
            Note::Campaign { .. } => Mark::Campaign,
            Note::VoteGranted { pre_vote: true, .. } => Mark::PreVoteGranted,
            Note::VoteGranted { .. } => Mark::VoteGranted,
            Note::VoteDenied { why, .. } => match why {
                VoteDenial::StaleTerm => Mark::DeniedStaleTerm,
                VoteDenial::VotedFor(_) => Mark::DeniedVotedFor,
                VoteDenial::IsLeader => Mark::DeniedIsLeader,
                VoteDenial::LogBehind { .. } => Mark::DeniedLogBehind,
                VoteDenial::LeaderAlive(_) => Mark::DeniedLeaderAlive,
            },
            Note::Elected => Mark::Elected,
            Note::ElectionLost => Mark::ElectionLost,
            Note::SteppedDown { why } => match why {
                StepDown::HigherTerm(_) => Mark::SteppedDownHigherTerm,
                StepDown::LeaderExists(_) => Mark::SteppedDownLeaderExists,
                StepDown::NoQuorum => Mark::SteppedDownNoQuorum,
                StepDown::Removed => Mark::SteppedDownRemoved,
            },
            Note::StaleLeader { .. } => Mark::StaleLeader,
            Note::AppendRefused { .. } => Mark::AppendRefused,
            Note::Truncated { .. } => Mark::Truncated,
            Note::NothingNew { .. } => Mark::NothingNew,
            Note::GoBack { .. } => Mark::GoBack,
            Note::Stream { .. } => Mark::Stream,
            Note::StaleReply { .. } => Mark::StaleReply,
            Note::OldTermNotCounted { .. } => Mark::OldTermNotCounted,
            Note::Committed { .. } => Mark::Committed,
            Note::ReadsAwaitOwnTerm => Mark::ReadsAwaitOwnTerm,
            Note::ReadsConfirmed { .. } => Mark::ReadsConfirmed,
            Note::TransferBegun { .. } => Mark::TransferBegun,
            Note::TransferGivenUp { .. } => Mark::TransferGivenUp,
            Note::TransferRefused => Mark::TransferRefused,
            Note::CompactedSkipped { .. } => Mark::CompactedSkipped,
            Note::SnapshotTaken { .. } => Mark::SnapshotTaken,
            Note::Compacted { .. } => Mark::Compacted,
            Note::SnapshotOffered { .. } => Mark::SnapshotOffered,
            Note::SnapshotWanted { .. } => Mark::SnapshotWanted,
            Note::SnapshotNotNeeded { .. } => Mark::SnapshotNotNeeded,
            Note::SnapshotInstalled { .. } => Mark::SnapshotInstalled,
            Note::ConfigAppended { config, .. } if config.is_joint() => Mark::JointAppended,
            Note::ConfigAppended { .. } => Mark::ConfigAppended,
            Note::ConfigUndone => Mark::ConfigUndone,
            Note::ConfigCommitted { .. } => Mark::ConfigCommitted,
            Note::CaughtUp { .. } => Mark::CaughtUp,
            Note::ChangeDone { .. } => Mark::ChangeDone,
            Note::ChangeGivenUp => Mark::ChangeGivenUp,
            Note::NotAVoter => Mark::NotAVoter,
            Note::Impossible { .. } => return None,
        })
    }
}

/// How often each branch was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Marks {
        Marks([0; Mark::ALL.len()])
    }
}

impl Marks {
    pub(crate) fn count(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often a branch was taken.
    #[must_use]
    pub fn of(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Marks) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}
