//! RFC 7541 appendix C, and blocks that must be refused.

use super::*;
use proptest::prelude::*;

const NO_LIMIT: usize = usize::MAX;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn lines(headers: &[Header]) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    headers
        .iter()
        .map(|it| format!("{}: {}", text(&it.name), text(&it.value)))
        .collect()
}

#[track_caller]
fn reads(decoder: &mut Decoder, block: &str, expected: &[&str], table_bytes: usize) {
    let decoded = decoder.decode(&hex(block), NO_LIMIT).unwrap();
    assert_eq!(lines(&decoded.headers), expected);
    assert_eq!(decoder.table.bytes(), table_bytes);
}

#[track_caller]
fn refuses(block: &str, why: &str) {
    assert_eq!(
        Decoder::new().decode(&hex(block), NO_LIMIT),
        Err(why),
        "{block}"
    );
}

#[test]
fn c_1_integers_are_read() {
    let integer = |bytes: &[u8], bits| Reader { rest: bytes }.integer(bits);
    assert_eq!(integer(&[0b1110_1010], 5), Ok(10));
    assert_eq!(
        integer(&[0b1111_1111, 0b1001_1010, 0b0000_1010], 5),
        Ok(1337)
    );
    assert_eq!(integer(&[0b0010_1010], 8), Ok(42));
}

#[test]
fn c_2_1_literal_with_indexing_is_read() {
    let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    reads(
        &mut Decoder::new(),
        block,
        &["custom-key: custom-header"],
        55,
    );
}

#[test]
fn c_2_2_literal_without_indexing_is_read() {
    reads(
        &mut Decoder::new(),
        "040c 2f73 616d 706c 652f 7061 7468",
        &[":path: /sample/path"],
        0,
    );
}

#[test]
fn c_2_3_literal_never_indexed_is_read() {
    let block = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    reads(&mut Decoder::new(), block, &["password: secret"], 0);
}

#[test]
fn c_2_4_indexed_field_is_read() {
    reads(&mut Decoder::new(), "82", &[":method: GET"], 0);
}

/// C.3 and C.4 are the same three requests, without and with Huffman coding.
fn three_requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::new();
    let host = ":authority: www.example.com";
    let first = [":method: GET", ":scheme: http", ":path: /", host];
    reads(&mut decoder, blocks[0], &first, 57);
    let second = [
        ":method: GET",
        ":scheme: http",
        ":path: /",
        host,
        "cache-control: no-cache",
    ];
    reads(&mut decoder, blocks[1], &second, 110);
    let third = [
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        host,
        "custom-key: custom-value",
    ];
    reads(&mut decoder, blocks[2], &third, 164);
}

#[test]
fn c_3_requests_without_huffman_are_read() {
    three_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn c_4_requests_with_huffman_are_read() {
    three_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

/// C.5 and C.6 are the same three responses through a table of 256 bytes, which evicts.
fn three_responses(blocks: [&str; 3]) {
    let mut decoder = Decoder::new();
    decoder.table.resize(256);
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let location = "location: https://www.example.com";
    let private = "cache-control: private";
    reads(
        &mut decoder,
        blocks[0],
        &[":status: 302", private, date, location],
        222,
    );
    reads(
        &mut decoder,
        blocks[1],
        &[":status: 307", private, date, location],
        222,
    );
    let third = [
        ":status: 200",
        private,
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        location,
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ];
    reads(&mut decoder, blocks[2], &third, 215);
}

#[test]
fn c_5_responses_without_huffman_are_read_and_evict() {
    three_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
         6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
         5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
         3d31",
    ]);
}

#[test]
fn c_6_responses_with_huffman_are_read_and_evict() {
    three_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
         9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn index_zero_and_indices_beyond_the_tables_are_refused() {
    refuses("80", "an index that no table has");
    refuses("be", "an index that no table has");
    refuses("7e 00", "an index that no table has");
    refuses("0f 2f 00", "an index that no table has");
}

#[test]
fn blocks_that_end_within_a_field_are_refused() {
    for block in ["40", "40 01", "40 01 61", "ff", "3f", "7f", "0f", "82 04"] {
        refuses(
            block,
            if block == "40 01" {
                "a string that is longer than its block"
            } else {
                "the block ends within a field"
            },
        );
    }
    refuses("00 05 61", "a string that is longer than its block");
}

#[test]
fn integers_beyond_any_use_are_refused() {
    refuses("ff ff ff ff ff ff 7f", "an integer that is too long");
    refuses("ff 80 80 80 80 80 00", "an integer that is too long");
}

#[test]
fn a_string_said_to_be_huge_takes_no_memory() {
    refuses(
        "00 7f ff ff ff 7f",
        "a string that is longer than its block",
    );
}

#[test]
fn size_updates_are_taken_at_the_start_of_a_block_only() {
    let mut decoder = Decoder::new();
    reads(&mut decoder, "20 3f e1 1f 82", &[":method: GET"], 0);
    refuses("82 20", "a table size update after a field");
}

#[test]
fn size_updates_beyond_4096_are_refused() {
    refuses("3f e2 1f", "a table size update beyond the size we allow");
}

#[test]
fn a_size_update_to_zero_forgets_all_fields() {
    let mut decoder = Decoder::new();
    reads(&mut decoder, "40 01 61 01 62", &["a: b"], 34);
    reads(&mut decoder, "be", &["a: b"], 34);
    reads(&mut decoder, "20", &[], 0);
    assert_eq!(
        decoder.decode(&[0xbe], NO_LIMIT),
        Err("an index that no table has")
    );
}

#[test]
fn a_list_over_the_limit_is_cut_but_the_table_still_follows() {
    let mut decoder = Decoder::new();
    let decoded = decoder.decode(&hex("82 40 01 61 01 62"), 50).unwrap();
    assert_eq!(lines(&decoded.headers), [":method: GET"]);
    assert!(decoded.too_large);
    reads(&mut decoder, "be", &["a: b"], 34);
}

#[test]
fn a_list_counts_32_bytes_per_field_and_may_reach_its_limit() {
    let is_cut = |list_max_bytes| {
        Decoder::new()
            .decode(&[0x82], list_max_bytes)
            .unwrap()
            .too_large
    };
    let method_get_bytes = ":method".len() + "GET".len() + 32;
    assert_eq!(
        [method_get_bytes, method_get_bytes - 1].map(is_cut),
        [false, true]
    );
}

#[test]
fn a_bomb_of_references_is_not_kept() {
    let mut decoder = Decoder::new();
    let mut block = hex("40 01 61 7f a1 1e");
    block.extend_from_slice(&[b'x'; 4000]);
    decoder.decode(&block, NO_LIMIT).unwrap();
    let decoded = decoder.decode(&[0xbe; 16_384], 16_384).unwrap();
    assert!(decoded.too_large);
    assert_eq!(decoded.headers.len(), 4);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..8)
    ) {
        let mut decoder = Decoder::new();
        for block in blocks {
            if decoder.decode(&block, 4096).is_err() {
                break;
            }
            prop_assert!(decoder.table.bytes() <= TABLE_MAX_BYTES);
        }
    }
}

#[test]
fn every_block_of_two_bytes_is_read_or_refused() {
    for number in 0..=u16::MAX {
        let _ = Decoder::new().decode(&number.to_be_bytes(), 4096);
    }
}
