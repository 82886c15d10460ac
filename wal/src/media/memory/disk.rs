//! The disk below a [`MemoryMedia`](super::MemoryMedia): what is cached, what is durable, and what
//! a power cut makes of the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

/// What the page cache writes back at once.
const PAGE_BYTES: usize = 4096;
/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;
/// "Input/output error" and "No space left on device", as the system numbers them.
pub(super) const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What a [`MemoryMedia`](super::MemoryMedia) can be told to fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A write to a segment, or an append to another file; half of its bytes arrive.
    Write,
    /// The sync of a file. Its unsynced pages then count as clean without being on the disk, as on
    /// Linux: a later sync succeeds and does not write them.
    Sync,
    /// The creation of a segment: the disk is full.
    Create,
    /// A rename.
    Publish,
    /// The sync of the directory.
    SyncDirectory,
    /// The opening of a file that exists, of a segment with the reading of it.
    Open,
    /// The creation of a file beside the segments: the disk is full.
    CreateFile,
    /// The reading of a file beside the segments.
    Read,
    /// The removal of a file.
    Remove,
}

/// How an operation of a [`MemoryMedia`](super::MemoryMedia) failed that goes on working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was told to fail at this.
    Ordered(Operation),
    /// It is full.
    NoRoom,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<u64, FileState>,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) unsynced_names: Vec<NameChange>,
    next_file: u64,
    /// Grows with each crash; files opened before it are gone.
    pub(super) boots: u64,
    /// How many operations of each kind still succeed before one fails.
    pub(super) faults: BTreeMap<Operation, u64>,
    /// What has failed and nobody was told of.
    pub(super) failures: Vec<Failure>,
    /// The machine stops before the next operation of this kind.
    pub(super) stop_at: Option<Operation>,
    /// How many operations still happen before the machine stops.
    pub(super) operations_left: Option<u64>,
    /// The machine has stopped before this operation: nothing happens any more.
    pub(super) stopped: Option<Operation>,
    /// How many writes to segments have happened.
    pub(super) writes: u64,
    /// How many had happened before the oldest change of a segment's name that is not durable.
    pub(super) writes_before_names: Option<u64>,
    /// Nothing can be allocated.
    pub(super) full: bool,
    /// The size of the segment that was prepared, and why there is no first or no larger one.
    pub(super) next: (Option<u64>, Option<i32>),
    /// Retired segments whose space later ones take, by name.
    pub(super) kept: Vec<(String, u64)>,
}

#[derive(Debug)]
pub(super) struct FileState {
    /// Whether it is a segment: what is written to other files has an order of its own.
    pub(super) is_segment: bool,
    /// What a reader sees.
    pub(super) cached: Vec<u8>,
    /// What has reached the disk. Shorter where the file has grown since its last sync.
    durable: Vec<u8>,
    /// What was written since the last sync, and so may reach the disk at any time. Where the two
    /// differ and nothing is unsynced, a failed sync has lost a write.
    pub(super) unsynced: Vec<Range<usize>>,
    pub(super) sync_failed: bool,
    /// How many writes to all segments had happened before the oldest of `unsynced`, or before the
    /// oldest that a failed sync has lost.
    pub(super) writes_before: u64,
    /// The place of each write.
    pub(super) places: Vec<Range<usize>>,
    /// Whether it took the place of a retired segment.
    pub(super) is_reused: bool,
    /// From here on its bytes are those of that one.
    pub(super) stale_from: usize,
}

#[derive(Debug)]
pub(super) enum NameChange {
    Add { name: String, file: u64 },
    Rename { from: String, to: String, file: u64 },
    Remove { name: String, file: u64 },
}

impl NameChange {
    fn file(&self) -> u64 {
        match self {
            NameChange::Add { file, .. }
            | NameChange::Rename { file, .. }
            | NameChange::Remove { file, .. } => *file,
        }
    }

    pub(super) fn apply(self, names: &mut BTreeMap<String, u64>) {
        let mut drop_name = |name: String, file| {
            if names.get(&name) == Some(&file) {
                names.remove(&name);
            }
        };
        match self {
            NameChange::Add { name, file } => {
                names.insert(name, file);
            }
            NameChange::Rename { from, to, file } => {
                drop_name(from, file);
                names.insert(to, file);
            }
            NameChange::Remove { name, file } => drop_name(name, file),
        }
    }
}

impl Disk {
    pub(super) fn forget_faults(&mut self) {
        self.faults.clear();
        self.operations_left = None;
        self.stop_at = None;
    }

    /// Whether this operation happens; `Err` is what the caller gets instead.
    pub(super) fn admit(&mut self, operation: Operation) -> io::Result<()> {
        if self.operations_left == Some(0) || self.stop_at == Some(operation) {
            self.stopped.get_or_insert(operation);
        }
        if self.stopped.is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if let Some(left) = &mut self.operations_left {
            *left -= 1;
        }
        match self.faults.get_mut(&operation) {
            Some(0) => {
                self.faults.remove(&operation);
                self.failures.push(Failure::Ordered(operation));
                let full = matches!(operation, Operation::Create | Operation::CreateFile);
                Err(io::Error::from_raw_os_error(if full {
                    ENOSPC
                } else {
                    EIO
                }))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether there is space for more.
    pub(super) fn allocate(&mut self) -> io::Result<()> {
        if self.full {
            self.failures.push(Failure::NoRoom);
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    /// Prepares a segment, unless one of this size is ready.
    pub(super) fn prepare(&mut self, segment_bytes: u64) {
        if self.next.0.is_some_and(|bytes| bytes >= segment_bytes) {
            return;
        }
        match self.full && !self.keeps(segment_bytes) {
            true => self.next.1 = Some(ENOSPC),
            false => self.next = (Some(segment_bytes), None),
        }
    }

    fn keeps(&self, segment_bytes: u64) -> bool {
        let mut kept = self.kept.iter();
        kept.any(|(_, file)| self.files[file].cached.len() as u64 == segment_bytes)
    }

    /// Begins the next life of a retired segment of this size, if one is kept.
    pub(super) fn take_kept(&mut self, segment_bytes: u64) -> Option<(String, u64)> {
        let Disk { kept, files, .. } = self;
        let size_of = |file| files[file].cached.len() as u64;
        let at = kept
            .iter()
            .position(|(_, file)| size_of(file) == segment_bytes)?;
        let (name, file) = kept.remove(at);
        let state = files.get_mut(&file).expect("it has a name");
        state.places.clear();
        state.is_reused = true;
        state.stale_from = 0;
        Some((name, file))
    }

    pub(super) fn prepared(&self, segment_bytes: u64) -> io::Result<()> {
        match self.next {
            (Some(bytes), _) if bytes >= segment_bytes => Ok(()),
            (_, Some(errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn add_file(&mut self, bytes: Vec<u8>, is_segment: bool) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, FileState::new(bytes, is_segment));
        file
    }

    /// Takes a name away, if it is there.
    pub(super) fn remove_name(&mut self, name: &str) {
        if let Some(&file) = self.names.get(name) {
            self.change(NameChange::Remove {
                name: name.to_owned(),
                file,
            });
        }
    }

    pub(super) fn change(&mut self, change: NameChange) {
        if self
            .files
            .get(&change.file())
            .is_some_and(|file| file.is_segment)
        {
            self.writes_before_names.get_or_insert(self.writes);
        }
        match &change {
            NameChange::Add { name, file } => {
                self.names.insert(name.clone(), *file);
            }
            NameChange::Rename { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            NameChange::Remove { name, .. } => {
                self.names.remove(name);
            }
        }
        self.unsynced_names.push(change);
    }

    /// What a sync of a file does to it when it was admitted, or when it was not.
    pub(super) fn sync_file(&mut self, file: u64, admitted: &io::Result<()>) {
        let stopped = self.stopped.is_some();
        if let Some(state) = self.files.get_mut(&file) {
            match admitted {
                Ok(()) => state.sync(),
                // Without power nothing is decided yet: the crash does that.
                Err(_) if stopped => {}
                Err(_) => state.fail_sync(),
            }
        }
    }

    pub(super) fn sync_directory(&mut self) -> io::Result<()> {
        self.admit(Operation::SyncDirectory)?;
        self.durable_names = self.names.clone();
        self.unsynced_names.clear();
        self.writes_before_names = None;
        self.collect();
        Ok(())
    }

    /// Frees the files that no name can lead to any more.
    pub(super) fn collect(&mut self) {
        let pending = self.unsynced_names.iter().map(NameChange::file);
        let durable = self.durable_names.values().copied();
        let kept: BTreeSet<u64> = self
            .names
            .values()
            .copied()
            .chain(durable)
            .chain(pending)
            .collect();
        self.files.retain(|file, _| kept.contains(file));
    }
}

impl FileState {
    fn new(bytes: Vec<u8>, is_segment: bool) -> FileState {
        FileState {
            is_segment,
            durable: bytes.clone(),
            cached: bytes,
            unsynced: Vec::new(),
            sync_failed: false,
            writes_before: 0,
            places: Vec::new(),
            is_reused: false,
            stale_from: usize::MAX,
        }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], writes_before: u64) {
        if self.unsynced.is_empty() && !self.sync_failed {
            self.writes_before = writes_before;
        }
        let mut range = offset..offset + bytes.len();
        self.places.push(range.clone());
        self.stale_from = self.stale_from.max(range.end);
        self.cached[range.clone()].copy_from_slice(bytes);
        if self.sync_failed {
            // Pages are written back whole: this one takes along what an earlier sync lost of it.
            range.start -= range.start % PAGE_BYTES;
            range.end = range
                .end
                .next_multiple_of(PAGE_BYTES)
                .min(self.cached.len());
        }
        match self.unsynced.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.unsynced.push(range),
        }
    }

    /// Writes at the end. It is not counted.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let offset = self.cached.len();
        self.cached.resize(offset + bytes.len(), 0);
        self.write(offset, bytes, 0);
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for range in self.unsynced.drain(..) {
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
        if self.sync_failed && self.durable == self.cached {
            self.sync_failed = false;
        }
    }

    pub(super) fn fail_sync(&mut self) {
        self.unsynced.clear();
        self.sync_failed = true;
    }

    /// Leaves of each unsynced page the old one, the new one or a mix of their sectors, and of a
    /// length that has grown any beginning.
    pub(super) fn crash(&mut self, rng: &mut impl FnMut() -> u64) {
        let grown = self.cached.len() - self.durable.len();
        if grown == 0 && self.unsynced.is_empty() && !self.sync_failed {
            return;
        }
        if grown > 0 {
            let choice = rng();
            let arrived = match choice % 4 {
                0 => 0,
                1 => grown,
                _ => (choice >> 8) as usize % grown,
            };
            self.durable.resize(self.durable.len() + arrived, 0);
        }
        let unsynced = self.unsynced.drain(..);
        let pages: BTreeSet<usize> = unsynced
            .flat_map(|range| range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES))
            .collect();
        for page in pages {
            let choice = rng();
            let arrived = match choice % 4 {
                0 => 0,
                1 => u64::MAX,
                _ => choice >> 8,
            };
            let from = page * PAGE_BYTES;
            let to = (from + PAGE_BYTES).min(self.durable.len());
            let sectors = (from..to).step_by(SECTOR_BYTES).enumerate();
            for (_, from) in sectors.filter(|(at, _)| arrived >> at & 1 == 1) {
                let sector = from..(from + SECTOR_BYTES).min(to);
                self.durable[sector.clone()].copy_from_slice(&self.cached[sector]);
            }
        }
        self.cached.clone_from(&self.durable);
        self.sync_failed = false;
    }
}
