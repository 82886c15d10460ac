//! A stored key as bytes, the same on every node where it is stored with the same history.
//! Numbers are little-endian.
//!
//! ```text
//! offset  bytes
//!      0      4  length K of the key, 1 to 4 Ki
//!      4      4  length V of the value, up to 1 Mi
//!      8      8  create_revision, 1 or more
//!     16      8  mod_revision, not below create_revision
//!     24      8  version, 1 or more
//!     32      K  the key
//! 32 + K      V  the value
//! ```

use super::{
    KEY_MAX_BYTES, LoadError, VALUE_MAX_BYTES,
    map::{History, Record},
};

const HEAD_BYTES: usize = 32;

/// An entry in the bytes that it was read from.
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) history: History,
    pub(super) value: &'a [u8],
}

/// Appends an entry.
pub(super) fn encode(out: &mut Vec<u8>, key: &[u8], record: &Record) {
    let history = record.history();
    out.reserve(HEAD_BYTES + key.len() + record.value().len());
    for bytes in [key, record.value()] {
        let length = u32::try_from(bytes.len()).expect("within the limits");
        out.extend_from_slice(&length.to_le_bytes());
    }
    for number in [
        history.create_revision,
        history.mod_revision,
        history.version,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(record.value());
}

/// Takes an entry off the front of `bytes`.
pub(super) fn decode<'a>(bytes: &mut &'a [u8]) -> Result<Entry<'a>, LoadError> {
    let lengths = [length(bytes)?, length(bytes)?];
    let [key_bytes, value_bytes] = lengths;
    if !(1..=KEY_MAX_BYTES).contains(&key_bytes) || value_bytes > VALUE_MAX_BYTES {
        return Err(LoadError::Size);
    }
    let history = History {
        create_revision: number(bytes)?,
        mod_revision: number(bytes)?,
        version: number(bytes)?,
    };
    Ok(Entry {
        key: take(bytes, key_bytes)?,
        history,
        value: take(bytes, value_bytes)?,
    })
}

fn length(bytes: &mut &[u8]) -> Result<usize, LoadError> {
    let (first, rest) = bytes.split_first_chunk().ok_or(LoadError::Cut)?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*first)).map_err(|_| LoadError::Size)
}

fn number(bytes: &mut &[u8]) -> Result<u64, LoadError> {
    let (first, rest) = bytes.split_first_chunk().ok_or(LoadError::Cut)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*first))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], LoadError> {
    let (first, rest) = bytes.split_at_checked(count).ok_or(LoadError::Cut)?;
    *bytes = rest;
    Ok(first)
}

/// The keys of the entries in a chunk that [`Frozen::encode_some`](super::Frozen::encode_some)
/// made, in their order.
///
/// # Errors
/// Each item, when the bytes are no entries from there on; it is then the last.
pub fn keys(mut chunk: &[u8]) -> impl Iterator<Item = Result<&[u8], LoadError>> {
    std::iter::from_fn(move || {
        if chunk.is_empty() {
            return None;
        }
        let entry = decode(&mut chunk);
        if entry.is_err() {
            chunk = &[];
        }
        Some(entry.map(|entry| entry.key))
    })
}
