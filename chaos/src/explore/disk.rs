//! A log's disk as an actor: writes wait in order until some of them become durable, and a crash
//! keeps any prefix of what waits. It numbers from 0 at the newest durable write, as
//! [`raftkv::raft::canonical::reduce`] does.

use raftkv::raft::{Config, Entry, EntryKind, HardState, Index, Log, LogPos, Saved, Seq, Snapshot};

use super::key::{self, Names};

/// What a reader of the disk finds.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub hard: HardState,
    /// From the first on: those up to `base` are in the snapshot only, and no reader's to see.
    pub entries: Vec<Entry>,
    /// What the newest snapshot includes.
    pub included: Index,
    /// Up to here the log was dropped.
    base: Index,
}

/// What a write is made of. A crash can part one record from the next, never tear one.
#[derive(Clone, Debug)]
enum Record {
    Hard(HardState),
    Entry(Entry),
    /// A snapshot with these entries is in the place of the log.
    Install(Vec<Entry>),
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What survives any crash.
    pub durable: Image,
    /// What the running node reads: with all that it has written.
    pub view: Image,
    /// All writes up to this one are durable.
    pub synced: Seq,
    pending: Vec<Vec<Record>>,
}

impl Image {
    pub fn last(&self) -> LogPos {
        self.entries.last().map_or(LogPos::ZERO, |entry| entry.pos)
    }

    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.entries
            .get(usize::try_from(index.0).ok()?.checked_sub(1)?)
    }

    pub fn holds(&self, pos: LogPos) -> bool {
        self.get(pos.index).is_some_and(|entry| entry.pos == pos)
    }

    /// Who the members are as of the entry at `upto`, and where that stands (§6). They were these
    /// `first`.
    pub fn config(&self, first: &Config, upto: Index) -> (Index, Config) {
        let newest = configs_back(&self.entries[..place(upto)]).next();
        newest.unwrap_or_else(|| (Index::ZERO, first.clone()))
    }

    /// What a node that starts on this image is given, where the members were these `first`.
    pub fn saved(&self, first: &Config) -> Saved {
        let pos = |index| self.get(index).map_or(LogPos::ZERO, |entry| entry.pos);
        let mut log = Log::after(pos(self.base));
        for entry in &self.entries[place(self.base)..] {
            log.push(entry.pos.term, entry.data.len() as u64);
        }
        let is_there = self.included > Index::ZERO;
        let configs = configs_back(&self.entries);
        let mut configs: Vec<_> = configs.filter(|(at, _)| *at > self.base).collect();
        configs.reverse();
        Saved {
            hard: self.hard,
            log,
            snapshot: is_there.then(|| snapshot_of(pos(self.included))),
            config: is_there.then(|| self.config(first, self.included).1),
            configs,
        }
    }

    fn put(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Hard(hard) => {
                one_vote(self.hard, *hard)?;
                self.hard = *hard;
            }
            Record::Entry(entry) => {
                let before = place(entry.pos.index.before());
                if before > self.entries.len() {
                    return Err(format!("a hole before {}", entry.pos));
                }
                if entry.pos.index <= self.base {
                    return Err(format!("{} is written below a snapshot", entry.pos));
                }
                self.entries.truncate(before);
                self.entries.push(entry.clone());
            }
            Record::Install(entries) => {
                self.entries = entries.clone();
                self.included = self.last().index;
                self.base = self.included;
            }
        }
        Ok(())
    }
}

/// All that these entries say about members, with the places, the newest first.
pub fn configs_back<'a>(
    entries: impl IntoIterator<Item = &'a Entry, IntoIter: DoubleEndedIterator>,
) -> impl Iterator<Item = (Index, Config)> {
    let entries = entries.into_iter().rev();
    let configs = entries.filter(|entry| entry.kind == EntryKind::CONFIG);
    configs.map(|entry| {
        let config = Config::decode(&entry.data);
        (entry.pos.index, config.expect("our own"))
    })
}

/// The snapshot that ends there. Size and hash follow from what it includes.
pub fn snapshot_of(pos: LogPos) -> Snapshot {
    Snapshot {
        pos,
        bytes: 0,
        hash: 0,
    }
}

/// How many entries there are up to this one.
fn place(index: Index) -> usize {
    usize::try_from(index.0).expect("a small index")
}

/// One vote in a term, and no term twice, across restarts (§5.2): what is durable never takes
/// either back.
fn one_vote(old: HardState, new: HardState) -> Result<(), String> {
    let revoked = new.term == old.term && old.vote.is_some() && new.vote != old.vote;
    match new.term < old.term || revoked {
        true => Err(format!("one vote: {old} becomes {new} on a disk")),
        false => Ok(()),
    }
}

impl Disk {
    pub fn write(
        &mut self,
        seq: Seq,
        hard: Option<HardState>,
        entries: &[Entry],
    ) -> Result<(), String> {
        let hard = hard.map(Record::Hard);
        let entries = entries.iter().cloned().map(Record::Entry);
        self.pend(seq, hard.into_iter().chain(entries).collect())
    }

    /// A fetched snapshot with these entries takes the place of the log.
    pub fn install(&mut self, seq: Seq, entries: Vec<Entry>) -> Result<(), String> {
        self.pend(seq, vec![Record::Install(entries)])
    }

    fn pend(&mut self, seq: Seq, records: Vec<Record>) -> Result<(), String> {
        let newest = self.synced.0 + self.pending.len() as u64;
        if seq != Seq(newest + 1) {
            return Err(format!("write #{seq} follows #{newest}"));
        }
        for record in &records {
            self.view.put(record)?;
        }
        self.pending.push(records);
        Ok(())
    }

    /// A durable mark names a snapshot of the node's own, and the log begins behind `base`.
    pub fn mark(&mut self, included: Index, base: Index) {
        for image in [&mut self.durable, &mut self.view] {
            image.included = included;
            image.base = base;
        }
    }

    /// How many writes are not durable.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many records are not durable.
    pub fn pending_records(&self) -> usize {
        self.pending.iter().map(Vec::len).sum()
    }

    /// Makes the oldest pending write durable.
    pub fn sync_next(&mut self) -> Result<(), String> {
        for record in self.pending.remove(0) {
            self.durable.put(&record)?;
        }
        self.synced = self.synced.next();
        Ok(())
    }

    /// The power fails: of what was pending the first `kept` records happen to be there. The
    /// next start numbers its writes from 1.
    pub fn crash(&mut self, kept: usize) -> Result<(), String> {
        let records = std::mem::take(&mut self.pending);
        for record in records.iter().flatten().take(kept) {
            self.durable.put(record)?;
        }
        self.view = self.durable.clone();
        self.synced = Seq::NONE;
        Ok(())
    }

    /// What the node reads follows from the rest.
    pub fn encode(&self, names: &Names, out: &mut Vec<u8>) {
        key::hard(self.durable.hard, names, out);
        key::entries(&self.durable.entries, names, out);
        key::number(self.durable.included.0, out);
        key::number(self.durable.base.0, out);
        key::number(self.pending.len() as u64, out);
        for write in &self.pending {
            key::number(write.len() as u64, out);
            for record in write {
                match record {
                    Record::Hard(hard) => {
                        out.push(0);
                        key::hard(*hard, names, out);
                    }
                    Record::Entry(entry) => {
                        out.push(1);
                        key::entry(entry, names, out);
                    }
                    Record::Install(entries) => {
                        out.push(2);
                        key::entries(entries, names, out);
                    }
                }
            }
        }
    }
}
