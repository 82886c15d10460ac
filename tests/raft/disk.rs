//! A log's disk as an actor: it holds back all writes until it is told to persist them, and at a
//! crash it keeps as many of their records as it is told to.

use std::collections::VecDeque;

use raftkv::raft::{Entry, HardState, Index, Log, LogPos, Saved, Seq};

/// What a reader of the disk finds.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub hard: HardState,
    pub entries: Vec<Entry>,
}

/// What a write is made of. A crash can part one record from the next, never tear one.
#[derive(Clone, Debug)]
enum Record {
    Hard(HardState),
    Entry(Entry),
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
        self.entries.last().map_or(LogPos::ZERO, |entry| entry.pos)
    }

    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.entries
            .get(usize::try_from(index.0).ok()?.checked_sub(1)?)
    }

    pub fn holds(&self, pos: LogPos) -> bool {
        self.get(pos.index).is_some_and(|entry| entry.pos == pos)
    }

    /// What a node that starts on this image is given.
    pub fn saved(&self) -> Saved {
        let mut log = Log::default();
        for entry in &self.entries {
            log.push(entry.pos.term, entry.data.len() as u64);
        }
        Saved {
            hard: self.hard,
            log,
        }
    }

    fn put(&mut self, record: &Record) {
        match record {
            Record::Hard(hard) => self.hard = *hard,
            Record::Entry(entry) => {
                let before = usize::try_from(entry.pos.index.0 - 1).expect("a small index");
                assert!(before <= self.entries.len(), "a hole before {}", entry.pos);
                self.entries.truncate(before);
                self.entries.push(entry.clone());
            }
        }
    }
}

impl Disk {
    pub fn write(&mut self, seq: Seq, hard: Option<HardState>, entries: &[Entry]) {
        let newest = self
            .pending
            .back()
            .map_or(self.durable_seq, |(seq, _)| *seq);
        assert_eq!(seq, newest.next(), "writes are numbered one by one");
        let hard = hard.map(Record::Hard);
        let entries = entries.iter().cloned().map(Record::Entry);
        let records: Vec<Record> = hard.into_iter().chain(entries).collect();
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
