//! How fast this machine is at the moment, so that figures of two machines, or of two minutes, can
//! be compared: the work of a commit in its proportions, with none of its code.

use crate::machine::thread_time;
use std::{collections::BTreeMap, hint::black_box, time::Duration};

const SPAN: Duration = Duration::from_millis(100);
const RECORD_BYTES: usize = 320;
const KEYS: u64 = 1_000;
const KEY_STRIDE: u64 = 617;

/// Rounds of copying, hashing and keeping a record of the size of a put, per second of processor
/// time: a thread that runs ahead of all others is held up for 50 ms of each second, which is half
/// of this.
pub fn calibrate() -> f64 {
    let record = [7; RECORD_BYTES];
    let mut map = BTreeMap::new();
    let mut log = Vec::with_capacity(RECORD_BYTES << 10);
    let began = thread_time();
    let mut rounds = 0;
    while thread_time() - began < SPAN {
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
    rounds as f64 / (thread_time() - began).as_secs_f64()
}
