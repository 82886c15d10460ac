//! Every message of `proto/`: prost and rust-protobuf make the same bytes of the same values, and
//! each reads the other's.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use protobuf::EnumOrUnknown;
use raftkv_codec_oracle as oracle;

/// prost's types, under the names of the files.
mod ours {
    pub use ::raftkv::proto::{command, peer, proto as raftkv, proto as cluster};
}

/// One message in both codecs, from the same values.
macro_rules! both {
    ($file:ident :: $name:ident) => {
        (ours::$file::$name::default(), oracle::$file::$name::new())
    };
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

/// As [`refusal`], of the cluster.
fn cluster_refusal() -> impl Strategy<Value = (ours::cluster::Refusal, oracle::cluster::Refusal)> {
    (0..20i32, any::<String>()).prop_map(|(code, reason)| {
        let (mut ours, mut theirs) = both!(cluster::Refusal { reason });
        ours.code = code;
        theirs.code = EnumOrUnknown::from_i32(code);
        (ours, theirs)
    })
}

fn member() -> impl Strategy<Value = (ours::cluster::Member, oracle::cluster::Member)> {
    let texts = (any::<String>(), any::<String>());
    (number(), 0..9i32, texts, data()).prop_map(
        |(id, suffrage, (peer_address, client_address), incarnation)| {
            let (mut ours, mut theirs) = both!(cluster::Member {
                id,
                peer_address,
                client_address,
                incarnation
            });
            ours.suffrage = suffrage;
            theirs.suffrage = EnumOrUnknown::from_i32(suffrage);
            (ours, theirs)
        },
    )
}

fn members() -> impl Strategy<Value = (ours::cluster::Members, oracle::cluster::Members)> {
    let list = prop::collection::vec(member(), 0..4);
    let retired = prop::collection::vec(number(), 0..4);
    (number(), any::<bool>(), any::<bool>(), list, retired).prop_map(
        |(index, committed, joint, list, retired)| {
            let (mut ours, mut theirs) = both!(cluster::Members {
                index,
                committed,
                joint,
                retired
            });
            (ours.members, theirs.members) = list.into_iter().unzip();
            (ours, theirs)
        },
    )
}

fn follower() -> impl Strategy<Value = (ours::cluster::Follower, oracle::cluster::Follower)> {
    (number(), number(), number(), number()).prop_map(|(node_id, matched, lag, last_contact_ms)| {
        both!(cluster::Follower {
            node_id,
            matched,
            lag,
            last_contact_ms
        })
    })
}

fn digest() -> impl Strategy<Value = (ours::cluster::StateDigest, oracle::cluster::StateDigest)> {
    (number(), data()).prop_map(|(index, digest)| both!(cluster::StateDigest { index, digest }))
}

fn stage() -> impl Strategy<Value = (ours::cluster::Stage, oracle::cluster::Stage)> {
    let numbers = (number(), number(), number(), number());
    (any::<String>(), numbers).prop_map(|(name, (count, p50_us, p99_us, max_us))| {
        both!(cluster::Stage {
            name,
            count,
            p50_us,
            p99_us,
            max_us
        })
    })
}

fn addition() -> impl Strategy<Value = (ours::cluster::Addition, oracle::cluster::Addition)> {
    (number(), any::<String>(), any::<String>(), any::<bool>()).prop_map(
        |(id, peer_address, client_address, learner)| {
            both!(cluster::Addition {
                id,
                peer_address,
                client_address,
                learner
            })
        },
    )
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

    #[test]
    fn both_codecs_agree_on_a_status(
        (cluster_id, node_id, version) in (data(), number(), any::<String>()),
        (uptime_ms, age_ms, leader_for_ms) in (number(), number(), number()),
        (peer_address, client_address) in (any::<String>(), any::<String>()),
        (role, term) in (0..9i32, number()),
        (leader, transferring_to) in prop::option::of((number(), number())).prop_map(Option::unzip),
        (commit, applied, last, snapshot) in (number(), number(), number(), number()),
        members in prop::option::of(members()),
        followers in prop::collection::vec(follower(), 0..4),
        (election_timeout_ms, sync_p99_us) in (number(), prop::option::of(number())),
        (newest, digests) in
            (prop::option::of(digest()), prop::collection::vec(digest(), 0..4)),
        stages in prop::collection::vec(stage(), 0..4),
    ) {
        let (mut ours, mut theirs) = both!(cluster::StatusResponse {
            cluster_id, node_id, version, uptime_ms, age_ms, peer_address, client_address, term,
            leader_for_ms, commit, applied, last, snapshot, election_timeout_ms
        });
        (ours.role, theirs.role) = (role, EnumOrUnknown::from_i32(role));
        (ours.leader, theirs.leader) = (leader, leader);
        (ours.transferring_to, theirs.transferring_to) = (transferring_to, transferring_to);
        (ours.sync_p99_us, theirs.sync_p99_us) = (sync_p99_us, sync_p99_us);
        let (mine, other) = members.unzip();
        (ours.members, theirs.members) = (mine, other.into());
        (ours.followers, theirs.followers) = followers.into_iter().unzip();
        let (mine, other) = newest.unzip();
        (ours.digest, theirs.digest) = (mine, other.into());
        (ours.digests, theirs.digests) = digests.into_iter().unzip();
        (ours.stages, theirs.stages) = stages.into_iter().unzip();
        agree((ours, theirs))?;
    }

    #[test]
    fn both_codecs_agree_on_members_and_their_changes(
        members in prop::option::of(members()),
        add in prop::collection::vec(addition(), 0..4),
        remove in prop::collection::vec(number(), 0..4),
    ) {
        let mut list = both!(cluster::MemberListResponse);
        let (mine, other) = members.unzip();
        (list.0.members, list.1.members) = (mine, other.into());
        agree(list)?;
        let (mut ours, mut theirs) = both!(cluster::MemberChangeRequest { remove });
        (ours.add, theirs.add) = add.into_iter().unzip();
        agree((ours, theirs))?;
    }

    #[test]
    fn both_codecs_agree_on_how_far_a_change_is(
        which in 0..6,
        refused in cluster_refusal(),
        (node_id, matched, last) in (number(), number(), number()),
    ) {
        use ours::cluster::member_change_response::State as Ours;
        use oracle::cluster::member_change_response::State as Theirs;
        let catching_up = both!(cluster::CatchingUp { node_id, matched, last });
        let state = match which {
            0 => Some((Ours::Refused(refused.0), Theirs::Refused(refused.1))),
            1 => Some((Ours::CatchingUp(catching_up.0), Theirs::CatchingUp(catching_up.1))),
            2 => Some((Ours::Joint(Default::default()), Theirs::Joint(Default::default()))),
            3 => Some((
                Ours::Committing(Default::default()), Theirs::Committing(Default::default()),
            )),
            4 => Some((Ours::Done(Default::default()), Theirs::Done(Default::default()))),
            _ => None,
        };
        let (mut ours, mut theirs) = both!(cluster::MemberChangeResponse);
        (ours.state, theirs.state) = state.unzip();
        agree((ours, theirs))?;
    }

    #[test]
    fn both_codecs_agree_on_handing_over(
        to in prop::option::of(number()), refused in cluster_refusal(), which in 0..3,
    ) {
        use ours::cluster::transfer_leader_response::Outcome as Ours;
        use oracle::cluster::transfer_leader_response::Outcome as Theirs;
        let (mut ours, mut theirs) = both!(cluster::TransferLeaderRequest);
        (ours.to, theirs.to) = (to, to);
        agree((ours, theirs))?;
        let outcome = match (which, to) {
            (0, _) => Some((Ours::Refused(refused.0), Theirs::Refused(refused.1))),
            (1, Some(to)) => Some((Ours::To(to), Theirs::To(to))),
            _ => None,
        };
        let (mut ours, mut theirs) = both!(cluster::TransferLeaderResponse);
        (ours.outcome, theirs.outcome) = outcome.unzip();
        agree((ours, theirs))?;
    }
}
