//! I14 for files, and S13: a snapshot has the state, and the members, that the committed log leads
//! to at its index, whoever took or fetched it; at one index all nodes have the same file, in every
//! byte; and what a node starts with is the newest one that it has named. A wrong one would replace
//! whole states.

use std::{collections::BTreeMap, io, ops::Range};

use raftkv::{
    kv::{Kv, Loader},
    raft::{Config, Index, LogPos, NodeId, Snapshot},
    storage::Reader,
};
use raftkv_wal::{MemoryMedia, Source};

use super::{
    Damage, Shadow, configurations::Configurations, hold, ledger::Ledger,
    state_equality::StateEquality,
};
use crate::digest;

/// The first file of each position.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    files: BTreeMap<LogPos, File>,
}

#[derive(Debug)]
struct File {
    digest: u64,
    snapshot: Snapshot,
    by: NodeId,
}

impl Snapshots {
    /// The log of a node names this file.
    pub(super) fn named(
        &mut self,
        node: NodeId,
        pos: LogPos,
        file: Option<&[u8]>,
        (ledger, states, configs): (&Ledger, &StateEquality, &Configurations),
    ) {
        hold!(
            StateMachineSafety,
            ledger.holds(pos),
            "n{node} has a snapshot of {pos}, which is not committed"
        );
        hold!(
            Durability,
            file.is_some(),
            "n{node} has no file for its snapshot of {pos}"
        );
        let bytes = file.expect("just seen");
        let digest = digest::bytes(0, bytes);
        if let Some(first) = self.files.get(&pos) {
            hold!(
                StateEquality,
                first.digest == digest,
                "the snapshots of {pos} of n{} and n{node} differ",
                first.by
            );
            return;
        }
        let read = read(bytes);
        let what = read.as_ref().err().cloned().unwrap_or_default();
        hold!(
            StateEquality,
            read.is_ok(),
            "n{node} has a snapshot of {pos} that cannot be read: {what}"
        );
        let (snapshot, config, state) = read.expect("just seen");
        let known = ledger.get(pos.index).expect("it is committed");
        let members = configs.get(known.config);
        hold!(
            Configuration,
            config == *members,
            "n{node} has a snapshot of {pos} with {config}, as of there it is {members}"
        );
        hold!(
            StateEquality,
            snapshot.pos == pos,
            "n{node} calls a snapshot of {} one of {pos}",
            snapshot.pos
        );
        let whole = states.is_whole(pos.index, &state);
        hold!(
            StateEquality,
            whole,
            "n{node} has a snapshot of {pos} with another state than the log leads to"
        );
        let by = node;
        self.files.insert(
            pos,
            File {
                digest,
                snapshot,
                by,
            },
        );
    }

    /// A leader offers a snapshot: it is one that somebody has.
    pub(super) fn offered(&self, from: NodeId, snapshot: Snapshot) {
        let known = self.files.get(&snapshot.pos);
        hold!(
            StateEquality,
            known.is_some_and(|file| file.snapshot == snapshot),
            "n{from} offers a snapshot of {} that nobody has",
            snapshot.pos
        );
    }
}

/// A node starts with this state. Returns what its snapshot includes.
pub(super) fn found(
    shadow: &Shadow,
    snapshot: Option<Snapshot>,
    state: &Kv,
    damage: Option<Damage>,
    (ledger, states): (&Ledger, &StateEquality),
) -> Index {
    let id = shadow.id;
    let pos = snapshot.map_or(LogPos::ZERO, |snapshot| snapshot.pos);
    let is_right = pos == LogPos::ZERO || ledger.holds(pos);
    let is_right = is_right && states.is_whole(pos.index, state);
    let due = shadow.included();
    match damage {
        Some(_) => hold!(
            Damage,
            is_right,
            "n{id} opened a damaged disk and starts with a wrong state at {pos}"
        ),
        None => {
            hold!(
                RecoveryEquivalence,
                is_right,
                "n{id} starts with a wrong state at {pos}"
            );
            hold!(
                Durability,
                pos.index >= due,
                "n{id} has lost its snapshot of {due}, it starts with {pos}"
            );
        }
    }
    pos.index
}

/// The state of a file, by the shipped reader.
fn read(bytes: &[u8]) -> Result<(Snapshot, Config, Kv), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let source = InMemory(bytes.to_vec());
    let mut reader = Reader::new(source, "it".to_owned()).map_err(|error| text(&error))?;
    let header = reader.header();
    let config = header.config.clone();
    let (mut loader, keys) = (Loader::new(header.revision), header.keys);
    while let Some(chunk) = reader.next_chunk().map_err(|error| text(&error))? {
        loader.take(chunk).map_err(|error| text(&error))?;
    }
    let state = loader.finish(keys).map_err(|error| text(&error))?;
    Ok((reader.finish().0, config, state))
}

/// Bytes that are read without the faults of a disk.
struct InMemory(Vec<u8>);

impl Source for InMemory {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        let found = self.0.get(from..from + bytes.len());
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn release(&self, _range: Range<u64>) {}
}

/// What a node has found in its directory.
pub(crate) type Found = raftkv::storage::Opened<MemoryMedia>;
