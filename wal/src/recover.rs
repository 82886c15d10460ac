//! Opening a directory: which bytes are the log, and which are an accident.
//!
//! Everything is judged before anything is changed. The judgement is [`verdict`]; what it rests on
//! is gathered by [`survey`] from the bytes alone.

use crate::record::{
    ALIGN, Batch, FLAG_STICKY, RecordHead, TRAILER_KIND, Trailer, ValidBatch, record_bytes,
};
use crate::segment::{
    Predecessor, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, Sticky, segment_name, segment_seq,
};
use crate::{Cut, Error, Media, Options, Recovery, SegmentFile};

/// A log found in a directory, repaired and durable.
pub(crate) struct Recovered<F> {
    pub(crate) segments: Vec<Segment<F>>,
    pub(crate) batch: Batch,
    pub(crate) sticky: Sticky,
    /// Up to where the last segment is proven durable by its own trailers.
    pub(crate) proven: u32,
    /// The end of the last batch that holds records.
    pub(crate) records_end: u32,
    pub(crate) recovery: Recovery,
}

/// Opens the log in `media`, or returns `None` when there is none yet.
pub(crate) fn recover<M: Media>(
    media: &mut M,
    owner: &[u8; 40],
) -> Result<Option<Recovered<M::File>>, Error> {
    let numbers = segment_numbers(media)?;
    if numbers.is_empty() {
        media
            .remove_leftovers()
            .map_err(|source| directory_error(media, source))?;
        return Ok(None);
    }
    let mut segments = open_segments(media, &numbers, owner)?;
    let last = judge(media, &mut segments)?;
    let sticky = newest_sticky(&segments);
    let records = segments.iter().map(count_records).sum();
    let newest = segments.last().expect("there is at least one segment");
    let recovery = Recovery {
        segments: segments.len(),
        records,
        cut: (last.torn > 0).then(|| Cut {
            file: media.describe(&newest.name()),
            offset: last.end as u64,
            bytes: last.torn as u64,
        }),
    };
    let active = segments.last_mut().expect("there is at least one segment");
    let mut recovered = Recovered {
        batch: Batch::new(active.seed, active.end, last.chain),
        proven: last.proven.max(active.header.head_end),
        records_end: last.records_end as u32,
        segments,
        sticky,
        recovery,
    };
    repair(media, &mut recovered)?;
    Ok(Some(recovered))
}

/// Opens the files and checks what their headers say.
fn open_segments<M: Media>(
    media: &mut M,
    numbers: &[u32],
    owner: &[u8; 40],
) -> Result<Vec<Segment<M::File>>, Error> {
    let mut segments = Vec::with_capacity(numbers.len());
    for (at, &seq) in numbers.iter().enumerate() {
        let name = segment_name(seq);
        let mut file = media.open(&name).map_err(|source| Error::Io {
            doing: "open",
            file: media.describe(&name),
            source,
        })?;
        let bytes = file.bytes(0..file.len_bytes() as usize);
        let (header, seed) = SegmentHeader::decode(bytes, &|| media.describe(&name), owner, seq)?;
        if at + 1 < numbers.len() {
            file.seal();
        }
        segments.push(Segment {
            file,
            header,
            seed,
            end: 0,
        });
    }
    Ok(segments)
}

/// Finds the end of every segment, and returns what there is to know about the last.
fn judge<M: Media>(media: &M, segments: &mut [Segment<M::File>]) -> Result<Survey, Error> {
    let mut last = None;
    for at in 0..segments.len() {
        let next = segments.get(at + 1).map(|next| &next.header);
        let found = judge_segment(media, &segments[at], next)?;
        segments[at].end = found.end as u32;
        last = Some(found);
    }
    Ok(last.expect("there is at least one segment"))
}

/// Finds the end of one segment; `next` is what its successor says of it.
pub(crate) fn judge_segment<M: Media, F: SegmentFile>(
    media: &M,
    segment: &Segment<F>,
    next: Option<&SegmentHeader>,
) -> Result<Survey, Error> {
    let mut found = survey(segment.bytes(), segment.seed);
    if next.is_none() {
        found.torn = rest_bytes(segment, found.end);
    }
    let facts = Facts::gather(segment, &found, next);
    let Verdict::Damaged(reason) = verdict(&facts) else {
        return Ok(found);
    };
    let end = if facts.last {
        usize::MAX
    } else {
        facts.promised_end
    };
    Err(Error::Damaged {
        file: media.describe(&segment.name()),
        offset: found.bad.min(end) as u64,
        reason,
    })
}

/// Makes the first segment of an empty directory.
pub(crate) fn create<M: Media>(
    media: &mut M,
    options: &Options,
) -> Result<Recovered<M::File>, Error> {
    let file = media
        .take_prepared(options.segment_bytes)
        .map_err(|source| Error::Create {
            file: media.describe(&segment_name(1)),
            source,
        })?;
    let nothing = Predecessor {
        seq: 0,
        end: 0,
        chain: 0,
    };
    let (segment, batch) = Segment::start(media, file, options.owner, nothing, &Sticky::new())?;
    Ok(Recovered {
        proven: segment.end,
        records_end: segment.end,
        segments: vec![segment],
        batch,
        sticky: Sticky::new(),
        recovery: Recovery::default(),
    })
}

/// The numbers of all segments, without a gap.
fn segment_numbers<M: Media>(media: &mut M) -> Result<Vec<u32>, Error> {
    let names = media
        .list()
        .map_err(|source| directory_error(media, source))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_seq(name)).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[0] + 1 != pair[1] {
            return Err(Error::Missing {
                file: media.describe(&segment_name(pair[0] + 1)),
                next: segment_name(pair[1]),
            });
        }
    }
    Ok(numbers)
}

fn directory_error<M: Media>(media: &M, source: std::io::Error) -> Error {
    Error::Io {
        doing: "use the directory",
        file: media.describe(""),
        source,
    }
}

/// Makes the accepted log durable and everything behind it zero.
///
/// The tail is written again although it can be read: after a failed sync or a killed process the
/// page cache may show bytes that the disk never got, and pages that the kernel holds for clean.
/// Zeros behind it keep a lost batch from ever continuing the chain of a later one.
fn repair<M: Media>(media: &mut M, recovered: &mut Recovered<M::File>) -> Result<(), Error> {
    let active = recovered
        .segments
        .last_mut()
        .expect("there is at least one segment");
    let name = media.describe(&active.name());
    let failed = |doing, source| Error::Io {
        doing,
        file: name.clone(),
        source,
    };
    let (from, end) = (recovered.proven as usize, active.end as usize);
    let mut tail = active.bytes()[from..end].to_vec();
    if !planted!("tail_not_zeroed") {
        tail.resize(active.file.len_bytes() as usize - from, 0);
    }
    media
        .remove_leftovers()
        .map_err(|e| failed("remove the temporary file beside", e))?;
    if planted!("page_cache_trusted") && recovered.recovery.cut.is_none() {
        return Ok(());
    }
    active
        .file
        .write_at(from as u64, &tail)
        .map_err(|e| failed("rewrite the tail of", e))?;
    active.file.sync().map_err(|e| failed("sync", e))?;
    media
        .sync_directory()
        .map_err(|e| failed("sync the directory of", e))
}

/// What the bytes of one segment say.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Up to here every batch is valid and follows the one before.
    pub(crate) end: usize,
    chain: u32,
    /// The first record that is not valid; at or after `end`.
    bad: usize,
    /// The highest `synced_to` of the valid batches.
    proven: u32,
    records_end: usize,
    /// How many bytes behind the end of the last segment a crash has left there.
    pub(crate) torn: usize,
}

fn survey(segment: &[u8], seed: u32) -> Survey {
    let mut found = Survey {
        end: SEGMENT_HEADER_BYTES,
        chain: seed,
        bad: SEGMENT_HEADER_BYTES,
        proven: 0,
        records_end: SEGMENT_HEADER_BYTES,
        torn: 0,
    };
    loop {
        match ValidBatch::decode(segment, seed, found.end, found.chain) {
            Ok(batch) => {
                found.end = batch.end;
                found.chain = batch.chain;
                found.proven = found.proven.max(batch.synced_to);
                if batch.count > 0 {
                    found.records_end = batch.end;
                }
            }
            Err(bad) => {
                found.bad = bad;
                return found;
            }
        }
    }
}

/// All that a verdict depends on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// Where the valid batches end.
    end: usize,
    /// How far the segment must reach: to the end that its successor recorded, or for the last
    /// segment to the end of what was durable before it was named.
    promised_end: usize,
    /// The last segment has no successor that knows its final CRC.
    last: bool,
    /// The chain arrives at the value that the successor recorded.
    chain_matches: bool,
    /// A trailer beyond `end` says that more than `end` was durable.
    proof_beyond: bool,
    /// Nothing lies beyond `end` of the last segment: zeros, or bytes of an earlier one.
    rest_is_free: bool,
}

impl Facts {
    fn gather<F: SegmentFile>(
        segment: &Segment<F>,
        found: &Survey,
        next: Option<&SegmentHeader>,
    ) -> Facts {
        let bytes = segment.bytes();
        let end = found.end;
        let promised_end = match next {
            Some(next) => next.previous_end,
            None => segment.header.head_end,
        };
        Facts {
            end,
            promised_end: promised_end as usize,
            last: next.is_none(),
            chain_matches: next.is_none_or(|next| next.previous_chain == found.chain),
            proof_beyond: proof_beyond(&bytes[..end + found.torn], segment.seed, end),
            rest_is_free: found.torn == 0,
        }
    }
}

/// How many bytes there are behind `end` that a crash has left there: up to the last that is not
/// zero; and where all were used before, up to the last that begins a record of this segment,
/// which earlier bytes never do: of two seeds no one gives them the same CRC.
fn rest_bytes<F: SegmentFile>(segment: &Segment<F>, end: usize) -> usize {
    let bytes = segment.bytes();
    if !segment.header.is_reused {
        return used_bytes(&bytes[end..]);
    }
    let offsets = (end..bytes.len()).step_by(ALIGN).rev();
    let mut heads = offsets.filter_map(|at| {
        let head = RecordHead::decode(bytes, segment.seed, at)?;
        Some(bytes.len().min(at + record_bytes(head.body_len)))
    });
    heads.next().map_or(0, |upto| upto - end)
}

/// How many bytes there are up to the last that is not zero.
fn used_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut pages = bytes.chunks(ZEROS.len());
    let Some(page) = pages.rposition(|page| page != &ZEROS[..page.len()]) else {
        return 0;
    };
    let up_to_page = &bytes[..bytes.len().min((page + 1) * ZEROS.len())];
    up_to_page
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1)
}

/// Looks behind the first bad byte for a trailer that was written after a sync of that byte.
fn proof_beyond(segment: &[u8], seed: u32, end: usize) -> bool {
    (end..segment.len())
        .step_by(ALIGN)
        .filter_map(|offset| Trailer::decode(segment, seed, offset))
        .any(|trailer| trailer.synced_to as usize > end)
}

/// What to do with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The valid batches are all there is.
    Clean,
    /// A batch was on its way when the power went: nobody was told of it, so it goes.
    Torn,
    /// Durable bytes have changed. They may have been promised to somebody, so nothing is cut.
    Damaged(&'static str),
}

/// Tells a torn tail, which a crash may leave at any time, from damage, which it never does.
fn verdict(facts: &Facts) -> Verdict {
    if facts.end < facts.promised_end {
        return Verdict::Damaged("no valid record, though the segment was durable beyond");
    }
    if !facts.last {
        return if facts.end > facts.promised_end || !facts.chain_matches {
            Verdict::Damaged("the records do not end as the next segment says")
        } else {
            Verdict::Clean
        };
    }
    if facts.proof_beyond && !planted!("damage_cut_as_torn") {
        return Verdict::Damaged(
            "no valid record, though a later batch was written after its sync",
        );
    }
    if facts.rest_is_free {
        Verdict::Clean
    } else {
        Verdict::Torn
    }
}

fn newest_sticky<F: SegmentFile>(segments: &[Segment<F>]) -> Sticky {
    let mut sticky = Sticky::new();
    for segment in segments {
        let bytes = segment.bytes();
        for (offset, head) in heads(bytes, segment.end) {
            if head.flags & FLAG_STICKY != 0 {
                let body = crate::record::body_at(bytes, offset, &head);
                sticky.insert(head.kind, body.to_vec());
            }
        }
    }
    sticky
}

fn count_records<F: SegmentFile>(segment: &Segment<F>) -> u64 {
    heads(segment.bytes(), segment.end).count() as u64
}

/// The records of a validated segment, trailers left out.
pub(crate) fn heads(bytes: &[u8], end: u32) -> impl Iterator<Item = (usize, RecordHead)> {
    let mut next = SEGMENT_HEADER_BYTES;
    std::iter::from_fn(move || {
        (next < end as usize).then(|| {
            let at = next;
            let head = RecordHead::trusted(bytes, at);
            next += record_bytes(head.body_len);
            (at, head)
        })
    })
    .filter(|(_, head)| head.kind != TRAILER_KIND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row of the decision table in docs/wal.md; `None` matches both.
    struct Row {
        last: Option<bool>,
        reaches_promise: Option<bool>,
        beyond_promise: Option<bool>,
        chain_matches: Option<bool>,
        proof_beyond: Option<bool>,
        rest_is_free: Option<bool>,
        verdict: fn(Verdict) -> bool,
    }

    impl Row {
        fn matches(&self, facts: &Facts) -> bool {
            let pairs = [
                (self.last, facts.last),
                (self.reaches_promise, facts.end >= facts.promised_end),
                (self.beyond_promise, facts.end > facts.promised_end),
                (self.chain_matches, facts.chain_matches),
                (self.proof_beyond, facts.proof_beyond),
                (self.rest_is_free, facts.rest_is_free),
            ];
            pairs
                .iter()
                .all(|(wanted, found)| wanted.is_none_or(|wanted| wanted == *found))
        }
    }

    const fn row(
        [last, reaches_promise, beyond_promise]: [Option<bool>; 3],
        [chain_matches, proof_beyond, rest_is_free]: [Option<bool>; 3],
        verdict: fn(Verdict) -> bool,
    ) -> Row {
        Row {
            last,
            reaches_promise,
            beyond_promise,
            chain_matches,
            proof_beyond,
            rest_is_free,
            verdict,
        }
    }

    fn damaged(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Damaged(_))
    }

    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);
    const ANY: Option<bool> = None;

    const TABLE: [Row; 7] = [
        row([ANY, NO, ANY], [ANY, ANY, ANY], damaged),
        row([NO, YES, YES], [ANY, ANY, ANY], damaged),
        row([NO, YES, NO], [NO, ANY, ANY], damaged),
        row([NO, YES, NO], [YES, ANY, ANY], |verdict| {
            verdict == Verdict::Clean
        }),
        row([YES, YES, ANY], [ANY, YES, ANY], damaged),
        row([YES, YES, ANY], [ANY, NO, NO], |verdict| {
            verdict == Verdict::Torn
        }),
        row([YES, YES, ANY], [ANY, NO, YES], |verdict| {
            verdict == Verdict::Clean
        }),
    ];

    #[test]
    fn exactly_one_row_of_the_decision_table_matches_and_decides() {
        for bits in 0..16u8 {
            for end in [999, 1000, 1001] {
                let facts = Facts {
                    end,
                    promised_end: 1000,
                    last: bits & 1 != 0,
                    chain_matches: bits & 2 != 0,
                    proof_beyond: bits & 4 != 0,
                    rest_is_free: bits & 8 != 0,
                };
                let rows: Vec<&Row> = TABLE.iter().filter(|row| row.matches(&facts)).collect();
                assert_eq!(rows.len(), 1, "{facts:?}");
                assert!((rows[0].verdict)(verdict(&facts)), "{facts:?}");
            }
        }
    }

    #[test]
    fn used_bytes_end_with_the_last_byte_that_is_not_zero() {
        for len in [0, 1, 4095, 4096, 4097, 9000] {
            assert_eq!(used_bytes(&vec![0; len]), 0);
            for at in 0..len {
                let mut bytes = vec![0; len];
                bytes[at] = 1;
                bytes[at / 2] = 1;
                assert_eq!(used_bytes(&bytes), at + 1);
            }
        }
    }
}
