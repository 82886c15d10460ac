//! Protobuf fields read and written in place, for what every commit passes through: entries,
//! commands and appends. All else is prost's.

use bytes::BufMut;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint,
    encoded_len_varint, key_len, skip_field,
};

use super::DecodeError;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a type that none of our fields has.
    Other,
}

/// A field whose value is of another type than the field has.
pub(super) const MISTYPED: DecodeError = DecodeError::Shape("a field of another type");

/// The fields of a message, in the order in which they came. After an error there is no more.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn take(&mut self) -> Result<(u32, Value<'a>), DecodeError> {
        let (field, wire) = decode_key(&mut self.rest)?;
        let value = match wire {
            WireType::Varint => Value::Number(decode_varint(&mut self.rest)?),
            WireType::LengthDelimited => {
                let bytes = decode_varint(&mut self.rest)?;
                let end = usize::try_from(bytes).unwrap_or(usize::MAX);
                let Some((value, rest)) = self.rest.split_at_checked(end) else {
                    return Err(DecodeError::Shape("a field that ends after its message"));
                };
                self.rest = rest;
                Value::Bytes(value)
            }
            _ => {
                skip_field(wire, field, &mut self.rest, DecodeContext::default())?;
                Value::Other
            }
        };
        Ok((field, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

/// The size of a number as a field; one that is zero is left out.
pub(super) fn number_len(field: u32, number: u64) -> usize {
    match number {
        0 => 0,
        _ => key_len(field) + encoded_len_varint(number),
    }
}

pub(super) fn put_number(field: u32, number: u64, out: &mut impl BufMut) {
    if number != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(number, out);
    }
}

/// The size of bytes as a field, however few.
pub(super) fn bytes_len(field: u32, bytes: usize) -> usize {
    key_len(field) + encoded_len_varint(bytes as u64) + bytes
}

/// The beginning of a field with so many bytes, which follow.
pub(super) fn put_length(field: u32, bytes: usize, out: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes as u64, out);
}
