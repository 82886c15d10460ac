//! A sync on another thread, while the log is written on.

mod support;

use raftkv_wal::{Error, FileMedia, MemoryMedia, Operation, SyncDone, SyncJob, Wal};
use std::thread;
use support::*;

fn begin<M: raftkv_wal::Media>(wal: &mut Wal<M>) -> SyncJob {
    let job = wal.begin_sync().expect("the log is sound");
    job.expect("there is something to sync")
}

fn write<M: raftkv_wal::Media>(wal: &mut Wal<M>, body: &[u8]) {
    append(wal, body);
    wal.write().expect("the write succeeds");
}

#[test]
fn it_covers_what_was_written_before_it_began_and_no_more() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    write(&mut wal, b"before");
    let job = begin(&mut wal);
    job.run();
    write(&mut wal, b"meanwhile");
    let unsynced = wal.unsynced_bytes();
    assert!(matches!(wal.poll_sync(), Ok(SyncDone::Yes(Some(_)))));
    assert!(wal.unsynced_bytes() > 0 && wal.unsynced_bytes() < unsynced);
    // Somewhere among these the power cut keeps nothing that was not synced.
    let kept: Vec<usize> = (0..20)
        .map(|seed| {
            let disk = MemoryMedia::new();
            let mut wal = open(disk.clone());
            write(&mut wal, b"before");
            begin(&mut wal).run();
            write(&mut wal, b"meanwhile");
            wal.poll_sync().expect("it succeeded");
            disk.crash(&mut random(seed));
            bodies(&open(disk)).len()
        })
        .collect();
    assert!(kept.contains(&1) && !kept.contains(&0), "{kept:?}");
}

#[test]
fn it_has_not_ended_before_it_is_run() {
    let mut wal = open(MemoryMedia::new());
    assert!(wal.begin_sync().expect("the log is sound").is_none());
    write(&mut wal, b"one");
    let job = begin(&mut wal);
    assert_eq!(wal.poll_sync().expect("nothing failed"), SyncDone::No);
    job.run();
    assert!(matches!(wal.poll_sync(), Ok(SyncDone::Yes(Some(_)))));
    assert!(wal.begin_sync().expect("the log is sound").is_none());
}

#[test]
fn a_rotation_ends_it_first() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    write(&mut wal, &[1; 40_000]);
    let job = begin(&mut wal);
    put(&mut wal, &[2; 40_000]);
    assert_eq!(wal.segment_count(), 2);
    job.run();
    assert_eq!(
        wal.poll_sync().expect("nothing failed"),
        SyncDone::Yes(None)
    );
    disk.crash(&mut random(1));
    assert_eq!(bodies(&open(disk)).len(), 2);
}

#[test]
fn its_failure_ends_the_log() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    write(&mut wal, b"lost");
    disk.fail(Operation::Sync, 0);
    begin(&mut wal).run();
    assert!(matches!(
        wal.poll_sync(),
        Err(Error::Io { doing: "sync", .. })
    ));
    assert!(matches!(wal.poll_sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(wal.begin_sync(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_real_log_is_written_and_rotated_while_another_thread_syncs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let mut wal = open(media());
    for n in 0..60u8 {
        write(&mut wal, &[n; 3000]);
        if let Some(job) = wal.begin_sync().expect("the log is sound") {
            let syncing = thread::spawn(|| job.run());
            write(&mut wal, &[n; 5000]);
            syncing.join().expect("it does not panic");
            assert!(wal.poll_sync().expect("it succeeds") != SyncDone::No);
        }
    }
    wal.sync().expect("the sync succeeds");
    let written = bodies(&wal);
    assert_eq!(written.len(), 120);
    drop(wal);
    assert_eq!(bodies(&open(media())), written);
}
