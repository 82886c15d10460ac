//! Where the event loop's time goes.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer than anything that is told apart: a minute.
const LONGEST_US: u64 = 60_000_000;

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
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST_US, 2)
                .expect("the bounds are in order and 2 digits can be told apart")
        };
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
