//! From the records of the WAL to the log that they leave.

use bytes::Bytes;
use raftkv_wal::{Address, Record};

use super::{
    error::Error,
    record::{ENTRY, HARD_STATE, Mark, SNAPSHOTS, decode_hard_state},
};
use crate::{
    codec,
    raft::{Config, EntryKind, HardState, Index, Log, LogPos, Snapshot, Term},
};

/// What the records say, in the order in which they were written.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) hard: HardState,
    /// The newest mark: which snapshots there are.
    pub(super) mark: Mark,
    entries: Vec<Found>,
    /// Those of the entries that are configurations, with their places.
    configs: Vec<(Index, Config)>,
    /// An entry was taken, whatever became of it.
    has_begun: bool,
    /// What comes before the first entry; of a purged log only the index is known.
    start: Option<Start>,
}

struct Found {
    pos: LogPos,
    bytes: u64,
    address: Address,
}

#[derive(Clone, Copy)]
enum Start {
    /// The oldest record is one of the middle of the log.
    Purged(Index),
    /// The log was replaced by a snapshot.
    Installed(LogPos),
}

impl Start {
    fn index(self) -> Index {
        match self {
            Start::Purged(index) => index,
            Start::Installed(pos) => pos.index,
        }
    }
}

impl Replay {
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let taken = match record.kind {
            HARD_STATE => self.hard_state(record.body),
            ENTRY => self.entry(record),
            SNAPSHOTS => self.mark(record.body),
            _ => Err("unknown kind".to_owned()),
        };
        taken.map_err(|what| Error::Record {
            kind: record.kind,
            what,
        })
    }

    fn hard_state(&mut self, body: &[u8]) -> Result<(), String> {
        let hard = decode_hard_state(body).ok_or(format!("{} bytes", body.len()))?;
        if hard.term < self.hard.term {
            return Err(format!("term {} after {}", hard.term, self.hard.term));
        }
        self.hard = hard;
        Ok(())
    }

    fn mark(&mut self, body: &[u8]) -> Result<(), String> {
        let mark = Mark::decode(body).ok_or(format!("{} bytes", body.len()))?;
        if mark.installed {
            let newest = mark.newest().ok_or("it names no snapshot")?;
            self.entries.clear();
            self.configs.clear();
            self.start = Some(Start::Installed(newest.pos));
        }
        self.mark = mark;
        Ok(())
    }

    /// An entry within the log replaces it and all that follow, as it did when it was written.
    fn entry(&mut self, record: &Record<'_>) -> Result<(), String> {
        let entry = codec::decode_entry(Bytes::copy_from_slice(record.body));
        let entry = entry.map_err(|error| error.to_string())?;
        let pos = entry.pos;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let start = *self.start.get_or_insert(Start::Purged(pos.index.before()));
        if pos.index <= start.index() {
            let Start::Purged(_) = start else {
                return Err(format!("entry {pos} below a snapshot"));
            };
            self.entries.clear();
            self.start = Some(Start::Purged(pos.index.before()));
        } else {
            let at = (pos.index.0 - start.index().0 - 1) as usize;
            if at > self.entries.len() {
                // At the head of a purged log the mark is a copy: what followed it there is gone.
                let Some(Start::Installed(_)) = self.start.filter(|_| is_first) else {
                    return Err(format!("entry {pos} after {}", self.last_index()));
                };
                self.start = Some(Start::Purged(pos.index.before()));
            }
            self.entries.truncate(at);
        }
        if let Some(before) = self.entries.last()
            && pos.term < before.pos.term
        {
            return Err(format!("entry {pos} after {}", before.pos));
        }
        self.configs.retain(|(at, _)| *at < pos.index);
        if entry.kind == EntryKind::CONFIG {
            let config = Config::decode(&entry.data);
            let config = config.ok_or(format!("the configuration at {pos} makes no sense"))?;
            self.configs.push((pos.index, config));
        }
        self.entries.push(Found {
            pos,
            bytes: entry.data.len() as u64,
            address: record.address,
        });
        Ok(())
    }

    /// What comes before the first entry; without any, what the newest snapshot includes.
    fn start_index(&self) -> Index {
        let included = self
            .mark
            .newest()
            .map_or(Index::ZERO, |newest| newest.pos.index);
        self.start.map_or(included, Start::index)
    }

    fn last_index(&self) -> Index {
        Index(self.start_index().0 + self.entries.len() as u64)
    }

    /// The log behind `base`, the last entry of the oldest snapshot that it goes on from, and
    /// where each of its entries lies. `loaded` is what the state machine has.
    pub(super) fn log(
        &self,
        base: LogPos,
        loaded: Option<Snapshot>,
    ) -> Result<(Log, Vec<Address>), Error> {
        let gap = |what| Error::Gap { what };
        let start = self.start_index();
        if start > base.index {
            let what = format!("the log begins after {start}, what is before ends at {base}");
            return Err(gap(what));
        }
        for pos in [Some(base), loaded.map(|snapshot| snapshot.pos)] {
            let Some(pos) = pos else { continue };
            self.check_contains(pos).map_err(gap)?;
        }
        let mut log = Log::after(base);
        let mut records = Vec::new();
        let kept = self
            .entries
            .iter()
            .filter(|found| found.pos.index > base.index);
        for found in kept {
            log.push(found.pos.term, found.bytes);
            records.push(found.address);
        }
        let (last, term) = (log.last(), self.hard.term);
        if last.term > term {
            let what = format!("entry {last} after term {term}");
            return Err(Error::Record { kind: ENTRY, what });
        }
        Ok((log, records))
    }

    /// The configurations in the log behind `base`, with their places.
    pub(super) fn configs(&self, base: Index) -> Vec<(Index, Config)> {
        let configs = self.configs.iter();
        configs.filter(|(at, _)| *at > base).cloned().collect()
    }

    /// Whether the log goes through what a snapshot ends with.
    fn check_contains(&self, pos: LogPos) -> Result<(), String> {
        let start = self.start_index();
        let term: Option<Term> = match pos.index.0.checked_sub(start.0 + 1) {
            // Before the first entry, or just there.
            None => match self.start {
                Some(Start::Installed(installed)) if installed.index == pos.index => {
                    Some(installed.term)
                }
                _ => return Ok(()),
            },
            Some(at) => self.entries.get(at as usize).map(|found| found.pos.term),
        };
        match term {
            Some(term) if term == pos.term => Ok(()),
            Some(term) => Err(format!(
                "the snapshot ends with {pos}, the log has term {term}"
            )),
            None => Err(format!(
                "the snapshot ends with {pos}, the log at {}",
                self.last_index()
            )),
        }
    }

    /// Whether the log goes on from the end of this snapshot.
    pub(super) fn goes_on_from(&self, pos: LogPos) -> bool {
        self.start_index() <= pos.index && self.check_contains(pos).is_ok()
    }
}
