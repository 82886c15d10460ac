use super::{FileSink, FileSource, KEPT_MAX, Media, PREPARED_NAME, SegmentFile};
use super::{is_leftover, kept_name};
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How much is zeroed at once, which is how large the page cache makes its folios: a small write
/// costs more in a large one, and a large write more in many small ones (docs/wal.md).
const ZEROS_BYTES: usize = 64 << 10;

/// Retired segments are kept while the disk has room for so many times as many.
const ROOM_FACTOR: u64 = 8;

/// A directory on disk. Segments are mapped for reading and written by `pwrite`.
#[derive(Debug)]
pub struct FileMedia {
    path: PathBuf,
    directory: File,
    next: Next,
    kept: Vec<Kept>,
    /// Gives back the space of what was removed last.
    freeing: Option<JoinHandle<()>>,
}

/// A retired segment, whose space the next one takes.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    bytes: u64,
}

/// The next segment.
#[derive(Debug)]
enum Next {
    UnderWay {
        segment_bytes: u64,
        helper: JoinHandle<Made>,
    },
    Made(Made),
}

/// What there is of the next segment, and what went wrong when a first or a larger one was made.
#[derive(Debug, Default)]
struct Made {
    file: Option<MappedFile>,
    error: Option<io::Error>,
}

impl Made {
    fn has(&self, segment_bytes: u64) -> bool {
        let file = self.file.as_ref();
        file.is_some_and(|file| file.len_bytes() >= segment_bytes)
    }
}

impl Default for Next {
    fn default() -> Next {
        Next::Made(Made::default())
    }
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
            next: Next::default(),
            kept: Vec::new(),
            freeing: None,
        })
    }

    /// Takes what was made; waits for the helper, if there is one.
    fn settle(&mut self) -> Made {
        match std::mem::take(&mut self.next) {
            Next::UnderWay { helper, .. } => match helper.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Next::Made(made) => made,
        }
    }

    /// A retired segment of just this size, if one is kept.
    fn take_kept(&mut self, segment_bytes: u64) -> Option<PathBuf> {
        let mut kept = self.kept.iter();
        match kept.position(|kept| kept.bytes == segment_bytes) {
            Some(at) => Some(self.kept.swap_remove(at).path),
            None => {
                self.make_way();
                None
            }
        }
    }

    /// Gives back what is kept when the disk has little room beside it.
    fn make_way(&mut self) {
        if self.has_plenty() {
            return;
        }
        for kept in std::mem::take(&mut self.kept) {
            // What stays is removed at the next start.
            let _ = self.unlink(&kept.path, File::open(&kept.path));
        }
    }

    /// Whether the disk has room enough to keep what could be given back.
    fn has_plenty(&self) -> bool {
        let kept: u64 = self.kept.iter().map(|kept| kept.bytes).sum();
        rustix::fs::fstatvfs(&self.directory)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= kept * ROOM_FACTOR)
    }

    /// Removes a file. Its space is given back elsewhere, by closing the last descriptor that leads
    /// to it: that took 16 to 43 ms for 64 MiB, and the log must not wait for it.
    fn unlink<T: Send + 'static>(&mut self, path: &Path, last: T) -> io::Result<()> {
        remove_if_there(path)?;
        let before = self.freeing.take();
        let free = move || {
            wait_for(before);
            drop(last);
        };
        // Without a thread it is dropped here.
        let freeing = thread::Builder::new().name("wal-free".to_owned());
        self.freeing = freeing.spawn(free).ok();
        Ok(())
    }

    /// Whether a helper is at work that will make a segment of this size.
    fn is_making(&self, wanted_bytes: u64) -> bool {
        match &self.next {
            Next::UnderWay {
                segment_bytes,
                helper,
            } => *segment_bytes >= wanted_bytes && !helper.is_finished(),
            Next::Made(_) => false,
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
        let made = self.settle();
        if made.has(segment_bytes) {
            self.next = Next::Made(made);
            return;
        }
        let path = self.path.join(PREPARED_NAME);
        let kept = self.take_kept(segment_bytes);
        // What is being given back may be needed.
        let freeing = self.freeing.take();
        let spawned = thread::Builder::new()
            .name("wal-prepare".to_owned())
            .spawn(move || {
                wait_for(freeing);
                prepare(&path, segment_bytes, made.file, kept)
            });
        self.next = match spawned {
            Ok(helper) => Next::UnderWay {
                segment_bytes,
                helper,
            },
            Err(error) => Next::Made(Made {
                file: None,
                error: Some(error),
            }),
        };
    }

    fn prepared(&mut self, segment_bytes: u64) -> io::Result<()> {
        let made = self.settle();
        let result = match &made.error {
            _ if made.has(segment_bytes) => Ok(()),
            Some(error) => Err(same(error)),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        self.next = Next::Made(made);
        result
    }

    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<MappedFile> {
        let mut made = self.settle();
        if !made.has(segment_bytes) {
            // A full disk may have got room since, so an error of the helper is met by trying here.
            wait_for(self.freeing.take());
            let kept = self.take_kept(segment_bytes);
            made = prepare(
                &self.path.join(PREPARED_NAME),
                segment_bytes,
                made.file,
                kept,
            );
        }
        match made {
            Made {
                file: Some(file),
                error: None,
            } => Ok(file),
            made => {
                let error = made.error.as_ref().map(same);
                self.next = Next::Made(made);
                Err(error.expect("nothing was made"))
            }
        }
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        fs::rename(self.path.join(PREPARED_NAME), self.path.join(name))
    }

    fn retire(&mut self, name: &str, file: MappedFile) -> io::Result<()> {
        let path = self.path.join(name);
        self.kept.push(Kept {
            path: self.path.join(kept_name(name)),
            bytes: file.len_bytes(),
        });
        if self.kept.len() <= KEPT_MAX && self.has_plenty() {
            let kept = self.kept.last().expect("just added");
            return fs::rename(path, &kept.path);
        }
        self.kept.pop();
        self.unlink(&path, file)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        let names = self.list()?;
        let mut leftovers = names.iter().filter(|name| is_leftover(name));
        leftovers.try_for_each(|name| remove_if_there(&self.path.join(name)))
    }

    fn create(&mut self, name: &str) -> io::Result<FileSink> {
        self.make_way();
        remove_if_there(&self.path.join(name))?;
        FileSink::create(&self.path, name)
    }

    fn open_source(&mut self, name: &str) -> io::Result<FileSource> {
        FileSource::open(&self.path.join(name))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        let last = File::open(&path).ok();
        self.unlink(&path, last)
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl Drop for FileMedia {
    fn drop(&mut self) {
        // The helpers must not work in a directory that somebody else may open next.
        if let Next::UnderWay { helper, .. } = std::mem::take(&mut self.next) {
            let _ = helper.join();
        }
        wait_for(self.freeing.take());
    }
}

/// Waits until the space of what was removed is there.
fn wait_for(freeing: Option<JoinHandle<()>>) {
    if let Some(freeing) = freeing {
        // It has nothing to say, not even by a panic: dropping a file cannot fail.
        let _ = freeing.join();
    }
}

/// Makes a segment, of a smaller one if there is one: that stays if there is no room for more,
/// because what cannot be refused may be in need of it. Else of one that is kept.
fn prepare(
    path: &Path,
    segment_bytes: u64,
    smaller: Option<MappedFile>,
    kept: Option<PathBuf>,
) -> Made {
    let made = match (&smaller, kept) {
        (Some(smaller), _) => smaller.enlarged(segment_bytes),
        (None, Some(kept)) => reuse(path, &kept).or_else(|_| make(path, segment_bytes)),
        (None, None) => make(path, segment_bytes),
    };
    match made {
        Ok(file) => Made {
            file: Some(file),
            error: None,
        },
        Err(error) => Made {
            file: smaller,
            error: Some(error),
        },
    }
}

/// Makes a segment of a retired one: its space is there, written once, and needs no zeros, because
/// nothing in it is valid in a later segment.
fn reuse(path: &Path, kept: &Path) -> io::Result<MappedFile> {
    fs::rename(kept, path)?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    // A write of less than a page waits for the rest of it, if that is not in the page cache.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::WillNeed);
    let mut reused = MappedFile::new(file)?;
    reused.is_reused = true;
    Ok(reused)
}

/// Makes a segment of zeros whose space is the disk's promise: allocated, so that a full disk is
/// met here and not within a write, and physically zeroed, so that a later sync need not turn
/// unwritten extents into written ones. Never by `ftruncate`: that leaves a hole.
fn make(path: &Path, segment_bytes: u64) -> io::Result<MappedFile> {
    remove_if_there(path)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let made = fill_with_zeros(&file, 0..segment_bytes).and_then(|()| MappedFile::new(file));
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

fn fill_with_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let Range { start, end } = range;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), start, end - start) {
        // Where the file system cannot allocate, the zeros below do.
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno.into()),
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = start;
    while offset < end {
        let len = (end - offset).min(ZEROS_BYTES as u64);
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
    file: Option<Arc<File>>,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<MmapRaw>,
    is_reused: bool,
}

impl MappedFile {
    fn new(file: File) -> io::Result<MappedFile> {
        let map = match file.metadata()?.len() {
            0 => None,
            _ => Some(MmapOptions::new().map_raw_read_only(&file)?),
        };
        Ok(MappedFile {
            file: Some(Arc::new(file)),
            map,
            is_reused: false,
        })
    }

    /// The same file, longer, with zeros at its end. If that fails it is as it was.
    fn enlarged(&self, to_bytes: u64) -> io::Result<MappedFile> {
        let (file, from_bytes) = (self.writable().try_clone()?, self.len_bytes());
        if let Err(error) = fill_with_zeros(&file, from_bytes..to_bytes) {
            file.set_len(from_bytes)?;
            return Err(error);
        }
        let mut enlarged = MappedFile::new(file)?;
        enlarged.is_reused = self.is_reused;
        Ok(enlarged)
    }

    fn writable(&self) -> &File {
        self.file.as_ref().expect("a sealed segment is only read")
    }
}

impl SegmentFile for MappedFile {
    fn len_bytes(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }

    fn is_reused(&self) -> bool {
        self.is_reused
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

    fn sync_elsewhere(&self) -> Box<dyn FnOnce() -> io::Result<()> + Send> {
        // The one descriptor that is written by: another one's error would be missed.
        let file = self.file.clone().expect("a sealed segment is only read");
        Box::new(move || file.sync_data())
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
