use crate::record::{
    self, Batch, FLAG_COPY, FLAG_STICKY, TRAILER_BYTES, TRAILER_KIND, record_bytes,
};
use crate::segment::{Predecessor, Segment, Sticky, sticky_bytes};
use crate::sync_job::UnderWay;
use crate::{Address, Error, Media, Options, Record, Recovery, SegmentFile, recover};

/// The log.
///
/// Records are appended to an open batch in memory, [`write`](Wal::write) puts the batch into the
/// segment, [`sync`](Wal::sync) makes it durable. After the first error of the medium every call
/// returns [`Error::Poisoned`] and the process must stop.
#[derive(Debug)]
pub struct Wal<M: Media> {
    pub(crate) media: M,
    pub(crate) options: Options,
    /// All segments, without a gap in their numbers; the last is the one written to.
    pub(crate) segments: Vec<Segment<M::File>>,
    batch: Batch,
    pub(crate) sticky: Sticky,
    /// Up to here the last segment is durable.
    pub(crate) durable: u32,
    /// The `synced_to` of the newest trailer written.
    proven: u32,
    /// The end of the last batch that holds records.
    records_end: u32,
    /// A sync on another thread.
    pub(crate) under_way: Option<UnderWay>,
    /// The text of the first failure.
    failed: Option<String>,
}

impl<M: Media> Wal<M> {
    /// Opens the log in `media`, and creates it in an empty directory. A torn tail is cut; what
    /// remains is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Missing`] when durable bytes are gone, [`Error::Foreign`]
    /// and [`Error::Newer`] when the log is not ours to read, [`Error::SegmentSize`] for bad
    /// options; nothing is changed then. [`Error::Create`] and [`Error::Io`] when the medium fails.
    pub fn open(mut media: M, options: Options) -> Result<(Wal<M>, Recovery), Error> {
        options.check()?;
        let recovered = match recover::recover(&mut media, &options.owner)? {
            Some(recovered) => recovered,
            None => recover::create(&mut media, &options)?,
        };
        media.prepare(options.segment_bytes);
        let wal = Wal {
            media,
            options,
            durable: recovered.batch.start(),
            segments: recovered.segments,
            batch: recovered.batch,
            sticky: recovered.sticky,
            proven: recovered.proven,
            records_end: recovered.records_end,
            under_way: None,
            failed: None,
        };
        Ok((wal, recovered.recovery))
    }

    /// All written records, oldest first. A sticky record that was carried to a new segment comes
    /// once, in its first place; its copy comes only where the log no longer reaches back so far.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let oldest = self.segments[0].seq();
        self.segments.iter().flat_map(move |segment| {
            let bytes = segment.bytes();
            recover::heads(bytes, segment.end)
                .filter(move |(_, head)| head.flags & FLAG_COPY == 0 || segment.seq() == oldest)
                .map(move |(offset, head)| Record {
                    address: Address::new(segment.seq(), offset as u32),
                    kind: head.kind,
                    body: record::body_at(bytes, offset, &head),
                })
        })
    }

    /// Adds a record to the open batch. `fill` must push exactly `body_len` bytes. When the segment
    /// is full the batch so far is written and synced, and this record begins the next segment.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`Options::body_bytes_max`], and [`Error::Create`] when there is
    /// no room for the next segment: nothing was appended and the log stays usable.
    /// [`Error::Io`] and [`Error::Poisoned`]: the process must stop.
    ///
    /// # Panics
    /// When `kind` is 0, which the log uses itself, or `fill` pushes another number of bytes.
    pub fn append(
        &mut self,
        kind: u8,
        body_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Address, Error> {
        self.check_size(body_len, self.options.body_bytes_max())?;
        self.push(kind, 0, body_len, fill)
    }

    /// As [`append`](Wal::append), and the newest record of this kind is copied to the head of
    /// every new segment: it outlives the segment it was written to.
    ///
    /// # Errors
    /// As for [`append`](Wal::append); the limit is an eighth of a segment for the newest sticky
    /// records of all kinds together.
    ///
    /// # Panics
    /// As for [`append`](Wal::append).
    pub fn append_sticky(
        &mut self,
        kind: u8,
        body_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Address, Error> {
        let replaced = self
            .sticky
            .get(&kind)
            .map_or(0, |body| record_bytes(body.len()));
        let others = sticky_bytes(&self.sticky) - replaced + record::RECORD_HEADER_BYTES;
        self.check_size(
            body_len,
            self.options.sticky_bytes_max().saturating_sub(others),
        )?;
        let address = self.push(kind, FLAG_STICKY, body_len, fill)?;
        let body = self.batch.body(address.offset(), body_len).to_vec();
        self.sticky.insert(kind, body);
        Ok(address)
    }

    /// Closes the open batch and puts it into the segment: visible to [`read`](Wal::read), not yet
    /// durable. Does nothing when there is no open batch.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Poisoned`]: the process must stop.
    pub fn write(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.write_batch()?;
        self.records_end = self.active().end;
        Ok(())
    }

    /// Makes everything written durable. The open batch is not part of it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Poisoned`]: the process must stop. What was written since the
    /// last success may or may not survive.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        self.settle()?;
        let active = self
            .segments
            .last_mut()
            .expect("there is an active segment");
        if self.durable == active.end {
            return Ok(());
        }
        let end = active.end;
        let mut synced = active.file.sync();
        if planted!("sync_error_retried") {
            synced = synced.or_else(|_| active.file.sync());
        }
        if let Err(source) = synced {
            return Err(self.poison("sync", source));
        }
        self.durable = end;
        Ok(())
    }

    /// How many bytes are written and not known to be durable.
    pub fn unsynced_bytes(&self) -> usize {
        (self.active().end - self.durable) as usize
    }

    /// Writes and syncs an empty batch when the last records are durable but no trailer proves it
    /// yet. To be called when idle: damage to the last records can then be told from a torn tail.
    ///
    /// # Errors
    /// As for [`append`](Wal::append).
    pub fn mark(&mut self) -> Result<(), Error> {
        self.write()?;
        self.sync()?;
        if self.proven >= self.records_end {
            return Ok(());
        }
        if self.room() < TRAILER_BYTES as u64 {
            return self.rotate();
        }
        self.write_batch()?;
        self.sync()
    }

    /// The body of a written record, straight from the map.
    ///
    /// # Panics
    /// When the log has no such record, or has not written it yet.
    pub fn read(&self, address: Address) -> &[u8] {
        let oldest = self.segments[0].seq();
        let at = address.segment().checked_sub(oldest).map(|at| at as usize);
        let segment = at.and_then(|at| self.segments.get(at));
        let Some(segment) = segment.filter(|segment| address.offset() < segment.end) else {
            panic!("{address:?} is not in the log");
        };
        let bytes = segment.bytes();
        let offset = address.offset() as usize;
        record::body_at(bytes, offset, &record::RecordHead::trusted(bytes, offset))
    }

    pub(crate) fn active(&self) -> &Segment<M::File> {
        self.segments.last().expect("there is an active segment")
    }

    /// How many bytes the active segment has behind the open batch.
    pub(crate) fn room(&self) -> u64 {
        self.active().file.len_bytes() - u64::from(self.batch.end())
    }

    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        match &self.failed {
            Some(first) => Err(Error::Poisoned {
                first: first.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_size(&self, body_bytes: usize, limit_bytes: usize) -> Result<(), Error> {
        if body_bytes <= limit_bytes {
            return Ok(());
        }
        let segment_bytes = self.options.segment_bytes;
        Err(Error::TooLarge {
            body_bytes,
            limit_bytes,
            segment_bytes,
        })
    }

    fn push(
        &mut self,
        kind: u8,
        flags: u8,
        body_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Address, Error> {
        self.check_usable()?;
        assert!(kind != TRAILER_KIND, "kind {TRAILER_KIND} is the log's own");
        if self.room() < (record_bytes(body_len) + TRAILER_BYTES) as u64 {
            self.rotate()?;
        }
        let offset = self.batch.push(kind, flags, body_len, fill);
        Ok(Address::new(self.active().seq(), offset))
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        let start = u64::from(self.batch.start());
        let bytes = self.batch.close(self.durable);
        let active = self
            .segments
            .last_mut()
            .expect("there is an active segment");
        if let Err(source) = active.file.write_at(start, bytes) {
            return Err(self.poison("write to", source));
        }
        active.end = self.batch.end();
        self.batch.restart();
        self.proven = self.durable;
        Ok(())
    }

    /// Ends the active segment and starts the next one. The old one is durable before the new one
    /// has a name: a header under its name proves everything before it.
    fn rotate(&mut self) -> Result<(), Error> {
        self.write()?;
        self.sync()?;
        let (seq, end) = (self.active().seq(), self.active().end);
        let file = self
            .media
            .take_prepared(self.options.segment_bytes)
            .map_err(|source| self.cannot_create(source))?;
        let previous = Predecessor {
            seq,
            end,
            chain: self.batch.chain(),
        };
        let started = Segment::start(
            &mut self.media,
            file,
            self.options.owner,
            previous,
            &self.sticky,
        );
        let (segment, batch) = started.inspect_err(|error| {
            self.failed = Some(error.to_string());
        })?;
        let full = self.segments.last_mut();
        full.expect("there is an active segment").file.seal();
        self.media.prepare(self.options.segment_bytes);
        self.durable = segment.end;
        self.proven = segment.end;
        self.records_end = segment.end;
        self.segments.push(segment);
        self.batch = batch;
        Ok(())
    }

    pub(crate) fn poison(&mut self, doing: &'static str, source: std::io::Error) -> Error {
        let name = self.active().name();
        self.poison_by(&name, doing, source)
    }

    /// As [`poison`](Wal::poison), for another file than the active segment.
    pub(crate) fn poison_by(
        &mut self,
        name: &str,
        doing: &'static str,
        source: std::io::Error,
    ) -> Error {
        let file = self.media.describe(name);
        let error = Error::Io {
            doing,
            file,
            source,
        };
        self.failed = Some(error.to_string());
        error
    }
}
