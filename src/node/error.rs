//! Why a node does not start, or stops by itself: the exit code of the process, and one line that
//! names the thing, the value and the cure.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use raftkv_wal::Error as WalError;

use super::hello::wiped;
use crate::{
    raft::NodeId,
    replica,
    storage::{self, JobError, SnapshotError},
};

/// Why a node did not start.
#[derive(Debug)]
pub enum StartError {
    /// A flag, its value, what is wrong with it and the cure.
    Flag(String),
    /// The address cannot be listened on.
    Listen {
        /// The flag that the address comes from.
        flag: &'static str,
        /// The address.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Another process uses the data directory.
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// What that process wrote as its id, if it did.
        process: Option<u32>,
    },
    /// The data directory was made for something else.
    Foreign {
        /// The data directory.
        directory: PathBuf,
        /// For what, and the cure.
        problem: String,
    },
    /// A file was written by a newer version of the program.
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// A file of the data directory is missing, or not what was once written.
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or directory cannot be read, written or synced.
    Io {
        /// Which.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The log cannot be opened.
    Storage {
        /// The data directory.
        directory: PathBuf,
        /// Why.
        error: Box<storage::Error>,
    },
    /// The system refused something else.
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl StartError {
    /// This file or directory cannot be read, written or synced.
    #[must_use]
    pub fn io(file: &Path, error: io::Error) -> StartError {
        StartError::Io {
            file: file.to_owned(),
            error,
        }
    }

    pub(super) fn damaged(file: &Path, problem: impl Into<String>) -> StartError {
        StartError::Damaged {
            file: file.to_owned(),
            problem: problem.into(),
        }
    }

    /// The exit code of the process: 2 bad flag, 3 port in use or directory locked, 5 foreign
    /// directory, 6 damage, 74 failed read, write or sync.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse => 3,
            StartError::Flag(_) | StartError::Listen { .. } => 2,
            StartError::Locked { .. } => 3,
            StartError::Foreign { .. } | StartError::Newer { .. } => 5,
            StartError::Damaged { .. } => 6,
            StartError::Storage { error, .. } => storage_exit_code(error),
            StartError::Io { .. } | StartError::System { .. } => 74,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Flag(problem) => f.write_str(problem),
            StartError::Listen {
                flag,
                address,
                error,
            } => match error.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{flag} {address}: the port is in use; stop the process that listens there \
                     or choose another port"
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "{flag} {address}: {error}; choose a port from 1024 on, or let this process \
                     have that one"
                ),
                _ => write!(
                    f,
                    "{flag} {address}: {error}; choose an address of this machine"
                ),
            },
            StartError::Locked { directory, process } => {
                let id = process.map_or_else(String::new, |id| format!(" {id}"));
                write!(
                    f,
                    "data directory {} is locked by process{id}; stop it or choose another \
                     --data-dir",
                    directory.display()
                )
            }
            StartError::Foreign { directory, problem } => {
                write!(f, "data directory {}: {problem}", directory.display())
            }
            StartError::Newer { file, found, known } => write!(
                f,
                "{} has format version {found}, newer than {known}, the newest that this program \
                 knows; start the newer program",
                file.display()
            ),
            StartError::Damaged { file, problem } => write!(
                f,
                "{} is damaged: {problem}; replace the disk if it is failing; {}",
                file.display(),
                damage_cure(file.parent().unwrap_or(file))
            ),
            StartError::Io { file, error } => write!(
                f,
                "cannot use {}: {error}; check its permissions and the space of its disk",
                file.display()
            ),
            StartError::Storage { directory, error } if storage_exit_code(error) == 6 => {
                write!(f, "{error}; {}", damage_cure(directory))
            }
            StartError::Storage { error, .. } => error.fmt(f),
            StartError::System { doing, error } => write!(
                f,
                "{doing} failed: {error}; check the limits of this process"
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Listen { error, .. }
            | StartError::Io { error, .. }
            | StartError::System { error, .. } => Some(error),
            StartError::Storage { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What to do about a directory that is damaged. A node that lost some of its log must not take
/// part any more: it might vote for one who lacks what it has acknowledged.
fn damage_cure(directory: &Path) -> String {
    format!(
        "raftkv verify {} shows all that is wrong; this node stays stopped, and its member is \
         replaced under a new id: the others have what it had",
        directory.display()
    )
}

/// Why a node stopped without being asked to.
#[derive(Debug)]
pub enum Fatal {
    /// The log failed, or a committed entry cannot be applied.
    Replica(replica::Error),
    /// A file beside the log could not be made durable.
    Pin(io::Error),
    /// The system refused to poll.
    Poll(io::Error),
    /// Another data directory is known under this node's id.
    Replaced(NodeId),
}

impl Fatal {
    /// The exit code of the process: 5 foreign directory, 6 damage, 74 failed read, write or sync.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Fatal::Replica(replica::Error::Storage(error)) => storage_exit_code(error),
            Fatal::Replica(replica::Error::Snapshot(JobError::Snapshot(error))) => {
                snapshot_exit_code(error)
            }
            Fatal::Replica(replica::Error::Snapshot(_)) => 74,
            Fatal::Replica(replica::Error::Apply { .. }) | Fatal::Replaced(_) => 5,
            Fatal::Pin(_) | Fatal::Poll(_) => 74,
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Replica(error) => error.fmt(f),
            Fatal::Pin(error) => write!(
                f,
                "cannot record which data directory a peer has: {error}; check the space of the \
                 disk, then start anew"
            ),
            Fatal::Poll(error) => write!(f, "waiting for the network failed: {error}; start anew"),
            Fatal::Replaced(node) => f.write_str(&wiped(*node)),
        }
    }
}

impl std::error::Error for Fatal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fatal::Replica(error) => Some(error),
            Fatal::Pin(error) | Fatal::Poll(error) => Some(error),
            Fatal::Replaced(_) => None,
        }
    }
}

fn storage_exit_code(error: &storage::Error) -> u8 {
    match error {
        storage::Error::Record { .. } => 5,
        storage::Error::Wal(WalError::Damaged { .. } | WalError::Missing { .. }) => 6,
        storage::Error::Wal(WalError::Foreign { .. } | WalError::Newer { .. }) => 5,
        storage::Error::Gap { .. } => 6,
        storage::Error::Snapshot(error) => snapshot_exit_code(error),
        storage::Error::Wal(_) | storage::Error::Io { .. } => 74,
    }
}

fn snapshot_exit_code(error: &SnapshotError) -> u8 {
    match error {
        SnapshotError::Damaged { .. } | SnapshotError::Missing { .. } => 6,
        SnapshotError::Io { .. } => 74,
        SnapshotError::Newer { .. } | SnapshotError::Foreign { .. } => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_listened_on_is_told_with_the_cure_for_its_cause() {
        for (kind, code, cure) in [
            (io::ErrorKind::AddrInUse, 3, "choose another port"),
            (
                io::ErrorKind::PermissionDenied,
                2,
                "choose a port from 1024 on",
            ),
            (io::ErrorKind::AddrNotAvailable, 2, "an address of this"),
        ] {
            let error = StartError::Listen {
                flag: "--kv-listen",
                address: "a:80".to_owned(),
                error: kind.into(),
            };
            assert_eq!(error.exit_code(), code);
            let text = error.to_string();
            assert!(text.starts_with("--kv-listen a:80: "), "{text}");
            assert!(text.contains(cure), "{text}");
        }
    }
}
