//! From the entries of a view back to a state.

use std::{error::Error, fmt};

use super::{
    Kv,
    entry::{self, Entry},
    key::Key,
    map::{History, Map},
};

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A chunk ends within an entry.
    Cut,
    /// A key or a value has a size beyond the limits.
    Size,
    /// A key does not follow the one before it.
    Order,
    /// Revisions and version of a key are none that commands can have led to.
    History,
    /// There are more or fewer keys than there must be.
    Keys {
        /// How many there must be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Cut => f.write_str("a chunk ends within an entry"),
            LoadError::Size => f.write_str("a key or a value beyond the limits"),
            LoadError::Order => f.write_str("a key out of order"),
            LoadError::History => f.write_str("revisions that no commands lead to"),
            LoadError::Keys { expected, found } => {
                write!(f, "{found} keys where {expected} must be")
            }
        }
    }
}

impl Error for LoadError {}

/// Rebuilds a state from what [`Frozen::encode_some`](super::Frozen::encode_some) appended, in
/// one pass. It panics at no bytes.
#[derive(Debug)]
pub struct Loader {
    map: Map,
    revision: u64,
    last: Option<Key>,
}

impl Loader {
    /// A loader of the state of this revision.
    #[must_use]
    pub fn new(revision: u64) -> Loader {
        Loader {
            map: Map::default(),
            revision,
            last: None,
        }
    }

    /// Takes the next entries, a whole number of them, however they were cut into chunks.
    ///
    /// # Errors
    /// When the bytes are no entries, or none of a state of this revision. What was loaded is
    /// then of no use.
    pub fn take(&mut self, mut chunk: &[u8]) -> Result<(), LoadError> {
        let mut last = self.last.as_ref().map(Key::as_slice);
        while !chunk.is_empty() {
            let Entry {
                key,
                history,
                value,
            } = entry::decode(&mut chunk)?;
            if last.is_some_and(|last| last >= key) {
                return Err(LoadError::Order);
            }
            if !is_possible(history, self.revision) {
                return Err(LoadError::History);
            }
            self.map.insert(key, history, value);
            last = Some(key);
        }
        self.last = last.map(Key::new);
        Ok(())
    }

    /// The state, which must have so many keys.
    ///
    /// # Errors
    /// When it has more or fewer.
    pub fn finish(self, keys: u64) -> Result<Kv, LoadError> {
        let found = self.map.len() as u64;
        if found != keys {
            let expected = keys;
            return Err(LoadError::Keys { expected, found });
        }
        Ok(Kv {
            map: self.map,
            revision: self.revision,
        })
    }
}

/// Each put of a key is a change with a revision of its own.
fn is_possible(history: History, revision: u64) -> bool {
    let History {
        create_revision,
        mod_revision,
        version,
    } = history;
    let in_order = 1 <= create_revision && create_revision <= mod_revision;
    let is_fresh = create_revision == mod_revision;
    in_order
        && mod_revision <= revision
        && version >= 1
        && version - 1 <= mod_revision - create_revision
        && is_fresh == (version == 1)
}
