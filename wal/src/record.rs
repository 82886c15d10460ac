//! Records and batches: how they become bytes, and which bytes are one.
//!
//! Nothing here touches a file. A segment's bytes come in as a slice, and every check is made
//! against its bounds before a length found on disk is believed.

use crc32fast::Hasher;

/// Every record begins at a multiple of this, so that a length never spans two disk sectors.
pub(crate) const ALIGN: usize = 8;
/// Body length, kind, flags, chain CRC, own CRC.
pub(crate) const RECORD_HEADER_BYTES: usize = 16;
/// The record that closes a batch: a header and [`TRAILER_BODY_BYTES`].
pub(crate) const TRAILER_BYTES: usize = RECORD_HEADER_BYTES + TRAILER_BODY_BYTES;
/// Count, batch start, `synced_to`, own CRC.
const TRAILER_BODY_BYTES: usize = 16;
/// The kind of a trailer; callers use the others.
pub(crate) const TRAILER_KIND: u8 = 0;

/// The newest record of its kind is carried to the head of every new segment.
pub(crate) const FLAG_STICKY: u8 = 1;
/// This record is such a carried copy.
pub(crate) const FLAG_COPY: u8 = 2;

/// How many bytes a record with a body of `body_len` occupies.
pub(crate) fn record_bytes(body_len: usize) -> usize {
    RECORD_HEADER_BYTES + body_len.next_multiple_of(ALIGN)
}

/// Ties a record to everything before it: the same bytes in another place, after another record
/// or in another segment have another value, so a stale record never joins the chain.
fn chain_crc(previous: u32, offset: u32, head: &[u8], padded_body: &[u8]) -> u32 {
    let chained = !planted!("record_crc_not_chained");
    let mut crc = Hasher::new_with_initial(if chained { previous } else { 0 });
    crc.update(&offset.to_le_bytes());
    crc.update(head);
    crc.update(padded_body);
    crc.finalize()
}

/// Ties bytes to their segment and offset only, so that they can be judged beyond a hole.
fn own_crc(seed: u32, offset: u32, bytes: &[u8]) -> u32 {
    let mut crc = Hasher::new_with_initial(seed);
    crc.update(&offset.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Records on their way into a segment, already in their final form.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    seed: u32,
    start: u32,
    chain: u32,
    count: u32,
}

impl Batch {
    /// An empty batch that will lie at `start` of the segment with this `seed`, after a record
    /// whose chain CRC is `chain`.
    pub(crate) fn new(seed: u32, start: u32, chain: u32) -> Batch {
        Batch {
            bytes: Vec::new(),
            seed,
            start,
            chain,
            count: 0,
        }
    }

    /// Where the next record or the trailer will lie.
    pub(crate) fn end(&self) -> u32 {
        self.start + u32::try_from(self.bytes.len()).expect("a batch fits into its segment")
    }

    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one record and returns its offset in the segment. `fill` must push exactly `body_len`
    /// bytes.
    pub(crate) fn push(
        &mut self,
        kind: u8,
        flags: u8,
        body_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> u32 {
        let offset = self.end();
        let at = self.bytes.len();
        let len = u32::try_from(body_len).expect("a body fits into its segment");
        self.bytes.reserve(record_bytes(body_len) + TRAILER_BYTES);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&[kind, flags, 0, 0]);
        self.bytes.extend_from_slice(&[0; 8]);
        fill(&mut self.bytes);
        let filled = self.bytes.len().wrapping_sub(at + RECORD_HEADER_BYTES);
        assert!(
            filled == body_len,
            "a body of {body_len} bytes was announced, {filled} came"
        );
        self.bytes.resize(at + record_bytes(body_len), 0);
        let record = &mut self.bytes[at..];
        self.chain = chain_crc(
            self.chain,
            offset,
            &record[..8],
            &record[RECORD_HEADER_BYTES..],
        );
        record[8..12].copy_from_slice(&self.chain.to_le_bytes());
        let own = own_crc(self.seed, offset, &record[..12]);
        record[12..16].copy_from_slice(&own.to_le_bytes());
        self.count += 1;
        offset
    }

    /// The body of the record that `push` placed at `offset`.
    pub(crate) fn body(&self, offset: u32, body_len: usize) -> &[u8] {
        let from = (offset - self.start) as usize + RECORD_HEADER_BYTES;
        &self.bytes[from..from + body_len]
    }

    /// Adds the trailer and returns the finished bytes. `synced_to` is the offset in this segment
    /// up to which everything was durable before this batch.
    pub(crate) fn close(&mut self, synced_to: u32) -> &[u8] {
        let offset = self.end();
        assert!(
            synced_to <= offset,
            "synced_to {synced_to} beyond the batch at {offset}"
        );
        let mut body = [0; TRAILER_BODY_BYTES];
        body[..4].copy_from_slice(&self.count.to_le_bytes());
        body[4..8].copy_from_slice(&self.start.to_le_bytes());
        body[8..12].copy_from_slice(&synced_to.to_le_bytes());
        let own = own_crc(self.seed, offset, &body[..12]);
        body[12..].copy_from_slice(&own.to_le_bytes());
        self.push(TRAILER_KIND, 0, body.len(), |to| {
            to.extend_from_slice(&body);
        });
        &self.bytes
    }

    /// Begins the next batch right behind this closed one, in the same memory.
    pub(crate) fn restart(&mut self) {
        self.start = self.end();
        self.count = 0;
        self.bytes.clear();
    }
}

/// A record header that belongs where it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHead {
    pub(crate) body_len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    chain: u32,
}

impl RecordHead {
    /// Reads the header at `offset` of a segment, or `None` when the bytes are not one: wrong CRC,
    /// or a body that would leave the segment.
    pub(crate) fn decode(segment: &[u8], seed: u32, offset: usize) -> Option<RecordHead> {
        let head = segment.get(offset..offset.checked_add(RECORD_HEADER_BYTES)?)?;
        let found = RecordHead::trusted(segment, offset);
        let rest = segment.len() - offset;
        // Of bytes that are none, this refuses most without a CRC.
        if found.body_len > rest || record_bytes(found.body_len) > rest {
            return None;
        }
        let own = own_crc(seed, u32::try_from(offset).ok()?, &head[..12]);
        (own == u32_at(head, 12)).then_some(found)
    }

    /// Reads a header that recovery has checked before or that this process wrote.
    pub(crate) fn trusted(segment: &[u8], offset: usize) -> RecordHead {
        let head = &segment[offset..offset + RECORD_HEADER_BYTES];
        RecordHead {
            body_len: u32_at(head, 0) as usize,
            kind: head[4],
            flags: head[5],
            chain: u32_at(head, 8),
        }
    }

    /// Whether body and predecessor are the ones this header was made for.
    fn follows(&self, previous: u32, segment: &[u8], offset: usize) -> bool {
        let record = &segment[offset..offset + record_bytes(self.body_len)];
        let found = chain_crc(
            previous,
            offset as u32,
            &record[..8],
            &record[RECORD_HEADER_BYTES..],
        );
        found == self.chain
    }
}

/// The body of the record at `offset`.
pub(crate) fn body_at<'a>(segment: &'a [u8], offset: usize, head: &RecordHead) -> &'a [u8] {
    let from = offset + RECORD_HEADER_BYTES;
    &segment[from..from + head.body_len]
}

/// A trailer that is whole in itself, whatever lies before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trailer {
    count: u32,
    start: u32,
    pub(crate) synced_to: u32,
}

impl Trailer {
    /// Reads the trailer at `offset`, or `None` when there is none.
    pub(crate) fn decode(segment: &[u8], seed: u32, offset: usize) -> Option<Trailer> {
        // A look at the first bytes saves two CRCs wherever a whole segment is searched.
        let start = segment.get(offset..offset.checked_add(8)?)?;
        if u32_at(start, 0) as usize != TRAILER_BODY_BYTES || start[4] != TRAILER_KIND {
            return None;
        }
        RecordHead::decode(segment, seed, offset)?;
        let body = &segment[offset + RECORD_HEADER_BYTES..offset + TRAILER_BYTES];
        let own = own_crc(seed, offset as u32, &body[..12]);
        (own == u32_at(body, 12)).then(|| Trailer {
            count: u32_at(body, 0),
            start: u32_at(body, 4),
            synced_to: u32_at(body, 8),
        })
    }
}

/// One batch of a segment that is valid from its first record to its trailer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValidBatch {
    pub(crate) end: usize,
    pub(crate) chain: u32,
    pub(crate) count: u32,
    pub(crate) synced_to: u32,
}

impl ValidBatch {
    /// Reads the batch at `start`, or says where its first bad record lies. A batch counts whole or
    /// not at all: without its trailer nobody was ever told that its records were durable.
    pub(crate) fn decode(
        segment: &[u8],
        seed: u32,
        start: usize,
        mut chain: u32,
    ) -> Result<ValidBatch, usize> {
        let mut offset = start;
        let mut count = 0;
        loop {
            let head = RecordHead::decode(segment, seed, offset).ok_or(offset)?;
            if !head.follows(chain, segment, offset) {
                return Err(offset);
            }
            chain = head.chain;
            if head.kind == TRAILER_KIND {
                let trailer = Trailer::decode(segment, seed, offset).ok_or(offset)?;
                let whole = trailer.count == count
                    && trailer.start as usize == start
                    && trailer.synced_to <= trailer.start;
                let end = offset + TRAILER_BYTES;
                let synced_to = trailer.synced_to;
                return if whole {
                    Ok(ValidBatch {
                        end,
                        chain,
                        count,
                        synced_to,
                    })
                } else {
                    Err(offset)
                };
            }
            count += 1;
            offset += record_bytes(head.body_len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u32 = 77;
    const CHAIN: u32 = 88;

    fn batch_at(start: u32, bodies: &[&[u8]]) -> Batch {
        let mut batch = Batch::new(SEED, start, CHAIN);
        for body in bodies {
            batch.push(1, 0, body.len(), |to| to.extend_from_slice(body));
        }
        batch
    }

    /// A segment of zeros with these bytes at `start`.
    fn segment_with(start: usize, bytes: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; 4096];
        segment[start..start + bytes.len()].copy_from_slice(bytes);
        segment
    }

    #[test]
    fn a_batch_is_valid_only_in_its_place_and_after_its_predecessor() {
        let segment = segment_with(128, batch_at(128, &[b"one", b"two"]).close(128));
        let found = ValidBatch::decode(&segment, SEED, 128, CHAIN).expect("a whole batch");
        assert_eq!(
            (found.count, found.synced_to, found.end),
            (2, 128, 128 + 24 + 24 + 32)
        );
        assert_eq!(
            ValidBatch::decode(&segment, SEED, 128, CHAIN + 1).err(),
            Some(128)
        );
        assert_eq!(
            ValidBatch::decode(&segment, SEED + 1, 128, CHAIN).err(),
            Some(128)
        );
        let moved = segment_with(136, &segment[128..found.end]);
        assert_eq!(
            ValidBatch::decode(&moved, SEED, 136, CHAIN).err(),
            Some(136)
        );
    }

    #[test]
    fn the_same_record_elsewhere_has_another_chain_crc() {
        let chains = [batch_at(128, &[b"x"]), batch_at(136, &[b"x"])].map(|batch| batch.chain());
        assert_ne!(chains[0], chains[1]);
    }

    #[test]
    fn a_trailer_with_another_count_or_start_closes_nothing() {
        for break_it in [
            |batch: &mut Batch| batch.count += 1,
            |batch: &mut Batch| batch.count = 0,
        ] {
            let mut batch = batch_at(128, &[b"one", b"two"]);
            break_it(&mut batch);
            let segment = segment_with(128, batch.close(128));
            assert_eq!(
                ValidBatch::decode(&segment, SEED, 128, CHAIN).err(),
                Some(176)
            );
        }
        // A trailer whose batch begins elsewhere does not end this one, though the chain goes on.
        let mut batch = batch_at(128, &[b"one"]);
        let mut segment = segment_with(128, &batch.close(128)[..24]);
        let trailer_at = 128 + 24;
        batch = Batch::new(SEED, trailer_at, RecordHead::trusted(&segment, 128).chain);
        batch.count = 1;
        segment[trailer_at as usize..][..TRAILER_BYTES].copy_from_slice(batch.close(128));
        assert_eq!(
            ValidBatch::decode(&segment, SEED, 128, CHAIN).err(),
            Some(152)
        );
    }

    #[test]
    fn a_trailer_is_whole_in_itself_and_says_what_was_synced() {
        let segment = segment_with(1000, batch_at(1000, &[]).close(640));
        assert_eq!(
            Trailer::decode(&segment, SEED, 1000).map(|found| found.synced_to),
            Some(640)
        );
        for at in 1000..1000 + TRAILER_BYTES {
            let mut damaged = segment.clone();
            damaged[at] ^= 4;
            assert!(Trailer::decode(&damaged, SEED, 1000).is_none(), "byte {at}");
        }
        assert!(Trailer::decode(&segment, SEED + 1, 1000).is_none());
    }

    #[test]
    fn no_bytes_at_all_are_read_beyond_the_segment() {
        let segment = segment_with(128, batch_at(128, &[b"one"]).close(128));
        for len in 0..192 {
            let cut = &segment[..len];
            for offset in 0..=len + 8 {
                assert!(Trailer::decode(cut, SEED, offset).is_none_or(|_| len >= 184));
                let _ = RecordHead::decode(cut, SEED, offset);
                assert!(ValidBatch::decode(cut, SEED, offset, CHAIN).is_err() || len >= 184);
            }
        }
    }
}
