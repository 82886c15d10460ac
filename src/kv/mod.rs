//! The replicated state machine: an ordered map with revisions, deterministic in every byte.
//! No clock, no randomness, no order but the keys'. It holds bytes, whatever the API shows.
//!
//! A [`Frozen`] view is the state of one moment; its entries as bytes, which `entry.rs` lays out,
//! become a state again in a [`Loader`].

mod digest;
mod entry;
mod frozen;
mod key;
mod loader;
mod map;
mod node_keys;
mod tree;

pub use entry::keys;
pub use frozen::Frozen;
pub use loader::{LoadError, Loader};
pub use tree::Place;

use arrayvec::ArrayVec;
use bytes::Bytes;
use key::Key;
use map::{Map, Record};

/// Keys are 1 to this many bytes.
pub const KEY_MAX_BYTES: usize = 4 << 10;
/// Values are up to this many bytes.
pub const VALUE_MAX_BYTES: usize = 1 << 20;

/// Nodes remember their state's digest at each multiple of this index, so that those which are not
/// equally far can be compared.
pub const DIGEST_EVERY: u64 = 1_000;

/// So many keys are looked for at once.
pub const TOGETHER: usize = 16;

/// What a log entry asks of the state machine, in bytes of its own or borrowed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<B = Bytes> {
    /// Store the value under the key.
    Put {
        /// The key.
        key: B,
        /// The value.
        value: B,
    },
    /// Remove the key.
    Delete {
        /// The key.
        key: B,
    },
}

impl<B: AsRef<[u8]>> Command<B> {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &B {
        match self {
            Command::Put { key, .. } | Command::Delete { key } => key,
        }
    }

    /// Whether key and value have sizes that every node applies.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let (key, value_bytes) = match self {
            Command::Put { key, value } => (key, value.as_ref().len()),
            Command::Delete { key } => (key, 0),
        };
        let key_bytes = key.as_ref().len();
        (1..=KEY_MAX_BYTES).contains(&key_bytes) && value_bytes <= VALUE_MAX_BYTES
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value is stored.
    Put,
    /// The key is gone.
    Deleted {
        /// Whether it existed.
        found: bool,
    },
}

/// A value with its history in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Bytes,
    /// The store's revision when the key came into being.
    pub create_revision: u64,
    /// The store's revision when the value was last put.
    pub mod_revision: u64,
    /// How often it was put since it came into being.
    pub version: u64,
}

/// All keys, and one revision that grows by one with each change.
#[derive(Debug, Default)]
pub struct Kv {
    map: Map,
    revision: u64,
}

impl Kv {
    /// Applies a command. The same commands in the same order leave the same bytes on every node
    /// (State Machine Safety, §5.4.3).
    pub fn apply<B: AsRef<[u8]>>(&mut self, command: Command<B>) -> Outcome {
        self.apply_at(&command, None)
    }

    /// Looks for the keys of commands that are about to be applied, all at once, which is quicker
    /// than one after the other. Finds nothing where that would gain nothing.
    #[must_use]
    pub fn find(&self, keys: &ArrayVec<&[u8], TOGETHER>) -> ArrayVec<Option<Place>, TOGETHER> {
        self.map.find(keys)
    }

    /// As [`Kv::apply`], with where its key was. That may be another place by now.
    pub fn apply_at<B: AsRef<[u8]>>(
        &mut self,
        command: &Command<B>,
        place: Option<&Place>,
    ) -> Outcome {
        match command {
            Command::Put { key, value } => {
                self.revision += 1;
                let (key, value) = (key.as_ref(), value.as_ref());
                self.map.put(key, value, self.revision, place);
                Outcome::Put
            }
            Command::Delete { key } => {
                let found = self.map.delete(key.as_ref());
                self.revision += u64::from(found);
                Outcome::Deleted { found }
            }
        }
    }

    /// What is stored under the key. The value is shared, not copied.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Stored> {
        self.map.get(key).map(Record::stored)
    }

    /// A view of the state as of now, in constant time. Later commands do not change it.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen::new(self.map.clone(), self.revision)
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of changes so far.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What two states have in common if and, but for chance, only if they hold the same keys with
    /// the same values and histories.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.map.digest()
    }

    /// Every byte of the state in one canonical form: equal states are equal bytes, so that two
    /// nodes can be compared.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut out = self.revision.to_le_bytes().to_vec();
        let mut entries: Vec<(&Key, &Record)> = self.map.iter().collect();
        if planted!("image_in_hash_order") {
            let hash = std::hash::RandomState::new();
            let of_key = |key: &Key| std::hash::BuildHasher::hash_one(&hash, key.as_slice());
            entries.sort_by_key(|(key, _)| of_key(key));
        }
        for (key, record) in entries {
            entry::encode(&mut out, key.as_slice(), record);
        }
        out
    }
}

#[cfg(test)]
mod tests;
