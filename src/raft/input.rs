//! All that can happen to the FSM. A saved list of these is a bug report.

use bytes::Bytes;

use super::{
    message::Message,
    types::{Index, NodeId, Seq, Snapshot, Token},
};

/// One event for [`super::Raft::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One unit of time has passed.
    Tick,
    /// A member said something.
    Receive {
        /// Who, as its connection proved.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// Clients ask for commands to be replicated, in this order, as one write.
    Propose {
        /// Each with the token that its answer will carry.
        commands: Vec<(Token, Bytes)>,
    },
    /// Clients ask to read what is committed now (§8).
    Read {
        /// One for each read.
        tokens: Vec<Token>,
    },
    /// Hand leadership to a member, or to the one whose log is furthest (th. 3.10).
    Transfer {
        /// The member, or any.
        to: Option<NodeId>,
    },
    /// Every write up to this one is durable.
    Persisted {
        /// The newest durable write.
        upto: Seq,
    },
    /// A snapshot of this node's own state is durable, and so is the mark that says so (§7).
    SnapshotTaken {
        /// Which.
        snapshot: Snapshot,
        /// The log may be dropped up to and with this index.
        compact: Index,
    },
    /// What [`super::Effect::FetchSnapshot`] asked for is here, whole and durable.
    SnapshotFetched {
        /// Which.
        snapshot: Snapshot,
    },
}
