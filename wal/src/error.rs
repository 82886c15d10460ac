use rustix::io::Errno;
use std::fmt;
use std::io;

/// Why the log refused. Each text names the thing, the value and the cure.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that were once proven durable are missing or changed. Nothing was cut or written: the
    /// files are as they were found.
    Damaged {
        /// The segment file.
        file: String,
        /// Where the first byte lies that can no longer be trusted.
        offset: u64,
        /// What was expected there.
        reason: &'static str,
    },
    /// A segment file between two others is not there.
    Missing {
        /// The file that should exist.
        file: String,
        /// The next file that does.
        next: String,
    },
    /// The segment belongs to another owner.
    Foreign {
        /// The segment file.
        file: String,
        /// The owner in its header.
        found: [u8; 40],
        /// The owner in [`Options`](crate::Options).
        expected: [u8; 40],
    },
    /// A newer version of the program wrote the segment.
    Newer {
        /// The segment file.
        file: String,
        /// Its format version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The record cannot fit into a segment. Nothing was appended; the log stays usable.
    TooLarge {
        /// The size asked for.
        body_bytes: usize,
        /// The largest body that these segments take.
        limit_bytes: usize,
        /// The segment size that sets the limit.
        segment_bytes: u64,
    },
    /// [`Options::segment_bytes`](crate::Options::segment_bytes) is out of bounds.
    SegmentSize {
        /// The size asked for.
        segment_bytes: u64,
    },
    /// No further segment could be made: the disk is full, or the process has no descriptor left.
    /// The record was not appended, what was appended before is safe, and a later append tries
    /// again.
    Create {
        /// The segment file that was wanted.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The medium failed. The process must stop: after a failed write or sync the page cache and
    /// the disk may disagree, and only a new start repairs that.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier call failed; the log refuses everything since.
    Poisoned {
        /// The text of that first failure.
        first: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Damaged {
                file,
                offset,
                reason,
            } => write!(
                f,
                "{file} is damaged at byte {offset}: {reason}; it was durable once, so it is not \
                 cut; replace the disk if it is failing"
            ),
            Error::Missing { file, next } => {
                write!(f, "{file} is missing but {next} exists; put the file back")
            }
            Error::Foreign {
                file,
                found,
                expected,
            } => write!(
                f,
                "{file} belongs to {}, not to {}; point to the right directory",
                Hex(found),
                Hex(expected)
            ),
            Error::Newer { file, found, known } => write!(
                f,
                "{file} has format version {found}, newer than {known}, the newest that this \
                 program knows; start the newer program"
            ),
            Error::TooLarge {
                body_bytes,
                limit_bytes,
                segment_bytes,
            } => write!(
                f,
                "a record of {body_bytes} bytes exceeds {limit_bytes}, the limit for segments of \
                 {segment_bytes} bytes; send less or configure larger segments"
            ),
            Error::SegmentSize { segment_bytes } => write!(
                f,
                "segments of {segment_bytes} bytes are not possible; choose a multiple of 4096 \
                 from {} to {}",
                crate::SEGMENT_BYTES_MIN,
                crate::SEGMENT_BYTES_MAX
            ),
            Error::Create { file, source } => {
                write!(
                    f,
                    "cannot prepare {file}: {source}; {}",
                    create_cure(source)
                )
            }
            Error::Io {
                doing,
                file,
                source,
            } => write!(
                f,
                "cannot {doing} {file}: {source}; the process must stop and start anew"
            ),
            Error::Poisoned { first } => write!(
                f,
                "the log refuses all work since an earlier failure: {first}"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Create { source, .. } | Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What lets a segment be made again. The log does not know whether its process goes on meanwhile,
/// so it promises nothing of that.
fn create_cure(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOSPC | Errno::DQUOT) => "free some space",
        Some(Errno::MFILE) => "raise the limit of open files (ulimit -n)",
        Some(Errno::NFILE) => "raise the limit of open files of the system (sysctl fs.file-max)",
        _ => "nothing was lost; remove the cause",
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
