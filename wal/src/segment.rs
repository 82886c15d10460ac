//! One segment: its header, and the file it lives in.
//!
//! A segment never changes size. Its file is allocated, zeroed and synced before it gets its name,
//! and the header with the carried records is durable before that too, so under its name a segment
//! is always whole: a bad header is damage, never an accident of timing.

use crate::media::SegmentFile;
use crate::record::{Batch, FLAG_COPY, FLAG_STICKY, TRAILER_BYTES, record_bytes, u32_at};
use crate::{Error, Media};
use std::collections::BTreeMap;

/// The space at the head of a segment that its header takes.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
/// The version of everything in a segment.
pub(crate) const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RKV-WAL\n";

/// The newest sticky body of each kind.
pub(crate) type Sticky = BTreeMap<u8, Vec<u8>>;

/// The name under which segment `seq` is found.
pub(crate) fn segment_name(seq: u32) -> String {
    format!("{seq:010}.wal")
}

/// The number of the segment with this file name, when it is one.
pub(crate) fn segment_seq(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".wal")?;
    let seq = digits.parse().ok()?;
    (segment_name(seq) == name).then_some(seq)
}

/// What a segment says about itself and about the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) owner: [u8; 40],
    pub(crate) seq: u32,
    pub(crate) segment_bytes: u32,
    /// Where the segment before ended, and its last chain CRC: it was durable up to there.
    pub(crate) previous_end: u32,
    pub(crate) previous_chain: u32,
    /// How far this segment was filled before it got its name.
    pub(crate) head_end: u32,
    /// Behind its batches may lie bytes of an earlier segment, which mean nothing.
    pub(crate) is_reused: bool,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let format_crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&format_crc.to_le_bytes());
        bytes[16..56].copy_from_slice(&self.owner);
        let fields = [
            self.seq,
            self.segment_bytes,
            self.previous_end,
            self.previous_chain,
            self.head_end,
            u32::from(self.is_reused),
        ];
        for (at, field) in (56..).step_by(4).zip(fields) {
            bytes[at..at + 4].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header, and checks that it is the one of segment `seq` of `owner`. Also returns its
    /// CRC, which seeds all others in the segment: bytes of another segment match none of them.
    pub(crate) fn decode(
        bytes: &[u8],
        file: &dyn Fn() -> String,
        owner: &[u8; 40],
        seq: u32,
    ) -> Result<(SegmentHeader, u32), Error> {
        let damaged = |offset: usize, reason| Error::Damaged {
            file: file(),
            offset: offset as u64,
            reason,
        };
        let Some(head) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return Err(damaged(
                bytes.len(),
                "the file ends within the segment header",
            ));
        };
        if head[..8] != MAGIC || crc32fast::hash(&head[..12]) != u32_at(head, 12) {
            return Err(damaged(0, "this is no segment header"));
        }
        // The version is judged by a CRC that every version keeps in this place: what follows
        // may look different in a newer one.
        let version = u32_at(head, 8);
        if version > FORMAT_VERSION {
            return Err(Error::Newer {
                file: file(),
                found: version,
                known: FORMAT_VERSION,
            });
        }
        let crc = u32_at(head, 124);
        if version != FORMAT_VERSION || crc32fast::hash(&head[..124]) != crc {
            return Err(damaged(8, "the segment header does not match its CRC"));
        }
        let mut found = [0; 40];
        found.copy_from_slice(&head[16..56]);
        if found != *owner {
            return Err(Error::Foreign {
                file: file(),
                found,
                expected: *owner,
            });
        }
        let header = SegmentHeader {
            owner: found,
            seq: u32_at(head, 56),
            segment_bytes: u32_at(head, 60),
            previous_end: u32_at(head, 64),
            previous_chain: u32_at(head, 68),
            head_end: u32_at(head, 72),
            is_reused: u32_at(head, 76) & 1 != 0,
        };
        if header.seq != seq {
            return Err(damaged(56, "the header is that of another segment"));
        }
        if header.segment_bytes as usize != bytes.len() {
            return Err(damaged(
                bytes.len(),
                "the file does not have the size in its header",
            ));
        }
        Ok((header, seed(head)))
    }
}

/// The CRC of an encoded header.
fn seed(header: &[u8]) -> u32 {
    match planted!("record_crc_not_seeded") {
        true => 0,
        false => u32_at(header, 124),
    }
}

/// An open segment, filled up to `end`.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) file: F,
    pub(crate) header: SegmentHeader,
    /// The CRC of the header.
    pub(crate) seed: u32,
    pub(crate) end: u32,
}

/// What a new segment follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predecessor {
    pub(crate) seq: u32,
    pub(crate) end: u32,
    pub(crate) chain: u32,
}

/// How much room the copies of these records take at the head of a segment.
pub(crate) fn sticky_bytes(sticky: &Sticky) -> usize {
    sticky.values().map(|body| record_bytes(body.len())).sum()
}

impl<F: SegmentFile> Segment<F> {
    /// Fills the head of a prepared file and gives it its name. The order makes it safe: contents
    /// durable, then the name, then the directory, and only then is anything appended.
    pub(crate) fn start<M: Media<File = F>>(
        media: &mut M,
        mut file: F,
        owner: [u8; 40],
        previous: Predecessor,
        sticky: &Sticky,
    ) -> Result<(Segment<F>, Batch), Error> {
        let seq = previous
            .seq
            .checked_add(1)
            .expect("a log has at most 2^32 segments");
        let copies_bytes = sticky_bytes(sticky) + TRAILER_BYTES;
        let header = SegmentHeader {
            owner,
            seq,
            segment_bytes: u32::try_from(file.len_bytes()).expect("SEGMENT_BYTES_MAX fits"),
            previous_end: previous.end,
            previous_chain: previous.chain,
            head_end: (SEGMENT_HEADER_BYTES + copies_bytes) as u32,
            is_reused: file.is_reused(),
        };
        let mut bytes = header.encode().to_vec();
        let seed = seed(&bytes);
        let mut batch = Batch::new(seed, SEGMENT_HEADER_BYTES as u32, seed);
        for (&kind, body) in sticky {
            batch.push(kind, FLAG_STICKY | FLAG_COPY, body.len(), |to| {
                to.extend_from_slice(body);
            });
        }
        bytes.extend_from_slice(batch.close(0));
        batch.restart();
        assert!(
            batch.start() == header.head_end,
            "the head is as long as its header says"
        );

        let name = segment_name(seq);
        let failed = |doing, source, media: &M| Error::Io {
            doing,
            file: media.describe(&name),
            source,
        };
        file.write_at(0, &bytes)
            .map_err(|e| failed("write the head of", e, media))?;
        file.sync()
            .map_err(|e| failed("sync the head of", e, media))?;
        media.publish(&name).map_err(|e| failed("name", e, media))?;
        if !planted!("directory_not_synced") {
            media
                .sync_directory()
                .map_err(|e| failed("sync the directory of", e, media))?;
        }
        Ok((
            Segment {
                file,
                header,
                seed,
                end: batch.start(),
            },
            batch,
        ))
    }

    pub(crate) fn seq(&self) -> u32 {
        self.header.seq
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> String {
        segment_name(self.seq())
    }

    /// All bytes of the segment.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.file.bytes(0..self.file.len_bytes() as usize)
    }
}
