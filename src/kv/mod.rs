//! The replicated state machine: an ordered map with revisions, deterministic in every byte.
//! No clock, no randomness, no order but the keys'. It holds bytes, whatever the API shows.

mod map;

use bytes::Bytes;
use map::Map;

/// Keys are 1 to this many bytes.
pub const KEY_MAX_BYTES: usize = 4 << 10;
/// Values are up to this many bytes.
pub const VALUE_MAX_BYTES: usize = 1 << 20;

/// What a log entry asks of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store the value under the key.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Remove the key.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Command {
    /// Whether key and value have sizes that every node applies.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let (key, value_bytes) = match self {
            Command::Put { key, value } => (key, value.len()),
            Command::Delete { key } => (key, 0),
        };
        (1..=KEY_MAX_BYTES).contains(&key.len()) && value_bytes <= VALUE_MAX_BYTES
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
    pub fn apply(&mut self, command: Command) -> Outcome {
        match command {
            Command::Put { key, value } => {
                self.revision += 1;
                let (create_revision, version) = match self.map.get(&key) {
                    Some(old) => (old.create_revision, old.version + 1),
                    None => (self.revision, 1),
                };
                let mod_revision = self.revision;
                self.map.put(
                    &key,
                    Stored {
                        value,
                        create_revision,
                        mod_revision,
                        version,
                    },
                );
                Outcome::Put
            }
            Command::Delete { key } => {
                let found = self.map.delete(&key);
                self.revision += u64::from(found);
                Outcome::Deleted { found }
            }
        }
    }

    /// What is stored under the key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.map.get(key)
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

    /// Every byte of the state in one canonical form: equal states are equal bytes, so that two
    /// nodes can be compared.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut out = self.revision.to_le_bytes().to_vec();
        if planted!("image_in_hash_order") {
            let hash = std::hash::RandomState::new();
            let mut entries: Vec<(&Bytes, &Stored)> = self.map.iter().collect();
            entries.sort_by_key(|(key, _)| std::hash::BuildHasher::hash_one(&hash, key));
            entries
                .iter()
                .for_each(|(key, stored)| put_into(&mut out, key, stored));
            return out;
        }
        for (key, stored) in self.map.iter() {
            put_into(&mut out, key, stored);
        }
        out
    }
}

fn put_into(image: &mut Vec<u8>, key: &Bytes, stored: &Stored) {
    for bytes in [key, &stored.value] {
        image.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        image.extend_from_slice(bytes);
    }
    for number in [stored.create_revision, stored.mod_revision, stored.version] {
        image.extend_from_slice(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn put(key: &str, value: &str) -> Command {
        Command::Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: value.to_owned().into(),
        }
    }

    fn delete(key: &str) -> Command {
        Command::Delete {
            key: Bytes::copy_from_slice(key.as_bytes()),
        }
    }

    #[test]
    fn a_key_counts_its_puts_and_starts_anew_after_a_delete() {
        let mut kv = Kv::default();
        kv.apply(put("a", "1"));
        kv.apply(put("b", "2"));
        kv.apply(put("a", "3"));
        let a = kv.get(b"a").expect("stored");
        assert_eq!((a.create_revision, a.mod_revision, a.version), (1, 3, 2));
        assert_eq!(kv.apply(delete("a")), Outcome::Deleted { found: true });
        kv.apply(put("a", "4"));
        let a = kv.get(b"a").expect("stored");
        assert_eq!((a.create_revision, a.mod_revision, a.version), (5, 5, 1));
    }

    #[test]
    fn deleting_what_is_absent_changes_nothing() {
        let mut kv = Kv::default();
        kv.apply(put("a", "1"));
        let before = kv.image();
        assert_eq!(kv.apply(delete("b")), Outcome::Deleted { found: false });
        assert_eq!(kv.image(), before);
    }

    proptest! {
        #[test]
        fn the_store_agrees_with_a_plain_map(
            commands in prop::collection::vec((0u8..6, prop::option::of(0u8..9)), 0..60),
        ) {
            let (mut kv, mut model) = (Kv::default(), BTreeMap::new());
            for (key, value) in commands {
                let (key, outcome) = (format!("k{key}"), match value {
                    Some(value) => kv.apply(put(&format!("k{key}"), &value.to_string())),
                    None => kv.apply(delete(&format!("k{key}"))),
                });
                let want = match value {
                    Some(value) => { model.insert(key, value.to_string()); Outcome::Put }
                    None => Outcome::Deleted { found: model.remove(&key).is_some() },
                };
                prop_assert_eq!(outcome, want);
            }
            prop_assert_eq!(kv.len(), model.len());
            for (key, value) in &model {
                let stored = kv.get(key.as_bytes()).expect("stored");
                prop_assert_eq!(&stored.value[..], value.as_bytes());
            }
        }
    }
}
