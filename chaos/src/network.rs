//! Directed links between nodes. Every frame takes a drawn time; a link that is cut loses them.

use std::collections::{BTreeMap, BTreeSet};

use raftkv::raft::NodeId;

use crate::rng::Rng;

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) frame: Vec<u8>,
}

/// The links and what is under way on them.
#[derive(Debug)]
pub struct Network {
    /// The least and the longest time that a frame takes.
    pub delay_ms: (u64, u64),
    cut: BTreeSet<(NodeId, NodeId)>,
    /// By time of arrival, then in the order sent.
    under_way: BTreeMap<(u64, u64), Delivery>,
    sent: u64,
}

impl Network {
    pub(crate) fn new() -> Network {
        Network {
            delay_ms: (1, 3),
            cut: BTreeSet::new(),
            under_way: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Cuts the link from one node to another; the way back stays.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Cuts both ways between a node and each of the others.
    pub fn isolate(&mut self, node: NodeId, others: impl IntoIterator<Item = NodeId>) {
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn send(&mut self, now_ms: u64, delivery: Delivery, rng: &mut Rng) {
        if self.cut.contains(&(delivery.from, delivery.to)) {
            return;
        }
        let (least, most) = self.delay_ms;
        self.sent += 1;
        self.under_way
            .insert((now_ms + rng.between(least, most), self.sent), delivery);
    }

    /// The next frame that has arrived by now, unless its link was cut meanwhile.
    pub(crate) fn arrive(&mut self, now_ms: u64) -> Option<Delivery> {
        while let Some(first) = self.under_way.first_entry()
            && first.key().0 <= now_ms
        {
            let delivery = first.remove();
            if !self.cut.contains(&(delivery.from, delivery.to)) {
                return Some(delivery);
            }
        }
        None
    }
}
