//! Header lists to header blocks (RFC 7541 §6).

use super::table::find_static;
use crate::h2::Header;

/// The encoder of one direction of a connection. Strings go as they are: Huffman coding would
/// cost more time than the few bytes are worth.
#[derive(Debug, Default)]
pub(in crate::h2) struct Encoder {
    must_resize: bool,
}

impl Encoder {
    pub(in crate::h2) fn new() -> Encoder {
        Encoder::default()
    }

    /// The peer lowered its table size: the next block has to begin with a size update, although
    /// we never use the table (RFC 9113 §4.3.1), and peers do insist.
    pub(in crate::h2) fn table_was_lowered(&mut self) {
        self.must_resize = true;
    }

    /// Appends a block.
    pub(in crate::h2) fn encode(&mut self, headers: &[Header], block: &mut Vec<u8>) {
        if std::mem::take(&mut self.must_resize) {
            put_integer(block, 0x20, 5, 0);
        }
        for header in headers {
            match find_static(&header.name, &header.value) {
                Some((index, true)) => put_integer(block, 0x80, 7, index),
                Some((index, false)) => {
                    put_integer(block, 0, 4, index);
                    put_string(block, &header.value);
                }
                None => {
                    block.push(0);
                    put_string(block, &header.name);
                    put_string(block, &header.value);
                }
            }
        }
    }
}

fn put_string(block: &mut Vec<u8>, text: &[u8]) {
    put_integer(block, 0, 7, text.len());
    block.extend_from_slice(text);
}

fn put_integer(block: &mut Vec<u8>, flags: u8, prefix_bits: u32, value: usize) {
    let mask = (1u8 << prefix_bits) - 1;
    if value < usize::from(mask) {
        block.push(flags | value as u8);
        return;
    }
    block.push(flags | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn fields_of_the_static_table_take_one_byte() {
        let mut block = Vec::new();
        let headers = [
            Header::from_static(":method", "GET"),
            Header::from_static(":scheme", "http"),
            Header::from_static(":path", "/"),
            Header::from_static(":status", "200"),
        ];
        Encoder::new().encode(&headers, &mut block);
        assert_eq!(block, [0x82, 0x86, 0x84, 0x88]);
    }

    #[test]
    fn the_integers_of_appendix_c_1_are_written() {
        let mut bytes = Vec::new();
        put_integer(&mut bytes, 0, 5, 10);
        put_integer(&mut bytes, 0, 5, 1337);
        put_integer(&mut bytes, 0, 7, 42);
        assert_eq!(bytes, [0x0a, 0x1f, 0x9a, 0x0a, 0x2a]);
    }

    #[test]
    fn a_lowered_table_size_is_confirmed_once() {
        let mut encoder = Encoder::new();
        encoder.table_was_lowered();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encoder.encode(&[Header::from_static(":status", "200")], &mut first);
        encoder.encode(&[Header::from_static(":status", "200")], &mut second);
        assert_eq!((first, second), (vec![0x20, 0x88], vec![0x88]));
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            (bytes(), bytes()).prop_map(|(name, value)| Header { name, value }),
            prop::sample::select(&super::super::table::STATIC[..]),
            (
                prop::sample::select(&super::super::table::STATIC[..]),
                bytes()
            )
                .prop_map(|(field, value)| Header {
                    name: field.name,
                    value
                }),
        ]
    }

    proptest! {
        #[test]
        fn the_decoder_reads_what_the_encoder_wrote(
            headers in prop::collection::vec(any_header(), 0..20),
            lowered in any::<bool>(),
        ) {
            let mut encoder = Encoder::new();
            if lowered {
                encoder.table_was_lowered();
            }
            let mut block = Vec::new();
            encoder.encode(&headers, &mut block);
            let decoded = Decoder::new().decode(&block, usize::MAX).unwrap();
            prop_assert_eq!(decoded.headers, headers);
        }
    }
}
