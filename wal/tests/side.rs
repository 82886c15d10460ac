//! Files beside the segments: written by a sink, whole or not there after a power cut, and read
//! without a map.

mod support;

use raftkv_wal::{FileMedia, Media, MemoryMedia, Operation, Sink, Source, Wal};
use std::fs;
use std::io::{self, ErrorKind};
use support::*;

const SNAPSHOT: &str = "snapshot";
const TEMPORARY: &str = "snapshot.tmp";

/// Bytes of which every page differs.
fn contents(serial: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 4096) as u8 ^ serial).collect()
}

fn write<M: Media>(media: &mut M, bytes: &[u8]) -> io::Result<()> {
    let mut sink = media.create(TEMPORARY)?;
    for part in bytes.chunks(5000) {
        sink.append(part)?;
    }
    assert_eq!(sink.len_bytes(), bytes.len() as u64);
    sink.sync()?;
    sink.publish(SNAPSHOT)?;
    sink.sync_directory()
}

fn read<M: Media>(media: &mut M, name: &str) -> io::Result<Vec<u8>> {
    let source = media.open_source(name)?;
    let mut bytes = vec![0; source.len_bytes() as usize];
    source.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn a_file_is_written_read_replaced_and_removed_on<M: Media>(mut media: M) {
    let (first, second) = (contents(1, 9_000_001), contents(2, 70_000));
    write(&mut media, &first).expect("the file is written");
    assert_eq!(read(&mut media, SNAPSHOT).expect("the file"), first);
    let opened = media.open_source(SNAPSHOT).expect("the file opens");

    write(&mut media, &second).expect("the file is replaced");
    assert_eq!(read(&mut media, SNAPSHOT).expect("the file"), second);
    let mut part = [0; 3];
    opened
        .read_at(8_999_998, &mut part)
        .expect("what was opened stays");
    assert_eq!(part, first[8_999_998..]);
    let beyond = opened.read_at(8_999_999, &mut part).expect_err("the end");
    assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof);
    opened.release(0..opened.len_bytes());

    let sink = media.create(SNAPSHOT).expect("the file is made anew");
    assert_eq!(
        (
            sink.len_bytes(),
            read(&mut media, SNAPSHOT).expect("a file")
        ),
        (0, vec![])
    );
    for _ in 0..2 {
        media.remove(SNAPSHOT).expect("the removal succeeds");
    }
    let missing = media
        .open_source(SNAPSHOT)
        .map(drop)
        .expect_err("it is gone");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(media.list().expect("the names"), [""; 0]);
}

#[test]
fn a_file_is_written_read_replaced_and_removed_in_memory() {
    a_file_is_written_read_replaced_and_removed_on(MemoryMedia::new());
}

#[test]
fn a_file_is_written_read_replaced_and_removed_in_a_real_directory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = FileMedia::open(directory.path()).expect("the directory opens");
    a_file_is_written_read_replaced_and_removed_on(media);
    assert_eq!(
        fs::read_dir(directory.path())
            .expect("the directory")
            .count(),
        0
    );
}

#[test]
fn a_sink_and_a_source_work_on_other_threads() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut media = FileMedia::open(directory.path()).expect("the directory opens");
    let mut sink = media.create(SNAPSHOT).expect("the file is made");
    let writer = std::thread::spawn(move || sink.append(b"from afar").and_then(|()| sink.sync()));
    writer
        .join()
        .expect("no panic")
        .expect("the write succeeds");
    let source = media.open_source(SNAPSHOT).expect("the file opens");
    let reader = std::thread::spawn(move || source.len_bytes());
    assert_eq!(reader.join().expect("no panic"), 9);
}

#[test]
fn a_power_cut_after_any_operation_leaves_the_old_file_or_the_new_one() {
    let (old, new) = (contents(1, 20_000), contents(2, 30_000));
    for operations in 0.. {
        for seed in 0..64 {
            let mut disk = MemoryMedia::new();
            write(&mut disk, &old).expect("the file is written");
            disk.stop_after(operations);
            let written = write(&mut disk, &new);
            if disk.stopped().is_none() {
                written.expect("the file is replaced");
                assert_eq!(
                    operations,
                    1 + 6 + 3,
                    "create, append, sync, publish, directory"
                );
                return;
            }
            written.expect_err("the machine has stopped");
            disk.crash(&mut random(seed));
            let found = read(&mut disk, SNAPSHOT).expect("never neither");
            assert!(
                found == old || found == new,
                "after {operations}, seed {seed}"
            );
            let published = operations > 8;
            assert!(found == old || published, "not before it was renamed");
            write(&mut disk, &new).expect("the next try succeeds");
            disk.crash(&mut random(seed));
            assert_eq!(read(&mut disk, SNAPSHOT).expect("the file"), new);
        }
    }
}

#[test]
fn a_file_that_was_not_synced_has_any_length_and_any_pages() {
    let whole = contents(0x80, 16_384);
    let mut lengths = Vec::new();
    for seed in 0..200 {
        let mut disk = MemoryMedia::new();
        let mut sink = disk.create(SNAPSHOT).expect("the file is made");
        sink.append(&whole[..8192]).expect("the append succeeds");
        sink.sync().expect("the sync succeeds");
        sink.sync_directory().expect("the sync succeeds");
        sink.append(&whole[8192..]).expect("the append succeeds");
        disk.crash(&mut random(seed));
        sink.append(b"from the dead")
            .expect_err("the machine has restarted");
        let found = read(&mut disk, SNAPSHOT).expect("the name was durable");
        assert_eq!(found[..8192], whole[..8192]);
        let pairs = found.iter().zip(&whole);
        assert!(
            pairs
                .clone()
                .all(|(found, written)| found == written || *found == 0)
        );
        lengths.push((
            found.len(),
            pairs.filter(|(found, written)| found != written).count(),
        ));
    }
    assert!(lengths.contains(&(8192, 0)), "nothing of it arrived");
    assert!(lengths.contains(&(16_384, 0)), "all of it arrived");
    assert!(
        lengths.iter().any(|(len, _)| (8193..16_384).contains(len)),
        "a part of it"
    );
    assert!(lengths.iter().any(|(_, lost)| *lost > 0), "with holes");
}

#[test]
fn a_full_disk_stops_a_sink_and_not_the_log() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    let mut sink = wal.media().create(TEMPORARY).expect("the file is made");
    disk.set_full(true);
    let refused = sink.append(&[1; 1000]).expect_err("the disk is full");
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    sink.sync().expect_err("half of it is no whole");
    let refused = wal
        .media()
        .create("another")
        .map(drop)
        .expect_err("the disk is full");
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    put(&mut wal, b"one");
    wal.media()
        .remove(TEMPORARY)
        .expect("removing needs no space");
    disk.set_full(false);
    write(wal.media(), &[2; 1000]).expect("there is space");
    put(&mut wal, b"two");
    drop(wal);
    assert_eq!(bodies(&open(disk)), [b"one", b"two"]);
}

#[test]
fn after_a_failed_sync_a_sink_fails_though_the_disk_would_work_again() {
    let mut disk = MemoryMedia::new();
    let mut sink = disk.create(SNAPSHOT).expect("the file is made");
    sink.append(&[1; 9000]).expect("the append succeeds");
    disk.fail(Operation::Sync, 0);
    sink.sync().expect_err("the sync fails");
    sink.sync().expect_err("it cannot be repeated");
}

#[test]
fn every_operation_on_a_file_can_fail_and_leaves_the_log_usable() {
    use Operation::{CreateFile, Open, Publish, Read, Remove, Sync, SyncDirectory, Write};
    for operation in [
        CreateFile,
        Write,
        Sync,
        Publish,
        SyncDirectory,
        Open,
        Read,
        Remove,
    ] {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        put(&mut wal, b"one");
        disk.fail(operation, 0);
        let done = write(wal.media(), &[1; 100])
            .and_then(|()| read(wal.media(), SNAPSHOT))
            .and_then(|_| wal.media().remove(SNAPSHOT));
        done.expect_err("one of them fails");
        put(&mut wal, b"two");
        assert_eq!(bodies(&wal), [b"one", b"two"], "{operation:?}");
    }
}

#[test]
fn what_is_written_beside_the_log_does_not_count_as_its_writes() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    let mut sink = wal.media().create(TEMPORARY).expect("the file is made");
    sink.append(&[1; 100]).expect("the append succeeds");
    put(&mut wal, b"durable");
    assert_eq!(disk.durable_writes(), disk.writes());
    sink.publish(SNAPSHOT).expect("the rename succeeds");
    assert_eq!(disk.durable_writes(), disk.writes());
}

/// A snapshot of all records so far, its mark in the log, and a purge up to the mark. Each snapshot
/// holds the number of the first record that it does not stand for.
fn snapshot_and_purge(wal: &mut Wal<MemoryMedia>, next: u8) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    write(wal.media(), &[next; 6000]).map_err(|e| text(&e))?;
    let mark = wal
        .append_sticky(STATE, 1, |to| to.push(next))
        .map_err(|e| text(&e))?;
    wal.write().map_err(|e| text(&e))?;
    wal.sync().map_err(|e| text(&e))?;
    wal.purge(mark).map(drop).map_err(|e| text(&e))
}

/// Two snapshots within forty records. Returns how many records were durable, and whether all was
/// done.
fn log_with_snapshots(disk: &MemoryMedia) -> (u8, bool) {
    let Ok((mut wal, _)) = try_open(disk.clone()) else {
        return (0, false);
    };
    for n in 0..40u8 {
        let put = try_append(&mut wal, &[n; 6000]).and_then(|_| wal.write());
        if put.and_then(|()| wal.sync()).is_err() {
            return (n, false);
        }
        if n % 16 == 15 && snapshot_and_purge(&mut wal, n + 1).is_err() {
            return (n + 1, false);
        }
    }
    (40, true)
}

#[test]
fn a_power_cut_after_any_operation_of_snapshot_and_purge_leaves_every_record_in_one_of_them() {
    for operations in 0.. {
        for seed in 0..8 {
            let mut disk = MemoryMedia::new();
            disk.stop_after(operations);
            let (durable, done) = log_with_snapshots(&disk);
            if disk.stopped().is_none() {
                assert!(done && operations > 100);
                return;
            }
            disk.crash(&mut random(seed * 1000 + operations));
            let wal = open(disk.clone());
            let covered = read(&mut disk, SNAPSHOT).map_or(0, |bytes| {
                assert!(bytes == vec![bytes[0]; 6000], "a snapshot is whole");
                bytes[0]
            });
            let marks = wal.records().filter(|record| record.kind == STATE);
            let newest_mark = marks.last().map_or(0, |record| record.body[0]);
            assert!(newest_mark <= covered, "a mark without its snapshot");
            let numbers = wal.records().filter(|record| record.kind == RECORD);
            let numbers: Vec<u8> = numbers.map(|record| record.body[0]).collect();
            let first = numbers.first().copied().unwrap_or(covered);
            assert!(first <= covered, "a gap behind the snapshot");
            assert!(
                numbers
                    .iter()
                    .copied()
                    .eq(first..first + numbers.len() as u8)
            );
            let reached = covered.max(first + numbers.len() as u8);
            assert!(
                reached >= durable,
                "{reached} of {durable} after {operations}"
            );
        }
    }
}
