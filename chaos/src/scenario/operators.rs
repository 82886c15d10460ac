//! Operators, who change the members as `raftkv-cli member` does: each asks for the same thing
//! again and again until that is done or refused, takes machines away when it is done, and never
//! asks for what would leave no majority alive.

use std::collections::{BTreeMap, BTreeSet};

use raftkv::{
    raft::{Change, ChangeRefusal, ChangeState, Config, NodeId, Token},
    replica::{Operation, Reply},
};

use super::{
    changes::{Wish, draw_change},
    plan::Plan,
};
use crate::{
    invariants::Property,
    rng::Rng,
    sim::{Micros, Sim, fail},
};

/// The alarm of the first operator; the others follow.
pub(super) const OPERATOR_ALARMS: u64 = 1 << 33;
/// How long one waits before it asks again; whom to ask is found out at the first of these.
const PACES: [Micros; 3] = [20_000, 100_000, 400_000];
/// No more ask at once.
const AT_ONCE_MAX: usize = 3;

#[derive(Debug)]
struct Operator {
    change: Change,
    target: NodeId,
    pace: Micros,
    asks_at: Micros,
    is_over: bool,
}

/// All operators of a run.
#[derive(Debug)]
pub(super) struct Operators {
    rng: Rng,
    operators: Vec<Operator>,
    tokens: BTreeMap<Token, usize>,
    /// The pace of all of them, if none is drawn.
    pace: Option<Micros>,
    /// Whether they ask.
    pub(super) is_on: bool,
}

impl Operators {
    pub(super) fn new(plan: &Plan) -> Operators {
        Operators {
            rng: Rng::stream(plan.seed, 9).pinned(&plan.settings.draws, 9),
            operators: Vec::new(),
            tokens: BTreeMap::new(),
            pace: plan.pace,
            is_on: true,
        }
    }

    fn pending(&self) -> impl Iterator<Item = &Change> {
        let pending = self.operators.iter().filter(|operator| !operator.is_over);
        pending.map(|operator| &operator.change)
    }

    /// Whether all that was asked for is done or refused.
    pub(super) fn are_idle(&self) -> bool {
        self.pending().next().is_none()
    }

    /// An operator comes, with something drawn.
    pub(super) fn come(&mut self, sim: &mut Sim, rng: &mut Rng) {
        if self.pending().count() >= AT_ONCE_MAX {
            return;
        }
        let survives = |wish: &Wish| self.survives(sim, Some(&wish.change), None);
        if let Some(wish) = draw_change(sim, rng, survives) {
            self.ask(sim, wish);
        }
    }

    /// An operator comes who replaces all voters that are gone for good.
    pub(super) fn repair(&mut self, sim: &mut Sim) {
        let gone = |sim: &Sim, config: &Config| -> BTreeSet<NodeId> {
            config.voters().filter(|&id| sim.is_lost(id)).collect()
        };
        let Some(leader) = sim.leader() else {
            return;
        };
        let config = sim.status(leader).expect("it leads").config.settled();
        let remove = gone(sim, &config);
        if !remove.is_empty() && remove.len() as u64 <= sim.spares() {
            let wish = Wish::replace(sim, remove);
            self.ask(sim, wish);
        }
    }

    fn ask(&mut self, sim: &mut Sim, wish: Wish) {
        for _ in 0..wish.taken {
            let id = sim.take_spare();
            if wish.sets_up {
                sim.set_up(id);
            }
        }
        sim.note_line(None, || format!("an operator wants {:?}", wish.change));
        let number = self.operators.len() as u64;
        self.rng.aim(sim.now(), number);
        let pace = self.rng.pick(&PACES);
        self.operators.push(Operator {
            target: sim.leader().unwrap_or(NodeId(0)),
            change: wish.change,
            pace: self.pace.unwrap_or(pace),
            asks_at: sim.now(),
            is_over: false,
        });
        sim.alarm(sim.now(), OPERATOR_ALARMS + number);
    }

    /// An operator asks, perhaps again.
    pub(super) fn ring(&mut self, sim: &mut Sim, alarm: u64) {
        let number = (alarm - OPERATOR_ALARMS) as usize;
        let operator = &mut self.operators[number];
        if operator.is_over {
            return;
        }
        let now = sim.now();
        sim.alarm(now + PACES[0], alarm);
        if !self.is_on || now < operator.asks_at {
            return;
        }
        operator.asks_at = now + operator.pace;
        self.rng.aim(now, number as u64);
        if !sim.is_up(operator.target) {
            operator.target = self.rng.pick(&sim.endpoints());
        }
        let token = sim.token();
        self.tokens.insert(token, number);
        sim.submit(
            operator.target,
            token,
            Operation::Change(operator.change.clone()),
        );
    }

    /// A node answers a request: whether it was one of an operator.
    pub(super) fn answered(&mut self, sim: &mut Sim, token: Token, reply: &Reply) -> bool {
        let Some(number) = self.tokens.remove(&token) else {
            return false;
        };
        let Reply::Change(state) = reply else {
            unreachable!("a change is answered with how far it is")
        };
        if self.operators[number].is_over {
            return true;
        }
        match state {
            ChangeState::CatchingUp { .. } | ChangeState::Joint | ChangeState::Committing => {}
            ChangeState::Done => self.done(sim, number),
            ChangeState::Refused(refusal) => self.refused(sim, number, refusal),
        }
        true
    }

    /// A change is done: the machines of those that were removed may go.
    fn done(&mut self, sim: &mut Sim, number: usize) {
        self.rng.aim(sim.now(), number as u64);
        let operator = &mut self.operators[number];
        operator.is_over = true;
        let change = &operator.change;
        if !sim
            .committed_configs()
            .any(|config| change.is_done_in(config))
        {
            let what = format!("{change:?} is done, it is said, and never was committed");
            fail(Property::Configuration, &what);
        }
        for &id in &change.remove {
            if sim.ids().contains(&id) && self.rng.chance(600) {
                sim.take_away(id);
            }
        }
    }

    fn refused(&mut self, sim: &mut Sim, number: usize, refusal: &ChangeRefusal) {
        self.rng.aim(sim.now(), number as u64);
        let operator = &mut self.operators[number];
        match refusal {
            ChangeRefusal::NotLeader { leader } => {
                let any = self.rng.pick(&sim.endpoints());
                operator.target = leader.unwrap_or(any);
                operator.asks_at = sim.now();
            }
            ChangeRefusal::Transferring { to } => operator.target = *to,
            ChangeRefusal::UnderWay | ChangeRefusal::TermNotCommitted => {}
            _ => operator.is_over = true,
        }
    }

    /// Whether majorities are alive in all configurations that may yet come into force, when
    /// this change is asked for as well, or when this node is lost as well.
    pub(super) fn survives(&self, sim: &Sim, more: Option<&Change>, lost: Option<NodeId>) -> bool {
        let changes: Vec<&Change> = self.pending().chain(more).collect();
        let is_alive = |id| !sim.is_lost(id) && !sim.is_doubtful(id) && Some(id) != lost;
        let mut configs = sim.configs_at_stake().into_iter();
        configs.all(|config| all_live(config, &changes, &is_alive))
    }
}

/// Whether majorities are alive in a configuration, and whichever of these changes follow.
fn all_live(config: &Config, changes: &[&Change], is_alive: &impl Fn(NodeId) -> bool) -> bool {
    let lives = |of: &[NodeId]| of.iter().filter(|&&id| is_alive(id)).count() > of.len() / 2;
    let settled = config.settled();
    let mut majorities = config.majorities().chain(settled.majorities());
    majorities.all(lives)
        && match changes {
            [] => true,
            [first, rest @ ..] => {
                all_live(&settled, rest, is_alive)
                    && (is_refused(first, &settled)
                        || all_live(&settled.changed_by(first), rest, is_alive))
            }
        }
}

fn is_refused(change: &Change, config: &Config) -> bool {
    let retired = change.add.keys().any(|id| config.retired().contains(id));
    retired
        || config
            .changed_by(change)
            .settled()
            .voters()
            .next()
            .is_none()
}
