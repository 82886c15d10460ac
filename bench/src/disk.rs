//! The cheapest durable append that a file system offers.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

const FILE_BYTES: u64 = 16 << 20;

/// A file of fixed size, full of zeros that are on the disk: a sync then writes data only, without
/// a new size or a new extent. It is written from the front again when it is full.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    offset: u64,
}

impl AppendFile {
    /// Makes the file at `path`, which must not exist.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn create(path: &Path) -> io::Result<AppendFile> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let zeros = vec![0; FILE_BYTES as usize];
        file.write_all_at(&zeros, 0)?;
        file.sync_all()?;
        Ok(AppendFile { file, offset: 0 })
    }

    /// Writes `bytes` behind those written before and waits until the disk has them.
    ///
    /// # Errors
    /// Whatever the write or the sync reports.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > FILE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.file.sync_data()
    }
}
