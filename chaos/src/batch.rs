//! Many runs, on as many threads as there are cores, and what they amount to together.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    invariants::Property,
    run::{Failure, Outcome, run_seed},
    scenario::{Class, Kind, Preset, Stats},
    sim::{CrashPoint, Fault, Hits, Mark, Marks, Micros},
};

/// Every so many seeds, one is run once more: its two runs have to be the same.
const AGAIN_EVERY: u64 = 20;
/// A kind of fault that began so often has to have hit.
const BEGUN_MIN: u64 = 10;
/// From so many scenarios of all presets on, every branch, kind and crash point has to be there.
const WHOLE_FROM: u64 = 500;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The first seed.
    pub base_seed: u64,
    /// How many scenarios.
    pub scenarios: u64,
    /// Begin none after this time.
    pub budget: Option<Duration>,
    /// How many threads run them.
    pub jobs: usize,
    /// Seeds of other presets are left out.
    pub presets: &'static [Preset],
}

impl Order {
    /// The seed of a scenario.
    fn seed(&self, number: u64) -> u64 {
        let all = Preset::ALL.len() as u64;
        let some = self.presets.len() as u64;
        let of_presets = (0..all)
            .map(|offset| self.base_seed + offset)
            .filter(|&seed| self.presets.contains(&Preset::of(seed)));
        let first: Vec<u64> = of_presets.collect();
        first[(number % some) as usize] + number / some * all
    }
}

/// A scenario that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What replays it.
    pub seed: u64,
    /// Why.
    pub failure: Failure,
}

/// What the runs of a batch amount to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Scenarios that ran.
    pub attempted: u64,
    /// Those of each preset.
    pub presets: BTreeMap<&'static str, u64>,
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// Scenarios that were run twice, and were the same.
    pub repeated: u64,
    /// Virtual time.
    pub virtual_time: Micros,
    /// Steps of nodes.
    pub steps: u64,
    /// Writes that were acknowledged.
    pub acked_writes: u64,
    /// Reads that were served.
    pub reads: u64,
    /// Elections that were won.
    pub elections: u64,
    /// The least of these in any scenario that owes its counts: virtual time, writes, reads and
    /// elections.
    pub least: Option<(Micros, u64, u64, u64)>,
    /// What went wrong, and where nodes crashed.
    pub hits: Hits,
    /// Branches of the FSM.
    pub marks: Marks,
    /// How many faults of each kind began, and how many hit.
    pub kinds: BTreeMap<Kind, (u64, u64)>,
    /// How often a fault of one class began while one of another was there.
    pub overlaps: BTreeMap<(Class, Class), u64>,
}

impl Totals {
    fn add(&mut self, outcome: Outcome) {
        let Stats {
            virtual_time,
            steps,
            acked_writes,
            reads,
            elections,
            owes_counts,
            hits,
            marks,
            tally,
            ..
        } = outcome.stats;
        self.attempted += 1;
        *self.presets.entry(outcome.preset.name()).or_default() += 1;
        self.virtual_time += virtual_time;
        self.steps += steps;
        self.acked_writes += acked_writes;
        self.reads += reads;
        self.elections += elections;
        self.hits.add(&hits);
        self.marks.add(&marks);
        for (kind, begun, hit) in tally.kinds {
            let sum = self.kinds.entry(kind).or_default();
            (sum.0, sum.1) = (sum.0 + begun, sum.1 + hit);
        }
        for (pair, count) in tally.overlaps {
            *self.overlaps.entry(pair).or_default() += count;
        }
        if let Some(failure) = outcome.failure {
            let seed = outcome.seed;
            self.failed.push(Failed { seed, failure });
        } else if owes_counts {
            let (time, acked, read, elected) =
                self.least
                    .unwrap_or((u64::MAX, u64::MAX, u64::MAX, u64::MAX));
            self.least = Some((
                time.min(virtual_time),
                acked.min(acked_writes),
                read.min(reads),
                elected.min(elections),
            ));
        }
    }

    /// What should have happened in these runs and did not: they prove less than they seem to.
    #[must_use]
    pub fn vacuous(&self) -> Vec<String> {
        let idle = self
            .kinds
            .iter()
            .filter(|(_, (begun, hit))| *begun >= BEGUN_MIN && *hit == 0);
        let mut missing: Vec<String> = idle
            .map(|(kind, (begun, _))| format!("{} began {begun} times and never hit", kind.name()))
            .collect();
        let is_whole = self.attempted >= WHOLE_FROM
            && Preset::ALL
                .iter()
                .all(|preset| self.presets.contains_key(preset.name()));
        if !is_whole {
            return missing;
        }
        let kinds = Kind::ALL
            .iter()
            .filter(|kind| !self.kinds.contains_key(kind));
        missing.extend(kinds.map(|kind| format!("{} was never drawn", kind.name())));
        let faults = Fault::ALL.iter().filter(|&&fault| self.hits.of(fault) == 0);
        missing.extend(faults.map(|fault| format!("{} never happened", fault.name())));
        let points = CrashPoint::ALL
            .iter()
            .filter(|&&point| self.hits.at(point) == 0);
        missing.extend(points.map(|point| format!("no node crashed at {}", point.name())));
        let owed = Mark::ALL.iter().filter(|&&mark| mark != Mark::NotAVoter);
        let marks = owed.filter(|&&mark| self.marks.of(mark) == 0);
        missing.extend(marks.map(|mark| format!("the FSM never came to {}", mark.name())));
        for a in Class::ALL {
            for b in Class::ALL.into_iter().filter(|&b| a <= b) {
                if !self.overlaps.contains_key(&(a, b)) {
                    missing.push(format!("faults of {} and {} never met", a.name(), b.name()));
                }
            }
        }
        missing
    }
}

/// A batch that has ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub order: Order,
    /// What it amounted to.
    pub totals: Totals,
    /// Whether the budget ended it.
    pub budget_hit: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether every scenario passed and the batch is worth something.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.totals.failed.is_empty() && self.totals.vacuous().is_empty()
    }
}

/// Runs a batch. `progress` is told of every scenario that ends.
pub fn run_batch(order: Order, progress: impl Fn(&Totals, Duration) + Sync) -> Report {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let budget_hit = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let work = || {
        loop {
            if order.budget.is_some_and(|budget| begun.elapsed() >= budget) {
                budget_hit.store(true, Ordering::Relaxed);
                return;
            }
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= order.scenarios {
                return;
            }
            let (outcome, repeated) =
                run_one(order.seed(number), number.is_multiple_of(AGAIN_EVERY));
            let mut totals = totals.lock().expect("a run does not panic");
            totals.add(outcome);
            totals.repeated += u64::from(repeated);
            progress(&totals, begun.elapsed());
        }
    };
    thread::scope(|scope| {
        for _ in 0..order.jobs {
            scope.spawn(work);
        }
    });
    let mut totals = totals.into_inner().expect("a run does not panic");
    totals.failed.sort_by_key(|failed| failed.seed);
    Report {
        budget_hit: budget_hit.into_inner() && totals.attempted < order.scenarios,
        order,
        totals,
        elapsed: begun.elapsed(),
    }
}

/// Runs a seed, and once more if told so; whether it did that and saw the same.
fn run_one(seed: u64, again: bool) -> (Outcome, bool) {
    let mut outcome = run_seed(seed, false);
    if !again {
        return (outcome, false);
    }
    let (first, second) = (outcome.stats.digest, run_seed(seed, false).stats.digest);
    if first != second {
        outcome.failure = Some(Failure {
            property: Property::Determinism,
            what: format!("one run has the digest {first:016x}, another {second:016x}"),
        });
    }
    (outcome, first == second)
}
