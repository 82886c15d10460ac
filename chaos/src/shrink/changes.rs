//! What can be changed in a plan so that less happens.

use crate::{
    draws::Draws,
    rng::Rng,
    scenario::{Ending, Plan},
    sim::{Delay, Micros, Syncs},
};

/// A change that makes a plan plainer.
type Change = fn(&mut Plan);

pub(super) const PLAINER: &[Change] = &[
    |plan| plan.ending = Ending::Whole,
    |plan| plan.probes = 1,
    |plan| plan.keeps_traffic = false,
    |plan| plan.settings.first_crash = None,
    |plan| {
        plan.settings.nodes = 3;
        let crash = plan.settings.first_crash;
        plan.settings.first_crash = crash.filter(|(node, _)| node.0 < 3);
    },
    |plan| plan.is_fifo = true,
    |plan| plan.delay = Delay::Uniform(1_000, 1_000),
    |plan| plan.settings.syncs = Syncs::Beside,
    |plan| plan.settings.sync = (1_000, 1_000),
    |plan| plan.settings.snapshots = None,
    // What takes a snapshot to show has not to wait for a long log.
    |plan| {
        let policy = plan.settings.snapshots.iter_mut();
        policy.for_each(|policy| policy.log_bytes = policy.log_bytes.min(200));
    },
    |plan| {
        let policy = plan.settings.snapshots.iter_mut();
        policy.for_each(|policy| policy.log_bytes = policy.log_bytes.min(2_000));
    },
    |plan| plan.settings.describes = false,
    |plan| plan.settings.append_max_bytes = 128 << 10,
    |plan| plan.settings.in_flight_max = 64,
    |plan| plan.load.loss = 0,
    |plan| plan.load.value_bytes = (8, 8),
    |plan| plan.load.travel = (100, 100),
    |plan| plan.load.backoff = (50_000, 100_000),
    |plan| plan.pace = Some(500_000),
];

/// What comes later than this, by so much earlier.
pub(super) fn earlier(plan: &mut Plan, than: Micros, gap: Micros) {
    let move_up = |at: &mut Micros| {
        if *at >= than {
            *at -= gap;
        }
    };
    plan.faults
        .iter_mut()
        .for_each(|fault| move_up(&mut fault.at));
    let asks = plan.asks.iter_mut().flatten();
    asks.for_each(|ask| move_up(&mut ask.at));
    plan.stop_at.iter_mut().for_each(move_up);
    plan.settings.draws.close(than - gap, gap);
}

/// How much of a span of time may be left.
const EIGHTHS: &[u64] = &[8, 8, 7, 6, 4, 2, 0];

/// Draws again what a plan leaves open, and makes it smaller or plainer here and there.
pub(super) fn redraw(plan: &mut Plan, rng: &mut Rng) {
    sow(plan, rng);
    if plan.faults.len() > 1 && rng.chance(400) {
        let number = rng.between(0, plan.faults.len() as u64 - 1);
        plan.faults.remove(number as usize);
    }
    let alike = rng.chance(500).then(|| rng.pick(EIGHTHS));
    let mut times = Times::default();
    for fault in &mut plan.faults {
        fault.at = times.shorter(fault.at, alike, rng);
        if rng.chance(300) {
            fault.span = fault.span * rng.between(1, 8) / 4 + 1_000;
        }
        // A draw of 0 aims at the leader.
        if fault.draw != 0 && rng.chance(500) {
            fault.draw = rng.draw();
        }
    }
    plan.stop_at = plan.stop_at.map(|at| times.shorter(at, alike, rng));
    match &mut plan.asks {
        Some(_) if rng.chance(300) => plan.asks = None,
        Some(asks) => {
            let share = rng.pick(&[0, 0, 100, 300]);
            asks.retain(|_| !rng.chance(share));
            asks.iter_mut().for_each(|ask| ask.at = times.of(ask.at));
        }
        None => {}
    }
    let load = &mut plan.load;
    load.clients = rng.between(1, load.clients.into()) as u32;
    load.keys = rng.between(1, load.keys.into()) as u32;
    if rng.chance(500) {
        load.calls_max = load.calls_max.min(rng.pick(&[1, 2, 3, 5, 8, 12, 20]));
    }
    if rng.chance(200) {
        load.think.1 = rng.pick(&[2_000, 20_000, 100_000, 300_000]);
    }
    some_plainer(plan, 150, rng);
}

fn sow(plan: &mut Plan, rng: &mut Rng) {
    plan.seed = rng.draw();
    plan.settings.seed = plan.seed;
    plan.settings.draws = Draws::InOrder;
}

fn some_plainer(plan: &mut Plan, share: u64, rng: &mut Rng) {
    for change in PLAINER {
        if rng.chance(share) {
            change(plan);
        }
    }
}

/// Which times became which.
#[derive(Default)]
struct Times(Vec<(Micros, Micros)>);

impl Times {
    fn last(&self) -> (Micros, Micros) {
        self.0.last().copied().unwrap_or_default()
    }

    /// A time after all others, by a shorter gap.
    fn shorter(&mut self, time: Micros, alike: Option<u64>, rng: &mut Rng) -> Micros {
        let (before, at) = self.last();
        let eighths = alike.unwrap_or_else(|| rng.pick(EIGHTHS));
        let at = at + (time - before) * eighths * rng.between(75, 115) / 800;
        self.0.push((time, at));
        at
    }

    /// What became of a time between two of them.
    fn of(&self, time: Micros) -> Micros {
        let mut from = (0, 0);
        for &upto in &self.0 {
            if time < upto.0 {
                return from.1 + (time - from.0) * (upto.1 - from.1) / (upto.0 - from.0);
            }
            from = upto;
        }
        from.1 + (time - from.0)
    }
}

/// A short plan with a few of the same faults at any time, one upon the other.
pub(super) fn dense(plan: &mut Plan, rng: &mut Rng) {
    sow(plan, rng);
    let timeout = plan.settings.election_timeout();
    let length = rng.between(1, 12) * timeout;
    let is_brief = rng.chance(500);
    let from = plan.faults.clone();
    let count = if from.is_empty() {
        0
    } else {
        rng.between(1, 6)
    };
    plan.faults = (0..count).map(|_| rng.pick(&from)).collect();
    for fault in &mut plan.faults {
        fault.at = rng.between(timeout / 2, timeout / 2 + length);
        if is_brief {
            fault.span = fault.span.min(rng.between(timeout / 8, 4 * timeout));
        }
        if fault.draw != 0 {
            fault.draw = rng.draw();
        }
    }
    plan.faults.sort_by_key(|fault| fault.at);
    let end = plan.faults.iter().map(|fault| fault.at + fault.span).max();
    plan.stop_at = Some(rng.pick(&[timeout + length, end.unwrap_or(0).max(timeout)]));
    plan.asks = None;
    let load = &mut plan.load;
    load.clients = rng.between(1, 4) as u32;
    load.keys = rng.between(1, 3) as u32;
    load.think = (1_000, rng.pick(&[10_000, 50_000, 200_000]));
    load.calls_max = u64::MAX;
    some_plainer(plan, 400, rng);
}
