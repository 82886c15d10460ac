//! Makes a failure small enough to read: what a plan does not need to fail is taken away, and what
//! is left is drawn anew, shorter, for as long as that leaves fewer events.

use crate::{
    invariants::Property,
    rng::Rng,
    run::{Failure, run_plan},
    scenario::{Ending, Plan, Preset, SECOND},
    sim::{Delay, Line, Micros, Syncs},
};

/// A failing seed's plan, as small as it got.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan that is left, as text.
    pub plan: String,
    /// Why it fails.
    pub failure: Failure,
    /// What happens in it, without routine.
    pub lines: Vec<Line>,
    /// How many lines there were before.
    pub events_before: u64,
    /// How many plans were tried.
    pub tried: u64,
    small: Plan,
}

impl Shrunk {
    /// Whether the plan that is left breaks the property in this program.
    #[must_use]
    pub fn fails(&self) -> bool {
        let failure = run_plan(&self.small, false).failure;
        failure.is_some_and(|failure| failure.property == self.failure.property)
    }
}

/// So many events can be read.
const READABLE: u64 = 200;
/// A course that does not lead there is followed by another one, so many in all.
const COURSES: u64 = 3;
/// A course takes no longer than this, in virtual time so that every machine comes to the same
/// end.
const SPENT_MAX: Micros = 15_000 * SECOND;
/// What beginning a run counts for.
const BEGIN_COSTS: Micros = SECOND / 2;
/// So many plans that were drawn anew and are no smaller are enough: of a long plan, where each
/// costs most, and of a short one.
const LONG_MISSES: u64 = 60;
const SHORT_MISSES: u64 = 400;

/// Shrinks the plan of a seed. `None` if the seed does not fail.
#[must_use]
pub fn shrink(seed: u64) -> Option<Shrunk> {
    let plan = Plan::draw(Preset::of(seed), seed);
    let outcome = run_plan(&plan, false);
    let stats = outcome.stats;
    let property = outcome.failure?.property;
    let mut best = Search::new(&plan, property, stats.events, Rng::new(seed));
    let mut tried = 0;
    for course in 0..COURSES {
        let rng = Rng::stream(seed, 7 + course);
        let mut search = Search::new(&plan, property, stats.events, rng);
        search.run(stats.disturbed);
        tried += search.tried;
        if search.events < best.events {
            best = search;
        }
        if best.events <= READABLE {
            break;
        }
    }
    let outcome = run_plan(&best.plan, true);
    let mut lines = outcome.lines;
    lines.retain(|line| !line.is_routine);
    Some(Shrunk {
        plan: format!("{:#?}", best.plan),
        failure: outcome.failure.expect("it failed before"),
        lines,
        events_before: stats.events,
        tried,
        small: best.plan,
    })
}

/// A change that makes a plan plainer.
type Change = fn(&mut Plan);

const PLAINER: &[Change] = &[
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
    |plan| plan.settings.append_max_bytes = 128 << 10,
    |plan| plan.settings.in_flight_max = 64,
    |plan| plan.load.loss = 0,
    |plan| plan.load.value_bytes = (8, 8),
    |plan| plan.load.travel = (100, 100),
    |plan| plan.load.backoff = (50_000, 100_000),
];

struct Search {
    plan: Plan,
    property: Property,
    /// How many lines a record of the plan's run has.
    events: u64,
    tried: u64,
    spent: Micros,
    rng: Rng,
}

impl Search {
    fn new(plan: &Plan, property: Property, events: u64, rng: Rng) -> Search {
        Search {
            plan: plan.clone(),
            property,
            events,
            tried: 0,
            spent: 0,
            rng,
        }
    }

    /// Follows one course for as long as it leads on.
    fn run(&mut self, disturbed: Micros) {
        self.end_early(disturbed);
        loop {
            let before = self.events;
            self.anew(LONG_MISSES);
            self.fewer_faults();
            self.plainer();
            self.less_load();
            self.shorter();
            self.anew(SHORT_MISSES);
            if self.events >= before || self.is_spent() {
                break;
            }
        }
    }

    fn is_spent(&self) -> bool {
        self.spent >= SPENT_MAX
    }

    /// Takes a changed plan if it still breaks the same property, in no more events.
    fn takes(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        self.takes_within(self.events, change)
    }

    fn takes_within(&mut self, events_max: u64, change: impl FnOnce(&mut Plan)) -> bool {
        if self.is_spent() {
            return false;
        }
        let mut plan = self.plan.clone();
        change(&mut plan);
        let outcome = run_plan(&plan, false);
        let stats = outcome.stats;
        self.tried += 1;
        self.spent += BEGIN_COSTS + stats.virtual_time;
        let failure = outcome.failure;
        let fails = failure.is_some_and(|failure| failure.property == self.property);
        if !fails || stats.events > events_max {
            return false;
        }
        if !plan.heals {
            plan.stop_at = Some(stats.virtual_time);
        }
        let stop_at = plan.stop_at.unwrap_or(Micros::MAX);
        plan.faults.retain(|fault| fault.at <= stop_at);
        self.plan = plan;
        self.events = stats.events;
        true
    }

    /// No counts are owed, and what comes after the failure does not matter: healing, too, unless
    /// it is then that it fails.
    fn end_early(&mut self, disturbed: Micros) {
        let ends = |plan: &mut Plan| {
            plan.owes_counts = false;
            plan.stop_at = Some(disturbed);
            plan.faults.retain(|fault| fault.at <= disturbed);
        };
        let ends_there = self.takes(|plan| {
            ends(plan);
            plan.heals = false;
        });
        if !ends_there {
            self.takes(ends);
        }
    }

    /// Drops ever smaller parts of the faults (Zeller and Hildebrandt's ddmin).
    fn fewer_faults(&mut self) {
        let mut part = self.plan.faults.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < self.plan.faults.len() {
                let upto = (from + part).min(self.plan.faults.len());
                // Without a fault more may happen at first; what is left has less to hide behind.
                let events_max = self.events + self.events / 4;
                let dropped = self.takes_within(events_max, |plan| {
                    plan.faults.drain(from..upto);
                });
                if !dropped {
                    from += part;
                }
            }
            if part == 1 {
                return;
            }
            part = part.div_ceil(2);
        }
    }

    /// Takes away what makes a run less plain.
    fn plainer(&mut self) {
        for change in PLAINER {
            self.takes(change);
        }
    }

    /// Fewer clients, keys and calls.
    fn less_load(&mut self) {
        while self.plan.load.clients > 1 && self.takes(|plan| plan.load.clients -= 1) {}
        while self.plan.load.keys > 1 && self.takes(|plan| plan.load.keys -= 1) {}
        for calls in [0, 1, 2, 3, 5, 8, 12, 20, 50, 100, 300] {
            if calls >= self.plan.load.calls_max || self.takes(|plan| plan.load.calls_max = calls) {
                break;
            }
        }
        while self.plan.load.think.1 < SECOND && self.takes(|plan| plan.load.think.1 *= 2) {}
    }

    /// Less time before the first fault, between faults, and after the last.
    fn shorter(&mut self) {
        let mut number = 0;
        while number < self.plan.faults.len() {
            let before = match number {
                0 => 0,
                _ => self.plan.faults[number - 1].at,
            };
            for part in [0, 1, 2, 3] {
                let Some(fault) = self.plan.faults.get(number) else {
                    return;
                };
                let gap = (fault.at - before) * (4 - part) / 4;
                let moved = self.takes(|plan| {
                    let later = plan.faults.iter_mut().skip(number);
                    later.for_each(|fault| fault.at -= gap);
                    plan.stop_at = plan.stop_at.map(|at| at.saturating_sub(gap));
                });
                if moved {
                    break;
                }
            }
            let is_long = |plan: &Plan| {
                let fault = plan.faults.get(number);
                fault.is_some_and(|fault| fault.span > 50_000)
            };
            while is_long(&self.plan) && self.takes(|plan| plan.faults[number].span /= 2) {}
            number += 1;
        }
        let mut step = self.plan.stop_at.unwrap_or(0) / 2;
        while step > 10_000 {
            if !self.takes(|plan| plan.stop_at = plan.stop_at.map(|at| at.saturating_sub(step))) {
                step /= 2;
            }
        }
    }

    /// The same kinds of faults in less time, at other moments, for fewer calls: what needs one
    /// coincidence needs little else.
    fn anew(&mut self, misses_max: u64) {
        let mut misses = 0;
        while misses < misses_max && !self.is_spent() {
            let mut rng = Rng::new(self.rng.draw());
            let events_max = self.events.saturating_sub(1);
            match self.takes_within(events_max, |plan| redraw(plan, &mut rng)) {
                true => misses = 0,
                false => misses += 1,
            }
        }
    }
}

/// How much of a span of time may be left.
const EIGHTHS: &[u64] = &[8, 8, 7, 6, 4, 2, 0];

/// Draws again what a plan leaves open, and makes it smaller or plainer here and there.
fn redraw(plan: &mut Plan, rng: &mut Rng) {
    plan.seed = rng.draw();
    plan.settings.seed = plan.seed;
    if plan.faults.len() > 1 && rng.chance(400) {
        let number = rng.between(0, plan.faults.len() as u64 - 1);
        plan.faults.remove(number as usize);
    }
    let alike = rng.chance(500).then(|| rng.pick(EIGHTHS));
    let (mut before, mut at) = (0, 0);
    let mut shortened = |time: Micros, rng: &mut Rng| {
        let gap = time - before;
        let eighths = alike.unwrap_or_else(|| rng.pick(EIGHTHS));
        before = time;
        at += gap * eighths * rng.between(75, 115) / 800;
        at
    };
    for fault in &mut plan.faults {
        fault.at = shortened(fault.at, rng);
        if rng.chance(300) {
            fault.span = fault.span * rng.between(1, 8) / 4 + 1_000;
        }
        // A draw of 0 aims at the leader.
        if fault.draw != 0 && rng.chance(500) {
            fault.draw = rng.draw();
        }
    }
    plan.stop_at = plan.stop_at.map(|at| shortened(at, rng));
    let load = &mut plan.load;
    load.clients = rng.between(1, load.clients.into()) as u32;
    load.keys = rng.between(1, load.keys.into()) as u32;
    if rng.chance(500) {
        load.calls_max = load.calls_max.min(rng.pick(&[1, 2, 3, 5, 8, 12, 20]));
    }
    if rng.chance(200) {
        load.think.1 = rng.pick(&[2_000, 20_000, 100_000, 300_000]);
    }
    for change in PLAINER {
        if rng.chance(150) {
            change(plan);
        }
    }
}
