//! What survives a killed process, a power cut and a failing disk.

mod support;

use raftkv_wal::{Error, Media, MemoryMedia, Operation, Wal};
use support::*;

/// Enough records for two rotations, with a sticky one now and then, all durable one by one.
/// Returns what was durable when the medium failed, or all of it.
fn work(disk: &MemoryMedia) -> Vec<Vec<u8>> {
    let mut durable = Vec::new();
    let Ok((mut wal, _)) = try_open(disk.clone()) else {
        return durable;
    };
    for n in 0..30u8 {
        let body = if n % 4 == 0 {
            vec![n; 8]
        } else {
            vec![n; 6000]
        };
        let appended = match n % 4 {
            0 => wal.append_sticky(STATE, body.len(), |to| to.extend_from_slice(&body)),
            _ => try_append(&mut wal, &body),
        };
        if appended
            .and_then(|_| wal.write())
            .and_then(|()| wal.sync())
            .is_err()
        {
            return durable;
        }
        durable.push(body);
    }
    durable
}

#[test]
fn a_power_cut_after_any_operation_keeps_what_was_durable() {
    let whole = work(&MemoryMedia::new());
    assert_eq!(whole.len(), 30);
    for operations in 0.. {
        for seed in 0..8 {
            let disk = MemoryMedia::new();
            disk.stop_after(operations);
            let durable = work(&disk);
            if disk.stopped().is_none() {
                assert_eq!(durable, whole);
                assert!(
                    operations > 60,
                    "two rotations and 30 batches have more steps"
                );
                return;
            }
            disk.crash(&mut random(seed * 1000 + operations));
            let found = bodies(&open(disk.clone()));
            assert!(
                found.starts_with(&durable),
                "stopped after {operations}, seed {seed}"
            );
            assert!(
                whole.starts_with(&found),
                "stopped after {operations}, seed {seed}"
            );

            // The log is whole again: it rotates on, and another power cut takes nothing.
            let mut wal = open(disk.clone());
            (0..12).for_each(|n| put(&mut wal, &[n; 6000]));
            disk.crash(&mut random(seed));
            assert_eq!(open(disk).records().count(), found.len() + 12);
        }
    }
}

#[test]
fn a_power_cut_after_any_step_of_recovery_changes_nothing() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"durable");
    for n in 0..5u8 {
        append(&mut wal, &[n; 3000]);
        wal.write().expect("the write succeeds");
    }
    drop(wal);
    let names = disk.names();
    let torn: Vec<u8> = {
        let mut bytes = disk.contents(FIRST).expect("the segment");
        bytes[300] ^= 1;
        bytes
    };
    for seed in 0..200 {
        let disk = MemoryMedia::new();
        for name in &names {
            disk.set_contents(name, torn.clone());
        }
        for operations in 0..3 {
            disk.stop_after(operations);
            assert!(try_open(disk.clone()).is_err());
            disk.crash(&mut random(seed));
        }
        let (wal, _) = try_open(disk.clone()).expect("the log opens");
        assert_eq!(bodies(&wal), [b"durable"], "seed {seed}");
        let (_, recovery) = try_open(disk).expect("the log opens again");
        assert_eq!(recovery.cut, None);
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    append(&mut wal, b"written");
    wal.write().expect("the write succeeds");
    append(&mut wal, b"only in the batch");
    drop(wal);
    assert_eq!(bodies(&open(disk)), [b"written"]);
}

#[test]
fn a_record_that_recovery_accepted_survives_a_power_cut_at_once() {
    for seed in 0..100 {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        append(&mut wal, &[1; 9000]);
        wal.write().expect("the write succeeds");
        drop(wal);
        assert_eq!(open(disk.clone()).records().count(), 1);
        disk.crash(&mut random(seed));
        assert_eq!(open(disk).records().count(), 1, "seed {seed}");
    }
}

#[test]
fn after_a_failed_sync_the_page_cache_is_not_trusted() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"durable");
    append(&mut wal, &[1; 9000]);
    wal.write().expect("the write succeeds");
    disk.fail(Operation::Sync, 0);
    wal.sync().expect_err("the sync fails");
    drop(wal);
    // The disk holds nothing of it, and no later sync would write it: the pages count as clean.
    assert_eq!(open(disk.clone()).records().count(), 2);
    disk.crash(&mut random(1));
    assert_eq!(open(disk).records().count(), 2);
}

#[test]
fn a_failing_step_of_recovery_refuses_the_log_and_the_next_start_repairs() {
    use Operation::{Sync, SyncDirectory, Write};
    for operation in [Write, Sync, SyncDirectory] {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        put(&mut wal, b"durable");
        append(&mut wal, &[1; 9000]);
        wal.write().expect("the write succeeds");
        drop(wal);
        disk.fail(operation, 0);
        let error = refusal(&disk);
        assert!(matches!(error, Error::Io { .. }), "{operation:?}: {error}");
        assert_eq!(open(disk.clone()).records().count(), 2, "{operation:?}");
        disk.crash(&mut random(5));
        assert_eq!(open(disk).records().count(), 2, "{operation:?}");
    }
}

fn assert_poisoned<M: Media>(wal: &mut Wal<M>) {
    let results = [
        try_append(wal, b"x").map(drop),
        wal.append_sticky(STATE, 0, |_| ()).map(drop),
        wal.write(),
        wal.sync(),
        wal.mark(),
    ];
    for result in results {
        let error = result.expect_err("nothing works any more");
        assert!(matches!(&error, Error::Poisoned { .. }), "{error}");
        assert!(error.to_string().contains(FIRST), "{error}");
    }
}

#[test]
fn after_a_failed_sync_every_call_fails_though_the_disk_would_work_again() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    append(&mut wal, b"one");
    wal.write().expect("the write succeeds");
    disk.fail(Operation::Sync, 0);
    assert!(matches!(wal.sync(), Err(Error::Io { doing: "sync", .. })));
    assert_poisoned(&mut wal);
    assert_eq!(bodies(&wal), [b"one"], "what was written can still be read");
}

#[test]
fn after_a_short_write_every_call_fails_and_half_a_batch_is_cut_at_the_next_start() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"one");
    append(&mut wal, &[2; 9000]);
    disk.fail(Operation::Write, 0);
    assert!(matches!(
        wal.write(),
        Err(Error::Io {
            doing: "write to",
            ..
        })
    ));
    assert_poisoned(&mut wal);
    drop(wal);
    let (wal, recovery) = try_open(disk).expect("the log opens");
    assert_eq!(bodies(&wal), [b"one"]);
    assert!(recovery.cut.is_some_and(|cut| cut.bytes > 4000));
}

#[test]
fn every_failing_step_of_a_rotation_but_the_first_poisons() {
    use Operation::{Publish, Sync, SyncDirectory, Write};
    for (operation, after) in [
        (Sync, 0),
        (Sync, 1),
        (Write, 0),
        (Publish, 0),
        (SyncDirectory, 0),
    ] {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        append(&mut wal, &[1; 50_000]);
        wal.write().expect("the write succeeds");
        disk.fail(operation, after);
        let error = try_append(&mut wal, &[2; 50_000]).expect_err("the rotation fails");
        assert!(matches!(error, Error::Io { .. }), "{operation:?}: {error}");
        assert!(
            matches!(wal.sync(), Err(Error::Poisoned { .. })),
            "{operation:?}"
        );
        drop(wal);
        assert_eq!(open(disk).records().count(), 1, "{operation:?}");
    }
}

#[test]
fn a_name_that_the_last_process_could_not_make_durable_is_made_so_at_the_next_start() {
    for seed in 0..50 {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        put(&mut wal, &[1; 50_000]);
        disk.fail(Operation::SyncDirectory, 0);
        try_append(&mut wal, &[2; 50_000]).expect_err("the rotation fails");
        drop(wal);
        // The new segment is there, but so far only in the memory of the machine.
        assert_eq!(disk.names(), [FIRST, SECOND]);
        put(&mut open(disk.clone()), b"acknowledged");
        disk.crash(&mut random(seed));
        assert_eq!(open(disk).records().count(), 2, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room_and_loses_none() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, &[1; 50_000]);
    append(&mut wal, b"already in the batch");
    for _ in 0..3 {
        disk.fail(Operation::Create, 0);
        let error = try_append(&mut wal, &[2; 50_000]).expect_err("the disk is full");
        assert!(matches!(error, Error::Create { .. }));
        assert!(error.to_string().contains(SECOND), "{error}");
        put(&mut wal, b"small ones still fit");
    }
    put(&mut wal, &[2; 50_000]);
    drop(wal);
    let found: Vec<usize> = open(disk)
        .records()
        .map(|record| record.body.len())
        .collect();
    assert_eq!(found, [50_000, 20, 20, 20, 20, 50_000]);
}

#[test]
fn a_full_disk_at_the_first_start_leaves_nothing_behind() {
    let disk = MemoryMedia::new();
    disk.fail(Operation::Create, 0);
    assert!(matches!(refusal(&disk), Error::Create { .. }));
    assert_eq!(open(disk).records().count(), 0);
}

#[test]
fn every_segment_begins_with_the_newest_sticky_record_of_each_kind() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    let mut newest: Vec<(u8, Vec<u8>)> = Vec::new();
    for n in 0..40u8 {
        if n % 9 == 0 {
            append_sticky(&mut wal, &[n; 3]);
            wal.append_sticky(9, 1, |to| to.push(n))
                .expect("there is room");
            newest = vec![(STATE, vec![n; 3]), (9, vec![n])];
        }
        append(&mut wal, &[n; 5000]);
        flush(&mut wal);
        // A log whose older segments are gone begins with the copies.
        let names: Vec<String> = disk
            .names()
            .into_iter()
            .filter(|name| name.ends_with(".wal"))
            .collect();
        let newest_segment = names.last().expect("there is a segment");
        let purged = MemoryMedia::new();
        purged.set_contents(
            newest_segment,
            disk.contents(newest_segment).expect("the segment"),
        );
        let purged = open(purged);
        let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
        for record in purged.records().filter(|record| record.kind != RECORD) {
            found.retain(|(kind, _)| *kind != record.kind);
            found.push((record.kind, record.body.to_vec()));
        }
        found.sort();
        assert_eq!(found, newest, "after record {n}");
    }
}

#[test]
fn a_sticky_record_found_at_opening_is_carried_on() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    append_sticky(&mut wal, b"term 5");
    flush(&mut wal);
    drop(wal);
    for n in 0..3 {
        let mut wal = open(disk.clone());
        (0..15).for_each(|_| put(&mut wal, &[n; 5000]));
    }
    disk.delete(FIRST);
    disk.delete(SECOND);
    let wal = open(disk);
    let first = wal.records().next().expect("a record");
    assert_eq!((first.kind, first.body), (STATE, &b"term 5"[..]));
}

#[test]
fn a_segment_that_was_never_named_is_swept_away() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, &[1; 50_000]);
    disk.fail(Operation::Publish, 0);
    try_append(&mut wal, &[2; 50_000]).expect_err("the rename fails");
    drop(wal);
    assert_eq!(disk.names(), [FIRST, "next.tmp"]);
    let mut wal = open(disk.clone());
    assert_eq!(disk.names(), [FIRST]);
    put(&mut wal, &[2; 50_000]);
    assert_eq!(disk.names(), [FIRST, SECOND]);
}

#[test]
fn a_log_opened_before_a_power_cut_cannot_touch_the_disk_after_it() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"one");
    disk.crash(&mut random(0));
    append(&mut wal, b"from the dead");
    wal.write().expect_err("the machine has restarted");
    assert_eq!(bodies(&open(disk)), [b"one"]);
}

/// These tests find the bugs that they exist to find.
#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;

    #[test]
    fn what_a_crash_would_show_is_shown() {
        let tests: [(&str, fn()); 5] = [
            ("tail_not_zeroed", || {
                a_power_cut_after_any_step_of_recovery_changes_nothing();
            }),
            ("directory_not_synced", || {
                a_power_cut_after_any_operation_keeps_what_was_durable();
            }),
            ("sync_error_retried", || {
                after_a_failed_sync_every_call_fails_though_the_disk_would_work_again();
            }),
            ("page_cache_trusted", || {
                a_record_that_recovery_accepted_survives_a_power_cut_at_once();
            }),
            ("page_cache_trusted", || {
                after_a_failed_sync_the_page_cache_is_not_trusted();
            }),
        ];
        for (bug, test) in tests {
            assert_found(bug, test);
        }
    }
}
