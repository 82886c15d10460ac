//! What is done to the data directory of a node that does not run: checking it, looking into it,
//! and making new directories of a backup. The first two change nothing.

mod inspect;
mod restore;
mod verify;

use std::{fmt::Write as _, io, path::Path};

pub use inspect::{Output, inspect_log, inspect_meta, inspect_snapshots};
pub use restore::{Origins, REVISION_STEP, Restore, check_backup, open_directory_of, restore};
pub use verify::verify;

use crate::{
    node::{Identity, StartError, StoppedDir, first_config},
    raft::{Config, Snapshot},
    storage::{self, Header, LogSurvey, Survey},
};

/// Why it could not be done: the exit code of the process, and one line for its last.
#[derive(Debug)]
pub struct Failure {
    /// As a node's exit codes; 0 when it was done as far as anybody read what it printed.
    pub code: u8,
    /// The thing, the value and the cure.
    pub text: String,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        Failure {
            code: error.exit_code(),
            text: error.to_string(),
        }
    }
}

impl Failure {
    fn storage(directory: &Path, error: storage::Error) -> Failure {
        let directory = directory.to_owned();
        let error = Box::new(error);
        StartError::Storage { directory, error }.into()
    }

    /// What was asked for cannot be printed.
    #[must_use]
    pub fn output(error: io::Error) -> Failure {
        // A reader that has seen enough, as `head` has, is no failure.
        let is_read_enough = error.kind() == io::ErrorKind::BrokenPipe;
        Failure {
            code: if is_read_enough { 0 } else { 74 },
            text: format!("stdout takes no output: {error}"),
        }
    }
}

/// A directory in which nothing is wrong.
struct Sound {
    directory: StoppedDir,
    identity: Identity,
    log: LogSurvey,
    /// Oldest first.
    snapshots: Vec<(Header, Snapshot)>,
}

impl Sound {
    fn open(path: &Path) -> Result<Sound, Failure> {
        let directory = StoppedDir::open(path)?;
        let identity = directory.identity()?;
        let survey = Survey::of(&mut directory.media()?, &identity.owner());
        let (log, snapshots) = survey
            .and_then(Survey::into_log)
            .map_err(|error| Failure::storage(path, error))?;
        Ok(Sound {
            directory,
            identity,
            log,
            snapshots,
        })
    }

    /// The members, as far as this node knows.
    fn config(&self) -> Config {
        let known = self.log.config.clone();
        known.unwrap_or_else(|| first_config(&self.identity.members))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
