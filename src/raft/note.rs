//! Why the FSM decided as it did: the node's log lines, the golden scripts' text and the chaos
//! suite's coverage marks are all these.

use std::{fmt, sync::Arc};

use super::{
    config::Config,
    types::{Index, LogPos, NodeId, Round, Term},
};

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// No leader was heard for an election timeout, or one told this node to campaign.
    Campaign {
        /// The term that is campaigned in.
        term: Term,
        /// Whether votes are only probed for.
        pre_vote: bool,
    },
    /// A vote, or a pre-vote, was given.
    VoteGranted {
        /// To whom.
        to: NodeId,
        /// Whether it promises nothing.
        pre_vote: bool,
    },
    /// A vote, or a pre-vote, was refused.
    VoteDenied {
        /// To whom.
        to: NodeId,
        /// Why.
        why: VoteDenial,
    },
    /// A majority voted for this node.
    Elected,
    /// A majority refused: wait for the next timeout.
    ElectionLost,
    /// This node ceased to lead or to campaign.
    SteppedDown {
        /// Why.
        why: StepDown,
    },
    /// A leader of an older term was told that it is over.
    StaleLeader {
        /// Which.
        from: NodeId,
    },
    /// The entry before the new ones is absent here or of another term.
    AppendRefused {
        /// What the leader expected here.
        prev: LogPos,
        /// What to compare next.
        hint: LogPos,
    },
    /// Entries that conflict with the leader's were dropped (§5.3).
    Truncated {
        /// The first of them.
        from: Index,
    },
    /// All entries of an append were there already.
    NothingNew {
        /// The last of them.
        last: Index,
    },
    /// A follower's log forks from ours: go back.
    GoBack {
        /// Which follower.
        peer: NodeId,
        /// The next entry to try.
        next: Index,
    },
    /// A follower's log was found to match: stream from here.
    Stream {
        /// Which follower.
        peer: NodeId,
        /// The next entry to send.
        next: Index,
    },
    /// A late or repeated answer changed nothing.
    StaleReply {
        /// Whose.
        from: NodeId,
    },
    /// A majority holds the entry, but it is of an older term: it commits only below one of
    /// ours (§5.4.2).
    OldTermNotCounted {
        /// The entry.
        pos: LogPos,
    },
    /// The commit index rose.
    Committed {
        /// To here.
        index: Index,
    },
    /// Reads wait until an entry of this term has committed (§8).
    ReadsAwaitOwnTerm,
    /// A majority confirmed that no newer leader existed when these reads arrived.
    ReadsConfirmed {
        /// The round.
        round: Round,
    },
    /// An append begins below what a snapshot has: both logs have that, since it is committed (§7).
    CompactedSkipped {
        /// The last entry that was compacted here.
        base: LogPos,
    },
    /// A snapshot of the state here is durable.
    SnapshotTaken {
        /// What it includes.
        pos: LogPos,
    },
    /// The log was dropped up to here: a snapshot has it (§7).
    Compacted {
        /// The last entry that was dropped.
        upto: Index,
    },
    /// A follower lacks what the log has no more: it is offered a snapshot (§7).
    SnapshotOffered {
        /// Which follower.
        peer: NodeId,
        /// What the snapshot includes.
        pos: LogPos,
    },
    /// A leader's snapshot is needed here.
    SnapshotWanted {
        /// What it includes.
        pos: LogPos,
    },
    /// A snapshot that was offered or fetched includes nothing that is missing here.
    SnapshotNotNeeded {
        /// What it includes.
        pos: LogPos,
    },
    /// State and log were replaced by a snapshot.
    SnapshotInstalled {
        /// What it includes.
        pos: LogPos,
    },
    /// Leadership is being handed over.
    TransferBegun {
        /// To whom.
        to: NodeId,
    },
    /// The hand-over did not succeed within an election timeout; this node serves on.
    TransferGivenUp {
        /// To whom.
        to: NodeId,
    },
    /// No hand-over was begun: this node does not lead, or there is nobody to lead.
    TransferRefused,
    /// A configuration was put into the log, and is in force (§6).
    ConfigAppended {
        /// Where it stands.
        at: Index,
        /// The members.
        config: Arc<Config>,
    },
    /// A configuration was cut off with the end of the log: the one before it is in force again.
    ConfigUndone,
    /// The configuration in force has committed, as its leader learns.
    ConfigCommitted {
        /// Where it stands.
        at: Index,
    },
    /// A new voter is close to the log's end (th. 4.2.1).
    CaughtUp {
        /// Which.
        peer: NodeId,
    },
    /// A change of members is done.
    ChangeDone {
        /// Where its last configuration stands.
        at: Index,
    },
    /// A change of members was given up: a new voter does not catch up.
    ChangeGivenUp,
    /// This node does not vote: it does not campaign either.
    NotAVoter,
    /// A message that no correct member sends was dropped. Fatal in tests, an alarm in service.
    Impossible {
        /// Who sent it.
        from: NodeId,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why a vote was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteDenial {
    /// The candidate's term is over.
    StaleTerm,
    /// The vote of this term is given.
    VotedFor(NodeId),
    /// This node leads the term.
    IsLeader,
    /// The candidate's log is not up to date with the one here (§5.4.1).
    LogBehind {
        /// The last entry here.
        ours: LogPos,
        /// The candidate's.
        theirs: LogPos,
    },
    /// A leader was heard within the minimum election timeout (th. 4.2.3).
    LeaderAlive(NodeId),
}

/// Why a role was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepDown {
    /// A higher term exists.
    HigherTerm(Term),
    /// Another node leads this term.
    LeaderExists(NodeId),
    /// No majority was heard for an election timeout.
    NoQuorum,
    /// The members have committed that this node is none of them (§6).
    Removed,
}

impl fmt::Display for VoteDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VoteDenial::StaleTerm => write!(f, "stale term"),
            VoteDenial::VotedFor(node) => write!(f, "voted for n{node}"),
            VoteDenial::IsLeader => write!(f, "leads this term"),
            VoteDenial::LogBehind { ours, theirs } => {
                write!(f, "log behind: ours ends {ours}, theirs {theirs}")
            }
            VoteDenial::LeaderAlive(node) => write!(f, "leader n{node} is alive"),
        }
    }
}

impl fmt::Display for StepDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepDown::HigherTerm(term) => write!(f, "term {term} exists"),
            StepDown::LeaderExists(node) => write!(f, "n{node} leads"),
            StepDown::NoQuorum => write!(f, "no majority heard for an election timeout"),
            StepDown::Removed => write!(f, "no voter any more"),
        }
    }
}

impl fmt::Display for Note {
    /// The variant's name, then its facts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Campaign {
                term,
                pre_vote: true,
            } => write!(f, "Campaign term={term} pre-vote"),
            Note::Campaign {
                term,
                pre_vote: false,
            } => write!(f, "Campaign term={term}"),
            Note::VoteGranted { to, pre_vote: true } => write!(f, "VoteGranted n{to} pre-vote"),
            Note::VoteGranted {
                to,
                pre_vote: false,
            } => write!(f, "VoteGranted n{to}"),
            Note::VoteDenied { to, why } => write!(f, "VoteDenied n{to} ({why})"),
            Note::Elected => write!(f, "Elected"),
            Note::ElectionLost => write!(f, "ElectionLost"),
            Note::SteppedDown { why } => write!(f, "SteppedDown ({why})"),
            Note::StaleLeader { from } => write!(f, "StaleLeader n{from}"),
            Note::AppendRefused { prev, hint } => {
                write!(f, "AppendRefused prev={prev} hint={hint}")
            }
            Note::Truncated { from } => write!(f, "Truncated from={from}"),
            Note::NothingNew { last } => write!(f, "NothingNew last={last}"),
            Note::GoBack { peer, next } => write!(f, "GoBack n{peer} next={next}"),
            Note::Stream { peer, next } => write!(f, "Stream n{peer} next={next}"),
            Note::StaleReply { from } => write!(f, "StaleReply n{from}"),
            Note::OldTermNotCounted { pos } => write!(f, "OldTermNotCounted {pos}"),
            Note::Committed { index } => write!(f, "Committed {index}"),
            Note::ReadsAwaitOwnTerm => write!(f, "ReadsAwaitOwnTerm"),
            Note::ReadsConfirmed { round } => write!(f, "ReadsConfirmed round={round}"),
            Note::CompactedSkipped { base } => write!(f, "CompactedSkipped base={base}"),
            Note::SnapshotTaken { pos } => write!(f, "SnapshotTaken {pos}"),
            Note::Compacted { upto } => write!(f, "Compacted upto={upto}"),
            Note::SnapshotOffered { peer, pos } => write!(f, "SnapshotOffered n{peer} {pos}"),
            Note::SnapshotWanted { pos } => write!(f, "SnapshotWanted {pos}"),
            Note::SnapshotNotNeeded { pos } => write!(f, "SnapshotNotNeeded {pos}"),
            Note::SnapshotInstalled { pos } => write!(f, "SnapshotInstalled {pos}"),
            Note::TransferBegun { to } => write!(f, "TransferBegun n{to}"),
            Note::TransferGivenUp { to } => write!(f, "TransferGivenUp n{to}"),
            Note::TransferRefused => write!(f, "TransferRefused"),
            Note::ConfigAppended { at, config } => write!(f, "ConfigAppended {at} {config}"),
            Note::ConfigUndone => write!(f, "ConfigUndone"),
            Note::ConfigCommitted { at } => write!(f, "ConfigCommitted {at}"),
            Note::CaughtUp { peer } => write!(f, "CaughtUp n{peer}"),
            Note::ChangeDone { at } => write!(f, "ChangeDone {at}"),
            Note::ChangeGivenUp => write!(f, "ChangeGivenUp"),
            Note::NotAVoter => write!(f, "NotAVoter"),
            Note::Impossible { from, what } => write!(f, "Impossible n{from}: {what}"),
        }
    }
}
