//! Short words for what every test of the log does.

#![allow(dead_code, reason = "each test binary uses its own part")]

use raftkv_wal::{Address, Error, Media, MemoryMedia, Options, Recovery, SEGMENT_BYTES_MIN, Wal};

pub const OWNER: [u8; 40] = [7; 40];
/// An ordinary record, and one of which the newest is kept.
pub const RECORD: u8 = 1;
pub const STATE: u8 = 2;
pub const FIRST: &str = "0000000001.wal";
pub const SECOND: &str = "0000000002.wal";

pub fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES_MIN,
        owner: OWNER,
    }
}

pub fn try_open<M: Media>(media: M) -> Result<(Wal<M>, Recovery), Error> {
    Wal::open(media, options())
}

pub fn open<M: Media>(media: M) -> Wal<M> {
    try_open(media).expect("the log opens").0
}

pub fn refusal(media: &MemoryMedia) -> Error {
    try_open(media.clone())
        .map(drop)
        .expect_err("the log is refused")
}

pub fn try_append<M: Media>(wal: &mut Wal<M>, body: &[u8]) -> Result<Address, Error> {
    wal.append(RECORD, body.len(), |to| to.extend_from_slice(body))
}

pub fn append<M: Media>(wal: &mut Wal<M>, body: &[u8]) -> Address {
    try_append(wal, body).expect("there is room")
}

pub fn append_sticky<M: Media>(wal: &mut Wal<M>, body: &[u8]) -> Address {
    wal.append_sticky(STATE, body.len(), |to| to.extend_from_slice(body))
        .expect("there is room")
}

pub fn flush<M: Media>(wal: &mut Wal<M>) {
    wal.write().expect("the write succeeds");
    wal.sync().expect("the sync succeeds");
}

/// One batch with one record, durable.
pub fn put<M: Media>(wal: &mut Wal<M>, body: &[u8]) {
    append(wal, body);
    flush(wal);
}

pub fn bodies<M: Media>(wal: &Wal<M>) -> Vec<Vec<u8>> {
    wal.records().map(|record| record.body.to_vec()).collect()
}

/// SplitMix64: enough chance for a crash, and the same on every run.
pub fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Asserts that the test fails with the bug and passes without it.
#[cfg(feature = "planted-bugs")]
pub fn assert_found(bug: &str, test: fn()) {
    test();
    raftkv_planted::plant(raftkv_planted::find(bug));
    assert!(raftkv_planted::is_planted(bug), "no bug {bug}");
    let passed = std::panic::catch_unwind(test).is_ok();
    raftkv_planted::plant(None);
    assert!(!passed, "{bug} is not found");
}
