//! The blocking client: whom it asks, and above all when it repeats.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use raftkv::{
    client::{Client, Error},
    grpc::{self, Code, Status},
    h2::{Connection, ErrorCode, Event, Limits, StreamId},
    node::Answer,
};

use crate::node::{Node, Step};

fn client(endpoints: &[&str]) -> Client {
    Client::new(endpoints.iter().copied())
        .expect("good endpoints")
        .with_timeout(Duration::from_secs(20))
}

fn hasty_client(endpoints: &[&str]) -> Client {
    client(endpoints).with_timeout(Duration::from_millis(200))
}

/// A port where nobody listens.
fn dead_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// A server of this test's own making, which counts the calls and ends each one as told.
struct Server {
    address: String,
    calls: Arc<AtomicUsize>,
}

impl Server {
    /// `end` has the connection and the stream of a request that is complete.
    fn start(end: impl Fn(&mut Connection, StreamId) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.expect("a connection");
                let mut h2 = Connection::server(Limits::default(), 0);
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = socket.read(&mut chunk) {
                    h2.receive(&chunk[..count], 0);
                    while let Some(event) = h2.poll() {
                        if let Event::Data {
                            stream,
                            end_stream: true,
                            ..
                        } = event
                        {
                            counted.fetch_add(1, Ordering::SeqCst);
                            end(&mut h2, stream);
                        }
                    }
                    while !h2.output(0).is_empty() {
                        let count = socket.write(h2.output(0)).expect("an open connection");
                        h2.written(count);
                    }
                    if h2.is_closed() {
                        let _ = socket.shutdown(Shutdown::Both);
                        break;
                    }
                }
            }
        });
        Server { address, calls }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn assert_unknown(result: Result<impl std::fmt::Debug, Error>, endpoint: &str) {
    match result {
        Err(Error::OutcomeUnknown(unknown)) => assert_eq!(unknown.endpoint, endpoint),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_are_put_read_and_deleted() {
    let node = Node::answering(Answer::Put);
    client(&[node.address()]).put("a", "1").expect("stored");
    let node = Node::answering(Answer::Get {
        value: Some("1".into()),
    });
    let value = client(&[node.address()]).get("a").expect("read");
    assert_eq!(value.as_deref(), Some("1"));
    let node = Node::answering(Answer::Get { value: None });
    assert_eq!(client(&[node.address()]).get("a").expect("read"), None);
    let node = Node::answering(Answer::Delete { found: true });
    assert!(client(&[node.address()]).delete("a").expect("removed"));
}

#[test]
fn many_calls_share_one_connection() {
    let server = Server::start(|h2, stream| {
        let response = raftkv::proto::proto::PutResponse {
            ok: true,
            ..Default::default()
        };
        let _ = h2.send_headers(stream, grpc::response_headers(), false);
        let _ = h2.send_data(stream, grpc::encode(&response), false);
        let _ = h2.send_trailers(stream, &grpc::trailers(&Status::ok(), &[]));
    });
    let mut client = client(&[&server.address]);
    // The server takes a second connection only when the first one has ended.
    for _ in 0..100 {
        client.put("a", "1").expect("stored");
    }
    assert_eq!(server.calls(), 100);
}

#[test]
fn the_hint_is_followed_and_remembered() {
    let leader = Node::answering(Answer::Put);
    let follower = Node::following(leader.address());
    let mut client = client(&[follower.address()]);
    client.put("a", "1").expect("stored");
    client.put("b", "2").expect("stored");
    assert_eq!(follower.seen().len(), 1);
    assert_eq!(leader.seen().len(), 2);
}

#[test]
fn endpoints_that_are_dead_or_know_no_leader_are_passed_over() {
    let leader = Node::answering(Answer::Put);
    let lost = Node::following("");
    let mut client = client(&[&dead_port(), lost.address(), leader.address()]);
    client.put("a", "1").expect("stored");
    assert_eq!(leader.seen().len(), 1);
}

#[test]
fn a_dead_hint_does_not_hide_the_other_endpoints() {
    let leader = Node::answering(Answer::Put);
    let stale = Node::following(&dead_port());
    let mut client = client(&[stale.address(), leader.address()]);
    client.put("a", "1").expect("stored");
}

#[test]
fn a_refusal_that_passes_is_waited_for() {
    let mut refusals = 3;
    let node = Node::start(move |_| {
        if refusals == 0 {
            return Step::Answer(Answer::Put);
        }
        refusals -= 1;
        let why = "leadership is being handed over";
        Step::Answer(Answer::Busy { why })
    });
    client(&[node.address()]).put("a", "1").expect("stored");
    assert_eq!(node.seen().len(), 4);
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_at_once() {
    let node = Node::answering(Answer::Put);
    match client(&[node.address()]).put("", "1") {
        Err(Error::Refused { endpoint, code, .. }) => {
            assert_eq!(endpoint, node.address());
            assert_eq!(code, Code::InvalidArgument);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_nobody_to_lead_the_call_ends_as_unavailable() {
    let lost = Node::following("");
    for endpoint in [lost.address(), &dead_port()] {
        match hasty_client(&[endpoint]).put("a", "1") {
            Err(Error::Unavailable { endpoint: last, .. }) => assert_eq!(last, endpoint),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn two_nodes_that_name_each_other_end_as_unavailable() {
    let hint = Arc::new(OnceLock::<String>::new());
    let later = hint.clone();
    let one = Node::start(move |_| {
        let leader_hint = later.get().cloned().unwrap_or_default();
        Step::Answer(Answer::NotLeader { leader_hint })
    });
    let other = Node::following(one.address());
    hint.set(other.address().to_owned()).expect("set once");
    match hasty_client(&[one.address()]).put("a", "1") {
        Err(Error::Unavailable { reason, .. }) => assert_eq!(reason, "not leader"),
        other => panic!("{other:?}"),
    }
    assert!(!one.seen().is_empty() && !other.seen().is_empty());
}

#[test]
fn a_write_is_not_repeated_once_its_outcome_is_unknown() {
    let unknown = Node::answering(Answer::Unknown);
    let leader = Node::answering(Answer::Put);
    let mut client = client(&[unknown.address(), leader.address()]);
    assert_unknown(client.put("a", "1"), unknown.address());
    assert_unknown(client.delete("a"), unknown.address());
    assert_eq!(unknown.seen().len(), 2);
    assert_eq!(leader.seen(), []);
}

#[test]
fn a_write_is_not_repeated_after_a_status_without_the_trailer() {
    // What a proxy between us and the node says of a connection that it lost.
    let server = Server::start(|h2, stream| {
        let status = Status::new(Code::Unavailable, "upstream is gone");
        let _ = h2.send_headers(stream, &grpc::trailers_only(&status, &[]), true);
    });
    let leader = Node::answering(Answer::Put);
    let mut client = client(&[&server.address, leader.address()]);
    assert_unknown(client.put("a", "1"), &server.address);
    assert_eq!(server.calls(), 1);
    assert_eq!(leader.seen(), []);
}

#[test]
fn a_write_is_not_repeated_when_the_connection_breaks_after_it_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        socket.read_exact(&mut [0; 64]).expect("part of a request");
        drop(socket);
        drop(listener);
    });
    let leader = Node::answering(Answer::Put);
    let mut client = client(&[&address, leader.address()]);
    assert_unknown(client.put("a", "1"), &address);
    assert_eq!(leader.seen(), []);
    server.join().expect("the server");
}

#[test]
fn a_write_is_not_repeated_when_no_answer_comes_in_time() {
    let silent = Node::start(|_| Step::Hold);
    let leader = Node::answering(Answer::Put);
    let mut client = hasty_client(&[silent.address(), leader.address()]);
    assert_unknown(client.put("a", "1"), silent.address());
    assert_eq!(silent.seen().len(), 1);
    assert_eq!(leader.seen(), []);
}

#[test]
fn a_write_is_repeated_when_its_stream_was_not_looked_at() {
    let refusing = Server::start(|h2, stream| h2.reset(stream, ErrorCode::REFUSED_STREAM));
    let leader = Node::answering(Answer::Put);
    let mut client = client(&[&refusing.address, leader.address()]);
    client.put("a", "1").expect("stored");
    assert_eq!(leader.seen().len(), 1);
}

#[test]
fn a_read_is_repeated_after_any_failure() {
    let unknown = Node::answering(Answer::Unknown);
    let silent = Node::start(|_| Step::Hold);
    let breaking = Server::start(|h2, stream| h2.reset(stream, ErrorCode::INTERNAL_ERROR));
    let leader = Node::answering(Answer::Get { value: None });
    let endpoints = [
        unknown.address(),
        &breaking.address,
        silent.address(),
        leader.address(),
    ];
    let mut client = client(&endpoints).with_timeout(Duration::from_secs(1));
    assert_eq!(client.get("a").expect("read"), None);
    for node in [&unknown, &silent, &leader] {
        assert_eq!(node.seen().len(), 1);
    }
    assert_eq!(breaking.calls(), 1);
}

#[test]
fn a_connection_that_the_server_ended_between_calls_is_replaced() {
    let mut node = Node::answering(Answer::Put);
    let other = Node::answering(Answer::Put);
    let mut client = client(&[node.address(), other.address()]);
    client.put("a", "1").expect("stored");
    let gateway = node.take_gateway();
    let stopping = thread::spawn(move || gateway.shut_down());
    // Its port is closed before its connections are told, so this waits for the telling.
    crate::node::wait_until("the port is closed", || {
        std::net::TcpStream::connect(node.address()).is_err()
    });
    client.put("b", "2").expect("stored");
    assert_eq!(other.seen().len(), 1);
    stopping.join().expect("a graceful end");
}
