//! One run: faults while clients work, then a cluster that is whole again and has to show it.

mod changes;
mod clients;
mod kind;
mod membership;
mod nemesis;
mod operators;
mod partial;
mod plan;
mod snapshots;

use raftkv::{kv::Command, raft::NodeId};

use self::{
    clients::{Clients, key_of, value_of},
    nemesis::{Nemesis, star},
    operators::OPERATOR_ALARMS,
    plan::RUN_MIN,
};
pub use self::{
    kind::{Class, Kind},
    nemesis::Tally,
    partial::{Endured, Partial},
    plan::Preset,
};
use crate::{
    history::{Committed, Request},
    invariants::Property,
    linearizability,
    rng::Rng,
    sim::{Delay, Due, Hits, Line, Marks, Micros, Noise, Sim, TICK, fail},
};
pub(crate) use clients::Ask;
pub(crate) use plan::{Ending, Plan, RUN_MAX, SECOND};

/// Alarms from here on are faults of the plan: twice its number, and one more for its end.
const FAULT_ALARMS: u64 = 1 << 32;
/// What every run has to show before it ends.
const ACKED_WRITES_MIN: u64 = 200;
const READS_MIN: u64 = 100;
const ELECTIONS_MIN: u64 = 2;
/// Within how many election timeouts a healed cluster has to do what.
const LEADER_WITHIN: u64 = 4;
const SERVICE_WITHIN: u64 = 10;
const AGREEMENT_WITHIN: u64 = 30;
/// A client that gave up, since the leader that it knew has gone, asks anew.
const READ_ATTEMPTS: u64 = 3;
const JOINT_WITHIN: u64 = 20;
/// A change may wait for others, of which each may wait for a node in vain.
const CHANGES_WITHIN: u64 = 60;
/// What an append and its answer take at most in a healed network, syncs included.
const ROUND_TRIP: Micros = 10_000;
/// What it takes to offer, fetch and load a snapshot, with a slow step that is under way.
const INSTALL: Micros = SECOND;
/// With one link cut, or two: how long is looked on, and how many elections are calm.
const CALM_TIMEOUTS: u64 = 30;
const CALM_ELECTIONS: u64 = 2;

/// What a run amounted to.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Its virtual time.
    pub virtual_time: Micros,
    /// That of its part with faults.
    pub disturbed: Micros,
    /// The steps of its nodes.
    pub steps: u64,
    /// Writes that were acknowledged.
    pub acked_writes: u64,
    /// Reads that were served.
    pub reads: u64,
    /// Elections that were won.
    pub elections: u64,
    /// Whether it has to show so many of these.
    pub owes_counts: bool,
    /// What went wrong, and where nodes crashed.
    pub hits: Hits,
    /// Branches of the FSM.
    pub marks: Marks,
    /// What was drawn and what of it hit.
    pub tally: Tally,
    /// What two runs of a seed have in common.
    pub digest: u64,
    /// How many lines a record of it has, without routine.
    pub events: u64,
}

/// A run under way.
pub(crate) struct Run {
    plan: Plan,
    sim: Sim,
    clients: Clients,
    nemesis: Nemesis,
    /// When the part with faults ended, if it has.
    disturbed: Option<Micros>,
}

impl Run {
    pub(crate) fn new(plan: &Plan) -> Run {
        let sim = Sim::new(plan.settings.clone());
        Run {
            clients: Clients::new(plan),
            nemesis: Nemesis::new(plan),
            sim,
            plan: plan.clone(),
            disturbed: None,
        }
    }

    /// Keeps what happens as lines.
    pub(crate) fn record(&mut self) {
        self.sim.record();
    }

    pub(crate) fn take_lines(&mut self) -> Vec<Line> {
        self.sim.take_lines()
    }

    /// What clients asked for while there were faults.
    pub(crate) fn asked(&self) -> Vec<Ask> {
        self.clients.asked().to_vec()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            virtual_time: self.sim.now(),
            disturbed: self.disturbed.unwrap_or(self.sim.now()),
            steps: self.sim.steps(),
            acked_writes: self.clients.acked_writes(),
            reads: self.clients.reads(),
            elections: self.sim.elections(),
            owes_counts: self.plan.owes_counts,
            hits: self.sim.hits(),
            marks: self.sim.marks().clone(),
            tally: self.nemesis.tally(),
            digest: self.sim.digest(),
            events: self.sim.events(),
        }
    }

    /// Runs it to its end. Panics with the property that is broken.
    pub(crate) fn go(&mut self) {
        let delay = self.plan.delay;
        self.sim.network.set_delay(delay, self.plan.is_fifo);
        self.sim.network.queue_max = self.plan.queue_max;
        for (number, fault) in self.plan.faults.iter().enumerate() {
            let alarm = FAULT_ALARMS + 2 * number as u64;
            self.sim.alarm(fault.at, alarm);
            self.sim.alarm(fault.at + fault.span, alarm + 1);
        }
        self.clients.begin(&mut self.sim);
        self.disturb();
        self.disturbed = Some(self.sim.now());
        if self.plan.heals {
            self.heal();
            self.settle();
        }
        self.judge();
    }

    /// Lets time pass.
    fn run_until(&mut self, until: Micros) {
        if self.sim.now() > self.plan.longest {
            fail(Property::Vacuous, "it goes on for too long");
        }
        while let Some(due) = self.sim.advance(until) {
            match due {
                Due::Answer(token, reply) => {
                    let operators = &mut self.nemesis.operators;
                    if !operators.answered(&mut self.sim, token, &reply) {
                        self.clients.answered(&mut self.sim, token, reply);
                    }
                }
                Due::Joint(leader) => self.nemesis.joint_begins(&mut self.sim, leader),
                Due::Alarm(alarm) if alarm < FAULT_ALARMS => {
                    let overload = self.nemesis.overloads();
                    self.clients.ring(&mut self.sim, alarm as usize, overload);
                }
                Due::Alarm(alarm) if alarm >= OPERATOR_ALARMS => {
                    self.nemesis.operators.ring(&mut self.sim, alarm);
                }
                Due::Alarm(alarm) => self.fault(alarm - FAULT_ALARMS),
            }
        }
    }

    fn fault(&mut self, alarm: u64) {
        let number = (alarm / 2) as usize;
        if !self.nemesis.is_on {
            return;
        }
        match alarm % 2 {
            0 => {
                let fault = self.plan.faults[number];
                self.nemesis.begin(&mut self.sim, number, fault);
            }
            _ => self.nemesis.end(&mut self.sim, number),
        }
    }

    fn has_counts(&self) -> bool {
        self.clients.acked_writes() >= ACKED_WRITES_MIN
            && self.clients.reads() >= READS_MIN
            && self.sim.elections() >= ELECTIONS_MIN
    }

    /// The part with faults.
    fn disturb(&mut self) {
        if let Some(until) = self.plan.stop_at {
            return self.run_until(until);
        }
        self.run_until(RUN_MIN);
        while self.plan.owes_counts && !self.has_counts() {
            let stats = self.stats();
            if self.sim.now() >= RUN_MAX {
                let what = format!(
                    "{} writes, {} reads and {} elections in {} s",
                    stats.acked_writes,
                    stats.reads,
                    stats.elections,
                    RUN_MAX / SECOND
                );
                fail(Property::Vacuous, &what);
            }
            self.run_until(self.sim.now() + SECOND);
        }
    }

    /// All faults end, and those nodes come back that are to be there in the end.
    fn heal(&mut self) {
        self.clients.is_on = self.plan.keeps_traffic;
        if !self.plan.keeps_traffic {
            // Quiet traps: what was under way ends before anything is mended.
            self.run_until(self.sim.now() + self.timeout());
        }
        self.nemesis.end_all(&mut self.sim);
        self.nemesis.is_on = false;
        self.nemesis.operators.is_on = false;
        self.sim.note_line(None, || "all faults end".to_owned());
        let sim = &mut self.sim;
        sim.settings.apply = None;
        sim.settings.sync = (0, 3_000);
        sim.settings.job = (0, 2_000);
        sim.settings.tick.fill(TICK);
        sim.network.noise = Noise::default();
        sim.network.queue_max = 4096;
        sim.network.set_delay(Delay::Uniform(500, 2_000), true);
        sim.network.set_bandwidth_everywhere(0);
        let ids = sim.ids();
        for &from in &ids {
            for &to in ids.iter().filter(|&&to| to != from) {
                sim.network.reset(from, to);
            }
        }
        for &id in ids.iter() {
            sim.disarm(id);
            sim.spare_disk(id);
            sim.slow_disk(id, 0);
            sim.wake(id);
        }
        self.leave_core(&ids);
        for id in ids {
            let sim = &mut self.sim;
            if !sim.is_up(id) && !sim.is_lost(id) {
                sim.start(id);
            }
        }
    }

    /// Takes voters away until only majorities are left, if the plan says so.
    fn leave_core(&mut self, ids: &[NodeId]) {
        if self.plan.ending != Ending::Core {
            return;
        }
        let mut rng = Rng::stream(self.plan.seed, 5);
        loop {
            let (sim, operators) = (&self.sim, &self.nemesis.operators);
            let configs = sim.configs_at_stake();
            let may_go = |&id: &NodeId| {
                !sim.is_lost(id)
                    && configs.iter().any(|config| config.votes(id))
                    && operators.survives(sim, None, Some(id))
            };
            let may_go: Vec<NodeId> = ids.iter().copied().filter(may_go).collect();
            if may_go.is_empty() {
                return;
            }
            self.sim.lose(rng.pick(&may_go));
        }
    }

    fn timeout(&self) -> Micros {
        self.sim.settings.election_timeout()
    }

    /// Lets time pass until something holds, and fails the run if it does not in time.
    fn within(&mut self, timeouts: u64, what: &str, holds: impl Fn(&Run) -> bool) {
        let limit = self.sim.now() + timeouts * self.timeout() + self.catch_up();
        while !holds(self) {
            if self.sim.now() >= limit {
                let what = format!("{what}: not within {timeouts} election timeouts");
                fail(Property::Liveness, &what);
            }
            self.run_until(self.sim.now() + self.timeout() / 20);
        }
    }

    /// How long the nodes that are behind may need, where every append waits for the one before,
    /// or where they need a snapshot.
    fn catch_up(&self) -> Micros {
        let ends = || {
            let ids = self.sim.ids().into_iter();
            ids.filter_map(|id| Some(self.sim.status(id)?.last.index.0))
        };
        let behind = ends().max().unwrap_or(0) - ends().min().unwrap_or(0);
        let entry_bytes = self.plan.load.value_bytes.1 + 64;
        let at_once = self.plan.settings.append_max_bytes / entry_bytes;
        let append = behind / at_once.max(1) * ROUND_TRIP;
        match self.plan.settings.snapshots {
            Some(_) => append + INSTALL + self.sim.snapshots_rest_for(),
            None => append,
        }
    }

    fn leads(&self) -> bool {
        self.sim.leader().is_some_and(|id| {
            let status = self.sim.status(id).expect("it leads");
            let log = self.sim.replica(id).expect("it leads").raft().log();
            log.term(status.commit) == Some(status.hard.term)
        })
    }

    /// The healed cluster elects, serves and agrees (liveness).
    fn settle(&mut self) {
        self.settle_partly();
        self.within(LEADER_WITHIN, "a leader that has committed", Run::leads);
        self.within(JOINT_WITHIN, "one majority decides", Run::is_settled);
        self.hand_over_to_nobody();
        self.clients.is_on = true;
        self.clients.begin_to_probe(&mut self.sim);
        self.within(SERVICE_WITHIN, "a write and a read", |run| {
            let (writes, reads) = run.clients.probed();
            writes > 0 && reads > 0
        });
        self.within(AGREEMENT_WITHIN, "enough writes and reads", |run| {
            let (writes, reads) = run.clients.probed();
            writes >= run.plan.probes && reads >= run.plan.probes
        });
        self.clients.is_on = false;
        self.run_until(self.sim.now() + self.plan.load.patience);
        self.within(SERVICE_WITHIN, "all calls end", |run| {
            run.clients.are_idle()
        });
        self.repair();
        self.read_all();
        self.within(AGREEMENT_WITHIN, "all nodes agree", Run::agree);
        self.sim.compare_states();
    }

    /// A leader that everybody has had the time to accept.
    fn lasting_leader(&mut self) -> NodeId {
        self.within(LEADER_WITHIN, "a leader that has committed", Run::leads);
        self.run_until(self.sim.now() + LEADER_WITHIN * self.timeout());
        self.within(LEADER_WITHIN, "a leader that lasts", Run::leads);
        self.sim.leader().expect("just seen")
    }

    /// Leadership is to go to a node that is gone for good: the leader has to give that up (th.
    /// 3.10).
    fn hand_over_to_nobody(&mut self) {
        let leader = self.sim.leader().expect("just seen");
        let config = &self.sim.status(leader).expect("it leads").config;
        let lost = config.voters().find(|&id| self.sim.is_lost(id));
        if lost.is_some() {
            self.sim.transfer(leader, lost);
        }
    }

    /// Whether the leader's configuration is committed and not joint.
    fn is_settled(&self) -> bool {
        let status = self.sim.leader().and_then(|id| self.sim.status(id));
        status.is_some_and(|status| !status.config.is_joint() && status.config_at <= status.commit)
    }

    /// What operators still want is done or refused, and voters that are gone for good are
    /// replaced by others.
    fn repair(&mut self) {
        if self.plan.settings.spares == 0 {
            return;
        }
        let operators = &mut self.nemesis.operators;
        operators.is_on = true;
        operators.repair(&mut self.sim);
        self.within(CHANGES_WITHIN, "changes of members end", |run| {
            run.nemesis.operators.are_idle()
        });
    }

    /// A partition remains with which a majority can work. The rest must not keep it from that.
    fn settle_partly(&mut self) {
        let ids = self.sim.ids();
        let down = ids.iter().any(|&id| !self.sim.is_up(id));
        let mut rng = Rng::stream(self.plan.seed, 6);
        let (cut, elections_max) = match self.plan.ending {
            Ending::Whole | Ending::Core => return,
            // With a node lost for good the remaining graph may have no majority.
            _ if down => return,
            // Whoever hears the leader refuses the one that does not (th. 4.2.3): nothing happens.
            Ending::OneLink => {
                let leader = self.lasting_leader();
                let others: Vec<NodeId> = ids.iter().copied().filter(|&id| id != leader).collect();
                let other = rng.pick(&others);
                (vec![(leader, other), (other, leader)], 0)
            }
            // Only the hub sees a majority: nobody else can win, nor can the hub with an old log.
            Ending::Star => {
                let end_of = |&&id: &&NodeId| self.sim.status(id).expect("all are up").last;
                let hub = ids.iter().max_by_key(end_of);
                (star(&ids, *hub.expect("there are nodes")), CALM_ELECTIONS)
            }
            Ending::DeafLeader => {
                let leader = self.lasting_leader();
                let others = ids.iter().filter(|&&id| id != leader);
                (others.map(|&id| (id, leader)).collect(), CALM_ELECTIONS)
            }
        };
        self.sim
            .note_line(None, || format!("links stay cut: {cut:?}"));
        for (from, to) in cut {
            self.sim.network.cut(from, to);
        }
        // A node that is cut off can win the votes of others only while nothing new is written.
        if self.plan.ending == Ending::OneLink {
            self.clients.is_on = false;
            self.stay_calm(elections_max);
        }
        self.clients.is_on = true;
        self.clients.begin_to_probe(&mut self.sim);
        let committed = self.sim.committed_index();
        self.within(SERVICE_WITHIN, "progress with links cut", |run| {
            run.sim.committed_index() > committed && run.leads()
        });
        self.clients.is_on = false;
        self.stay_calm(elections_max);
        self.sim.network.heal();
    }

    /// Fails the run if leaders are elected without need.
    fn stay_calm(&mut self, elections_max: u64) {
        let elections_before = self.sim.elections();
        for timeouts in 1..=CALM_TIMEOUTS {
            self.run_until(self.sim.now() + self.timeout());
            let elections = self.sim.elections() - elections_before;
            if elections > elections_max {
                let what = format!("{elections} elections in {timeouts} timeouts, links cut");
                fail(Property::Liveness, &what);
            }
        }
    }

    /// Every key is read: what was acknowledged must be there.
    fn read_all(&mut self) {
        for key in self.clients.keys() {
            let reads = self.clients.reads();
            let has_read = (0..READ_ATTEMPTS).any(|_| {
                self.clients.probe(&mut self.sim, key);
                self.within(SERVICE_WITHIN, "a read of each key", |run| {
                    run.clients.are_idle()
                });
                self.clients.reads() > reads
            });
            if !has_read {
                let what = format!("a read of each key: not in {READ_ATTEMPTS} attempts");
                fail(Property::Liveness, &what);
            }
        }
    }

    /// Whether all members that are there have the same log and the same state, and go by the same
    /// configuration.
    fn agree(&self) -> bool {
        let Some(leader) = self.sim.leader().and_then(|id| self.sim.status(id)) else {
            return false;
        };
        let members = leader.config.members().keys();
        let mut members =
            members.filter_map(|&id| Some((self.sim.status(id)?, self.sim.replica(id)?.applied())));
        self.is_settled()
            && members.all(|(status, applied)| {
                status.last == leader.last
                    && status.config == leader.config
                    && [status.commit, applied] == [leader.last.index; 2]
            })
    }

    /// What the clients saw, judged as a whole.
    fn judge(&mut self) {
        let committed = self.sim.committed().iter();
        self.clients.history.committed = committed
            .map(|(at, command)| {
                let (key, request) = match command {
                    Command::Put { key, value } => (key, Request::Put(value_of(value))),
                    Command::Delete { key } => (key, Request::Delete),
                };
                Committed {
                    at: *at,
                    key: key_of(key),
                    request,
                }
            })
            .collect();
        if let Err(error) = linearizability::check(&self.clients.history) {
            fail(Property::Linearizability, &error.to_string());
        }
    }
}
