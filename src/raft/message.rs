//! What peers say to each other, in the words of Figure 2. The codec can build these and
//! nothing else, so no peer can forge a local event.

use bytes::Bytes;

use super::types::{Index, LogPos, Round, Snapshot, Term};

/// What an entry is for. Kinds grow with the format: one that this build does not know passes
/// through the log and stops the node only when it is to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryKind(pub u32);

impl EntryKind {
    /// Proposed by each new leader to commit what earlier terms left (§8).
    pub const NO_OP: EntryKind = EntryKind(0);
    /// A command for the state machine.
    pub const COMMAND: EntryKind = EntryKind(1);
    /// A configuration (§6): [`super::Config::encode`]. In force as soon as it is in the log.
    pub const CONFIG: EntryKind = EntryKind(2);
    /// The kinds that this build can apply, as the hello announces them.
    pub const KNOWN: [EntryKind; 3] = [EntryKind::NO_OP, EntryKind::COMMAND, EntryKind::CONFIG];
}

/// One entry of the log (§5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its term and index.
    pub pos: LogPos,
    /// What it is for.
    pub kind: EntryKind,
    /// What it carries; opaque to consensus.
    pub data: Bytes,
}

/// A message between members. `term` is always the sender's current term, save in a pre-vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// AppendEntries RPC (Figure 2), without its use as a heartbeat.
    Append(Append),
    /// The answer to [`Message::Append`]; sent once what it vouches for is durable.
    AppendReply {
        /// The follower's term.
        term: Term,
        /// Whether the log matched.
        outcome: AppendOutcome,
    },
    /// In the place of InstallSnapshot RPC (Figure 13): names a snapshot, because the log does not
    /// reach back to what the follower lacks. The follower gets its bytes by itself, and answers
    /// with [`Message::AppendReply`] when it has what it includes.
    SnapshotOffer {
        /// The leader's term.
        term: Term,
        /// Which.
        snapshot: Snapshot,
    },
    /// Asserts leadership and asks for a read confirmation (§8); vouches for no entry.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// Committed, and known to be in the follower's log.
        commit: Index,
        /// The newest round of reads that waits for confirmation.
        round: Round,
    },
    /// The answer to [`Message::Heartbeat`]: no higher term was seen. Needs no disk.
    HeartbeatReply {
        /// The follower's term.
        term: Term,
        /// The round that was asked for.
        round: Round,
    },
    /// RequestVote RPC (Figure 2), or one of its two variants.
    VoteRequest {
        /// The term campaigned in; in a pre-vote, the one that would be.
        term: Term,
        /// The candidate's last entry (§5.4.1).
        last: LogPos,
        /// Which election this is.
        kind: VoteKind,
    },
    /// The answer to [`Message::VoteRequest`].
    VoteReply {
        /// The voter's term; in a granted pre-vote, the term asked for.
        term: Term,
        /// Whether the vote was given.
        granted: bool,
        /// Whether it answers a pre-vote.
        pre_vote: bool,
    },
    /// Leadership transfer (th. 3.10): campaign now, without waiting for the timeout.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
}

/// AppendEntries RPC as a follower receives it (Figure 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The entry that precedes the new ones.
    pub prev: LogPos,
    /// The leader's commit index.
    pub commit: Index,
    /// Consecutive entries from `prev.index + 1`.
    pub entries: Vec<Entry>,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The log agrees with the leader's up to here, durably.
    Match(Index),
    /// The entry at `prev` is absent or of another term.
    Conflict {
        /// The `prev.index` that was refused.
        rejected: Index,
        /// The last entry here that the leader's log may still contain: no later index, no
        /// later term, so that one round trip skips a whole term (§5.3, last paragraphs).
        hint: LogPos,
    },
    /// The leader's term is over; `term` names the new one.
    StaleTerm,
}

/// Which election a vote is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteKind {
    /// Would I win? Changes nothing at the voter (th. 9.6).
    PreVote,
    /// The election of §5.2.
    Election,
    /// An election that the leader itself asked for, so stickiness does not apply (th. 4.2.3).
    Transfer,
}

impl Message {
    /// The term that the message carries.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Message::Append(append) => append.term,
            Message::AppendReply { term, .. }
            | Message::SnapshotOffer { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::VoteRequest { term, .. }
            | Message::VoteReply { term, .. }
            | Message::TimeoutNow { term } => *term,
        }
    }
}
