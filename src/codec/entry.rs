//! Log entries. A leader encodes each once; the bytes are the WAL's record and part of every
//! peer's frame.

use bytes::{BufMut, Bytes};

use super::{
    DecodeError,
    fields::{Fields, MISTYPED, Value, bytes_len, number_len, put_length, put_number},
    peer::bounded,
};
use crate::raft::{Entry, EntryKind, Index, LogPos, Term};

/// The fields of `Entry` in `proto/peer.proto`.
const TERM_FIELD: u32 = 1;
const INDEX_FIELD: u32 = 2;
const KIND_FIELD: u32 = 3;
const DATA_FIELD: u32 = 4;

/// An entry where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryView<'a> {
    /// Its term and index.
    pub pos: LogPos,
    /// What it is for.
    pub kind: EntryKind,
    /// What it carries.
    pub data: &'a [u8],
}

/// The size of an encoded entry in bytes.
#[must_use]
pub fn encoded_entry_len(pos: LogPos, kind: EntryKind, data: &[u8]) -> usize {
    let numbers = [
        (TERM_FIELD, pos.term.0),
        (INDEX_FIELD, pos.index.0),
        (KIND_FIELD, kind.0.into()),
    ];
    let numbers = numbers.map(|(field, number)| number_len(field, number));
    let data_len = match data.len() {
        0 => 0,
        bytes => bytes_len(DATA_FIELD, bytes),
    };
    numbers.iter().sum::<usize>() + data_len
}

/// Appends an entry.
pub fn encode_entry(pos: LogPos, kind: EntryKind, data: &[u8], out: &mut impl BufMut) {
    put_number(TERM_FIELD, pos.term.0, out);
    put_number(INDEX_FIELD, pos.index.0, out);
    put_number(KIND_FIELD, kind.0.into(), out);
    if !data.is_empty() {
        put_length(DATA_FIELD, data.len(), out);
        out.put_slice(data);
    }
}

/// Reads an entry where it lies.
///
/// # Errors
/// When the bytes are no entry, or it has no index or an index or term out of bounds.
pub fn read_entry(bytes: &[u8]) -> Result<EntryView<'_>, DecodeError> {
    let (mut term, mut index, mut kind, mut data) = (0, 0, 0, &[][..]);
    for field in Fields::of(bytes) {
        match field? {
            (TERM_FIELD, Value::Number(number)) => term = number,
            (INDEX_FIELD, Value::Number(number)) => index = number,
            // Of a number that is too long for the field, protobuf takes the low bits.
            (KIND_FIELD, Value::Number(number)) => kind = number as u32,
            (DATA_FIELD, Value::Bytes(bytes)) => data = bytes,
            (TERM_FIELD..=DATA_FIELD, _) => return Err(MISTYPED),
            _ => {}
        }
    }
    let (term, index) = (Term(bounded(term)?), Index(bounded(index)?));
    if index == Index::ZERO {
        return Err(DecodeError::Shape("an entry without an index"));
    }
    Ok(EntryView {
        pos: LogPos::new(term, index),
        kind: EntryKind(kind),
        data,
    })
}

/// Reads an entry; its data shares the bytes given.
///
/// # Errors
/// As [`read_entry`].
pub fn decode_entry(bytes: Bytes) -> Result<Entry, DecodeError> {
    let EntryView { pos, kind, data } = read_entry(&bytes)?;
    let data = bytes.slice_ref(data);
    Ok(Entry { pos, kind, data })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::peer;

    /// What prost reads, where it is an entry at all.
    fn by_prost(bytes: &[u8]) -> Option<Entry> {
        let entry = peer::Entry::decode(bytes).ok()?;
        let pos = LogPos::new(
            Term(bounded(entry.term).ok()?),
            Index(bounded(entry.index).ok()?),
        );
        (pos.index > Index::ZERO).then_some(Entry {
            pos,
            kind: EntryKind(entry.kind),
            data: entry.data,
        })
    }

    proptest! {
        /// Also where one entry follows another, or a byte is damaged.
        #[test]
        fn an_entry_is_read_as_prost_reads_it(
            entries in prop::collection::vec(
                (0..1_000u64, 0..1_000u64, 0..300u32, prop::collection::vec(any::<u8>(), 0..6)),
                1..3,
            ),
            at in any::<prop::sample::Index>(),
            damage in prop::option::of(any::<u8>()),
        ) {
            let mut bytes = Vec::new();
            for (term, index, kind, data) in &entries {
                let pos = LogPos::new(Term(*term), Index(*index));
                encode_entry(pos, EntryKind(*kind), data, &mut bytes);
            }
            if let Some(damage) = damage && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = damage;
            }
            prop_assert_eq!(decode_entry(bytes.clone().into()).ok(), by_prost(&bytes));
        }
    }
}
