//! I9, configurations (§6): the one in force is the last in the log, committed or not, also after
//! a truncation, a snapshot or a restart; from C_old one gets to C_new through C_old,new alone; and
//! a leader puts one into its log only when the one before it has committed, and an entry of its
//! own term. Else two majorities decide that have no node in common.

use std::{collections::BTreeMap, fmt};

use raftkv::{
    codec::EntryView,
    raft::{Config, EntryKind, Index, Member, NodeId, Raft, RoleName, Status, Suffrage},
};

use super::{Shadow, hold, place_of, shadow::Image};

/// Which entry of a log says who the members are; the first stands for no entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u32);

/// An entry with a configuration.
#[derive(Debug)]
struct Known {
    at: Index,
    config: Config,
    /// The one before it in the log.
    before: Number,
    /// Who decides: one majority, or C_old's and C_new's. Counted here anew from the members.
    majorities: Vec<Vec<NodeId>>,
}

/// All configurations that were ever in a log.
#[derive(Debug)]
pub(crate) struct Configurations {
    known: Vec<Known>,
    /// By the digest of the entry and of all before it.
    numbers: BTreeMap<u64, Number>,
}

/// The majorities that decide by this configuration.
pub(crate) fn majorities(config: &Config) -> Vec<Vec<NodeId>> {
    let with = |is: fn(&Member) -> bool| -> Vec<NodeId> {
        let members = config.members().iter();
        let voters = members.filter(|(_, member)| is(member));
        voters.map(|(&id, _)| id).collect()
    };
    let old = with(|member| matches!(member.suffrage, Suffrage::Voter | Suffrage::Leaving));
    let new = with(|member| matches!(member.suffrage, Suffrage::Voter | Suffrage::Joining));
    match old == new {
        true => vec![old],
        false => vec![old, new],
    }
}

/// §6: those of C_old lead to those of C_old,new, and these to those of C_new.
pub(crate) fn leads_to(from: &[Vec<NodeId>], to: &[Vec<NodeId>]) -> bool {
    match (from, to) {
        ([old], [new]) => old == new,
        ([old], [first, _]) => old == first,
        ([_, last], [new]) => last == new,
        _ => from == to,
    }
}

/// Who is missing from a majority.
struct Few<'a> {
    count: usize,
    of: &'a [NodeId],
}

impl fmt::Display for Few<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of n{:?}",
            self.count,
            self.of.iter().map(|id| id.0).collect::<Vec<_>>()
        )
    }
}

impl Configurations {
    /// Of a cluster that begins with these members.
    pub(crate) fn new(config: Config) -> Configurations {
        let first = Known {
            at: Index::ZERO,
            majorities: majorities(&config),
            config,
            before: Number(0),
        };
        Configurations {
            known: vec![first],
            numbers: BTreeMap::new(),
        }
    }

    fn of(&self, number: Number) -> &Known {
        &self.known[number.0 as usize]
    }

    /// The configuration of this number.
    pub(crate) fn get(&self, number: Number) -> &Config {
        &self.of(number).config
    }

    /// The number that is in force with this entry, after one where `before` was. `chain` is the
    /// digest of both.
    pub(super) fn number(&mut self, before: Number, chain: u64, entry: &EntryView) -> Number {
        if entry.kind != EntryKind::CONFIG {
            return before;
        }
        if let Some(&number) = self.numbers.get(&chain) {
            return number;
        }
        let config = Config::decode(entry.data);
        hold!(
            Configuration,
            config.is_some(),
            "the configuration at {} makes no sense",
            entry.pos
        );
        let config = config.expect("just seen");
        self.is_step(before, &config);
        let number = Number(self.known.len() as u32);
        self.known.push(Known {
            at: entry.pos.index,
            majorities: majorities(&config),
            config,
            before,
        });
        self.numbers.insert(chain, number);
        number
    }

    /// By the rules a configuration may follow the one before it, and no id is ever used twice.
    fn is_step(&self, before: Number, config: &Config) {
        let Known {
            config: old,
            majorities: from,
            ..
        } = self.of(before);
        let to = majorities(config);
        hold!(
            Configuration,
            leads_to(from, &to),
            "{config} follows {old} in a log"
        );
        let gone = old.members().keys().filter(|&&id| !config.contains(id));
        let mut retired = old.retired().iter().chain(gone);
        let used_twice =
            retired.find(|&&id| !config.retired().contains(&id) || config.contains(id));
        hold!(
            Configuration,
            used_twice.is_none(),
            "{config} follows {old}, and an id is forgotten"
        );
    }

    /// A node wrote the entry at `index`. If it leads, and that is a configuration, it was free to.
    pub(super) fn wrote(&self, after: &Status, log: &Image, index: Index) {
        let number = number_at(log, index);
        let Known {
            at, before, config, ..
        } = self.of(number);
        if *at != index || after.role != RoleName::Leader {
            return;
        }
        let (id, term, commit) = (after.id, after.hard.term, after.commit);
        let earlier = self.of(*before);
        hold!(
            Configuration,
            earlier.at <= commit,
            "n{id} appends {config} at {index}, and that at {} is not committed",
            earlier.at
        );
        let own = place_of(commit).map(|at| log.log[at].term);
        hold!(
            Configuration,
            own == Some(term),
            "n{id} appends {config} at {index} before it has committed in its term {term}"
        );
    }

    /// Whether the entry at `index`, where this is in force, is C_new of a joint configuration.
    pub(super) fn leaves_joint(&self, number: Number, index: Index) -> bool {
        let Known { at, before, .. } = self.of(number);
        *at == index && self.get(*before).is_joint()
    }

    /// What a node takes for the configuration in force is the last in its log.
    pub(super) fn in_force(&self, after: &Status, shadow: &Shadow) {
        let number = shadow.view().last_config();
        let (id, at) = (after.id, self.of(number).at);
        // A snapshot stands for the entry that it has the configuration of.
        let is_there =
            after.config_at == at || at < after.config_at && after.config_at <= after.snapshot;
        hold!(
            Configuration,
            is_there,
            "n{id} goes by a configuration at {}, the last in its log is at {at}",
            after.config_at
        );
        // Who was added later begins without.
        let joined = !self.get(Number(0)).contains(id);
        let unknown = Config::default();
        let config = match joined && number == Number(0) && after.snapshot == Index::ZERO {
            true => &unknown,
            false => self.get(number),
        };
        hold!(
            Configuration,
            *after.config == *config,
            "n{id} goes by {}, the last in its log is {config}",
            after.config
        );
    }

    /// All that a node takes for configurations are in its log.
    pub(super) fn all(&self, raft: &Raft, shadow: &Shadow) {
        let log = shadow.view();
        for (at, config) in raft.configs().skip(1) {
            let known = self.of(number_at(log, at));
            hold!(
                Configuration,
                known.at == at && known.config == **config,
                "n{} takes {config} to stand at {at}, there is {}",
                shadow.id,
                known.config
            );
        }
    }

    /// Whether those of whom something holds are a majority of each configuration in force; if
    /// not, how few they are.
    pub(super) fn lacks(&self, number: Number, holds: impl Fn(NodeId) -> bool) -> Option<String> {
        self.of(number).majorities.iter().find_map(|of| {
            let count = of.iter().filter(|&&id| holds(id)).count();
            (count <= of.len() / 2).then(|| Few { count, of }.to_string())
        })
    }

    /// This configuration and those before it.
    pub(crate) fn back_from(&self, number: Number) -> impl Iterator<Item = &Config> {
        let before = |number: &Number| Some(self.of(*number).before).filter(|_| number.0 > 0);
        std::iter::successors(Some(number), before).map(|number| self.get(number))
    }

    /// Configurations that may yet be in force, when the log is committed like this: the last
    /// committed one, and those that stand behind it in the logs of nodes.
    pub(crate) fn at_stake<'a>(
        &'a self,
        committed: Number,
        logs: impl Iterator<Item = &'a Image>,
    ) -> Vec<&'a Config> {
        let last = self.of(committed).at;
        let mut numbers = vec![committed];
        for log in logs {
            let mut number = log.last_config();
            while self.of(number).at > last && !numbers.contains(&number) {
                numbers.push(number);
                number = self.of(number).before;
            }
        }
        numbers.into_iter().map(|number| self.get(number)).collect()
    }
}

/// The configuration as of an entry.
pub(super) fn number_at(log: &Image, index: Index) -> Number {
    let link = place_of(index).and_then(|at| log.log.get(at));
    link.map_or(Number::default(), |link| link.config)
}
