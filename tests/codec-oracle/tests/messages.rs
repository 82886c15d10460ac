//! Every message of `proto/`: prost and rust-protobuf make the same bytes of the same values, and
//! each reads the other's.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use protobuf::EnumOrUnknown;
use raftkv_codec_oracle as oracle;

/// prost's types, under the names of the files.
mod ours {
    pub use ::raftkv::proto::{command, peer, proto as raftkv};
}

/// One message in both codecs, from the same values.
macro_rules! both {
    ($file:ident :: $name:ident { $($field:ident),* }) => {{
        let mut ours = ours::$file::$name::default();
        $(ours.$field = $field.clone().into();)*
        let mut theirs = oracle::$file::$name::new();
        $(theirs.$field = $field.clone().into();)*
        (ours, theirs)
    }};
}

fn agree<O, T>((ours, theirs): (O, T)) -> Result<(), TestCaseError>
where
    O: prost::Message + Default + PartialEq + Debug,
    T: protobuf::Message + PartialEq + Debug,
{
    let bytes = ours.encode_to_vec();
    prop_assert_eq!(&theirs.write_to_bytes().expect("complete"), &bytes);
    prop_assert_eq!(T::parse_from_bytes(&bytes).expect("sound"), theirs);
    prop_assert_eq!(O::decode(&bytes[..]).expect("sound"), ours);
    Ok(())
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// Numbers of every encoded length, 0 among them: proto3 leaves it out.
fn number() -> impl Strategy<Value = u64> {
    (0..=64u32, any::<u64>()).prop_map(|(bits, n)| n.checked_shr(bits).unwrap_or(0))
}

fn pin() -> impl Strategy<Value = (ours::peer::Pin, oracle::peer::Pin)> {
    (number(), data()).prop_map(|(node_id, incarnation)| {
        both!(peer::Pin {
            node_id,
            incarnation
        })
    })
}

/// Codes that this build does not know are kept by both.
fn refusal() -> impl Strategy<Value = (ours::peer::Refusal, oracle::peer::Refusal)> {
    (0..20i32, any::<String>()).prop_map(|(code, reason)| {
        let (mut ours, mut theirs) = both!(peer::Refusal { reason });
        ours.code = code;
        theirs.code = EnumOrUnknown::from_i32(code);
        (ours, theirs)
    })
}

type PeerMessages = (ours::peer::PeerMessage, oracle::peer::PeerMessage);

macro_rules! kind {
    ($kind:ident, $pair:expr) => {{
        let (ours, theirs) = $pair;
        let ours = ours::peer::peer_message::Kind::$kind(ours);
        let theirs = oracle::peer::peer_message::Kind::$kind(theirs);
        peer_message(Some(ours), Some(theirs))
    }};
}

fn peer_message(
    ours: Option<ours::peer::peer_message::Kind>,
    theirs: Option<oracle::peer::peer_message::Kind>,
) -> PeerMessages {
    let ours = ours::peer::PeerMessage { kind: ours };
    let mut message = oracle::peer::PeerMessage::new();
    message.kind = theirs;
    (ours, message)
}

fn append() -> impl Strategy<Value = PeerMessages> {
    let entries = prop::collection::vec(data(), 0..5);
    (number(), number(), number(), number(), entries).prop_map(
        |(term, prev_term, prev_index, commit, entries)| {
            let (mut ours, mut theirs) = both!(peer::Append {
                term,
                prev_term,
                prev_index,
                commit
            });
            ours.entries = entries.iter().cloned().map(Bytes::from).collect();
            theirs.entries = entries;
            kind!(Append, (ours, theirs))
        },
    )
}

fn append_reply() -> impl Strategy<Value = PeerMessages> {
    (number(), 0..3, number(), number(), number()).prop_map(
        |(term, outcome, rejected_index, hint_term, hint_index)| {
            use oracle::peer::append_reply::Outcome as Theirs;
            use ours::peer::append_reply::Outcome as Ours;
            let (mut ours, mut theirs) = both!(peer::AppendReply { term });
            if outcome == 1 {
                ours.outcome = Some(Ours::MatchIndex(rejected_index));
                theirs.outcome = Some(Theirs::MatchIndex(rejected_index));
            } else if outcome == 2 {
                let conflict = both!(peer::Conflict {
                    rejected_index,
                    hint_term,
                    hint_index
                });
                ours.outcome = Some(Ours::Conflict(conflict.0));
                theirs.outcome = Some(Theirs::Conflict(conflict.1));
            }
            kind!(AppendReply, (ours, theirs))
        },
    )
}

fn vote_request() -> impl Strategy<Value = PeerMessages> {
    (number(), number(), number(), 0..9i32).prop_map(|(term, last_term, last_index, kind)| {
        let (mut ours, mut theirs) = both!(peer::VoteRequest {
            term,
            last_term,
            last_index
        });
        ours.kind = kind;
        theirs.kind = EnumOrUnknown::from_i32(kind);
        kind!(VoteRequest, (ours, theirs))
    })
}

fn snapshot() -> impl Strategy<Value = (ours::peer::Snapshot, oracle::peer::Snapshot)> {
    (number(), number(), number(), data()).prop_map(|(term, index, bytes, hash)| {
        both!(peer::Snapshot {
            term,
            index,
            bytes,
            hash
        })
    })
}

/// Offers, requests and chunks, of a snapshot that may be absent.
fn about_snapshots() -> impl Strategy<Value = PeerMessages> {
    let snapshot = prop::option::of(snapshot());
    (0..3, snapshot, number(), number(), data()).prop_map(
        |(which, snapshot, term, offset, data)| {
            let (of_ours, of_theirs) = snapshot.unzip();
            macro_rules! about {
                ($kind:ident { $($field:ident),* }) => {{
                    let (mut ours, mut theirs) = both!(peer::$kind { $($field),* });
                    ours.snapshot = of_ours;
                    theirs.snapshot = of_theirs.into();
                    kind!($kind, (ours, theirs))
                }};
            }
            match which {
                0 => about!(SnapshotOffer { term }),
                1 => about!(SnapshotFetch { offset }),
                _ => about!(SnapshotChunk { offset, data }),
            }
        },
    )
}

fn any_peer_message() -> impl Strategy<Value = PeerMessages> {
    let flag = any::<bool>;
    prop_oneof![
        Just(peer_message(None, None)),
        append(),
        append_reply(),
        vote_request(),
        (number(), number(), number()).prop_map(|(term, commit, round)| {
            kind!(
                Heartbeat,
                both!(peer::Heartbeat {
                    term,
                    commit,
                    round
                })
            )
        }),
        (number(), number()).prop_map(|(term, round)| {
            kind!(HeartbeatReply, both!(peer::HeartbeatReply { term, round }))
        }),
        (number(), flag(), flag()).prop_map(|(term, granted, pre_vote)| {
            kind!(
                VoteReply,
                both!(peer::VoteReply {
                    term,
                    granted,
                    pre_vote
                })
            )
        }),
        number().prop_map(|term| kind!(TimeoutNow, both!(peer::TimeoutNow { term }))),
        about_snapshots(),
    ]
}

proptest! {
    #[test]
    fn both_codecs_agree_on_what_peers_say(message in any_peer_message()) {
        agree(message)?;
    }

    #[test]
    fn both_codecs_agree_on_entries(
        term in number(),
        index in number(),
        kind in any::<u32>(),
        data in data(),
    ) {
        agree(both!(peer::Entry { term, index, kind, data }))?;
    }

    #[test]
    fn both_codecs_agree_on_hellos(
        magic in any::<String>(),
        protocol_version in any::<u32>(),
        cluster_id in data(),
        (node_id, heartbeat_ms, election_timeout_ms) in (number(), number(), number()),
        (peer_address, client_address) in (any::<String>(), any::<String>()),
        entry_kinds in prop::collection::vec(any::<u32>(), 0..4),
        incarnation in data(),
        pins in prop::collection::vec(pin(), 0..4),
        refusal in prop::option::of(refusal()),
    ) {
        let (mut ours, mut theirs) = both!(peer::Hello {
            magic, protocol_version, cluster_id, node_id, incarnation, peer_address,
            client_address, heartbeat_ms, election_timeout_ms, entry_kinds
        });
        (ours.pins, theirs.pins) = pins.into_iter().unzip();
        if let Some(refusal) = refusal {
            ours.refusal = Some(refusal.0);
            theirs.refusal = Some(refusal.1).into();
        }
        agree((ours, theirs))?;
    }

    #[test]
    fn both_codecs_agree_on_commands(which in 0..3, key in data(), value in data()) {
        use ours::command::command::Operation as Ours;
        use oracle::command::command::Operation as Theirs;
        let mut ours = ours::command::Command::default();
        let mut theirs = oracle::command::Command::new();
        if which == 1 {
            let put = both!(command::Put { key, value });
            (ours.operation, theirs.operation) = (Some(Ours::Put(put.0)), Some(Theirs::Put(put.1)));
        } else if which == 2 {
            let delete = both!(command::Delete { key });
            ours.operation = Some(Ours::Delete(delete.0));
            theirs.operation = Some(Theirs::Delete(delete.1));
        }
        agree((ours, theirs))?;
    }

    #[test]
    fn both_codecs_agree_on_requests(key in any::<String>(), value in any::<String>()) {
        agree(both!(raftkv::GetRequest { key }))?;
        agree(both!(raftkv::DeleteRequest { key }))?;
        agree(both!(raftkv::PutRequest { key, value }))?;
    }

    #[test]
    fn both_codecs_agree_on_responses(
        (ok, found) in (any::<bool>(), any::<bool>()),
        leader_hint in any::<String>(),
        error in any::<String>(),
        value in any::<String>(),
    ) {
        agree(both!(raftkv::PutResponse { ok, leader_hint, error }))?;
        agree(both!(raftkv::DeleteResponse { ok, leader_hint, error, found }))?;
        agree(both!(raftkv::GetResponse { ok, leader_hint, error, found, value }))?;
    }
}
