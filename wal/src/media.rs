//! Where segments live: a directory, real or in memory; and the files that a caller keeps beside
//! them, so that one sync of the directory orders the names of both.

mod file;
mod memory;
mod side;

pub use file::{FileMedia, MappedFile};
pub use memory::{Failure, MemoryFile, MemoryMedia, MemorySink, MemorySource, Operation};
pub use side::{FileSink, FileSource};

use std::io;
use std::ops::Range;

/// The name of a segment that is not yet part of the log.
pub(crate) const PREPARED_NAME: &str = "next.tmp";
/// Retired segments that are kept: what a snapshot after 256 MiB of log makes dispensable, and a
/// few that are not used up yet.
const KEPT_MAX: usize = 20;

/// The name under which a retired segment is kept.
fn kept_name(name: &str) -> String {
    format!("next-{}.tmp", name.trim_end_matches(".wal"))
}

/// Whether a file of this name is the prepared segment, or a retired one: no part of the log, and
/// gone at the next start.
pub fn is_leftover(name: &str) -> bool {
    name.starts_with("next")
}

/// A directory of preallocated segments, and of a caller's own files beside them.
///
/// The log holds it alone; who else may open the directory is settled before, by a lock file. The
/// names of segments, `*.wal`, and those that begin with `next` are the log's.
pub trait Media {
    /// An open segment.
    type File: SegmentFile;
    /// A file beside the segments that is being written.
    type Sink: Sink;
    /// A file beside the segments that is only read.
    type Source: Source;

    /// The names of all files, in no particular order.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, readable as a whole: a read error arrives here.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;

    /// Begins to make the next segment ahead of need, unless one of this size or a larger one is
    /// ready or under way. An error is kept for [`prepared`](Media::prepared); preparing again
    /// forgets it and tries again. Does not wait, except for a smaller one that is under way.
    fn prepare(&mut self, segment_bytes: u64);

    /// Whether a segment of at least this size is ready. Waits for the one under way.
    fn prepared(&mut self, segment_bytes: u64) -> io::Result<()>;

    /// A segment of at least this size under a temporary name: space allocated, all bytes zero, or
    /// those of an earlier segment ([`is_reused`](SegmentFile::is_reused)), and durable. Waits for
    /// the one being prepared, or makes it now.
    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<Self::File>;

    /// Renames the prepared segment to `name`, in one step.
    fn publish(&mut self, name: &str) -> io::Result<()>;

    /// Takes a finished segment out of the log: its name is gone when this returns, durably after
    /// [`sync_directory`](Media::sync_directory). Its space is kept for later segments, as far as
    /// few are kept and the disk has plenty.
    fn retire(&mut self, name: &str, file: Self::File) -> io::Result<()>;

    /// Makes all names so far durable.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Removes the prepared segment and those kept that an earlier process left, if there are any.
    fn remove_leftovers(&mut self) -> io::Result<()>;

    /// Makes an empty file of this name, in place of one that is there. A full disk may be met
    /// here. Without a sync of the directory a power cut leaves either, or none.
    fn create(&mut self, name: &str) -> io::Result<Self::Sink>;

    /// Opens a file that exists, without reading it.
    fn open_source(&mut self, name: &str) -> io::Result<Self::Source>;

    /// Removes a file; one that is not there is no error. Durable after
    /// [`sync_directory`](Media::sync_directory).
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// The name as an operator knows it.
    fn describe(&self, name: &str) -> String;
}

/// One segment of a [`Media`].
pub trait SegmentFile: Send + 'static {
    /// The size, which never changes.
    fn len_bytes(&self) -> u64;

    /// Whether it holds bytes of an earlier segment, in place of zeros.
    fn is_reused(&self) -> bool;

    /// Writes all of `bytes` at `offset`, visible to [`bytes`](SegmentFile::bytes) at once and
    /// durable after [`sync`](SegmentFile::sync). On an error a part may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable. An error must not be followed by a second try: the system
    /// may have dropped what it could not write.
    fn sync(&mut self) -> io::Result<()>;

    /// What another thread is to call in place of [`sync`](SegmentFile::sync), while this is
    /// written on: everything written before the call is durable when it returns.
    fn sync_elsewhere(&self) -> Box<dyn FnOnce() -> io::Result<()> + Send>;

    /// Gives back what only writing needs, the descriptor above all: a full segment is read for as
    /// long as the log lives. It must be synced, and is neither written nor synced again.
    fn seal(&mut self);

    /// The bytes of this range, as they are now.
    fn bytes(&self, range: Range<usize>) -> &[u8];

    /// Lets go of the memory that reading took. The bytes can be read as before.
    fn release(&self);
}

/// A file written once from start to end, on any thread: under a temporary name, then
/// [`sync`](Sink::sync), [`publish`](Sink::publish), [`sync_directory`](Sink::sync_directory).
///
/// After an error the file is of no use; dropping the sink leaves it, and
/// [`Media::remove`] frees its space.
pub trait Sink: Send + 'static {
    /// Adds all of `bytes` at the end. A full disk may be met here. On an error a part may have
    /// been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// How many bytes were appended.
    fn len_bytes(&self) -> u64;

    /// Makes everything appended durable. An error must not be followed by a second try.
    fn sync(&mut self) -> io::Result<()>;

    /// Renames the file, in one step, replacing one of that name. Durable after
    /// [`sync_directory`](Sink::sync_directory); until then a power cut leaves the old or the new.
    fn publish(&mut self, name: &str) -> io::Result<()>;

    /// Makes all names so far durable, those of other files too.
    fn sync_directory(&mut self) -> io::Result<()>;
}

/// A finished file, read on any thread. It stays readable when its name goes or leads elsewhere.
pub trait Source: Send + 'static {
    /// The size when it was opened.
    fn len_bytes(&self) -> u64;

    /// Fills `bytes` from `offset` on. A bad sector is an error here, never a signal, because no
    /// map is involved. A file that ends before is [`io::ErrorKind::UnexpectedEof`].
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Says that these bytes will not be read again soon, so that a large file does not push
    /// others out of memory. It is advice: nothing can fail.
    fn release(&self, range: Range<u64>);
}
