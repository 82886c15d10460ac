//! What clients can cost the gateway, and that one does not make another pay for it.

use std::{fs, io, net::TcpStream, sync::mpsc, time::Duration};

use raftkv::{
    gateway::{BUFFERED_MAX_BYTES, CONNECTIONS_MAX},
    grpc::{self, Code},
    h2::ErrorCode,
    node::Answer,
    proto::proto::{GetRequest, PutResponse},
    replica::Operation,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    kv::{GET, PUT, put_request},
    node::{Node, Step, wait_until},
    wire::Wire,
};

const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[test]
fn requests_that_are_never_complete_are_bounded_and_leave_room_for_others() {
    let node = Node::answering(Answer::Put);
    let mut healthy = Wire::connect(node.address());
    let mut greedy = Wire::connect(node.address());
    let body = grpc::encode(&put_request("a", &"v".repeat(1 << 20)));
    let streams: Vec<_> = (0..4 + (BUFFERED_MAX_BYTES >> 20))
        .map(|_| {
            let stream = greedy.open(PUT, &[]);
            greedy.send(stream, body.clone(), false);
            greedy.flush();
            stream
        })
        .collect();
    let reply = greedy.any_reply();
    assert_eq!(reply.code(), Code::ResourceExhausted as u8);
    assert!(reply.nothing_applied());
    let reply = healthy.call(PUT, &put_request("b", "2"));
    assert!(reply.message::<PutResponse>().ok);
    for stream in streams {
        greedy.h2.reset(stream, ErrorCode::CANCEL);
    }
    let reply = greedy.call(PUT, &put_request("c", "3"));
    assert!(reply.message::<PutResponse>().ok);
}

#[test]
fn a_client_that_does_not_read_does_not_keep_others_from_working() {
    let node = Node::start(|operation| match operation {
        Operation::Get { .. } => Step::Answer(Answer::Get {
            value: Some(vec![b'v'; 1 << 20].into()),
        }),
        _ => Step::Answer(Answer::Put),
    });
    let mut greedy = Wire::connect(node.address());
    for _ in 0..90 {
        let stream = greedy.open(GET, &[]);
        let request = GetRequest { key: "a".into() };
        greedy.send(stream, grpc::encode(&request), true);
    }
    greedy.flush();
    wait_until("all is asked", || node.seen().len() == 90);
    let mut healthy = Wire::connect(node.address());
    for _ in 0..10 {
        let reply = healthy.call(PUT, &put_request("b", "2"));
        assert!(reply.message::<PutResponse>().ok);
    }
}

#[test]
fn a_connection_too_many_takes_the_place_of_the_one_idle_for_longest() {
    // Both ends of each connection are in this process.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the hard limit is allowed");
    let node = Node::answering(Answer::Put);
    let mut first = Wire::connect(node.address());
    let put = |wire: &mut Wire| {
        let reply = wire.call(PUT, &put_request("a", "1"));
        assert!(reply.message::<PutResponse>().ok);
    };
    put(&mut first);
    // A stream on which nothing happens keeps no place.
    let silent = first.open(WATCH, &[]);
    first.send(silent, grpc::frame(b""), true);
    first.wait(silent, |reply| !reply.body.is_empty());
    let mut others: Vec<Wire> = Vec::new();
    for count in 1..CONNECTIONS_MAX {
        others.push(Wire::connect(node.address()));
        // One that works shows that those before it were accepted: the queue never overflows.
        if count % 64 == 0 || count == CONNECTIONS_MAX - 1 {
            put(others.last_mut().expect("one was pushed"));
        }
    }
    let mut one_more = Wire::connect(node.address());
    put(&mut one_more);
    assert_eq!(first.reply(silent).code(), Code::Unavailable as u8);
    first.wait_closed();
    assert_eq!(first.goaway, Some(ErrorCode::NO_ERROR));
    put(others.last_mut().expect("there are some"));
}

#[test]
fn clients_that_come_all_at_once_are_connected_though_the_gateway_is_busy() {
    let (go, wait) = mpsc::channel::<()>();
    let node = Node::start(move |_| {
        wait.recv().expect("the test ends the wait");
        Step::Answer(Answer::Put)
    });
    let mut busy = Wire::connect(node.address());
    let stream = busy.open(PUT, &[]);
    busy.send(stream, grpc::encode(&put_request("a", "1")), true);
    busy.flush();
    wait_until("the gateway asks the node", || node.seen().len() == 1);
    let system_max = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let system_max = system_max.and_then(|text| text.trim().parse().ok());
    let clients = system_max.unwrap_or(usize::MAX).min(400);
    let address = node.address().parse().expect("an address");
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(10));
    let connected: io::Result<Vec<TcpStream>> = (0..clients).map(connect).collect();
    go.send(()).expect("the node waits");
    connected.expect("none is turned away");
    let reply = busy.reply(stream);
    assert!(reply.message::<PutResponse>().ok);
}
