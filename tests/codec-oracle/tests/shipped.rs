//! `raftkv::codec`, which writes parts of its messages by hand, against rust-protobuf: what a node
//! sends is what the `.proto` files say, and what they say is what a node understands.

use bytes::Bytes;
use proptest::prelude::*;
use protobuf::Message as _;
use raftkv::{
    codec::{self, FRAME_HEADER_BYTES, Packet},
    kv,
    raft::{
        Append, AppendOutcome, Entry, EntryKind, Index, LogPos, Message, Round, Snapshot, Term,
        VoteKind,
    },
};
use raftkv_codec_oracle::{command, peer};

/// Far enough below the codec's bound for terms and indices to grow in a test.
const NUMBER_MAX: u64 = 1 << 60;

fn number() -> impl Strategy<Value = u64> {
    (0..=60u32, 0..NUMBER_MAX).prop_map(|(bits, n)| n >> bits)
}

fn pos() -> impl Strategy<Value = LogPos> {
    (number(), number()).prop_map(|(term, index)| LogPos::new(Term(term), Index(index)))
}

fn proto_entry(entry: &Entry) -> peer::Entry {
    let mut proto = peer::Entry::new();
    proto.term = entry.pos.term.0;
    proto.index = entry.pos.index.0;
    proto.kind = entry.kind.0;
    proto.data = entry.data.to_vec();
    proto
}

fn bytes_of(message: &impl protobuf::Message) -> Vec<u8> {
    message.write_to_bytes().expect("complete")
}

fn append() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    let entries = prop::collection::vec((0u64..3, any::<u32>(), any::<Vec<u8>>()), 0..6);
    (0u64..9, pos(), number(), entries).prop_map(|(ahead, prev, commit, steps)| {
        let mut last = prev;
        let mut entries = Vec::new();
        for (step, kind, data) in steps {
            last = LogPos::new(Term(last.term.0 + step), last.index.next());
            entries.push(Entry {
                pos: last,
                kind: EntryKind(kind),
                data: data.into(),
            });
        }
        let mut proto = peer::Append::new();
        proto.term = last.term.0 + ahead;
        proto.prev_term = prev.term.0;
        proto.prev_index = prev.index.0;
        proto.commit = commit;
        proto.entries = entries
            .iter()
            .map(|entry| bytes_of(&proto_entry(entry)))
            .collect();
        let message = Message::Append(Append {
            term: Term(proto.term),
            prev,
            commit: Index(commit),
            entries,
        });
        (message, peer::peer_message::Kind::Append(proto))
    })
}

fn append_reply() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    use peer::append_reply::Outcome;
    (number(), 0..3, number(), pos()).prop_map(|(term, which, index, hint)| {
        let mut proto = peer::AppendReply::new();
        proto.term = term;
        let outcome = match which {
            0 => AppendOutcome::StaleTerm,
            1 => {
                proto.outcome = Some(Outcome::MatchIndex(index));
                AppendOutcome::Match(Index(index))
            }
            _ => {
                let mut conflict = peer::Conflict::new();
                conflict.rejected_index = index;
                conflict.hint_term = hint.term.0;
                conflict.hint_index = hint.index.0;
                proto.outcome = Some(Outcome::Conflict(conflict));
                let rejected = Index(index);
                AppendOutcome::Conflict { rejected, hint }
            }
        };
        let term = Term(term);
        let message = Message::AppendReply { term, outcome };
        (message, peer::peer_message::Kind::AppendReply(proto))
    })
}

fn vote_request() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    use peer::vote_request::Kind;
    const KINDS: [(VoteKind, Kind); 3] = [
        (VoteKind::PreVote, Kind::PRE_VOTE),
        (VoteKind::Election, Kind::ELECTION),
        (VoteKind::Transfer, Kind::TRANSFER),
    ];
    (number(), pos(), prop::sample::select(&KINDS[..])).prop_map(
        |(term, last, (kind, proto_kind))| {
            let mut proto = peer::VoteRequest::new();
            proto.term = term;
            proto.last_term = last.term.0;
            proto.last_index = last.index.0;
            proto.kind = proto_kind.into();
            let term = Term(term);
            let message = Message::VoteRequest { term, last, kind };
            (message, peer::peer_message::Kind::VoteRequest(proto))
        },
    )
}

fn heartbeat() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    (number(), number(), number()).prop_map(|(term, commit, round)| {
        let mut proto = peer::Heartbeat::new();
        (proto.term, proto.commit, proto.round) = (term, commit, round);
        let message = Message::Heartbeat {
            term: Term(term),
            commit: Index(commit),
            round: Round(round),
        };
        (message, peer::peer_message::Kind::Heartbeat(proto))
    })
}

fn heartbeat_reply() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    (number(), number()).prop_map(|(term, round)| {
        let mut proto = peer::HeartbeatReply::new();
        (proto.term, proto.round) = (term, round);
        let (term, round) = (Term(term), Round(round));
        let message = Message::HeartbeatReply { term, round };
        (message, peer::peer_message::Kind::HeartbeatReply(proto))
    })
}

fn vote_reply() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    (number(), any::<bool>(), any::<bool>()).prop_map(|(term, granted, pre_vote)| {
        let mut proto = peer::VoteReply::new();
        (proto.term, proto.granted, proto.pre_vote) = (term, granted, pre_vote);
        let term = Term(term);
        let message = Message::VoteReply {
            term,
            granted,
            pre_vote,
        };
        (message, peer::peer_message::Kind::VoteReply(proto))
    })
}

fn timeout_now() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    number().prop_map(|term| {
        let mut proto = peer::TimeoutNow::new();
        proto.term = term;
        let message = Message::TimeoutNow { term: Term(term) };
        (message, peer::peer_message::Kind::TimeoutNow(proto))
    })
}

fn snapshot() -> impl Strategy<Value = (Snapshot, peer::Snapshot)> {
    (pos(), number(), any::<u128>()).prop_map(|(pos, bytes, hash)| {
        let mut proto = peer::Snapshot::new();
        (proto.term, proto.index) = (pos.term.0, pos.index.0);
        (proto.bytes, proto.hash) = (bytes, hash.to_le_bytes().to_vec());
        (Snapshot { pos, bytes, hash }, proto)
    })
}

fn snapshot_offer() -> impl Strategy<Value = (Message, peer::peer_message::Kind)> {
    (number(), snapshot()).prop_map(|(term, (snapshot, described))| {
        let mut proto = peer::SnapshotOffer::new();
        (proto.term, proto.snapshot) = (term, Some(described).into());
        let term = Term(term);
        let message = Message::SnapshotOffer { term, snapshot };
        (message, peer::peer_message::Kind::SnapshotOffer(proto))
    })
}

fn snapshot_fetch() -> impl Strategy<Value = (Packet, peer::peer_message::Kind)> {
    (snapshot(), number()).prop_map(|((snapshot, described), offset)| {
        let mut proto = peer::SnapshotFetch::new();
        (proto.snapshot, proto.offset) = (Some(described).into(), offset);
        let packet = Packet::Fetch { snapshot, offset };
        (packet, peer::peer_message::Kind::SnapshotFetch(proto))
    })
}

fn snapshot_chunk() -> impl Strategy<Value = (Packet, peer::peer_message::Kind)> {
    let data = prop::collection::vec(any::<u8>(), 1..300);
    (snapshot(), number(), data).prop_map(|((snapshot, described), offset, data)| {
        let mut proto = peer::SnapshotChunk::new();
        (proto.snapshot, proto.offset) = (Some(described).into(), offset);
        proto.data.clone_from(&data);
        let packet = Packet::Chunk {
            snapshot,
            offset,
            data: data.into(),
        };
        (packet, peer::peer_message::Kind::SnapshotChunk(proto))
    })
}

fn any_packet() -> impl Strategy<Value = (Packet, peer::PeerMessage)> {
    let message = prop_oneof![
        append(),
        append_reply(),
        vote_request(),
        heartbeat(),
        heartbeat_reply(),
        vote_reply(),
        timeout_now(),
        snapshot_offer(),
    ];
    let message = message.prop_map(|(message, kind)| (Packet::Message(message), kind));
    prop_oneof![8 => message, 1 => snapshot_fetch(), 1 => snapshot_chunk()].prop_map(
        |(packet, kind)| {
            let mut proto = peer::PeerMessage::new();
            proto.kind = Some(kind);
            (packet, proto)
        },
    )
}

/// The body of the frame in which it is sent.
fn sent(packet: Packet) -> Vec<u8> {
    let mut frame = Vec::new();
    match packet {
        Packet::Message(message) => codec::encode_message(&message, &mut frame),
        Packet::Fetch { snapshot, offset } => codec::encode_fetch(snapshot, offset, &mut frame),
        Packet::Chunk {
            snapshot,
            offset,
            data,
        } => codec::encode_chunk(snapshot, offset, data, &mut frame),
    }
    frame.split_off(FRAME_HEADER_BYTES)
}

proptest! {
    #[test]
    fn a_sent_packet_is_what_its_description_says((packet, proto) in any_packet()) {
        let body = sent(packet);
        prop_assert_eq!(&body, &bytes_of(&proto));
        prop_assert_eq!(peer::PeerMessage::parse_from_bytes(&body).expect("sound"), proto);
    }

    #[test]
    fn a_described_packet_is_understood((packet, proto) in any_packet()) {
        let body = bytes_of(&proto).into();
        prop_assert_eq!(codec::decode_packet(body), Ok(packet));
    }

    #[test]
    fn fields_of_a_later_format_are_ignored(
        (packet, mut proto) in any_packet(),
        field in 1000u32..2000,
        later in any::<Vec<u8>>(),
    ) {
        proto.mut_unknown_fields().add_length_delimited(field, later);
        let body = bytes_of(&proto).into();
        prop_assert_eq!(codec::decode_packet(body), Ok(packet));
    }

    #[test]
    fn an_entry_is_what_its_description_says(
        (term, before) in (number(), number()),
        kind in any::<u32>(),
        data in any::<Vec<u8>>(),
    ) {
        let entry = Entry {
            pos: LogPos::new(Term(term), Index(before).next()),
            kind: EntryKind(kind),
            data: data.into(),
        };
        let described = bytes_of(&proto_entry(&entry));
        let mut bytes = Vec::new();
        codec::encode_entry(entry.pos, entry.kind, &entry.data, &mut bytes);
        prop_assert_eq!(&bytes, &described);
        let len = codec::encoded_entry_len(entry.pos, entry.kind, &entry.data);
        prop_assert_eq!(len, described.len());
        prop_assert_eq!(codec::decode_entry(described.into()), Ok(entry));
    }

    #[test]
    fn a_command_is_what_its_description_says(
        put in any::<bool>(),
        key in prop::collection::vec(any::<u8>(), 1..50),
        value in any::<Vec<u8>>(),
    ) {
        use command::command::Operation;
        let mut proto = command::Command::new();
        let ours = if put {
            let mut operation = command::Put::new();
            (operation.key, operation.value) = (key.clone(), value.clone());
            proto.operation = Some(Operation::Put(operation));
            kv::Command::Put { key: key.into(), value: Bytes::from(value) }
        } else {
            let mut operation = command::Delete::new();
            operation.key.clone_from(&key);
            proto.operation = Some(Operation::Delete(operation));
            kv::Command::Delete { key: key.into() }
        };
        let described = bytes_of(&proto);
        let mut bytes = Vec::new();
        codec::encode_command(&ours, &mut bytes);
        prop_assert_eq!(&bytes, &described);
        prop_assert_eq!(codec::decode_command(described.into()), Ok(ours));
    }
}
