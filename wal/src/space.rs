//! What the log takes on the disk: giving back old segments, and meeting a full disk prepared.

use crate::record::{ALIGN, RECORD_HEADER_BYTES, TRAILER_BYTES};
use crate::segment::{SEGMENT_HEADER_BYTES, segment_name, sticky_bytes};
use crate::{Address, Error, Media, PAGE_BYTES, SEGMENT_BYTES_MAX, SegmentFile, Wal};

/// The most that one record takes beside its body, when it is a batch of its own.
const RECORD_OVERHEAD_BYTES: u64 = (RECORD_HEADER_BYTES + ALIGN - 1 + TRAILER_BYTES) as u64;

impl<M: Media> Wal<M> {
    /// The directory, for files beside the segments.
    pub fn media(&mut self) -> &mut M {
        &mut self.media
    }

    /// Removes the oldest segments, as far as all their records lie before `upto`, and returns how
    /// many. The active one stays. Their addresses can no longer be read; the newest sticky record
    /// of each kind remains, as a copy if need be.
    ///
    /// What makes the removed records dispensable must be durable. After each segment the directory
    /// is synced: without it a power cut could leave an older one and take a newer one, and such a
    /// gap cannot be told from a loss.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Poisoned`]: the process must stop.
    pub fn purge(&mut self, upto: Address) -> Result<usize, Error> {
        let mut purged = 0;
        while self.purge_oldest(upto)? {
            purged += 1;
        }
        Ok(purged)
    }

    /// As [`purge`](Wal::purge), for one segment: whether there was one to remove. For whoever must
    /// not wait for many, because a removal with its sync takes a while.
    ///
    /// # Errors
    /// As for [`purge`](Wal::purge).
    pub fn purge_oldest(&mut self, upto: Address) -> Result<bool, Error> {
        self.check_usable()?;
        let oldest = &self.segments[0];
        if self.segments.len() == 1 || oldest.seq() >= upto.segment() {
            return Ok(false);
        }
        let name = oldest.name();
        let file = self.segments.remove(0).file;
        let removed = match file.len_bytes() == self.options.segment_bytes {
            true => self.media.retire(&name, file),
            // Nothing asks for another of this size soon, and it may be large.
            false => {
                drop(file);
                self.media.remove(&name)
            }
        };
        if let Err(source) = removed {
            return Err(self.poison_by(&name, "remove", source));
        }
        if !planted!("removal_not_synced")
            && let Err(source) = self.media.sync_directory()
        {
            return Err(self.poison_by(&name, "sync the removal of", source));
        }
        Ok(true)
    }

    /// Lets go of the memory that reading finished segments took: after the records have been read
    /// at the start, or after reading back far. It counts as ours for as long as the system has no
    /// other use for it.
    pub fn release(&self) {
        let finished = &self.segments[..self.segments.len() - 1];
        finished.iter().for_each(|segment| segment.file.release());
    }

    /// An address at or before the oldest record.
    pub fn first_address(&self) -> Address {
        Address::new(self.segments[0].seq(), 0)
    }

    /// How many segments there are, the prepared one not counted.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The size of all segments in bytes, the prepared one not counted.
    pub fn disk_bytes(&self) -> u64 {
        let sizes = self.segments.iter().map(|segment| segment.file.len_bytes());
        sizes.sum()
    }

    /// Whether the next `records` records, of `body_bytes` in all, have their place, and behind
    /// them a reserve of a quarter of a segment for what cannot be refused. Then
    /// [`append`](Wal::append) does not fail with [`Error::Create`] for any of them, in however
    /// many batches.
    ///
    /// Waits for the next segment only when the active one has not enough room. What does not fit
    /// into a segment of the configured size gets a larger one.
    ///
    /// # Errors
    /// [`Error::Create`] when the next segment could not be made: nothing has happened, and
    /// [`retry_prepare`](Wal::retry_prepare) tries again. [`Error::TooLarge`] beyond what
    /// the largest segment holds. [`Error::Poisoned`] after an earlier failure.
    pub fn ensure_room(&mut self, records: usize, body_bytes: usize) -> Result<(), Error> {
        self.check_usable()?;
        let overhead = (records as u64).saturating_mul(RECORD_OVERHEAD_BYTES);
        let needed = overhead
            .saturating_add(body_bytes as u64)
            .saturating_add(TRAILER_BYTES as u64)
            .saturating_add(self.options.segment_bytes / 4);
        if self.room() >= needed {
            return Ok(());
        }
        let head = SEGMENT_HEADER_BYTES + sticky_bytes(&self.sticky) + TRAILER_BYTES;
        let wanted = needed
            .saturating_add(head as u64)
            .max(self.options.segment_bytes);
        if wanted > SEGMENT_BYTES_MAX {
            return Err(Error::TooLarge {
                body_bytes,
                limit_bytes: SEGMENT_BYTES_MAX.saturating_sub(wanted - body_bytes as u64) as usize,
                segment_bytes: SEGMENT_BYTES_MAX,
            });
        }
        let wanted = wanted.next_multiple_of(PAGE_BYTES);
        let is_larger = wanted > self.options.segment_bytes;
        if is_larger {
            self.media.prepare(wanted);
        }
        let prepared = self.media.prepared(wanted);
        if is_larger && prepared.is_err() {
            // Whoever asks for less must not wait for the next retry.
            self.media.prepare(self.options.segment_bytes);
        }
        prepared.map_err(|source| self.cannot_create(source))
    }

    /// Prepares the next segment again if that failed. Does not wait. To be called now and then
    /// while [`ensure_room`](Wal::ensure_room) refuses.
    pub fn retry_prepare(&mut self) {
        self.media.prepare(self.options.segment_bytes);
    }

    /// The error of a segment that could not be made.
    pub(crate) fn cannot_create(&self, source: std::io::Error) -> Error {
        Error::Create {
            file: self.media.describe(&segment_name(self.active().seq() + 1)),
            source,
        }
    }
}
