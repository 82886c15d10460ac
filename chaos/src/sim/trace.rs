//! What happened, as a digest always and as lines when asked for. Two runs are the same when their
//! digests are.

use std::fmt;

use raftkv::raft::NodeId;

use super::queue::Micros;
use crate::digest;

/// One event that somebody who reads a trace wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Micros,
    /// Where; `None` for what happens to the cluster.
    pub node: Option<NodeId>,
    /// What.
    pub what: String,
    /// Whether it is a leader's routine in quiet times.
    pub is_routine: bool,
}

impl Line {
    /// The event for machines.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let node = self.node.map(|node| node.0);
        serde_json::json!({ "at_us": self.at, "node": node, "what": self.what })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { at, node, what, .. } = self;
        write!(f, "{:>6}.{:03} ms  ", at / 1000, at % 1000)?;
        match node {
            Some(node) => write!(f, "n{node}  {what}"),
            None => write!(f, "--  {what}"),
        }
    }
}

/// The digest of a run, and its lines.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    digest: u64,
    events: u64,
    lines: Option<Vec<Line>>,
}

impl Trace {
    pub(crate) fn record(&mut self) {
        self.lines = Some(Vec::new());
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// How many lines there were to record, without routine.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn take_lines(&mut self) -> Vec<Line> {
        self.lines.take().unwrap_or_default()
    }

    /// Something that two runs must have in common.
    pub(crate) fn number(&mut self, number: u64) {
        self.digest = digest::number(self.digest, number);
    }

    /// Something to read.
    pub(crate) fn line(&mut self, at: Micros, node: Option<NodeId>, what: impl FnOnce() -> String) {
        self.events += 1;
        self.add(at, node, false, what);
    }

    /// Something that is left out where space counts.
    pub(crate) fn routine(
        &mut self,
        at: Micros,
        node: Option<NodeId>,
        what: impl FnOnce() -> String,
    ) {
        self.add(at, node, true, what);
    }

    fn add(
        &mut self,
        at: Micros,
        node: Option<NodeId>,
        is_routine: bool,
        what: impl FnOnce() -> String,
    ) {
        if let Some(lines) = &mut self.lines {
            let what = what();
            lines.push(Line {
                at,
                node,
                what,
                is_routine,
            });
        }
    }
}
