//! The one interpreter of the FSM's effects.

use bytes::Bytes;

use crate::raft::RefusalReason;

/// What a client asks of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store the value under the key.
    Put {
        /// 1 byte to 4 KiB.
        key: Bytes,
        /// Up to 1 MiB.
        value: Bytes,
    },
    /// Read the newest value.
    Get {
        /// 1 byte to 4 KiB.
        key: Bytes,
    },
    /// Remove the key.
    Delete {
        /// 1 byte to 4 KiB.
        key: Bytes,
    },
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Stored: durable on a majority and applied.
    Put,
    /// Read, linearizably.
    Get {
        /// The value, if the key exists.
        value: Option<Bytes>,
    },
    /// Removed: durable on a majority and applied.
    Delete {
        /// Whether the key existed.
        found: bool,
    },
    /// Refused: nothing was applied.
    Refused(RefusalReason),
    /// Accepted by a leader that then ceased to lead: applied or not, nobody here knows.
    Unknown,
}
