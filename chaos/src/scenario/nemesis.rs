//! Who does the planned faults to the cluster, and undoes them.

use std::collections::BTreeMap;

use raftkv::raft::NodeId;
use raftkv_wal::Operation;

use super::{
    kind::{Class, Kind},
    membership::Strike,
    operators::Operators,
    plan::{Plan, Planned, draw_tick},
};
use crate::{
    rng::Rng,
    sim::{Armed, CrashPoint, Delay, Hits, Micros, Noise, Sim, TICK},
};

pub(super) type Links = Vec<(NodeId, NodeId)>;

/// Where every recovery passes.
const RECOVERY: [CrashPoint; 3] = [
    CrashPoint::RecoverOpen,
    CrashPoint::RecoverWrite,
    CrashPoint::RecoverSync,
];

/// What a disk fails at that fails to sync, and to write: mostly of the log.
const SYNCS: [Operation; 3] = [Operation::Sync, Operation::Sync, Operation::SyncDirectory];
const WRITES: [Operation; 5] = [
    Operation::Write,
    Operation::Write,
    Operation::CreateFile,
    Operation::Publish,
    Operation::Remove,
];

/// A fault that has begun.
#[derive(Debug)]
struct Active {
    kind: Kind,
    /// What had gone wrong before.
    before: Hits,
    effect: Effect,
}

/// What a fault does until it ends.
#[derive(Debug, Default)]
struct Effect {
    cut: Links,
    clogged: Links,
    noise: Noise,
    delay: Option<(Links, Delay)>,
    narrow: Links,
    overtakes: bool,
    node: Option<NodeId>,
    /// What happens as soon as a joint configuration is in force.
    strike: Option<Strike>,
}

/// What the faults of a run amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many faults of each kind began, and how many of them really hit.
    pub kinds: Vec<(Kind, u64, u64)>,
    /// How often a fault of one class began while one of another was there.
    pub overlaps: BTreeMap<(Class, Class), u64>,
}

/// Whoever does the faults.
#[derive(Debug)]
pub(super) struct Nemesis {
    base: (Delay, bool),
    queue_max: u64,
    active: BTreeMap<usize, Active>,
    begun: BTreeMap<Kind, (u64, u64)>,
    overlaps: BTreeMap<(Class, Class), u64>,
    /// How many nodes may be lost for good.
    losses_left: u64,
    /// Whether faults begin and end.
    pub(super) is_on: bool,
    pub(super) operators: Operators,
}

impl Nemesis {
    pub(super) fn new(plan: &Plan) -> Nemesis {
        Nemesis {
            base: (plan.delay, plan.is_fifo),
            queue_max: plan.queue_max,
            active: BTreeMap::new(),
            begun: BTreeMap::new(),
            overlaps: BTreeMap::new(),
            losses_left: match plan.settings.spares {
                0 => (plan.settings.nodes - 1) / 2,
                // Who is lost is replaced.
                _ => u64::MAX,
            },
            is_on: true,
            operators: Operators::new(plan),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        let kinds = self.begun.iter();
        Tally {
            kinds: kinds.map(|(&kind, &(n, hit))| (kind, n, hit)).collect(),
            overlaps: self.overlaps.clone(),
        }
    }

    /// Whether clients ask for ten times as much.
    pub(super) fn overloads(&self) -> bool {
        self.active
            .values()
            .any(|active| active.kind == Kind::Overload)
    }

    /// A fault of the plan is due.
    pub(super) fn begin(&mut self, sim: &mut Sim, number: usize, fault: Planned) {
        let Planned {
            kind, draw, span, ..
        } = fault;
        for other in self.active.values() {
            let (a, b) = (kind.class(), other.kind.class());
            *self.overlaps.entry((a.min(b), a.max(b))).or_default() += 1;
        }
        self.begun.entry(kind).or_default().0 += 1;
        sim.note_line(None, || format!("{} for {} ms", kind.name(), span / 1000));
        let before = sim.hits();
        let mut rng = Rng::new(draw);
        let aim = Aim {
            at_leader: draw == 0 || rng.chance(600),
        };
        let mut effect = Effect::default();
        match kind.class() {
            Class::Network => begin_network(sim, kind, aim, &mut rng, &mut effect),
            Class::Process => begin_process(sim, kind, aim, span, &mut rng, &mut effect),
            Class::Protocol if kind == Kind::Membership => {
                self.operators.come(sim, &mut rng);
                arm_for_change(sim, aim, span, &mut rng);
                effect.strike = Strike::draw(span, &mut rng);
            }
            Class::Storage | Class::Protocol => {
                self.begin_storage(sim, kind, aim, &mut rng, &mut effect);
            }
        }
        let active = Active {
            kind,
            before,
            effect,
        };
        self.active.insert(number, active);
        self.set_network(sim);
    }

    /// A fault that has begun ends.
    pub(super) fn end(&mut self, sim: &mut Sim, number: usize) {
        let Some(active) = self.active.remove(&number) else {
            return;
        };
        let Active {
            kind,
            before,
            effect,
        } = active;
        sim.note_line(None, || format!("{} ends", kind.name()));
        for &(from, to) in &effect.clogged {
            sim.unclog(from, to);
        }
        if let Some(node) = effect.node {
            match kind {
                Kind::CrashPoint | Kind::CrashLoop => sim.disarm(node),
                Kind::SlowDisk => sim.slow_disk(node, 0),
                Kind::SlowSnapshot => sim.slow_jobs(node, 0),
                Kind::FullDisk => sim.fill_disk(node, false),
                Kind::FailSync | Kind::FailWrite | Kind::ReadError => sim.spare_disk(node),
                _ => {}
            }
        }
        match kind {
            Kind::Skew => sim.settings.tick.fill(TICK),
            Kind::SlowApply => sim.settings.apply = None,
            _ => {}
        }
        let after = sim.hits();
        let hit = kind.effects().iter();
        if hit.clone().any(|&fault| after.of(fault) > before.of(fault)) {
            self.begun.entry(kind).or_default().1 += 1;
        }
        self.set_network(sim);
    }

    /// C_old,new is in force, at its leader to begin with: that is when to strike.
    pub(super) fn joint_begins(&mut self, sim: &mut Sim, leader: NodeId) {
        let strikes = self.active.values_mut();
        let strike = strikes.map(|active| &mut active.effect).find_map(|effect| {
            let strike = effect.strike.take()?;
            Some((strike, effect))
        });
        if let Some((strike, effect)) = strike {
            effect.cut = strike.hit(sim, leader);
            self.set_network(sim);
        }
    }

    /// Ends all that has begun.
    pub(super) fn end_all(&mut self, sim: &mut Sim) {
        let numbers: Vec<usize> = self.active.keys().copied().collect();
        for number in numbers {
            self.end(sim, number);
        }
    }

    /// Makes the network what all faults together want it to be.
    fn set_network(&self, sim: &mut Sim) {
        let effects = || self.active.values().map(|active| &active.effect);
        let network = &mut sim.network;
        network.heal();
        let (delay, is_fifo) = self.base;
        network.set_delay(delay, is_fifo && !effects().any(|effect| effect.overtakes));
        network.queue_max = self.queue_max;
        network.noise = Noise::default();
        for &(from, to) in effects().flat_map(|effect| &effect.cut) {
            network.cut(from, to);
        }
        for (links, delay) in effects().filter_map(|effect| effect.delay.as_ref()) {
            for &(from, to) in links {
                network.set_link_delay(from, to, *delay);
            }
        }
        network.set_bandwidth_everywhere(0);
        for &(from, to) in effects().flat_map(|effect| &effect.narrow) {
            network.set_bandwidth(from, to, 5);
            network.queue_max = 16;
        }
        for effect in effects() {
            let noise = &mut network.noise;
            noise.drop = noise.drop.max(effect.noise.drop);
            noise.duplicate = noise.duplicate.max(effect.noise.duplicate);
            noise.corrupt = noise.corrupt.max(effect.noise.corrupt);
        }
    }

    fn may_lose(&self, sim: &Sim, node: NodeId) -> bool {
        let spared = self.losses_left == 0 || !self.operators.survives(sim, None, Some(node));
        sim.is_up(node) && !spared
    }

    fn begin_storage(
        &mut self,
        sim: &mut Sim,
        kind: Kind,
        aim: Aim,
        rng: &mut Rng,
        effect: &mut Effect,
    ) {
        let node = aim.at_work(kind, sim, rng);
        effect.node = Some(node);
        match kind {
            Kind::SlowDisk => sim.slow_disk(node, rng.pick(&[20_000, 200_000, 1_000_000])),
            Kind::FullDisk => sim.fill_disk(node, true),
            Kind::FailSync if sim.is_up(node) => sim.fail_disk(node, rng.pick(&SYNCS)),
            Kind::FailWrite if sim.is_up(node) => sim.fail_disk(node, rng.pick(&WRITES)),
            Kind::ReadError if sim.is_up(node) => {
                sim.kill(node);
                sim.fail_disk(node, Operation::Open);
                sim.restart_after(node, 50_000);
            }
            Kind::Damage if self.may_lose(sim, node) => {
                self.losses_left -= 1;
                sim.kill(node);
                sim.damage(node, rng);
                sim.restart_after(node, 50_000);
            }
            Kind::FailSync | Kind::FailWrite | Kind::ReadError | Kind::Damage => {}
            Kind::Transfer => {
                let to = match rng.between(0, 3) {
                    0 => None,
                    _ => Some(rng.pick(&sim.ids())),
                };
                sim.transfer(node, to);
            }
            Kind::Overload => {}
            _ => unreachable!("{} is no fault of a disk", kind.name()),
        }
    }
}

/// Whom a fault is meant for.
#[derive(Clone, Copy, Debug)]
struct Aim {
    at_leader: bool,
}

impl Aim {
    fn node(self, sim: &Sim, rng: &mut Rng) -> NodeId {
        let any = rng.pick(&sim.ids());
        match sim.leader() {
            Some(leader) if self.at_leader => leader,
            _ => any,
        }
    }

    /// One that is up, unless the fault means something to a node that is down: it may crash
    /// within recovery.
    fn at_work(self, kind: Kind, sim: &Sim, rng: &mut Rng) -> NodeId {
        let node = self.node(sim, rng);
        if let Kind::CrashPoint | Kind::CrashLoop = kind {
            return node;
        }
        let up: Vec<NodeId> = sim.ids().into_iter().filter(|&id| sim.is_up(id)).collect();
        match up.contains(&node) || up.is_empty() {
            true => node,
            false => rng.pick(&up),
        }
    }
}

fn begin_network(sim: &mut Sim, kind: Kind, aim: Aim, rng: &mut Rng, effect: &mut Effect) {
    let ids = sim.ids();
    let node = aim.node(sim, rng);
    if ids.len() < 2 {
        return;
    }
    match kind {
        Kind::Isolate => effect.cut = around(&ids, node),
        Kind::Away => {
            let leader = sim.leader();
            let others: Vec<NodeId> = ids
                .iter()
                .copied()
                .filter(|&id| Some(id) != leader)
                .collect();
            effect.cut = around(&ids, rng.pick(&others));
        }
        Kind::Split => {
            let side = rng.draw();
            let here = |id: NodeId| side >> id.0 & 1 == 0;
            effect.cut = pairs(&ids).filter(|&(a, b)| here(a) != here(b)).collect();
        }
        Kind::OneWay => effect.cut = one_way(&ids, node, rng.chance(500)),
        Kind::OneLink => {
            let (a, b) = two(&ids, rng);
            effect.cut = vec![(a, b), (b, a)];
        }
        Kind::Star => effect.cut = star(&ids, node),
        Kind::Flap => {
            let (a, b) = two(&ids, rng);
            effect.cut = vec![(a, b)];
            if rng.chance(500) {
                effect.cut.push((b, a));
            }
        }
        Kind::Swizzle => {
            effect.clogged = pairs(&ids).filter(|_| rng.chance(500)).collect();
            for &(from, to) in &effect.clogged {
                sim.network.clog(from, to);
            }
        }
        Kind::Drop => effect.noise.drop = rng.between(10, 300),
        Kind::Duplicate => effect.noise.duplicate = rng.between(50, 500),
        Kind::Corrupt => effect.noise.corrupt = rng.between(5, 100),
        Kind::Replay => {
            for (from, to) in pairs(&ids) {
                sim.replay(from, to, rng.between(1, 6) as usize);
            }
        }
        Kind::Reorder => {
            effect.overtakes = true;
            let delay = Delay::Exponential(100, rng.pick(&[5_000, 30_000]));
            effect.delay = Some((pairs(&ids).collect(), delay));
        }
        Kind::SlowLink => {
            let (a, b) = two(&ids, rng);
            effect.delay = Some((vec![(a, b), (b, a)], slow_delay(rng)));
        }
        Kind::Spike => effect.delay = Some((pairs(&ids).collect(), slow_delay(rng))),
        Kind::Narrow => effect.narrow = pairs(&ids).collect(),
        Kind::Reset => {
            for (from, to) in pairs(&ids).filter(|_| rng.chance(700)) {
                sim.network.reset(from, to);
            }
        }
        _ => unreachable!("{} is no fault of the network", kind.name()),
    }
}

fn begin_process(
    sim: &mut Sim,
    kind: Kind,
    aim: Aim,
    span: Micros,
    rng: &mut Rng,
    effect: &mut Effect,
) {
    let node = aim.at_work(kind, sim, rng);
    match kind {
        Kind::Kill if sim.is_up(node) => {
            sim.kill(node);
            sim.restart_after(node, span);
        }
        Kind::PowerCut if sim.is_up(node) => {
            sim.cut_power(node);
            sim.restart_after(node, span);
        }
        Kind::Kill | Kind::PowerCut => {}
        Kind::CrashPoint => effect.node = crash_at_point(sim, node, span, rng),
        Kind::CrashLoop => {
            effect.node = Some(node);
            let armed = Armed {
                point: rng.pick(&RECOVERY),
                skip: 0,
                again: rng.between(2, 6),
                power: true,
                down: span / 8,
            };
            arm(sim, node, armed, span);
        }
        Kind::Blackout => {
            for id in sim.ids() {
                if sim.is_up(id) {
                    sim.cut_power(id);
                    sim.restart_after(id, rng.between(1_000, span));
                }
            }
        }
        Kind::Pause => {
            sim.pause(node, span);
            if rng.chance(250) {
                let other = rng.pick(&sim.ids());
                sim.pause(other, span / 2);
            }
        }
        Kind::Skew => {
            for id in sim.ids() {
                sim.skew(id, draw_tick(rng));
            }
        }
        Kind::SlowSnapshot => {
            effect.node = Some(node);
            sim.slow_jobs(node, rng.pick(&[100_000, 500_000]));
        }
        Kind::Burst => sim.burst(node, rng.between(5, 60) as u32),
        Kind::SlowApply => sim.settings.apply = Some((1_000, rng.pick(&[20_000, 100_000]))),
        _ => unreachable!("{} is no fault of a process", kind.name()),
    }
}

/// Lets a node crash at some point. Returns it if the fault ends with its span.
fn crash_at_point(sim: &mut Sim, node: NodeId, span: Micros, rng: &mut Rng) -> Option<NodeId> {
    let point = draw_point(rng);
    let is_rare = CrashPoint::RARE.contains(&point);
    let armed = Armed {
        point,
        skip: if is_rare { 0 } else { rng.between(0, 3) },
        again: 0,
        power: rng.chance(500),
        down: rng.between(1_000, span),
    };
    match point.needs_fetch() {
        // Nobody knows who will fetch a snapshot.
        true => sim.ids().into_iter().for_each(|id| sim.arm(id, armed)),
        false => arm(sim, node, armed, span),
    }
    // What is rare may also happen after the fault.
    (!is_rare).then_some(node)
}

/// Half of the crashes have nothing to do with snapshots.
fn draw_point(rng: &mut Rng) -> CrashPoint {
    let of_snapshots = rng.chance(500);
    loop {
        let point = rng.pick(CrashPoint::AT_WORK);
        if point.is_of_snapshots() == of_snapshots {
            return point;
        }
    }
}

/// Now and then a node crashes at a point of a change.
fn arm_for_change(sim: &mut Sim, aim: Aim, span: Micros, rng: &mut Rng) {
    let node = aim.node(sim, rng);
    let armed = Armed {
        point: rng.pick(CrashPoint::OF_CONFIGS),
        skip: rng.between(0, 2),
        again: 0,
        power: rng.chance(500),
        down: rng.between(1_000, span),
    };
    if rng.chance(250) {
        sim.arm(node, armed);
    }
}

/// Lets a node crash at a point. The points of recovery need a crash before.
fn arm(sim: &mut Sim, node: NodeId, armed: Armed, span: Micros) {
    sim.arm(node, armed);
    if armed.point.is_of_recovery() && sim.is_up(node) {
        sim.cut_power(node);
        sim.restart_after(node, span / 8);
    }
}

fn slow_delay(rng: &mut Rng) -> Delay {
    rng.pick(&[
        Delay::Uniform(20_000, 60_000),
        Delay::Uniform(10_000, 500_000),
        Delay::Exponential(20_000, 100_000),
    ])
}

/// All links.
pub(super) fn pairs(ids: &[NodeId]) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
    let from = ids.iter().copied();
    from.flat_map(|a| ids.iter().map(move |&b| (a, b)))
        .filter(|(a, b)| a != b)
}

/// Both ways between a node and all others.
pub(super) fn around(ids: &[NodeId], node: NodeId) -> Links {
    pairs(ids)
        .filter(|&(a, b)| a == node || b == node)
        .collect()
}

/// All links to a node, or all from it.
pub(super) fn one_way(ids: &[NodeId], node: NodeId, deaf: bool) -> Links {
    let cut = |&(from, to): &(NodeId, NodeId)| if deaf { to == node } else { from == node };
    pairs(ids).filter(cut).collect()
}

/// All links but those of the hub.
pub(super) fn star(ids: &[NodeId], hub: NodeId) -> Links {
    pairs(ids).filter(|&(a, b)| a != hub && b != hub).collect()
}

/// Two different nodes.
pub(super) fn two(ids: &[NodeId], rng: &mut Rng) -> (NodeId, NodeId) {
    let a = rng.pick(ids);
    let others: Vec<NodeId> = ids.iter().copied().filter(|&id| id != a).collect();
    (a, rng.pick(&others))
}
