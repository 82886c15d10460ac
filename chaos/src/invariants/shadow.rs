//! What a node wrote to its log and how much of it a power cut cannot take: kept beside the node,
//! from its writes and from what the disk says of its syncs, so that what the node claims can be
//! held against it.
//!
//! It has the whole history: what was compacted stays, as what the snapshot stands for, and a
//! snapshot that is installed brings the committed log up to its end.

use std::{collections::VecDeque, rc::Rc};

use raftkv::{
    raft::{HardState, Index, LogPos, NodeId, Raft, Term},
    replica::Written,
};

use super::{
    configurations::{Configurations, Number},
    place_of,
};
use crate::digest;

/// An entry, known by its term and by a digest of it and of all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) term: Term,
    /// The configuration that is in force where the log ends with this entry.
    pub(crate) config: Number,
    pub(crate) chain: u64,
}

/// Hard state and log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) hard: HardState,
    pub(crate) log: Vec<Link>,
}

impl Image {
    pub(crate) fn last(&self) -> LogPos {
        let term = self.log.last().map_or(Term::ZERO, |link| link.term);
        LogPos::new(term, Index(self.log.len() as u64))
    }

    /// The configuration in force.
    pub(crate) fn last_config(&self) -> Number {
        self.log
            .last()
            .map_or(Number::default(), |link| link.config)
    }

    pub(crate) fn chain_at(&self, index: Index) -> Option<u64> {
        Some(self.log.get(place_of(index)?)?.chain)
    }

    /// Whether it holds the entry at `pos`.
    pub(crate) fn holds(&self, pos: LogPos) -> bool {
        place_of(pos.index)
            .and_then(|at| self.log.get(at))
            .is_some_and(|link| link.term == pos.term)
    }

    fn brief(&self) -> Brief {
        Brief {
            hard: self.hard,
            entries: self.log.len(),
            chain: self.log.last().map_or(0, |link| link.chain),
        }
    }

    /// An entry, placed at `index`, where it replaces all from there on.
    fn put(&mut self, index: Index, bytes: &[u8], configs: &mut Configurations) -> Link {
        self.log
            .truncate(place_of(index).expect("entries begin at 1"));
        assert!(
            self.log.len() as u64 == index.before().0,
            "a gap before entry {index}"
        );
        let before = self.log.last().map_or(0, |link| link.chain);
        let chain = digest::bytes(before, bytes);
        let entry = raftkv::codec::read_entry(bytes).expect("an entry that this build encoded");
        let link = Link {
            term: entry.pos.term,
            config: configs.number(self.last_config(), chain, &entry),
            chain,
        };
        self.log.push(link);
        link
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Hard(hard) => self.hard = *hard,
            Record::Entry(index, link) => {
                self.log
                    .truncate(place_of(*index).expect("entries begin at 1"));
                self.log.push(*link);
            }
            Record::Installed(log) => self.log = log.to_vec(),
        }
    }
}

/// An image in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Brief {
    hard: HardState,
    entries: usize,
    chain: u64,
}

/// What one record of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    Hard(HardState),
    Entry(Index, Link),
    /// A snapshot took the place of the whole log.
    Installed(Rc<[Link]>),
}

/// How a recovered image relates to what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// Everything is there.
    Whole,
    /// All that was synced, and some of what was written after it.
    Beginning,
    /// All but the last write, or the last few, of which nothing later proves that they were
    /// synced.
    LacksLastWrites,
    /// Something else.
    Other,
}

/// One write to the log.
#[derive(Clone, Copy, Debug)]
struct Write {
    /// What there was before it.
    before: Brief,
    /// How many writes to files there were with it.
    number: u64,
    /// It says that so many of them were durable.
    proves: u64,
}

/// What a disk held at one time, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) last: LogPos,
}

/// One node's disk as the simulator follows it.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) id: NodeId,
    view: Image,
    synced: Image,
    /// What `synced` was, after each record.
    past: Vec<Past>,
    /// Written and not synced, each with how many writes to files there were with it.
    pending: VecDeque<(Record, u64)>,
    /// The last writes: those of which nothing says that they were durable, or nothing would if a
    /// power cut took the newest.
    writes: VecDeque<Write>,
    /// How many writes to files the log knows to be durable: those before its last sync began.
    known_writes: u64,
    /// When the process ended, a later write proved that the last one was synced.
    was_proven: bool,
    /// What the node's hard state and the terms of its log were to become when its disk failed. A
    /// part of that may have been written.
    attempted: Option<(HardState, Vec<Term>)>,
    /// What the newest snapshot includes that no power cut can take.
    included: Index,
}

impl Shadow {
    pub(crate) fn new(id: NodeId) -> Shadow {
        Shadow {
            id,
            view: Image::default(),
            synced: Image::default(),
            past: Vec::new(),
            pending: VecDeque::new(),
            writes: VecDeque::new(),
            known_writes: 0,
            was_proven: false,
            attempted: None,
            included: Index::ZERO,
        }
    }

    /// What the newest snapshot includes that no power cut can take.
    pub(crate) fn included(&self) -> Index {
        self.included
    }

    /// The log names a snapshot of its own state, and that is durable.
    pub(crate) fn named(&mut self, pos: LogPos) {
        self.included = self.included.max(pos.index);
    }

    /// A write without entries, which ends the log nevertheless.
    pub(crate) fn marked(&mut self, writes: u64) {
        let known_writes = self.known_writes;
        // What no power cut can take proves what was before it.
        let mut newest = self.writes.iter().rev();
        let kept = newest.find(|write| write.number <= known_writes);
        let proven = kept.map_or(0, |kept| kept.proves);
        self.writes.retain(|write| write.number > proven);
        self.writes.push_back(Write {
            before: self.view.brief(),
            number: writes,
            proves: known_writes,
        });
    }

    /// The log as the node sees it.
    pub(crate) fn view(&self) -> &Image {
        &self.view
    }

    /// What no power cut can take.
    pub(crate) fn synced(&self) -> &Image {
        &self.synced
    }

    pub(super) fn wrote(
        &mut self,
        written: &Written,
        installed: Option<Vec<Link>>,
        writes: u64,
        configs: &mut Configurations,
        entry: impl Fn(Index) -> Vec<u8>,
    ) {
        self.marked(writes);
        if let Some(log) = installed {
            let record = Record::Installed(log.clone().into());
            self.pending.push_back((record, writes));
            self.view.log = log;
        }
        if let Some(hard) = written.hard {
            self.view.hard = hard;
            self.pending.push_back((Record::Hard(hard), writes));
        }
        if let Some(range) = &written.entries {
            for index in (range.start().0..=range.end().0).map(Index) {
                let link = self.view.put(index, &entry(index), configs);
                self.pending.push_back((Record::Entry(index, link), writes));
            }
        }
    }

    /// The disk failed while the node wrote. `before` is what its log goes on from.
    pub(crate) fn failed(&mut self, raft: &Raft, before: &[Link]) {
        let (status, log) = (raft.status(), raft.log());
        let before = before.iter().map(|link| link.term);
        let indexes = (status.base.index.0 + 1..=status.last.index.0).map(Index);
        let terms = indexes.map(|index| log.term(index).expect("it is in the log"));
        self.attempted = Some((status.hard, before.chain(terms).collect()));
    }

    fn is_attempted(&self, found: &Image) -> bool {
        let Some((hard, terms)) = &self.attempted else {
            return false;
        };
        let as_before = self.view.log.iter().zip(terms);
        let as_before = as_before.take_while(|(link, term)| link.term == **term);
        let as_before = as_before.count();
        let found_terms: Vec<Term> = found.log.iter().map(|link| link.term).collect();
        let log =
            found.log.starts_with(&self.view.log[..as_before]) && terms.starts_with(&found_terms);
        // The hard state comes before the entries, and the first of these may cut the log.
        [self.view.hard, *hard].contains(&found.hard) && (log || found.log == self.view.log)
    }

    /// The disk says how many writes to files are durable.
    pub(crate) fn durable(&mut self, durable_writes: u64) {
        while let Some((record, writes)) = self.pending.front()
            && *writes <= durable_writes
        {
            self.synced.apply(record);
            if let Record::Installed(log) = record {
                self.included = self.included.max(Index(log.len() as u64));
            }
            self.pending.pop_front();
            self.remember();
        }
    }

    /// A sync has ended that covers so many writes to files.
    pub(crate) fn learnt(&mut self, writes: u64) {
        self.known_writes = writes;
    }

    fn remember(&mut self) {
        let HardState { term, vote } = self.synced.hard;
        let last = self.synced.last();
        self.past.push(Past { term, vote, last });
    }

    /// Whether the disk was once like this.
    pub(crate) fn was(&self, image: &Image) -> bool {
        let HardState { term, vote } = image.hard;
        let last = image.last();
        self.past.contains(&Past { term, vote, last })
    }

    /// Whether the disk, safe from power cuts, was once in this term and looked like this.
    pub(crate) fn once_held(&self, term: Term, like: impl Fn(&Past) -> bool) -> bool {
        let newer = self.past.iter().rev();
        newer
            .skip_while(|past| past.term > term)
            .take_while(|past| past.term == term)
            .any(like)
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a later write, durable as well, proves that the last one was synced.
    pub(crate) fn last_is_proven(&self, durable_writes: u64) -> bool {
        let last = self.writes.back().map_or(0, |write| write.number);
        self.pending.is_empty() && last < durable_writes
    }

    /// The process ends.
    pub(crate) fn ends(&mut self, durable_writes: u64) {
        self.was_proven = self.attempted.is_none() && self.last_is_proven(durable_writes);
    }

    /// What the node found on its disk.
    pub(crate) fn image_of(
        hard: HardState,
        before: Vec<Link>,
        last: Index,
        configs: &mut Configurations,
        entry: impl Fn(Index) -> Vec<u8>,
    ) -> Image {
        let base = before.len() as u64;
        let mut image = Image { hard, log: before };
        for index in (base + 1..=last.0).map(Index) {
            image.put(index, &entry(index), configs);
        }
        image
    }

    pub(crate) fn compare(&self, found: &Image) -> Match {
        if *found == self.view {
            return Match::Whole;
        }
        let mut image = self.synced.clone();
        if *found == image {
            return Match::Beginning;
        }
        for (record, _) in &self.pending {
            image.apply(record);
            if *found == image {
                return Match::Beginning;
            }
        }
        if self.is_attempted(found) {
            return Match::Beginning;
        }
        let found = found.brief();
        // If the newest is there, it proves what it says.
        let proven = match self.writes.back() {
            Some(newest) if self.pending.is_empty() => newest.proves,
            _ => 0,
        };
        let mut unproven = self.writes.iter().filter(|write| write.number > proven);
        match unproven.any(|write| write.before == found) {
            true => Match::LacksLastWrites,
            false => Match::Other,
        }
    }

    /// What there was before each of the last writes in what is found. The repair of a start writes
    /// them again, and proves nothing.
    fn before_last(&self, found: &Image) -> Vec<Brief> {
        let end = found.brief();
        if self.was_proven {
            return vec![end];
        }
        let before = self.writes.iter().map(|write| write.before);
        let mut after = before.skip(1).chain([self.view.brief()]);
        match after.position(|after| after == end) {
            Some(last) => {
                let proven = self.writes.get(last).map_or(0, |write| write.proves);
                let writes = self.writes.iter().take(last + 1);
                let unproven = writes.filter(|write| write.number > proven);
                unproven.map(|write| write.before).collect()
            }
            // It is what failed.
            None => vec![self.view.brief()],
        }
    }

    /// The node goes on from what it found; `all_durable` when a power cut could take none of it.
    pub(crate) fn restart(
        &mut self,
        found: Image,
        included: Index,
        all_durable: bool,
        writes: u64,
    ) {
        self.included = included;
        let before = self.before_last(&found).into_iter();
        let write = |before| Write {
            before,
            number: writes,
            proves: 0,
        };
        self.writes = before.map(write).collect();
        self.attempted = None;
        if all_durable {
            self.known_writes = writes;
            self.pending.clear();
            self.synced = found.clone();
            self.remember();
        } else {
            let mut records = vec![Record::Hard(found.hard)];
            if found.log.starts_with(&self.synced.log) {
                let beyond = found.log.iter().enumerate().skip(self.synced.log.len());
                records.extend(beyond.map(|(at, &link)| Record::Entry(Index(at as u64 + 1), link)));
            } else {
                records.push(Record::Installed(found.log.clone().into()));
            }
            self.pending = records.into_iter().map(|record| (record, writes)).collect();
        }
        self.view = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_term(term: u64) -> Image {
        let hard = HardState {
            term: Term(term),
            vote: None,
        };
        Image {
            hard,
            log: Vec::new(),
        }
    }

    /// A node that wrote terms 1 and 2, each synced before the next, so much of which is durable,
    /// and started again on term 2.
    fn restarted(durable_writes: u64) -> Shadow {
        let mut shadow = Shadow::new(NodeId(0));
        for term in 1..=2 {
            shadow.durable(term - 1);
            shadow.learnt(term - 1);
            shadow.marked(term);
            shadow.view = in_term(term);
        }
        shadow.durable(durable_writes);
        shadow.ends(durable_writes);
        shadow.restart(in_term(2), Index::ZERO, true, durable_writes + 1);
        shadow
    }

    #[test]
    fn a_start_proves_nothing_of_the_last_write() {
        let shadow = restarted(2);
        assert!(!shadow.last_is_proven(3));
        assert_eq!(shadow.compare(&in_term(2)), Match::Whole);
        assert_eq!(shadow.compare(&in_term(1)), Match::LacksLastWrites);
        assert_eq!(shadow.compare(&in_term(0)), Match::Other);
    }

    #[test]
    fn no_write_of_one_sync_proves_another() {
        let mut shadow = Shadow::new(NodeId(0));
        for term in 1..=3 {
            shadow.marked(term);
            shadow.view = in_term(term);
            shadow.durable(term / 3 * 3);
        }
        shadow.learnt(3);
        assert_eq!(shadow.compare(&in_term(1)), Match::LacksLastWrites);
        shadow.marked(4);
        shadow.view = in_term(4);
        assert_eq!(shadow.compare(&in_term(3)), Match::LacksLastWrites);
        assert_eq!(shadow.compare(&in_term(2)), Match::Other);
    }

    #[test]
    fn a_write_beside_a_sync_proves_nothing_of_what_that_covers() {
        let mut shadow = Shadow::new(NodeId(0));
        for term in 1..=4 {
            shadow.marked(term);
            shadow.view = in_term(term);
            shadow.durable(term);
            // The sync of the one before has ended meanwhile.
            shadow.learnt(term - 1);
        }
        assert_eq!(shadow.compare(&in_term(3)), Match::LacksLastWrites);
        assert_eq!(shadow.compare(&in_term(2)), Match::LacksLastWrites);
        assert_eq!(shadow.compare(&in_term(1)), Match::Other);
    }

    #[test]
    fn a_write_that_is_lost_proves_nothing() {
        let mut shadow = Shadow::new(NodeId(0));
        for term in 1..=2 {
            shadow.marked(term);
            shadow.view = in_term(term);
            shadow.learnt(term);
        }
        shadow.marked(3);
        shadow.view = in_term(3);
        shadow.ends(2);
        shadow.restart(in_term(2), Index::ZERO, true, 4);
        assert_eq!(shadow.compare(&in_term(1)), Match::LacksLastWrites);
        assert_eq!(shadow.compare(&in_term(0)), Match::Other);
    }

    #[test]
    fn a_write_that_was_proven_before_a_start_has_to_be_there() {
        assert_eq!(restarted(3).compare(&in_term(1)), Match::Other);
    }
}
