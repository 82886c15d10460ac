//! What a snapshot costs a node that is under load, and what it saves it at a start.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use raftkv::{
    node::{Config, Node, Timings},
    raft::NodeId,
};
use raftkv_bench::latency::median;
use serde_json::{Value, json};

use crate::{
    load::{Load, config, free_address, stop},
    memory::Memory,
};

/// Long enough for the log to be purged, a segment each tick.
const PURGE: Duration = Duration::from_secs(2);
/// How often a start is repeated.
const STARTS: usize = 3;

/// A cluster of one: its turns are all its own.
pub fn one_node(directory: &Path, keys: u64, slice: Duration) -> Result<Value, Box<dyn Error>> {
    println!("\n{keys} keys, one node");
    let memory = Memory::watch();
    let peers = BTreeMap::from([(NodeId(0), free_address()?)]);
    let config = config(0, &peers, directory);
    let node = Node::start(config.clone())?;
    let mut load = Load::new(&node);
    load.lead()?;
    load.fill(keys)?;
    println!("  memory with the keys: {} MiB", memory.now_mib());

    // The state without a snapshot, and with one being written, under the same load.
    load.run(keys, slice / 4, |_| false)?;
    let _ = load.handle.take_timings();
    let undisturbed = load.run(keys, slice, |_| false)?;
    let plain = load.handle.take_timings();
    let before = memory.now_mib();
    memory.forget_peak();
    let began = Instant::now();
    load.handle.request_snapshot();
    let disturbed = load.run(keys, Duration::from_secs(600), |status| status > 0)?;
    let took = began.elapsed();
    let during = load.handle.take_timings();
    let peak = memory.peak_mib();
    let bytes = snapshot_bytes(directory)?;
    let rate = bytes as f64 / 1e6 / took.as_secs_f64();
    tell("undisturbed", undisturbed, &plain);
    tell("during a snapshot", disturbed, &during);
    println!(
        "  snapshot of {:.1} MB in {:.2} s: {rate:.0} MB/s; memory grew by {} MiB at most",
        bytes as f64 / 1e6,
        took.as_secs_f64(),
        peak.saturating_sub(before)
    );
    // A second one, so that the log before the first goes.
    let had = load.handle.status().snapshot.0;
    load.handle.request_snapshot();
    load.run(keys, Duration::from_secs(600), |status| status > had)?;
    load.run(keys, PURGE, |_| false)?;
    drop(load);
    stop(node)?;

    let starts = Starts::measure(&config, &memory)?;
    let (warm_s, restart_peak) = (median(starts.warm_s), starts.peak_mib);
    let cold_s = (!starts.cold_s.is_empty()).then(|| median(starts.cold_s));
    let cold_text = cold_s.map_or("not permitted".to_owned(), |s| format!("{s:.2} s"));
    println!(
        "  restart until the first put: {warm_s:.2} s; with no page cached: {cold_text}; \
         {:.0} MB/s; memory {restart_peak} MiB at most",
        bytes as f64 / 1e6 / warm_s
    );
    Ok(json!({
        "keys": keys, "puts_per_sec": undisturbed, "puts_per_sec_during": disturbed,
        "turn_max_us": plain.turns_us.max(), "turn_max_us_during": during.turns_us.max(),
        "turn_p99_us": plain.turns_us.value_at_quantile(0.99),
        "turn_p99_us_during": during.turns_us.value_at_quantile(0.99),
        "sync_p99_us": plain.syncs_us.value_at_quantile(0.99),
        "sync_p99_us_during": during.syncs_us.value_at_quantile(0.99),
        "snapshot_bytes": bytes, "snapshot_mb_per_s": rate,
        "memory_growth_mib": peak.saturating_sub(before),
        "restart_s": warm_s, "restart_cold_s": cold_s, "restart_peak_mib": restart_peak,
    }))
}

/// Seconds that starts took until the node took a put, and the most memory of any.
#[derive(Default)]
struct Starts {
    warm_s: Vec<f64>,
    /// With no file in the page cache, where that is permitted.
    cold_s: Vec<f64>,
    peak_mib: u64,
}

impl Starts {
    fn measure(config: &Config, memory: &Memory) -> Result<Starts, Box<dyn Error>> {
        let mut starts = Starts::default();
        for _ in 0..STARTS {
            for is_cold in [false, true] {
                if is_cold && !drop_page_cache() {
                    continue;
                }
                memory.forget_peak();
                let began = Instant::now();
                let node = Node::start(config.clone())?;
                let mut load = Load::new(&node);
                load.lead()?;
                let took_s = began.elapsed().as_secs_f64();
                match is_cold {
                    true => starts.cold_s.push(took_s),
                    false => starts.warm_s.push(took_s),
                }
                starts.peak_mib = starts.peak_mib.max(memory.peak_mib());
                drop(load);
                stop(node)?;
            }
        }
        Ok(starts)
    }
}

fn tell(what: &str, puts_per_sec: f64, timings: &Timings) {
    let (turns, syncs) = (&timings.turns_us, &timings.syncs_us);
    println!(
        "  {what}: {puts_per_sec:.0} puts/s; turn without sync p99 {:.2} ms, p100 {:.2} ms; \
         sync p50 {:.2} ms, p99 {:.2} ms",
        turns.value_at_quantile(0.99) as f64 / 1e3,
        turns.max() as f64 / 1e3,
        syncs.value_at_quantile(0.5) as f64 / 1e3,
        syncs.value_at_quantile(0.99) as f64 / 1e3,
    );
}

fn snapshot_bytes(data_dir: &Path) -> Result<u64, Box<dyn Error>> {
    let mut newest = 0;
    for entry in fs::read_dir(data_dir.join("wal"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == "snapshot") {
            newest = entry.metadata()?.len();
        }
    }
    Ok(newest)
}

/// Whether the system let go of what it had cached of the disk.
fn drop_page_cache() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}
