//! Makes a failure small enough to read: what a plan does not need to fail is taken away, and what
//! is left is drawn anew, shorter, for as long as that leaves fewer events.

mod changes;
mod fold;
mod search;

use self::{fold::fold, search::Search};
use crate::{
    rng::Rng,
    run::{Failure, run_plan},
    scenario::{Plan, Preset},
    sim::Line,
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
    /// What happens in it, to read: if that is long, what happens again and again is told twice.
    #[must_use]
    pub fn told(&self) -> Vec<Line> {
        fold(self.lines.clone(), READABLE as usize)
    }

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
const COURSES: u64 = 4;

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
        let mut search = best.again(rng);
        match course {
            0 => search.run(stats.disturbed),
            1 | 3 => search.run_dense(),
            _ => search.go_on(),
        }
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
