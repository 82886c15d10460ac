//! KvService: what each of the node's answers becomes.

use raftkv::{
    grpc,
    h2::{ErrorCode, Header},
    node::Answer,
    proto::proto::{
        DeleteRequest, DeleteResponse, GetRequest, GetResponse, PutRequest, PutResponse,
    },
    replica::Operation,
};

use crate::{
    node::{Node, Step},
    wire::Wire,
};

pub const PUT: &str = "/raftkv.proto.KvService/Put";
pub const GET: &str = "/raftkv.proto.KvService/Get";
pub const DELETE: &str = "/raftkv.proto.KvService/Delete";

pub fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
    }
}

fn get_request(key: &str) -> GetRequest {
    GetRequest { key: key.into() }
}

#[test]
fn an_acknowledged_put_is_ok_and_promises_nothing_else() {
    let node = Node::answering(Answer::Put);
    let reply = Wire::connect(node.address()).call(PUT, &put_request("a", "1"));
    assert_eq!(reply.code(), 0);
    assert!(!reply.nothing_applied());
    let expected = PutResponse {
        ok: true,
        ..PutResponse::default()
    };
    assert_eq!(reply.message::<PutResponse>(), expected);
    let asked = Operation::Put {
        key: "a".into(),
        value: "1".into(),
    };
    assert_eq!(node.seen(), [asked]);
}

#[test]
fn a_get_tells_an_absent_key_from_an_empty_value() {
    for (value, found, text) in [
        (None, false, ""),
        (Some(""), true, ""),
        (Some("ü"), true, "ü"),
    ] {
        let node = Node::answering(Answer::Get {
            value: value.map(Into::into),
        });
        let reply = Wire::connect(node.address()).call(GET, &get_request("a"));
        let response: GetResponse = reply.message();
        assert!(response.ok);
        assert_eq!(response.found, found);
        assert_eq!(response.value, text);
    }
}

#[test]
fn a_delete_says_whether_the_key_was_there() {
    for found in [false, true] {
        let node = Node::answering(Answer::Delete { found });
        let request = DeleteRequest { key: "a".into() };
        let reply = Wire::connect(node.address()).call(DELETE, &request);
        let response: DeleteResponse = reply.message();
        assert!(response.ok);
        assert_eq!(response.found, found);
    }
}

#[test]
fn a_node_that_does_not_lead_answers_ok_false_with_the_hint() {
    for hint in ["10.0.0.1:9100", ""] {
        let node = Node::following(hint);
        let mut wire = Wire::connect(node.address());
        let reply = wire.call(PUT, &put_request("a", "1"));
        assert_eq!(reply.code(), 0);
        assert!(reply.nothing_applied());
        let expected = PutResponse {
            ok: false,
            leader_hint: hint.into(),
            error: "not leader".into(),
        };
        assert_eq!(reply.message::<PutResponse>(), expected);
        let response: GetResponse = wire.call(GET, &get_request("a")).message();
        assert_eq!((response.ok, response.leader_hint.as_str()), (false, hint));
        let request = DeleteRequest { key: "a".into() };
        let response: DeleteResponse = wire.call(DELETE, &request).message();
        assert_eq!((response.ok, response.leader_hint.as_str()), (false, hint));
    }
}

#[test]
fn an_unknown_outcome_promises_nothing() {
    let node = Node::answering(Answer::Unknown);
    let reply = Wire::connect(node.address()).call(PUT, &put_request("a", "1"));
    assert_eq!(reply.code(), grpc::Code::Unknown as u8);
    assert!(!reply.nothing_applied());
}

#[test]
fn a_deadline_that_passes_at_the_node_promises_nothing() {
    let node = Node::start(|_| Step::Hold);
    let timeout = Header::from_static("grpc-timeout", "20m");
    let body = grpc::encode(&put_request("a", "1"));
    let reply = Wire::connect(node.address()).call_with(PUT, &[timeout], body);
    assert_eq!(reply.code(), grpc::Code::DeadlineExceeded as u8);
    assert!(!reply.nothing_applied());
    assert_eq!(node.seen().len(), 1);
}

#[test]
fn a_deadline_that_was_over_at_once_asks_the_node_nothing() {
    let node = Node::answering(Answer::Put);
    let timeout = Header::from_static("grpc-timeout", "0n");
    let body = grpc::encode(&put_request("a", "1"));
    let reply = Wire::connect(node.address()).call_with(PUT, &[timeout], body);
    assert_eq!(reply.code(), grpc::Code::DeadlineExceeded as u8);
    assert!(reply.nothing_applied());
    assert_eq!(node.seen(), []);
}

#[test]
fn a_cancelled_call_is_freed_and_its_late_answer_dropped() {
    let node = Node::start(|_| Step::Hold);
    let mut wire = Wire::connect(node.address());
    let cancelled = wire.open(PUT, &[]);
    wire.send(cancelled, grpc::encode(&put_request("a", "1")), true);
    wire.flush();
    node.await_held(1);
    wire.h2.reset(cancelled, ErrorCode::CANCEL);
    let other = wire.open(PUT, &[]);
    wire.send(other, grpc::encode(&put_request("b", "2")), true);
    wire.flush();
    node.await_held(2);
    node.answer_held(&Answer::Put);
    assert!(wire.reply(other).message::<PutResponse>().ok);
}

#[test]
fn calls_are_answered_in_any_order() {
    let node = Node::start(|operation| match operation {
        Operation::Get { .. } => Step::Answer(Answer::Get { value: None }),
        _ => Step::Hold,
    });
    let mut wire = Wire::connect(node.address());
    let slow = wire.open(PUT, &[]);
    wire.send(slow, grpc::encode(&put_request("a", "1")), true);
    wire.flush();
    node.await_held(1);
    assert!(
        wire.call(GET, &get_request("a"))
            .message::<GetResponse>()
            .ok
    );
    node.answer_held(&Answer::Put);
    assert!(wire.reply(slow).message::<PutResponse>().ok);
}

#[test]
fn requests_that_arrive_together_reach_the_node_in_one_batch() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let stream = wire.open(PUT, &[]);
            wire.send(stream, grpc::encode(&put_request("a", "1")), true);
            stream
        })
        .collect();
    for stream in streams {
        assert!(wire.reply(stream).message::<PutResponse>().ok);
    }
    assert_eq!(node.seen().len(), 20);
    assert_eq!(node.wakes(), 1);
}

#[test]
fn a_request_may_come_in_pieces_of_one_byte() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let stream = wire.open(PUT, &[]);
    for byte in grpc::encode(&put_request("key", "value")) {
        wire.send(stream, vec![byte], false);
        wire.flush();
    }
    wire.send(stream, "", true);
    assert!(wire.reply(stream).message::<PutResponse>().ok);
    let asked = Operation::Put {
        key: "key".into(),
        value: "value".into(),
    };
    assert_eq!(node.seen(), [asked]);
}

#[test]
fn the_largest_key_and_value_pass_both_ways() {
    let key = "k".repeat(4 << 10);
    let value = "v".repeat(1 << 20);
    let stored = value.clone();
    let node = Node::start(move |operation| match operation {
        Operation::Get { .. } => Step::Answer(Answer::Get {
            value: Some(stored.clone().into()),
        }),
        _ => Step::Answer(Answer::Put),
    });
    let mut wire = Wire::connect(node.address());
    let reply = wire.call(PUT, &put_request(&key, &value));
    assert!(reply.message::<PutResponse>().ok);
    let reply = wire.call(GET, &get_request(&key));
    assert_eq!(reply.message::<GetResponse>().value, value);
}
