//! Flow control in both directions (RFC 9113 §5.2, §6.9).

use super::*;

const END: u8 = frame::FLAG_END_STREAM;

#[test]
fn data_waits_for_the_window_of_its_stream() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 3);
    peer.request(1);
    peer.answer(1, 8);
    assert_eq!(
        peer.frames(),
        ["SETTINGS ack", "HEADERS 1 :status=200", "DATA 1 3"]
    );
    peer.window(1, 1);
    assert_eq!(peer.frames(), ["DATA 1 1"]);
    peer.window(1, 100);
    assert_eq!(peer.frames(), ["DATA 1 4 end"]);
}

#[test]
fn data_waits_for_the_window_of_the_connection() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 1 << 20);
    for stream in [1, 3] {
        peer.request(stream);
        peer.answer(stream, 40_000);
    }
    assert_eq!(data_bytes(&peer.frames()), 65_535);
    peer.window(0, 10);
    assert_eq!(data_bytes(&peer.frames()), 10);
    peer.window(0, 100_000);
    assert_eq!(data_bytes(&peer.frames()), 80_000 - 65_545);
    assert_eq!(
        (
            peer.connection.open_streams(),
            peer.connection.unsent_bytes()
        ),
        (0, 0)
    );
}

fn data_bytes(frames: &[String]) -> usize {
    let bytes = |frame: &String| {
        let mut words = frame.split(' ').skip_while(|word| *word != "DATA").skip(2);
        words.next().map(|number| number.parse::<usize>().unwrap())
    };
    frames.iter().filter_map(bytes).sum()
}

#[test]
fn a_lowered_initial_window_makes_open_windows_negative() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 3);
    peer.request(1);
    peer.answer(1, 8);
    peer.frames();
    peer.setting(4, 1);
    peer.window(1, 2);
    assert_eq!(peer.frames(), ["SETTINGS ack"]);
    peer.window(1, 1);
    assert_eq!(peer.frames(), ["DATA 1 1"]);
    peer.setting(4, 100);
    assert_eq!(peer.frames(), ["SETTINGS ack", "DATA 1 4 end"]);
}

#[test]
fn a_window_lowered_while_data_is_queued_stops_it_without_empty_frames() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.request(3);
    peer.answer(1, 65_535);
    assert_eq!(data_bytes(&peer.frames()), 65_535);
    // Stream 3 now waits for the connection's window, not for its own.
    peer.answer(3, 10);
    peer.frames();
    peer.setting(4, 0);
    peer.window(0, 100);
    assert_eq!(peer.frames(), ["SETTINGS ack"]);
    peer.setting(4, 100);
    assert_eq!(peer.frames(), ["SETTINGS ack", "DATA 3 10 end"]);
}

#[test]
fn an_initial_window_that_overflows_an_open_one_ends_the_connection() {
    let mut peer = Peer::client(Limits::default());
    peer.request(1);
    peer.window(1, 1 << 30);
    peer.setting(4, frame::MAX_31_BITS);
    peer.expect_goaway(1, ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn trailers_need_no_window_but_follow_the_data() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 3);
    peer.request(1);
    let stream = StreamId(1);
    peer.connection
        .send_headers(stream, &list(&[(":status", "200")]), false)
        .unwrap();
    peer.connection
        .send_data(stream, Bytes::from_static(b"12345"), false)
        .unwrap();
    peer.connection
        .send_trailers(stream, &list(&[("grpc-status", "0")]))
        .unwrap();
    assert_eq!(
        peer.frames(),
        ["SETTINGS ack", "HEADERS 1 :status=200", "DATA 1 3"]
    );
    peer.window(1, 2);
    assert_eq!(peer.frames(), ["DATA 1 2", "HEADERS 1 grpc-status=0 end"]);
}

#[test]
fn an_answer_that_waits_outlives_the_end_of_its_request() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 0);
    peer.open(1);
    peer.answer(1, 8);
    peer.data(1, b"", END);
    assert_eq!(peer.frames(), ["SETTINGS ack", "HEADERS 1 :status=200"]);
    peer.window(1, 8);
    assert_eq!(peer.frames(), ["DATA 1 8 end"]);
}

#[test]
fn an_empty_end_of_stream_needs_no_window() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 0);
    peer.request(1);
    peer.answer(1, 0);
    assert_eq!(
        peer.frames(),
        ["SETTINGS ack", "HEADERS 1 :status=200", "DATA 1 0 end"]
    );
}

#[test]
fn streams_with_much_to_send_take_turns() {
    let mut peer = Peer::client(Limits::default());
    for stream in [1, 3] {
        peer.request(stream);
        peer.answer(stream, 30_000);
    }
    let frames = peer.frames();
    let order: Vec<&str> = frames
        .iter()
        .filter_map(|it| it.strip_prefix("DATA "))
        .collect();
    assert_eq!(order, ["1 16384", "3 16384", "1 13616 end", "3 13616 end"]);
}

#[test]
fn a_stream_reset_while_its_data_waits_holds_nothing_and_nobody_up() {
    let mut peer = Peer::client(Limits::default());
    peer.setting(4, 1 << 20);
    for stream in [1, 3] {
        peer.request(stream);
        peer.answer(stream, 65_535);
    }
    assert_eq!(data_bytes(&peer.frames()), 65_535);
    peer.reset(1, ErrorCode::CANCEL);
    peer.connection.reset(StreamId(3), ErrorCode::CANCEL);
    assert_eq!(peer.connection.unsent_bytes(), 13);
    peer.request(5);
    peer.answer(5, 10);
    peer.window(0, 10);
    assert_eq!(peer.frames().last().unwrap(), "DATA 5 10 end");
}

fn small_windows() -> Limits {
    Limits {
        stream_window_bytes: 65_536,
        connection_window_bytes: 131_072,
        ..Limits::default()
    }
}

#[test]
fn window_is_given_back_for_what_was_polled_and_not_before() {
    let mut peer = Peer::client(small_windows());
    peer.open(1);
    for _ in 0..2 {
        peer.data(1, &[0; 16_384], 0);
    }
    assert!(peer.frames().is_empty());
    peer.events();
    assert_eq!(peer.frames(), ["WINDOW_UPDATE 1 +32768"]);
    for _ in 0..2 {
        peer.data(1, &[0; 16_384], 0);
    }
    peer.events();
    assert_eq!(
        peer.frames(),
        ["WINDOW_UPDATE 0 +65536", "WINDOW_UPDATE 1 +32768"]
    );
}

#[test]
fn padding_is_given_back_too() {
    let mut peer = Peer::client(small_windows());
    peer.open(1);
    let padded = [&[255][..], &[0; 255]].concat();
    for _ in 0..128 {
        peer.data(1, &padded, frame::FLAG_PADDED);
    }
    assert_eq!(peer.frames(), ["WINDOW_UPDATE 1 +32768"]);
}

#[test]
fn data_of_streams_that_are_gone_is_given_back_to_the_connection() {
    let mut peer = Peer::client(small_windows());
    peer.open(1);
    peer.data(1, &[0; 16_384], 0);
    peer.connection.reset(StreamId(1), ErrorCode::CANCEL);
    for _ in 0..3 {
        peer.data(1, &[0; 16_384], 0);
    }
    assert_eq!(
        peer.frames(),
        ["RST_STREAM 1 CANCEL", "WINDOW_UPDATE 0 +65536"]
    );
}

#[test]
fn no_window_is_given_for_a_stream_whose_body_has_ended() {
    let mut peer = Peer::client(small_windows());
    peer.open(1);
    for flags in [0, 0, 0, END] {
        peer.data(1, &[0; 16_384], flags);
    }
    peer.events();
    assert_eq!(peer.frames(), ["WINDOW_UPDATE 0 +65536"]);
}

#[test]
fn data_beyond_the_window_of_a_stream_costs_the_stream() {
    let mut peer = Peer::client(small_windows());
    peer.open(1);
    for _ in 0..4 {
        peer.data(1, &[0; 16_384], 0);
    }
    peer.data(1, b"x", 0);
    assert_eq!(peer.frames()[0], "RST_STREAM 1 FLOW_CONTROL_ERROR");
    assert_eq!(peer.events(), ["reset 1 FLOW_CONTROL_ERROR"]);
}

#[test]
fn data_beyond_the_window_of_the_connection_costs_the_connection() {
    let mut peer = Peer::client(small_windows());
    for stream in [1, 3, 5] {
        peer.open(stream);
        for _ in 0..if stream < 5 { 4 } else { 1 } {
            peer.data(stream, &[0; 16_384], 0);
        }
    }
    peer.expect_goaway(5, ErrorCode::FLOW_CONTROL_ERROR);
}
