//! What the log directory of a stopped node holds: all of it checked, and nothing changed. The
//! node itself opens it with [`Storage::open`](super::Storage::open).

use bytes::Bytes;
use raftkv_wal::{Address, Media, SegmentReport};

use super::{
    Header, Loading, SnapshotError, error::Error, record::ENTRY, replay::Replay, snapshot_name,
};
use crate::{
    codec,
    kv::Kv,
    raft::{Config, Entry, EntryKind, HardState, Index, LogPos, Snapshot},
};

/// Everything that is to say about a log directory.
#[derive(Debug)]
pub struct Survey {
    /// Each segment of the WAL, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Each snapshot that has a file, or that the log names; oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// Files that are no part of log or state: the next segment, and what a crash left over.
    pub others: Vec<String>,
    /// The log, or what is wrong with it though every segment is sound; none with a damaged one.
    pub log: Option<Result<LogSurvey, Error>>,
}

/// One snapshot.
#[derive(Debug)]
pub struct SnapshotReport {
    /// Its file, as an operator knows it.
    pub file: String,
    /// Whether the log names it, or may do so, being damaged. What a sound log does not name goes
    /// at the next start.
    pub is_named: bool,
    /// What it is, when all of it was read and found to be right.
    pub state: Result<(Header, Snapshot), SnapshotError>,
    /// The digest of that state; 0 without one.
    pub digest: u128,
}

/// A log that can be replayed.
#[derive(Debug)]
pub struct LogSurvey {
    /// Term and vote.
    pub hard: HardState,
    /// The entry before the first.
    pub base: LogPos,
    /// The last entry, or what the newest snapshot ends with.
    pub last: LogPos,
    /// The snapshot that the state begins with.
    pub loaded: Option<Snapshot>,
    /// The last configuration in the log or in that snapshot, if there is any.
    pub config: Option<Config>,
    /// Where each entry lies.
    records: Vec<Address>,
}

impl Survey {
    /// Reads all of the directory. The owner begins with the cluster's id, 16 bytes.
    ///
    /// # Errors
    /// When the directory cannot be listed. What is wrong within is in the survey.
    pub fn of<M: Media>(media: &mut M, owner: &[u8; 40]) -> Result<Survey, Error> {
        let mut replay = Replay::default();
        let mut unusable = None;
        let segments = raftkv_wal::inspect(media, owner, |record| {
            if unusable.is_none() {
                unusable = replay.take(&record).err();
            }
        })?;
        let names = list(media)?;
        let named: Vec<Snapshot> = replay.mark.snapshots.clone();
        let sound = segments.iter().all(|segment| segment.state.is_ok());
        let mut snapshots = snapshot_reports(media, owner, &names, &named);
        snapshots
            .iter_mut()
            .for_each(|found| found.is_named |= !sound);
        let ours = |name: &&String| !name.ends_with(".wal") && !name.ends_with(".snapshot");
        let others = names.iter().filter(ours);
        let others = others.map(|name| media.describe(name)).collect();
        let log = sound.then(|| match unusable {
            Some(error) => Err(error),
            None => log_of(&replay, &snapshots),
        });
        Ok(Survey {
            segments,
            snapshots,
            others,
            log,
        })
    }

    /// Splits off the log, if nothing at all is wrong; the snapshots that it names come with it.
    ///
    /// # Errors
    /// The first of what is.
    pub fn into_log(self) -> Result<(LogSurvey, Vec<(Header, Snapshot)>), Error> {
        for segment in self.segments {
            segment.state?;
        }
        let log = self.log.expect("every segment is sound")?;
        let named = self.snapshots.into_iter().filter(|found| found.is_named);
        let named = named.map(|found| found.state).collect::<Result<_, _>>()?;
        Ok((log, named))
    }
}

impl LogSurvey {
    /// Shows every entry of the log, in order, with the size of its record in bytes.
    ///
    /// # Errors
    /// When an entry cannot be read, though it could before; and the first error of `visit`.
    pub fn entries<M: Media>(
        &self,
        media: &mut M,
        owner: &[u8; 40],
        mut visit: impl FnMut(Entry, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut due = self.records.iter();
        let mut next = due.next();
        let mut failed = Ok(());
        raftkv_wal::inspect(media, owner, |record| {
            if next != Some(&record.address) || failed.is_err() {
                return;
            }
            next = due.next();
            let entry = codec::decode_entry(Bytes::copy_from_slice(record.body));
            let entry = entry.map_err(|error| unusable(error.to_string()));
            failed = entry.and_then(|entry| visit(entry, record.body.len()));
        })?;
        failed
    }

    /// The state that the log leads to when all of it is applied, its end too, of which nobody
    /// here knows whether it was committed.
    ///
    /// # Errors
    /// When a snapshot or an entry cannot be used.
    pub fn state_at_end<M: Media>(&self, media: &mut M, owner: &[u8; 40]) -> Result<Kv, Error> {
        self.states(media, owner, |_, _| {})
    }

    /// As [`LogSurvey::state_at_end`], and shows the state as of each entry behind the snapshot.
    ///
    /// # Errors
    /// As [`LogSurvey::state_at_end`].
    pub fn states<M: Media>(
        &self,
        media: &mut M,
        owner: &[u8; 40],
        mut visit: impl FnMut(Index, &Kv),
    ) -> Result<Kv, Error> {
        let mut state = match self.loaded {
            Some(snapshot) => load(media, &snapshot_name(snapshot.pos), owner)?.2,
            None => Kv::default(),
        };
        let included = self.loaded.map_or(LogPos::ZERO, |snapshot| snapshot.pos);
        self.entries(media, owner, |entry, _| {
            if entry.pos.index <= included.index {
                return Ok(());
            }
            match entry.kind {
                EntryKind::NO_OP | EntryKind::CONFIG => {}
                EntryKind::COMMAND => {
                    let command = codec::decode_command(entry.data);
                    state.apply(command.map_err(|error| unusable(error.to_string()))?);
                }
                EntryKind(kind) => return Err(unusable(format!("an entry of kind {kind}"))),
            }
            visit(entry.pos.index, &state);
            Ok(())
        })?;
        Ok(state)
    }
}

fn unusable(what: String) -> Error {
    Error::Record { kind: ENTRY, what }
}

fn list<M: Media>(media: &mut M) -> Result<Vec<String>, Error> {
    let mut names = media.list().map_err(|source| Error::Io {
        doing: "list",
        file: media.describe(""),
        source,
    })?;
    names.sort();
    Ok(names)
}

/// Checks every snapshot that is there or should be.
fn snapshot_reports<M: Media>(
    media: &mut M,
    owner: &[u8; 40],
    names: &[String],
    named: &[Snapshot],
) -> Vec<SnapshotReport> {
    let expected: Vec<(String, Snapshot)> = named
        .iter()
        .map(|snapshot| (snapshot_name(snapshot.pos), *snapshot))
        .collect();
    let found = names.iter().filter(|name| name.ends_with(".snapshot"));
    let mut all: Vec<String> = found.cloned().collect();
    all.extend(expected.iter().map(|(name, _)| name.clone()));
    all.sort();
    all.dedup();
    let report = |name: String| {
        let file = media.describe(&name);
        let named = expected.iter().find(|(expected, _)| *expected == name);
        let mut digest = 0;
        let state = load(media, &name, owner).and_then(|(header, snapshot, state)| match named {
            Some((_, expected)) if *expected != snapshot => Err(SnapshotError::Damaged {
                file: file.clone(),
                offset: 0,
                what: "it is another file than the log names".to_owned(),
            }),
            _ => {
                digest = state.digest();
                Ok((header, snapshot))
            }
        });
        SnapshotReport {
            file,
            is_named: named.is_some(),
            state,
            digest,
        }
    };
    all.into_iter().map(report).collect()
}

/// Reads a snapshot from start to end.
fn load<M: Media>(
    media: &mut M,
    name: &str,
    owner: &[u8; 40],
) -> Result<(Header, Snapshot, Kv), SnapshotError> {
    let file = media.describe(name);
    let source = media
        .open_source(name)
        .map_err(|source| SnapshotError::opening(file.clone(), source))?;
    let mut loading = Loading::new(source, file.clone())?;
    if loading.header().cluster_id != owner[..16] {
        return Err(SnapshotError::Foreign { file });
    }
    loop {
        if let Some(state) = loading.step()? {
            let header = loading.header().clone();
            return Ok((header, loading.finish().0, state));
        }
    }
}

/// The log as a start would find it: behind the oldest snapshot that it goes on from.
fn log_of(replay: &Replay, snapshots: &[SnapshotReport]) -> Result<LogSurvey, Error> {
    let sound: Vec<&(Header, Snapshot)> = snapshots
        .iter()
        .filter(|found| found.is_named)
        .filter_map(|found| found.state.as_ref().ok())
        .collect();
    let loaded = sound.last().map(|(_, snapshot)| *snapshot);
    let base = sound
        .iter()
        .map(|(_, snapshot)| snapshot.pos)
        .find(|pos| replay.goes_on_from(*pos))
        .or(loaded.map(|snapshot| snapshot.pos))
        .unwrap_or(LogPos::ZERO);
    let (log, records) = replay.log(base, loaded)?;
    let included = loaded.map_or(base.index, |snapshot| snapshot.pos.index);
    let in_log = replay.configs(included).pop().map(|(_, config)| config);
    let in_snapshot = || sound.last().map(|(header, _)| header.config.clone());
    Ok(LogSurvey {
        config: in_log.or_else(in_snapshot),
        hard: replay.hard,
        base,
        last: log.last(),
        loaded,
        records,
    })
}
