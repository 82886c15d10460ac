//! What the log promises while nothing breaks, in memory and in a real directory.

mod support;

use raftkv_wal::{Address, Error, FileMedia, MemoryMedia, Options, SEGMENT_BYTES_MAX, Wal};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use support::*;

/// Makes each claim a test on a memory disk and a test on a real directory. `$media()` is the same
/// directory each time.
macro_rules! on_both_media {
    ($(fn $claim:ident($media:ident) $body:block)*) => {
        mod memory {
            use super::*;
            $(#[test]
            fn $claim() {
                let disk = MemoryMedia::new();
                let $media = || disk.clone();
                $body
            })*
        }
        mod file {
            use super::*;
            $(#[test]
            fn $claim() {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let $media = || FileMedia::open(directory.path()).expect("the directory opens");
                $body
            })*
        }
    };
}

on_both_media! {
    fn records_come_back_in_order_after_opening_again(media) {
        let mut wal = open(media());
        append(&mut wal, b"one");
        append(&mut wal, b"");
        flush(&mut wal);
        put(&mut wal, b"three");
        drop(wal);
        assert_eq!(bodies(&open(media())), [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
    }

    fn an_empty_directory_gives_an_empty_log_and_nothing_was_cut(media) {
        for segments in [0, 1] {
            let (wal, recovery) = try_open(media()).expect("the log opens");
            assert_eq!(wal.records().count(), 0);
            assert_eq!((recovery.segments, recovery.records), (segments, 0));
            assert_eq!(recovery.cut, None);
        }
    }

    fn a_record_of_every_length_up_to_a_page_comes_back(media) {
        let bodies_in: Vec<Vec<u8>> = (0..600).chain([4095, 4096, 4097]).map(|len| {
            (0..len).map(|at| (at * 31 + len) as u8).collect()
        }).collect();
        let mut wal = open(media());
        for body in &bodies_in {
            append(&mut wal, body);
        }
        flush(&mut wal);
        assert_eq!(bodies(&wal), bodies_in);
        drop(wal);
        assert_eq!(bodies(&open(media())), bodies_in);
    }

    fn a_written_record_is_read_by_its_address_across_rotations(media) {
        let body = |n: u32| vec![n as u8; 5000 + n as usize];
        let mut wal = open(media());
        let mut addresses: Vec<Address> = Vec::new();
        for n in 0..100 {
            addresses.push(append(&mut wal, &body(n)));
            wal.write().expect("the write succeeds");
            for (n, &address) in (0..).zip(&addresses) {
                assert_eq!(wal.read(address), body(n));
            }
        }
        assert!(addresses.is_sorted());
        flush(&mut wal);
        drop(wal);
        let wal = open(media());
        let found: Vec<Address> = wal.records().map(|record| record.address).collect();
        assert_eq!(found, addresses);
        assert_eq!(wal.read(addresses[99]), body(99));
    }

    fn the_largest_record_fits_and_one_byte_more_is_refused_with_both_numbers(media) {
        let limit = options().body_bytes_max();
        let mut wal = open(media());
        append_sticky(&mut wal, b"a sticky record shares the head");
        append(&mut wal, &vec![1; limit]);
        let error = wal.append(RECORD, limit + 1, |_| unreachable!()).expect_err("too large");
        assert!(matches!(error, Error::TooLarge { .. }));
        let text = error.to_string();
        assert!(text.contains(&(limit + 1).to_string()) && text.contains("65536"), "{text}");
        put(&mut wal, &vec![2; limit]);
        assert_eq!(wal.records().count(), 3);
    }

    fn the_largest_sticky_records_of_all_kinds_leave_room_for_the_largest_record(media) {
        let limit = options().body_bytes_max();
        let mut wal = open(media());
        append_sticky(&mut wal, &[3; 4000]);
        append_sticky(&mut wal, &[4; 4096]);
        let other = |wal: &mut Wal<_>, len| {
            wal.append_sticky(9, len, |to| to.resize(to.len() + len, 5))
        };
        assert!(matches!(other(&mut wal, 4065), Err(Error::TooLarge { .. })));
        other(&mut wal, 4064).expect("just fits");
        append(&mut wal, &vec![1; limit]);
        put(&mut wal, &vec![2; limit]);
        drop(wal);
        assert_eq!(open(media()).records().count(), 5);
    }

    fn a_sticky_record_is_seen_once_while_its_original_is_in_the_log(media) {
        let mut wal = open(media());
        append_sticky(&mut wal, b"term 3");
        for _ in 0..30 {
            append(&mut wal, &[1; 5000]);
        }
        flush(&mut wal);
        drop(wal);
        let wal = open(media());
        assert_eq!(wal.records().filter(|record| record.kind == STATE).count(), 1);
        assert_eq!(wal.records().count(), 31);
    }

    fn a_mark_adds_no_record_and_a_second_one_adds_nothing(media) {
        let mut wal = open(media());
        put(&mut wal, b"one");
        for _ in 0..10_000 {
            wal.mark().expect("the mark succeeds");
        }
        append(&mut wal, b"two");
        wal.mark().expect("the mark succeeds");
        drop(wal);
        let (wal, recovery) = try_open(media()).expect("the log opens");
        assert_eq!(bodies(&wal), [b"one", b"two"]);
        assert_eq!(recovery.segments, 1);
    }

    fn segments_of_another_size_may_follow_each_other(media) {
        let larger = Options { segment_bytes: 1 << 20, ..options() };
        let mut wal = open(media());
        put(&mut wal, b"small");
        drop(wal);
        let (mut wal, _) = Wal::open(media(), larger.clone()).expect("the log opens");
        put(&mut wal, &[1; 900_000]);
        drop(wal);
        let mut wal = open(media());
        put(&mut wal, b"small again");
        drop(wal);
        let (wal, _) = Wal::open(media(), larger).expect("the log opens");
        let lengths: Vec<usize> = wal.records().map(|record| record.body.len()).collect();
        assert_eq!(lengths, [5, 900_000, 11]);
    }

    fn a_segment_size_out_of_bounds_is_refused(media) {
        for segment_bytes in [0, 4096, SEGMENT_BYTES_MAX + 4096, 100_000, u64::MAX] {
            let error = Wal::open(media(), Options { segment_bytes, ..options() }).map(drop);
            let error = error.expect_err("the size is refused");
            assert!(matches!(error, Error::SegmentSize { .. }));
            assert!(error.to_string().contains(&segment_bytes.to_string()), "{error}");
        }
    }
}

#[test]
fn a_segment_is_filled_to_its_last_byte_and_never_beyond() {
    let mut filled = false;
    for second_len in 8200..8400 {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        put(&mut wal, &[1; 57_000]);
        put(&mut wal, &vec![2; second_len]);
        let segment = disk.contents(FIRST).expect("the segment");
        filled |= disk.names().len() == 1 && segment[65536 - 32..] != [0; 32];
        drop(wal);
        assert_eq!(open(disk).records().count(), 2);
    }
    assert!(filled, "one of the lengths ends with the segment");
}

#[test]
fn a_mark_at_the_end_of_a_full_segment_begins_the_next_one() {
    for second_len in 8200..8400 {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        put(&mut wal, &[1; 57_000]);
        put(&mut wal, &vec![2; second_len]);
        wal.mark().expect("the mark succeeds");
        drop(wal);
        assert_eq!(open(disk).records().count(), 2);
    }
}

#[test]
#[should_panic(expected = "a body of 3 bytes was announced, 4 came")]
fn a_body_of_another_length_than_announced_is_a_bug() {
    let _ = open(MemoryMedia::new()).append(RECORD, 3, |to| to.extend_from_slice(b"four"));
}

#[test]
#[should_panic(expected = "kind 0 is the log's own")]
fn the_kind_of_the_trailer_is_not_for_callers() {
    let _ = open(MemoryMedia::new()).append(0, 0, |_| ());
}

#[test]
#[should_panic(expected = "is not in the log")]
fn a_record_is_not_read_before_it_is_written() {
    let mut wal = open(MemoryMedia::new());
    let address = append(&mut wal, b"still in the batch");
    wal.read(address);
}

#[test]
fn a_segment_file_is_never_sparse_not_even_the_one_prepared_ahead() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut wal = open(FileMedia::open(directory.path()).expect("the directory opens"));
    (0..30).for_each(|_| put(&mut wal, &[1; 5000]));
    // Dropping the log waits for the segment that is being prepared.
    drop(wal);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path()).expect("the directory can be read") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("its metadata");
        assert_eq!(metadata.len(), 65536);
        assert!(
            metadata.blocks() * 512 >= 65536,
            "{:?} has holes",
            entry.file_name()
        );
        names.push(entry.file_name().into_string().expect("a plain name"));
    }
    names.sort();
    assert_eq!(names, [FIRST, SECOND, "0000000003.wal", "next.tmp"]);
}

#[test]
fn only_the_segment_that_is_written_keeps_a_descriptor() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let open_segments = || {
        let descriptors = fs::read_dir("/proc/self/fd").expect("the list of descriptors");
        // Other tests open and close theirs meanwhile.
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut ours: Vec<PathBuf> = targets
            .filter(|path| path.starts_with(directory.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
            .collect();
        ours.sort();
        ours
    };
    let body = |n: u8| vec![n; 50_000];
    let mut wal = open(media());
    for n in 0..5 {
        put(&mut wal, &body(n));
    }
    let last = vec![directory.path().join("0000000005.wal")];
    assert_eq!(open_segments(), last);
    assert_eq!(bodies(&wal), [0, 1, 2, 3, 4].map(body));
    drop(wal);
    let wal = open(media());
    assert_eq!(open_segments(), last);
    assert_eq!(bodies(&wal), [0, 1, 2, 3, 4].map(body));
}

#[test]
fn a_segment_that_cannot_be_made_names_the_cure_for_its_cause() {
    let cures = [
        (Errno::NOSPC, "free some space"),
        (Errno::DQUOT, "free some space"),
        (Errno::MFILE, "ulimit -n"),
        (Errno::NFILE, "fs.file-max"),
        (Errno::ACCESS, "remove the cause"),
    ];
    for (errno, cure) in cures {
        let error = Error::Create {
            file: SECOND.to_owned(),
            source: errno.into(),
        };
        let text = error.to_string();
        for (_, other) in cures {
            assert_eq!(text.contains(other), other == cure, "{text}");
        }
    }
}

#[test]
fn a_half_prepared_segment_of_a_killed_process_is_made_anew() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let leftover = directory.path().join("next.tmp");
    for n in 1..3 {
        fs::write(&leftover, vec![0xff; 70_000]).expect("the file is written");
        let mut wal = open(media());
        (0..30).for_each(|_| put(&mut wal, &[1; 5000]));
        drop(wal);
        assert_eq!(open(media()).records().count(), n * 30);
    }
}

#[test]
fn damage_in_a_real_file_is_reported_with_its_path() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let mut wal = open(media());
    (0..3).for_each(|_| put(&mut wal, b"durable"));
    drop(wal);
    let path = directory.path().join(FIRST);
    let mut bytes = fs::read(&path).expect("the segment");
    bytes[180] ^= 1;
    fs::write(&path, &bytes).expect("the damage is done");
    for len in [bytes.len(), 1000, 0] {
        bytes.truncate(len);
        fs::write(&path, &bytes).expect("the damage is done");
        let error = try_open(media()).map(drop).expect_err("damage");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains(path.to_str().expect("a plain path")),
            "{error}"
        );
        assert_eq!(
            fs::read(&path).expect("the segment"),
            bytes,
            "nothing was touched"
        );
    }
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let disk = MemoryMedia::new();
    put(&mut open(disk.clone()), b"one");
    let strange = [
        "1.wal",
        "0000000009.wal.broken",
        "wal",
        "00000000x1.wal",
        "9999999999.wal",
    ];
    for name in strange {
        disk.set_contents(name, b"not a segment".to_vec());
    }
    assert_eq!(bodies(&open(disk.clone())), [b"one"]);
    for name in strange {
        assert_eq!(disk.contents(name), Some(b"not a segment".to_vec()));
    }
}
