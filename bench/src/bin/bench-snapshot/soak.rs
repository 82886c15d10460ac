//! Does a data directory stay bounded?

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use raftkv::{
    node::{Config, Node},
    raft::NodeId,
};

use crate::{
    load::{Load, VALUE_BYTES, config, free_address, stop},
    memory::Memory,
};

/// A quarter of the default, so that the limit is a close one.
const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// Overwrites keys all the time. Fails if the data directory outgrows four times the live data and
/// the log that a snapshot waits for.
pub fn soak(directory: &Path, keys: u64, length: Duration) -> Result<(), Box<dyn Error>> {
    let data_dir = directory.join("soak");
    let peers = BTreeMap::from([(NodeId(0), free_address()?)]);
    let config = Config {
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        ..config(0, &peers, &data_dir)
    };
    let memory = Memory::watch();
    let node = Node::start(config)?;
    let mut load = Load::new(&node);
    load.lead()?;
    load.fill(keys)?;
    let live_bytes = keys * (16 + VALUE_BYTES as u64);
    let limit_bytes = 4 * (live_bytes + SNAPSHOT_LOG_BYTES);
    println!(
        "\n{keys} keys, overwritten for {:.0} s",
        length.as_secs_f64()
    );
    let (began, mut peak_bytes, mut puts, mut last) = (Instant::now(), 0, 0.0, 0);
    let mut snapshots = 0;
    while began.elapsed() < length {
        let slice = Duration::from_millis(500);
        puts += load.run(keys, slice, |_| false)? * slice.as_secs_f64();
        peak_bytes = peak_bytes.max(size_bytes(&data_dir)?);
        let newest = load.handle.status().snapshot.0;
        snapshots += u32::from(newest != last);
        last = newest;
    }
    println!(
        "  {puts:.0} puts, {snapshots} snapshots; the data directory had {:.0} MB at most, the \
         limit is {:.0} MB; memory {} MiB at most",
        peak_bytes as f64 / 1e6,
        limit_bytes as f64 / 1e6,
        memory.peak_mib()
    );
    drop(load);
    stop(node)?;
    match peak_bytes <= limit_bytes {
        true => Ok(()),
        false => Err("the data directory outgrew its limit".into()),
    }
}

fn size_bytes(directory: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_bytes(&entry.path())?,
            Ok(metadata) => metadata.len(),
            // It went between the two looks.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
