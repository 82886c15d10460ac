//! ClusterService as tonic sees it.

use tonic::{Code, transport::Channel};

use crate::{
    client::{
        block_on, channel, nothing_applied,
        proto::{
            MemberChangeRequest, MemberListRequest, StatusRequest, TransferLeaderRequest,
            cluster_service_client::ClusterServiceClient, member_change_response::State, refusal,
            transfer_leader_response::Outcome,
        },
    },
    support::{Cluster, turn},
};

type Service = ClusterServiceClient<Channel>;

fn service(cluster: &Cluster, id: usize) -> Service {
    Service::new(channel(cluster.addresses(id).1))
}

#[test]
fn a_follower_says_how_it_is_and_the_leader_who_the_members_are() {
    let _turn = turn();
    let cluster = Cluster::started();
    block_on(async {
        let leader = cluster.leader();
        let other = (leader + 1) % 3;
        let mut follower = service(&cluster, other);
        let status = follower.status(StatusRequest {}).await;
        let status = status.expect("an answer").into_inner();
        assert_eq!(status.node_id, other as u64);
        assert_eq!(status.leader, Some(leader as u64));
        assert_eq!(status.members.expect("members").members.len(), 3);

        let refused = follower.member_list(MemberListRequest {}).await;
        let refused = refused.expect_err("it does not lead");
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(nothing_applied(refused.metadata()));
        let hint = refused.metadata().get("raftkv-leader").expect("a hint");
        assert_eq!(hint, cluster.addresses(leader).1);

        let mut service = service(&cluster, leader);
        let list = service.member_list(MemberListRequest {}).await;
        let members = list.expect("a list").into_inner().members;
        let members = members.expect("members").members;
        for (id, member) in members.iter().enumerate() {
            let (peers, clients) = cluster.addresses(id);
            assert_eq!(member.peer_address, peers);
            assert_eq!(member.client_address, clients);
        }
    });
}

#[test]
fn a_refused_change_has_a_code_and_leadership_goes_where_it_is_sent() {
    let _turn = turn();
    let cluster = Cluster::started();
    block_on(async {
        let leader = cluster.leader();
        let mut service = service(&cluster, leader);
        let request = MemberChangeRequest {
            remove: vec![7],
            ..MemberChangeRequest::default()
        };
        let state = service.member_change(request).await;
        match state.expect("an answer").into_inner().state {
            Some(State::Refused(refused)) => {
                assert_eq!(refused.code(), refusal::Code::NoMember);
            }
            other => panic!("{other:?}"),
        }
        let to = Some(((leader + 1) % 3) as u64);
        let outcome = service.transfer_leader(TransferLeaderRequest { to }).await;
        let outcome = outcome.expect("an answer").into_inner().outcome;
        assert_eq!(outcome, to.map(Outcome::To));
    });
}
