//! Where the keys live, behind the few operations that the store needs, so that another
//! structure can take its place.

use arrayvec::ArrayVec;
use bytes::Bytes;
use triomphe::{Arc, ThinArc};

use super::{
    Stored, TOGETHER, digest,
    key::Key,
    tree::{Place, Tree},
};

/// A map of fewer keys lies in the processor's caches.
const SMALL: usize = 2_000;

/// So many keys are worth to be looked for together.
const FEW: usize = 4;

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

impl Head {
    fn new(key: &[u8], history: History, value: &[u8]) -> Head {
        let digest = digest::of_entry(key, history, value);
        let digest = [digest as u64, (digest >> 64) as u64];
        Head { history, digest }
    }
}

/// A value and its history in one allocation. It does not change while anybody shares it: clones
/// of the map do, and readers of the value.
#[derive(Clone, Debug)]
pub(super) struct Record(ThinArc<Head, u8>);

impl Record {
    /// A copy of the value: a slice of the command would keep all of it alive.
    fn new(key: &[u8], history: History, value: &[u8]) -> Record {
        let head = Head::new(key, history, value);
        Record(ThinArc::from_header_and_slice(head, value))
    }

    /// Stores another value, in the memory of the old one if that is nobody else's and fits.
    fn put(&mut self, key: &[u8], value: &[u8], revision: u64) {
        let old = self.history();
        let history = History {
            mod_revision: revision,
            version: old.version + 1,
            ..old
        };
        let is_in_place = self.0.with_arc_mut(|record| match Arc::get_mut(record) {
            Some(record) if record.length() == value.len() => {
                *record.header_mut() = Head::new(key, history, value);
                record.slice_mut().copy_from_slice(value);
                true
            }
            _ => false,
        });
        if !is_in_place {
            *self = Record::new(key, history, value);
        }
    }

    /// Has the memory of it brought closer.
    fn touch(&self) {
        self.value().iter().step_by(64).for_each(|byte| {
            std::hint::black_box(byte);
        });
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
    entries: Tree<Record>,
    digest: u128,
}

impl Map {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Record> {
        self.entries.get(key)
    }

    /// Where these keys are, of those that are there.
    pub(super) fn find(
        &self,
        keys: &ArrayVec<&[u8], TOGETHER>,
    ) -> ArrayVec<Option<Place>, TOGETHER> {
        match keys.len() < FEW || self.len() < SMALL {
            true => ArrayVec::new(),
            false => self.entries.find(keys, Record::touch),
        }
    }

    /// Stores the value as the change of this revision. The key may be at this place.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8], revision: u64, place: Option<&Place>) {
        let Map { entries, digest } = self;
        let mut put = |record: &mut Record| {
            *digest = digest.wrapping_sub(record.digest());
            record.put(key, value, revision);
            *digest = digest.wrapping_add(record.digest());
        };
        if let Some(record) = place.and_then(|place| entries.get_mut_at(place, key)) {
            put(record);
        } else if let Some(record) = entries.get_mut(key) {
            put(record);
        } else {
            let history = History {
                create_revision: revision,
                mod_revision: revision,
                version: 1,
            };
            self.insert(key, history, value);
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
        let removed = self.entries.remove(key);
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
        self.entries.behind(None)
    }

    /// The entries behind `last`, or all.
    pub(super) fn behind(&self, last: Option<&Key>) -> impl Iterator<Item = (&Key, &Record)> {
        self.entries.behind(last)
    }
}
