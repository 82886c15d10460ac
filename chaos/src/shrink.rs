//! Makes a failure small enough to read: what a plan does not need to fail is taken away.

use crate::{
    invariants::Property,
    run::{Failure, run_plan},
    scenario::{Ending, Plan, Preset},
    sim::{Delay, Line, Syncs},
};

/// A failing seed's plan, as small as it got.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan that is left, as text.
    pub plan: String,
    /// Why it fails.
    pub failure: Failure,
    /// What happens in it.
    pub lines: Vec<Line>,
    /// How many plans were tried.
    pub tried: u64,
}

/// Tries no more plans than this.
const TRIED_MAX: u64 = 1_500;

/// Shrinks the plan of a seed. `None` if the seed does not fail.
#[must_use]
pub fn shrink(seed: u64) -> Option<Shrunk> {
    let plan = Plan::draw(Preset::of(seed), seed);
    let outcome = run_plan(&plan, false);
    let property = outcome.failure?.property;
    let mut search = Search {
        plan,
        property,
        tried: 0,
    };
    search.end_at(outcome.stats.virtual_time);
    loop {
        let before = search.size();
        search.fewer_faults();
        search.plainer();
        search.less_load();
        search.shorter();
        if search.size() >= before || search.tried >= TRIED_MAX {
            break;
        }
    }
    let outcome = run_plan(&search.plan, true);
    let failure = outcome.failure.expect("it failed before");
    let mut lines = outcome.lines;
    lines.retain(Line::is_telling);
    Some(Shrunk {
        plan: format!("{:#?}", search.plan),
        failure,
        lines,
        tried: search.tried,
    })
}

struct Search {
    plan: Plan,
    property: Property,
    tried: u64,
}

impl Search {
    /// Takes a changed plan if it still breaks the same property.
    fn takes(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.plan.clone();
        change(&mut plan);
        if self.tried >= TRIED_MAX {
            return false;
        }
        self.tried += 1;
        let failure = run_plan(&plan, false).failure;
        let fails = failure.is_some_and(|failure| failure.property == self.property);
        if fails {
            self.plan = plan;
        }
        fails
    }

    /// Smaller is better: faults first, then load and time.
    fn size(&self) -> (usize, u64, u32, u64) {
        let Plan { faults, load, .. } = &self.plan;
        (
            faults.len(),
            load.calls_max,
            load.clients,
            self.plan.stop_at.unwrap_or(u64::MAX),
        )
    }

    /// Nothing is owed, and faults end when it failed; what comes later does not matter.
    fn end_at(&mut self, time: u64) {
        let ends = self.takes(|plan| {
            plan.owes_counts = false;
            plan.stop_at = Some(time);
            plan.faults.retain(|fault| fault.at <= time);
        });
        if !ends {
            // It fails when all is healed, and the length of the faulty part is not known.
            for tenths in 1..10 {
                let time = time * tenths / 10;
                let ends = self.takes(|plan| {
                    plan.owes_counts = false;
                    plan.stop_at = Some(time);
                    plan.faults.retain(|fault| fault.at <= time);
                });
                if ends {
                    return;
                }
            }
        }
    }

    /// Drops ever smaller parts of the faults (Zeller and Hildebrandt's ddmin).
    fn fewer_faults(&mut self) {
        let mut part = self.plan.faults.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < self.plan.faults.len() {
                let upto = (from + part).min(self.plan.faults.len());
                let dropped = self.takes(|plan| {
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
        let changes: [fn(&mut Plan); 10] = [
            |plan| plan.ending = Ending::Whole,
            |plan| plan.keeps_traffic = true,
            |plan| plan.settings.first_crash = None,
            |plan| plan.settings.nodes = 3,
            |plan| plan.is_fifo = true,
            |plan| plan.delay = Delay::Uniform(1_000, 1_000),
            |plan| plan.settings.syncs = Syncs::Beside,
            |plan| plan.settings.sync = (1_000, 1_000),
            |plan| plan.load.loss = 0,
            |plan| plan.load.value_bytes = (8, 8),
        ];
        for change in changes {
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
        while self.takes(|plan| plan.load.think.1 *= 2) && self.plan.load.think.1 < 2_000_000 {}
    }

    /// Less time before the first fault, between faults, and after the last.
    fn shorter(&mut self) {
        for number in 0..self.plan.faults.len() {
            let before = match number {
                0 => 0,
                _ => self.plan.faults[number - 1].at,
            };
            for part in [0, 1, 2, 3] {
                let gap = (self.plan.faults[number].at - before) * (4 - part) / 4;
                let moved = self.takes(|plan| {
                    let later = plan.faults.iter_mut().skip(number);
                    later.for_each(|fault| fault.at -= gap);
                    plan.stop_at = plan.stop_at.map(|at| at.saturating_sub(gap));
                });
                if moved {
                    break;
                }
            }
            while self.takes(|plan| plan.faults[number].span /= 2)
                && self.plan.faults[number].span > 50_000
            {}
        }
        let mut step = self.plan.stop_at.unwrap_or(0) / 2;
        while step > 10_000 {
            if !self.takes(|plan| plan.stop_at = plan.stop_at.map(|at| at.saturating_sub(step))) {
                step /= 2;
            }
        }
    }
}
