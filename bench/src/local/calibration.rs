//! How fast this machine is at the moment, so that figures of two machines, or of two minutes, can
//! be compared: the work of a commit in its proportions, with none of its code.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

const SPAN: Duration = Duration::from_millis(100);
const RECORD_BYTES: usize = 320;
const KEYS: u64 = 1_000;
const KEY_STRIDE: u64 = 617;

/// Rounds per second of copying, hashing and keeping a record of the size of a put.
pub fn calibrate() -> f64 {
    let record = [7; RECORD_BYTES];
    let mut map = BTreeMap::new();
    let mut log = Vec::with_capacity(RECORD_BYTES << 10);
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < SPAN {
        for _ in 0..1_000 {
            if log.len() == log.capacity() {
                log.clear();
            }
            log.extend_from_slice(black_box(&record));
            black_box(crc32fast::hash(&log[log.len() - RECORD_BYTES..]));
            map.insert(rounds * KEY_STRIDE % KEYS, record.to_vec());
            rounds += 1;
        }
    }
    rounds as f64 / began.elapsed().as_secs_f64()
}
