//! Who decides, and when enough of them have.

use std::collections::BTreeSet;

use super::types::NodeId;

/// The members that vote (§6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    voters: BTreeSet<NodeId>,
}

impl Config {
    /// A configuration of these voters.
    ///
    /// # Panics
    /// Without a voter: such a cluster could decide nothing.
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Config {
        let voters: BTreeSet<NodeId> = voters.into_iter().collect();
        assert!(!voters.is_empty(), "a configuration needs a voter");
        Config { voters }
    }

    /// Whether the node votes.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node)
    }

    /// The voters, by id.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied()
    }

    /// The largest number that a majority of the voters has reached. Commits count log indices
    /// with it, reads count rounds, check-quorum counts ticks, elections count votes: one rule,
    /// so that there is one place to get it right.
    pub fn quorum_min(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let majority = self.voters.len() / 2 + 1;
        let reached = |least: u64| self.voters().filter(|&node| value(node) >= least).count();
        self.voters()
            .map(&value)
            .filter(|&least| reached(least) >= majority)
            .max()
            .expect("the smallest value is reached by all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quorum_min_is_the_middle_of_the_sorted_values(
            values in prop::collection::vec(0u64..9, 1..10),
        ) {
            let config = Config::new((0..values.len() as u64).map(NodeId));
            let mut sorted = values.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let got = config.quorum_min(|node| values[node.0 as usize]);
            prop_assert_eq!(got, sorted[values.len() / 2]);
        }
    }

    #[test]
    fn any_two_majorities_share_a_voter() {
        for size in 1..=7u64 {
            let config = Config::new((0..size).map(NodeId));
            let wins = |mask: u64| config.quorum_min(|node| mask >> node.0 & 1) == 1;
            for a in (0..1u64 << size).filter(|&mask| wins(mask)) {
                for b in (0..1u64 << size).filter(|&mask| wins(mask)) {
                    assert_ne!(a & b, 0, "{a:b} and {b:b} both win among {size}");
                }
            }
        }
    }
}
