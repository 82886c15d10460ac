//! ClusterService: what each of the node's answers becomes, and what is asked of the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use raftkv::{
    grpc::Code,
    node::{Answer, Follower, NodeStatus, Stage, StageSummary},
    proto::proto::{
        Addition, MemberChangeRequest, MemberChangeResponse, MemberListRequest, MemberListResponse,
        StatusRequest, StatusResponse, TransferLeaderRequest, TransferLeaderResponse,
        member::Suffrage, member_change_response::State, refusal::Code as Why,
        status_response::Role, transfer_leader_response::Outcome,
    },
    raft::{
        self, Change, ChangeRefusal, ChangeState, Config, Description, Index, NodeId, RoleName,
        Term,
    },
    replica::{Operation, TransferRefusal},
};

use crate::{node::Node, wire::Wire};

const STATUS: &str = "/raftkv.proto.ClusterService/Status";
const LIST: &str = "/raftkv.proto.ClusterService/MemberList";
const CHANGE: &str = "/raftkv.proto.ClusterService/MemberChange";
const TRANSFER: &str = "/raftkv.proto.ClusterService/TransferLeader";

/// Nodes 0 to 2 as voters.
pub fn three() -> Config {
    Config::described((0..3).map(|id| {
        let description = Description {
            peer_address: format!("10.0.0.{id}:9000"),
            client_address: format!("10.0.0.{id}:9100"),
            incarnation: Some([id as u8; 16]),
        };
        (NodeId(id), description)
    }))
}

/// Node 3 at this address.
fn addition(peer_address: &str, learner: bool) -> Addition {
    Addition {
        id: 3,
        peer_address: peer_address.into(),
        client_address: String::new(),
        learner,
    }
}

/// Node 3 put in the place of node 0.
fn replacement() -> MemberChangeRequest {
    MemberChangeRequest {
        add: vec![addition("10.0.0.3:9000", false)],
        remove: vec![0],
    }
}

#[test]
fn a_node_says_how_it_is_and_asks_nobody() {
    let node = Node::answering(Answer::Unknown);
    node.say(NodeStatus {
        id: NodeId(1),
        cluster_id: [7; 16],
        role: RoleName::Leader,
        term: Term(4),
        leader: Some(NodeId(1)),
        transferring: Some(NodeId(2)),
        commit: Index(2_900),
        applied: Index(2_800),
        last: Index(3_000),
        config: Arc::new(three()),
        config_at: Index(2_950),
        followers: vec![Follower {
            node: NodeId(2),
            matched: Index(2_400),
            silent_ms: 70,
        }],
        sync_p99_us: Some(1_234),
        stages: vec![StageSummary {
            stage: Stage::LocalSync,
            count: 5,
            p50_us: 110,
            p99_us: 190,
            max_us: 200,
        }],
        digest: Some(5),
        digests: Arc::new([(Index(1_000), 3), (Index(2_000), 4)].into()),
        ..NodeStatus::default()
    });
    let reply = Wire::connect(node.address()).call(STATUS, &StatusRequest {});
    assert_eq!(reply.code(), 0);
    let said = reply.message::<StatusResponse>();
    assert_eq!((said.node_id, said.term, said.role()), (1, 4, Role::Leader));
    assert_eq!(said.cluster_id[..], [7; 16]);
    assert_eq!((said.leader, said.transferring_to), (Some(1), Some(2)));
    assert_eq!(
        (said.commit, said.applied, said.last),
        (2_900, 2_800, 3_000)
    );
    assert_eq!(said.sync_p99_us, Some(1_234));
    let stage = &said.stages[0];
    assert_eq!((stage.name.as_str(), stage.count), ("local_sync", 5));
    assert_eq!((stage.p50_us, stage.p99_us, stage.max_us), (110, 190, 200));
    let follower = said.followers[0];
    assert_eq!((follower.node_id, follower.lag), (2, 600));
    assert_eq!(follower.last_contact_ms, 70);
    let digests = said.digests.iter().chain(&said.digest);
    let digests: Vec<(u64, u8)> = digests.map(|at| (at.index, at.digest[15])).collect();
    assert_eq!(digests, [(1_000, 3), (2_000, 4), (2_800, 5)]);
    let members = said.members.expect("members");
    assert!(!members.committed && !members.joint);
    assert_eq!(members.members.len(), 3);
    assert_eq!(node.seen(), []);
}

#[test]
fn the_members_are_listed_with_their_addresses_and_voices() {
    let change = Change {
        add: BTreeMap::from([(NodeId(3), raft::Addition::default())]),
        remove: BTreeSet::new(),
    };
    let node = Node::answering(Answer::Members {
        at: Index(9),
        is_committed: true,
        config: Arc::new(three().with_learners(&change)),
    });
    let reply = Wire::connect(node.address()).call(LIST, &MemberListRequest {});
    let members = reply.message::<MemberListResponse>().members;
    let members = members.expect("members");
    assert_eq!(
        (members.index, members.committed, members.joint),
        (9, true, false)
    );
    let voices: Vec<Suffrage> = members.members.iter().map(|it| it.suffrage()).collect();
    let mut expected = vec![Suffrage::Voter; 3];
    expected.push(Suffrage::Learner);
    assert_eq!(voices, expected);
    let member = &members.members[2];
    assert_eq!(member.peer_address, "10.0.0.2:9000");
    assert_eq!(member.client_address, "10.0.0.2:9100");
    assert_eq!(member.incarnation[..], [2; 16]);
    assert_eq!(node.seen(), [Operation::Members]);
}

#[test]
fn a_change_is_asked_of_the_node_as_it_is() {
    let node = Node::answering(Answer::Change(ChangeState::Done));
    let mut wire = Wire::connect(node.address());
    let reply = wire.call(CHANGE, &replacement());
    let state = reply.message::<MemberChangeResponse>().state;
    assert!(matches!(state, Some(State::Done(_))));
    let added = raft::Addition {
        votes: true,
        description: Description {
            peer_address: "10.0.0.3:9000".into(),
            ..Description::default()
        },
    };
    let change = Change {
        add: BTreeMap::from([(NodeId(3), added)]),
        remove: BTreeSet::from([NodeId(0)]),
    };
    assert_eq!(node.seen(), [Operation::Change(change)]);
}

#[test]
fn each_state_of_a_change_is_told() {
    let catching_up = ChangeState::CatchingUp {
        node: NodeId(3),
        matched: Index(5),
        last: Index(9),
    };
    for state in [catching_up, ChangeState::Joint, ChangeState::Committing] {
        let node = Node::answering(Answer::Change(state.clone()));
        let reply = Wire::connect(node.address()).call(CHANGE, &replacement());
        let told = reply.message::<MemberChangeResponse>().state;
        let is_so = match (&state, told) {
            (ChangeState::CatchingUp { .. }, Some(State::CatchingUp(it))) => {
                (it.node_id, it.matched, it.last) == (3, 5, 9)
            }
            (ChangeState::Joint, Some(State::Joint(_)))
            | (ChangeState::Committing, Some(State::Committing(_))) => true,
            _ => false,
        };
        assert!(is_so, "{state:?}");
    }
}

/// What each refusal is told as: its code, and some of its words.
fn refusals() -> Vec<(ChangeRefusal, Why, [&'static str; 2])> {
    use ChangeRefusal as R;
    let three = NodeId(3);
    let transferring = R::Transferring { to: three };
    let once = "node id 3 was a member once and is never used again";
    let replace = "member replace 3 NEW@HOST:PORT";
    let lags = R::Lags {
        node: three,
        matched: Index(5),
        last: Index(9),
    };
    vec![
        (transferring, Why::Transferring, ["node 3", "ask again"]),
        (R::UnderWay, Why::UnderWay, ["one at a time", "member list"]),
        (
            R::TermNotCommitted,
            Why::TermNotCommitted,
            ["leader", "ask again"],
        ),
        (R::Retired(three), Why::Retired, [once, "take another id"]),
        (R::NoMember(three), Why::NoMember, ["node 3", "member list"]),
        (
            R::AddedAndRemoved(three),
            Why::AddedAndRemoved,
            ["node 3", "choose one"],
        ),
        (R::IsVoter(three), Why::IsVoter, ["node 3", "remove it"]),
        (
            R::OtherIncarnation(three),
            Why::OtherIncarnation,
            ["node 3", replace],
        ),
        (R::NoVoter, Why::NoVoter, ["nobody", "keep one"]),
        (
            R::TooMany(10),
            Why::TooMany,
            ["10 members exceed 9", "remove"],
        ),
        (
            R::Silent(three),
            Why::Silent,
            ["node 3 is not heard", "--join"],
        ),
        (lags, Why::Lags, ["node 3", "5 of 9 entries"]),
    ]
}

#[test]
fn a_refusal_has_a_code_and_names_the_thing_and_the_cure() {
    for (refusal, code, words) in refusals() {
        let state = ChangeState::Refused(refusal);
        let node = Node::answering(Answer::Change(state));
        let reply = Wire::connect(node.address()).call(CHANGE, &replacement());
        let Some(State::Refused(told)) = reply.message::<MemberChangeResponse>().state else {
            panic!("{code:?} is not refused");
        };
        assert_eq!(told.code(), code);
        let is_said = words.iter().all(|word| told.reason.contains(word));
        assert!(is_said, "{}", told.reason);
        assert!(!told.reason.contains('\n'));
    }
}

#[test]
fn a_change_that_makes_no_sense_is_refused_and_not_asked() {
    let node = Node::answering(Answer::Change(ChangeState::Done));
    node.say(NodeStatus {
        config: Arc::new(three()),
        ..NodeStatus::default()
    });
    let of = |add: &[Addition]| MemberChangeRequest {
        add: add.to_vec(),
        remove: Vec::new(),
    };
    let large = Addition {
        id: 1 << 32,
        ..addition("a:1", false)
    };
    let mut wire = Wire::connect(node.address());
    for (request, word) in [
        (of(&[]), "names nobody"),
        (of(&[addition("", false)]), "the address of node 3"),
        (of(&[addition("nowhere", false)]), "no port"),
        (
            of(&[addition("a:1", false), addition("b:1", false)]),
            "twice",
        ),
        (of(&[large]), "4294967296 exceeds"),
    ] {
        let reply = wire.call(CHANGE, &request);
        assert_eq!(reply.code(), Code::InvalidArgument as u8, "{word}");
        assert!(reply.nothing_applied());
        assert!(reply.text().contains(word), "{}", reply.text());
    }
    assert_eq!(node.seen(), []);
    // Of a member the address is known.
    let known = Addition {
        id: 2,
        ..addition("", false)
    };
    assert_eq!(wire.call(CHANGE, &of(&[known])).code(), 0);
}

#[test]
fn leadership_goes_where_it_is_asked_to_or_the_refusal_says_why() {
    for (outcome, told) in [
        (Ok(NodeId(2)), Ok(2)),
        (
            Err(TransferRefusal::NotAVoter(NodeId(7))),
            Err(Why::NotAVoter),
        ),
        (Err(TransferRefusal::NobodyElse), Err(Why::NobodyElse)),
    ] {
        let node = Node::answering(Answer::Transfer(outcome));
        let request = TransferLeaderRequest { to: Some(0) };
        let reply = Wire::connect(node.address()).call(TRANSFER, &request);
        let outcome = match reply.message::<TransferLeaderResponse>().outcome {
            Some(Outcome::To(to)) => Ok(to),
            Some(Outcome::Refused(refusal)) => Err(refusal.code()),
            None => panic!("no outcome"),
        };
        assert_eq!(outcome, told);
        // Node 0 is not nobody.
        let to = Some(NodeId(0));
        assert_eq!(node.seen(), [Operation::Transfer { to }]);
    }
}

#[test]
fn one_who_does_not_lead_says_who_does_and_yet_how_it_is() {
    let node = Node::following("10.0.0.1:9100");
    let mut wire = Wire::connect(node.address());
    let replies = [
        wire.call(LIST, &MemberListRequest {}),
        wire.call(CHANGE, &replacement()),
        wire.call(TRANSFER, &TransferLeaderRequest { to: None }),
    ];
    for reply in replies {
        assert_eq!(reply.code(), Code::Unavailable as u8);
        assert!(reply.nothing_applied());
        let hint = reply.trailer("raftkv-leader");
        assert_eq!(hint.as_deref(), Some("10.0.0.1:9100"));
    }
    assert_eq!(wire.call(STATUS, &StatusRequest {}).code(), 0);
}
