//! A number that tells two states apart without sending either. It is kept up to date with each
//! change, at the cost of hashing what comes and what goes.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    entry,
    map::{History, Record},
};

/// The sum, modulo 2^128, of the XXH3-128 of each key's entry as `entry.rs` lays it out: value and
/// history count, the order of changes does not.
#[derive(Debug, Default)]
pub(super) struct Digest {
    sum: u128,
    /// Where entries are laid out to be hashed.
    scratch: Vec<u8>,
}

impl Digest {
    pub(super) fn value(&self) -> u128 {
        self.sum
    }

    /// There is an entry, laid out in these bytes.
    pub(super) fn add_encoded(&mut self, entry: &[u8]) {
        self.sum = self.sum.wrapping_add(xxh3_128(entry));
    }

    /// There is a key with this history and value.
    pub(super) fn add(&mut self, key: &[u8], history: History, value: &[u8]) {
        let hash = self.hash(key, history, value);
        self.sum = self.sum.wrapping_add(hash);
    }

    /// A key has this record no more.
    pub(super) fn remove(&mut self, key: &[u8], record: &Record) {
        let hash = self.hash(key, record.history(), record.value());
        self.sum = self.sum.wrapping_sub(hash);
    }

    fn hash(&mut self, key: &[u8], history: History, value: &[u8]) -> u128 {
        self.scratch.clear();
        entry::encode(&mut self.scratch, key, history, value);
        xxh3_128(&self.scratch)
    }
}
