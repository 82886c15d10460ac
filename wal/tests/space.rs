//! What becomes of old segments, and of a log on a full disk.

mod support;

use raftkv_wal::{Address, Error, FileMedia, Media, MemoryMedia, Operation, Sink, Wal};
use std::fs;
use std::process::Command;
use support::*;

const RESERVE_BYTES: usize = 16 << 10;

/// A log of five segments with one record each and a sticky one before the first, and the addresses
/// of the records.
fn five_segments<M: Media>(media: M) -> (Wal<M>, Vec<Address>) {
    let mut wal = open(media);
    append_sticky(&mut wal, b"term 1");
    let addresses = (0..5).map(|n| append(&mut wal, &[n; 50_000])).collect();
    flush(&mut wal);
    (wal, addresses)
}

fn segments(disk: &MemoryMedia) -> Vec<String> {
    let names = disk.names().into_iter();
    names.filter(|name| name.ends_with(".wal")).collect()
}

/// What is left after a purge up to the record of each segment: the copy, and what follows.
fn left(from: usize) -> Vec<Vec<u8>> {
    let records = (from..5).map(|n| vec![n as u8; 50_000]);
    [b"term 1".to_vec()].into_iter().chain(records).collect()
}

#[test]
fn a_purge_removes_whole_segments_only_and_never_the_active_one() {
    for upto in 0..5 {
        let disk = MemoryMedia::new();
        let (mut wal, addresses) = five_segments(disk.clone());
        assert_eq!(
            wal.purge(addresses[upto]).expect("the purge succeeds"),
            upto
        );
        assert_eq!(
            wal.purge(addresses[upto]).expect("nothing is left to do"),
            0
        );
        assert_eq!(segments(&disk).len(), 5 - upto);
        assert_eq!(wal.segment_count(), 5 - upto);
        assert_eq!(wal.disk_bytes(), 65536 * (5 - upto as u64));
        assert!(wal.first_address() <= addresses[upto]);
        assert_eq!(wal.first_address() > addresses[0], upto > 0);
        assert_eq!(bodies(&wal), left(upto));
        assert_eq!(wal.read(addresses[upto]), vec![upto as u8; 50_000]);
        put(&mut wal, b"goes on");
        disk.crash(&mut random(upto as u64));
        let after = [left(upto), vec![b"goes on".to_vec()]].concat();
        assert_eq!(bodies(&open(disk)), after);
    }
}

#[test]
fn a_purge_can_be_made_segment_by_segment() {
    let disk = MemoryMedia::new();
    let (mut wal, addresses) = five_segments(disk.clone());
    for gone in 0..3 {
        assert_eq!(wal.segment_count(), 5 - gone);
        let removed = wal.purge_oldest(addresses[2]).expect("the purge succeeds");
        assert_eq!(removed, gone < 2);
    }
    assert_eq!(bodies(&wal), left(2));
}

#[test]
fn a_purge_in_a_real_directory_gives_back_the_space() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let (mut wal, addresses) = five_segments(media());
    assert_eq!(wal.purge(addresses[3]).expect("the purge succeeds"), 3);
    assert_eq!(bodies(&wal), left(3));
    drop(wal);
    assert!(!directory.path().join(SECOND).exists());
    assert_eq!(bodies(&open(media())), left(3));
}

#[test]
fn a_purged_record_is_not_read() {
    let (mut wal, addresses) = five_segments(MemoryMedia::new());
    wal.purge(addresses[2]).expect("the purge succeeds");
    let read = std::panic::AssertUnwindSafe(|| wal.read(addresses[1]).len());
    std::panic::catch_unwind(read).expect_err("it is gone");
}

#[test]
fn a_power_cut_after_any_operation_of_a_purge_leaves_no_gap() {
    for operations in 0.. {
        for seed in 0..32 {
            let disk = MemoryMedia::new();
            let (mut wal, addresses) = five_segments(disk.clone());
            disk.stop_after(operations);
            let purged = wal.purge(addresses[4]);
            if disk.stopped().is_none() {
                assert_eq!(purged.expect("the purge succeeds"), 4);
                assert_eq!(operations, 8, "a removal and a sync for each segment");
                return;
            }
            purged.expect_err("the machine has stopped");
            disk.crash(&mut random(seed));
            let mut wal = open(disk.clone());
            let gone = 5 - wal.segment_count();
            let (synced, removed) = (operations as usize / 2, operations.div_ceil(2) as usize);
            assert!((synced..=removed).contains(&gone), "{gone} of {operations}");
            assert_eq!(bodies(&wal), left(gone));
            wal.purge(addresses[4]).expect("the purge succeeds");
            assert_eq!(bodies(&wal), left(4));
        }
    }
}

#[test]
fn a_purge_that_the_disk_refuses_poisons_and_loses_nothing() {
    for (operation, doing) in [
        (Operation::Remove, "remove"),
        (Operation::SyncDirectory, "sync the removal of"),
    ] {
        let disk = MemoryMedia::new();
        let (mut wal, addresses) = five_segments(disk.clone());
        disk.fail(operation, 1);
        let error = wal.purge(addresses[4]).expect_err("the disk fails");
        assert!(error.to_string().contains(SECOND), "{error}");
        assert!(error.to_string().contains(doing), "{error}");
        assert!(matches!(wal.sync(), Err(Error::Poisoned { .. })));
        disk.crash(&mut random(7));
        let wal = open(disk);
        assert_eq!(bodies(&wal), left(5 - wal.segment_count()));
    }
}

/// Appends without asking until only the reserve is left, on a disk that is full since the last
/// preparation. Returns how many records of 1,000 bytes were taken.
fn fill<M: Media>(wal: &mut Wal<M>) -> usize {
    for taken in 0.. {
        match wal.ensure_room(1, 1000) {
            Ok(()) => put(wal, &[1; 1000]),
            Err(error) => {
                assert!(matches!(error, Error::Create { .. }), "{error}");
                assert!(error.to_string().contains("free some space"), "{error}");
                return taken;
            }
        }
    }
    unreachable!("a disk has an end")
}

#[test]
fn a_full_disk_is_met_before_a_record_is_taken_and_leaves_the_reserve() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    disk.set_full(true);
    // The active segment and the one that was prepared in time.
    let taken = fill(&mut wal);
    assert!((96..110).contains(&taken), "{taken}");
    for n in 0..(RESERVE_BYTES - 1100) / (24 + 32) {
        append_sticky(&mut wal, &n.to_le_bytes());
        flush(&mut wal);
    }
    assert_eq!(segments(&disk), [FIRST, SECOND]);
    wal.ensure_room(1, 1000).expect_err("still full");
    wal.retry_prepare();
    wal.ensure_room(1, 1000).expect_err("still full");

    disk.set_full(false);
    wal.ensure_room(1, 1000)
        .expect_err("nobody has tried again");
    wal.retry_prepare();
    wal.ensure_room(1, 1000).expect("it has healed");
    put(&mut wal, &[1; 1000]);
    let records = wal.records().count();
    disk.crash(&mut random(1));
    assert_eq!(open(disk).records().count(), records);
}

#[test]
fn a_log_opens_on_a_full_disk_and_heals_without_a_new_start() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    disk.set_full(true);
    let taken = fill(&mut wal);
    append(&mut wal, b"torn");
    wal.write().expect("the write succeeds");
    disk.crash(&mut random(3));
    let mut wal = open(disk.clone());
    assert!(wal.records().count() >= taken);
    assert_eq!(fill(&mut wal), 0);
    wal.mark().expect("a mark needs no new segment");
    disk.set_full(false);
    wal.retry_prepare();
    wal.ensure_room(1, 1000).expect("it has healed");
}

#[test]
fn a_full_disk_at_the_very_first_start_leaves_nothing_behind() {
    let disk = MemoryMedia::new();
    disk.set_full(true);
    assert!(matches!(refusal(&disk), Error::Create { .. }));
    disk.set_full(false);
    assert_eq!(open(disk).records().count(), 0);
}

#[test]
fn a_batch_larger_than_a_segment_is_given_room_for_all_of_it() {
    for (records, body_len) in [(1, 57_136), (3, 57_000), (40, 9_000), (9_000, 0)] {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        put(&mut wal, &[1; 30_000]);
        let room = wal.ensure_room(records, records * body_len);
        room.expect("there is space");
        disk.set_full(true);
        for _ in 0..records {
            put(&mut wal, &vec![2; body_len]);
        }
        append_sticky(&mut wal, &[3; 8000]);
        flush(&mut wal);
        assert_eq!(wal.segment_count(), 2);
        drop(wal);
        assert_eq!(open(disk).records().count(), records + 2);
    }
}

#[test]
fn a_batch_larger_than_the_disk_is_refused_and_smaller_ones_are_not() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    disk.set_full(true);
    let error = wal.ensure_room(10, 500_000).expect_err("the disk is full");
    assert!(matches!(error, Error::Create { .. }));
    wal.ensure_room(1, 40_000).expect("the active one has room");
    for beyond in [1 << 30, usize::MAX] {
        let error = wal
            .ensure_room(1, beyond)
            .expect_err("no segment is so large");
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    disk.set_full(false);
    wal.ensure_room(10, 500_000).expect("there is space");
}

#[test]
fn a_batch_that_is_refused_leaves_the_segment_in_reserve() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, &[1; 50_000]);
    disk.set_full(true);
    wal.ensure_room(1, 60_000).expect_err("the disk is full");
    wal.ensure_room(1, 40_000).expect("as before");
    for n in 0..1000u32 {
        append_sticky(&mut wal, &n.to_le_bytes());
        flush(&mut wal);
    }
    assert_eq!(wal.segment_count(), 2);
}

#[test]
fn a_larger_segment_in_a_real_directory_serves_small_records_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let mut wal = open(media());
    put(&mut wal, &[1; 50_000]);
    wal.ensure_room(5, 500_000).expect("there is space");
    wal.ensure_room(1, 1000).expect("the larger one serves too");
    let before = wal.disk_bytes();
    (0..5).for_each(|n| put(&mut wal, &[n; 50_000]));
    assert_eq!(wal.segment_count(), 2);
    assert!(wal.disk_bytes() > before + 500_000);
    drop(wal);
    assert_eq!(open(media()).records().count(), 6);
}

/// Names the directory to the test that runs within [`on_a_small_disk`].
const SMALL_DISK: &str = "RAFTKV_SMALL_DISK";

/// Runs the ignored test of this name with a file system of its own, of so many bytes. Where users
/// may not mount one, says so and does nothing.
fn on_a_small_disk(test: &str, size_bytes: u64) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = "mount -t tmpfs -o size=$1 tmpfs \"$2\" || exit 99; \
                  exec \"$3\" --exact \"$4\" --ignored --nocapture";
    let itself = std::env::current_exe().expect("the path of this program");
    let ran = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(size_bytes.to_string())
        .args([directory.path(), &itself])
        .arg(test)
        .env(SMALL_DISK, directory.path())
        .output();
    match ran {
        Ok(ran) if ran.status.success() => {}
        Ok(ran) if String::from_utf8_lossy(&ran.stdout).contains("running 1 test") => {
            panic!("{}", String::from_utf8_lossy(&ran.stderr));
        }
        _ => eprintln!("no file system can be mounted here: {test} was not run"),
    }
}

#[test]
fn a_small_real_disk_runs_full_and_heals() {
    on_a_small_disk("a_small_real_disk_runs_full_and_heals_within", 300 << 10);
}

#[test]
#[ignore = "needs a small disk: a_small_real_disk_runs_full_and_heals starts it"]
fn a_small_real_disk_runs_full_and_heals_within() {
    let directory = std::env::var(SMALL_DISK).expect("the small disk");
    let media = || FileMedia::open(&directory).expect("the directory opens");
    let ballast = format!("{directory}/ballast");
    let mut wal = open(media());
    let mut taken = fill(&mut wal);
    assert!((150..260).contains(&taken), "{taken}");
    wal.ensure_room(10, 500_000)
        .expect_err("no room for a larger one either");
    let mut sink = wal
        .media()
        .create("side.tmp")
        .expect("a name takes no space");
    sink.append(&[7; 200_000]).expect_err("the disk is full");
    sink.sync().expect_err("it was not written whole");
    drop(sink);
    wal.media()
        .remove("side.tmp")
        .expect("the removal succeeds");
    for n in 0..200u32 {
        append_sticky(&mut wal, &n.to_le_bytes());
        flush(&mut wal);
    }
    let last = wal.records().last().expect("a record").address;
    drop(wal);

    // A new start on the full disk, first with less space than a segment needs.
    let left_bytes = 300 * 1024 - used_bytes(&directory);
    fs::write(&ballast, vec![1; left_bytes as usize]).expect("the rest of the disk");
    let mut wal = open(media());
    assert_eq!(
        wal.records().filter(|record| record.kind == RECORD).count(),
        taken
    );
    assert_eq!(fill(&mut wal), 0);
    wal.purge(last).expect("the purge succeeds");
    wal.retry_prepare();
    let more = fill(&mut wal);
    assert!(more > 30, "purging makes room: {more}");
    taken = wal.records().filter(|record| record.kind == RECORD).count();
    fs::remove_file(&ballast).expect("the ballast goes");
    drop(wal);
    let wal = open(media());
    assert_eq!(
        wal.records().filter(|record| record.kind == RECORD).count(),
        taken
    );
}

/// What the files of this directory take.
fn used_bytes(directory: &str) -> u64 {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    let sizes = entries.map(|entry| entry.expect("an entry").metadata().expect("a size").len());
    sizes.sum()
}

#[test]
fn the_memory_of_what_was_read_is_given_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = FileMedia::open(directory.path()).expect("the directory opens");
    let (wal, _) = five_segments(media);
    let resident_kib = || {
        let maps = fs::read_to_string("/proc/self/smaps").expect("the list of maps");
        let path = directory.path().to_str().expect("a plain path");
        let ours = maps.split("VmFlags").filter(|map| map.contains(path));
        let sizes = ours.map(|map| {
            let (_, rest) = map.split_once("\nRss:").expect("its resident size");
            let number = rest.split_whitespace().next().expect("a number");
            number.parse::<u64>().expect("a number")
        });
        sizes.sum::<u64>()
    };
    assert_eq!(bodies(&wal).len(), 6);
    assert!(resident_kib() > 200);
    wal.release();
    assert!(resident_kib() <= 128, "{}", resident_kib());
    assert_eq!(bodies(&wal).len(), 6);
}
