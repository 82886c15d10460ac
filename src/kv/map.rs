//! Where the keys live, behind the few operations that the store needs, so that another
//! structure can take its place.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Stored;

/// Keys in order, each with what is stored under it.
#[derive(Debug, Default)]
pub(super) struct Map {
    entries: BTreeMap<Bytes, Stored>,
}

impl Map {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.entries.get(key)
    }

    pub(super) fn put(&mut self, key: &[u8], stored: Stored) {
        match self.entries.get_mut(key) {
            Some(old) => *old = stored,
            // A copy: a slice of the command would keep its first value alive as long as the key.
            None => {
                self.entries.insert(Bytes::copy_from_slice(key), stored);
            }
        }
    }

    /// Returns whether the key was there.
    pub(super) fn delete(&mut self, key: &[u8]) -> bool {
        self.entries.remove(key).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Stored)> {
        self.entries.iter()
    }
}
