//! Protobuf fields read and written in place, for what every commit passes through: entries,
//! commands and appends. All else is prost's.

use bytes::BufMut;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_varint, encoded_len_varint, key_len,
    skip_field,
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

    #[inline(always)]
    fn take(&mut self) -> Result<(u32, Value<'a>), DecodeError> {
        // All fields of ours have a key of one byte, and their types are these two.
        match *self.rest {
            [key @ 8..0x80, ref rest @ ..] if key & 7 == WireType::Varint as u8 => {
                self.rest = rest;
                Ok((u32::from(key >> 3), Value::Number(number(&mut self.rest)?)))
            }
            [key @ 8..0x80, ref rest @ ..] if key & 7 == WireType::LengthDelimited as u8 => {
                self.rest = rest;
                Ok((u32::from(key >> 3), Value::Bytes(self.take_bytes()?)))
            }
            _ => self.take_other(),
        }
    }

    #[inline(always)]
    fn take_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let bytes = number(&mut self.rest)?;
        let end = usize::try_from(bytes).unwrap_or(usize::MAX);
        let Some((value, rest)) = self.rest.split_at_checked(end) else {
            return Err(DecodeError::Shape("a field that ends after its message"));
        };
        self.rest = rest;
        Ok(value)
    }

    #[cold]
    fn take_other(&mut self) -> Result<(u32, Value<'a>), DecodeError> {
        let (field, wire) = decode_key(&mut self.rest)?;
        let value = match wire {
            WireType::Varint => Value::Number(number(&mut self.rest)?),
            WireType::LengthDelimited => Value::Bytes(self.take_bytes()?),
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

    #[inline(always)]
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

/// Takes a number off the front.
#[inline(always)]
fn number(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    // Short ones without a loop.
    match **bytes {
        [a @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(a.into())
        }
        [a, b @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
        }
        [a, b, c @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(u64::from(a & 0x7f) | u64::from(b & 0x7f) << 7 | u64::from(c) << 14)
        }
        [a, b, c, d @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            let [a, b, c] = [a, b, c].map(|byte| u64::from(byte & 0x7f));
            Ok(a | b << 7 | c << 14 | u64::from(d) << 21)
        }
        _ => Ok(decode_varint(bytes)?),
    }
}

/// Appends a field's key, with the wire type in its lower bits, and a number.
fn put_varints(field: u32, wire: WireType, number: u64, out: &mut impl BufMut) {
    let key = (field << 3 | wire as u32) as u8;
    debug_assert!(field < 16, "all fields of ours have a key of one byte");
    let [a, b, c, d] = [0, 7, 14, 21].map(|shift| (number >> shift) as u8);
    // Short ones without a loop.
    match number {
        0..0x80 => out.put_slice(&[key, a]),
        0x80..0x4000 => out.put_slice(&[key, a | 0x80, b]),
        0x4000..0x20_0000 => out.put_slice(&[key, a | 0x80, b | 0x80, c]),
        0x20_0000..0x1000_0000 => out.put_slice(&[key, a | 0x80, b | 0x80, c | 0x80, d]),
        _ => {
            out.put_u8(key);
            encode_varint(number, out);
        }
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
        put_varints(field, WireType::Varint, number, out);
    }
}

/// The size of bytes as a field, however few.
pub(super) fn bytes_len(field: u32, bytes: usize) -> usize {
    key_len(field) + encoded_len_varint(bytes as u64) + bytes
}

/// The beginning of a field with so many bytes, which follow.
pub(super) fn put_length(field: u32, bytes: usize, out: &mut impl BufMut) {
    put_varints(field, WireType::LengthDelimited, bytes as u64, out);
}

#[cfg(test)]
mod tests {
    use prost::encoding::{encode_key, encode_varint};

    use super::*;

    /// Of every length, and as prost writes them.
    #[test]
    fn a_number_is_written_as_by_prost_and_read_back() {
        for bits in 0..64 {
            for number in [1 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                put_number(3, number, &mut ours);
                put_length(4, 0, &mut ours);
                if number != 0 {
                    encode_key(3, WireType::Varint, &mut theirs);
                    encode_varint(number, &mut theirs);
                }
                encode_key(4, WireType::LengthDelimited, &mut theirs);
                encode_varint(0, &mut theirs);
                assert_eq!(ours, theirs, "{number}");
                assert_eq!(ours.len(), number_len(3, number) + bytes_len(4, 0));
                let mut fields = Fields::of(&ours);
                if number != 0 {
                    assert_eq!(fields.next(), Some(Ok((3, Value::Number(number)))));
                }
                assert_eq!(fields.next(), Some(Ok((4, Value::Bytes(&[])))));
                assert_eq!(fields.next(), None);
            }
        }
    }
}
