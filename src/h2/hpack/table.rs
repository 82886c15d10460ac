//! The static and the dynamic table (RFC 7541 §2.3).

use super::field_bytes;
use crate::h2::Header;
use std::{collections::VecDeque, ops::Range};

const fn field(name: &'static str, value: &'static str) -> Header {
    Header::from_static(name, value)
}

/// Appendix A; index 1 is the first.
#[rustfmt::skip]
pub(super) static STATIC: [Header; 61] = [
    field(":authority", ""),
    field(":method", "GET"),
    field(":method", "POST"),
    field(":path", "/"),
    field(":path", "/index.html"),
    field(":scheme", "http"),
    field(":scheme", "https"),
    field(":status", "200"),
    field(":status", "204"),
    field(":status", "206"),
    field(":status", "304"),
    field(":status", "400"),
    field(":status", "404"),
    field(":status", "500"),
    field("accept-charset", ""),
    field("accept-encoding", "gzip, deflate"),
    field("accept-language", ""),
    field("accept-ranges", ""),
    field("accept", ""),
    field("access-control-allow-origin", ""),
    field("age", ""),
    field("allow", ""),
    field("authorization", ""),
    field("cache-control", ""),
    field("content-disposition", ""),
    field("content-encoding", ""),
    field("content-language", ""),
    field("content-length", ""),
    field("content-location", ""),
    field("content-range", ""),
    field("content-type", ""),
    field("cookie", ""),
    field("date", ""),
    field("etag", ""),
    field("expect", ""),
    field("expires", ""),
    field("from", ""),
    field("host", ""),
    field("if-match", ""),
    field("if-modified-since", ""),
    field("if-none-match", ""),
    field("if-range", ""),
    field("if-unmodified-since", ""),
    field("last-modified", ""),
    field("link", ""),
    field("location", ""),
    field("max-forwards", ""),
    field("proxy-authenticate", ""),
    field("proxy-authorization", ""),
    field("range", ""),
    field("referer", ""),
    field("refresh", ""),
    field("retry-after", ""),
    field("server", ""),
    field("set-cookie", ""),
    field("strict-transport-security", ""),
    field("transfer-encoding", ""),
    field("user-agent", ""),
    field("vary", ""),
    field("via", ""),
    field("www-authenticate", ""),
];

/// The place of a field in the static table: its index, and whether the value is the same too.
pub(super) fn find_static(name: &[u8], value: &[u8]) -> Option<(usize, bool)> {
    let candidates = candidates(*name.first()?);
    let mut found = None;
    for (at, field) in STATIC[candidates.clone()].iter().enumerate() {
        if field.name != name {
            continue;
        }
        let index = candidates.start + at + 1;
        if field.value == value {
            return Some((index, true));
        }
        found = found.or(Some((index, false)));
    }
    found
}

/// Where the names with this first byte lie. Most of what is sent besides pseudo-headers, such as
/// `grpc-status`, is not in the table, and this is how it is known without a comparison.
fn candidates(first: u8) -> Range<usize> {
    match first {
        b':' => 0..14,
        b'a' => 14..23,
        b'c' => 23..32,
        b'd' => 32..33,
        b'e' => 33..36,
        b'f' => 36..37,
        b'h' => 37..38,
        b'i' => 38..43,
        b'l' => 43..46,
        b'm' => 46..47,
        b'p' => 47..49,
        b'r' => 49..53,
        b's' => 53..56,
        b't' => 56..57,
        b'u' => 57..58,
        b'v' => 58..60,
        b'w' => 60..61,
        _ => 0..0,
    }
}

/// The dynamic table of a decoder: newest field first, bounded in bytes.
#[derive(Debug)]
pub(super) struct Table {
    fields: VecDeque<Header>,
    bytes: usize,
    max_bytes: usize,
}

impl Table {
    pub(super) fn new(max_bytes: usize) -> Table {
        Table {
            fields: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// The field of an index over both tables; `None` beyond them and for 0.
    pub(super) fn get(&self, index: usize) -> Option<&Header> {
        let at = index.checked_sub(1)?;
        STATIC
            .get(at)
            .or_else(|| self.fields.get(at - STATIC.len()))
    }

    /// Adds a field; the oldest ones make room. One that is larger than the table empties it
    /// (§4.4).
    pub(super) fn insert(&mut self, field: Header) {
        let bytes = field_bytes(&field.name, &field.value);
        self.shrink_to(self.max_bytes.saturating_sub(bytes));
        if bytes <= self.max_bytes {
            self.bytes += bytes;
            self.fields.push_front(field);
        }
    }

    pub(super) fn resize(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.shrink_to(max_bytes);
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let oldest = self
                .fields
                .pop_back()
                .expect("bytes counts the fields that are there");
            self.bytes -= field_bytes(&oldest.name, &oldest.value);
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_we_send_is_found_where_appendix_a_has_it() {
        assert_eq!(find_static(b":method", b"POST"), Some((3, true)));
        assert_eq!(find_static(b":scheme", b"http"), Some((6, true)));
        assert_eq!(find_static(b":path", b"/a.B/C"), Some((4, false)));
        assert_eq!(find_static(b":authority", b"host"), Some((1, false)));
        assert_eq!(find_static(b":status", b"200"), Some((8, true)));
        assert_eq!(find_static(b":status", b"415"), Some((8, false)));
        assert_eq!(
            find_static(b"content-type", b"application/grpc"),
            Some((31, false))
        );
        assert_eq!(find_static(b"user-agent", b"raftkv"), Some((58, false)));
        assert_eq!(find_static(b"grpc-status", b"0"), None);
        assert_eq!(find_static(b"zzz", b""), None);
    }

    #[test]
    fn every_field_of_the_static_table_is_found_at_its_index() {
        for (at, field) in STATIC.iter().enumerate() {
            let found = find_static(&field.name, &field.value);
            assert_eq!(found, Some((at + 1, true)), "{field:?}");
        }
    }

    #[test]
    fn a_field_larger_than_the_table_empties_it() {
        let mut table = Table::new(100);
        table.insert(field("a", "b"));
        assert_eq!(table.bytes(), 34);
        table.insert(Header::new("a", vec![b'x'; 100]));
        assert_eq!((table.bytes(), table.get(62)), (0, None));
    }
}
