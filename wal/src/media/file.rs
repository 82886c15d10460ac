use super::{FileSink, FileSource, Media, PREPARED_NAME, SegmentFile};
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How much is zeroed at once, which is how large the page cache makes its folios: a small write
/// costs more in a large one, and a large write more in many small ones (docs/wal.md).
const ZEROS_BYTES: usize = 64 << 10;

/// A directory on disk. Segments are mapped for reading and written by `pwrite`.
#[derive(Debug)]
pub struct FileMedia {
    path: PathBuf,
    directory: File,
    next: Next,
}

/// The next segment.
#[derive(Debug)]
enum Next {
    Nothing,
    UnderWay {
        segment_bytes: u64,
        helper: JoinHandle<io::Result<MappedFile>>,
    },
    Ready(MappedFile),
    Failed(io::Error),
}

impl FileMedia {
    /// Uses the directory at `path`, which must exist.
    ///
    /// # Errors
    /// Whatever opening the directory reports.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<FileMedia> {
        let path = path.into();
        let directory = File::open(&path)?;
        Ok(FileMedia {
            path,
            directory,
            next: Next::Nothing,
        })
    }

    /// Waits for the helper, if there is one.
    fn settle(&mut self) {
        let next = std::mem::replace(&mut self.next, Next::Nothing);
        self.next = match next {
            Next::UnderWay { helper, .. } => match helper.join() {
                Ok(Ok(file)) => Next::Ready(file),
                Ok(Err(error)) => Next::Failed(error),
                Err(panic) => std::panic::resume_unwind(panic),
            },
            settled => settled,
        };
    }

    /// Whether a helper is at work that will make a segment of this size.
    fn is_making(&self, wanted_bytes: u64) -> bool {
        match &self.next {
            Next::UnderWay {
                segment_bytes,
                helper,
            } => *segment_bytes >= wanted_bytes && !helper.is_finished(),
            _ => false,
        }
    }
}

impl Media for FileMedia {
    type File = MappedFile;
    type Sink = FileSink;
    type Source = FileSource;

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&mut self, name: &str) -> io::Result<MappedFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        read_through(&file)?;
        MappedFile::new(file)
    }

    fn prepare(&mut self, segment_bytes: u64) {
        if self.is_making(segment_bytes) {
            return;
        }
        self.settle();
        if matches!(&self.next, Next::Ready(file) if file.len_bytes() >= segment_bytes) {
            return;
        }
        let path = self.path.join(PREPARED_NAME);
        let spawned = thread::Builder::new()
            .name("wal-prepare".to_owned())
            .spawn(move || prepare(&path, segment_bytes));
        self.next = match spawned {
            Ok(helper) => Next::UnderWay {
                segment_bytes,
                helper,
            },
            Err(error) => Next::Failed(error),
        };
    }

    fn prepared(&mut self, segment_bytes: u64) -> io::Result<()> {
        self.settle();
        match &self.next {
            Next::Ready(file) if file.len_bytes() >= segment_bytes => Ok(()),
            Next::Failed(error) => Err(same(error)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<MappedFile> {
        self.settle();
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Ready(file) if file.len_bytes() >= segment_bytes => Ok(file),
            // A full disk may have got room since, so an error of the helper is met by trying here.
            _ => prepare(&self.path.join(PREPARED_NAME), segment_bytes).inspect_err(|error| {
                self.next = Next::Failed(same(error));
            }),
        }
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        fs::rename(self.path.join(PREPARED_NAME), self.path.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        remove_if_there(&self.path.join(PREPARED_NAME))
    }

    fn create(&mut self, name: &str) -> io::Result<FileSink> {
        remove_if_there(&self.path.join(name))?;
        FileSink::create(&self.path, name)
    }

    fn open_source(&mut self, name: &str) -> io::Result<FileSource> {
        FileSource::open(&self.path.join(name))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        remove_if_there(&self.path.join(name))
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl Drop for FileMedia {
    fn drop(&mut self) {
        // The helper must not work in a directory that somebody else may open next.
        if let Next::UnderWay { helper, .. } = std::mem::replace(&mut self.next, Next::Nothing) {
            let _ = helper.join();
        }
    }
}

/// Makes a segment of zeros whose space is the disk's promise: allocated, so that a full disk is
/// met here and not within a write, and physically zeroed, so that a later sync need not turn
/// unwritten extents into written ones. Never by `ftruncate`: that leaves a hole.
fn prepare(path: &Path, segment_bytes: u64) -> io::Result<MappedFile> {
    remove_if_there(path)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let made = fill_with_zeros(&file, segment_bytes).and_then(|()| MappedFile::new(file));
    if made.is_err() {
        // Half a segment would keep the space that others need to make room.
        let _ = fs::remove_file(path);
    }
    made
}

/// The same error once more: one copy stays with the state, one goes to whoever asks.
fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn fill_with_zeros(file: &File, segment_bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, segment_bytes) {
        // Where the file system cannot allocate, the zeros below do.
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno.into()),
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = 0;
    while offset < segment_bytes {
        let len = (segment_bytes - offset).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..len as usize], offset)?;
        offset += len;
    }
    file.sync_all()
}

/// Reads a whole file once, so that a bad sector is an error number here and not a signal in the
/// middle of a read through the map.
fn read_through(file: &File) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(()),
            Ok(read) => offset += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A segment file with its map. One descriptor serves as long as it is written, because the system
/// reports an error of write-back once per descriptor.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` once it is sealed: the map keeps the file without it.
    file: Option<File>,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<MmapRaw>,
}

impl MappedFile {
    fn new(file: File) -> io::Result<MappedFile> {
        let map = match file.metadata()?.len() {
            0 => None,
            _ => Some(MmapOptions::new().map_raw_read_only(&file)?),
        };
        Ok(MappedFile {
            file: Some(file),
            map,
        })
    }

    fn writable(&self) -> &File {
        self.file.as_ref().expect("a sealed segment is only read")
    }
}

impl SegmentFile for MappedFile {
    fn len_bytes(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(
            offset + bytes.len() as u64 <= self.len_bytes(),
            "a segment never grows"
        );
        self.writable().write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writable().sync_data()
    }

    fn seal(&mut self) {
        self.file = None;
        self.release();
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        let Some(map) = &self.map else {
            assert!(range.is_empty(), "an empty file has no bytes {range:?}");
            return &[];
        };
        assert!(
            range.start <= range.end && range.end <= map.len(),
            "{range:?} is in the file"
        );
        // SAFETY: the range lies within the map, which lives as long as `self`. The bytes change
        // only by `write_at`, which takes `&mut self` and so excludes this borrow; other processes
        // are kept out by the lock on the data directory.
        unsafe { std::slice::from_raw_parts(map.as_ptr().add(range.start), range.len()) }
    }
    fn release(&self) {
        if let Some(map) = &self.map {
            // SAFETY: the map is shared and backed by a file, so its pages are read again from
            // there, with the same bytes: a slice of it stays what it was.
            let released = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            // It is advice: without it the memory goes when the system needs it.
            drop(released);
        }
    }
}
