//! What peers say, as `proto/peer.proto` has it.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use super::{
    DecodeError,
    entry::{EntryView, read_entry},
    fields::{Fields, MISTYPED, Value, bytes_len, number_len, put_length, put_number},
    frame::{Buffer, encode_frame},
};
use crate::{
    proto::peer::{self, PeerMessage, append_reply::Outcome, peer_message::Kind},
    raft::{
        APPEND_MAX_ENTRIES, Append, AppendOutcome, Entry, Index, LogPos, Message, Round, Snapshot,
        Term, VoteKind,
    },
};

/// A chunk of a snapshot carries no more bytes than this.
pub const CHUNK_MAX_BYTES: usize = 1 << 20;

/// What one frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A matter of consensus.
    Message(Message),
    /// Asks for a chunk of a snapshot's file. It may be asked of whoever has that snapshot: its
    /// bytes are the same everywhere.
    Fetch {
        /// Which.
        snapshot: Snapshot,
        /// Where the chunk begins.
        offset: u64,
    },
    /// A chunk of a snapshot's file.
    Chunk {
        /// Which.
        snapshot: Snapshot,
        /// Where it begins.
        offset: u64,
        /// At least one byte, at most [`CHUNK_MAX_BYTES`].
        data: Bytes,
    },
}

/// The fields of `PeerMessage`, `append` among them, and those of `Append`.
const KINDS: std::ops::RangeInclusive<u32> = 1..=10;
const APPEND_FIELD: u32 = 1;
const TERM_FIELD: u32 = 1;
const PREV_TERM_FIELD: u32 = 2;
const PREV_INDEX_FIELD: u32 = 3;
const COMMIT_FIELD: u32 = 4;
const ENTRIES_FIELD: u32 = 5;

/// Terms, indices and rounds beyond this are forged or damaged; below it, sums do not overflow.
const NUMBER_MAX: u64 = u64::MAX / 4;

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packet::Message(message) => message.fmt(f),
            Packet::Fetch { snapshot, offset } => {
                write!(f, "SnapshotFetch {} from {offset}", snapshot.pos)
            }
            Packet::Chunk {
                snapshot,
                offset,
                data,
            } => {
                let bytes = data.len();
                write!(
                    f,
                    "SnapshotChunk {} from {offset}, {bytes} bytes",
                    snapshot.pos
                )
            }
        }
    }
}

pub(super) fn bounded(number: u64) -> Result<u64, DecodeError> {
    match number <= NUMBER_MAX {
        true => Ok(number),
        false => Err(DecodeError::Shape("a number out of bounds")),
    }
}

fn pos(term: u64, index: u64) -> Result<LogPos, DecodeError> {
    Ok(LogPos::new(Term(bounded(term)?), Index(bounded(index)?)))
}

/// Appends a frame with the message.
pub fn encode_message(message: &Message, out: &mut impl Buffer) {
    let kind = match message.clone() {
        Message::Append(Append {
            term,
            prev,
            commit,
            entries,
        }) => {
            let encoded: Vec<Vec<u8>> = entries
                .iter()
                .map(|entry| {
                    let mut bytes = Vec::new();
                    super::encode_entry(entry.pos, entry.kind, &entry.data, &mut bytes);
                    bytes
                })
                .collect();
            return encode_append(term, prev, commit, encoded.iter().map(Vec::as_slice), out);
        }
        Message::AppendReply { term, outcome } => Kind::AppendReply(peer::AppendReply {
            term: term.0,
            outcome: proto_outcome(outcome),
        }),
        Message::Heartbeat {
            term,
            commit,
            round,
        } => Kind::Heartbeat(peer::Heartbeat {
            term: term.0,
            commit: commit.0,
            round: round.0,
        }),
        Message::HeartbeatReply { term, round } => Kind::HeartbeatReply(peer::HeartbeatReply {
            term: term.0,
            round: round.0,
        }),
        Message::VoteRequest { term, last, kind } => Kind::VoteRequest(peer::VoteRequest {
            term: term.0,
            last_term: last.term.0,
            last_index: last.index.0,
            kind: proto_vote_kind(kind).into(),
        }),
        Message::VoteReply {
            term,
            granted,
            pre_vote,
        } => Kind::VoteReply(peer::VoteReply {
            term: term.0,
            granted,
            pre_vote,
        }),
        Message::TimeoutNow { term } => Kind::TimeoutNow(peer::TimeoutNow { term: term.0 }),
        Message::SnapshotOffer { term, snapshot } => Kind::SnapshotOffer(peer::SnapshotOffer {
            term: term.0,
            snapshot: Some(proto_snapshot(snapshot)),
        }),
    };
    encode_kind(kind, out);
}

/// Appends a frame with [`Packet::Fetch`].
pub fn encode_fetch(snapshot: Snapshot, offset: u64, out: &mut impl Buffer) {
    let snapshot = Some(proto_snapshot(snapshot));
    encode_kind(
        Kind::SnapshotFetch(peer::SnapshotFetch { snapshot, offset }),
        out,
    );
}

/// Appends a frame with [`Packet::Chunk`].
pub fn encode_chunk(snapshot: Snapshot, offset: u64, data: Bytes, out: &mut impl Buffer) {
    let snapshot = Some(proto_snapshot(snapshot));
    let chunk = peer::SnapshotChunk {
        snapshot,
        offset,
        data,
    };
    encode_kind(Kind::SnapshotChunk(chunk), out);
}

fn encode_kind(kind: Kind, out: &mut impl Buffer) {
    let message = PeerMessage { kind: Some(kind) };
    encode_frame(out, |out| message.encode_raw(out));
}

fn proto_snapshot(snapshot: Snapshot) -> peer::Snapshot {
    peer::Snapshot {
        term: snapshot.pos.term.0,
        index: snapshot.pos.index.0,
        bytes: snapshot.bytes,
        hash: Bytes::copy_from_slice(&snapshot.hash.to_le_bytes()),
    }
}

fn decode_snapshot(snapshot: Option<peer::Snapshot>) -> Result<Snapshot, DecodeError> {
    let snapshot = snapshot.ok_or(DecodeError::Shape("no snapshot is named"))?;
    let hash = <[u8; 16]>::try_from(&snapshot.hash[..]);
    Ok(Snapshot {
        pos: pos(snapshot.term, snapshot.index)?,
        bytes: bounded(snapshot.bytes)?,
        hash: u128::from_le_bytes(hash.map_err(|_| DecodeError::Shape("a hash is 16 bytes"))?),
    })
}

/// Appends a frame with an append of entries that are encoded already: they are copied once, from
/// the log's map into the frame.
pub fn encode_append<'a>(
    term: Term,
    prev: LogPos,
    commit: Index,
    entries: impl Iterator<Item = &'a [u8]> + Clone,
    out: &mut impl Buffer,
) {
    let head = [
        (TERM_FIELD, term.0),
        (PREV_TERM_FIELD, prev.term.0),
        (PREV_INDEX_FIELD, prev.index.0),
        (COMMIT_FIELD, commit.0),
    ];
    let head_bytes = head
        .iter()
        .map(|&(field, number)| number_len(field, number));
    let entries_bytes = entries
        .clone()
        .map(|entry| bytes_len(ENTRIES_FIELD, entry.len()));
    let bytes = head_bytes.sum::<usize>() + entries_bytes.sum::<usize>();
    encode_frame(out, |out| {
        put_length(APPEND_FIELD, bytes, out);
        for (field, number) in head {
            put_number(field, number, out);
        }
        for entry in entries {
            put_length(ENTRIES_FIELD, entry.len(), out);
            out.put_slice(entry);
        }
    });
}

/// Reads the body of a frame.
///
/// # Errors
/// When it is no packet, a number or a size is out of bounds, or entries are not consecutive, not
/// in order of term or too many.
pub fn decode_packet(body: Bytes) -> Result<Packet, DecodeError> {
    let mut append = None;
    let mut kinds = 0;
    for field in Fields::of(&body) {
        let (field, value) = field?;
        kinds += u32::from(KINDS.contains(&field));
        if let (APPEND_FIELD, Value::Bytes(found)) = (field, value) {
            append = Some(found);
        }
    }
    match append {
        Some(_) if kinds > 1 => return Err(DecodeError::Shape("two messages in one frame")),
        Some(append) => {
            let append = decode_append(&body, append)?;
            return Ok(Packet::Message(Message::Append(append)));
        }
        None => {}
    }
    let absent = DecodeError::Shape("a message without a known kind");
    let message = match PeerMessage::decode(body)?.kind.ok_or(absent)? {
        Kind::SnapshotFetch(peer::SnapshotFetch { snapshot, offset }) => {
            return Ok(Packet::Fetch {
                snapshot: decode_snapshot(snapshot)?,
                offset: bounded(offset)?,
            });
        }
        Kind::SnapshotChunk(peer::SnapshotChunk {
            snapshot,
            offset,
            data,
        }) => {
            if !(1..=CHUNK_MAX_BYTES).contains(&data.len()) {
                return Err(DecodeError::Shape("a chunk of no byte or of too many"));
            }
            return Ok(Packet::Chunk {
                snapshot: decode_snapshot(snapshot)?,
                offset: bounded(offset)?,
                data,
            });
        }
        kind => decode_kind(kind)?,
    };
    Ok(Packet::Message(message))
}

fn decode_kind(kind: Kind) -> Result<Message, DecodeError> {
    Ok(match kind {
        Kind::AppendReply(peer::AppendReply { term, outcome }) => {
            let outcome = match outcome {
                Some(Outcome::MatchIndex(index)) => AppendOutcome::Match(Index(bounded(index)?)),
                Some(Outcome::Conflict(conflict)) => AppendOutcome::Conflict {
                    rejected: Index(bounded(conflict.rejected_index)?),
                    hint: pos(conflict.hint_term, conflict.hint_index)?,
                },
                None => AppendOutcome::StaleTerm,
            };
            Message::AppendReply {
                term: Term(bounded(term)?),
                outcome,
            }
        }
        Kind::Heartbeat(peer::Heartbeat {
            term,
            commit,
            round,
        }) => Message::Heartbeat {
            term: Term(bounded(term)?),
            commit: Index(bounded(commit)?),
            round: Round(bounded(round)?),
        },
        Kind::HeartbeatReply(peer::HeartbeatReply { term, round }) => Message::HeartbeatReply {
            term: Term(bounded(term)?),
            round: Round(bounded(round)?),
        },
        Kind::VoteRequest(request) => Message::VoteRequest {
            term: Term(bounded(request.term)?),
            last: pos(request.last_term, request.last_index)?,
            kind: match peer::vote_request::Kind::try_from(request.kind) {
                Ok(peer::vote_request::Kind::PreVote) => VoteKind::PreVote,
                Ok(peer::vote_request::Kind::Election) => VoteKind::Election,
                Ok(peer::vote_request::Kind::Transfer) => VoteKind::Transfer,
                Err(_) => return Err(DecodeError::Shape("a vote request of unknown kind")),
            },
        },
        Kind::VoteReply(peer::VoteReply {
            term,
            granted,
            pre_vote,
        }) => Message::VoteReply {
            term: Term(bounded(term)?),
            granted,
            pre_vote,
        },
        Kind::TimeoutNow(peer::TimeoutNow { term }) => Message::TimeoutNow {
            term: Term(bounded(term)?),
        },
        Kind::SnapshotOffer(peer::SnapshotOffer { term, snapshot }) => Message::SnapshotOffer {
            term: Term(bounded(term)?),
            snapshot: decode_snapshot(snapshot)?,
        },
        Kind::Append(_) | Kind::SnapshotFetch(_) | Kind::SnapshotChunk(_) => {
            return Err(DecodeError::Shape("no message of consensus"));
        }
    })
}

/// What every commit brings, so without prost.
fn decode_append(body: &Bytes, bytes: &[u8]) -> Result<Append, DecodeError> {
    // Before one is decoded: an empty entry takes 2 bytes here and 32 in memory.
    let mut count = 0;
    for field in Fields::of(bytes) {
        count += u64::from(field?.0 == ENTRIES_FIELD);
    }
    if count > APPEND_MAX_ENTRIES {
        return Err(DecodeError::Shape("an append with too many entries"));
    }
    let mut entries = Vec::with_capacity(count as usize);
    let [mut term, mut prev_term, mut prev_index, mut commit] = [0; 4];
    for field in Fields::of(bytes) {
        match field? {
            (TERM_FIELD, Value::Number(number)) => term = number,
            (PREV_TERM_FIELD, Value::Number(number)) => prev_term = number,
            (PREV_INDEX_FIELD, Value::Number(number)) => prev_index = number,
            (COMMIT_FIELD, Value::Number(number)) => commit = number,
            (ENTRIES_FIELD, Value::Bytes(bytes)) => {
                let EntryView { pos, kind, data } = read_entry(bytes)?;
                let data = body.slice_ref(data);
                entries.push(Entry { pos, kind, data });
            }
            (TERM_FIELD..=ENTRIES_FIELD, _) => return Err(MISTYPED),
            _ => {}
        }
    }
    let append = Append {
        term: Term(bounded(term)?),
        prev: pos(prev_term, prev_index)?,
        commit: Index(bounded(commit)?),
        entries,
    };
    check_order(&append)?;
    Ok(append)
}

fn check_order(append: &Append) -> Result<(), DecodeError> {
    let mut last = append.prev;
    for Entry { pos, .. } in &append.entries {
        if pos.index != last.index.next() {
            return Err(DecodeError::Shape("entries that are not consecutive"));
        }
        if pos.term < last.term || pos.term > append.term {
            return Err(DecodeError::Shape("an entry whose term is out of order"));
        }
        last = *pos;
    }
    Ok(())
}

fn proto_outcome(outcome: AppendOutcome) -> Option<Outcome> {
    match outcome {
        AppendOutcome::Match(index) => Some(Outcome::MatchIndex(index.0)),
        AppendOutcome::Conflict { rejected, hint } => Some(Outcome::Conflict(peer::Conflict {
            rejected_index: rejected.0,
            hint_term: hint.term.0,
            hint_index: hint.index.0,
        })),
        AppendOutcome::StaleTerm => None,
    }
}

fn proto_vote_kind(kind: VoteKind) -> peer::vote_request::Kind {
    match kind {
        VoteKind::PreVote => peer::vote_request::Kind::PreVote,
        VoteKind::Election => peer::vote_request::Kind::Election,
        VoteKind::Transfer => peer::vote_request::Kind::Transfer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::{FRAME_HEADER_BYTES, FRAME_MAX_BYTES, FrameDecoder},
        raft::EntryKind,
    };
    use proptest::prelude::*;

    fn any_pos() -> impl Strategy<Value = LogPos> {
        (0..NUMBER_MAX, 0..NUMBER_MAX).prop_map(|(t, i)| LogPos::new(Term(t), Index(i)))
    }

    fn any_append() -> impl Strategy<Value = Message> {
        let entries = prop::collection::vec((0u64..3, 0u32..4, any::<Vec<u8>>()), 0..5);
        (0..1u64 << 40, any_pos(), 0..NUMBER_MAX, entries).prop_map(|(ahead, prev, commit, raw)| {
            let mut last = prev;
            let entries: Vec<Entry> = raw
                .into_iter()
                .map(|(step, kind, data)| {
                    last = LogPos::new(Term(last.term.0 + step), last.index.next());
                    Entry {
                        pos: last,
                        kind: EntryKind(kind),
                        data: data.into(),
                    }
                })
                .collect();
            let term = Term((last.term.0 + ahead).min(NUMBER_MAX));
            Message::Append(Append {
                term,
                prev,
                commit: Index(commit),
                entries,
            })
        })
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let term = || (0..NUMBER_MAX).prop_map(Term);
        let index = || (0..NUMBER_MAX).prop_map(Index);
        let round = || (0..NUMBER_MAX).prop_map(Round);
        let outcome = prop_oneof![
            index().prop_map(AppendOutcome::Match),
            (index(), any_pos())
                .prop_map(|(rejected, hint)| AppendOutcome::Conflict { rejected, hint }),
            Just(AppendOutcome::StaleTerm),
        ];
        let kind = prop_oneof![
            Just(VoteKind::PreVote),
            Just(VoteKind::Election),
            Just(VoteKind::Transfer)
        ];
        prop_oneof![
            any_append(),
            (term(), outcome).prop_map(|(term, outcome)| Message::AppendReply { term, outcome }),
            (term(), index(), round()).prop_map(|(term, commit, round)| Message::Heartbeat {
                term,
                commit,
                round
            }),
            (term(), round()).prop_map(|(term, round)| Message::HeartbeatReply { term, round }),
            (term(), any_pos(), kind).prop_map(|(term, last, kind)| Message::VoteRequest {
                term,
                last,
                kind
            }),
            (term(), any::<bool>(), any::<bool>()).prop_map(|(term, granted, pre_vote)| {
                Message::VoteReply {
                    term,
                    granted,
                    pre_vote,
                }
            }),
            term().prop_map(|term| Message::TimeoutNow { term }),
            (term(), any_snapshot())
                .prop_map(|(term, snapshot)| Message::SnapshotOffer { term, snapshot }),
        ]
    }

    fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        (any_pos(), 0..NUMBER_MAX, any::<u128>()).prop_map(|(pos, bytes, hash)| Snapshot {
            pos,
            bytes,
            hash,
        })
    }

    proptest! {
        #[test]
        fn chunks_and_what_asks_for_them_arrive_as_they_were_sent(
            snapshot in any_snapshot(),
            offset in 0..NUMBER_MAX,
            data in prop::collection::vec(any::<u8>(), 1..50),
        ) {
            let data = Bytes::from(data);
            let (mut fetch, mut chunk) = (Vec::new(), Vec::new());
            encode_fetch(snapshot, offset, &mut fetch);
            encode_chunk(snapshot, offset, data.clone(), &mut chunk);
            for (frame, packet) in [
                (fetch, Packet::Fetch { snapshot, offset }),
                (chunk, Packet::Chunk { snapshot, offset, data }),
            ] {
                let body = Bytes::copy_from_slice(&frame[FRAME_HEADER_BYTES..]);
                prop_assert_eq!(decode_packet(body), Ok(packet));
            }
        }

        #[test]
        fn every_message_arrives_as_it_was_sent(message in any_message()) {
            let mut frame = Vec::new();
            encode_message(&message, &mut frame);
            let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
            decoder.receive(&frame);
            let body = decoder.next_frame().expect("sound").expect("whole");
            prop_assert_eq!(decode_packet(body), Ok(Packet::Message(message)));
        }

        #[test]
        fn an_append_of_encoded_entries_is_what_prost_makes_of_it(message in any_append()) {
            let mut frame = Vec::new();
            encode_message(&message, &mut frame);
            let body = &frame[FRAME_HEADER_BYTES..];
            let proto = PeerMessage::decode(body).expect("protobuf");
            prop_assert_eq!(proto.encode_to_vec(), body);
        }

        #[test]
        fn no_bytes_make_the_decoder_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_packet(bytes.into());
        }

        #[test]
        fn no_damage_makes_the_decoder_fail(
            message in any_message(),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut frame = Vec::new();
            encode_message(&message, &mut frame);
            let mut body = frame.split_off(FRAME_HEADER_BYTES);
            let at = at.index(body.len());
            body[at] = with;
            let _ = decode_packet(body.into());
        }
    }

    #[test]
    fn too_many_entries_are_refused_before_one_is_decoded() {
        let no_entry = [0xff_u8];
        let entries = APPEND_MAX_ENTRIES as usize + 1;
        let mut frame = Vec::new();
        encode_append(
            Term(1),
            LogPos::ZERO,
            Index(0),
            std::iter::repeat_n(&no_entry[..], entries),
            &mut frame,
        );
        // What follows is no protobuf, and is not reached either.
        let body = Bytes::from(frame.split_off(FRAME_HEADER_BYTES));
        let refused = Err(DecodeError::Shape("an append with too many entries"));
        assert_eq!(decode_packet(body), refused);
    }

    #[test]
    fn a_gap_between_entries_is_refused() {
        let entry = |index| Entry {
            pos: LogPos::new(Term(1), Index(index)),
            kind: EntryKind::NO_OP,
            data: Bytes::new(),
        };
        let prev = LogPos::new(Term(1), Index(4));
        let entries = vec![entry(5), entry(7)];
        let append = Append {
            term: Term(1),
            prev,
            commit: Index(0),
            entries,
        };
        let mut frame = Vec::new();
        encode_message(&Message::Append(append), &mut frame);
        let body = Bytes::from(frame.split_off(FRAME_HEADER_BYTES));
        let refused = Err(DecodeError::Shape("entries that are not consecutive"));
        assert_eq!(decode_packet(body), refused);
    }
}
