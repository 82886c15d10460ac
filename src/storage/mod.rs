//! The Raft log on disk: entries and hard state as records of one WAL stream, in the order in
//! which the FSM wrote them. What survives a crash is a beginning of the stream, so an entry never
//! survives without the term that it was written in.

use std::fmt;

use bytes::Bytes;
use raftkv_wal::{Address, Media, Options, Wal};

use crate::{
    codec::{self, DecodeError},
    raft::{Entry, HardState, Index, Log, LogPos, NodeId, Saved, Term},
};

/// Record kinds. A new one is a new format: a build that does not know it must not start.
const HARD_STATE: u8 = 1;
const ENTRY: u8 = 2;

/// Term, whether there is a vote, and the vote.
const HARD_STATE_BYTES: usize = 17;

/// Why the log could not be opened or written. Both stop the process.
#[derive(Debug)]
pub enum Error {
    /// The WAL itself.
    Wal(raftkv_wal::Error),
    /// A record is whole and yet makes no sense.
    Record {
        /// The record's kind.
        kind: u8,
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Wal(error) => error.fmt(f),
            Error::Record { kind, what } => write!(
                f,
                "the log has a record of kind {kind} that this program cannot use: {what}; start \
                 the program that wrote it"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<raftkv_wal::Error> for Error {
    fn from(error: raftkv_wal::Error) -> Error {
        Error::Wal(error)
    }
}

/// The log of one node: where each entry's record lies.
pub struct Storage<M: Media> {
    wal: Wal<M>,
    /// The record of the entry at index `i + 1`.
    records: Vec<Address>,
}

impl<M: Media> Storage<M> {
    /// Opens the log, or makes an empty one, and says what it holds.
    ///
    /// # Errors
    /// When the WAL is damaged, foreign or newer, or a record makes no sense.
    pub fn open(media: M, options: Options) -> Result<(Storage<M>, Saved), Error> {
        let (wal, _) = Wal::open(media, options)?;
        let mut records = Vec::new();
        let mut saved = Saved::default();
        for record in wal.records() {
            let refuse = |what: String| Error::Record {
                kind: record.kind,
                what,
            };
            match record.kind {
                HARD_STATE => {
                    let hard = decode_hard_state(record.body)
                        .ok_or_else(|| refuse(format!("{} bytes", record.body.len())))?;
                    if hard.term < saved.hard.term {
                        return Err(refuse(format!(
                            "term {} after {}",
                            hard.term, saved.hard.term
                        )));
                    }
                    saved.hard = hard;
                }
                ENTRY => {
                    let entry = decode_entry(record.body).map_err(|e| refuse(e.to_string()))?;
                    replay(&mut saved.log, &mut records, entry.pos, entry.data.len())
                        .map_err(refuse)?;
                    records.push(record.address);
                }
                _ => return Err(refuse("unknown kind".to_owned())),
            }
        }
        if saved.log.last().term > saved.hard.term {
            let what = format!("entry {} after term {}", saved.log.last(), saved.hard.term);
            return Err(Error::Record { kind: ENTRY, what });
        }
        Ok((Storage { wal, records }, saved))
    }

    /// Writes hard state and entries, in this order. They can be read at once and survive a crash
    /// after the next [`Storage::sync`].
    ///
    /// # Errors
    /// When the WAL fails: the process must stop.
    pub fn write(&mut self, hard: Option<HardState>, entries: &[Entry]) -> Result<(), Error> {
        if let Some(hard) = hard {
            let fill = |out: &mut Vec<u8>| encode_hard_state(hard, out);
            self.wal.append_sticky(HARD_STATE, HARD_STATE_BYTES, fill)?;
        }
        if let Some(first) = entries.first() {
            self.records.truncate(first.pos.index.before().0 as usize);
        }
        for entry in entries {
            let Entry { pos, kind, data } = entry;
            let bytes = codec::encoded_entry_len(*pos, *kind, data);
            let fill = |out: &mut Vec<u8>| codec::encode_entry(*pos, *kind, data, out);
            let address = self.wal.append(ENTRY, bytes, fill)?;
            self.records.push(address);
            let last = Index(self.records.len() as u64);
            assert!(last == pos.index, "entry {pos} written at {last}");
        }
        Ok(self.wal.write()?)
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// When the WAL fails: the process must stop. What was written may or may not be on disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        Ok(self.wal.sync()?)
    }

    /// Lets the log prove that its last batch is durable.
    ///
    /// # Errors
    /// As [`Storage::sync`].
    pub fn mark(&mut self) -> Result<(), Error> {
        Ok(self.wal.mark()?)
    }

    /// The encoded entry at `index`, straight from the map: the bytes that a peer's frame takes.
    ///
    /// # Panics
    /// If there is no such entry.
    #[must_use]
    pub fn encoded_entry(&self, index: Index) -> &[u8] {
        self.wal.read(self.records[index.before().0 as usize])
    }

    /// The entry at `index`.
    ///
    /// # Errors
    /// When its bytes are no entry.
    pub fn entry(&self, index: Index) -> Result<Entry, DecodeError> {
        decode_entry(self.encoded_entry(index))
    }
}

fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    codec::decode_entry(Bytes::copy_from_slice(bytes))
}

/// An entry within the log replaces it and all that follow, as it did when it was written.
fn replay(
    log: &mut Log,
    records: &mut Vec<Address>,
    pos: LogPos,
    bytes: usize,
) -> Result<(), String> {
    let last = log.last();
    if pos.index == Index::ZERO || pos.index > last.index.next() {
        return Err(format!("entry {pos} after {last}"));
    }
    if pos.index <= last.index {
        log.truncate(pos.index);
        records.truncate(pos.index.before().0 as usize);
    }
    if pos.term < log.last().term {
        return Err(format!("entry {pos} after {}", log.last()));
    }
    log.push(pos.term, bytes as u64);
    Ok(())
}

fn encode_hard_state(hard: HardState, out: &mut Vec<u8>) {
    out.extend_from_slice(&hard.term.0.to_le_bytes());
    out.push(u8::from(hard.vote.is_some()));
    out.extend_from_slice(&hard.vote.map_or(0, |node| node.0).to_le_bytes());
}

fn decode_hard_state(bytes: &[u8]) -> Option<HardState> {
    let (term, rest) = bytes.split_first_chunk::<8>()?;
    let (voted, vote) = rest.split_first()?;
    let vote = NodeId(u64::from_le_bytes(vote.try_into().ok()?));
    let vote = match voted {
        0 => None,
        1 => Some(vote),
        _ => return None,
    };
    Some(HardState {
        term: Term(u64::from_le_bytes(*term)),
        vote,
    })
}
