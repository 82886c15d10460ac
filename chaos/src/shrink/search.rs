//! The courses on which a plan becomes smaller.

use super::{
    READABLE,
    changes::{PLAINER, dense, earlier, redraw},
};
use crate::{
    draws::Draws,
    invariants::Property,
    rng::Rng,
    run::{run_asking, run_plan},
    scenario::{Plan, RUN_MAX, SECOND, Stats},
    sim::{Micros, TICK},
};

/// A course takes no more steps of nodes than this, so that every machine comes to the same end.
const STEPS_MAX: u64 = 18_000_000;
/// What beginning a run counts for.
const BEGIN_STEPS: u64 = 1_000;
/// And what an event counts for besides, which costs more than a quiet tick.
const EVENT_STEPS: u64 = 2;
/// So many plans that were drawn anew and are no smaller are enough: of a long plan, where each
/// costs most, and of a short one.
const LONG_MISSES: u64 = 60;
const SHORT_MISSES: u64 = 400;
/// While a plan is long, lists are dropped by no smaller parts of them than this.
const PARTS_MAX: usize = 40;
/// Without a fault all may go differently: so many ways in which it can are tried.
const TRIES: u64 = 4;

pub(super) struct Search {
    pub(super) plan: Plan,
    property: Property,
    /// How many lines a record of the plan's run has.
    pub(super) events: u64,
    pub(super) tried: u64,
    steps: u64,
    steps_max: u64,
    /// How long healing may take.
    tail: Micros,
    rng: Rng,
}

impl Search {
    pub(super) fn new(plan: &Plan, property: Property, events: u64, rng: Rng) -> Search {
        Search {
            plan: plan.clone(),
            property,
            events,
            tried: 0,
            steps: 0,
            steps_max: STEPS_MAX,
            tail: Micros::MAX,
            rng,
        }
    }

    /// Another course from where this one led.
    pub(super) fn again(&self, rng: Rng) -> Search {
        Search {
            tail: self.tail,
            ..Search::new(&self.plan, self.property, self.events, rng)
        }
    }

    /// Follows one course for as long as it leads on.
    pub(super) fn run(&mut self, disturbed: Micros) {
        self.steps_max *= 2;
        self.end_early(disturbed);
        self.go_on();
    }

    /// Looks for a short plan that fails, and goes on from there.
    pub(super) fn run_dense(&mut self) {
        let from = self.plan.clone();
        while !self.is_spent() && self.events > READABLE {
            let mut rng = Rng::new(self.rng.draw());
            let mut plan = from.clone();
            dense(&mut plan, &mut rng);
            if self.takes_within(self.events - 1, |old| *old = plan) {
                self.go_on();
            }
        }
    }

    pub(super) fn go_on(&mut self) {
        loop {
            let before = self.events;
            self.pin();
            self.plainer();
            self.fewer(|plan| &mut plan.faults, TRIES);
            self.fewer(|plan| plan.asks.get_or_insert_default(), 1);
            self.fewer(|plan| &mut plan.faults, TRIES);
            self.plainer();
            self.anew(LONG_MISSES);
            self.less_load();
            self.shorter();
            self.anew(SHORT_MISSES);
            if self.events >= before || self.is_spent() {
                break;
            }
        }
    }

    fn spend(&mut self, stats: &Stats) {
        self.steps += BEGIN_STEPS + stats.steps + EVENT_STEPS * stats.events;
    }

    fn is_spent(&self) -> bool {
        self.steps >= self.steps_max
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
        let stop_at = plan.stop_at.unwrap_or(RUN_MAX);
        plan.longest = stop_at.saturating_add(self.tail);
        let outcome = run_plan(&plan, false);
        let stats = outcome.stats;
        self.tried += 1;
        self.spend(&stats);
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
        // Whoever heals for much longer does not fail in the same way.
        self.tail = (stats.virtual_time - stats.disturbed) * 5 / 4;
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

    /// From now on what is drawn is what this plan draws, and clients ask for what they ask for in
    /// it: what is left out shifts nothing else.
    fn pin(&mut self) {
        let mut plan = self.plan.clone();
        if !matches!(plan.settings.draws, Draws::InOrder) {
            return;
        }
        plan.settings.draws = Draws::record();
        let (outcome, asked) = run_asking(&plan, false);
        self.spend(&outcome.stats);
        plan.settings.draws = plan.settings.draws.replay();
        plan.asks = Some(asked);
        self.takes_within(self.events + self.events / 4, |old| *old = plan);
    }

    /// Drops ever smaller parts of a list (Zeller and Hildebrandt's ddmin), each in so many ways.
    /// Without a fault more may happen at first; what is left has less to hide behind.
    fn fewer<T>(&mut self, list: fn(&mut Plan) -> &mut Vec<T>, tries: u64) {
        let more = if tries > 1 { self.events / 4 } else { 0 };
        let mut part = list(&mut self.plan).len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < list(&mut self.plan).len() {
                let upto = (from + part).min(list(&mut self.plan).len());
                let dropped = (0..tries).any(|sown| {
                    self.takes_within(self.events + more, |plan| {
                        list(plan).drain(from..upto);
                        if sown > 0 {
                            plan.settings.draws.sow(sown);
                        }
                    })
                });
                if !dropped {
                    from += part;
                }
            }
            let len = list(&mut self.plan).len();
            if part == 1 || len / part > PARTS_MAX {
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
        if self.plan.asks.is_some() {
            return;
        }
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
                // At whole ticks clocks stand as they did.
                let (at, gap) = (fault.at, gap / TICK * TICK);
                if self.takes(|plan| earlier(plan, at, gap)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario::Preset, shrink::fold::fold};

    /// Nobody serves so much in so little time.
    #[test]
    fn a_failure_that_shows_only_at_the_end_needs_no_fault_and_no_call() {
        let mut plan = Plan::draw(Preset::of(2), 2);
        plan.probes = 1_000_000;
        let outcome = run_plan(&plan, false);
        let property = outcome.failure.expect("it cannot be").property;
        assert_eq!(property, Property::Liveness);
        let events = outcome.stats.events;
        let mut search = Search::new(&plan, property, events, Rng::new(1));
        search.steps_max = 3_000_000;
        search.run(outcome.stats.disturbed);
        assert_eq!(search.plan.faults, []);
        assert_eq!(search.plan.asks, Some(Vec::new()));
        let mut lines = run_plan(&search.plan, true).lines;
        lines.retain(|line| !line.is_routine);
        let told = fold(lines, READABLE as usize);
        assert!(told.len() as u64 <= READABLE, "{} lines", told.len());
    }
}
