//! The records that make the Raft log: entries, hard state, and which snapshots there are.

use crate::raft::{HardState, Index, LogPos, NodeId, Snapshot, Term};

/// Record kinds. A new one is a new format: a build that does not know it must not start.
pub(super) const HARD_STATE: u8 = 1;
pub(super) const ENTRY: u8 = 2;
pub(super) const SNAPSHOTS: u8 = 3;

/// Term, whether there is a vote, and the vote.
pub(super) const HARD_STATE_BYTES: usize = 17;
/// Term, index, size and hash.
const SNAPSHOT_BYTES: usize = 40;

/// Which snapshots there are: what this record does not name is debris.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Oldest first.
    pub(super) snapshots: Vec<Snapshot>,
    /// The newest came from a peer and took the place of the whole log.
    pub(super) installed: bool,
}

impl Mark {
    pub(super) fn newest(&self) -> Option<Snapshot> {
        self.snapshots.last().copied()
    }

    pub(super) fn len_bytes(&self) -> usize {
        1 + self.snapshots.len() * SNAPSHOT_BYTES
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.installed));
        for Snapshot { pos, bytes, hash } in &self.snapshots {
            for number in [pos.term.0, pos.index.0, *bytes] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&hash.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Mark> {
        let (installed, rest) = bytes.split_first()?;
        let (snapshots, rest) = rest.as_chunks::<SNAPSHOT_BYTES>();
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let snapshots = snapshots.iter().map(|bytes| Snapshot {
            pos: LogPos::new(Term(number(&bytes[..8])), Index(number(&bytes[8..16]))),
            bytes: number(&bytes[16..24]),
            hash: u128::from_le_bytes(bytes[24..].try_into().expect("16 bytes")),
        });
        (*installed <= 1 && rest.is_empty()).then(|| Mark {
            snapshots: snapshots.collect(),
            installed: *installed == 1,
        })
    }
}

pub(super) fn encode_hard_state(hard: HardState, out: &mut Vec<u8>) {
    out.extend_from_slice(&hard.term.0.to_le_bytes());
    out.push(u8::from(hard.vote.is_some()));
    out.extend_from_slice(&hard.vote.map_or(0, |node| node.0).to_le_bytes());
}

pub(super) fn decode_hard_state(bytes: &[u8]) -> Option<HardState> {
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
