//! A key as the map holds it.

use std::{borrow::Borrow, cmp::Ordering, fmt};

use triomphe::Arc;

/// So many bytes fit beside the two that tell the form and the length.
const INLINE_MAX_BYTES: usize = 22;

/// Keys are compared on every way down the tree, so the short ones lie in its nodes: a pointer
/// would cost a cache miss per comparison.
#[derive(Clone)]
pub(super) enum Key {
    Inline {
        len: u8,
        bytes: [u8; INLINE_MAX_BYTES],
    },
    Shared(Arc<[u8]>),
}

impl Key {
    pub(super) fn new(key: &[u8]) -> Key {
        let mut bytes = [0; INLINE_MAX_BYTES];
        match (bytes.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(key);
                Key::Inline { len, bytes }
            }
            _ => Key::Shared(Arc::from(key)),
        }
    }

    /// A key that takes no allocation, if it is short enough.
    pub(super) fn inline(key: &[u8]) -> Option<Key> {
        (key.len() <= INLINE_MAX_BYTES).then(|| Key::new(key))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Key::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Key::Shared(bytes) => bytes,
        }
    }
}

/// What lets the map be searched for a plain slice: equal and ordered as the slice is.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            // As numbers, which is quicker. What follows the end is zero, so that only where all
            // of the shorter one is the same the lengths are left to decide.
            (
                Key::Inline { len, bytes },
                Key::Inline {
                    len: other_len,
                    bytes: other,
                },
            ) => {
                let order = numbers(bytes).cmp(&numbers(other));
                order.then(len.cmp(other_len))
            }
            _ => self.as_slice().cmp(other.as_slice()),
        }
    }
}

/// Ordered as the bytes are.
fn numbers(bytes: &[u8; INLINE_MAX_BYTES]) -> (u128, u64) {
    let (mut head, mut tail) = ([0; 16], [0; 8]);
    head.copy_from_slice(&bytes[..16]);
    tail[..INLINE_MAX_BYTES - 16].copy_from_slice(&bytes[16..]);
    (u128::from_be_bytes(head), u64::from_be_bytes(tail))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice().escape_ascii().to_string().as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Zeros too, which also follow the end of a short key.
        #[test]
        fn keys_are_ordered_as_their_bytes(
            a in prop::collection::vec(0..3u8, 1..2 * INLINE_MAX_BYTES),
            b in prop::collection::vec(0..3u8, 1..2 * INLINE_MAX_BYTES),
            shared in 0..INLINE_MAX_BYTES,
        ) {
            let mut b = b;
            let shared = shared.min(a.len()).min(b.len());
            b[..shared].copy_from_slice(&a[..shared]);
            prop_assert_eq!(Key::new(&a).cmp(&Key::new(&b)), a.cmp(&b));
        }
    }

    #[test]
    fn keys_of_every_length_are_ordered_as_their_bytes() {
        for len in 1..=2 * INLINE_MAX_BYTES {
            let (low, high) = (vec![7; len], vec![7; len + 1]);
            assert_eq!(Key::new(&low).as_slice(), low);
            assert!(Key::new(&low) < Key::new(&high));
            assert_eq!(Key::new(&low), Key::new(&low));
        }
    }

    #[test]
    fn a_key_takes_three_words() {
        assert_eq!(size_of::<Key>(), 24);
    }
}
