use super::{Media, PREPARED_NAME, SegmentFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the page cache writes back at once.
const PAGE_BYTES: usize = 4096;
/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;
/// "Input/output error" and "No space left on device", as the system numbers them.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A directory in memory that forgets like a real one.
///
/// Clones share the directory, so a test keeps it while the log that used it is dropped. Dropping
/// and opening again is a process that was killed: everything written is still there.
/// [`crash`](MemoryMedia::crash) is a power cut. It is deterministic and uses no thread.
#[derive(Clone, Debug, Default)]
pub struct MemoryMedia {
    disk: Arc<Mutex<Disk>>,
}

/// What a [`MemoryMedia`] can be told to fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A write; half of its bytes arrive.
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
    /// The opening of a file that exists, with the reading of it.
    Open,
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    next_file: u64,
    /// Grows with each crash; files opened before it are gone.
    boots: u64,
    /// How many operations of each kind still succeed before one fails.
    faults: BTreeMap<Operation, u64>,
    /// The machine stops before the next operation of this kind.
    stop_at: Option<Operation>,
    /// How many operations still happen before the machine stops.
    operations_left: Option<u64>,
    /// The machine has stopped before this operation: nothing happens any more.
    stopped: Option<Operation>,
    /// How many writes to files have happened.
    writes: u64,
    /// How many had happened before the oldest change of a name that is not durable.
    writes_before_names: u64,
}

#[derive(Debug)]
struct FileState {
    /// What a reader sees.
    cached: Vec<u8>,
    /// What has reached the disk.
    durable: Vec<u8>,
    /// What was written since the last sync, and so may reach the disk at any time. Where the two
    /// differ and nothing is unsynced, a failed sync has lost a write.
    unsynced: Vec<Range<usize>>,
    sync_failed: bool,
    /// How many writes to all files had happened before the oldest of `unsynced`, or before the
    /// oldest that a failed sync has lost.
    writes_before: u64,
    /// The place of each write.
    places: Vec<Range<usize>>,
}

#[derive(Debug)]
enum NameChange {
    Add { name: String, file: u64 },
    Rename { from: String, to: String, file: u64 },
    Remove { name: String, file: u64 },
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
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

impl MemoryMedia {
    /// An empty directory.
    pub fn new() -> MemoryMedia {
        MemoryMedia::default()
    }

    /// Cuts the power. Of every file an arbitrary subset of the pages written since its last sync
    /// is on the disk, each whole or as any mix of its old and new sectors; of the names changed
    /// since the last sync of the directory, each change has happened or has not. Pending faults
    /// are forgotten, and logs opened before only get errors.
    pub fn crash(&self, rng: &mut impl FnMut() -> u64) {
        let mut disk = self.lock();
        disk.boots += 1;
        disk.forget_faults();
        disk.stopped = None;
        for file in disk.files.values_mut() {
            file.crash(rng);
        }
        let mut names = std::mem::take(&mut disk.durable_names);
        for change in std::mem::take(&mut disk.unsynced_names) {
            if rng() & 1 == 0 {
                change.apply(&mut names);
            }
        }
        disk.names = names.clone();
        disk.durable_names = names;
        disk.collect();
    }

    /// Lets `after` operations of this kind succeed and the next one fail, once.
    pub fn fail(&self, operation: Operation, after: u64) {
        self.lock().faults.insert(operation, after);
    }

    /// Lets `operations` more of any kind happen. Everything after them fails, a write after half
    /// of its bytes, until [`crash`](MemoryMedia::crash).
    pub fn stop_after(&self, operations: u64) {
        self.lock().operations_left = Some(operations);
    }

    /// Lets the machine stop before the next operation of this kind, as
    /// [`stop_after`](MemoryMedia::stop_after) does.
    pub fn stop_at(&self, operation: Operation) {
        self.lock().stop_at = Some(operation);
    }

    /// The operation before which the machine stopped, if it has.
    pub fn stopped(&self) -> Option<Operation> {
        self.lock().stopped
    }

    /// Forgets what [`fail`](MemoryMedia::fail), [`stop_after`](MemoryMedia::stop_after) and
    /// [`stop_at`](MemoryMedia::stop_at) asked for and did not get.
    pub fn forget_faults(&self) {
        self.lock().forget_faults();
    }

    /// How many writes to files have happened so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// How many writes, from the first on, a power cut cannot take: files and names are synced.
    pub fn durable_writes(&self) -> u64 {
        let disk = self.lock();
        let unsynced = disk
            .files
            .values()
            .filter(|file| file.sync_failed || !file.unsynced.is_empty())
            .map(|file| file.writes_before);
        let names = (!disk.unsynced_names.is_empty()).then_some(disk.writes_before_names);
        unsynced.chain(names).min().unwrap_or(disk.writes)
    }

    /// The names of all files, in order.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// The bytes of the file with this name, if there is one.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.lock();
        Some(disk.files.get(disk.names.get(name)?)?.cached.clone())
    }

    /// Where the file with this name was written, write by write: for whoever misplaces one.
    pub fn places(&self, name: &str) -> Vec<Range<usize>> {
        let disk = self.lock();
        let file = disk.names.get(name).and_then(|file| disk.files.get(file));
        file.map(|file| file.places.clone()).unwrap_or_default()
    }

    /// Puts a file on the disk as if it had always been there: how a test damages one.
    pub fn set_contents(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.lock();
        let file = disk.add_file(bytes);
        disk.names.insert(name.to_owned(), file);
        disk.durable_names.insert(name.to_owned(), file);
        disk.collect();
    }

    /// Takes a file off the disk.
    pub fn delete(&self, name: &str) {
        let mut disk = self.lock();
        disk.names.remove(name);
        disk.durable_names.remove(name);
        disk.collect();
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panic elsewhere in a test must not hide behind one about the lock.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn forget_faults(&mut self) {
        self.faults.clear();
        self.operations_left = None;
        self.stop_at = None;
    }

    /// Whether this operation happens; `Err` is what the caller gets instead.
    fn admit(&mut self, operation: Operation) -> io::Result<()> {
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
                let full = operation == Operation::Create;
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

    fn add_file(&mut self, bytes: Vec<u8>) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, FileState::new(bytes));
        file
    }

    fn change(&mut self, change: NameChange) {
        if self.unsynced_names.is_empty() {
            self.writes_before_names = self.writes;
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

    /// Frees the files that no name can lead to any more.
    fn collect(&mut self) {
        let pending = self.unsynced_names.iter().map(|change| match change {
            NameChange::Add { file, .. }
            | NameChange::Rename { file, .. }
            | NameChange::Remove { file, .. } => *file,
        });
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
    fn new(bytes: Vec<u8>) -> FileState {
        FileState {
            durable: bytes.clone(),
            cached: bytes,
            unsynced: Vec::new(),
            sync_failed: false,
            writes_before: 0,
            places: Vec::new(),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8], writes_before: u64) {
        if self.unsynced.is_empty() && !self.sync_failed {
            self.writes_before = writes_before;
        }
        let mut range = offset..offset + bytes.len();
        self.places.push(range.clone());
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

    fn sync(&mut self) {
        for range in self.unsynced.drain(..) {
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
        if self.sync_failed && self.durable == self.cached {
            self.sync_failed = false;
        }
    }

    fn fail_sync(&mut self) {
        self.unsynced.clear();
        self.sync_failed = true;
    }

    /// Leaves of each unsynced page the old one, the new one or a mix of their sectors.
    fn crash(&mut self, rng: &mut impl FnMut() -> u64) {
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
            let to = (from + PAGE_BYTES).min(self.cached.len());
            let sectors = (from..to).step_by(SECTOR_BYTES).enumerate();
            for (_, from) in sectors.filter(|(at, _)| arrived >> at & 1 == 1) {
                let sector = from..(from + SECTOR_BYTES).min(to);
                self.durable[sector.clone()].copy_from_slice(&self.cached[sector]);
            }
        }
        self.cached.copy_from_slice(&self.durable);
        self.sync_failed = false;
    }
}

impl Media for MemoryMedia {
    type File = MemoryFile;

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&mut self, name: &str) -> io::Result<MemoryFile> {
        let mut disk = self.lock();
        if name != PREPARED_NAME {
            disk.admit(Operation::Open)?;
        }
        let file = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let cached = disk.files[&file].cached.clone();
        let boot = disk.boots;
        drop(disk);
        Ok(MemoryFile {
            media: self.clone(),
            file,
            boot,
            sealed: false,
            cached,
        })
    }

    fn prepare(&mut self, _segment_bytes: u64) {}

    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<MemoryFile> {
        let mut disk = self.lock();
        disk.admit(Operation::Create)?;
        if let Some(&file) = disk.names.get(PREPARED_NAME) {
            disk.change(NameChange::Remove {
                name: PREPARED_NAME.to_owned(),
                file,
            });
        }
        let file = disk.add_file(vec![0; segment_bytes as usize]);
        disk.change(NameChange::Add {
            name: PREPARED_NAME.to_owned(),
            file,
        });
        drop(disk);
        self.open(PREPARED_NAME)
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.admit(Operation::Publish)?;
        let file = *disk
            .names
            .get(PREPARED_NAME)
            .ok_or(io::ErrorKind::NotFound)?;
        let (from, to) = (PREPARED_NAME.to_owned(), name.to_owned());
        disk.change(NameChange::Rename { from, to, file });
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.admit(Operation::SyncDirectory)?;
        disk.durable_names = disk.names.clone();
        disk.unsynced_names.clear();
        disk.collect();
        Ok(())
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        let mut disk = self.lock();
        if let Some(&file) = disk.names.get(PREPARED_NAME) {
            disk.change(NameChange::Remove {
                name: PREPARED_NAME.to_owned(),
                file,
            });
        }
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// A file of a [`MemoryMedia`].
#[derive(Debug)]
pub struct MemoryFile {
    media: MemoryMedia,
    file: u64,
    boot: u64,
    sealed: bool,
    /// The reader's view. A copy, so that reading needs no lock and lends plain slices.
    cached: Vec<u8>,
}

impl MemoryFile {
    /// The disk, unless the power went since this file was opened.
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        assert!(!self.sealed, "a sealed segment is only read");
        let disk = self.media.lock();
        if disk.boots != self.boot {
            return Err(io::Error::other(
                "the machine has restarted since this file was opened",
            ));
        }
        if disk.stopped.is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(disk)
    }
}

impl SegmentFile for MemoryFile {
    fn len_bytes(&self) -> u64 {
        self.cached.len() as u64
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        assert!(
            offset + bytes.len() <= self.cached.len(),
            "a segment never grows"
        );
        let mut disk = self.disk()?;
        let admitted = disk.admit(Operation::Write);
        let arrived = if admitted.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let writes = disk.writes;
        if let Some(state) = disk.files.get_mut(&self.file) {
            state.write(offset, &bytes[..arrived], writes);
        }
        disk.writes += 1;
        drop(disk);
        admitted?;
        self.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk()?;
        let admitted = disk.admit(Operation::Sync);
        let stopped = disk.stopped.is_some();
        if let Some(state) = disk.files.get_mut(&self.file) {
            match admitted {
                Ok(()) => state.sync(),
                // Without power nothing is decided yet: the crash does that.
                Err(_) if stopped => {}
                Err(_) => state.fail_sync(),
            }
        }
        admitted
    }

    fn seal(&mut self) {
        self.sealed = true;
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.cached[range]
    }
}
