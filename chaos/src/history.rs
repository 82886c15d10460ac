//! What clients asked for and were told, with the order in which they saw it.

use raftkv::raft::{Index, LogPos};

/// A key of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// A value of the workload. Each put has one of its own, so that a read names its put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

/// A moment, counted in events of the simulation. Equal moments are concurrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Store the value.
    Put(Value),
    /// Remove the key.
    Delete,
    /// Read the key.
    Get,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The put is done.
    Put {
        /// Where its entry stands in the log.
        at: LogPos,
    },
    /// The delete is done.
    Deleted {
        /// Whether the key was there.
        found: bool,
        /// Where its entry stands in the log.
        at: LogPos,
    },
    /// The value that was read.
    Got {
        /// `None` when the key was not there.
        value: Option<Value>,
        /// The last entry that was applied when it was read.
        at: Index,
    },
    /// Nothing was done and nothing will be.
    Refused,
}

/// One request with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which client.
    pub client: u32,
    /// The key.
    pub key: Key,
    /// What was asked for.
    pub request: Request,
    /// When it was sent.
    pub called: Moment,
    /// What was told, and when. Without it the outcome is unknown: done, or not, or yet to come.
    pub told: Option<(Told, Moment)>,
}

/// A command that the cluster committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it stands in the log.
    pub at: LogPos,
    /// The key.
    pub key: Key,
    /// A put or a delete.
    pub request: Request,
}

/// Everything that clients saw in one run, and the log that the cluster agreed on.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All calls, in the order in which they were sent.
    pub calls: Vec<Call>,
    /// All committed commands, in the order of the log.
    pub committed: Vec<Committed>,
}
