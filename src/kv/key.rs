//! A key as the map holds it.

use std::{cmp::Ordering, fmt};

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

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Key::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Key::Shared(bytes) => bytes,
        }
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
        self.as_slice().cmp(other.as_slice())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice().escape_ascii().to_string().as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_every_length_is_what_it_was_made_of() {
        for len in 1..=2 * INLINE_MAX_BYTES {
            let key = vec![7; len];
            assert_eq!(Key::new(&key).as_slice(), key);
            assert_eq!(Key::new(&key), Key::new(&key));
        }
    }

    #[test]
    fn a_key_takes_three_words() {
        assert_eq!(size_of::<Key>(), 24);
    }
}
