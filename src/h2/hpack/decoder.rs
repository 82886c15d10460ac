//! Header blocks to header lists (RFC 7541 §3, §6).

use super::{field_bytes, huffman, table::Table};
use crate::h2::Header;
use bytes::Bytes;

/// Size of the dynamic table: the protocol's initial value, which we leave as it is.
const TABLE_MAX_BYTES: usize = 4096;

/// Bytes of an integer after its first: enough for 2^28, more than any length or index we take.
const INTEGER_MORE_BYTES: u32 = 4;

/// A decoded header list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::h2) struct Decoded {
    /// The fields, as long as they kept within the limit.
    pub(in crate::h2) headers: Vec<Header>,
    /// There were more; they took part in the dynamic table but were not kept.
    pub(in crate::h2) too_large: bool,
}

/// The decoder of one direction of a connection.
#[derive(Debug)]
pub(in crate::h2) struct Decoder {
    table: Table,
    text: Vec<u8>,
}

impl Decoder {
    pub(in crate::h2) fn new() -> Decoder {
        Decoder {
            table: Table::new(TABLE_MAX_BYTES),
            text: Vec::new(),
        }
    }

    /// Decodes one whole block. Of a list above `list_max_bytes` only the start is kept, but all
    /// is decoded: later blocks refer to the table that this one leaves.
    ///
    /// # Errors
    /// What is wrong with the block; the connection cannot go on (RFC 9113 §4.3).
    pub(in crate::h2) fn decode(
        &mut self,
        block: &[u8],
        list_max_bytes: usize,
    ) -> Result<Decoded, &'static str> {
        let mut block = Reader { rest: block };
        let mut decoded = Decoded::default();
        let mut list_bytes = 0;
        while let Some(first) = block.peek() {
            if first & 0xe0 == 0x20 {
                let started = list_bytes > 0;
                self.resize(&mut block, started)?;
                continue;
            }
            let field = self.field(&mut block, first)?;
            list_bytes += field_bytes(&field.name, &field.value);
            if list_bytes > list_max_bytes {
                decoded.too_large = true;
            } else {
                decoded.headers.push(field);
            }
        }
        Ok(decoded)
    }

    fn resize(&mut self, block: &mut Reader<'_>, started: bool) -> Result<(), &'static str> {
        if started {
            return Err("a table size update after a field");
        }
        let max_bytes = block.integer(5)?;
        if max_bytes > TABLE_MAX_BYTES {
            return Err("a table size update beyond the size we allow");
        }
        self.table.resize(max_bytes);
        Ok(())
    }

    fn field(&mut self, block: &mut Reader<'_>, first: u8) -> Result<Header, &'static str> {
        if first & 0x80 != 0 {
            let index = block.integer(7)?;
            return self.lookup(index).cloned();
        }
        let is_indexed_next = first & 0x40 != 0;
        let name = match block.integer(if is_indexed_next { 6 } else { 4 })? {
            0 => block.string(&mut self.text)?,
            index => self.lookup(index)?.name.clone(),
        };
        let value = block.string(&mut self.text)?;
        let field = Header { name, value };
        if is_indexed_next {
            self.table.insert(field.clone());
        }
        Ok(field)
    }

    fn lookup(&self, index: usize) -> Result<&Header, &'static str> {
        self.table.get(index).ok_or("an index that no table has")
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (&byte, rest) = self
            .rest
            .split_first()
            .ok_or("the block ends within a field")?;
        self.rest = rest;
        Ok(byte)
    }

    /// An integer with a prefix of so many bits (§5.1).
    fn integer(&mut self, prefix_bits: u32) -> Result<usize, &'static str> {
        let mask = (1usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for at in 0..INTEGER_MORE_BYTES {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an integer that is too long")
    }

    /// A string, plain or Huffman-coded (§5.2). `text` is room for decoding.
    fn string(&mut self, text: &mut Vec<u8>) -> Result<Bytes, &'static str> {
        let is_huffman = self.peek().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let Some((string, rest)) = self.rest.split_at_checked(length) else {
            return Err("a string that is longer than its block");
        };
        self.rest = rest;
        if !is_huffman {
            return Ok(Bytes::copy_from_slice(string));
        }
        text.clear();
        huffman::decode(string, text).ok_or("a malformed Huffman string")?;
        Ok(Bytes::copy_from_slice(text))
    }
}

#[cfg(test)]
mod tests;
