//! Frames, stream states and their errors, seen by a server (RFC 9113 §3 to §6, §8).

use super::*;

const END: u8 = frame::FLAG_END_STREAM;

#[test]
fn a_server_sends_its_settings_before_it_hears_anything() {
    let mut peer = Peer::silent(Limits::default());
    assert_eq!(peer.frames(), ["SETTINGS", "WINDOW_UPDATE 0 +4128769"]);
}

#[test]
fn a_preface_in_single_bytes_is_taken() {
    let mut peer = Peer::silent(Limits::default());
    peer.frames();
    for byte in frame::PREFACE {
        peer.bytes(&[*byte]);
    }
    peer.send(frame::SETTINGS, 0, 0, &[]);
    assert_eq!(peer.frames(), ["SETTINGS ack"]);
}

#[test]
fn anything_but_the_preface_is_answered_with_goaway() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02",
        b"PRI * HTTP/2.1",
    ] {
        let mut peer = Peer::silent(Limits::default());
        peer.bytes(bytes);
        peer.expect_goaway(0, ErrorCode::PROTOCOL_ERROR);
    }
}

#[test]
fn the_first_frame_must_be_settings() {
    let mut peer = Peer::silent(Limits::default());
    peer.bytes(frame::PREFACE);
    peer.send(frame::PING, 0, 0, b"12345678");
    peer.expect_goaway(0, ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn a_ping_is_answered_ahead_of_queued_data() {
    let mut peer = Peer::client(Limits::default());
    peer.window(0, 1 << 20);
    peer.setting(4, 1 << 20);
    peer.request(1);
    peer.answer(1, 1 << 20);
    let ahead_bytes = peer.connection.output(peer.now_ms).len();
    assert!(
        ahead_bytes < 100_000,
        "{ahead_bytes} bytes are encoded ahead"
    );
    peer.send(frame::PING, 0, 0, b"12345678");
    let frames = peer.frames();
    let ping = frames
        .iter()
        .position(|frame| frame == "PING ack 12345678")
        .unwrap();
    assert!(ping < 10, "{ping} frames before the answer");
    assert_eq!(frames.last().unwrap(), "DATA 1 16384 end");
}

#[test]
fn a_call_is_headers_data_and_trailers_in_both_directions() {
    let mut peer = Peer::client(Limits::default());
    peer.open(1);
    peer.data(1, b"ab", 0);
    peer.headers(1, &[("x", "y")], END);
    assert_eq!(
        peer.events(),
        ["headers 1 of 4", "data 1 ab", "trailers 1 of 1"]
    );
    let stream = StreamId(1);
    let connection = &mut peer.connection;
    connection
        .send_headers(stream, &list(&[(":status", "200")]), false)
        .unwrap();
    connection
        .send_data(stream, Bytes::from_static(b"answer"), false)
        .unwrap();
    connection
        .send_trailers(stream, &list(&[("grpc-status", "0")]))
        .unwrap();
    assert_eq!(connection.open_streams(), 0);
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 :status=200",
            "DATA 1 6",
            "HEADERS 1 grpc-status=0 end"
        ]
    );
}

#[test]
fn an_answer_before_the_end_of_the_request_tells_the_peer_to_stop() {
    let mut peer = Peer::client(Limits::default());
    peer.open(1);
    peer.events();
    let headers = list(&[(":status", "200"), ("grpc-status", "12")]);
    peer.connection
        .send_headers(StreamId(1), &headers, true)
        .unwrap();
    peer.data(1, b"late", END);
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 :status=200 grpc-status=12 end",
            "RST_STREAM 1 NO_ERROR"
        ]
    );
    assert_eq!((peer.events(), peer.error()), (vec![], None));
}

#[test]
fn padding_priority_and_continuation_are_taken_off() {
    let mut peer = Peer::client(Limits::default());
    let block = peer.block(&POST);
    let (first, second) = block.split_at(7);
    let padded = [&[3, 0, 0, 0, 0, 16][..], first, &[0; 3]].concat();
    peer.send(
        frame::HEADERS,
        frame::FLAG_PADDED | frame::FLAG_PRIORITY,
        1,
        &padded,
    );
    peer.send(frame::CONTINUATION, 0, 1, &[]);
    peer.send(frame::CONTINUATION, frame::FLAG_END_HEADERS, 1, second);
    peer.data(1, b"\x02abc\0\0", frame::FLAG_PADDED);
    assert_eq!(peer.events(), ["headers 1 of 4", "data 1 abc"]);
}

#[test]
fn stream_ids_may_be_skipped_but_not_come_back() {
    let mut peer = Peer::client(Limits::default());
    peer.open(7);
    assert_eq!(peer.events(), ["headers 7 of 4"]);
    peer.open(5);
    peer.expect_goaway(7, ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn priorities_unknown_frames_and_a_goaway_change_nothing() {
    let mut peer = Peer::client(Limits::default());
    peer.send(frame::PRIORITY, 0, 9, &[0, 0, 0, 9, 1]);
    peer.send(0xfa, 0xff, 3, b"whatever");
    peer.open(1);
    peer.send(frame::GOAWAY, 0, 0, &[0; 8]);
    peer.data(1, b"more", END);
    assert_eq!(
        peer.events(),
        ["headers 1 of 4", "goaway 0 NO_ERROR", "data 1 more end"]
    );
    assert!(!peer.connection.is_closed());
}

/// Kind, flags, stream, payload.
type RawFrame<'a> = (u8, u8, u32, &'a [u8]);

/// Sends the frames and tells with what the server answers: the last frame of its own.
fn verdict(frames: &[RawFrame]) -> String {
    let mut peer = Peer::client(Limits::default());
    peer.open(1);
    peer.frames();
    for (kind, flags, stream, payload) in frames {
        peer.send(*kind, *flags, *stream, payload);
    }
    peer.frames().pop().unwrap_or_else(|| "nothing".to_owned())
}

const PROTOCOL: &str = "GOAWAY 1 PROTOCOL_ERROR";
const SIZE: &str = "GOAWAY 1 FRAME_SIZE_ERROR";
const FLOW: &str = "GOAWAY 1 FLOW_CONTROL_ERROR";
const COMPRESSION: &str = "GOAWAY 1 COMPRESSION_ERROR";
const END_HEADERS: u8 = frame::FLAG_END_HEADERS;
const PADDED: u8 = frame::FLAG_PADDED;

#[track_caller]
fn costs(cases: &[(&str, RawFrame, &str)]) {
    for (rule, frame, expected) in cases {
        assert_eq!(verdict(&[*frame]), *expected, "{rule}");
    }
}

#[test]
fn a_broken_rule_of_headers_or_data_costs_what_the_rfc_says() {
    use frame::*;
    costs(&[
        ("§6.1", (DATA, 0, 0, b"x"), PROTOCOL),
        ("§6.1 padding", (DATA, PADDED, 1, &[5, 1, 2, 3]), PROTOCOL),
        ("§6.1 no pad length", (DATA, PADDED, 1, &[]), SIZE),
        ("§5.1 idle", (DATA, 0, 3, b"x"), PROTOCOL),
        ("§6.2", (HEADERS, END_HEADERS, 0, &[0x82]), PROTOCOL),
        ("§5.1.1 even", (HEADERS, END_HEADERS, 2, &[0x82]), PROTOCOL),
        ("§6.2 padding", (HEADERS, PADDED, 3, &[9, 1]), PROTOCOL),
        ("§6.2 priority", (HEADERS, FLAG_PRIORITY, 3, &[1]), SIZE),
        ("§4.3", (HEADERS, END_HEADERS, 3, &[0xff]), COMPRESSION),
        (
            "§8.4",
            (PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            PROTOCOL,
        ),
        ("§6.10", (CONTINUATION, END_HEADERS, 1, &[0x82]), PROTOCOL),
    ]);
}

#[test]
fn a_broken_rule_of_a_control_frame_costs_what_the_rfc_says() {
    use frame::*;
    let window = [0, 4, 0x80, 0, 0, 0];
    let max = [0x7f, 0xff, 0xff, 0xff];
    costs(&[
        ("§6.3", (PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
        (
            "§6.3",
            (PRIORITY, 0, 1, &[0; 4]),
            "RST_STREAM 1 FRAME_SIZE_ERROR",
        ),
        ("§6.4", (RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ("§6.4 idle", (RST_STREAM, 0, 3, &[0; 4]), PROTOCOL),
        ("§6.4 length", (RST_STREAM, 0, 1, &[0; 3]), SIZE),
        ("§6.5", (SETTINGS, 0, 1, &[]), PROTOCOL),
        ("§6.5 ack", (SETTINGS, FLAG_ACK, 0, &[0; 6]), SIZE),
        ("§6.5 length", (SETTINGS, 0, 0, &[0; 5]), SIZE),
        ("§6.5.2", (SETTINGS, 0, 0, &window), FLOW),
        ("§6.7", (PING, 0, 1, &[0; 8]), PROTOCOL),
        ("§6.7 length", (PING, 0, 0, &[0; 7]), SIZE),
        ("§6.8", (GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("§6.8 length", (GOAWAY, 0, 0, &[0; 7]), SIZE),
        ("§6.9 length", (WINDOW_UPDATE, 0, 0, &[0; 3]), SIZE),
        ("§6.9 zero", (WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL),
        (
            "§6.9 zero",
            (WINDOW_UPDATE, 0, 1, &[0; 4]),
            "RST_STREAM 1 PROTOCOL_ERROR",
        ),
        ("§6.9 idle", (WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]), PROTOCOL),
        ("§6.9.1", (WINDOW_UPDATE, 0, 0, &max), FLOW),
        (
            "§6.9.1",
            (WINDOW_UPDATE, 0, 1, &max),
            "RST_STREAM 1 FLOW_CONTROL_ERROR",
        ),
    ]);
}

#[test]
fn a_header_block_is_interrupted_by_nothing() {
    let begin = (frame::HEADERS, 0, 3, &[0x82][..]);
    assert_eq!(verdict(&[begin, (frame::PING, 0, 0, &[0; 8])]), PROTOCOL);
    assert_eq!(
        verdict(&[begin, (frame::CONTINUATION, 0, 1, &[0x82])]),
        PROTOCOL
    );
    assert_eq!(verdict(&[begin, (0xfa, 0, 3, &[])]), PROTOCOL);
}

#[test]
fn a_frame_above_the_size_we_allow_is_refused_from_its_head_alone() {
    let mut peer = Peer::client(Limits::default());
    peer.bytes(&[0, 0x40, 1, frame::DATA, 0, 0, 0, 0, 1]);
    peer.expect_goaway(0, ErrorCode::FRAME_SIZE_ERROR);
}

#[test]
fn a_malformed_request_costs_its_stream_only() {
    let mut peer = Peer::client(Limits::default());
    peer.headers(1, &POST[..3], 0);
    peer.headers(3, &[&POST[..], &[("Upper", "x")]].concat(), 0);
    peer.headers(5, &POST[1..], END);
    peer.request(7);
    assert_eq!(
        peer.frames(),
        ["RST_STREAM 3 PROTOCOL_ERROR", "RST_STREAM 5 PROTOCOL_ERROR"]
    );
    assert_eq!(peer.events(), ["headers 1 of 3", "headers 7 of 4 end"]);
}

#[test]
fn the_body_must_be_as_long_as_content_length_says() {
    let with_length = [&POST[..], &[("content-length", "4")]].concat();
    let verdict = |send: fn(&mut Peer)| {
        let mut peer = Peer::client(Limits::default());
        peer.headers(1, &with_length, 0);
        send(&mut peer);
        peer.frames()
    };
    let error = ["RST_STREAM 1 PROTOCOL_ERROR"];
    assert_eq!(verdict(|peer| peer.data(1, b"abcde", 0)), error);
    assert_eq!(verdict(|peer| peer.data(1, b"abc", END)), error);
    assert_eq!(verdict(|peer| peer.headers(1, &[("x", "y")], END)), error);
    assert!(verdict(|peer| peer.data(1, b"abcd", END)).is_empty());
    let mut peer = Peer::client(Limits::default());
    peer.headers(1, &with_length, END);
    assert_eq!(peer.frames(), error);
}

#[test]
fn trailers_must_end_the_stream_and_have_no_pseudo_headers() {
    let mut peer = Peer::client(Limits::default());
    peer.open(1);
    peer.headers(1, &[("x", "y")], 0);
    peer.open(3);
    peer.headers(3, &POST[..1], END);
    let error = ["RST_STREAM 1 PROTOCOL_ERROR", "RST_STREAM 3 PROTOCOL_ERROR"];
    assert_eq!(peer.frames(), error);
    assert_eq!(
        peer.events(),
        ["reset 1 PROTOCOL_ERROR", "reset 3 PROTOCOL_ERROR"]
    );
}

#[test]
fn frames_after_the_end_of_a_request_are_stream_errors() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.data(1, b"x", 0);
    peer.request(3);
    peer.request(3);
    assert_eq!(
        peer.frames(),
        ["RST_STREAM 1 STREAM_CLOSED", "RST_STREAM 3 STREAM_CLOSED"]
    );
}

#[test]
fn frames_after_the_end_of_a_stream_are_errors_but_for_late_control_frames() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.answer(1, 5);
    peer.frames();
    peer.window(1, 10);
    peer.reset(1, ErrorCode::CANCEL);
    peer.send(frame::PRIORITY, 0, 1, &[0; 5]);
    assert!(peer.frames().is_empty());
    peer.data(1, b"x", 0);
    assert_eq!(peer.frames(), ["RST_STREAM 1 STREAM_CLOSED"]);
    peer.request(3);
    peer.answer(3, 5);
    peer.request(3);
    peer.expect_goaway(3, ErrorCode::STREAM_CLOSED);
}

#[test]
fn frames_after_a_reset_by_the_peer_are_stream_errors() {
    let mut peer = Peer::client(Limits::default());
    for stream in [1, 3] {
        peer.open(stream);
        peer.reset(stream, ErrorCode::CANCEL);
    }
    peer.data(1, b"x", 0);
    peer.request(3);
    assert_eq!(
        peer.frames(),
        ["RST_STREAM 1 STREAM_CLOSED", "RST_STREAM 3 STREAM_CLOSED"]
    );
    assert_eq!(
        peer.events(),
        [
            "headers 1 of 4",
            "reset 1 CANCEL",
            "headers 3 of 4",
            "reset 3 CANCEL"
        ]
    );
}

#[test]
fn frames_after_a_reset_of_ours_are_ignored_but_still_decoded() {
    let mut peer = Peer::client(Limits::default());
    peer.open(1);
    peer.events();
    peer.connection.reset(StreamId(1), ErrorCode::CANCEL);
    peer.data(1, b"x", 0);
    // A literal that enters the dynamic table, and then a reference to it.
    peer.send(
        frame::HEADERS,
        frame::FLAG_END_HEADERS | END,
        1,
        b"\x40\x01a\x01b",
    );
    let block = [&peer.block(&POST)[..], &[0xbe]].concat();
    peer.send(frame::HEADERS, frame::FLAG_END_HEADERS | END, 3, &block);
    assert_eq!(peer.frames(), ["RST_STREAM 1 CANCEL"]);
    assert_eq!(peer.events(), ["headers 3 of 5 end"]);
}

#[test]
fn after_a_reset_of_ours_no_event_of_the_stream_comes() {
    let mut peer = Peer::client(Limits::default());
    peer.open(1);
    peer.open(3);
    peer.data(1, b"x", END);
    assert_eq!(
        peer.connection.poll().map(|it| describe(&it)).unwrap(),
        "headers 1 of 4"
    );
    peer.connection.reset(StreamId(1), ErrorCode::CANCEL);
    assert_eq!(peer.events(), ["headers 3 of 4"]);
    let gone = peer
        .connection
        .send_headers(StreamId(1), &list(&[(":status", "200")]), true);
    assert!(gone.is_err());
}

#[test]
fn a_lowered_table_size_is_confirmed_in_the_next_block() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.setting(1, 0);
    peer.connection
        .send_headers(StreamId(1), &list(&[(":status", "200")]), true)
        .unwrap();
    let output = peer.connection.output(peer.now_ms);
    assert_eq!(output[output.len() - 2..], [0x20, 0x88]);
}

#[test]
fn headers_of_ours_beyond_a_frame_are_continued() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    let headers = [
        Header::from_static(":status", "200"),
        Header::new("grpc-message", vec![b'x'; 2 * frame::PAYLOAD_MAX_BYTES]),
    ];
    peer.connection
        .send_headers(StreamId(1), &headers, true)
        .unwrap();
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 16384 bytes, to be continued",
            "CONTINUATION 1 16384 bytes",
            "CONTINUATION 1 19 bytes",
        ]
    );
}

#[test]
fn shutting_down_finishes_the_open_calls_and_refuses_new_ones() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.events();
    peer.connection.shut_down();
    peer.request(3);
    assert_eq!(
        peer.frames(),
        ["GOAWAY 1 NO_ERROR", "RST_STREAM 3 REFUSED_STREAM"]
    );
    assert!(!peer.connection.is_closed());
    peer.answer(1, 5);
    assert!(!peer.connection.is_closed());
    assert_eq!(peer.frames(), ["HEADERS 1 :status=200", "DATA 1 5 end"]);
    assert!(peer.connection.is_closed());
    assert_eq!(peer.error(), None);
}

#[test]
fn a_later_goaway_names_no_higher_stream_than_the_first() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.connection.shut_down();
    peer.request(3);
    peer.frames();
    peer.send(frame::PING, 0, 1, b"12345678");
    peer.expect_goaway(1, ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn the_last_stream_id_ends_the_connection_gracefully() {
    let mut peer = Peer::client(Limits::default());
    peer.request(frame::MAX_31_BITS);
    assert_eq!(peer.frames(), ["GOAWAY 2147483647 NO_ERROR"]);
    assert_eq!(peer.events(), ["headers 2147483647 of 4 end"]);
}
