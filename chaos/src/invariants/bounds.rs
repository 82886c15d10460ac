//! I16: what a node sends stands in proportion to what happens. A node that answers every message
//! with two, or asks again without end, brings its cluster down as surely as one that lies.

use raftkv::raft::NodeId;

use super::hold;
use crate::sim::Micros;

/// What all nodes together may send in a second of virtual time for each member, and for each
/// request of a client; generous, since a spin exceeds any such number.
const SENT_PER_NODE_AND_SECOND: u64 = 4_000;
const SENT_PER_REQUEST: u64 = 200;
/// Where the network reorders, each entry of a log that is far behind can have cost a window of
/// appends that came before it, and were refused.
const SENT_PER_ENTRY: u64 = 64;
/// How much may be due at one moment.
const EVENTS_AT_ONCE: u64 = 100_000;

/// Frames sent against time and requests.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    sent: u64,
    allowed: u64,
    now: Micros,
    at_once: u64,
}

impl Bounds {
    pub(crate) fn sent(&mut self, node: NodeId) {
        self.sent += 1;
        hold!(
            Bounds,
            self.sent <= self.allowed,
            "n{node} and the others have sent {} frames, {} are allowed by now",
            self.sent,
            self.allowed
        );
    }

    /// Something is due now.
    pub(crate) fn event(&mut self, now: Micros) {
        self.at_once += 1;
        if now > self.now {
            (self.now, self.at_once) = (now, 0);
        }
        hold!(
            Bounds,
            self.at_once < EVENTS_AT_ONCE,
            "time stands still at {now}"
        );
    }

    /// A tick of one node, 10 ms of its time.
    pub(crate) fn tick(&mut self) {
        self.allowed += SENT_PER_NODE_AND_SECOND / 100;
    }

    /// So many entries went into the log of a node.
    pub(crate) fn wrote(&mut self, entries: u64) {
        self.allowed += entries * SENT_PER_ENTRY;
    }

    pub(crate) fn request(&mut self) {
        self.allowed += SENT_PER_REQUEST;
    }

    /// What replayed, repeated and burst input may cause besides.
    pub(crate) fn disturbed(&mut self) {
        self.allowed += SENT_PER_REQUEST;
    }
}
