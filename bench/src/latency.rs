//! Latencies of one kind of operation, and medians over runs.

use hdrhistogram::Histogram;
use std::time::Duration;

const SIGNIFICANT_DIGITS: u8 = 3;

/// The longest latency that is told from a longer one: ten minutes.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// A histogram of latencies, kept in nanoseconds and reported in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, SIGNIFICANT_DIGITS)
            .expect("the bounds are in order and 3 digits can be told apart");
        Latencies { histogram }
    }
}

impl Latencies {
    /// Counts one operation.
    pub fn record(&mut self, latency: Duration) {
        let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(latency_ns);
    }

    /// Counts so many operations that took the same.
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record_n(latency_ns, count);
    }

    /// Counts those of another histogram too.
    pub fn add(&mut self, other: &Latencies) {
        let added = self.histogram.add(&other.histogram);
        added.expect("all have the same bounds");
    }

    /// How many operations were counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that `percent` of the operations did not exceed, in microseconds.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        self.histogram.value_at_percentile(percent) as f64 / 1_000.0
    }
}

/// The middle of some figures, or the mean of the two in the middle; 0 for none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_what_so_many_did_not_exceed() {
        let mut latencies = Latencies::default();
        for latency_us in 1..=100 {
            latencies.record(Duration::from_micros(latency_us));
        }
        assert_eq!(latencies.percentile_us(50.0).round(), 50.0);
        assert_eq!(latencies.percentile_us(99.0).round(), 99.0);
    }

    #[test]
    fn histograms_add_up() {
        let mut sum = Latencies::default();
        let mut slow = Latencies::default();
        slow.record(Duration::from_secs(90));
        sum.record(Duration::from_micros(1));
        sum.add(&slow);
        assert_eq!(sum.count(), 2);
        assert_eq!((sum.percentile_us(100.0) / 1e6).round(), 90.0);
    }

    #[test]
    fn a_median_does_not_care_for_order() {
        assert_eq!(median([9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median([4.0, 1.0, 9.0, 2.0]), 3.0);
        assert_eq!(median([]), 0.0);
    }
}
