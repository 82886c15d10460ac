use super::{MemoryMedia, NameChange, Operation};
use crate::{Sink, Source};
use std::io;
use std::ops::Range;

/// A file beside the segments of a [`MemoryMedia`] that is being written.
#[derive(Debug)]
pub struct MemorySink {
    media: MemoryMedia,
    file: u64,
    boot: u64,
    name: String,
    len_bytes: u64,
    failed: bool,
}

impl MemorySink {
    pub(super) fn new(media: MemoryMedia, file: u64, boot: u64, name: &str) -> MemorySink {
        MemorySink {
            media,
            file,
            boot,
            name: name.to_owned(),
            len_bytes: 0,
            failed: false,
        }
    }
}

impl Sink for MemorySink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.media.running(self.boot)?;
        let admitted = disk.admit(Operation::Write).and_then(|()| disk.allocate());
        let arrived = match admitted {
            Ok(()) => bytes.len(),
            Err(_) => bytes.len() / 2,
        };
        if let Some(state) = disk.files.get_mut(&self.file) {
            state.append(&bytes[..arrived]);
        }
        self.len_bytes += bytes.len() as u64;
        self.failed |= admitted.is_err();
        admitted
    }

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.media.running(self.boot)?;
        if self.failed {
            return Err(io::Error::other("an earlier write of this file failed"));
        }
        let admitted = disk.admit(Operation::Sync);
        self.failed = admitted.is_err();
        disk.sync_file(self.file, &admitted);
        admitted
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.media.running(self.boot)?;
        disk.admit(Operation::Publish)?;
        if disk.names.get(&self.name) != Some(&self.file) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (from, to, file) = (self.name.clone(), name.to_owned(), self.file);
        disk.change(NameChange::Rename { from, to, file });
        drop(disk);
        name.clone_into(&mut self.name);
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.media.running(self.boot)?.sync_directory()
    }
}

/// A file beside the segments of a [`MemoryMedia`] that is only read.
#[derive(Debug)]
pub struct MemorySource {
    media: MemoryMedia,
    boot: u64,
    bytes: Vec<u8>,
}

impl MemorySource {
    pub(super) fn new(media: MemoryMedia, boot: u64, bytes: Vec<u8>) -> MemorySource {
        MemorySource { media, boot, bytes }
    }
}

impl Source for MemorySource {
    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.media.running(self.boot)?.admit(Operation::Read)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = from
            .checked_add(bytes.len())
            .and_then(|to| self.bytes.get(from..to))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn release(&self, _range: Range<u64>) {}
}
