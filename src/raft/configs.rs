//! The configurations that the log holds, by position (§6). One is in force as soon as it is in
//! the log, committed or not, and no longer when it is cut off: a node that waited for the commit
//! would decide by majorities that no more need to overlap.

use std::sync::Arc;

use super::{config::Config, types::Index};

/// What the log says about members, from the base of the log on.
#[derive(Clone, Debug)]
pub(super) struct Configs {
    /// Oldest first. The first is committed: configuration 0, or that of a snapshot.
    known: Vec<(Index, Arc<Config>)>,
}

impl Configs {
    /// Of a log that begins after `index`, where `config` was in force.
    pub(super) fn new(index: Index, config: Arc<Config>) -> Configs {
        Configs {
            known: vec![(index, config)],
        }
    }

    /// Where the configuration in force stands, and what it is.
    pub(super) fn last(&self) -> (Index, &Arc<Config>) {
        let (index, config) = self.known.last().expect("one is always known");
        (*index, config)
    }

    /// The configuration as of the entry at `index`.
    pub(super) fn at(&self, index: Index) -> &Arc<Config> {
        &self.from(index)[0].1
    }

    /// The configuration as of `index`, and all later ones.
    pub(super) fn since(&self, index: Index) -> impl Iterator<Item = &Arc<Config>> {
        self.from(index).iter().map(|(_, config)| config)
    }

    fn from(&self, index: Index) -> &[(Index, Arc<Config>)] {
        let later = self.known.partition_point(|&(at, _)| at <= index);
        &self.known[later.saturating_sub(1)..]
    }

    /// Whether `next`, which replace all from `from` on, each follow from the one before. Anything
    /// follows configuration 0: the log need not have begun with what this node was started with.
    pub(super) fn lead_to(&self, from: Index, next: &[(Index, Config)]) -> bool {
        let (at, config) = &self.from(from.before())[0];
        let mut before = (*at > Index::ZERO).then_some(&**config);
        next.iter().all(|(_, config)| {
            let before = before.replace(config);
            before.is_none_or(|before| config.follows(before))
        })
    }

    /// All, with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &Arc<Config>)> {
        self.known.iter().map(|(index, config)| (*index, config))
    }

    pub(super) fn push(&mut self, index: Index, config: Arc<Config>) {
        let (last, _) = self.last();
        assert!(index > last, "a configuration at {index} after {last}");
        self.known.push((index, config));
    }

    /// The entries from `from` on are gone. Returns whether a configuration was among them.
    pub(super) fn truncate(&mut self, from: Index) -> bool {
        let kept = self.known.partition_point(|&(at, _)| at < from);
        assert!(kept > 0, "truncating {from}, a committed configuration");
        let undone = kept < self.known.len();
        self.known.truncate(kept);
        undone
    }

    /// A snapshot has the entries up to and with `upto`.
    pub(super) fn compact(&mut self, upto: Index) {
        let later = self.known.partition_point(|&(at, _)| at <= upto);
        self.known.drain(..later.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::NodeId;

    fn of(size: u64) -> Arc<Config> {
        Arc::new(Config::new((0..size).map(NodeId)))
    }

    fn three() -> Configs {
        let mut configs = Configs::new(Index(0), of(1));
        configs.push(Index(4), of(2));
        configs.push(Index(7), of(3));
        configs
    }

    #[test]
    fn each_is_in_force_from_its_entry_on() {
        let configs = three();
        for (index, size) in [(0, 1), (3, 1), (4, 2), (6, 2), (7, 3), (99, 3)] {
            assert_eq!(configs.at(Index(index)), &of(size), "at {index}");
        }
        assert_eq!(configs.since(Index(5)).count(), 2);
    }

    #[test]
    fn what_is_cut_off_is_undone() {
        let mut configs = three();
        assert!(!configs.truncate(Index(8)));
        assert!(configs.truncate(Index(7)));
        assert_eq!(configs.last(), (Index(4), &of(2)));
    }

    #[test]
    fn a_compacted_log_still_knows_what_is_in_force_at_its_base() {
        let mut configs = three();
        configs.compact(Index(6));
        assert_eq!(configs.at(Index(6)), &of(2));
        assert_eq!(configs.iter().count(), 2);
    }
}
