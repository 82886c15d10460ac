//! The client's side of a connection.

use super::*;

const END: u8 = frame::FLAG_END_STREAM;

fn open(peer: &mut Peer, end_stream: bool) -> u32 {
    peer.connection
        .open(&list(&POST), end_stream)
        .unwrap()
        .get()
}

#[test]
fn a_client_sends_preface_and_settings_and_may_call_at_once() {
    let mut peer = Peer::of(Connection::client(Limits::default(), 0));
    let stream = peer.connection.open(&list(&POST), true).unwrap();
    let output = peer.connection.output(peer.now_ms).to_vec();
    assert!(output.starts_with(frame::PREFACE));
    peer.connection.written(frame::PREFACE.len());
    let frames = peer.frames();
    assert_eq!(frames[..2], ["SETTINGS", "WINDOW_UPDATE 0 +4128769"]);
    assert!(frames[2].starts_with("HEADERS 1 :method=POST"));
    assert_eq!(stream.get(), 1);
}

#[test]
fn a_call_ends_with_the_trailers_of_the_response() {
    let mut peer = Peer::server(Limits::default());
    let stream = open(&mut peer, false);
    peer.connection
        .send_data(StreamId(stream), Bytes::from_static(b"ask"), true)
        .unwrap();
    assert_eq!(peer.frames().pop().unwrap(), "DATA 1 3 end");
    peer.headers(1, &[(":status", "200")], 0);
    peer.data(1, b"told", 0);
    peer.headers(1, &[("grpc-status", "0")], END);
    assert_eq!(
        peer.events(),
        ["headers 1 of 1", "data 1 told", "trailers 1 of 1"]
    );
    assert_eq!(peer.connection.open_streams(), 0);
    assert_eq!(open(&mut peer, true), 3);
}

#[test]
fn informational_responses_are_left_out() {
    let mut peer = Peer::server(Limits::default());
    open(&mut peer, true);
    peer.headers(1, &[(":status", "103")], 0);
    peer.headers(1, &[(":status", "200")], END);
    assert_eq!(peer.events(), ["headers 1 of 1 end"]);
}

#[test]
fn a_malformed_response_costs_its_stream() {
    let mut peer = Peer::server(Limits::default());
    for stream in [1, 3, 5, 7] {
        assert_eq!(open(&mut peer, true), stream);
    }
    peer.frames();
    peer.headers(1, &[("no", "status")], END);
    peer.headers(3, &[(":status", "103")], END);
    peer.headers(5, &[(":status", "200"), ("content-length", "3")], END);
    peer.data(7, b"before headers", 0);
    let expected = [1, 3, 5, 7].map(|stream| format!("RST_STREAM {stream} PROTOCOL_ERROR"));
    assert_eq!(peer.frames(), expected);
    let expected = [1, 3, 5, 7].map(|stream| format!("reset {stream} PROTOCOL_ERROR"));
    assert_eq!(peer.events(), expected);
}

#[test]
fn an_answer_before_the_request_has_ended_stops_the_request() {
    let mut peer = Peer::server(Limits::default());
    let stream = open(&mut peer, false);
    peer.frames();
    peer.headers(1, &[(":status", "200"), ("grpc-status", "8")], END);
    assert_eq!(peer.frames(), ["RST_STREAM 1 NO_ERROR"]);
    let sent = peer
        .connection
        .send_data(StreamId(stream), Bytes::from_static(b"x"), true);
    assert!(sent.is_err());
    assert_eq!(peer.events(), ["headers 1 of 2 end"]);
}

#[test]
fn the_servers_limit_on_streams_is_kept() {
    let mut peer = Peer::server(Limits::default());
    peer.setting(3, 1);
    open(&mut peer, true);
    let second = peer.connection.open(&list(&POST), true);
    assert_eq!(second, Err(OpenError::TooManyStreams));
    peer.headers(1, &[(":status", "200")], END);
    assert_eq!(open(&mut peer, true), 3);
}

#[test]
fn a_refused_stream_is_told_apart_from_a_reset_one() {
    let mut peer = Peer::server(Limits::default());
    open(&mut peer, true);
    open(&mut peer, true);
    peer.reset(1, ErrorCode::REFUSED_STREAM);
    peer.reset(3, ErrorCode::INTERNAL_ERROR);
    assert_eq!(peer.events(), ["refused 1", "reset 3 INTERNAL_ERROR"]);
}

#[test]
fn a_goaway_refuses_later_streams_and_lets_earlier_ones_finish() {
    let mut peer = Peer::server(Limits::default());
    open(&mut peer, true);
    open(&mut peer, true);
    peer.send(frame::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(peer.events(), ["goaway 1 NO_ERROR", "refused 3"]);
    assert_eq!(
        peer.connection.open(&list(&POST), true),
        Err(OpenError::GoingAway)
    );
    assert!(!peer.connection.is_closed());
    peer.headers(1, &[(":status", "200")], END);
    peer.frames();
    assert!(!peer.connection.is_closed(), "the answer is not polled yet");
    assert_eq!(peer.events(), ["headers 1 of 1 end"]);
    assert!(peer.connection.is_closed());
}

#[test]
fn late_frames_of_a_call_we_gave_up_are_ignored() {
    let mut peer = Peer::server(Limits::default());
    let stream = open(&mut peer, true);
    peer.connection.reset(StreamId(stream), ErrorCode::CANCEL);
    peer.frames();
    peer.headers(1, &[(":status", "200")], 0);
    peer.data(1, b"late", 0);
    peer.headers(1, &[("grpc-status", "0")], END);
    assert_eq!((peer.frames(), peer.events()), (vec![], vec![]));
    assert_eq!(peer.error(), None);
}

#[test]
fn streams_that_the_server_opens_end_the_connection() {
    let mut peer = Peer::server(Limits::default());
    peer.headers(2, &[(":status", "200")], END);
    peer.expect_goaway(0, ErrorCode::PROTOCOL_ERROR);
    let mut peer = Peer::server(Limits::default());
    peer.headers(1, &[(":status", "200")], END);
    peer.expect_goaway(0, ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn a_client_that_shuts_down_finishes_its_calls() {
    let mut peer = Peer::server(Limits::default());
    open(&mut peer, true);
    peer.connection.shut_down();
    assert_eq!(peer.frames().pop().unwrap(), "GOAWAY 0 NO_ERROR");
    assert!(!peer.connection.is_closed());
    assert_eq!(
        peer.connection.open(&list(&POST), true),
        Err(OpenError::GoingAway)
    );
    peer.headers(1, &[(":status", "200")], END);
    peer.events();
    assert!(peer.connection.is_closed());
}

#[test]
fn a_client_waits_for_settings_only_so_long_but_may_idle() {
    let mut peer = Peer::of(Connection::client(Limits::default(), 0));
    let length = peer.connection.output(peer.now_ms).len();
    peer.connection.written(length);
    assert_eq!(peer.connection.deadline_ms(), Some(5_000));
    peer.send(frame::SETTINGS, 0, 0, &[]);
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), None);
}
