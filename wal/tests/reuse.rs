//! A segment in the place of a retired one: what the earlier one left there is never read.

mod support;

use raftkv_wal::{Error, FileMedia, Media, MemoryMedia, Wal, is_leftover};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::*;

/// So many records of the same size fill a segment.
const PER_SEGMENT: u8 = 10;

/// Record `n`, of the same size as all others, so that each lies where an earlier one lay.
fn body(n: u8) -> Vec<u8> {
    vec![n; 6000]
}

/// Fills two segments and a bit, retires the two, and goes on into the place of one. `durable` is
/// the last record that was synced.
fn reuse<M: Media>(wal: &mut Wal<M>, durable: &mut u8) -> Result<(), Error> {
    while wal.segment_count() < 3 {
        step(wal, *durable + 1)?;
        *durable += 1;
    }
    let kept = wal.records().last().expect("there are records").address;
    assert_eq!(wal.purge(kept)?, 2);
    for _ in 0..PER_SEGMENT + 3 {
        step(wal, *durable + 1)?;
        *durable += 1;
    }
    Ok(())
}

fn reused<M: Media>(wal: &mut Wal<M>) -> u8 {
    let mut durable = 0;
    reuse(wal, &mut durable).expect("nothing fails");
    durable
}

fn step<M: Media>(wal: &mut Wal<M>, n: u8) -> Result<(), Error> {
    try_append(wal, &body(n))?;
    wal.write()?;
    wal.sync()
}

fn is_a_run(found: &[Vec<u8>]) -> bool {
    let starts = found.first().map_or(1, |first| first[0]);
    (starts..).zip(found).all(|(n, found)| *found == body(n))
}

fn newest(disk: &MemoryMedia) -> String {
    let names = disk.names();
    let newest = names.iter().rfind(|name| name.ends_with(".wal"));
    newest.expect("a segment").clone()
}

#[test]
fn records_of_an_earlier_segment_never_join() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    let last = reused(&mut wal);
    drop(wal);
    let segment = disk.contents(&newest(&disk)).expect("it is there");
    let written = disk.written(&newest(&disk)).expect("it is there");
    assert!(
        segment[written.len()..].iter().any(|&byte| byte != 0),
        "earlier records lie behind the newest"
    );
    let (wal, recovery) = try_open(disk).expect("the log opens");
    assert_eq!(recovery.cut, None, "what lies there is not torn");
    let found = bodies(&wal);
    assert_eq!(found.last(), Some(&body(last)));
    assert!(is_a_run(&found));
}

#[test]
fn what_a_power_cut_tears_in_a_reused_segment_is_cut() {
    for seed in 0..200 {
        let disk = MemoryMedia::new();
        let mut wal = open(disk.clone());
        let last = reused(&mut wal);
        append(&mut wal, &body(last + 1));
        append(&mut wal, &body(last + 2));
        wal.write().expect("the write succeeds");
        disk.crash(&mut random(seed));
        let found = bodies(&open(disk.clone()));
        assert!(is_a_run(&found), "seed {seed}");
        let end = found.last().expect("there are records")[0];
        assert!(
            [last, last + 2].contains(&end),
            "a batch survives whole or not at all"
        );
        let (_, recovery) = try_open(disk).expect("it opens again");
        assert_eq!(recovery.cut, None, "nothing of it is left");
    }
}

#[test]
fn a_power_cut_after_any_operation_of_reuse_loses_nothing() {
    for operations in 0.. {
        let mut done = false;
        for seed in 0..4 {
            let disk = MemoryMedia::new();
            disk.stop_after(operations);
            let mut durable = 0;
            let opened = try_open(disk.clone());
            let ended = opened.and_then(|(mut wal, _)| reuse(&mut wal, &mut durable));
            done = disk.stopped().is_none();
            assert_eq!(done, ended.is_ok());
            disk.crash(&mut random(seed * 1000 + operations));
            let found = bodies(&open(disk));
            assert!(is_a_run(&found), "stopped after {operations}, seed {seed}");
            let last = found.last().map_or(0, |last| last[0]);
            assert!(
                (durable..=durable + 1).contains(&last),
                "stopped after {operations}, seed {seed}: {durable} were durable, {last} is there"
            );
        }
        if done {
            return;
        }
    }
}

#[test]
fn damage_behind_the_end_of_a_reused_segment_means_nothing_and_before_it_is_found() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    reused(&mut wal);
    wal.mark().expect("the mark is written");
    let sound = bodies(&wal);
    drop(wal);
    let name = newest(&disk);
    let segment = disk.contents(&name).expect("it is there");
    let mark = 32;
    let end = disk.written(&name).expect("it is there").len();
    for at in (0..segment.len()).step_by(97) {
        let mut bytes = segment.clone();
        bytes[at] ^= 4;
        disk.set_contents(&name, bytes);
        match try_open(disk.clone()) {
            Ok((wal, _)) => {
                assert!(at + mark >= end, "byte {at} is damaged and was not found");
                assert_eq!(bodies(&wal), sound);
            }
            Err(error) => assert!(
                at < end && matches!(error, Error::Damaged { .. }),
                "byte {at}: {error}"
            ),
        }
        disk.set_contents(&name, segment.clone());
    }
}

#[test]
fn a_segment_larger_than_the_others_is_not_kept() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    wal.ensure_room(10, 200_000).expect("a larger one is made");
    for n in 0..4 {
        append(&mut wal, &[n; 50_000]);
    }
    flush(&mut wal);
    while wal.segment_count() < 4 {
        put(&mut wal, &body(1));
    }
    let kept = wal.records().last().expect("there are records").address;
    let before: Vec<usize> = sizes(&disk);
    assert!(before.iter().any(|&bytes| bytes > 65_536), "{before:?}");
    wal.purge(kept).expect("the purge succeeds");
    let after: Vec<usize> = sizes(&disk);
    assert!(after.iter().all(|&bytes| bytes == 65_536), "{after:?}");
    assert!(disk.names().iter().any(|name| is_leftover(name)));
}

fn sizes(disk: &MemoryMedia) -> Vec<usize> {
    let names = disk.names();
    let sizes = names.iter().filter_map(|name| disk.contents(name));
    sizes.map(|bytes| bytes.len()).collect()
}

#[test]
fn a_real_directory_writes_its_segments_where_earlier_ones_were() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let mut wal = open(media());
    // As long as this is open, no other file gets its number.
    let first = File::open(directory.path().join(FIRST)).expect("it is there");
    let first = (first.metadata().expect("it has some").ino(), first);
    let last = reused(&mut wal);
    while wal.segment_count() < 4 {
        step(&mut wal, last).expect("nothing fails");
    }
    let inode = |name: &String| {
        let metadata = fs::metadata(directory.path().join(name));
        metadata.expect("it is there").ino()
    };
    let mut segments = names(directory.path());
    segments.retain(|name| name.ends_with(".wal"));
    let again = segments.iter().filter(|name| inode(name) == first.0);
    assert_eq!(again.count(), 1, "the first segment's file is a later one");
    let found = bodies(&wal);
    drop(wal);
    assert_eq!(bodies(&open(media())), found);
}

#[test]
fn a_start_removes_retired_segments() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let media = || FileMedia::open(directory.path()).expect("the directory opens");
    let retired = || {
        let names = names(directory.path());
        let retired = |name: &&String| is_leftover(name) && *name != "next.tmp";
        names.iter().filter(retired).count()
    };
    let mut wal = open(media());
    (0..3 * PER_SEGMENT).for_each(|n| put(&mut wal, &body(n)));
    let last = wal.records().last().expect("there are records").address;
    assert!(wal.purge(last).expect("the purge succeeds") > 1);
    assert!(retired() > 0);
    let found = bodies(&wal);
    drop(wal);
    assert_eq!(bodies(&open(media())), found);
    assert_eq!(retired(), 0);
}

fn names(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).expect("a directory");
    let names = files.map(|file| file.expect("a file").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}
