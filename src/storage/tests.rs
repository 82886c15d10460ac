use bytes::Bytes;
use raftkv_wal::{MemoryMedia, Operation, Options, is_leftover};

use super::*;
use crate::{
    kv::Command,
    raft::{EntryKind, NodeId, Term},
};

const OWNER: [u8; 40] = [7; 40];

fn open(disk: &MemoryMedia) -> Result<Opened<MemoryMedia>, Error> {
    let options = Options {
        segment_bytes: 64 << 10,
        owner: OWNER,
    };
    Storage::open(disk.clone(), options)
}

fn pos(index: u64) -> LogPos {
    LogPos::new(Term(1), Index(index))
}

fn entry(index: u64) -> Entry {
    Entry {
        pos: pos(index),
        kind: EntryKind::COMMAND,
        data: Bytes::from(vec![index as u8; 3000]),
    }
}

/// A state of which each number of keys is another.
fn state(keys: u64) -> Kv {
    let mut kv = Kv::default();
    for key in 0..keys {
        kv.apply(Command::Put {
            key: format!("key-{key}").into(),
            value: Bytes::from_static(b"value"),
        });
    }
    kv
}

/// A log of entries from 1 on, of term 1.
struct Fixture {
    disk: MemoryMedia,
    storage: Storage<MemoryMedia>,
    last: u64,
}

impl Fixture {
    fn new() -> Fixture {
        let disk = MemoryMedia::new();
        let mut storage = open(&disk).expect("an empty disk").storage;
        let hard = HardState {
            term: Term(1),
            vote: None,
        };
        storage.write(Some(hard), &[]).expect("written");
        storage.sync().expect("synced");
        Fixture {
            disk,
            storage,
            last: 0,
        }
    }

    fn append(&mut self, entries: u64) {
        for _ in 0..entries {
            self.last += 1;
            self.storage
                .write(None, &[entry(self.last)])
                .expect("written");
        }
        self.storage.sync().expect("synced");
    }

    /// Writes a file of a state with `index` keys, and publishes it.
    fn publish(&mut self, origin: Origin, index: u64) -> Snapshot {
        let sink = self.storage.begin_snapshot(origin).expect("room");
        let kv = state(index);
        let header = Header {
            cluster_id: self.storage.cluster_id(),
            pos: pos(index),
            revision: kv.revision(),
            keys: kv.len() as u64,
            config: Config::new([NodeId(0), NodeId(1)]),
        };
        let Ok(Done::Written { snapshot, sink }) = run(Job::write(sink, header, kv.freeze()))
        else {
            panic!("not written")
        };
        let (source, file) = self.storage.read_back(origin).expect("there");
        let job = Job::verify(source, file, sink, snapshot).expect("a header");
        let Ok(Done::Published {
            snapshot: published,
            ..
        }) = run(job)
        else {
            panic!("not published")
        };
        assert_eq!(published, snapshot);
        snapshot
    }

    fn take(&mut self, index: u64) -> Snapshot {
        let snapshot = self.publish(Origin::Taken, index);
        self.storage
            .add_snapshot(snapshot, Origin::Taken, 2)
            .expect("marked");
        self.storage.sync().expect("synced");
        snapshot
    }

    fn compact(&mut self) -> Index {
        let upto = self.storage.compact(2);
        while self.storage.tidy_up().expect("tidied up") {}
        upto
    }
}

fn run(mut job: Job<MemoryMedia>) -> Result<Done<MemoryMedia>, JobError> {
    while job.step() {}
    job.finish()
}

fn snapshot_files(disk: &MemoryMedia) -> Vec<String> {
    let mut names = disk.names();
    names.retain(|name| name.ends_with(".snapshot") || name.ends_with(".tmp"));
    names
}

#[test]
fn a_restart_loads_the_newest_snapshot_and_the_log_from_the_older_one_on() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    fixture.take(30);
    assert_eq!(fixture.compact(), Index(0), "one is not two");
    fixture.append(40);
    let newest = fixture.take(70);
    assert_eq!(fixture.compact(), Index(30));
    let opened = open(&fixture.disk).expect("it opens");
    assert_eq!(opened.saved.snapshot, Some(newest));
    assert_eq!(opened.saved.log.base(), pos(30));
    assert_eq!(opened.saved.log.last(), pos(80));
    assert_eq!(opened.state.image(), state(70).image());
    let found = opened.storage.entry(Index(31)).expect("there");
    assert_eq!(
        (found.pos, found.data),
        (entry(31).pos, &entry(31).data[..])
    );
    assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
}

#[test]
fn segments_before_the_older_snapshot_go() {
    let mut fixture = Fixture::new();
    for end in [100, 200, 300] {
        fixture.append(100);
        fixture.take(end);
        fixture.compact();
    }
    let bytes = fixture.storage.wal.disk_bytes();
    assert!(
        bytes < 8 * (64 << 10),
        "{bytes} bytes for 100 entries of 3 KB"
    );
    let opened = open(&fixture.disk).expect("it opens");
    assert_eq!(opened.saved.log.base(), pos(200));
    assert_eq!(opened.saved.log.last(), pos(300));
}

#[test]
fn a_damaged_newest_snapshot_is_passed_over_and_said() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    let older = fixture.take(20);
    let newest = fixture.take(40);
    fixture.compact();
    let name = snapshot_name(newest.pos);
    let good = fixture.disk.contents(&name).expect("there");
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        let mut zeroed = good.clone();
        let sector = at..good.len().min(at + 512);
        zeroed[sector].fill(0);
        for bad in [flipped, zeroed, good[..at].to_vec()] {
            // It was zero, and there are no more than zeros behind it.
            if bad == good {
                continue;
            }
            fixture.disk.set_contents(&name, bad);
            let opened = open(&fixture.disk).expect("the older one will do");
            assert_eq!(opened.saved.snapshot, Some(older), "byte {at}");
            assert_eq!(opened.state.image(), state(20).image());
            assert_eq!(opened.saved.log.last(), pos(40));
            assert!(opened.warnings[0].contains(&name), "{:?}", opened.warnings);
        }
    }
}

#[test]
fn two_damaged_snapshots_of_a_purged_log_stop_the_node() {
    let mut fixture = Fixture::new();
    fixture.append(100);
    let snapshots = [fixture.take(60), fixture.take(90)];
    fixture.compact();
    for snapshot in snapshots {
        let name = snapshot_name(snapshot.pos);
        let mut bytes = fixture.disk.contents(&name).expect("there");
        bytes.truncate(bytes.len() - 1);
        fixture.disk.set_contents(&name, bytes);
    }
    match open(&fixture.disk) {
        Err(Error::Snapshot(SnapshotError::Damaged { file, .. })) => {
            assert!(file.contains("90-1"), "{file}");
        }
        Ok(opened) => panic!("opened: {:?}", opened.warnings),
        Err(error) => panic!("{error}"),
    }
}

/// Row S7: whatever cannot be read when a node starts, it has the state in another way or does not
/// start, and what was not read is neither called damaged nor changed.
#[test]
fn a_read_error_at_a_start_is_no_damage() {
    let mut ends = [0, 0, 0];
    for snapshots in [&[60, 90][..], &[90]] {
        for (fault, after) in [Operation::Open, Operation::Read]
            .into_iter()
            .flat_map(|fault| (0..12).map(move |after| (fault, after)))
        {
            let mut fixture = Fixture::new();
            fixture.append(100);
            let taken: Vec<Snapshot> = snapshots.iter().map(|&at| fixture.take(at)).collect();
            fixture.storage.compact(1);
            while fixture.storage.tidy_up().expect("tidied up") {}
            let newest = taken.last().copied();
            let before = contents(&fixture.disk);
            fixture.disk.fail(fault, after);
            let end = match open(&fixture.disk) {
                Ok(opened) => {
                    let loaded = opened.saved.snapshot.expect("one of them");
                    assert_eq!(opened.state.image(), state(loaded.pos.index.0).image());
                    assert_eq!(opened.saved.log.last(), pos(100));
                    let said = &opened.warnings;
                    assert!(
                        said.iter().all(|line| line.contains("os error 5")),
                        "{said:?}"
                    );
                    assert!(Some(loaded) == newest || !said.is_empty());
                    usize::from(Some(loaded) != newest)
                }
                Err(Error::Snapshot(SnapshotError::Io { .. }) | Error::Io { .. }) => 2,
                Err(Error::Wal(raftkv_wal::Error::Io { .. })) => 2,
                Err(error) => panic!("{fault:?} {after}: {error}"),
            };
            ends[end] += 1;
            fixture.disk.forget_faults();
            assert!(
                contents(&fixture.disk) == before,
                "{fault:?} {after}: changed"
            );
            let opened = open(&fixture.disk).expect("it can be read again");
            assert_eq!(opened.saved.snapshot, newest, "{fault:?} {after}");
            assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
        }
    }
    assert!(ends.iter().all(|&count| count > 3), "{ends:?}");
}

/// Of all files but retired segments, of which a start keeps none.
fn contents(disk: &MemoryMedia) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.names();
    names
        .into_iter()
        .filter(|name| !is_leftover(name))
        .map(|name| (name.clone(), disk.contents(&name)))
        .collect()
}

#[test]
fn of_two_snapshots_one_that_was_not_read_is_the_reason_not_to_start() {
    let mut fixture = Fixture::new();
    fixture.append(100);
    let snapshots = [fixture.take(60), fixture.take(90)];
    fixture.compact();
    let [older, newest] = snapshots.map(|snapshot| snapshot_name(snapshot.pos));
    let whole = fixture.disk.contents(&newest).expect("there");
    fixture
        .disk
        .set_contents(&newest, whole[..whole.len() - 1].to_vec());
    // The segments are opened first.
    let segments = fixture.disk.names();
    let segments = segments.iter().filter(|name| name.ends_with(".wal"));
    fixture
        .disk
        .fail(Operation::Open, segments.count() as u64 + 1);
    match open(&fixture.disk) {
        Err(Error::Snapshot(SnapshotError::Io { file, .. })) => assert_eq!(file, older),
        Ok(opened) => panic!("opened: {:?}", opened.warnings),
        Err(error) => panic!("{error}"),
    }
    let opened = open(&fixture.disk).expect("the older one can be read again");
    assert_eq!(opened.saved.snapshot, Some(snapshots[0]));
}

#[test]
fn a_snapshot_that_is_gone_is_damage() {
    let mut fixture = Fixture::new();
    fixture.append(100);
    let snapshot = fixture.take(90);
    fixture.storage.compact(1);
    while fixture.storage.tidy_up().expect("tidied up") {}
    let name = snapshot_name(snapshot.pos);
    fixture.disk.delete(&name);
    let error = open(&fixture.disk).err().expect("nothing has the state");
    assert!(
        matches!(&error, Error::Snapshot(SnapshotError::Missing { file }) if *file == name),
        "{error}"
    );
}

#[test]
fn a_log_that_has_everything_needs_no_snapshot() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    let snapshot = fixture.take(40);
    fixture.compact();
    fixture.disk.delete(&snapshot_name(snapshot.pos));
    let opened = open(&fixture.disk).expect("the log will do");
    assert_eq!(opened.saved.snapshot, None);
    assert_eq!(opened.saved.log.base(), LogPos::ZERO);
    assert_eq!(opened.saved.log.last(), pos(40));
    assert_eq!(opened.warnings.len(), 1, "{:?}", opened.warnings);
}

#[test]
fn an_older_file_under_the_name_of_a_snapshot_is_not_taken_for_it() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    let older = fixture.take(20);
    let newest = fixture.take(40);
    let bytes = fixture.disk.contents(&snapshot_name(older.pos));
    let name = snapshot_name(newest.pos);
    fixture.disk.set_contents(&name, bytes.expect("there"));
    let opened = open(&fixture.disk).expect("it opens");
    assert_eq!(opened.saved.snapshot, Some(older));
}

#[test]
fn what_no_mark_names_is_removed() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    let kept = fixture.take(20);
    fixture.publish(Origin::Taken, 40);
    fixture
        .storage
        .begin_snapshot(Origin::Fetched)
        .expect("room");
    let opened = open(&fixture.disk).expect("it opens");
    assert_eq!(opened.saved.snapshot, Some(kept));
    assert_eq!(snapshot_files(&fixture.disk), [snapshot_name(kept.pos)]);
}

#[test]
fn an_installed_snapshot_takes_the_place_of_the_whole_log() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    fixture.take(20);
    let snapshot = fixture.publish(Origin::Fetched, 500);
    fixture
        .storage
        .add_snapshot(snapshot, Origin::Fetched, 2)
        .expect("marked");
    fixture.storage.sync().expect("synced");
    fixture.last = 500;
    fixture.append(3);
    while fixture.storage.tidy_up().expect("tidied up") {}
    let opened = open(&fixture.disk).expect("it opens");
    assert_eq!(opened.saved.snapshot, Some(snapshot));
    assert_eq!(opened.saved.log.base(), pos(500));
    assert_eq!(opened.saved.log.last(), pos(503));
    assert_eq!(opened.state.image(), state(500).image());
    assert_eq!(snapshot_files(&fixture.disk), [snapshot_name(snapshot.pos)]);
}

#[test]
fn a_log_that_begins_behind_its_snapshots_stops_the_node() {
    let mut fixture = Fixture::new();
    fixture.append(100);
    fixture.take(10);
    fixture
        .storage
        .wal
        .purge(fixture.storage.records[90])
        .expect("purged");
    let error = open(&fixture.disk).err().expect("entries are missing");
    assert!(matches!(error, Error::Gap { .. }), "{error}");
}

#[test]
fn a_log_that_ends_before_its_snapshot_stops_the_node() {
    let mut fixture = Fixture::new();
    fixture.append(40);
    fixture.take(60);
    let error = open(&fixture.disk).err().expect("entries are missing");
    assert!(
        matches!(&error, Error::Gap { what } if what.contains("the log at 40")),
        "{error}"
    );
}

/// Every step of taking and of installing, each followed by a power cut: the old state or the new.
#[test]
fn a_power_cut_at_any_operation_leaves_the_old_state_or_the_new_one() {
    for origin in [Origin::Taken, Origin::Fetched] {
        let target = if origin == Origin::Taken { 60 } else { 900 };
        let mut operations = 0;
        loop {
            let mut fixture = Fixture::new();
            fixture.append(60);
            let old = [fixture.take(20), fixture.take(40)];
            fixture.compact();
            fixture.disk.stop_after(operations);
            let whole = replace(&mut fixture, origin, target).is_ok();
            let mut seed = operations * 2 + 1;
            fixture.disk.crash(&mut || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed >> 20
            });
            let opened = open(&fixture.disk).unwrap_or_else(|error| {
                panic!("{origin:?}, after {operations} operations: {error}")
            });
            let found = opened.saved.snapshot.expect("one of them").pos.index.0;
            assert!([old[1].pos.index.0, target].contains(&found), "{found}");
            assert!(!whole || found == target, "it was durable");
            assert_eq!(opened.state.image(), state(found).image());
            let last = opened.saved.log.last();
            let is_new = origin == Origin::Fetched && found == target;
            assert_eq!(last, pos(if is_new { target } else { 60 }));
            if whole {
                break;
            }
            operations += 1;
        }
        assert!(operations > 8, "{operations} operations in all");
    }
}

/// Goes through all steps, as a replica does.
fn replace(fixture: &mut Fixture, origin: Origin, index: u64) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let storage = &mut fixture.storage;
    let sink = storage.begin_snapshot(origin).map_err(text)?;
    let kv = state(index);
    let header = Header {
        cluster_id: storage.cluster_id(),
        pos: pos(index),
        revision: kv.revision(),
        keys: kv.len() as u64,
        config: Config::new([NodeId(0)]),
    };
    let done = run(Job::write(sink, header, kv.freeze())).map_err(|e| e.to_string())?;
    let Done::Written { snapshot, sink } = done else {
        unreachable!("it was written")
    };
    let (source, file) = storage.read_back(origin).map_err(text)?;
    let job = Job::verify(source, file, sink, snapshot).map_err(|e| e.to_string())?;
    run(job).map_err(|e| e.to_string())?;
    let failed = |error: Error| error.to_string();
    storage.add_snapshot(snapshot, origin, 2).map_err(failed)?;
    storage.sync().map_err(failed)?;
    if origin == Origin::Taken {
        storage.compact(2);
    }
    while storage.tidy_up().map_err(failed)? {}
    Ok(())
}
