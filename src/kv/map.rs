//! Where the keys live, behind the few operations that the store needs, so that another
//! structure can take its place.
//!
//! A persistent B+tree: a clone shares every node, and a change copies the nodes on its way down
//! that a clone still shares. Up to 16 entries to a node keep such a copy small.

use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;
use triomphe::ThinArc;

use super::{Stored, digest, key::Key};

/// A value's history in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) create_revision: u64,
    pub(super) mod_revision: u64,
    pub(super) version: u64,
}

/// What is kept with a value.
#[derive(Clone, Copy, Debug)]
struct Head {
    history: History,
    /// Its part of the map's digest, the lower half first: a `u128` would be aligned to 16 bytes.
    digest: [u64; 2],
}

/// A value and its history in one allocation. It never changes, so that clones of the map share
/// it.
#[derive(Clone, Debug)]
pub(super) struct Record(ThinArc<Head, u8>);

impl Record {
    /// A copy of the value: a slice of the command would keep all of it alive.
    fn new(key: &[u8], history: History, value: &[u8]) -> Record {
        let digest = digest::of_entry(key, history, value);
        let digest = [digest as u64, (digest >> 64) as u64];
        let head = Head { history, digest };
        Record(ThinArc::from_header_and_slice(head, value))
    }

    pub(super) fn history(&self) -> History {
        self.0.header.header.history
    }

    fn digest(&self) -> u128 {
        let [low, high] = self.0.header.header.digest;
        u128::from(low) | u128::from(high) << 64
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
    digest: u128,
}

impl Map {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Record> {
        match Key::inline(key) {
            Some(key) => self.entries.get(&key),
            None => self.entries.get(key),
        }
    }

    /// Stores the value as the change of this revision.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8], revision: u64) {
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
                let new = Record::new(key, history, value);
                let changed = new.digest().wrapping_sub(record.digest());
                self.digest = self.digest.wrapping_add(changed);
                *record = new;
            }
            None => {
                let history = History {
                    create_revision: revision,
                    mod_revision: revision,
                    version: 1,
                };
                self.insert(key, history, value);
            }
        }
    }

    /// Stores a key that is not there.
    pub(super) fn insert(&mut self, key: &[u8], history: History, value: &[u8]) {
        let record = Record::new(key, history, value);
        self.digest = self.digest.wrapping_add(record.digest());
        self.entries.insert(Key::new(key), record);
    }

    /// Returns whether the key was there.
    pub(super) fn delete(&mut self, key: &[u8]) -> bool {
        // A removal copies shared nodes, whether or not it finds the key.
        let removed = match self.entries.contains_key(key) {
            true => self.entries.remove(key),
            false => None,
        };
        if let Some(record) = &removed {
            self.digest = self.digest.wrapping_sub(record.digest());
        }
        removed.is_some()
    }

    /// The sum of what [`digest::of_entry`] makes of each entry.
    pub(super) fn digest(&self) -> u128 {
        self.digest
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
