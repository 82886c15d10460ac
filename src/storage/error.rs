//! Why the log or a snapshot could not be opened, read or written.

use std::{fmt, io};

/// Why the log could not be opened or written. Each stops the process.
#[derive(Debug)]
pub enum Error {
    /// The WAL itself.
    Wal(raftkv_wal::Error),
    /// A record is whole and yet makes no sense.
    Record {
        /// The record's kind.
        kind: u8,
        /// What is wrong with it.
        what: String,
    },
    /// Entries are missing: the log begins behind what a snapshot has, or ends before it.
    Gap {
        /// What was found.
        what: String,
    },
    /// No snapshot can be read that the log goes on from.
    Snapshot(SnapshotError),
    /// A file beside the log could not be made, named or removed.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Wal(error) => error.fmt(f),
            Error::Record { kind, what } => write!(
                f,
                "the log has a record of kind {kind} that this program cannot use: {what}; start \
                 the program that wrote it"
            ),
            Error::Gap { what } => write!(
                f,
                "entries are missing between snapshot and log: {what}; put the missing files back"
            ),
            Error::Snapshot(error) => error.fmt(f),
            Error::Io {
                doing,
                file,
                source,
            } => write!(f, "cannot {doing} {file}: {source}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<raftkv_wal::Error> for Error {
    fn from(error: raftkv_wal::Error) -> Error {
        Error::Wal(error)
    }
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Error {
        Error::Snapshot(error)
    }
}

/// Why a snapshot cannot be used.
#[derive(Debug)]
pub enum SnapshotError {
    /// Its bytes are not those that were written.
    Damaged {
        /// The file.
        file: String,
        /// Where the first part begins that is wrong.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A newer version of the program wrote it.
    Newer {
        /// The file.
        file: String,
        /// Its format version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It is the state of another cluster.
    Foreign {
        /// The file.
        file: String,
    },
    /// It is gone, though the log names it.
    Missing {
        /// The file.
        file: String,
    },
    /// It could not be read, this time. What its bytes are nobody knows.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SnapshotError {
    /// This file could not be opened.
    pub(super) fn opening(file: String, source: io::Error) -> SnapshotError {
        match source.kind() {
            io::ErrorKind::NotFound => SnapshotError::Missing { file },
            _ => SnapshotError::Io {
                doing: "open",
                file,
                source,
            },
        }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Damaged { file, offset, what } => write!(
                f,
                "{file} is damaged at byte {offset}: {what}; replace the disk if it is failing"
            ),
            SnapshotError::Newer { file, found, known } => write!(
                f,
                "{file} has format version {found}, newer than {known}, the newest that this \
                 program knows; start the newer program"
            ),
            SnapshotError::Foreign { file } => write!(
                f,
                "{file} is of another cluster; point to the right directory"
            ),
            SnapshotError::Missing { file } => {
                write!(f, "{file} is missing; put the file back")
            }
            SnapshotError::Io {
                doing,
                file,
                source,
            } => write!(
                f,
                "cannot {doing} {file}: {source}; try again, and replace the disk if it stays"
            ),
        }
    }
}

impl std::error::Error for SnapshotError {}
