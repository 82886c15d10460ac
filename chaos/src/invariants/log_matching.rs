//! I3, Log Matching (Figure 3, §5.3): two logs that hold an entry of one index and term are equal
//! up to it. Every entry that is ever written is compared with the first of its position, together
//! with a digest of all before it, so that all pairs of logs are compared without looking at them.

use std::collections::BTreeMap;

use raftkv::raft::{Index, LogPos, NodeId};

use super::{hold, place_of, shadow::Image};

/// The digest of each entry that was ever in a log, with all before it, and who had it first.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    entries: BTreeMap<LogPos, (u64, NodeId)>,
}

impl LogMatching {
    /// The log of a node has an entry at `index`.
    pub(super) fn appended(&mut self, node: NodeId, log: &Image, index: Index) {
        let link = log.log[place_of(index).expect("entries begin at 1")];
        let pos = LogPos::new(link.term, index);
        let (chain, first) = *self.entries.entry(pos).or_insert((link.chain, node));
        hold!(
            LogMatching,
            chain == link.chain,
            "the logs of n{first} and n{node} both have {pos} and differ up to it"
        );
        let before = index.before();
        let earlier = place_of(before).map(|at| log.log[at].term);
        hold!(
            LogMatching,
            earlier.is_none_or(|term| term <= link.term),
            "n{node} has {pos} after an entry of a later term"
        );
    }
}
