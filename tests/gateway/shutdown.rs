//! How a gateway stops.

use std::net::TcpStream;

use raftkv::{
    grpc::{self, Code},
    h2::ErrorCode,
    node::Answer,
    proto::proto::PutResponse,
};

use crate::{
    kv::{PUT, put_request},
    node::{Node, Step, wait_until},
    wire::Wire,
};

#[test]
fn calls_in_flight_finish_and_streams_end() {
    let mut node = Node::start(|_| Step::Hold);
    let mut wire = Wire::connect(node.address());
    let call = wire.open(PUT, &[]);
    wire.send(call, grpc::encode(&put_request("a", "1")), true);
    let watch = wire.open("/grpc.health.v1.Health/Watch", &[]);
    wire.send(watch, grpc::frame(b""), true);
    wire.wait(watch, |reply| !reply.body.is_empty());
    node.await_held(1);

    let gateway = node.take_gateway();
    let stopping = std::thread::spawn(move || gateway.shut_down());
    assert_eq!(wire.reply(watch).code(), Code::Unavailable as u8);
    node.answer_held(&Answer::Put);
    assert!(wire.reply(call).message::<PutResponse>().ok);
    wire.wait_closed();
    assert_eq!(wire.goaway, Some(ErrorCode::NO_ERROR));
    stopping.join().expect("a graceful end");
}

#[test]
fn a_stopped_gateway_accepts_nobody() {
    let mut node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    assert!(
        wire.call(PUT, &put_request("a", "1"))
            .message::<PutResponse>()
            .ok
    );
    let gateway = node.take_gateway();
    let stopping = std::thread::spawn(move || gateway.shut_down());
    wire.wait_closed();
    drop(wire);
    stopping.join().expect("a graceful end");
    let address = node.address().to_owned();
    wait_until("the port is closed", || {
        TcpStream::connect(&address).is_err()
    });
}
