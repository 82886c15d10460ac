//! A write-ahead log in preallocated, mapped segments. It knows records, their order and their
//! durability; what they mean is the caller's affair.
//!
//! ```text
//! segment   header │ head batch │ batch │ batch │ … │ zeros to the end of the file
//! batch     record │ record │ … │ trailer {count, start, synced_to}
//! record    length, kind, flags, chain CRC, own CRC │ body │ padding to 8 bytes
//! ```
//!
//! - Every record's **chain CRC** covers its place, its body and the chain CRC of the record before
//!   it, from the first segment on. Bytes that once were a record elsewhere never join the log.
//! - The **own CRC** covers the header alone, so no length is believed that is not sound.
//! - A trailer's **`synced_to`** says how much was durable before its batch was written. By it
//!   [`Wal::open`] tells a torn tail, which it cuts, from damage, which it reports and never cuts.
//! - A batch survives whole or not at all.
//!
//! `docs/wal.md` has the byte layouts, the decision table and what remains undecidable.

#[cfg(feature = "planted-bugs")]
#[macro_use]
extern crate raftkv_planted;

/// Whether a test has planted the bug of this name (`chaos/planted`): never in what ships.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

mod error;
mod inspect;
mod media;
mod record;
mod recover;
mod segment;
mod space;
mod sync_job;
mod wal;

pub use error::Error;
pub use inspect::{Intact, SegmentReport, inspect};
pub use media::{
    Failure, FileMedia, FileSink, FileSource, MappedFile, Media, MemoryFile, MemoryMedia,
    MemorySink, MemorySource, Operation, SegmentFile, Sink, Source, is_leftover,
};
pub use sync_job::{SyncDone, SyncJob};
pub use wal::Wal;

use record::TRAILER_BYTES;
use segment::SEGMENT_HEADER_BYTES;

/// The size of a segment unless [`Options`] say otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 16 << 20;
/// The smallest segment.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The largest segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segments are whole pages.
const PAGE_BYTES: u64 = 4096;

/// What a log is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of new segments: a multiple of 4096 from [`SEGMENT_BYTES_MIN`] to
    /// [`SEGMENT_BYTES_MAX`]. Segments that exist keep theirs.
    pub segment_bytes: u64,
    /// Whose log this is, for example cluster, node and incarnation. It is part of every segment
    /// header, and a segment of another owner is refused.
    pub owner: [u8; 40],
}

impl Options {
    /// Segments of [`SEGMENT_BYTES_DEFAULT`] for this owner.
    pub fn new(owner: [u8; 40]) -> Options {
        Options {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            owner,
        }
    }

    /// The largest body that [`Wal::append`] takes: a record never spans two segments.
    pub const fn body_bytes_max(&self) -> usize {
        let overhead = SEGMENT_HEADER_BYTES + 2 * TRAILER_BYTES + record::RECORD_HEADER_BYTES;
        self.segment_bytes as usize - self.sticky_bytes_max() - overhead
    }

    /// How much room all sticky records together may take at the head of a segment.
    const fn sticky_bytes_max(&self) -> usize {
        self.segment_bytes as usize / 8
    }

    fn check(&self) -> Result<(), Error> {
        let size = self.segment_bytes;
        let bounds = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if bounds.contains(&size) && size.is_multiple_of(PAGE_BYTES) {
            Ok(())
        } else {
            Err(Error::SegmentSize {
                segment_bytes: size,
            })
        }
    }
}

// A value of 1 MiB with its key and framing fits into a default segment.
const _: () = assert!(
    Options {
        segment_bytes: SEGMENT_BYTES_DEFAULT,
        owner: [0; 40]
    }
    .body_bytes_max()
        >= (1 << 20) + (8 << 10)
);

/// Where a record lies. Later records have greater addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u64);

impl Address {
    fn new(segment: u32, offset: u32) -> Address {
        Address(u64::from(segment) << 32 | u64::from(offset))
    }

    fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it lies.
    pub address: Address,
    /// The kind it was appended with.
    pub kind: u8,
    /// The bytes it was appended with, straight from the map.
    pub body: &'a [u8],
}

/// What [`Wal::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many segments there were; 0 when the log was created.
    pub segments: usize,
    /// How many records there were, carried copies of sticky ones included.
    pub records: u64,
    /// What was cut off the end, if anything.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut: bytes written before a crash and never durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment file.
    pub file: String,
    /// Where the cut was made.
    pub offset: u64,
    /// How many bytes lay behind it.
    pub bytes: u64,
}
