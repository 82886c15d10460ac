//! The file of a snapshot: a header, the state in chunks, and a hash of it all. It is written and
//! read from start to end, a chunk at a time, and nowhere held whole.
//!
//! ```text
//! header   magic 8 │ version 4 │ CRC of these 12 bytes 4
//!          cluster id 16 │ index 8 │ term 8 │ revision 8 │ keys 8
//!          size of the configuration 4 │ zero 4 │ configuration │ zero 4 │ CRC of all before 4
//! chunk    length of the body 4 │ kind 1 │ zero 3 │ CRC 4 │ body
//! end      zero 8 │ CRC 4 │ XXH3-128 of all before 16
//! ```
//!
//! Numbers are little-endian. A chunk's CRC continues that of the chunk before it, the first one
//! the header's, over its first 8 bytes and its body: chunks can be neither exchanged nor left
//! out. Nothing in a file depends on the node or the time: equal states give equal files.

use std::io;

use raftkv_wal::{Sink, Source};
use xxhash_rust::xxh3::Xxh3;

use super::error::SnapshotError;
use crate::{
    kv::{Kv, Loader},
    raft::{Config, Index, LogPos, Snapshot, Term},
};

/// The version of everything in the file.
const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RKV-SNAP";
/// The header without its configuration.
const HEADER_BYTES: usize = 80;
const CHUNK_HEADER_BYTES: usize = 12;
const HASH_BYTES: usize = 16;
/// A configuration is no larger than this: nine members, and the ids of all that ever were.
const CONFIG_MAX_BYTES: u32 = 1 << 20;
/// Chunks are cut at the first entry from here on.
pub const CHUNK_BYTES: usize = 256 << 10;
/// So no chunk is larger than this: the largest entry may begin one byte before.
const CHUNK_MAX_BYTES: usize = CHUNK_BYTES + (2 << 20);
/// Keys and values.
const KIND_ENTRIES: u8 = 1;

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cluster whose state it is.
    pub cluster_id: [u8; 16],
    /// The last entry that it includes.
    pub pos: LogPos,
    /// The store's revision.
    pub revision: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The configuration as of that entry (§6, §7).
    pub config: Config,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let config = self.config.encode();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        put_crc(&mut out);
        out.extend_from_slice(&self.cluster_id);
        let numbers = [
            self.pos.index.0,
            self.pos.term.0,
            self.revision,
            self.keys,
            config.len() as u64,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&config);
        out.extend_from_slice(&[0; 4]);
        put_crc(&mut out);
        out
    }

    /// Reads the header of a file, with its CRC.
    fn read(source: &impl Source, hash: &mut Xxh3) -> Result<(Header, u32, u64), Bad> {
        let mut fixed = [0; HEADER_BYTES - 8];
        read(source, 0, &mut fixed)?;
        if fixed[..8] != MAGIC || crc32fast::hash(&fixed[..12]) != u32_at(&fixed, 12) {
            return Err(Bad::Damaged(0, "this is no snapshot"));
        }
        // As in a segment: the version is judged by a CRC that every version keeps in its place.
        match u32_at(&fixed, 8) {
            FORMAT_VERSION => {}
            version => return Err(Bad::Version(version)),
        }
        let config_bytes = u32_at(&fixed, 64);
        if config_bytes > CONFIG_MAX_BYTES {
            return Err(Bad::Damaged(64, "no configuration is so large"));
        }
        let mut rest = vec![0; config_bytes as usize + 8];
        read(source, fixed.len() as u64, &mut rest)?;
        let bytes = [&fixed[..], &rest[..]].concat();
        let crc = u32_at(&bytes, bytes.len() - 4);
        if crc32fast::hash(&bytes[..bytes.len() - 4]) != crc {
            return Err(Bad::Damaged(16, "the header does not match its CRC"));
        }
        hash.update(&bytes);
        let mut cluster_id = [0; 16];
        cluster_id.copy_from_slice(&bytes[16..32]);
        let config = Config::decode(&rest[..rest.len() - 8]).ok_or(Bad::Damaged(
            fixed.len() as u64,
            "the configuration makes no sense",
        ))?;
        let header = Header {
            cluster_id,
            pos: LogPos::new(Term(u64_at(&bytes, 40)), Index(u64_at(&bytes, 32))),
            revision: u64_at(&bytes, 48),
            keys: u64_at(&bytes, 56),
            config,
        };
        Ok((header, crc, bytes.len() as u64))
    }
}

/// Writes a snapshot.
pub struct Writer<S> {
    sink: S,
    pos: LogPos,
    hash: Box<Xxh3>,
    crc: u32,
}

impl<S: Sink> Writer<S> {
    /// Begins with the header.
    ///
    /// # Errors
    /// Of the disk; it may be full.
    pub fn new(sink: S, header: &Header) -> io::Result<Writer<S>> {
        let bytes = header.encode();
        let crc = u32_at(&bytes, bytes.len() - 4);
        let mut writer = Writer {
            sink,
            pos: header.pos,
            hash: Box::new(Xxh3::new()),
            crc,
        };
        writer.put(&bytes)?;
        Ok(writer)
    }

    /// Adds entries.
    ///
    /// # Errors
    /// Of the disk; it may be full.
    ///
    /// # Panics
    /// If there are more than fit into a chunk, or none.
    pub fn chunk(&mut self, body: &[u8]) -> io::Result<()> {
        let bytes = body.len();
        assert!((1..=CHUNK_MAX_BYTES).contains(&bytes), "a chunk of {bytes}");
        self.put_chunk(KIND_ENTRIES, body)
    }

    /// Ends the file and makes its bytes durable. It still has its temporary name.
    ///
    /// # Errors
    /// Of the disk; it may be full.
    pub fn finish(mut self) -> io::Result<(Snapshot, S)> {
        self.put_chunk(0, &[])?;
        let hash = self.hash.digest128();
        self.sink.append(&hash.to_le_bytes())?;
        if !planted!("snapshot_named_before_its_sync") {
            self.sink.sync()?;
        }
        let snapshot = Snapshot {
            pos: self.pos,
            bytes: self.sink.len_bytes(),
            hash,
        };
        Ok((snapshot, self.sink))
    }

    fn put_chunk(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut head = [0; CHUNK_HEADER_BYTES];
        head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[4] = kind;
        self.crc = chain(self.crc, &head[..8], body);
        head[8..].copy_from_slice(&self.crc.to_le_bytes());
        self.put(&head)?;
        self.put(body)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.sink.append(bytes)
    }
}

/// Reads a snapshot and checks all of it on the way.
pub struct Reader<S> {
    source: S,
    file: String,
    header: Header,
    hash: Box<Xxh3>,
    crc: u32,
    offset: u64,
    chunk: Vec<u8>,
}

impl<S: Source> Reader<S> {
    /// Begins with the header; `file` is what errors call it.
    ///
    /// # Errors
    /// [`SnapshotError`], when it is none that can be read here.
    pub fn new(source: S, file: String) -> Result<Reader<S>, SnapshotError> {
        let mut hash = Box::new(Xxh3::new());
        match Header::read(&source, &mut hash) {
            Ok((header, crc, offset)) => Ok(Reader {
                offset,
                source,
                file,
                header,
                hash,
                crc,
                chunk: Vec::new(),
            }),
            Err(bad) => Err(bad.of(file)),
        }
    }

    /// What it says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What errors call it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The next chunk; none when all of it was read and found to be right.
    ///
    /// # Errors
    /// [`SnapshotError`]: nothing that was read before may be used either.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        match self.read_chunk() {
            Ok(true) => Ok(Some(&self.chunk)),
            Ok(false) => Ok(None),
            Err(bad) => Err(bad.of(self.file.clone())),
        }
    }

    /// What was read, once [`Reader::next_chunk`] has found its end.
    pub fn finish(self) -> (Snapshot, S) {
        let snapshot = Snapshot {
            pos: self.header.pos,
            bytes: self.source.len_bytes(),
            hash: self.hash.digest128(),
        };
        (snapshot, self.source)
    }

    fn read_chunk(&mut self) -> Result<bool, Bad> {
        let start = self.offset;
        let mut head = [0; CHUNK_HEADER_BYTES];
        read(&self.source, start, &mut head)?;
        let (bytes, kind) = (u32_at(&head, 0) as usize, head[4]);
        // An absurd length is not believed before it is read.
        if bytes > CHUNK_MAX_BYTES || (bytes == 0) != (kind == 0) {
            return Err(Bad::Damaged(start, "a chunk's length cannot be"));
        }
        self.chunk.resize(bytes, 0);
        read(
            &self.source,
            start + CHUNK_HEADER_BYTES as u64,
            &mut self.chunk,
        )?;
        self.crc = chain(self.crc, &head[..8], &self.chunk);
        if self.crc != u32_at(&head, 8) {
            return Err(Bad::Damaged(start, "a chunk does not match its CRC"));
        }
        self.hash.update(&head);
        self.hash.update(&self.chunk);
        self.offset += (CHUNK_HEADER_BYTES + bytes) as u64;
        self.source.release(start..self.offset);
        match kind {
            0 => self.check_end().map(|()| false),
            KIND_ENTRIES => Ok(true),
            _ => Err(Bad::Damaged(start, "a chunk is of an unknown kind")),
        }
    }

    fn check_end(&mut self) -> Result<(), Bad> {
        let mut hash = [0; HASH_BYTES];
        read(&self.source, self.offset, &mut hash)?;
        if u128::from_le_bytes(hash) != self.hash.digest128() {
            return Err(Bad::Damaged(
                self.offset,
                "the whole does not match its hash",
            ));
        }
        self.offset += HASH_BYTES as u64;
        match self.offset == self.source.len_bytes() {
            true => Ok(()),
            false => Err(Bad::Damaged(self.offset, "the file goes on behind its end")),
        }
    }
}

/// Builds a state from a snapshot, chunk by chunk.
pub struct Loading<S> {
    reader: Reader<S>,
    loader: Option<Loader>,
}

impl<S: Source> Loading<S> {
    /// Begins with the header.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn new(source: S, file: String) -> Result<Loading<S>, SnapshotError> {
        let reader = Reader::new(source, file)?;
        let loader = Some(Loader::new(reader.header().revision));
        Ok(Loading { reader, loader })
    }

    /// What it says about itself.
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// How far it was read.
    pub fn offset(&self) -> u64 {
        self.reader.offset
    }

    /// Takes one more chunk; the state when that was the last.
    ///
    /// # Errors
    /// As [`Reader::next_chunk`].
    ///
    /// # Panics
    /// When it has returned the state, or an error, before.
    pub fn step(&mut self) -> Result<Option<Kv>, SnapshotError> {
        let start = self.reader.offset;
        let (file, keys) = (self.reader.file.clone(), self.reader.header.keys);
        let refuse = |what: String| SnapshotError::Damaged {
            file,
            offset: start,
            what,
        };
        let mut loader = self.loader.take().expect("not yet at its end");
        match self.reader.next_chunk()? {
            Some(chunk) => {
                loader
                    .take(chunk)
                    .map_err(|error| refuse(error.to_string()))?;
                self.loader = Some(loader);
                Ok(None)
            }
            None => {
                let state = loader.finish(keys);
                state.map(Some).map_err(|error| refuse(error.to_string()))
            }
        }
    }

    /// What was read, once [`Loading::step`] has returned the state.
    pub fn finish(self) -> (Snapshot, S) {
        self.reader.finish()
    }
}

/// What is wrong with a file, wherever it lies.
enum Bad {
    Damaged(u64, &'static str),
    Version(u32),
    Io(io::Error),
}

impl Bad {
    fn of(self, file: String) -> SnapshotError {
        match self {
            Bad::Damaged(offset, what) => SnapshotError::Damaged {
                file,
                offset,
                what: what.to_owned(),
            },
            Bad::Version(found) => SnapshotError::Newer {
                file,
                found,
                known: FORMAT_VERSION,
            },
            Bad::Io(source) => SnapshotError::Io {
                doing: "read",
                file,
                source,
            },
        }
    }
}

fn read(source: &impl Source, offset: u64, bytes: &mut [u8]) -> Result<(), Bad> {
    let end = offset.saturating_add(bytes.len() as u64);
    if end > source.len_bytes() {
        return Err(Bad::Damaged(source.len_bytes(), "the file ends too early"));
    }
    source.read_at(offset, bytes).map_err(Bad::Io)
}

fn chain(crc: u32, head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

fn put_crc(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
