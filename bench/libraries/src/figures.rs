//! What a run comes to.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// Of one run.
pub struct Figures {
    pub library: &'static str,
    pub nodes: u64,
    pub outstanding: usize,
    /// That all members run on.
    pub threads: usize,
    /// In nanoseconds.
    pub latencies: Histogram<u64>,
    pub elapsed: Duration,
}

impl Figures {
    pub fn puts_per_sec(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn at_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "nodes": self.nodes,
            "outstanding": self.outstanding,
            "threads": self.threads,
            "ops": self.latencies.len(),
            "seconds": self.elapsed.as_secs_f64(),
            "puts_per_sec": self.puts_per_sec(),
            "p50_us": self.at_us(0.5),
            "p99_us": self.at_us(0.99),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            library,
            nodes,
            outstanding,
            threads,
            ..
        } = self;
        let (rate, p50_us) = (self.puts_per_sec(), self.at_us(0.5));
        write!(
            f,
            "{library}, {nodes} nodes, {outstanding:4} outstanding, threads: {threads}: \
             {rate:.0} proposals/s, p50 {p50_us:.1} us"
        )
    }
}
