//! HPACK (RFC 7541): header lists as bytes.
//!
//! The decoder does all of it, within limits. The encoder uses the static table and plain
//! literals and never the dynamic one, so its output does not depend on what was sent before.

mod decoder;
mod encoder;
mod huffman;
mod table;

pub(super) use decoder::Decoder;
pub(super) use encoder::Encoder;

/// Bytes that each field counts beside its name and value (RFC 7541 §4.1, RFC 9113 §6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

fn field_bytes(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + FIELD_OVERHEAD_BYTES
}
