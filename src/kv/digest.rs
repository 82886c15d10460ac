//! A number that tells two states apart without sending either: the sum, modulo 2^128, of a hash
//! of each key with its history and value. What is stored keeps its hash, so that a change costs
//! no more than one, of what it stores.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::map::History;

/// XXH3-128 of 48 bytes, with numbers little-endian:
///
/// ```text
/// XXH3-64 of the key 8 │ create_revision 8 │ mod_revision 8 │ version 8 │ XXH3-128 of the value 16
/// ```
pub(super) fn of_entry(key: &[u8], history: History, value: &[u8]) -> u128 {
    let mut bytes = [0; 48];
    let numbers = [
        xxh3_64(key),
        history.create_revision,
        history.mod_revision,
        history.version,
    ];
    for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    bytes[32..].copy_from_slice(&xxh3_128(value).to_le_bytes());
    xxh3_128(&bytes)
}
