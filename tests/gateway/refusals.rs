//! What is refused, with which status, and that the refusal promises that nothing was applied.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use raftkv::{
    grpc::{self, Code},
    h2::Header,
    node::{Answer, SubmitError},
    proto::proto::PutResponse,
};

use crate::{
    kv::{PUT, put_request},
    node::{Node, Step},
    wire::{Reply, Wire},
};

/// A body whose prefix announces so many bytes.
fn announcing(length: u32, message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(message);
    body
}

fn good_body() -> Vec<u8> {
    grpc::encode(&put_request("a", "1")).to_vec()
}

fn assert_refused(reply: &Reply, code: Code, words: &[&str]) {
    let text = reply.text();
    assert_eq!(reply.code(), code as u8, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(reply.nothing_applied(), "{text}");
}

#[test]
fn keys_and_values_beyond_their_limits_are_refused_with_both_numbers() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let long_key = "k".repeat(4097);
    let long_value = "v".repeat((1 << 20) + 1);
    for (key, value, words) in [
        ("", "1", ["0 bytes", "4096"]),
        (&long_key, "1", ["4097", "4096"]),
        ("a", &long_value, ["1048577", "1048576"]),
    ] {
        let reply = wire.call(PUT, &put_request(key, value));
        assert_refused(&reply, Code::InvalidArgument, &words);
    }
    assert_eq!(node.seen(), []);
}

#[test]
fn bodies_that_break_the_framing_are_refused() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let mut compressed = good_body();
    compressed[0] = 1;
    let mut odd_flag = good_body();
    odd_flag[0] = 7;
    let two = [good_body(), good_body()].concat();
    for (body, code, word) in [
        (vec![], Code::Internal, "without a message"),
        (vec![0, 0], Code::Internal, "within a message"),
        (announcing(9, b"12345678"), Code::Internal, "within"),
        (two, Code::Internal, "more than one"),
        (compressed, Code::Internal, "compressed"),
        (odd_flag, Code::Internal, "flag 7"),
        (announcing(1, &[7]), Code::InvalidArgument, "decoded"),
        // A string field that is not UTF-8.
        (
            announcing(3, &[0x0a, 1, 0xff]),
            Code::InvalidArgument,
            "decoded",
        ),
    ] {
        let reply = wire.call_with(PUT, &[], body);
        assert_refused(&reply, code, &[word]);
    }
    assert_eq!(node.seen(), []);
}

#[test]
fn headers_that_cannot_be_served_are_refused() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    for (path, header, code) in [
        ("/raftkv.proto.KvService/Nothing", None, Code::Unimplemented),
        ("/nothing.Service/Put", None, Code::Unimplemented),
        ("/", None, Code::Unimplemented),
        (PUT, Some(("grpc-encoding", "gzip")), Code::Unimplemented),
        (PUT, Some(("grpc-timeout", "123456789m")), Code::Internal),
        (PUT, Some(("grpc-timeout", "5x")), Code::Internal),
    ] {
        let more = header.map(|(name, value)| Header::from_static(name, value));
        let reply = wire.call_with(path, more.as_slice(), good_body());
        assert_refused(&reply, code, &[]);
    }
    assert_eq!(node.seen(), []);
}

#[test]
fn a_message_above_4_mib_is_refused_from_its_prefix_and_the_connection_goes_on() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    for length in [(4 << 20) + 1, u32::MAX] {
        let stream = wire.open(PUT, &[]);
        wire.send(stream, announcing(length, b""), false);
        let reply = wire.reply(stream);
        let number = length.to_string();
        assert_refused(&reply, Code::ResourceExhausted, &[&number, "4194304"]);
    }
    let reply = wire.call(PUT, &put_request("a", "1"));
    assert!(reply.message::<PutResponse>().ok);
}

#[test]
fn a_question_above_16_kib_is_refused_from_its_prefix() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ] {
        let stream = wire.open(path, &[]);
        wire.send(stream, announcing((16 << 10) + 1, b""), false);
        let reply = wire.reply(stream);
        assert_eq!(reply.code(), Code::ResourceExhausted as u8, "{path}");
        assert!(reply.text().contains("16384"), "{}", reply.text());
    }
}

#[test]
fn of_a_long_path_only_the_beginning_is_quoted() {
    let node = Node::answering(Answer::Put);
    let path: &'static str = String::leak(format!("/{}", "x".repeat(8 << 10)));
    let reply = Wire::connect(node.address()).call_with(path, &[], good_body());
    assert_refused(&reply, Code::Unimplemented, &["/xxx"]);
    assert!(reply.text().len() < 400, "{}", reply.text());
}

#[test]
fn a_node_that_takes_no_request_refuses_it_by_status() {
    for (error, code) in [
        (SubmitError::Full, Code::ResourceExhausted),
        (SubmitError::Stopped, Code::Unavailable),
    ] {
        let node = Node::start(move |_| Step::Refuse(error));
        let reply = Wire::connect(node.address()).call(PUT, &put_request("a", "1"));
        assert_refused(&reply, code, &[]);
    }
}

#[test]
fn a_busy_node_refuses_with_its_reason() {
    let why = "leadership is being handed over";
    let node = Node::answering(Answer::Busy { why });
    let reply = Wire::connect(node.address()).call(PUT, &put_request("a", "1"));
    assert_refused(&reply, Code::Unavailable, &[why]);
}

#[test]
fn what_is_not_grpc_is_told_so_after_its_end() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    for (method, content_type, status) in [
        ("GET", None, "415"),
        ("POST", Some("application/json"), "415"),
        ("POST", Some("application/grpc-web"), "415"),
        ("GET", Some("application/grpc"), "405"),
    ] {
        let mut headers = vec![
            Header::new(":method", method),
            Header::from_static(":scheme", "http"),
            Header::from_static(":path", PUT),
            Header::from_static(":authority", "test"),
        ];
        headers.extend(content_type.map(|value| Header::new("content-type", value)));
        let stream = wire.h2.open(&headers, false).expect("a stream");
        wire.send(stream, good_body(), false);
        // Were the refusal early, it would come before this call's answer.
        assert!(
            wire.call(PUT, &put_request("a", "1"))
                .message::<PutResponse>()
                .ok
        );
        wire.send(stream, "", true);
        let reply = wire.reply(stream);
        assert_eq!(
            grpc::header(&reply.headers, ":status").expect("one"),
            status
        );
        let told = grpc::header(&reply.headers, "content-type").expect("one");
        assert_eq!(told, "text/plain");
        assert!(!reply.body.is_empty());
    }
}

#[test]
fn garbage_costs_its_connection_only() {
    let node = Node::answering(Answer::Put);
    let mut healthy = Wire::connect(node.address());
    assert!(
        healthy
            .call(PUT, &put_request("a", "1"))
            .message::<PutResponse>()
            .ok
    );
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff; 1000],
    ] {
        let mut socket = TcpStream::connect(node.address()).expect("the gateway listens");
        socket.write_all(garbage).expect("an open connection");
        let mut answer = Vec::new();
        // Its end comes, by FIN or by RST.
        let _ = socket.read_to_end(&mut answer);
        assert!(answer.len() < 256, "an answer that is worth asking for");
    }
    assert!(
        healthy
            .call(PUT, &put_request("b", "2"))
            .message::<PutResponse>()
            .ok
    );
}
