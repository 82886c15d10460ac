//! Where segments live: a directory, real or in memory.

mod file;
mod memory;

pub use file::{FileMedia, MappedFile};
pub use memory::{MemoryFile, MemoryMedia, Operation};

use std::io;
use std::ops::Range;

/// The name of a segment that is not yet part of the log.
pub(crate) const PREPARED_NAME: &str = "next.tmp";

/// A directory of preallocated segments.
///
/// The log holds it alone; who else may open the directory is settled before, by a lock file.
pub trait Media {
    /// An open segment.
    type File: SegmentFile;

    /// The names of all files, in no particular order.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, readable as a whole: a read error arrives here.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;

    /// Begins to make the next segment ahead of need. An error is kept for
    /// [`take_prepared`](Media::take_prepared).
    fn prepare(&mut self, segment_bytes: u64);

    /// A segment of this size under a temporary name: space allocated, all bytes zero, durable.
    /// Waits for the one being prepared, or makes it now.
    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<Self::File>;

    /// Renames the prepared segment to `name`, in one step.
    fn publish(&mut self, name: &str) -> io::Result<()>;

    /// Makes all names so far durable.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Removes a prepared segment that an earlier process left, if there is one.
    fn remove_leftovers(&mut self) -> io::Result<()>;

    /// The name as an operator knows it.
    fn describe(&self, name: &str) -> String;
}

/// One segment of a [`Media`].
pub trait SegmentFile {
    /// The size, which never changes.
    fn len_bytes(&self) -> u64;

    /// Writes all of `bytes` at `offset`, visible to [`bytes`](SegmentFile::bytes) at once and
    /// durable after [`sync`](SegmentFile::sync). On an error a part may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable. An error must not be followed by a second try: the system
    /// may have dropped what it could not write.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back what only writing needs, the descriptor above all: a full segment is read for as
    /// long as the log lives. It must be synced, and is neither written nor synced again.
    fn seal(&mut self);

    /// The bytes of this range, as they are now.
    fn bytes(&self, range: Range<usize>) -> &[u8];
}
