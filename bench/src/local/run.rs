//! One run: puts, so many of them outstanding at any time.

use super::{calibration::calibrate, cluster::LocalCluster};
use crate::{floor::PUT_BYTES, latency::Latencies, machine::thread_time};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// So many keys are written, in an order that repeats after all of them.
const KEYS: usize = 1_000;

/// Prime to [`KEYS`], so that neighbours in time are none in the key space.
const KEY_STRIDE: usize = 617;

/// Puts before the first that counts.
const WARM_UP: usize = 2_000;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Members.
    pub nodes: usize,
    /// Puts that are under way at any time.
    pub outstanding: usize,
    /// The least number of puts.
    pub ops_min: u64,
    /// The least time.
    pub duration_min: Duration,
    /// Each write to a disk takes so much longer than it must.
    pub disk_delay: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Of what.
    pub spec: Spec,
    /// From the hand-over of each put to its reply.
    pub latencies: Latencies,
    /// How long it took.
    pub duration: Duration,
    /// How much of that the thread had a core: the rest of the machine may want it too.
    pub on_core: Duration,
    /// Of the calibration loop, in the same minute.
    pub calibration_per_sec: f64,
}

impl Run {
    /// Puts per second.
    pub fn puts_per_sec(&self) -> f64 {
        self.latencies.count() as f64 / self.duration.as_secs_f64()
    }

    /// As an element of `runs`.
    pub fn json(&self) -> Value {
        json!({
            "nodes": self.spec.nodes,
            "outstanding": self.spec.outstanding,
            "ops": self.latencies.count(),
            "seconds": self.duration.as_secs_f64(),
            "cpu_seconds": self.on_core.as_secs_f64(),
            "puts_per_sec": self.puts_per_sec(),
            "p50_us": self.latencies.percentile_us(50.0),
            "p95_us": self.latencies.percentile_us(95.0),
            "p99_us": self.latencies.percentile_us(99.0),
            "p999_us": self.latencies.percentile_us(99.9),
            "calibration_per_sec": self.calibration_per_sec,
        })
    }
}

/// Runs it on a new cluster.
pub fn run(spec: Spec) -> Run {
    let before = calibrate();
    let mut load = Load::new(spec);
    load.put(|done, _| done < WARM_UP as u64);
    let mut latencies = Latencies::default();
    std::mem::swap(&mut latencies, &mut load.latencies);
    let on_core = thread_time();
    let duration = load.put(|done, took| done < spec.ops_min || took < spec.duration_min);
    Run {
        spec,
        latencies: load.latencies,
        duration,
        on_core: thread_time() - on_core,
        calibration_per_sec: f64::midpoint(before, calibrate()),
    }
}

struct Load {
    cluster: LocalCluster,
    outstanding: usize,
    keys: Vec<Bytes>,
    value: Bytes,
    begun: usize,
    /// When the puts under way were handed over, and how many at that moment.
    under_way: VecDeque<(Instant, usize)>,
    latencies: Latencies,
}

impl Load {
    fn new(spec: Spec) -> Load {
        Load {
            cluster: LocalCluster::new(spec.nodes, spec.disk_delay),
            outstanding: spec.outstanding,
            keys: (0..KEYS).map(|n| format!("key-{n:012}").into()).collect(),
            value: vec![b'v'; PUT_BYTES].into(),
            begun: 0,
            under_way: VecDeque::new(),
            latencies: Latencies::default(),
        }
    }

    /// Puts while `more` says so of what is done and of the time, and until all are answered.
    fn put(&mut self, more: impl Fn(u64, Duration) -> bool) -> Duration {
        let began = Instant::now();
        let mut now = began;
        let mut under_way = 0;
        while under_way > 0 || more(self.latencies.count(), now - began) {
            let count = match more(self.latencies.count() + under_way as u64, now - began) {
                true => self.outstanding - under_way,
                false => 0,
            };
            for _ in 0..count {
                let key = self.keys[self.begun * KEY_STRIDE % KEYS].clone();
                self.begun += 1;
                self.cluster.put(key, self.value.clone());
            }
            self.under_way.push_back((now, count));
            let done = self.cluster.turn();
            now = Instant::now();
            self.count(done, now);
            under_way = under_way + count - done;
        }
        now - began
    }

    /// Replies come in the order of the puts.
    fn count(&mut self, mut done: usize, now: Instant) {
        while done > 0 {
            let (began, count) = self.under_way.front_mut().expect("replies follow puts");
            let answered = done.min(*count);
            self.latencies.record_many(now - *began, answered as u64);
            done -= answered;
            *count -= answered;
            if *count == 0 {
                self.under_way.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_put_is_counted_once_whatever_is_outstanding() {
        for (nodes, outstanding) in [(1, 1), (3, 1), (3, 64), (5, 3)] {
            let run = run(Spec {
                nodes,
                outstanding,
                ops_min: 200,
                duration_min: Duration::ZERO,
                disk_delay: Duration::ZERO,
            });
            let count = run.latencies.count() as usize;
            assert!((200..200 + outstanding).contains(&count), "{count}");
        }
    }
}
