//! Log entries. A leader encodes each once; the bytes are the WAL's record and part of every
//! peer's frame.

use bytes::Bytes;
use prost::Message as _;

use super::{DecodeError, peer::bounded};
use crate::{
    proto::peer,
    raft::{Entry, EntryKind, Index, LogPos, Term},
};

fn proto(pos: LogPos, kind: EntryKind, data: &Bytes) -> peer::Entry {
    peer::Entry {
        term: pos.term.0,
        index: pos.index.0,
        kind: kind.0,
        data: data.clone(),
    }
}

/// The size of an encoded entry in bytes.
#[must_use]
pub fn encoded_entry_len(pos: LogPos, kind: EntryKind, data: &Bytes) -> usize {
    proto(pos, kind, data).encoded_len()
}

/// Appends an entry.
pub fn encode_entry(pos: LogPos, kind: EntryKind, data: &Bytes, out: &mut Vec<u8>) {
    proto(pos, kind, data).encode_raw(out);
}

/// Reads an entry; its data shares the bytes given.
///
/// # Errors
/// When the bytes are no entry, or it has no index or an index or term out of bounds.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, DecodeError> {
    let peer::Entry {
        term,
        index,
        kind,
        data,
    } = peer::Entry::decode(bytes)?;
    let (term, index) = (Term(bounded(term)?), Index(bounded(index)?));
    if index == Index::ZERO {
        return Err(DecodeError::Shape("an entry without an index"));
    }
    Ok(Entry {
        pos: LogPos::new(term, index),
        kind: EntryKind(kind),
        data,
    })
}
