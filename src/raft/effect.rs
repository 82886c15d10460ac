//! What the driver must do, in order. `after` is the whole durability rule: one number says
//! which write has to be on disk before a message may leave.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::{
    membership::ChangeState,
    message::{Entry, Message},
    note::Note,
    types::{Index, LogPos, NodeId, Seq, Snapshot, Term, Token},
};

/// The state that must survive a crash before any reply that depends on it (Figure 2, "persistent
/// state"); the log is the rest of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// `currentTerm`.
    pub term: Term,
    /// `votedFor`.
    pub vote: Option<NodeId>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append to the log's disk; report [`super::Input::Persisted`] once it is durable.
    Write {
        /// Its number: one more than the last write's.
        seq: Seq,
        /// The hard state, when it changed. It goes before the entries, so that no entry
        /// survives without its term.
        hard: Option<HardState>,
        /// Consecutive entries. The first may lie within the log: it and all after it are
        /// replaced.
        entries: Vec<Entry>,
    },
    /// Say something to a member, once the write `after` is durable.
    Send {
        /// The member.
        to: NodeId,
        /// What to say.
        message: Message,
        /// [`Seq::NONE`] for at once.
        after: Seq,
    },
    /// Send entries of the log to a follower, at once: the leader's own copy counts only when it
    /// is durable, so its disk and theirs may work side by side (th. 10.2.1).
    SendAppend {
        /// The follower.
        to: NodeId,
        /// The leader's term.
        term: Term,
        /// The entry before the first.
        prev: LogPos,
        /// The last index to send; below `prev.index + 1` there is none and `prev` is only
        /// asked for.
        last: Index,
        /// The leader's commit index.
        commit: Index,
    },
    /// Apply these entries: they are committed and durable here.
    Apply {
        /// The first and the last index.
        range: RangeInclusive<Index>,
    },
    /// Get this snapshot from a member that has it, and report [`super::Input::SnapshotFetched`].
    /// Comes again and again while it is wanted; another one takes its place (§7).
    FetchSnapshot {
        /// Who has it.
        from: NodeId,
        /// Which.
        snapshot: Snapshot,
    },
    /// Replace state and log by the fetched snapshot, as a write to the log's disk (§7).
    Install {
        /// The write's number.
        seq: Seq,
        /// Which.
        snapshot: Snapshot,
    },
    /// These commands have their places in the log, consecutive from `first`: answer each when
    /// it is applied.
    Accepted {
        /// Where the first command stands.
        first: LogPos,
        /// As proposed.
        tokens: Vec<Token>,
    },
    /// These reads may be served as soon as `index` is applied.
    Serve {
        /// The commit index when they arrived.
        index: Index,
        /// As asked.
        tokens: Vec<Token>,
    },
    /// These requests were refused; nothing of them was done.
    Refused {
        /// As proposed or asked.
        tokens: Vec<Token>,
        /// Why.
        reason: RefusalReason,
    },
    /// How far a change of members is.
    Reconfigured {
        /// As asked.
        token: Token,
        /// How far.
        state: ChangeState,
    },
    /// The role, the term or the known leader changed. A node that ceases to lead no longer
    /// learns what becomes of the commands that it accepted: their outcome is unknown.
    Role(RoleChange),
    /// Why a decision was taken: log line, golden text and coverage mark in one.
    Note(Note),
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Another node leads, or nobody does as far as this one knows.
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed over.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// Too many bytes wait to be committed.
    Busy,
    /// The disk has no room for more of the log. The FSM knows no disk; its driver says this.
    DiskFull,
}

/// The three states of Figure 4; a candidate asks for pre-votes first (th. 9.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleName {
    /// Answers leaders and candidates. Everybody begins so.
    #[default]
    Follower,
    /// Asks whether it would win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Replicates.
    Leader,
}

/// A node's role as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role.
    pub role: RoleName,
    /// The current term.
    pub term: Term,
    /// The leader of that term, when known.
    pub leader: Option<NodeId>,
}

/// An ordered list of effects, to be drained before the next step.
#[derive(Debug, Default)]
pub struct Effects(pub(super) Vec<Effect>);

impl Effects {
    /// Takes all effects, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.0.drain(..)
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    pub(super) fn refuse(&mut self, commands: Vec<(Token, Bytes)>, reason: RefusalReason) {
        let tokens = commands.into_iter().map(|(token, _)| token).collect();
        self.push(Effect::Refused { tokens, reason });
    }

    pub(super) fn note(&mut self, note: Note) {
        self.0.push(Effect::Note(note));
    }
}
