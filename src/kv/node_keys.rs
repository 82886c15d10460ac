//! The keys of one node, in order, and how one is found among them.

use arrayvec::ArrayVec;

use super::key::Key;

/// So many keys to a node at most. More of them make fewer levels, and a longer copy of a node
/// that is shared.
pub(super) const FULL: usize = 32;

/// A search looks at what all keys begin with, then at four bytes of each behind that, which lie
/// side by side, and at whole keys only where those are the same.
#[derive(Clone, Debug)]
pub(super) struct NodeKeys {
    /// What the keys say behind what they share, so that a lower key has no higher number.
    hints: [i32; FULL],
    /// So many bytes all keys begin with.
    shared_bytes: usize,
    keys: ArrayVec<Key, FULL>,
}

/// Where no key is: no hint is above it.
const NO_HINT: i32 = i32::MAX;

impl NodeKeys {
    pub(super) fn new(keys: ArrayVec<Key, FULL>) -> NodeKeys {
        let mut keys = NodeKeys {
            hints: [NO_HINT; FULL],
            shared_bytes: 0,
            keys,
        };
        keys.hint();
        keys
    }

    pub(super) fn as_slice(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Where the key is, if it is there.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let at = self.count_below(key);
        (self.keys.get(at)?.as_slice() == key).then_some(at)
    }

    /// How many keys are below this one.
    pub(super) fn count_below(&self, key: &[u8]) -> usize {
        self.count(key, |own| own < key)
    }

    /// How many keys are not above this one.
    pub(super) fn count_upto(&self, key: &[u8]) -> usize {
        self.count(key, |own| own <= key)
    }

    /// How many keys come before the first that does not.
    fn count(&self, key: &[u8], comes_before: impl Fn(&[u8]) -> bool) -> usize {
        let Some(first) = self.keys.first() else {
            return 0;
        };
        let (shared, start) = (self.shared_bytes, key.get(..self.shared_bytes));
        let start = start.unwrap_or(key);
        match start.cmp(&first.as_slice()[..shared]) {
            std::cmp::Ordering::Less => return 0,
            std::cmp::Ordering::Greater => return self.keys.len(),
            std::cmp::Ordering::Equal => {}
        }
        let hint = hint(key, shared);
        let lower = self.hints.iter().map(|own| i32::from(*own < hint));
        let mut count = lower.sum::<i32>() as usize;
        while self.keys.len() > count
            && self.hints[count] == hint
            && comes_before(self.keys[count].as_slice())
        {
            count += 1;
        }
        count
    }

    pub(super) fn insert(&mut self, at: usize, key: Key) {
        self.keys.insert(at, key);
        self.hint();
    }

    pub(super) fn remove(&mut self, at: usize) -> Key {
        let removed = self.keys.remove(at);
        self.hint();
        removed
    }

    /// Takes the keys from this one on.
    pub(super) fn split_off(&mut self, at: usize) -> ArrayVec<Key, FULL> {
        let taken = self.keys.drain(at..).collect();
        self.hint();
        taken
    }

    /// Adds keys that are above all.
    pub(super) fn extend(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.keys.extend(keys);
        self.hint();
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Key> {
        self.keys.into_iter()
    }

    fn hint(&mut self) {
        let (first, last) = match (self.keys.first(), self.keys.last()) {
            (Some(first), Some(last)) => (first.as_slice(), last.as_slice()),
            _ => (&[][..], &[][..]),
        };
        // What the first and the last begin with, all between them do.
        let pairs = first.iter().zip(last);
        self.shared_bytes = pairs.take_while(|(a, b)| a == b).count();
        self.hints = [NO_HINT; FULL];
        for (to, key) in self.hints.iter_mut().zip(&self.keys) {
            *to = hint(key.as_slice(), self.shared_bytes);
        }
    }
}

/// The four bytes from there on as a number that is ordered as they are; zeros follow the end.
fn hint(key: &[u8], from: usize) -> i32 {
    let rest = key.get(from..).unwrap_or_default();
    let bytes = match rest.first_chunk() {
        Some(bytes) => *bytes,
        None => {
            let mut bytes = [0; 4];
            bytes[..rest.len()].copy_from_slice(rest);
            bytes
        }
    };
    (u32::from_be_bytes(bytes) ^ (1 << 31)) as i32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Zeros too, which also follow the end of a short key.
        #[test]
        fn keys_are_found_as_by_comparing_each(
            start in prop::collection::vec(0..3u8, 0..30),
            ends in prop::collection::btree_set(prop::collection::vec(0..3u8, 1..9), 0..FULL),
            sought in prop::collection::vec(0..3u8, 1..9),
            sought_start in 0..30usize,
        ) {
            let whole = |end: &Vec<u8>| [&start[..], end].concat();
            let all: BTreeSet<Vec<u8>> = ends.iter().map(whole).collect();
            let mut keys = NodeKeys::new(ArrayVec::new());
            for key in all.iter().rev() {
                keys.insert(0, Key::new(key));
            }
            let sought = [&start[..sought_start.min(start.len())], &sought].concat();
            for key in all.iter().chain([&sought]) {
                let below = all.range(..key.clone()).count();
                prop_assert_eq!(keys.count_below(key), below);
                let upto = below + usize::from(all.contains(key));
                prop_assert_eq!(keys.count_upto(key), upto);
                prop_assert_eq!(keys.find(key), all.contains(key).then_some(below));
            }
        }
    }
}
