//! A log that was replaced by a snapshot, and then purged behind a later one, opens again.

use bytes::Bytes;
use raftkv::{
    kv::{Command, Kv},
    raft::{Config, Entry, EntryKind, HardState, Index, LogPos, NodeId, Snapshot, Term},
    storage::{Done, Header, Job, Origin, Storage, snapshot_name},
};
use raftkv_wal::{MemoryMedia, Options, SEGMENT_BYTES_MIN};

const TERM: Term = Term(1);

fn open(disk: &MemoryMedia) -> raftkv::storage::Opened<MemoryMedia> {
    let mut options = Options::new([0; 40]);
    options.segment_bytes = SEGMENT_BYTES_MIN;
    Storage::open(disk.clone(), options).expect("the log opens")
}

/// Runs a job to its end.
fn done(mut job: Job<MemoryMedia>) -> Done<MemoryMedia> {
    while job.step() {}
    job.finish().expect("the disk works")
}

/// Writes and names a snapshot of some state.
fn add(storage: &mut Storage<MemoryMedia>, index: u64, origin: Origin) -> Snapshot {
    let mut state = Kv::default();
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from(index.to_string()));
    state.apply(Command::Put { key, value });
    let frozen = state.freeze();
    let header = Header {
        cluster_id: storage.cluster_id(),
        pos: LogPos::new(TERM, Index(index)),
        revision: frozen.revision(),
        keys: frozen.len() as u64,
        config: Config::new([NodeId(0)]),
    };
    let sink = storage.begin_snapshot(origin).expect("there is room");
    let Done::Written { snapshot, sink } = done(Job::write(sink, header, frozen)) else {
        panic!("a job that writes has written");
    };
    let (source, file) = storage.read_back(origin).expect("it is there");
    let job = Job::verify(source, file, sink, snapshot).expect("it begins well");
    done(job);
    storage
        .add_snapshot(snapshot, origin, 1)
        .expect("the log works");
    storage.sync().expect("the log works");
    storage.compact(1);
    while storage.tidy_up().expect("the log works") {}
    snapshot
}

fn write(storage: &mut Storage<MemoryMedia>, indices: std::ops::RangeInclusive<u64>) {
    for index in indices {
        let entry = Entry {
            pos: LogPos::new(TERM, Index(index)),
            kind: EntryKind::NO_OP,
            data: Bytes::from(vec![7; 8 << 10]),
        };
        storage.write(None, &[entry]).expect("the log works");
        storage.sync().expect("the log works");
    }
}

#[test]
fn the_mark_at_the_head_of_a_purged_log_may_be_that_of_an_install() {
    let disk = MemoryMedia::new();
    let mut storage = open(&disk).storage;
    let hard = HardState {
        term: TERM,
        vote: None,
    };
    storage.write(Some(hard), &[]).expect("the log works");
    add(&mut storage, 100, Origin::Fetched);
    // Two segments and a part of a third; the second one begins with a copy of the mark above.
    write(&mut storage, 101..=118);
    let snapshot = add(&mut storage, 112, Origin::Taken);
    assert!(!disk.names().contains(&"0000000001.wal".to_owned()));
    assert!(disk.names().contains(&snapshot_name(snapshot.pos)));
    drop(storage);

    let opened = open(&disk);
    assert_eq!(opened.saved.snapshot, Some(snapshot));
    assert_eq!(opened.saved.log.base(), snapshot.pos);
    assert_eq!(opened.saved.log.last().index, Index(118));
}
