//! A disk that keeps everything in memory and has no opinion on durability: what is left of the
//! cost of a write is the code above it.

use raftkv_wal::{Media, SegmentFile, Sink, Source};
use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const PREPARED_NAME: &str = "next";

/// What a log with the snapshots of the default policy takes, and one more.
const SPARE_SEGMENTS: usize = 14;

/// A directory in memory.
#[derive(Clone, Debug, Default)]
pub struct RamMedia {
    shared: Arc<Mutex<Directory>>,
    /// Each write takes so much longer, for whoever wants to see a slow disk found.
    delay: Duration,
}

#[derive(Debug, Default)]
struct Directory {
    /// Segments by name hold nothing here: whoever opened one has its bytes.
    files: BTreeMap<String, Arc<Vec<u8>>>,
    /// Memory for segments: a disk is there before it is written to, and memory that is new costs
    /// more than all that is measured here, a page fault for every 4 KiB.
    spare: Vec<Vec<u8>>,
}

impl RamMedia {
    /// An empty directory whose writes take so much longer than they must.
    pub fn slowed_by(delay: Duration) -> RamMedia {
        let media = RamMedia {
            delay,
            ..RamMedia::default()
        };
        media.lock().spare = (0..SPARE_SEGMENTS)
            .map(|_| {
                let mut bytes = vec![0; raftkv_wal::SEGMENT_BYTES_DEFAULT as usize];
                bytes.fill(1);
                bytes
            })
            .collect();
        media
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Media for RamMedia {
    type File = RamFile;
    type Sink = RamSink;
    type Source = RamSource;

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }

    fn open(&mut self, _name: &str) -> io::Result<RamFile> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn prepare(&mut self, _segment_bytes: u64) {}

    fn prepared(&mut self, _segment_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn take_prepared(&mut self, segment_bytes: u64) -> io::Result<RamFile> {
        let segment_bytes = segment_bytes as usize;
        let mut directory = self.lock();
        directory
            .files
            .insert(PREPARED_NAME.to_owned(), Arc::default());
        let spare = directory.spare.pop();
        drop(directory);
        let spare = spare.filter(|bytes| bytes.len() == segment_bytes);
        let bytes = spare.unwrap_or_else(|| vec![0; segment_bytes]);
        Ok(RamFile {
            bytes,
            media: self.clone(),
        })
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        rename(&mut self.lock(), PREPARED_NAME, name)
    }

    fn retire(&mut self, name: &str, _file: RamFile) -> io::Result<()> {
        self.remove(name)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        self.remove(PREPARED_NAME)
    }

    fn create(&mut self, name: &str) -> io::Result<RamSink> {
        self.lock().files.insert(name.to_owned(), Arc::default());
        Ok(RamSink {
            media: self.clone(),
            name: name.to_owned(),
            bytes: Vec::new(),
        })
    }

    fn open_source(&mut self, name: &str) -> io::Result<RamSource> {
        let directory = self.lock();
        let file = directory.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(RamSource(file.clone()))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.lock().files.remove(name);
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

fn rename(directory: &mut Directory, from: &str, to: &str) -> io::Result<()> {
    let file = directory
        .files
        .remove(from)
        .ok_or(io::ErrorKind::NotFound)?;
    directory.files.insert(to.to_owned(), file);
    Ok(())
}

/// A segment.
#[derive(Debug)]
pub struct RamFile {
    bytes: Vec<u8>,
    media: RamMedia,
}

impl SegmentFile for RamFile {
    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_reused(&self) -> bool {
        true
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.media.delay.is_zero() {
            let began = Instant::now();
            while began.elapsed() < self.media.delay {
                std::hint::spin_loop();
            }
        }
        let offset = offset as usize;
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync_elsewhere(&self) -> Box<dyn FnOnce() -> io::Result<()> + Send> {
        Box::new(|| Ok(()))
    }

    fn seal(&mut self) {}

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    fn release(&self) {}
}

impl Drop for RamFile {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.media.lock().spare.push(bytes);
    }
}

/// A file beside the segments that is being written.
#[derive(Debug)]
pub struct RamSink {
    media: RamMedia,
    name: String,
    bytes: Vec<u8>,
}

impl Sink for RamSink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn sync(&mut self) -> io::Result<()> {
        let bytes = Arc::new(self.bytes.clone());
        self.media.lock().files.insert(self.name.clone(), bytes);
        Ok(())
    }

    fn publish(&mut self, name: &str) -> io::Result<()> {
        rename(&mut self.media.lock(), &self.name, name)?;
        name.clone_into(&mut self.name);
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file beside the segments that is only read.
#[derive(Debug)]
pub struct RamSource(Arc<Vec<u8>>);

impl Source for RamSource {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.get(from..).unwrap_or_default();
        let found = rest.get(..bytes.len());
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn release(&self, _range: Range<u64>) {}
}
