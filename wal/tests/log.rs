//! What the log promises, on both media.

use raftkv_wal::{Address, Error, FileMedia, Media, MemoryMedia, Options, SEGMENT_BYTES_MIN, Wal};

const OWNER: [u8; 40] = [7; 40];
const RECORD: u8 = 1;
const STATE: u8 = 2;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES_MIN,
        owner: OWNER,
    }
}

fn open<M: Media>(media: M) -> Wal<M> {
    Wal::open(media, options()).expect("the log opens").0
}

fn append<M: Media>(wal: &mut Wal<M>, body: &[u8]) -> Address {
    wal.append(RECORD, body.len(), |to| to.extend_from_slice(body))
        .expect("there is room")
}

fn append_sticky<M: Media>(wal: &mut Wal<M>, body: &[u8]) -> Address {
    wal.append_sticky(STATE, body.len(), |to| to.extend_from_slice(body))
        .expect("there is room")
}

fn flush<M: Media>(wal: &mut Wal<M>) {
    wal.write().expect("the write succeeds");
    wal.sync().expect("the sync succeeds");
}

fn bodies<M: Media>(wal: &Wal<M>) -> Vec<Vec<u8>> {
    wal.records().map(|record| record.body.to_vec()).collect()
}

/// Runs a claim on a memory disk and on a real directory.
fn on_both(claim: impl Fn(&mut dyn FnMut() -> Boxed)) {
    let memory = MemoryMedia::new();
    claim(&mut || Boxed::Memory(memory.clone()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    claim(&mut || Boxed::File(FileMedia::open(directory.path()).expect("the directory opens")));
}

enum Boxed {
    Memory(MemoryMedia),
    File(FileMedia),
}

macro_rules! with {
    ($media:expr, |$wal:ident| $body:block) => {
        match $media {
            #[allow(unused_mut)]
            Boxed::Memory(media) => {
                let mut $wal = open(media);
                $body
            }
            #[allow(unused_mut)]
            Boxed::File(media) => {
                let mut $wal = open(media);
                $body
            }
        }
    };
}

#[test]
fn records_come_back_in_order_after_opening_again() {
    on_both(|media| {
        with!(media(), |wal| {
            append(&mut wal, b"one");
            append(&mut wal, b"");
            append(&mut wal, b"three");
            flush(&mut wal);
        });
        with!(media(), |wal| {
            assert_eq!(
                bodies(&wal),
                [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]
            );
        });
    });
}

#[test]
fn a_written_record_is_read_by_its_address_across_rotations() {
    on_both(|media| {
        with!(media(), |wal| {
            let body = |n: u32| vec![n as u8; 5000 + n as usize];
            let addresses: Vec<Address> = (0..100).map(|n| append(&mut wal, &body(n))).collect();
            flush(&mut wal);
            for (n, &address) in (0..).zip(&addresses) {
                assert_eq!(wal.read(address), body(n));
            }
            assert!(addresses.is_sorted());
        });
        with!(media(), |wal| {
            assert_eq!(wal.records().count(), 100);
        });
    });
}

#[test]
fn a_sticky_record_is_seen_once_while_its_original_is_in_the_log() {
    on_both(|media| {
        with!(media(), |wal| {
            append_sticky(&mut wal, b"term 3");
            for _ in 0..30 {
                append(&mut wal, &[1; 5000]);
            }
            flush(&mut wal);
            assert_eq!(
                wal.records().filter(|record| record.kind == STATE).count(),
                1
            );
        });
    });
}

#[test]
fn a_record_larger_than_a_segment_is_refused_with_both_numbers() {
    on_both(|media| {
        with!(media(), |wal| {
            let limit = options().body_bytes_max();
            append(&mut wal, &vec![1; limit]);
            let error = wal
                .append(RECORD, limit + 1, |_| unreachable!())
                .expect_err("too large");
            assert!(matches!(error, Error::TooLarge { .. }));
            let text = error.to_string();
            assert!(text.contains(&(limit + 1).to_string()), "{text}");
            assert!(text.contains("65536"), "{text}");
            append(&mut wal, b"still usable");
        });
    });
}
