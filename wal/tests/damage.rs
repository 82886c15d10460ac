//! What changed bytes lead to: a clean prefix, or a refusal that names the place. Never an invented
//! record, and never less than the log itself proves to have been durable.

mod support;

use raftkv_wal::{Error, MemoryMedia, Operation, Options, Wal};
use support::*;

/// A log of a few small batches, the last of them proven by a mark when `marked`.
fn small_log(marked: bool) -> (MemoryMedia, Vec<Vec<u8>>) {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    append(&mut wal, b"a");
    append_sticky(&mut wal, b"term 1");
    flush(&mut wal);
    put(&mut wal, b"");
    append(&mut wal, &[0xee; 100]);
    append(&mut wal, b"with padding");
    flush(&mut wal);
    put(&mut wal, b"the last batch");
    if marked {
        wal.mark().expect("the mark succeeds");
    }
    let all = bodies(&wal);
    (disk, all)
}

/// Where the bytes end that are not zero.
fn used_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .expect("something was written")
        + 1
}

/// The offset at which a log says that it is damaged.
fn damaged_at(error: &Error) -> u64 {
    let Error::Damaged { offset, .. } = error else {
        panic!("expected damage, got: {error}")
    };
    *offset
}

/// A disk with one segment of these bytes.
fn disk_of(bytes: Vec<u8>) -> MemoryMedia {
    let disk = MemoryMedia::new();
    disk.set_contents(FIRST, bytes);
    disk
}

#[test]
fn a_flipped_bit_anywhere_in_a_proven_log_is_reported_and_nothing_is_changed() {
    let (disk, all) = small_log(true);
    let sound = disk.contents(FIRST).expect("the segment");
    // The mark itself is the last batch: unproven, and nobody misses it.
    let mark_at = used_bytes(&sound).next_multiple_of(8) - 32;
    for at in 0..mark_at {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            let disk = disk_of(bytes.clone());
            let error = refusal(&disk);
            assert!(damaged_at(&error) <= at as u64, "byte {at}: {error}");
            assert_eq!(disk.contents(FIRST), Some(bytes), "byte {at} was touched");
        }
    }
    for at in mark_at..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        let disk = disk_of(bytes);
        assert_eq!(bodies(&open(disk.clone())), all, "byte {at}");
        if at % 64 == 0 {
            assert_eq!(bodies(&open(disk)), all, "byte {at}, opened again");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_unproven_last_batch_loses_that_batch_and_no_more() {
    let (disk, all) = small_log(false);
    let sound = disk.contents(FIRST).expect("the segment");
    let end = used_bytes(&sound).next_multiple_of(8);
    let last_batch_at = end - 32 - 32;
    for at in last_batch_at..end {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            let (wal, recovery) = try_open(disk_of(bytes)).expect("a torn tail is cut");
            assert_eq!(bodies(&wal), all[..all.len() - 1], "byte {at}");
            assert_eq!(recovery.cut.expect("a cut").offset, last_batch_at as u64);
        }
    }
    for at in 0..last_batch_at {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        damaged_at(&refusal(&disk_of(bytes)));
    }
}

#[test]
fn a_log_that_ends_at_any_byte_is_a_prefix_of_whole_batches_and_opens_the_same_again() {
    let (disk, all) = small_log(true);
    let sound = disk.contents(FIRST).expect("the segment");
    let batches = [0, 2, 3, 5, 6];
    let mut longest = 0;
    for cut in 0..=used_bytes(&sound) {
        let mut bytes = sound.clone();
        bytes[cut..].fill(0);
        let disk = disk_of(bytes);
        let Ok((wal, _)) = try_open(disk.clone()) else {
            assert!(
                cut < 128 + 32,
                "what lies behind the head is a torn tail, not damage"
            );
            continue;
        };
        let found = bodies(&wal);
        assert_eq!(found, all[..found.len()], "cut at {cut}");
        assert!(
            batches.contains(&found.len()),
            "half a batch came back: {} records",
            found.len()
        );
        assert!(found.len() >= longest, "a longer file gave fewer records");
        longest = found.len();
        drop(wal);
        let (wal, recovery) = try_open(disk).expect("it opens again");
        assert_eq!((bodies(&wal), recovery.cut), (found, None));
    }
    assert_eq!(longest, all.len());
}

#[test]
fn a_file_of_another_length_is_refused() {
    let (disk, _) = small_log(true);
    let sound = disk.contents(FIRST).expect("the segment");
    for len in (0..=used_bytes(&sound)).chain([sound.len() - 1, sound.len() + 1]) {
        let mut bytes = sound.clone();
        bytes.resize(len, 0);
        let disk = disk_of(bytes);
        damaged_at(&refusal(&disk));
        assert_eq!(disk.contents(FIRST).expect("the segment").len(), len);
    }
}

#[test]
fn a_zeroed_sector_is_damage_unless_it_took_every_later_trailer_too() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..40).for_each(|n| put(&mut wal, &[n; 200]));
    drop(wal);
    let sound = disk.contents(FIRST).expect("the segment");
    let (first_batch_at, batch_bytes) = (160, 16 + 200 + 32);
    let used = first_batch_at + 40 * batch_bytes;
    let last_trailer_at = used - 32;
    for from in (0..used).step_by(512) {
        let mut bytes = sound.clone();
        bytes[from..from + 512].fill(0);
        let opened = try_open(disk_of(bytes));
        if from + 512 <= last_trailer_at {
            let error = opened
                .map(drop)
                .expect_err("a later trailer proves the sector");
            assert!(damaged_at(&error) < from as u64 + 512, "{error}");
        } else {
            let (wal, _) = opened.expect("nothing proves what is gone");
            assert_eq!(wal.records().count(), (from - first_batch_at) / batch_bytes);
        }
    }
}

#[test]
fn a_flipped_bit_in_a_finished_segment_is_damage_wherever_records_are() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..14).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    let sound = disk.contents(FIRST).expect("the segment");
    assert!(disk.contents(SECOND).is_some());
    for at in (0..used_bytes(&sound)).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x80;
        disk.set_contents(FIRST, bytes);
        let error = refusal(&disk);
        assert!(damaged_at(&error) <= at as u64);
        assert!(error.to_string().starts_with(FIRST), "{error}");
    }
}

#[test]
fn a_finished_segment_that_lost_its_end_is_damage() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..14).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    let mut bytes = disk.contents(FIRST).expect("the segment");
    let used = used_bytes(&bytes);
    // Whole batches, from the last one backwards: what is left is a valid, shorter segment.
    bytes[used - 5048..].fill(0);
    disk.set_contents(FIRST, bytes);
    damaged_at(&refusal(&disk));
}

#[test]
fn a_head_that_is_not_whole_is_damage_because_it_was_durable_before_it_was_named() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    append_sticky(&mut wal, b"term 9");
    (0..14).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    let sound = disk.contents(SECOND).expect("the segment");
    for at in 0..128 + 24 + 32 {
        let mut bytes = sound.clone();
        bytes[at..].fill(0);
        disk.set_contents(SECOND, bytes);
        assert!(refusal(&disk).to_string().starts_with(SECOND));
    }
}

#[test]
fn a_missing_segment_is_named() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..30).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    disk.delete(SECOND);
    let error = refusal(&disk);
    assert!(matches!(error, Error::Missing { .. }));
    assert!(error.to_string().starts_with(SECOND), "{error}");
}

#[test]
fn segments_that_changed_places_are_refused() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..14).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    let (first, second) = (disk.contents(FIRST), disk.contents(SECOND));
    disk.set_contents(FIRST, second.expect("the second segment"));
    disk.set_contents(SECOND, first.expect("the first segment"));
    assert_eq!(damaged_at(&refusal(&disk)), 56);
}

#[test]
fn an_older_version_of_a_finished_segment_is_refused() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"early");
    let old = disk.contents(FIRST).expect("the segment");
    (0..14).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    disk.set_contents(FIRST, old);
    damaged_at(&refusal(&disk));
}

#[test]
fn the_log_of_another_owner_is_refused_and_both_are_named() {
    let (disk, _) = small_log(true);
    let options = Options {
        owner: [0xab; 40],
        ..options()
    };
    let error = Wal::open(disk, options)
        .map(drop)
        .expect_err("a foreign log");
    assert!(matches!(error, Error::Foreign { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&"07".repeat(40)) && text.contains(&"ab".repeat(40)),
        "{text}"
    );
}

#[test]
fn a_newer_format_is_refused_by_its_number_whatever_follows() {
    let (disk, _) = small_log(true);
    let mut bytes = disk.contents(FIRST).expect("the segment");
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes[16..].fill(0x55);
    let error = refusal(&disk_of(bytes));
    assert!(
        matches!(
            error,
            Error::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_length_beyond_the_segment_is_not_believed() {
    let (disk, all) = small_log(false);
    let mut bytes = disk.contents(FIRST).expect("the segment");
    let end = used_bytes(&bytes).next_multiple_of(8);
    for len in [u32::MAX, u32::MAX - 7, 65536, 65536 - end as u32] {
        bytes[end..end + 4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(bodies(&open(disk_of(bytes.clone()))), all);
    }
}

#[test]
fn a_hole_is_never_jumped() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"durable");
    let from = used_bytes(&disk.contents(FIRST).expect("the segment")).next_multiple_of(8);
    for body in [b"never arrived", b"arrived alone"] {
        append(&mut wal, body);
        wal.write().expect("the write succeeds");
    }
    drop(wal);
    let mut bytes = disk.contents(FIRST).expect("the segment");
    bytes[from..from + 64].fill(0);
    disk.set_contents(FIRST, bytes);
    let (wal, recovery) = try_open(disk).expect("both were never durable");
    assert_eq!(bodies(&wal), [b"durable"]);
    let cut = recovery.cut.expect("a cut");
    assert_eq!((cut.offset, cut.bytes), (from as u64, 128));
}

#[test]
fn what_was_cut_is_zeroed_and_does_not_return_behind_a_new_record() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"durable");
    let from = used_bytes(&disk.contents(FIRST).expect("the segment")).next_multiple_of(8);
    for body in [b"lost one", b"lost two"] {
        append(&mut wal, body);
        wal.write().expect("the write succeeds");
    }
    drop(wal);
    let ghosts = disk.contents(FIRST).expect("the segment");
    let mut bytes = ghosts.clone();
    bytes[from] ^= 1;
    disk.set_contents(FIRST, bytes);
    let mut wal = open(disk.clone());
    let zeroed = disk.contents(FIRST).expect("the segment");
    assert!(zeroed[from..].iter().all(|&byte| byte == 0));
    put(&mut wal, b"new! one");
    drop(wal);

    // Even if the disk brought the old bytes back, they do not follow the new record.
    let mut bytes = disk.contents(FIRST).expect("the segment");
    let new_end = used_bytes(&bytes).next_multiple_of(8);
    bytes[new_end..].copy_from_slice(&ghosts[new_end..]);
    assert!(bytes[new_end..].iter().any(|&byte| byte != 0));
    disk.set_contents(FIRST, bytes);
    assert_eq!(
        bodies(&open(disk)),
        [b"durable".to_vec(), b"new! one".to_vec()]
    );
}

#[test]
fn batches_of_another_segment_or_another_log_do_not_continue_this_one() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..13).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    let other = MemoryMedia::new();
    let foreign = Options {
        owner: [8; 40],
        ..options()
    };
    let (mut wal, _) = Wal::open(other.clone(), foreign).expect("the log opens");
    (0..5).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    let last = disk.contents(SECOND).expect("the segment");
    let end = used_bytes(&last).next_multiple_of(8);
    for stale in [disk.contents(FIRST), other.contents(FIRST)] {
        let stale = stale.expect("the segment");
        for from in [128, end] {
            let mut bytes = last.clone();
            let len = 12000.min(stale.len() - from);
            bytes[end..end + len].copy_from_slice(&stale[from..from + len]);
            disk.set_contents(SECOND, bytes);
            assert_eq!(open(disk.clone()).records().count(), 13);
        }
    }
}

#[test]
fn a_batch_that_was_written_to_another_place_is_damage_where_it_lies_on_proven_ones() {
    let (disk, all) = small_log(true);
    let sound = disk.contents(FIRST).expect("the segment");
    let mark_at = used_bytes(&sound).next_multiple_of(8) - 32;
    for from in [160, mark_at - 64] {
        for to in (0..=mark_at - 64).step_by(8).filter(|&to| to != from) {
            let mut bytes = sound.clone();
            bytes.copy_within(from..from + 64, to);
            let error = refusal(&disk_of(bytes));
            assert!(
                damaged_at(&error) < to as u64 + 64,
                "{from} to {to}: {error}"
            );
        }
    }
    // Behind the end it stands in nobody's place, and goes.
    let mut bytes = sound.clone();
    bytes.copy_within(160..mark_at, mark_at + 32);
    assert_eq!(bodies(&open(disk_of(bytes))), all);
}

#[test]
fn a_segment_read_in_the_place_of_another_file_of_the_same_name_is_refused() {
    let (disk, _) = small_log(true);
    let (other, _) = small_log(true);
    let mut wal = open(other.clone());
    (0..14).for_each(|n| put(&mut wal, &[n; 5000]));
    drop(wal);
    // The successor of a longer log: it knows how its own predecessor ended.
    let second = other.contents(SECOND).expect("the segment");
    disk.set_contents(SECOND, second);
    damaged_at(&refusal(&disk));
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_nothing_is_changed() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    (0..30).for_each(|n| put(&mut wal, &[n; 5000]));
    append(&mut wal, b"torn");
    wal.write().expect("the write succeeds");
    drop(wal);
    let names = disk.names();
    let bytes: Vec<_> = names.iter().map(|name| disk.contents(name)).collect();
    for (after, name) in [FIRST, SECOND, "0000000003.wal"].iter().enumerate() {
        disk.fail(Operation::Open, after as u64);
        let error = refusal(&disk);
        assert!(matches!(error, Error::Io { doing: "open", .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let now: Vec<_> = names.iter().map(|name| disk.contents(name)).collect();
        assert!(now == bytes && disk.names() == names, "{name}");
    }
    assert_eq!(open(disk).records().count(), 31);
}

/// These tests find the bugs that they exist to find.
#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;

    #[test]
    fn what_changed_bytes_would_show_is_shown() {
        let tests: [(&str, fn()); 5] = [
            ("tail_not_zeroed", || {
                what_was_cut_is_zeroed_and_does_not_return_behind_a_new_record();
            }),
            ("damage_cut_as_torn", || {
                a_flipped_bit_anywhere_in_a_proven_log_is_reported_and_nothing_is_changed();
            }),
            ("damage_cut_as_torn", || {
                a_zeroed_sector_is_damage_unless_it_took_every_later_trailer_too();
            }),
            ("record_crc_not_chained", || {
                what_was_cut_is_zeroed_and_does_not_return_behind_a_new_record();
            }),
            ("record_crc_not_seeded", || {
                batches_of_another_segment_or_another_log_do_not_continue_this_one();
            }),
        ];
        for (bug, test) in tests {
            assert_found(bug, test);
        }
    }
}
