//! The data directory of a node that does not run, for those who only look: nothing in it is
//! changed, not even the id in the lock file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use raftkv_wal::FileMedia;
use rustix::fs::FlockOperation;

use super::{
    error::StartError,
    identity::{
        IDENTITY_FILE, Identity, LOCK_FILE, PINS_FILE, WAL_DIRECTORY, hold, log_is_absent,
        read_identity, read_pins,
    },
};
use crate::raft::{Incarnation, NodeId};

/// A directory that no node uses, and none can start on while this lives.
#[derive(Debug)]
pub struct StoppedDir {
    path: PathBuf,
    /// None where there is no lock file: no node ever ran there.
    _lock: Option<File>,
}

impl StoppedDir {
    /// Locks the directory at `path`, shared with others who look.
    ///
    /// # Errors
    /// [`StartError::Locked`] while a node runs there, or when the system refuses.
    pub fn open(path: &Path) -> Result<StoppedDir, StartError> {
        fs::read_dir(path).map_err(|error| StartError::io(path, error))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = match File::open(&lock_path) {
            Ok(mut file) => {
                hold(&mut file, path, FlockOperation::NonBlockingLockShared)?;
                Some(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StartError::io(&lock_path, error)),
        };
        Ok(StoppedDir {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that says whose directory it is.
    #[must_use]
    pub fn identity_path(&self) -> PathBuf {
        self.path.join(IDENTITY_FILE)
    }

    /// The file with the first incarnation seen of each node.
    #[must_use]
    pub fn pins_path(&self) -> PathBuf {
        self.path.join(PINS_FILE)
    }

    /// Whose directory it is.
    ///
    /// # Errors
    /// When that is missing or damaged, of a newer program, or this is no data directory.
    pub fn identity(&self) -> Result<Identity, StartError> {
        let path = self.identity_path();
        match path.try_exists() {
            Ok(true) => read_identity(&path),
            Ok(false) if log_is_absent(&self.path)? => Err(StartError::Foreign {
                directory: self.path.clone(),
                problem: "it is no data directory of raftkv; name the --data-dir of a node"
                    .to_owned(),
            }),
            Ok(false) => {
                let problem = "it is missing, but there is a log";
                Err(StartError::damaged(&path, problem))
            }
            Err(error) => Err(StartError::io(&path, error)),
        }
    }

    /// The first incarnation seen of each node.
    ///
    /// # Errors
    /// When it is missing, damaged, of a newer program or of another directory.
    pub fn pins(&self, identity: &Identity) -> Result<BTreeMap<NodeId, Incarnation>, StartError> {
        read_pins(&self.pins_path(), identity)
    }

    /// Where the log lies.
    ///
    /// # Errors
    /// When the directory is not there or cannot be opened.
    pub fn media(&self) -> Result<FileMedia, StartError> {
        let path = self.path.join(WAL_DIRECTORY);
        FileMedia::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::damaged(&path, "it is missing"),
            _ => StartError::io(&path, error),
        })
    }
}
