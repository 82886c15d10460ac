//! The ways to append to a file durably, of which the log takes one. Each is tried on a file of
//! the size of a segment, prepared as it needs, and begins anew in the next file when that is full.

use memmap2::{Advice, MmapMut};
use raftkv_wal::{FileMedia, Options, Wal};
use rustix::fs::{Advice as FileAdvice, FallocateFlags, OFlags, fadvise, fallocate};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const FILE_BYTES: u64 = 16 << 20;
/// What a disk with `O_DIRECT` takes at least.
const BLOCK_BYTES: usize = 4096;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The log as it ships.
    Shipped,
    /// `pwrite` into zeros that were written and synced, so many bytes at a time.
    Zeroed {
        /// At a time: it decides how large the page cache's folios are.
        by_bytes: usize,
    },
    /// The same, with the zeros dropped from the page cache.
    ZeroedDropped,
    /// `O_DIRECT`, of whole blocks, into zeros.
    Direct,
    /// `pwrite` that makes the file longer.
    Growing,
    /// `pwrite` into space that was allocated and never written.
    Unwritten,
    /// Stores through a map of zeros that a plain write left in the page cache.
    Mapped,
    /// Stores through a map of zeros that were dropped from the page cache, advised to be random.
    MappedDropped,
    /// Stores through a map of space that was allocated and never written, advised to be random.
    MappedUnwritten,
}

impl Way {
    /// All, the shipped one first.
    pub const ALL: [Way; 11] = [
        Way::Shipped,
        Way::Zeroed { by_bytes: 1 << 20 },
        Way::Zeroed { by_bytes: 64 << 10 },
        Way::Zeroed {
            by_bytes: BLOCK_BYTES,
        },
        Way::ZeroedDropped,
        Way::Direct,
        Way::Growing,
        Way::Unwritten,
        Way::Mapped,
        Way::MappedDropped,
        Way::MappedUnwritten,
    ];

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Way::Shipped => "the log as it ships".to_owned(),
            Way::Zeroed { by_bytes } => {
                format!("pwrite into zeros, made {} KiB at a time", by_bytes >> 10)
            }
            Way::ZeroedDropped => "pwrite into zeros, dropped from the cache".to_owned(),
            Way::Direct => "O_DIRECT into zeros".to_owned(),
            Way::Growing => "pwrite that grows the file".to_owned(),
            Way::Unwritten => "pwrite into unwritten extents".to_owned(),
            Way::Mapped => "stores into mapped zeros, cached".to_owned(),
            Way::MappedDropped => "stores into mapped zeros, dropped, random".to_owned(),
            Way::MappedUnwritten => "stores into mapped unwritten extents, random".to_owned(),
        }
    }

    fn is_mapped(self) -> bool {
        matches!(
            self,
            Way::Mapped | Way::MappedDropped | Way::MappedUnwritten
        )
    }
}

/// Appends in one way.
pub enum Appender {
    /// The log as it ships.
    Log(Box<Wal<FileMedia>>),
    /// Any other.
    Plain(Plain),
}

/// A file that is appended to without a format.
pub struct Plain {
    way: Way,
    path: PathBuf,
    file: File,
    map: Option<MmapMut>,
    offset: u64,
    block: Box<Block>,
}

/// Where `O_DIRECT` writes from.
#[repr(align(4096))]
struct Block([u8; 1 << 20]);

impl Appender {
    /// One that writes in this directory, which must be empty.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn new(way: Way, directory: &Path) -> io::Result<Appender> {
        fs::create_dir_all(directory)?;
        if way == Way::Shipped {
            let media = FileMedia::open(directory)?;
            let opened = Wal::open(media, Options::new([0; 40]));
            let (log, _) = opened.map_err(io::Error::other)?;
            return Ok(Appender::Log(Box::new(log)));
        }
        let path = directory.join("file");
        let (file, map) = prepare(way, &path)?;
        Ok(Appender::Plain(Plain {
            way,
            path,
            file,
            map,
            offset: 0,
            block: Box::new(Block([7; 1 << 20])),
        }))
    }

    /// Appends and waits until the disk has it.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Appender::Log(log) => {
                let fill = |out: &mut Vec<u8>| out.extend_from_slice(bytes);
                let appended = log.append(1, bytes.len(), fill);
                appended.map_err(io::Error::other)?;
                log.write().map_err(io::Error::other)?;
                log.sync().map_err(io::Error::other)
            }
            Appender::Plain(plain) => plain.append(bytes),
        }
    }

    /// Makes room for so many bytes, outside of what is timed. The log does it on a thread of its
    /// own, and is timed with all that it does not hide.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        match self {
            Appender::Plain(plain) if plain.offset + plain.len(bytes) > FILE_BYTES => plain.renew(),
            _ => Ok(()),
        }
    }
}

impl Plain {
    fn len(&self, bytes: usize) -> u64 {
        match self.way {
            Way::Direct => bytes.next_multiple_of(BLOCK_BYTES) as u64,
            _ => bytes.next_multiple_of(8) as u64,
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = self.len(bytes.len());
        if let Some(map) = &mut self.map {
            let at = self.offset as usize;
            map[at..at + bytes.len()].copy_from_slice(bytes);
        } else if self.way == Way::Direct {
            self.file
                .write_all_at(&self.block.0[..len as usize], self.offset)?;
        } else {
            self.file.write_all_at(bytes, self.offset)?;
        }
        self.offset += len;
        self.file.sync_data()
    }

    fn renew(&mut self) -> io::Result<()> {
        self.map = None;
        fs::remove_file(&self.path)?;
        (self.file, self.map) = prepare(self.way, &self.path)?;
        self.offset = 0;
        Ok(())
    }
}

fn prepare(way: Way, path: &Path) -> io::Result<(File, Option<MmapMut>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = options.open(path)?;
    match way {
        Way::Growing => {}
        Way::Unwritten | Way::MappedUnwritten => {
            fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
        }
        Way::Zeroed { by_bytes } => zero(&file, by_bytes)?,
        _ => zero(&file, 1 << 20)?,
    }
    file.sync_all()?;
    if matches!(way, Way::ZeroedDropped | Way::MappedDropped) {
        fadvise(&file, 0, None, FileAdvice::DontNeed)?;
    }
    let file = match way {
        Way::Direct => OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(path)?,
        _ => file,
    };
    if !way.is_mapped() {
        return Ok((file, None));
    }
    // SAFETY: the file is in a temporary directory of this process, and nobody else shortens it.
    let map = unsafe { MmapMut::map_mut(&file)? };
    if way != Way::Mapped {
        map.advise(Advice::Random)?;
    }
    Ok((file, Some(map)))
}

fn zero(file: &File, by_bytes: usize) -> io::Result<()> {
    fallocate(file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    let zeros = vec![0; by_bytes];
    let mut offset = 0;
    while offset < FILE_BYTES {
        file.write_all_at(&zeros, offset)?;
        offset += by_bytes as u64;
    }
    Ok(())
}
