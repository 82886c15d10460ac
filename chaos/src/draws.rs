//! What a run drew, told by purpose, by whom and when it was for. A run that is repeated without a
//! part of its plan draws the same for all that is left, which it would not from streams.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt,
    rc::Rc,
};

use crate::{rng::Rng, sim::Micros};

/// A purpose, whom and when it was for, and how many were drawn for the same before.
type Key = (u64, u64, Micros, u64);
type Drawn = HashMap<Key, u64>;

/// Whether what a run draws comes in order, is written down as well, or is what another run drew.
#[derive(Clone, Default)]
pub(crate) enum Draws {
    #[default]
    InOrder,
    Recorded(Rc<RefCell<Drawn>>),
    Replayed(Past),
}

/// What another run drew.
#[derive(Clone)]
pub(crate) struct Past {
    drawn: Rc<Drawn>,
    /// Since when things happen earlier than they did, and by how much; each counts in the times
    /// that those before it left.
    gaps: Vec<(Micros, Micros)>,
    /// Decides what the other run did not draw.
    seed: u64,
}

impl Past {
    fn draw(&self, (purpose, whom, at, number): Key) -> u64 {
        let gaps = self.gaps.iter().rev();
        let then = gaps.fold(at, |then, &(since, gap)| match then >= since {
            true => then + gap,
            false => then,
        });
        let drawn = self.drawn.get(&(purpose, whom, then, number));
        drawn.copied().unwrap_or_else(|| {
            let mut rng = Rng::stream(self.seed ^ then, purpose << 32 | whom);
            for _ in 0..number {
                rng.draw();
            }
            rng.draw()
        })
    }
}

impl fmt::Debug for Draws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Draws::InOrder => write!(f, "in order"),
            Draws::Recorded(drawn) => write!(f, "{} written down", drawn.borrow().len()),
            Draws::Replayed(past) => write!(f, "{} as they were", past.drawn.len()),
        }
    }
}

impl Draws {
    pub(crate) fn record() -> Draws {
        Draws::Recorded(Rc::default())
    }

    /// To draw again what was recorded.
    pub(crate) fn replay(&self) -> Draws {
        match self {
            Draws::Recorded(drawn) => Draws::Replayed(Past {
                drawn: Rc::new(drawn.take()),
                gaps: Vec::new(),
                seed: 0,
            }),
            other => other.clone(),
        }
    }

    /// From `at` on things happen so much earlier than they did.
    pub(crate) fn close(&mut self, at: Micros, gap: Micros) {
        if let Draws::Replayed(past) = self {
            past.gaps.push((at, gap));
        }
    }

    /// Another seed for what the other run did not draw.
    pub(crate) fn sow(&mut self, seed: u64) {
        if let Draws::Replayed(past) = self {
            past.seed = seed;
        }
    }

    pub(crate) fn pinned(&self, purpose: u64) -> Option<Pinned> {
        let is_pinned = !matches!(self, Draws::InOrder);
        is_pinned.then(|| Pinned {
            draws: self.clone(),
            purpose,
            whom: 0,
            at: 0,
            numbers: BTreeMap::new(),
        })
    }
}

/// One stream of a run whose draws are written down, or are those of another run.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    draws: Draws,
    purpose: u64,
    whom: u64,
    at: Micros,
    /// How many were drawn at this time for whom.
    numbers: BTreeMap<u64, u64>,
}

impl Pinned {
    pub(crate) fn aim(&mut self, now: Micros, whom: u64) {
        if now != self.at {
            self.numbers.clear();
        }
        (self.at, self.whom) = (now, whom);
    }

    /// What is drawn where `next` would come in order.
    pub(crate) fn draw(&mut self, next: u64) -> u64 {
        let number = self.numbers.entry(self.whom).or_default();
        let key = (self.purpose, self.whom, self.at, *number);
        *number += 1;
        match &self.draws {
            Draws::InOrder => next,
            Draws::Recorded(drawn) => *drawn.borrow_mut().entry(key).or_insert(next),
            Draws::Replayed(past) => past.draw(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        run::{run_asking, run_plan},
        scenario::{Plan, Preset},
    };

    /// What is drawn for two, at these times.
    fn draw(draws: &Draws, for_the_first: &[Micros], for_the_second: &[Micros]) -> [Vec<u64>; 2] {
        let mut rng = Rng::stream(1, 2).pinned(draws, 2);
        [(1, for_the_first), (2, for_the_second)].map(|(whom, times)| {
            let times = times.iter();
            let drawn = times.map(|&at| {
                rng.aim(at, whom);
                rng.draw()
            });
            drawn.collect()
        })
    }

    #[test]
    fn what_is_left_out_shifts_nothing_else() {
        let recorded = Draws::record();
        let [_, before] = draw(&recorded, &[10, 20, 20], &[20, 30]);
        let mut replayed = recorded.replay();
        assert_eq!(draw(&replayed, &[], &[20, 30])[1], before);
        replayed.close(15, 5);
        assert_eq!(draw(&replayed, &[10], &[15, 25])[1], before);
        replayed.close(20, 5);
        assert_eq!(draw(&replayed, &[10], &[15, 20])[1], before);
    }

    #[test]
    fn a_run_is_repeated_by_what_it_drew_and_asked() {
        for seed in [1, 2, 4, 9] {
            let mut plan = Plan::draw(Preset::of(seed), seed);
            plan.settings.draws = Draws::record();
            let (first, asked) = run_asking(&plan, false);
            plan.settings.draws = plan.settings.draws.replay();
            plan.asks = Some(asked);
            let again = run_plan(&plan, false);
            assert_eq!(first.stats.digest, again.stats.digest, "seed {seed}");
        }
    }
}
