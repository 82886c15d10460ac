//! The state as it was at one moment, for a thread that writes it down while changes go on.

use super::{entry, key::Key, map::Map};

/// A view of the state that no later command changes. It shares the memory of the state: while it
/// lives, a change first copies the nodes that both use on its way down the tree, and what it
/// replaces stays.
#[derive(Debug)]
pub struct Frozen {
    map: Map,
    revision: u64,
    /// The last key that was encoded.
    last: Option<Key>,
}

impl Frozen {
    pub(super) fn new(map: Map, revision: u64) -> Frozen {
        Frozen {
            map,
            revision,
            last: None,
        }
    }

    /// The number of changes that led to this state.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many keys there are, encoded or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the entries that follow those of the last call, in the order of their keys, until
    /// `out` holds `target_bytes` or more: whole entries, and one at least if any is left.
    /// Returns whether it appended any. The format is that of [`Loader`](super::Loader).
    pub fn encode_some(&mut self, out: &mut Vec<u8>, target_bytes: usize) -> bool {
        let mut last = None;
        for (key, record) in self.map.behind(self.last.as_ref()) {
            entry::encode(out, key.as_slice(), record);
            last = Some(key);
            if out.len() >= target_bytes {
                break;
            }
        }
        let appended = last.is_some();
        if let Some(last) = last.cloned() {
            self.last = Some(last);
        }
        appended
    }
}
