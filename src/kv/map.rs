//! Where the keys live, behind the few operations that the store needs, so that another
//! structure can take its place.
//!
//! A persistent B+tree: a clone shares every node, and a change copies the nodes on its way down
//! that a clone still shares. Up to 16 entries to a node keep such a copy small.

use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;
use triomphe::ThinArc;

use super::{Stored, key::Key};

/// A value's history in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) create_revision: u64,
    pub(super) mod_revision: u64,
    pub(super) version: u64,
}

/// A value and its history in one allocation. It never changes, so that clones of the map share
/// it.
#[derive(Clone, Debug)]
pub(super) struct Record(ThinArc<History, u8>);

impl Record {
    /// A copy of the value: a slice of the command would keep all of it alive.
    fn new(history: History, value: &[u8]) -> Record {
        Record(ThinArc::from_header_and_slice(history, value))
    }

    pub(super) fn history(&self) -> History {
        self.0.header.header
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.0.slice
    }

    /// The value without a copy.
    pub(super) fn stored(&self) -> Stored {
        let History {
            create_revision,
            mod_revision,
            version,
        } = self.history();
        Stored {
            value: Bytes::from_owner(self.clone()),
            create_revision,
            mod_revision,
            version,
        }
    }
}

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        self.value()
    }
}

/// Keys in order, each with what is stored under it. A clone takes constant time.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    entries: OrdMap<Key, Record>,
}

impl Map {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Record> {
        match Key::inline(key) {
            Some(key) => self.entries.get(&key),
            None => self.entries.get(key),
        }
    }

    /// Stores the value as the change of this revision. Returns what was there before, and the
    /// history now.
    pub(super) fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        revision: u64,
    ) -> (Option<Record>, History) {
        let found = match Key::inline(key) {
            Some(key) => self.entries.get_mut(&key),
            None => self.entries.get_mut(key),
        };
        match found {
            Some(record) => {
                let old = record.history();
                let history = History {
                    mod_revision: revision,
                    version: old.version + 1,
                    ..old
                };
                let old = std::mem::replace(record, Record::new(history, value));
                (Some(old), history)
            }
            None => {
                let history = History {
                    create_revision: revision,
                    mod_revision: revision,
                    version: 1,
                };
                self.insert(key, history, value);
                (None, history)
            }
        }
    }

    pub(super) fn insert(&mut self, key: &[u8], history: History, value: &[u8]) {
        self.entries
            .insert(Key::new(key), Record::new(history, value));
    }

    /// Returns what was there.
    pub(super) fn delete(&mut self, key: &[u8]) -> Option<Record> {
        // A removal copies shared nodes, whether or not it finds the key.
        match self.entries.contains_key(key) {
            true => self.entries.remove(key),
            false => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.entries.iter()
    }

    /// The entries behind `last`, or all.
    pub(super) fn behind(&self, last: Option<&Key>) -> impl Iterator<Item = (&Key, &Record)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<_, Key>((from, Bound::Unbounded))
    }
}
