//! Looking at a log without opening it: the judgement of [`Wal::open`](crate::Wal::open), with
//! nothing cut, written or synced, and every segment judged although one before it is damaged.

use std::ops::Range;

use crate::record::{FLAG_COPY, body_at};
use crate::recover::{heads, judge_segment};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, segment_name, segment_seq};
use crate::{Address, Error, Media, Record, SegmentFile, Source};

/// What there is to say of one segment.
#[derive(Debug)]
pub struct SegmentReport {
    /// Its file, as an operator knows it.
    pub file: String,
    /// What it holds, or why that cannot be trusted.
    pub state: Result<Intact, Error>,
}

/// A segment without damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intact {
    /// The size of its file.
    pub file_bytes: u64,
    /// How many records it holds, carried copies of sticky ones included.
    pub records: u64,
    /// Where its last batch ends.
    pub end: u64,
    /// Bytes behind that end which the next opening cuts: a torn tail, and no damage.
    pub torn_bytes: u64,
}

/// Judges every segment in `media` and shows `visit` the records, oldest first, as
/// [`Wal::records`](crate::Wal::records) would; from the first damage on it shows no more. Files
/// are only read, one segment at a time, and whole.
///
/// # Errors
/// [`Error::Io`] when the directory cannot be listed. What is wrong with a segment is in its
/// report, and that one is missing between two others in a report of its own.
pub fn inspect<M: Media>(
    media: &mut M,
    owner: &[u8; 40],
    mut visit: impl FnMut(Record<'_>),
) -> Result<Vec<SegmentReport>, Error> {
    let names = media.list().map_err(|source| Error::Io {
        doing: "list",
        file: media.describe(""),
        source,
    })?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_seq(name)).collect();
    numbers.sort_unstable();
    let mut reports = Vec::with_capacity(numbers.len());
    let mut trusted = true;
    for (at, &seq) in numbers.iter().enumerate() {
        let next = numbers.get(at + 1).copied();
        let state = inspect_segment(media, owner, seq, next, |record| {
            if trusted && (at == 0 || !record.1) {
                visit(record.0);
            }
        });
        trusted &= state.is_ok();
        let file = media.describe(&segment_name(seq));
        reports.push(SegmentReport { file, state });
        if let Some(next) = next.filter(|next| seq + 1 < *next) {
            trusted = false;
            let file = media.describe(&segment_name(seq + 1));
            let missing = Error::Missing {
                file: file.clone(),
                next: segment_name(next),
            };
            let state = Err(missing);
            reports.push(SegmentReport { file, state });
        }
    }
    Ok(reports)
}

/// Judges one segment and shows its records, each with whether it is a carried copy.
fn inspect_segment<M: Media>(
    media: &mut M,
    owner: &[u8; 40],
    seq: u32,
    next: Option<u32>,
    mut visit: impl FnMut((Record<'_>, bool)),
) -> Result<Intact, Error> {
    // A successor that is missing or cannot be read says nothing of this one.
    let next = next
        .filter(|next| *next == seq + 1)
        .and_then(|next| header_of(media, owner, next));
    let bytes = read(media, seq, u64::MAX)?;
    let name = segment_name(seq);
    let (header, seed) = SegmentHeader::decode(&bytes, &|| media.describe(&name), owner, seq)?;
    let mut segment = Segment {
        file: Copy(bytes),
        header,
        seed,
        end: 0,
    };
    let found = judge_segment(media, &segment, next.as_ref())?;
    segment.end = found.end as u32;
    let bytes = segment.bytes();
    let mut records = 0;
    for (offset, head) in heads(bytes, segment.end) {
        records += 1;
        let record = Record {
            address: Address::new(seq, offset as u32),
            kind: head.kind,
            body: body_at(bytes, offset, &head),
        };
        visit((record, head.flags & FLAG_COPY != 0));
    }
    Ok(Intact {
        file_bytes: bytes.len() as u64,
        records,
        end: found.end as u64,
        torn_bytes: found.torn as u64,
    })
}

/// The header of a segment, if it is sound. The size in it is checked with the segment itself.
fn header_of<M: Media>(media: &mut M, owner: &[u8; 40], seq: u32) -> Option<SegmentHeader> {
    let mut bytes = read(media, seq, SEGMENT_HEADER_BYTES as u64).ok()?;
    let len_bytes = media.open_source(&segment_name(seq)).ok()?.len_bytes();
    bytes.resize(len_bytes as usize, 0);
    let decoded = SegmentHeader::decode(&bytes, &String::new, owner, seq);
    decoded.ok().map(|(header, _)| header)
}

/// The first bytes of a segment's file, or all of them.
fn read<M: Media>(media: &mut M, seq: u32, max_bytes: u64) -> Result<Vec<u8>, Error> {
    let name = segment_name(seq);
    let read = media.open_source(&name).and_then(|source| {
        let mut bytes = vec![0; source.len_bytes().min(max_bytes) as usize];
        source.read_at(0, &mut bytes)?;
        source.release(0..bytes.len() as u64);
        Ok(bytes)
    });
    read.map_err(|source| Error::Io {
        doing: "read",
        file: media.describe(&name),
        source,
    })
}

/// The bytes of a segment, to look at.
struct Copy(Vec<u8>);

impl SegmentFile for Copy {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn is_reused(&self) -> bool {
        false
    }

    fn write_at(&mut self, _offset: u64, _bytes: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn sync_elsewhere(&self) -> Box<dyn FnOnce() -> std::io::Result<()> + Send> {
        Box::new(|| Err(std::io::ErrorKind::Unsupported.into()))
    }

    fn seal(&mut self) {}

    fn release(&self) {}

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }
}
