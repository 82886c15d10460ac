//! A log's disk as an actor: it holds back all writes until it is told to persist them, and at a
//! crash it keeps as many of their records as it is told to.

use std::collections::VecDeque;

use raftkv::raft::{Config, Entry, EntryKind, HardState, Index, Log, LogPos, Saved, Seq, Snapshot};

/// What a reader of the disk finds.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub hard: HardState,
    /// The whole log. Up to `base` it only says what the snapshot was made of: checkers compare
    /// that, no node reads it.
    pub history: Vec<Entry>,
    /// The entry before the first that the log still has.
    pub base: LogPos,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The members while `history` does not say: configuration 0, or that of a snapshot.
    pub config_0: Config,
}

/// What a write is made of. A crash can part one record from the next, never tear one.
#[derive(Clone, Debug)]
enum Record {
    Hard(HardState),
    Entry(Entry),
    /// In the place of the whole log, with what the snapshot was made of, and its members.
    Install(Snapshot, Vec<Entry>, Config),
}

#[derive(Debug, Default)]
pub struct Disk {
    /// What survives any crash.
    pub durable: Image,
    /// What the running node reads: with all that it has written.
    pub view: Image,
    /// All writes up to this one are durable.
    pub durable_seq: Seq,
    pending: VecDeque<(Seq, Vec<Record>)>,
}

impl Image {
    pub fn last(&self) -> LogPos {
        self.history.last().map_or(LogPos::ZERO, |entry| entry.pos)
    }

    /// What stands, or stood before it was compacted, at `index`.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.history
            .get(usize::try_from(index.0).ok()?.checked_sub(1)?)
    }

    pub fn holds(&self, pos: LogPos) -> bool {
        self.get(pos.index).is_some_and(|entry| entry.pos == pos)
    }

    /// What the log still has.
    pub fn entries(&self) -> &[Entry] {
        &self.history[place(self.base.index)..]
    }

    /// The entry at `index`, for a node to send.
    ///
    /// # Panics
    /// If the log does not have it, or no longer.
    pub fn read(&self, index: Index) -> &Entry {
        let base = self.base;
        assert!(index > base.index, "{index} is read, compacted is {base}");
        self.get(index).expect("within the log")
    }

    /// What a node that starts on this image is given.
    pub fn saved(&self) -> Saved {
        let mut log = Log::after(self.base);
        for entry in self.entries() {
            log.push(entry.pos.term, entry.data.len() as u64);
        }
        let included = self.snapshot.map(|snapshot| snapshot.pos.index);
        Saved {
            hard: self.hard,
            log,
            snapshot: self.snapshot,
            config: included.map(|index| self.config_at(index).1),
            configs: configs(&self.history).collect(),
        }
    }

    /// The configuration as of `index`, and where it stands.
    pub fn config_at(&self, index: Index) -> (Index, Config) {
        let mut configs = configs(&self.history).rev();
        let found = configs.find(|(at, _)| *at <= index);
        found.unwrap_or_else(|| (Index::ZERO, self.config_0.clone()))
    }

    /// The configuration in force: the last in the log (§6), and where it stands.
    pub fn config(&self) -> (Index, Config) {
        self.config_at(self.last().index)
    }

    /// Every configuration that it has, configuration 0 with them.
    pub fn configs(&self) -> impl Iterator<Item = Config> {
        let later = configs(&self.history).map(|(_, config)| config);
        std::iter::once(self.config_0.clone()).chain(later)
    }

    fn compact(&mut self, snapshot: Snapshot, base: LogPos) {
        for pos in [snapshot.pos, base] {
            let there = pos == LogPos::ZERO || self.holds(pos);
            assert!(there, "a snapshot of {pos}, the log ends {}", self.last());
        }
        self.snapshot = Some(snapshot);
        self.base = base;
    }

    fn put(&mut self, record: &Record) {
        match record {
            Record::Hard(hard) => self.hard = *hard,
            Record::Entry(entry) => {
                let (before, base) = (place(entry.pos.index.before()), self.base);
                let behind = entry.pos.index > base.index;
                assert!(behind, "{} is written, compacted is {base}", entry.pos);
                assert!(before <= self.history.len(), "a hole before {}", entry.pos);
                self.history.truncate(before);
                self.history.push(entry.clone());
            }
            Record::Install(snapshot, history, config) => {
                self.history.clone_from(history);
                self.config_0.clone_from(config);
                self.base = snapshot.pos;
                self.snapshot = Some(*snapshot);
            }
        }
    }
}

/// The configurations among entries, with their places.
pub fn configs(entries: &[Entry]) -> impl DoubleEndedIterator<Item = (Index, Config)> {
    let entries = entries.iter();
    let configs = entries.filter(|entry| entry.kind == EntryKind::CONFIG);
    configs.map(|entry| {
        let config = Config::decode(&entry.data);
        (entry.pos.index, config.expect("a configuration"))
    })
}

impl Disk {
    /// Empty, of a node with this configuration 0.
    pub fn new(config_0: Config) -> Disk {
        let image = Image {
            config_0,
            ..Image::default()
        };
        Disk {
            durable: image.clone(),
            view: image,
            ..Disk::default()
        }
    }

    pub fn write(&mut self, seq: Seq, hard: Option<HardState>, entries: &[Entry]) {
        let hard = hard.map(Record::Hard);
        let entries = entries.iter().cloned().map(Record::Entry);
        self.put(seq, hard.into_iter().chain(entries).collect());
    }

    /// The write that makes a fetched snapshot count; `history` is what it was made of.
    pub fn install(&mut self, seq: Seq, snapshot: Snapshot, history: Vec<Entry>, config: Config) {
        self.put(seq, vec![Record::Install(snapshot, history, config)]);
    }

    /// The node's own snapshot, durable at once.
    pub fn compact(&mut self, snapshot: Snapshot, base: LogPos) {
        self.durable.compact(snapshot, base);
        self.view.compact(snapshot, base);
    }

    fn put(&mut self, seq: Seq, records: Vec<Record>) {
        let newest = self
            .pending
            .back()
            .map_or(self.durable_seq, |(seq, _)| *seq);
        assert_eq!(seq, newest.next(), "writes are numbered one by one");
        for record in &records {
            self.view.put(record);
        }
        self.pending.push_back((seq, records));
    }

    /// The writes that are not durable.
    pub fn pending(&self) -> impl Iterator<Item = Seq> {
        self.pending.iter().map(|(seq, _)| *seq)
    }

    /// The records that are not durable.
    pub fn pending_records(&self) -> usize {
        self.pending.iter().map(|(_, records)| records.len()).sum()
    }

    /// Makes the oldest pending write durable, if it is not after `upto`.
    pub fn sync_next(&mut self, upto: Seq) -> Option<Seq> {
        if self.pending.front()?.0 > upto {
            return None;
        }
        let (seq, records) = self.pending.pop_front()?;
        for record in &records {
            self.durable.put(record);
        }
        self.durable_seq = seq;
        Some(seq)
    }

    /// The power fails: of what was pending the first `kept` records happen to be there. The
    /// next start syncs them, and numbers its writes from 1.
    pub fn crash(&mut self, kept: usize) {
        let records = std::mem::take(&mut self.pending);
        for record in records.iter().flat_map(|(_, records)| records).take(kept) {
            self.durable.put(record);
        }
        self.view = self.durable.clone();
        self.durable_seq = Seq::NONE;
    }
}

fn place(index: Index) -> usize {
    usize::try_from(index.0).expect("a small index")
}
