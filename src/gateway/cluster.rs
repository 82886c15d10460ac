//! ClusterService: what its calls ask of the node, and how the node's answers are told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::service::{Response, decode, no_answer};
use crate::{
    grpc::{Code, Status},
    node::{Answer, NODE_ID_MAX, NodeStatus, StageSummary, check_address},
    proto::proto::{
        Addition, CatchingUp, Committing, Done, Follower, Joint, Member, MemberChangeRequest,
        MemberChangeResponse, MemberListRequest, MemberListResponse, Members, Refusal, Stage,
        StateDigest, StatusRequest, StatusResponse, TransferLeaderRequest, TransferLeaderResponse,
        member::Suffrage, member_change_response::State, refusal, status_response::Role,
        transfer_leader_response::Outcome,
    },
    raft::{
        self, Change, ChangeRefusal, ChangeState, Config, Description, Index, MEMBERS_MAX, NodeId,
        RoleName,
    },
    replica::{Operation, TransferRefusal},
};

const LIST: &str = "`raftkv-cli member list` shows the members";

/// The methods of ClusterService.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterMethod {
    /// What this node is and knows.
    Status,
    /// Who the members are.
    MemberList,
    /// Change them.
    MemberChange,
    /// Have another one lead.
    TransferLeader,
}

impl ClusterMethod {
    /// The method of this name.
    pub fn of_name(name: &[u8]) -> Option<ClusterMethod> {
        Some(match name {
            b"Status" => ClusterMethod::Status,
            b"MemberList" => ClusterMethod::MemberList,
            b"MemberChange" => ClusterMethod::MemberChange,
            b"TransferLeader" => ClusterMethod::TransferLeader,
            _ => return None,
        })
    }
}

/// What a call comes to.
pub enum Asked {
    /// The node has to be asked.
    Node(Operation),
    /// It can be answered at once.
    Answered(Response),
}

/// Reads the request of a method.
///
/// # Errors
/// INVALID_ARGUMENT for a message that cannot be decoded, and for a change that makes no sense.
pub fn ask(
    method: ClusterMethod,
    message: Bytes,
    status: impl FnOnce() -> NodeStatus,
) -> Result<Asked, Status> {
    Ok(match method {
        ClusterMethod::Status => {
            let StatusRequest {} = decode(message)?;
            Asked::Answered(Response::done(&status_response(&status())))
        }
        ClusterMethod::MemberList => {
            let MemberListRequest {} = decode(message)?;
            Asked::Node(Operation::Members)
        }
        ClusterMethod::MemberChange => {
            let change = change(decode(message)?, &status().config)?;
            Asked::Node(Operation::Change(change))
        }
        ClusterMethod::TransferLeader => {
            let TransferLeaderRequest { to } = decode(message)?;
            let to = to.map(NodeId);
            Asked::Node(Operation::Transfer { to })
        }
    })
}

/// `config` is who the members are as far as this node knows.
fn change(request: MemberChangeRequest, config: &Config) -> Result<Change, Status> {
    let refused = |text: String| Err(Status::new(Code::InvalidArgument, text));
    if request.add.is_empty() && request.remove.is_empty() {
        return refused("the change names nobody; add or remove a node".to_owned());
    }
    let mut add = BTreeMap::new();
    for addition in request.add {
        let id = NodeId(addition.id);
        if id.0 > NODE_ID_MAX {
            return refused(format!(
                "node id {id} exceeds {NODE_ID_MAX}; take a smaller one"
            ));
        }
        if add.insert(id, described(addition, config)?).is_some() {
            return refused(format!("node {id} is added twice; name it once"));
        }
    }
    let remove: BTreeSet<NodeId> = request.remove.into_iter().map(NodeId).collect();
    Ok(Change { add, remove })
}

fn described(addition: Addition, config: &Config) -> Result<raft::Addition, Status> {
    let Addition {
        id,
        peer_address,
        client_address,
        learner,
    } = addition;
    let is_needed = !config.contains(NodeId(id));
    for (address, may_be_empty) in [(&peer_address, !is_needed), (&client_address, true)] {
        if !(address.is_empty() && may_be_empty) {
            check_address(address).map_err(|problem| {
                let text = format!("the address of node {id}: {problem}");
                Status::new(Code::InvalidArgument, text)
            })?;
        }
    }
    Ok(raft::Addition {
        votes: !learner,
        description: Description {
            peer_address,
            client_address,
            incarnation: None,
        },
    })
}

/// Turns what the node answered into the response of a method.
pub fn response(answer: Answer) -> Response {
    match answer {
        Answer::Members {
            at,
            is_committed,
            config,
        } => Response::done(&MemberListResponse {
            members: Some(members(&config, at, is_committed)),
        }),
        Answer::Change(state) => Response::done(&MemberChangeResponse {
            state: Some(change_state(state)),
        }),
        Answer::Transfer(outcome) => Response::done(&TransferLeaderResponse {
            outcome: Some(match outcome {
                Ok(to) => Outcome::To(to.0),
                Err(why) => Outcome::Refused(transfer_refusal(why)),
            }),
        }),
        Answer::NotLeader { leader_hint } => {
            let text = "not leader; the leader knows and changes the members";
            Response {
                leader_hint,
                ..Response::refused(Status::new(Code::Unavailable, text))
            }
        }
        answer => no_answer(answer),
    }
}

fn status_response(status: &NodeStatus) -> StatusResponse {
    let role = match status.role {
        RoleName::Follower => Role::Follower,
        RoleName::PreCandidate => Role::PreCandidate,
        RoleName::Candidate => Role::Candidate,
        RoleName::Leader => Role::Leader,
    };
    let follower = |follower: &crate::node::Follower| Follower {
        node_id: follower.node.0,
        matched: follower.matched.0,
        lag: status.last.0 - follower.matched.0,
        last_contact_ms: follower.silent_ms,
    };
    let digest = |index: Index, digest: u128| StateDigest {
        index: index.0,
        digest: Bytes::copy_from_slice(&digest.to_be_bytes()),
    };
    let digests = status.digests.iter();
    let stage = |of: &StageSummary| Stage {
        name: of.stage.name().to_owned(),
        count: of.count,
        p50_us: of.p50_us,
        p99_us: of.p99_us,
        max_us: of.max_us,
    };
    StatusResponse {
        cluster_id: Bytes::copy_from_slice(&status.cluster_id),
        node_id: status.id.0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: status.uptime_ms,
        age_ms: status.age_ms,
        peer_address: status.peer_address.clone(),
        client_address: status.client_address.clone(),
        role: role.into(),
        term: status.term.0,
        leader: status.leader.map(|node| node.0),
        leader_for_ms: status.leader_for_ms,
        transferring_to: status.transferring.map(|node| node.0),
        commit: status.commit.0,
        applied: status.applied.0,
        last: status.last.0,
        snapshot: status.snapshot.0,
        members: Some(members(
            &status.config,
            status.config_at,
            status.config_at <= status.commit,
        )),
        followers: status.followers.iter().map(follower).collect(),
        election_timeout_ms: status.election_timeout_ms,
        sync_p99_us: status.sync_p99_us,
        digest: status.digest.map(|value| digest(status.applied, value)),
        digests: digests
            .map(|&(index, value)| digest(index, value))
            .collect(),
        stages: status.stages.iter().map(stage).collect(),
    }
}

fn members(config: &Config, at: Index, is_committed: bool) -> Members {
    let member = |(id, member): (&NodeId, &raft::Member)| {
        let description = &member.description;
        let suffrage = match member.suffrage {
            raft::Suffrage::Voter => Suffrage::Voter,
            raft::Suffrage::Learner => Suffrage::Learner,
            raft::Suffrage::Joining => Suffrage::Joining,
            raft::Suffrage::Leaving => Suffrage::Leaving,
        };
        let incarnation = description.incarnation;
        Member {
            id: id.0,
            suffrage: suffrage.into(),
            peer_address: description.peer_address.clone(),
            client_address: description.client_address.clone(),
            incarnation: incarnation.map_or_else(Bytes::new, |of| Bytes::copy_from_slice(&of)),
        }
    };
    Members {
        index: at.0,
        committed: is_committed,
        joint: config.is_joint(),
        members: config.members().iter().map(member).collect(),
        retired: config.retired().iter().map(|id| id.0).collect(),
    }
}

fn change_state(state: ChangeState) -> State {
    match state {
        ChangeState::Refused(why) => State::Refused(change_refusal(&why)),
        ChangeState::CatchingUp {
            node,
            matched,
            last,
        } => State::CatchingUp(CatchingUp {
            node_id: node.0,
            matched: matched.0,
            last: last.0,
        }),
        ChangeState::Joint => State::Joint(Joint {}),
        ChangeState::Committing => State::Committing(Committing {}),
        ChangeState::Done => State::Done(Done {}),
    }
}

fn change_refusal(why: &ChangeRefusal) -> Refusal {
    use refusal::Code;
    let code = match why {
        // The node hints at the leader instead.
        ChangeRefusal::NotLeader { .. } => Code::Unspecified,
        ChangeRefusal::Transferring { .. } => Code::Transferring,
        ChangeRefusal::UnderWay => Code::UnderWay,
        ChangeRefusal::TermNotCommitted => Code::TermNotCommitted,
        ChangeRefusal::Retired(_) => Code::Retired,
        ChangeRefusal::NoMember(_) => Code::NoMember,
        ChangeRefusal::AddedAndRemoved(_) => Code::AddedAndRemoved,
        ChangeRefusal::IsVoter(_) => Code::IsVoter,
        ChangeRefusal::OtherIncarnation(_) => Code::OtherIncarnation,
        ChangeRefusal::NoVoter => Code::NoVoter,
        ChangeRefusal::TooMany(_) => Code::TooMany,
        ChangeRefusal::Silent(_) => Code::Silent,
        ChangeRefusal::Lags { .. } => Code::Lags,
    };
    Refusal {
        code: code.into(),
        reason: reason(why),
    }
}

fn reason(why: &ChangeRefusal) -> String {
    match why {
        ChangeRefusal::NotLeader { .. } => "not leader; ask the one that leads".to_owned(),
        ChangeRefusal::Transferring { to } => {
            format!("leadership is being handed over to node {to}; ask again in a moment")
        }
        ChangeRefusal::UnderWay => {
            format!("another change of members is under way, one at a time is possible; {LIST}")
        }
        ChangeRefusal::TermNotCommitted => {
            "the new leader has not committed anything yet; ask again in a moment".to_owned()
        }
        ChangeRefusal::Retired(id) => {
            format!("node id {id} was a member once and is never used again; take another id")
        }
        ChangeRefusal::NoMember(id) => format!("node {id} is no member and never was; {LIST}"),
        ChangeRefusal::AddedAndRemoved(id) => {
            format!("node {id} is to be added and removed at once; choose one")
        }
        ChangeRefusal::IsVoter(id) => format!(
            "node {id} votes and cannot become a learner; remove it, and add another under a new id"
        ),
        ChangeRefusal::OtherIncarnation(id) => format!(
            "node {id} is a member with another data directory; start it on that one, or replace \
             it under a new id: raftkv-cli member replace {id} NEW@HOST:PORT"
        ),
        ChangeRefusal::NoVoter => {
            "nobody would be left to vote; keep one member, or add another".to_owned()
        }
        ChangeRefusal::TooMany(count) => {
            format!("{count} members exceed {MEMBERS_MAX}, the limit; remove some first")
        }
        ChangeRefusal::Silent(id) => format!(
            "node {id} is not heard; start it with --join, see that it reaches the members, and \
             ask again; {LIST}"
        ),
        ChangeRefusal::Lags {
            node,
            matched,
            last,
        } => format!(
            "node {node} does not catch up: it has {matched} of {last} entries; look at its disk \
             and its network, or write less, and ask again"
        ),
    }
}

fn transfer_refusal(why: TransferRefusal) -> Refusal {
    use refusal::Code;
    let (code, reason) = match why {
        TransferRefusal::NotAVoter(id) => (
            Code::NotAVoter,
            format!("node {id} is no voter of this cluster, so it cannot lead; {LIST}"),
        ),
        TransferRefusal::NobodyElse => (
            Code::NobodyElse,
            "no other voter is heard; start one first".to_owned(),
        ),
    };
    Refusal {
        code: code.into(),
        reason,
    }
}
