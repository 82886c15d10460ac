//! Percent-encoding of `grpc-message`: UTF-8 in which all but space to `~` is escaped, and `%`.

use std::borrow::Cow;

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%'
}

/// Encodes a message. Blanks at either end are escaped too, since a field value may not begin or
/// end with one (RFC 9113 §8.2.1).
pub(super) fn encode(message: &str) -> Cow<'_, str> {
    let bytes = message.as_bytes();
    let edge_blank = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if bytes.iter().copied().all(is_plain) && !edge_blank {
        return Cow::Borrowed(message);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for (at, &byte) in bytes.iter().enumerate() {
        let at_edge = at == 0 || at + 1 == bytes.len();
        if is_plain(byte) && !(byte == b' ' && at_edge) {
            text.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(text)
}

/// Decodes a message. Nothing is refused: a broken escape stays as it is and broken UTF-8 becomes
/// replacement characters, because an error text must not hide the error.
pub(super) fn decode(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%'
            && let [high, low, ..] = *after
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high << 4 | low);
            rest = &after[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_message_is_borrowed_as_it_is() {
        assert!(matches!(encode("no leader, try again"), Cow::Borrowed(_)));
    }

    #[test]
    fn percent_and_bytes_outside_of_space_to_tilde_are_escaped_in_upper_case() {
        assert_eq!(encode("100%\n\u{7f}ü~"), "100%25%0A%7F%C3%BC~");
    }

    #[test]
    fn blanks_at_the_ends_are_escaped_since_no_field_value_may_have_them() {
        assert_eq!(encode(" a b "), "%20a b%20");
    }

    #[test]
    fn broken_escapes_stay_and_broken_utf8_is_replaced() {
        assert_eq!(decode(b"%zz%4"), "%zz%4");
        assert_eq!(decode(b"%c3%bc"), "ü");
        assert_eq!(decode(b"%FF"), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn every_message_survives(message in ".*") {
            prop_assert_eq!(decode(encode(&message).as_bytes()), message);
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            decode(&bytes);
        }
    }
}
