use super::{Sink, Source};
use rustix::fs::Advice;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// So much is appended before it is handed to the disk. It bounds what a sync of the log, which
/// shares the disk and the journal of the file system, may have to wait for.
const WRITE_BACK_BYTES: u64 = 4 << 20;

/// A file beside the segments of a [`FileMedia`](crate::FileMedia) that is being written.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    /// Its own descriptor: an error of the directory is reported once per descriptor, and the
    /// log's must not be taken here.
    directory: File,
    file: File,
    len_bytes: u64,
    /// Up to here the bytes are on the disk.
    synced: u64,
    failed: bool,
}

impl FileSink {
    pub(super) fn create(directory: &Path, name: &str) -> io::Result<FileSink> {
        let path = directory.join(name);
        let directory = File::open(directory)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(FileSink {
            path,
            directory,
            file,
            len_bytes: 0,
            synced: 0,
            failed: false,
        })
    }

    /// Puts what was appended on the disk. It stays in the page cache, for whoever reads it back.
    fn write_back(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this file failed"));
        }
        // Of two syncs the second would succeed, whatever the first has lost.
        self.failed = true;
        self.file.sync_data()?;
        self.failed = false;
        self.synced = self.len_bytes;
        Ok(())
    }
}

impl Sink for FileSink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(WRITE_BACK_BYTES as usize) {
            let written = self.file.write_all(part);
            self.failed |= written.is_err();
            written?;
            self.len_bytes += part.len() as u64;
            if self.len_bytes - self.synced >= WRITE_BACK_BYTES {
                self.write_back()?;
            }
        }
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write_back()
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        let path = self.path.with_file_name(name);
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

/// A file beside the segments of a [`FileMedia`](crate::FileMedia) that is only read.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len_bytes: u64,
}

impl FileSource {
    pub(super) fn open(path: &Path) -> io::Result<FileSource> {
        let file = File::open(path)?;
        let len_bytes = file.metadata()?.len();
        Ok(FileSource { file, len_bytes })
    }
}

impl Source for FileSource {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn release(&self, range: Range<u64>) {
        if let Some(len) = NonZeroU64::new(range.end.saturating_sub(range.start)) {
            // A file system without page cache has nothing to release.
            let _ = rustix::fs::fadvise(&self.file, range.start, Some(len), Advice::DontNeed);
        }
    }
}
