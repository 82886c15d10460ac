//! grpc.health.v1.

use raftkv::proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use raftkv::{
    grpc::{self, Code},
    node::Answer,
};

use crate::{node::Node, wire::Wire};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

#[test]
fn a_node_serves_while_it_knows_a_leader() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    for (known, status) in [
        (true, ServingStatus::Serving),
        (false, ServingStatus::NotServing),
    ] {
        node.know_leader(known);
        for service in ["", "raftkv.proto.KvService"] {
            let response: HealthCheckResponse = wire.call(CHECK, &request(service)).message();
            assert_eq!(response.status(), status, "{service:?}");
        }
    }
}

#[test]
fn checking_an_unknown_service_is_not_found() {
    let node = Node::answering(Answer::Put);
    let reply = Wire::connect(node.address()).call(CHECK, &request("nothing"));
    assert_eq!(reply.code(), Code::NotFound as u8);
}

#[test]
fn a_watcher_is_told_the_state_and_each_change() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let stream = wire.open(WATCH, &[]);
    wire.send(stream, grpc::encode(&request("")), true);
    let mut told = Vec::new();
    for known in [false, true] {
        let so_far = told.len();
        let reply = wire.wait(stream, |reply| {
            reply.messages::<HealthCheckResponse>().len() > so_far
        });
        told = reply.messages::<HealthCheckResponse>();
        node.know_leader(known);
    }
    let reply = wire.wait(stream, |reply| {
        reply.messages::<HealthCheckResponse>().len() == 3
    });
    let told: Vec<ServingStatus> = reply
        .messages::<HealthCheckResponse>()
        .iter()
        .map(HealthCheckResponse::status)
        .collect();
    use ServingStatus::{NotServing, Serving};
    assert_eq!(told, [Serving, NotServing, Serving]);
    assert!(!reply.ended);
}

#[test]
fn watching_an_unknown_service_says_so_and_stays() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let stream = wire.open(WATCH, &[]);
    wire.send(stream, grpc::encode(&request("nothing")), true);
    let reply = wire.wait(stream, |reply| !reply.body.is_empty());
    let response: HealthCheckResponse = reply.message();
    assert_eq!(response.status(), ServingStatus::ServiceUnknown);
    let other: HealthCheckResponse = wire.call(CHECK, &request("")).message();
    assert_eq!(other.status(), ServingStatus::Serving);
    assert!(!wire.wait(stream, |_| true).ended);
}
