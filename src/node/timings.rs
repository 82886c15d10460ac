//! Where the event loop's time goes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer than anything that is told apart: a minute.
const LONGEST_US: u64 = 60_000_000;
/// What [`RecentSyncs`] tells of is as old as this, or up to twice.
const WINDOW: Duration = Duration::from_secs(30);

/// Durations in microseconds, since they were last taken.
#[derive(Clone, Debug)]
pub struct Timings {
    /// Turns of the loop from the end of its wait on, without the syncs of the log.
    pub turns_us: Histogram<u64>,
    /// Syncs of the log.
    pub syncs_us: Histogram<u64>,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            turns_us: histogram(),
            syncs_us: histogram(),
        }
    }
}

impl Timings {
    pub(super) fn turn(&mut self, took: Duration) {
        self.turns_us.saturating_record(took.as_micros() as u64);
    }

    pub(super) fn sync(&mut self, took: Duration) {
        self.syncs_us.saturating_record(took.as_micros() as u64);
    }
}

/// Syncs of the log in the last half minute to a minute.
pub(super) struct RecentSyncs {
    /// When the current histogram began.
    since: Instant,
    current_us: Histogram<u64>,
    previous_us: Histogram<u64>,
}

impl RecentSyncs {
    pub(super) fn new(now: Instant) -> RecentSyncs {
        RecentSyncs {
            since: now,
            current_us: histogram(),
            previous_us: histogram(),
        }
    }

    pub(super) fn record(&mut self, took: Duration, now: Instant) {
        self.forget(now);
        self.current_us.saturating_record(took.as_micros() as u64);
    }

    /// 99 of 100 took no longer; none if there was none.
    pub(super) fn p99_us(&mut self, now: Instant) -> Option<u64> {
        self.forget(now);
        let mut all = self.previous_us.clone();
        all.add(&self.current_us).expect("of the same bounds");
        (!all.is_empty()).then(|| all.value_at_quantile(0.99))
    }

    fn forget(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age < WINDOW {
            return;
        }
        std::mem::swap(&mut self.current_us, &mut self.previous_us);
        self.current_us.reset();
        if age >= 2 * WINDOW {
            self.previous_us.reset();
        }
        self.since = now;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 2)
        .expect("the bounds are in order and 2 digits can be told apart")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_forgotten_after_one_to_two_windows() {
        let start = Instant::now();
        let mut syncs = RecentSyncs::new(start);
        assert_eq!(syncs.p99_us(start), None);
        syncs.record(Duration::from_millis(2), start);
        let p99_us = syncs.p99_us(start + WINDOW).expect("one sync");
        assert!((1_980..=2_020).contains(&p99_us), "{p99_us}");
        assert_eq!(syncs.p99_us(start + 2 * WINDOW), None);
        syncs.record(Duration::from_millis(2), start + 2 * WINDOW);
        assert_eq!(syncs.p99_us(start + 9 * WINDOW), None);
    }
}
