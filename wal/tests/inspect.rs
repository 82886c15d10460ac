//! Looking at a log says what opening it would, and changes nothing.

mod support;

use raftkv_wal::{Address, Error, MemoryMedia, SegmentReport, inspect};
use support::*;

type Seen = Vec<(Address, u8, Vec<u8>)>;

fn look(disk: &MemoryMedia) -> (Seen, Vec<SegmentReport>) {
    let mut seen = Vec::new();
    let before = disk.writes();
    let reports = inspect(&mut disk.clone(), &OWNER, |record| {
        seen.push((record.address, record.kind, record.body.to_vec()));
    });
    assert_eq!(disk.writes(), before, "looking writes nothing");
    (seen, reports.expect("a directory that can be listed"))
}

fn opened(disk: &MemoryMedia) -> Seen {
    let wal = open(disk.clone());
    let records = wal.records();
    records
        .map(|record| (record.address, record.kind, record.body.to_vec()))
        .collect()
}

/// Three segments, all but the last mark proven.
fn three_segments() -> MemoryMedia {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    append_sticky(&mut wal, b"term 1");
    for byte in 0..5 {
        put(&mut wal, &[byte; 25_000]);
    }
    wal.mark().expect("the mark succeeds");
    assert_eq!(wal.segment_count(), 3);
    disk
}

fn first_error(reports: Vec<SegmentReport>) -> Option<Error> {
    reports.into_iter().find_map(|report| report.state.err())
}

#[test]
fn it_shows_the_records_that_opening_shows() {
    let disk = three_segments();
    let (seen, reports) = look(&disk);
    assert_eq!(seen, opened(&disk));
    assert_eq!(reports.len(), 3);
    for report in reports {
        assert_eq!(report.state.expect("intact").torn_bytes, 0);
    }
}

#[test]
fn its_judgement_is_that_of_opening_wherever_a_bit_flips() {
    let sound = three_segments();
    for name in sound.names() {
        let bytes = sound.contents(&name).expect("a file");
        for at in (0..bytes.len()).step_by(if name == FIRST { 251 } else { 997 }) {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            let disk = three_segments();
            disk.set_contents(&name, changed.clone());
            let (seen, reports) = look(&disk);
            assert_eq!(disk.contents(&name), Some(changed), "nothing is changed");
            let expected = try_open(disk.clone()).err().map(|error| error.to_string());
            let found = first_error(reports).map(|error| error.to_string());
            assert_eq!(found, expected, "{name} byte {at}");
            if found.is_none() {
                assert_eq!(seen, opened(&disk), "{name} byte {at}");
            }
        }
    }
}

#[test]
fn a_torn_tail_is_told_and_left_where_it_is() {
    let disk = MemoryMedia::new();
    let mut wal = open(disk.clone());
    put(&mut wal, b"kept");
    put(&mut wal, b"torn");
    drop(wal);
    let mut bytes = disk.contents(FIRST).expect("a segment");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("written");
    bytes[used] ^= 1;
    disk.set_contents(FIRST, bytes.clone());
    let (seen, reports) = look(&disk);
    let intact = reports[0].state.as_ref().expect("no damage");
    assert_eq!((intact.records, seen.len()), (1, 1));
    assert!(intact.torn_bytes > 0);
    assert_eq!(disk.contents(FIRST), Some(bytes));
}

#[test]
fn every_segment_is_judged_although_one_before_it_is_damaged_or_missing() {
    let disk = three_segments();
    let mut bytes = disk.contents(FIRST).expect("a segment");
    bytes[200] ^= 1;
    disk.set_contents(FIRST, bytes);
    let (seen, reports) = look(&disk);
    assert_eq!(seen, [], "nothing behind damage can be trusted");
    let sound: Vec<bool> = reports.iter().map(|report| report.state.is_ok()).collect();
    assert_eq!(sound, [false, true, true]);

    let disk = three_segments();
    disk.delete(SECOND);
    let (_, reports) = look(&disk);
    let sound: Vec<bool> = reports.iter().map(|report| report.state.is_ok()).collect();
    assert_eq!(sound, [true, false, true]);
    assert!(matches!(reports[1].state, Err(Error::Missing { .. })));
}
