mod disk;
mod side;

pub use disk::{Failure, Operation};
pub use side::{MemorySink, MemorySource};

use super::{KEPT_MAX, Media, PREPARED_NAME, SegmentFile, is_leftover, kept_name};
use crate::segment::segment_seq;
use disk::{Disk, EIO, NameChange};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A directory in memory that forgets like a real one.
///
/// Clones share the directory, so a test keeps it while the log that used it is dropped. Dropping
/// and opening again is a process that was killed: everything written is still there.
/// [`crash`](MemoryMedia::crash) is a power cut. It is deterministic and uses no thread.
#[derive(Clone, Debug, Default)]
pub struct MemoryMedia {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryMedia {
    /// An empty directory.
    pub fn new() -> MemoryMedia {
        MemoryMedia::default()
    }

    /// Cuts the power. Of every file an arbitrary subset of the pages written since its last sync
    /// is on the disk, each whole or as any mix of its old and new sectors; a file that grew has
    /// any length from the old to the new; of the names changed since the last sync of the
    /// directory, each change has happened or has not. Pending faults are forgotten, and logs
    /// opened before only get errors.
    pub fn crash(&self, rng: &mut impl FnMut() -> u64) {
        let mut disk = self.lock();
        disk.boots += 1;
        disk.forget_faults();
        disk.stopped = None;
        disk.next = (None, None);
        disk.kept.clear();
        disk.writes_before_names = None;
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

    /// From now on, or no longer, whatever allocates fails for want of space: the preparation of a
    /// segment, the creation of another file, and appending to it, of which half arrives. Writing
    /// in place goes on. Neither a power cut nor a new start makes room.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
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

    /// What has failed since this was last asked, in order: by order of
    /// [`fail`](MemoryMedia::fail), or for want of room.
    pub fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.lock().failures)
    }

    /// How many writes to segments have happened so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// How many writes to segments, from the first on, a power cut cannot take: the segments and
    /// their names are synced.
    pub fn durable_writes(&self) -> u64 {
        let disk = self.lock();
        let unsynced = disk
            .files
            .values()
            .filter(|file| file.is_segment && (file.sync_failed || !file.unsynced.is_empty()))
            .map(|file| file.writes_before);
        unsynced
            .chain(disk.writes_before_names)
            .min()
            .unwrap_or(disk.writes)
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

    /// The same without what lies behind them in a segment: zeros, and bytes of an earlier one.
    pub fn written(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.lock();
        let file = disk.files.get(disk.names.get(name)?)?;
        let bytes = &file.cached[..file.stale_from.min(file.cached.len())];
        Some(bytes[..used_of(bytes)].to_vec())
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
        let before = disk.names.get(name).and_then(|file| disk.files.get(file));
        let stale_from = before.map(|before| before.stale_from);
        let file = disk.add_file(bytes, segment_seq(name).is_some());
        if let (Some(stale_from), Some(state)) = (stale_from, disk.files.get_mut(&file)) {
            state.stale_from = stale_from;
        }
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

    /// The disk, for a file that was opened in this boot, unless the machine has stopped.
    fn running(&self, boot: u64) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.lock();
        if disk.boots != boot {
            return Err(io::Error::other(
                "the machine has restarted since this file was opened",
            ));
        }
        if disk.stopped.is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panic elsewhere in a test must not hide behind one about the lock.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Media for MemoryMedia {
    type File = MemoryFile;
    type Sink = MemorySink;
    type Source = MemorySource;

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&mut self, name: &str) -> io::Result<MemoryFile> {
        let mut disk = self.lock();
        if name != PREPARED_NAME {
            disk.admit(Operation::Open)?;
        }
        let file = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let state = &disk.files[&file];
        let (cached, is_reused) = (state.cached.clone(), state.is_reused);
        let boot = disk.boots;
        drop(disk);
        Ok(MemoryFile {
            media: self.clone(),
            file,
            boot,
            sealed: false,
            is_reused,
            cached,
        })
    }

    fn prepare(&mut self, segment_bytes: u64) {
        self.lock().prepare(segment_bytes);
    }

    fn prepared(&mut self, segment_bytes: u64) -> io::Result<()> {
        self.lock().prepared(segment_bytes)
    }

    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<MemoryFile> {
        let mut disk = self.lock();
        disk.admit(Operation::Create)?;
        let made_bytes = match disk.next.0 {
            Some(bytes) if bytes >= segment_bytes => bytes,
            _ => {
                disk.allocate()?;
                segment_bytes
            }
        };
        disk.next = (None, None);
        disk.remove_name(PREPARED_NAME);
        let to = PREPARED_NAME.to_owned();
        let change = match disk.take_kept(made_bytes) {
            Some((from, file)) => NameChange::Rename { from, to, file },
            None => NameChange::Add {
                name: to,
                file: disk.add_file(vec![0; made_bytes as usize], true),
            },
        };
        disk.change(change);
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

    fn retire(&mut self, name: &str, file: MemoryFile) -> io::Result<()> {
        let mut disk = self.lock();
        disk.admit(Operation::Remove)?;
        if disk.kept.len() < KEPT_MAX && !disk.full {
            let (from, to) = (name.to_owned(), kept_name(name));
            disk.kept.push((to.clone(), file.file));
            let file = file.file;
            disk.change(NameChange::Rename { from, to, file });
        } else {
            disk.remove_name(name);
        }
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.lock().sync_directory()
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.next = (None, None);
        disk.kept.clear();
        let names: Vec<String> = disk.names.keys().cloned().collect();
        for name in names.iter().filter(|name| is_leftover(name)) {
            disk.remove_name(name);
        }
        Ok(())
    }

    fn create(&mut self, name: &str) -> io::Result<MemorySink> {
        let mut disk = self.lock();
        disk.admit(Operation::CreateFile)?;
        disk.allocate()?;
        disk.remove_name(name);
        let file = disk.add_file(Vec::new(), false);
        disk.change(NameChange::Add {
            name: name.to_owned(),
            file,
        });
        let boot = disk.boots;
        drop(disk);
        Ok(MemorySink::new(self.clone(), file, boot, name))
    }

    fn open_source(&mut self, name: &str) -> io::Result<MemorySource> {
        let mut disk = self.lock();
        disk.admit(Operation::Open)?;
        let file = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = disk.files[&file].cached.clone();
        let boot = disk.boots;
        drop(disk);
        Ok(MemorySource::new(self.clone(), boot, bytes))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.admit(Operation::Remove)?;
        disk.remove_name(name);
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Where the zeros at the end begin.
fn used_of(bytes: &[u8]) -> usize {
    const BLOCK_BYTES: usize = 512;
    let is_used = |block: &[u8]| block != &[0; BLOCK_BYTES][..block.len()];
    let last = bytes.chunks(BLOCK_BYTES).rposition(is_used);
    let end = last.map_or(0, |block| bytes.len().min((block + 1) * BLOCK_BYTES));
    let used = bytes[..end].iter().rposition(|&byte| byte != 0);
    used.map_or(0, |at| at + 1)
}

/// A file of a [`MemoryMedia`].
#[derive(Debug)]
pub struct MemoryFile {
    media: MemoryMedia,
    file: u64,
    boot: u64,
    sealed: bool,
    is_reused: bool,
    /// The reader's view. A copy, so that reading needs no lock and lends plain slices.
    cached: Vec<u8>,
}

impl MemoryFile {
    /// The disk, unless the power went since this file was opened.
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        assert!(!self.sealed, "a sealed segment is only read");
        self.media.running(self.boot)
    }
}

impl SegmentFile for MemoryFile {
    fn len_bytes(&self) -> u64 {
        self.cached.len() as u64
    }

    fn is_reused(&self) -> bool {
        self.is_reused
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
        assert!(!self.sealed, "a sealed segment is only read");
        self.sync_elsewhere()()
    }

    fn sync_elsewhere(&self) -> Box<dyn FnOnce() -> io::Result<()> + Send> {
        let (media, file, boot) = (self.media.clone(), self.file, self.boot);
        Box::new(move || {
            let mut disk = media.running(boot)?;
            let admitted = disk.admit(Operation::Sync);
            disk.sync_file(file, &admitted);
            admitted
        })
    }

    fn seal(&mut self) {
        self.sealed = true;
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.cached[range]
    }
    fn release(&self) {}
}
