//! The Raft log and its snapshots on disk. Entries, hard state and marks are records of one WAL
//! stream, in the order in which the FSM wrote them. What survives a crash is a beginning of the
//! stream, so an entry never survives without the term that it was written in.
//!
//! A snapshot is a file beside the segments. It is written under a temporary name, synced, read
//! back, renamed; then a record of the log, the **mark**, names it, and only when that is durable
//! the log before it goes. What no mark names is debris. So a crash leaves the old state or the
//! new one (docs/snapshot-design.md has the steps and each crash between them).

mod error;
mod job;
mod record;
mod replay;
mod snapshot;
mod survey;

use bytes::Bytes;
use raftkv_wal::{Address, Media, Options, Source, SyncDone, SyncJob, Wal};

use crate::{
    codec::{self, DecodeError, EntryView},
    kv::Kv,
    raft::{Config, Entry, HardState, Index, LogPos, Saved, Snapshot},
};
use record::{ENTRY, HARD_STATE, HARD_STATE_BYTES, Mark, SNAPSHOTS, encode_hard_state};
use replay::Replay;

pub use error::{Error, SnapshotError};
pub use job::{Done, Job, JobError};
pub use snapshot::{CHUNK_BYTES, Header, Loading, Reader, Writer};
pub use survey::{LogSurvey, SnapshotReport, Survey};

/// How many snapshots are kept: should the newest turn out to be damaged, the one before it and
/// the log from there on still have everything.
pub const SNAPSHOTS_KEPT: usize = 2;

/// What is being written, of a node's own state and of a peer's.
const TAKEN_NAME: &str = "taken.tmp";
const FETCHED_NAME: &str = "fetched.tmp";

/// The log of one node: where each entry's record lies, and the snapshots.
pub struct Storage<M: Media> {
    wal: Wal<M>,
    cluster_id: [u8; 16],
    /// The entry before the first record.
    base: Index,
    records: Vec<Address>,
    /// Oldest first.
    snapshots: Vec<Kept<M::Source>>,
    /// Files to remove, once the mark that no longer names them is durable.
    doomed: Vec<String>,
    /// Segments before this are of no use any more.
    purge_upto: Option<Address>,
}

struct Kept<S> {
    snapshot: Snapshot,
    source: S,
}

/// What a data directory held.
pub struct Opened<M: Media> {
    /// To go on with.
    pub storage: Storage<M>,
    /// For consensus.
    pub saved: Saved,
    /// The state as of the snapshot; the log has the rest.
    pub state: Kv,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Where a snapshot's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This node's own state.
    Taken,
    /// A peer.
    Fetched,
}

impl Origin {
    fn temporary_name(self) -> &'static str {
        match self {
            Origin::Taken => TAKEN_NAME,
            Origin::Fetched => FETCHED_NAME,
        }
    }
}

/// The name of a snapshot's file.
#[must_use]
pub fn snapshot_name(pos: LogPos) -> String {
    format!("{:020}-{}.snapshot", pos.index.0, pos.term)
}

impl<M: Media> Storage<M> {
    /// Opens log and snapshots, or makes an empty log. A torn tail is cut; of two snapshots the
    /// newest is loaded, or the older one where that is damaged. The owner in `options` begins
    /// with the cluster's id, 16 bytes.
    ///
    /// # Errors
    /// When the WAL is damaged, foreign or newer, a record makes no sense, or entries are missing
    /// between snapshot and log.
    pub fn open(media: M, options: Options) -> Result<Opened<M>, Error> {
        Storage::open_telling(media, options, &mut |_, _| {})
    }

    /// As [`Storage::open`]. While a snapshot is loaded, `progress` is told how many of its bytes
    /// have been read, and how many there are.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_telling(
        media: M,
        options: Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Opened<M>, Error> {
        let mut cluster_id = [0; 16];
        cluster_id.copy_from_slice(&options.owner[..16]);
        let (wal, recovery) = Wal::open(media, options)?;
        let mut warnings = Vec::new();
        if let Some(cut) = recovery.cut {
            warnings.push(format!(
                "{}: cut {} bytes at {}, written before a crash and never acknowledged",
                cut.file, cut.bytes, cut.offset
            ));
        }
        let mut replay = Replay::default();
        for record in wal.records() {
            replay.take(&record)?;
        }
        let mut storage = Storage {
            wal,
            cluster_id,
            base: Index::ZERO,
            records: Vec::new(),
            snapshots: Vec::new(),
            doomed: Vec::new(),
            purge_upto: None,
        };
        let (loaded, config, state) = storage.load_newest(&replay, progress, &mut warnings)?;
        // A log that was never purged has everything, whatever snapshots there are.
        let base = match storage.snapshots.first() {
            Some(oldest) if !replay.goes_on_from(LogPos::ZERO) => oldest.snapshot.pos,
            _ => LogPos::ZERO,
        };
        let (log, records) = replay.log(base, loaded)?;
        storage.base = base.index;
        storage.records = records;
        storage.remove_debris(&replay.mark)?;
        let saved = Saved {
            hard: replay.hard,
            log,
            snapshot: loaded,
            config,
            configs: replay.configs(base.index),
        };
        Ok(Opened {
            storage,
            saved,
            state,
            warnings,
        })
    }

    /// Loads the newest snapshot that can be read and that the log goes on from. One that cannot be
    /// read this time stays where it is, as a damaged one does.
    fn load_newest(
        &mut self,
        replay: &Replay,
        progress: &mut dyn FnMut(u64, u64),
        warnings: &mut Vec<String>,
    ) -> Result<(Option<Snapshot>, Option<Config>, Kv), Error> {
        let mut unusable: Option<SnapshotError> = None;
        for (at, &snapshot) in replay.mark.snapshots.iter().enumerate().rev() {
            match self.load(snapshot, progress) {
                Ok((header, state)) => {
                    let older = replay.mark.snapshots[..at].iter();
                    for &older in older.filter(|older| replay.goes_on_from(older.pos)) {
                        // It is not needed now.
                        if let Err(error) = self.keep(older) {
                            warnings.push(error.to_string());
                        }
                    }
                    self.keep(snapshot)?;
                    return Ok((Some(snapshot), Some(header.config), state));
                }
                Err(error @ (SnapshotError::Newer { .. } | SnapshotError::Foreign { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    warnings.push(format!(
                        "the snapshot of {} is not used: {error}",
                        snapshot.pos
                    ));
                    // One that was not read is perhaps whole, and the next start reads it.
                    let is_unread = matches!(error, SnapshotError::Io { .. });
                    unusable = unusable.filter(|_| !is_unread).or(Some(error));
                }
            }
        }
        match unusable {
            Some(error) if !replay.goes_on_from(LogPos::ZERO) => Err(error.into()),
            _ => Ok((None, None, Kv::default())),
        }
    }

    fn load(
        &mut self,
        snapshot: Snapshot,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Header, Kv), SnapshotError> {
        let mut loading = self.loading(snapshot)?;
        let header = loading.header().clone();
        loop {
            progress(loading.offset(), snapshot.bytes);
            if let Some(state) = loading.step()? {
                let (found, _) = loading.finish();
                let file = self.describe(&snapshot_name(snapshot.pos));
                return match found == snapshot {
                    true => Ok((header, state)),
                    false => Err(SnapshotError::Damaged {
                        file,
                        offset: 0,
                        what: "it is another file than the log names".to_owned(),
                    }),
                };
            }
        }
    }

    /// Begins to load the state from a snapshot that is kept.
    fn loading(&mut self, snapshot: Snapshot) -> Result<Loading<M::Source>, SnapshotError> {
        let name = snapshot_name(snapshot.pos);
        let file = self.describe(&name);
        let source = self.wal.media().open_source(&name);
        let source = source.map_err(|source| SnapshotError::opening(file.clone(), source))?;
        let loading = Loading::new(source, file.clone())?;
        match loading.header().cluster_id == self.cluster_id {
            true => Ok(loading),
            false => Err(SnapshotError::Foreign { file }),
        }
    }

    fn keep(&mut self, snapshot: Snapshot) -> Result<(), Error> {
        let name = snapshot_name(snapshot.pos);
        let source = self.wal.media().open_source(&name);
        let source = source.map_err(|source| self.failed("open", &name, source))?;
        self.snapshots.push(Kept { snapshot, source });
        Ok(())
    }

    /// Removes what an earlier process left that the mark does not name. A damaged snapshot stays
    /// to be looked at, until a newer mark.
    fn remove_debris(&mut self, mark: &Mark) -> Result<(), Error> {
        let names = self.wal.media().list();
        let names = names.map_err(|source| self.failed("list", "", source))?;
        let kept = mark.snapshots.iter().map(|kept| snapshot_name(kept.pos));
        let kept: Vec<String> = kept.collect();
        for name in names {
            let ours = name.ends_with(".snapshot") || [TAKEN_NAME, FETCHED_NAME].contains(&&*name);
            if ours && !kept.contains(&name) {
                self.doomed.push(name);
            }
        }
        while self.tidy_up()? {}
        self.wal.release();
        Ok(())
    }

    /// Writes hard state and entries, in this order. They can be read at once and survive a crash
    /// after the next [`Storage::sync`].
    ///
    /// # Errors
    /// When the WAL fails: the process must stop.
    pub fn write(&mut self, hard: Option<HardState>, entries: &[Entry]) -> Result<(), Error> {
        if let Some(hard) = hard {
            let fill = |out: &mut Vec<u8>| encode_hard_state(hard, out);
            self.wal.append_sticky(HARD_STATE, HARD_STATE_BYTES, fill)?;
        }
        if let Some(first) = entries.first() {
            self.records.truncate(self.place(first.pos.index));
        }
        for entry in entries {
            let Entry { pos, kind, data } = entry;
            let bytes = codec::encoded_entry_len(*pos, *kind, data);
            let fill = |out: &mut Vec<u8>| codec::encode_entry(*pos, *kind, data, out);
            let address = self.wal.append(ENTRY, bytes, fill)?;
            self.records.push(address);
            let last = Index(self.base.0 + self.records.len() as u64);
            assert!(last == pos.index, "entry {pos} written at {last}");
        }
        Ok(self.wal.write()?)
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// When the WAL fails: the process must stop. What was written may or may not be on disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        Ok(self.wal.sync()?)
    }

    /// As [`Storage::sync`], on the thread that runs the job; `None` when all is durable.
    ///
    /// # Errors
    /// As [`Storage::sync`].
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob>, Error> {
        Ok(self.wal.begin_sync()?)
    }

    /// Whether that has ended.
    ///
    /// # Errors
    /// As [`Storage::sync`].
    pub fn poll_sync(&mut self) -> Result<SyncDone, Error> {
        Ok(self.wal.poll_sync()?)
    }

    /// How many bytes are written and not known to be durable.
    #[must_use]
    pub fn unsynced_bytes(&self) -> usize {
        self.wal.unsynced_bytes()
    }

    /// Lets the log prove that its last batch is durable.
    ///
    /// # Errors
    /// As [`Storage::sync`].
    pub fn mark(&mut self) -> Result<(), Error> {
        Ok(self.wal.mark()?)
    }

    /// The encoded entry at `index`, straight from the map: the bytes that a peer's frame takes.
    ///
    /// # Panics
    /// If there is no such entry.
    #[must_use]
    pub fn encoded_entry(&self, index: Index) -> &[u8] {
        self.wal.read(self.records[self.place(index)])
    }

    /// The entry at `index`, where it lies.
    ///
    /// # Errors
    /// When its bytes are no entry.
    pub fn entry(&self, index: Index) -> Result<EntryView<'_>, DecodeError> {
        codec::read_entry(self.encoded_entry(index))
    }

    /// Begins to write a snapshot, in place of one that was not finished. A full disk may be met.
    ///
    /// # Errors
    /// Of the disk. Nothing else is harmed by it.
    pub fn begin_snapshot(&mut self, origin: Origin) -> std::io::Result<M::Sink> {
        self.wal.media().create(origin.temporary_name())
    }

    /// Opens what was written, to read it back.
    ///
    /// # Errors
    /// Of the disk.
    pub fn read_back(&mut self, origin: Origin) -> std::io::Result<(M::Source, String)> {
        let name = origin.temporary_name();
        let source = self.wal.media().open_source(name)?;
        Ok((source, self.describe(name)))
    }

    /// Drops what was written, or a part of it.
    ///
    /// # Errors
    /// Of the disk.
    pub fn discard_snapshot(&mut self, origin: Origin) -> std::io::Result<()> {
        self.wal.media().remove(origin.temporary_name())
    }

    /// Drops a snapshot that has its name already, but is not in the log.
    ///
    /// # Errors
    /// Of the disk.
    pub fn discard_published(&mut self, snapshot: Snapshot) -> std::io::Result<()> {
        let is_kept = self.snapshots().any(|kept| kept.pos == snapshot.pos);
        match is_kept {
            true => Ok(()),
            false => self.wal.media().remove(&snapshot_name(snapshot.pos)),
        }
    }

    /// Names a snapshot, which is durable under its name, in the log: after the next
    /// [`Storage::sync`] it is there to stay, and an older one may go. One that was fetched takes
    /// the place of all entries.
    ///
    /// # Errors
    /// When the WAL fails or the file is gone: the process must stop.
    pub fn add_snapshot(
        &mut self,
        snapshot: Snapshot,
        origin: Origin,
        kept: usize,
    ) -> Result<(), Error> {
        self.keep(snapshot)?;
        let installed = origin == Origin::Fetched;
        // The log does not go on from where an older one ends.
        let kept = if installed { 1 } else { kept.max(1) };
        let surplus = self.snapshots.len().saturating_sub(kept);
        let surplus = self.snapshots.drain(..surplus);
        self.doomed
            .extend(surplus.map(|old| snapshot_name(old.snapshot.pos)));
        let mark = Mark {
            snapshots: self.snapshots.iter().map(|kept| kept.snapshot).collect(),
            installed: installed && !planted!("install_marked_as_taken"),
        };
        let fill = |out: &mut Vec<u8>| mark.encode(out);
        let address = self.wal.append_sticky(SNAPSHOTS, mark.len_bytes(), fill)?;
        if installed {
            self.base = snapshot.pos.index;
            self.records.clear();
            self.purge_upto = Some(address);
        }
        Ok(self.wal.write()?)
    }

    /// Once the newest mark is durable, and names so many snapshots, the log before the oldest of
    /// them is of no use; nor are files that no mark names. Returns up to where entries are
    /// dropped; the files go with [`Storage::tidy_up`].
    pub fn compact(&mut self, kept: usize) -> Index {
        let upto = match self.snapshots.first() {
            Some(oldest) if self.snapshots.len() >= kept => oldest.snapshot.pos.index,
            _ => self.base,
        };
        let upto = upto.max(self.base);
        let dropped = (upto.0 - self.base.0) as usize;
        self.records.drain(..dropped);
        self.base = upto;
        if let Some(&first) = self.records.first() {
            self.purge_upto = Some(first);
        }
        upto
    }

    /// Removes one file that is of no use any more; to be called when everything written is
    /// durable. Returns whether there is another.
    ///
    /// # Errors
    /// When the disk fails: the process must stop.
    pub fn tidy_up(&mut self) -> Result<bool, Error> {
        if let Some(name) = self.doomed.pop() {
            let removed = self.wal.media().remove(&name);
            removed.map_err(|source| self.failed("remove", &name, source))?;
            return Ok(true);
        }
        let Some(upto) = self.purge_upto else {
            return Ok(false);
        };
        let more = self.wal.purge_oldest(upto)?;
        if !more {
            self.purge_upto = None;
        }
        Ok(more)
    }

    /// The snapshots that are kept, oldest first.
    pub fn snapshots(&self) -> impl Iterator<Item = Snapshot> + '_ {
        self.snapshots.iter().map(|kept| kept.snapshot)
    }

    /// Bytes of a snapshot's file, as many as a chunk has or as there are; none of one that is not
    /// kept here, and none behind its end.
    ///
    /// # Errors
    /// Of the disk.
    pub fn chunk(
        &self,
        snapshot: Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> std::io::Result<Option<Bytes>> {
        let mut kept = self.snapshots.iter();
        let Some(kept) = kept.find(|kept| kept.snapshot == snapshot) else {
            return Ok(None);
        };
        let left = snapshot.bytes.saturating_sub(offset);
        let mut bytes = vec![0; left.min(max_bytes as u64) as usize];
        kept.source.read_at(offset, &mut bytes)?;
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }

    /// Opens a snapshot's file once more, for a reader of its own.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_snapshot(
        &mut self,
        snapshot: Snapshot,
    ) -> Result<(Header, M::Source), SnapshotError> {
        let header = self.loading(snapshot)?.header().clone();
        let name = snapshot_name(snapshot.pos);
        let source = self.wal.media().open_source(&name);
        let source = source.map_err(|source| SnapshotError::Io {
            doing: "open",
            file: self.describe(&name),
            source,
        })?;
        Ok((header, source))
    }

    /// Begins to load the state from a snapshot that is kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_job(&mut self, snapshot: Snapshot) -> Result<Job<M>, Error> {
        Ok(Job::load(self.loading(snapshot)?))
    }

    /// Whether there is room for so many entries with so many bytes in all, and enough left for
    /// what keeps a node in its cluster: votes, marks, a new leader's first entry.
    pub fn has_room(&mut self, entries: usize, bytes: usize) -> bool {
        self.wal.ensure_room(entries, bytes).is_ok()
    }

    /// After the disk was full: looks whether there is room again. Now and then is enough.
    pub fn look_for_room(&mut self) {
        self.wal.retry_prepare();
    }

    /// The cluster that the log belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> [u8; 16] {
        self.cluster_id
    }

    /// Where the entry at `index` stands among the records.
    fn place(&self, index: Index) -> usize {
        (index.0 - self.base.0 - 1) as usize
    }

    fn describe(&mut self, name: &str) -> String {
        self.wal.media().describe(name)
    }

    fn failed(&mut self, doing: &'static str, name: &str, source: std::io::Error) -> Error {
        let file = self.describe(name);
        Error::Io {
            doing,
            file,
            source,
        }
    }
}

#[cfg(test)]
mod tests;
