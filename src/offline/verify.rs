//! `raftkv verify`: whether every byte of a data directory is what was once written.

use std::{
    fmt::Display,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use raftkv_wal::{FileMedia, Intact, SegmentReport};

use super::{Failure, hex};
use crate::{
    kv::DIGEST_EVERY,
    node::{Identity, StartError, StoppedDir},
    raft::{Index, NodeId},
    storage::{self, LogSurvey, SnapshotReport, Survey},
};

/// Checks the data directory at `path` and prints a line for each file: what it is, or what is
/// wrong with it. A torn tail, which a power cut may leave, is told and is no damage.
///
/// # Errors
/// Code 3 while a node runs there, 6 when something is damaged, 5 when it is foreign or of a newer
/// program, 74 when it cannot be read. The text names the first file that is wrong.
pub fn verify(path: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let directory = StoppedDir::open(path)?;
    let mut check = Check {
        directory: path.to_owned(),
        out,
        files: 0,
        wrong: Vec::new(),
    };
    let identity = directory.identity();
    let found = identity.as_ref().map(described);
    check.line(directory.identity_path().display(), found)?;
    if let Ok(identity) = &identity {
        let pins = directory.pins(identity);
        let found = pins.as_ref().map(|pins| format!("{} nodes", pins.len()));
        check.line(directory.pins_path().display(), found)?;
        match directory.media() {
            Err(error) => check.line(path.join("wal").display(), Err(&error))?,
            Ok(mut media) => {
                let owner = identity.owner();
                let survey = Survey::of(&mut media, &owner);
                let survey = survey.map_err(|error| Failure::storage(path, error))?;
                let digests = digests(&survey, &mut media, &owner);
                check.survey(survey)?;
                check.digests(digests)?;
            }
        }
    }
    check.others()?;
    check.end()
}

fn described(identity: &Identity) -> String {
    let members: Vec<String> = identity.members.keys().map(NodeId::to_string).collect();
    format!(
        "node {} of cluster {}, made for nodes {}",
        identity.node_id,
        hex(&identity.cluster_id),
        members.join(",")
    )
}

struct Check<'a, W> {
    directory: PathBuf,
    out: &'a mut W,
    files: usize,
    wrong: Vec<Failure>,
}

impl<W: Write> Check<'_, W> {
    fn line(
        &mut self,
        file: impl Display,
        found: Result<String, &StartError>,
    ) -> Result<(), Failure> {
        self.files += 1;
        let (word, text) = match found {
            Ok(text) => ("ok", text),
            Err(error) => {
                let word = match error.exit_code() {
                    6 => "damaged",
                    5 => "refused",
                    _ => "unreadable",
                };
                let text = match error {
                    StartError::Storage { error, .. } => error.to_string(),
                    error => error.to_string(),
                };
                self.wrong.push(Failure {
                    code: error.exit_code(),
                    text: text.clone(),
                });
                (word, text)
            }
        };
        writeln!(self.out, "{word:<10} {file}  {text}").map_err(Failure::output)
    }

    fn unused(&mut self, file: impl Display, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{:<10} {file}  {text}", "unused").map_err(Failure::output)
    }

    /// What lies in the directory and holds nothing that was ever promised to anybody.
    fn others(&mut self) -> Result<(), Failure> {
        let failed = |error| StartError::io(&self.directory, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.retain(|name| {
            !["identity", "pins", "wal"]
                .iter()
                .any(|known| name == known)
        });
        names.sort();
        for name in names {
            let text = match name == *"raftkv.pid" {
                true => "the lock",
                false => "no file of raftkv that counts",
            };
            self.unused(self.directory.join(name).display(), text)?;
        }
        Ok(())
    }

    fn storage(&self, error: impl Into<storage::Error>) -> StartError {
        StartError::Storage {
            directory: self.directory.clone(),
            error: Box::new(error.into()),
        }
    }

    fn survey(&mut self, survey: Survey) -> Result<(), Failure> {
        for SegmentReport { file, state } in survey.segments {
            let state = state.map_err(|error| self.storage(error));
            self.line(file, state.as_ref().map(segment))?;
        }
        for found in survey.snapshots {
            self.snapshot(found)?;
        }
        for file in survey.others {
            self.unused(file, "no part of log or state")?;
        }
        let file = self.directory.join("wal");
        if let Some(log) = survey.log {
            let log = log.map_err(|error| self.storage(error));
            self.line(file.display(), log.as_ref().map(log_line))?;
        }
        Ok(())
    }

    /// What `raftkv-cli status` shows of a running node, to be compared with.
    fn digests(
        &mut self,
        digests: Result<Vec<(Index, u128)>, storage::Error>,
    ) -> Result<(), Failure> {
        let file = self.directory.join("wal");
        match digests {
            Ok(digests) => digests.iter().try_for_each(|(index, digest)| {
                let text = format!("{:<10} {digest:032x}  the state at index {index}", "digest");
                writeln!(self.out, "{text}").map_err(Failure::output)
            }),
            Err(error) => {
                let error = self.storage(error);
                self.line(file.display(), Err(&error))
            }
        }
    }

    fn snapshot(&mut self, found: SnapshotReport) -> Result<(), Failure> {
        let SnapshotReport {
            file,
            is_named,
            state,
            digest,
        } = found;
        if !is_named {
            return self.unused(file, "named by no record: removed at the next start");
        }
        let state = state.map_err(|error| self.storage(error));
        let found = state.as_ref().map(|(header, snapshot)| {
            format!(
                "the state at index {} of term {}, {} keys, {} bytes, digest {digest:032x}",
                header.pos.index, header.pos.term, header.keys, snapshot.bytes
            )
        });
        self.line(file, found)
    }

    fn end(self) -> Result<(), Failure> {
        let Some(first) = self.wrong.iter().max_by_key(|wrong| wrong.code == 6) else {
            let done = format!("{}: nothing is wrong", self.directory.display());
            return writeln!(self.out, "{done}").map_err(Failure::output);
        };
        // The first of the worst kind.
        let code = first.code;
        let first = self.wrong.iter().find(|wrong| wrong.code == code);
        let text = &first.expect("just found").text;
        let cure = match code {
            6 => {
                "; leave this node stopped and replace its member under a new id; if no majority \
                 of sound members is left, stop them and run raftkv restore --from-dir DIR with \
                 the directory of a sound one"
            }
            _ => "",
        };
        let (wrong, files) = (self.wrong.len(), self.files);
        Err(Failure {
            code,
            text: format!("{wrong} of {files} wrong: {text}{cure}"),
        })
    }
}

/// Digests of the state, made from scratch: at the last index at which nodes remember theirs, and
/// with all of the log applied, the end too, which need not be committed. None of a damaged log.
fn digests(
    survey: &Survey,
    media: &mut FileMedia,
    owner: &[u8; 40],
) -> Result<Vec<(Index, u128)>, storage::Error> {
    let Some(Ok(log)) = &survey.log else {
        return Ok(Vec::new());
    };
    let mut remembered = None;
    let end = log.states(media, owner, |index, state| {
        if index.0.is_multiple_of(DIGEST_EVERY) {
            remembered = Some((index, state.digest()));
        }
    })?;
    let end = (log.last.index, end.digest());
    Ok(remembered
        .filter(|(index, _)| *index < end.0)
        .into_iter()
        .chain([end])
        .collect())
}

fn segment(found: &Intact) -> String {
    let Intact {
        file_bytes,
        records,
        end,
        torn_bytes,
    } = *found;
    let mut text = format!("{records} records, {end} of {file_bytes} bytes");
    if torn_bytes > 0 {
        text += &format!(
            "; a torn tail of {torn_bytes} bytes, written before a crash and never acknowledged: \
             cut at the next start"
        );
    }
    text
}

fn log_line(log: &LogSurvey) -> String {
    if log.last == log.base {
        let (index, term) = (log.base.index, log.base.term);
        return format!("the log has no entry behind index {index} of term {term}");
    }
    format!(
        "the log goes from index {} to {} of term {}",
        log.base.index.next(),
        log.last.index,
        log.last.term
    )
}
