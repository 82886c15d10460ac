//! Random use, kills, power cuts, failures and a full disk, against a plain list of records.

mod support;

use proptest::prelude::*;
use raftkv_wal::{Address, Error, MemoryMedia, Operation, Wal};
use std::collections::BTreeMap;
use support::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        body_len: usize,
    },
    AppendSticky {
        kind: u8,
        body_len: usize,
    },
    Write,
    Sync,
    Mark,
    /// Up to one of the records that are there.
    Purge {
        upto: usize,
    },
    /// As many records as there is room for, written one by one while nothing can be allocated.
    AppendAsked {
        records: usize,
        body_len: usize,
    },
    Full {
        full: bool,
    },
    Retry,
    Kill,
    PowerCut {
        seed: u64,
    },
    Fail {
        operation: Operation,
        after: u64,
    },
    StopAfter {
        operations: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::Create),
        Just(Operation::Publish),
        Just(Operation::SyncDirectory),
        Just(Operation::Remove),
    ];
    prop_oneof![
        6 => (0..200usize).prop_map(|body_len| Step::Append { body_len }),
        3 => (0..30_000usize).prop_map(|body_len| Step::Append { body_len }),
        2 => (2..4u8, 0..100usize)
            .prop_map(|(kind, body_len)| Step::AppendSticky { kind, body_len }),
        5 => Just(Step::Write),
        4 => Just(Step::Sync),
        1 => Just(Step::Mark),
        2 => any::<usize>().prop_map(|upto| Step::Purge { upto }),
        2 => (1..20usize, 0..9_000usize)
            .prop_map(|(records, body_len)| Step::AppendAsked { records, body_len }),
        1 => any::<bool>().prop_map(|full| Step::Full { full }),
        2 => Just(Step::Retry),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
        1 => (operation, 0..4u64)
            .prop_map(|(operation, after)| Step::Fail { operation, after }),
        1 => (0..12u64).prop_map(|operations| Step::StopAfter { operations }),
    ]
}

/// The log beside the list of all records ever appended and not known to be lost.
struct Model {
    disk: MemoryMedia,
    wal: Wal<MemoryMedia>,
    appended: Vec<(Address, u8, Vec<u8>)>,
    /// How many of them a purge has removed for good, and how many it may have removed.
    gone: usize,
    purged: usize,
    /// A segment may fail to be made although it was prepared.
    create_fails: bool,
    full: bool,
    /// How many of them must survive a kill, and how many a power cut.
    written: usize,
    durable: usize,
    serial: u8,
}

impl Model {
    fn new() -> Model {
        let disk = MemoryMedia::new();
        let wal = open(disk.clone());
        Model {
            disk,
            wal,
            appended: Vec::new(),
            gone: 0,
            purged: 0,
            create_fails: false,
            full: false,
            written: 0,
            durable: 0,
            serial: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        let done = match *step {
            Step::Append { body_len } => self.append(RECORD, body_len),
            Step::AppendSticky { kind, body_len } => self.append(kind, body_len),
            Step::Write => self
                .wal
                .write()
                .map(|()| self.written = self.appended.len()),
            Step::Sync => self
                .wal
                .sync()
                .map(|()| self.durable = self.durable.max(self.written)),
            Step::Mark => self.wal.mark().map(|()| {
                self.written = self.appended.len();
                self.durable = self.written;
            }),
            Step::Purge { upto } => self.purge(upto),
            Step::AppendAsked { records, body_len } => self.append_asked(records, body_len),
            Step::Full { full } => {
                self.full = full;
                self.disk.set_full(full);
                Ok(())
            }
            Step::Retry => {
                self.wal.retry_prepare();
                Ok(())
            }
            Step::Kill => {
                self.kill();
                Ok(())
            }
            Step::PowerCut { seed } => {
                self.power_cut(seed);
                Ok(())
            }
            Step::Fail { operation, after } => {
                self.create_fails |= operation == Operation::Create;
                self.disk.fail(operation, after);
                Ok(())
            }
            Step::StopAfter { operations } => {
                self.disk.stop_after(operations);
                Ok(())
            }
        };
        match done {
            Ok(()) | Err(Error::Create { .. }) => {}
            Err(Error::Io { .. }) => {
                let after = self.wal.sync();
                assert!(
                    matches!(after, Err(Error::Poisoned { .. })),
                    "an error does not pass"
                );
                self.kill();
            }
            Err(other) => panic!("{step:?}: {other}"),
        }
    }

    fn append(&mut self, kind: u8, body_len: usize) -> Result<(), Error> {
        self.serial = self.serial.wrapping_add(1);
        let body = vec![self.serial; body_len];
        let fill = |to: &mut Vec<u8>| to.extend_from_slice(&body);
        let address = match kind {
            RECORD => self.wal.append(kind, body_len, fill)?,
            _ => self.wal.append_sticky(kind, body_len, fill)?,
        };
        self.appended.push((address, kind, body));
        Ok(())
    }

    fn purge(&mut self, upto: usize) -> Result<(), Error> {
        let Some((address, ..)) = self.appended.get(upto % self.appended.len().max(1)) else {
            return Ok(());
        };
        let segment = |address: &Address| self.appended.iter().position(|(a, ..)| a == address);
        let purged = segment(address).expect("it is in the list");
        self.purged = self.purged.max(purged);
        self.wal.purge(*address)?;
        self.gone = self.first();
        assert!(self.gone <= self.purged, "a purge took what was to stay");
        assert!(self.left() >= self.written.max(self.gone));
        Ok(())
    }

    fn append_asked(&mut self, records: usize, body_len: usize) -> Result<(), Error> {
        self.wal.ensure_room(records, records * body_len)?;
        self.disk.set_full(true);
        let mut done = Ok(());
        for _ in 0..records {
            done = done
                .and_then(|()| self.append(RECORD, body_len))
                .and_then(|()| self.wal.write())
                .inspect(|()| self.written = self.appended.len());
        }
        self.disk.set_full(self.full);
        if let Err(Error::Create { .. }) = done {
            let excused = self.create_fails || self.disk.stopped().is_some();
            assert!(excused, "there was room for each of them");
        }
        done
    }

    /// The first record of the list that lies in a segment that is there.
    fn first(&self) -> usize {
        let oldest = self.wal.first_address();
        self.appended
            .partition_point(|(address, ..)| *address < oldest)
    }

    /// How many records of the list there are, gone ones included. The log holds copies of the
    /// newest sticky records that are gone, and a beginning of the rest.
    fn left(&self) -> usize {
        let (gone, rest) = self.appended.split_at(self.first());
        let sticky: BTreeMap<u8, &[u8]> = gone
            .iter()
            .filter(|(_, kind, _)| *kind != RECORD)
            .map(|(_, kind, body)| (*kind, &body[..]))
            .collect();
        let copies = sticky.len();
        let rest = rest.iter().map(|(_, kind, body)| (*kind, &body[..]));
        let whole: Vec<(u8, &[u8])> = sticky.into_iter().chain(rest).collect();
        let records = self.wal.records();
        let found: Vec<(u8, &[u8])> = records.map(|record| (record.kind, record.body)).collect();
        assert!(whole.starts_with(&found), "what survives is a prefix");
        assert!(found.len() >= copies, "a sticky record is lost");
        gone.len() + found.len() - copies
    }

    /// The process dies, the machine lives on; unless it stops too, which only a power cut ends.
    fn kill(&mut self) {
        match try_open(self.disk.clone()) {
            Ok((wal, _)) => self.reopened(wal, self.written),
            Err(Error::Io { .. }) => self.power_cut(u64::from(self.serial)),
            Err(other) => panic!("after a kill: {other}"),
        }
    }

    fn power_cut(&mut self, seed: u64) {
        self.disk.crash(&mut random(seed));
        self.create_fails = false;
        let wal = open(self.disk.clone());
        self.reopened(wal, self.durable);
    }

    fn reopened(&mut self, wal: Wal<MemoryMedia>, at_least: usize) {
        self.wal = wal;
        let first = self.first();
        assert!(
            (self.gone..=self.purged).contains(&first),
            "{first} are gone, not {} to {}",
            self.gone,
            self.purged
        );
        let left = self.left();
        assert!(left >= at_least, "{at_least} must survive, {left} did");
        self.appended.truncate(left);
        (self.gone, self.purged) = (first, first);
        self.written = left;
        self.durable = left;
    }
}

fn what_survives(steps: &[Step]) {
    let mut model = Model::new();
    for step in steps {
        model.run(step);
    }
    model.power_cut(0);
    // Nothing is left to repair, so opening again and the next power cut change nothing.
    let (_, recovery) = try_open(model.disk.clone()).expect("the log opens");
    assert_eq!(recovery.cut, None);
    model.power_cut(1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn what_survives_is_a_prefix_with_everything_that_was_durable(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        what_survives(&steps);
    }
}

/// Random use finds what a crash can show.
#[cfg(feature = "planted-bugs")]
#[test]
fn what_random_use_would_show_is_shown() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    fn random_use() {
        let mut runner = TestRunner::deterministic();
        for _ in 0..400 {
            let steps = prop::collection::vec(step(), 1..80).new_tree(&mut runner);
            what_survives(&steps.expect("nothing is filtered").current());
        }
    }
    for bug in [
        "tail_not_zeroed",
        "directory_not_synced",
        "sync_error_retried",
        "page_cache_trusted",
    ] {
        assert_found(bug, random_use);
    }
}
