//! Changes of members, drawn: whom to add, to remove and to replace, one or several at once, to odd
//! and even numbers of voters, the leader among them, learners, and what has to be refused.

use std::collections::{BTreeMap, BTreeSet};

use raftkv::raft::{Addition, Change, Config, NodeId};

use crate::{rng::Rng, sim::Sim};

/// There are no more voters than this.
const VOTERS_MAX: usize = 7;
/// And seldom fewer.
const VOTERS_MIN: usize = 3;
/// So many draws that would leave no majority alive are enough.
const DRAWS_MAX: usize = 8;

/// A change that somebody wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) change: Change,
    /// How many spare nodes it needs, and whether they are set up or wait in vain for that.
    pub(super) taken: u64,
    pub(super) sets_up: bool,
}

/// Draws something that one may want.
pub(super) fn draw_change(
    sim: &Sim,
    rng: &mut Rng,
    survives: impl Fn(&Wish) -> bool,
) -> Option<Wish> {
    let config = sim.leader().and_then(|id| sim.status(id));
    let config = match config {
        Some(status) => status.config.settled(),
        None => sim.configs_at_stake()[0].settled(),
    };
    let draws = (0..DRAWS_MAX).map(|_| draw(sim, &config, rng));
    draws.flatten().find(survives)
}

fn draw(sim: &Sim, config: &Config, rng: &mut Rng) -> Option<Wish> {
    let voters = config.voters().count();
    let min = if rng.chance(100) { 1 } else { VOTERS_MIN };
    let room = VOTERS_MAX.saturating_sub(voters) as u64;
    let surplus = voters.saturating_sub(min) as u64;
    let some = |most: u64, rng: &mut Rng| rng.between(1, most.max(1)).min(most);
    let wish = match rng.between(0, 11) {
        0 | 1 => Wish::add(sim, some(room.min(3), rng)),
        2 | 3 => {
            let gone = some_voters(sim, config, some(surplus.min(3), rng), rng);
            Wish::remove(gone)
        }
        4..=6 => {
            let gone = some_voters(sim, config, some(3, rng), rng);
            Wish::replace(sim, gone)
        }
        7 => Wish::replace(sim, sim.leader().into_iter().collect()),
        8 => Wish::remove(sim.leader().filter(|_| surplus > 0).into_iter().collect()),
        9 => {
            // More of one than of the other: from 3 to 5, to 4, from 7 to 3.
            let gone = some_voters(sim, config, some(surplus.min(2), rng), rng);
            Wish::add(sim, some(room.min(4), rng)).and_remove(gone)
        }
        10 => learner(sim, config, rng),
        _ => nonsense(config, rng),
    };
    let is_there = wish.taken <= sim.spares() && wish.change != Change::default();
    let sets_up = !rng.chance(40);
    is_there.then_some(Wish { sets_up, ..wish })
}

/// So many voters: those first that are gone for good, then any, the leader among them.
fn some_voters(sim: &Sim, config: &Config, count: u64, rng: &mut Rng) -> BTreeSet<NodeId> {
    let mut voters: Vec<(bool, u64, NodeId)> = config
        .voters()
        .map(|id| (!sim.is_lost(id), rng.draw(), id))
        .collect();
    voters.sort_unstable();
    let chosen = voters.into_iter().take(count as usize);
    chosen.map(|(_, _, id)| id).collect()
}

/// A learner comes, becomes a voter, or goes.
fn learner(sim: &Sim, config: &Config, rng: &mut Rng) -> Wish {
    let members = config.members().keys().copied();
    let learners: Vec<NodeId> = members.filter(|&id| !config.votes(id)).collect();
    if learners.is_empty() || rng.chance(400) {
        let mut wish = Wish::add(sim, 1);
        wish.change
            .add
            .values_mut()
            .for_each(|new| new.votes = false);
        return wish;
    }
    let learner = rng.pick(&learners);
    match rng.chance(500) && config.voters().count() < VOTERS_MAX {
        true => Wish {
            change: Change {
                add: BTreeMap::from([(learner, voter())]),
                remove: BTreeSet::new(),
            },
            ..Wish::default()
        },
        false => Wish::remove(BTreeSet::from([learner])),
    }
}

/// What a cluster has to refuse: who was a member comes again, who never was one goes, a voter is
/// to be a learner, or nobody is to vote.
fn nonsense(config: &Config, rng: &mut Rng) -> Wish {
    let mut change = Change::default();
    let retired: Vec<NodeId> = config.retired().iter().copied().collect();
    let voters: Vec<NodeId> = config.voters().collect();
    match rng.between(0, 3) {
        0 if !retired.is_empty() => {
            change.add.insert(rng.pick(&retired), voter());
        }
        1 => {
            change.remove.insert(NodeId(u64::from(u32::MAX)));
        }
        2 => {
            change.add.insert(rng.pick(&voters), Addition::default());
        }
        _ => change.remove.extend(voters),
    }
    Wish {
        change,
        ..Wish::default()
    }
}

fn voter() -> Addition {
    Addition {
        votes: true,
        ..Addition::default()
    }
}

impl Wish {
    /// So many new voters.
    fn add(sim: &Sim, count: u64) -> Wish {
        let new = sim.next_spares(count).into_iter();
        let addition = |id| Addition {
            votes: true,
            description: sim.found_at(id),
        };
        Wish {
            change: Change {
                add: new.map(|id| (id, addition(id))).collect(),
                remove: BTreeSet::new(),
            },
            taken: count,
            ..Wish::default()
        }
    }

    fn remove(gone: BTreeSet<NodeId>) -> Wish {
        Wish::default().and_remove(gone)
    }

    fn and_remove(mut self, gone: BTreeSet<NodeId>) -> Wish {
        self.change.remove = gone;
        self
    }

    /// As many new voters as go.
    pub(super) fn replace(sim: &Sim, gone: BTreeSet<NodeId>) -> Wish {
        let wish = Wish::add(sim, gone.len() as u64).and_remove(gone);
        Wish {
            sets_up: true,
            ..wish
        }
    }
}
