//! All that can happen to the FSM. A saved list of these is a bug report.

use bytes::Bytes;

use super::{
    config::{Change, Config, Description},
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
    /// Change the members (§6). Asking again for the same is safe, and tells how far it is.
    Reconfigure {
        /// What [`super::Effect::Reconfigured`] will carry.
        token: Token,
        /// To what.
        change: Change,
    },
    /// A node, perhaps this one, said where it is found and what its data directory is.
    Described {
        /// Which.
        node: NodeId,
        /// What it said.
        description: Description,
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
        /// The members as of its last entry.
        config: Config,
    },
}
