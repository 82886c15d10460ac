//! Every limit, reached.

use super::*;

const END: u8 = frame::FLAG_END_STREAM;

#[test]
fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let mut peer = Peer::client(Limits {
        streams_max: 2,
        ..Limits::default()
    });
    for stream in [1, 3, 5] {
        peer.request(stream);
    }
    assert_eq!(peer.frames(), ["RST_STREAM 5 REFUSED_STREAM"]);
    assert_eq!(peer.events().len(), 2);
    peer.answer(1, 1);
    peer.request(7);
    assert_eq!(peer.events(), ["headers 7 of 4 end"]);
}

#[test]
fn a_header_list_beyond_the_limit_costs_its_stream_and_the_table_stays_in_step() {
    let mut peer = Peer::client(Limits {
        header_list_bytes: 300,
        ..Limits::default()
    });
    let field = b"\x40\x01a\x01b";
    let large = [&peer.block(&POST)[..], field, &[0xbe; 20]].concat();
    peer.send(frame::HEADERS, frame::FLAG_END_HEADERS, 1, &large);
    let small = [&peer.block(&POST)[..], &[0xbe]].concat();
    peer.send(frame::HEADERS, frame::FLAG_END_HEADERS, 3, &small);
    assert_eq!(peer.frames(), ["RST_STREAM 1 ENHANCE_YOUR_CALM"]);
    assert_eq!(peer.events(), ["headers 3 of 5"]);
}

#[test]
fn a_header_block_beyond_the_limit_ends_the_connection() {
    let mut peer = Peer::client(Limits {
        header_block_bytes: 100,
        ..Limits::default()
    });
    peer.send(frame::HEADERS, 0, 1, &[0; 60]);
    assert_eq!(peer.error(), None);
    peer.send(frame::CONTINUATION, 0, 1, &[0; 41]);
    peer.expect_goaway(0, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn a_flood_of_continuation_ends_the_connection() {
    let mut peer = Peer::client(Limits {
        continuations_max: 3,
        ..Limits::default()
    });
    peer.send(frame::HEADERS, 0, 1, &[]);
    for _ in 0..3 {
        peer.send(frame::CONTINUATION, 0, 1, &[]);
    }
    assert_eq!(peer.error(), None);
    peer.send(frame::CONTINUATION, 0, 1, &[]);
    peer.expect_goaway(0, ErrorCode::ENHANCE_YOUR_CALM);
}

fn few_resets() -> Limits {
    Limits {
        resets_max: 3,
        reset_period_ms: 1_000,
        ..Limits::default()
    }
}

fn open_and_reset(peer: &mut Peer, streams: std::ops::Range<u32>) {
    for number in streams {
        peer.request(2 * number + 1);
        peer.reset(2 * number + 1, ErrorCode::CANCEL);
    }
}

#[test]
fn rapid_resets_end_the_connection() {
    let mut peer = Peer::client(few_resets());
    open_and_reset(&mut peer, 0..6);
    assert_eq!(peer.error(), None);
    open_and_reset(&mut peer, 6..7);
    peer.expect_goaway(13, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn resets_of_a_few_calls_among_many_are_no_attack() {
    let mut peer = Peer::client(few_resets());
    for number in 0..1_000 {
        peer.request(2 * number + 1);
        match number % 3 {
            0 => peer.reset(2 * number + 1, ErrorCode::CANCEL),
            _ => peer.answer(2 * number + 1, 1),
        }
        peer.frames();
        peer.window(0, 1);
    }
    assert_eq!(peer.error(), None);
}

#[test]
fn resets_are_counted_by_period() {
    let mut peer = Peer::client(few_resets());
    open_and_reset(&mut peer, 0..6);
    peer.now_ms = 1_000;
    open_and_reset(&mut peer, 6..12);
    assert_eq!(peer.error(), None);
}

#[test]
fn provoking_our_resets_ends_the_connection() {
    let mut peer = Peer::client(Limits {
        provoked_resets_max: 2,
        ..Limits::default()
    });
    for stream in [1, 3, 5] {
        peer.request(stream);
        peer.window(stream, 0);
    }
    peer.expect_goaway(5, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn a_completed_call_makes_up_for_a_provoked_reset() {
    let mut peer = Peer::client(Limits {
        provoked_resets_max: 2,
        ..Limits::default()
    });
    for stream in (1..50).step_by(4) {
        peer.request(stream);
        peer.window(stream, 0);
        peer.request(stream + 2);
        peer.answer(stream + 2, 1);
    }
    assert_eq!(peer.error(), None);
}

#[test]
fn an_early_answer_completes_a_call_as_well() {
    let mut peer = Peer::client(Limits {
        provoked_resets_max: 2,
        ..Limits::default()
    });
    for stream in (1..50).step_by(4) {
        peer.request(stream);
        peer.window(stream, 0);
        peer.open(stream + 2);
        peer.answer(stream + 2, 1);
    }
    assert_eq!(peer.error(), None);
}

#[test]
fn our_reset_after_an_early_answer_is_not_held_against_the_peer() {
    let mut peer = Peer::client(Limits {
        provoked_resets_max: 2,
        ..Limits::default()
    });
    for stream in (1..50).step_by(2) {
        peer.open(stream);
        peer.answer(stream, 1);
    }
    assert_eq!(peer.error(), None);
}

#[test]
fn each_kind_of_frame_that_carries_nothing_is_limited() {
    use frame::*;
    let ends_after = |frame: (u8, u8, u32, &[u8])| {
        let limits = Limits {
            idle_frames_max: 10,
            ..Limits::default()
        };
        let mut peer = Peer::client(limits);
        peer.open(1);
        let (kind, flags, stream, payload) = frame;
        let sent = (1..=20).find(|_| {
            peer.send(kind, flags, stream, payload);
            peer.error().is_some()
        });
        (sent.is_some(), peer.error().map(|code| code.to_string()))
    };
    let calm = (true, Some("ENHANCE_YOUR_CALM".to_owned()));
    assert_eq!(ends_after((PING, 0, 0, &[0; 8])), calm);
    assert_eq!(ends_after((PING, FLAG_ACK, 0, &[0; 8])), calm);
    assert_eq!(ends_after((SETTINGS, 0, 0, &[])), calm);
    assert_eq!(ends_after((PRIORITY, 0, 9, &[0; 5])), calm);
    assert_eq!(ends_after((WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])), calm);
    assert_eq!(ends_after((DATA, 0, 1, &[])), calm);
    assert_eq!(ends_after((DATA, FLAG_PADDED, 1, &[1, 0])), calm);
    assert_eq!(ends_after((GOAWAY, 0, 0, &[0; 8])), calm);
    assert_eq!(ends_after((0xfa, 0, 0, &[])), calm);
    assert_eq!(ends_after((DATA, 0, 1, b"x")), (false, None));
}

#[test]
fn pings_between_calls_and_over_time_are_no_flood() {
    let limits = Limits {
        idle_frames_max: 10,
        idle_frames_period_ms: 1_000,
        ..Limits::default()
    };
    let mut peer = Peer::client(limits);
    let pings = |peer: &mut Peer| {
        for _ in 0..6 {
            peer.send(frame::PING, 0, 0, b"12345678");
        }
    };
    pings(&mut peer);
    peer.now_ms = 1_000;
    pings(&mut peer);
    peer.request(1);
    peer.answer(1, 1);
    pings(&mut peer);
    assert_eq!(peer.error(), None);
}

#[test]
fn reading_stops_while_answers_to_pings_are_not_taken() {
    let mut peer = Peer::client(Limits {
        unsent_replies: 2,
        ..Limits::default()
    });
    for _ in 0..3 {
        assert!(peer.connection.wants_read());
        peer.send(frame::PING, 0, 0, b"12345678");
    }
    assert!(!peer.connection.wants_read());
    peer.frames();
    assert!(peer.connection.wants_read());
}

#[test]
fn reading_stops_while_too_much_is_not_taken() {
    let mut peer = Peer::client(Limits {
        unsent_bytes: 1_000,
        ..Limits::default()
    });
    peer.request(1);
    peer.answer(1, 2_000);
    assert!(!peer.connection.wants_read());
    peer.frames();
    assert!(peer.connection.wants_read());
}

#[test]
fn reading_goes_on_while_data_waits_for_window_updates_only() {
    let mut peer = Peer::client(Limits {
        unsent_bytes: 1_000,
        ..Limits::default()
    });
    peer.setting(4, 0);
    peer.request(1);
    peer.answer(1, 2_000);
    peer.frames();
    assert_eq!(peer.connection.unsent_bytes(), 2_000);
    assert!(peer.connection.wants_read());
}

#[test]
fn a_peer_without_preface_is_left_in_time() {
    let mut peer = Peer::silent(Limits {
        preface_ms: 5_000,
        ..Limits::default()
    });
    peer.frames();
    peer.bytes(&frame::PREFACE[..10]);
    assert_eq!(peer.connection.deadline_ms(), Some(5_000));
    peer.tick(4_999);
    assert_eq!(peer.error(), None);
    peer.tick(5_000);
    peer.expect_goaway(0, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn a_frame_that_trickles_in_is_cut_off() {
    let mut peer = Peer::client(Limits {
        frame_ms: 10_000,
        ..Limits::default()
    });
    peer.open(1);
    let ping = [0, 0, 8, frame::PING, 0, 0, 0, 0, 0, 1];
    for (second, byte) in ping.iter().enumerate() {
        peer.now_ms = second as u64 * 1_000;
        peer.bytes(&[*byte]);
        assert_eq!(peer.connection.deadline_ms(), Some(10_000));
    }
    peer.tick(10_000);
    peer.expect_goaway(1, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn a_header_block_that_trickles_in_is_cut_off() {
    let mut peer = Peer::client(Limits {
        frame_ms: 10_000,
        ..Limits::default()
    });
    peer.send(frame::HEADERS, 0, 1, &[0x82]);
    peer.now_ms = 9_000;
    peer.send(frame::CONTINUATION, 0, 1, &[0x84]);
    peer.tick(10_000);
    peer.expect_goaway(0, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn whole_frames_leave_no_deadline_behind() {
    let mut peer = Peer::client(Limits {
        frame_ms: 10_000,
        ..Limits::default()
    });
    peer.request(1);
    peer.bytes(&[0, 0, 8, frame::PING, 0, 0, 0, 0, 0, 1]);
    peer.bytes(&[2, 3, 4, 5, 6, 7, 8]);
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), None);
}

#[test]
fn a_request_that_does_not_end_is_reset() {
    let mut peer = Peer::client(Limits {
        request_ms: 30_000,
        ..Limits::default()
    });
    peer.open(1);
    peer.now_ms = 29_000;
    peer.data(1, b"slow", 0);
    assert_eq!(peer.connection.deadline_ms(), Some(30_000));
    peer.tick(30_000);
    assert_eq!(peer.frames(), ["RST_STREAM 1 CANCEL"]);
    assert_eq!(peer.events(), ["reset 1 CANCEL"]);
}

#[test]
fn a_conversation_that_was_answered_may_stay_open() {
    let mut peer = Peer::client(Limits {
        request_ms: 30_000,
        ..Limits::default()
    });
    peer.open(1);
    peer.connection
        .send_headers(StreamId(1), &list(&[(":status", "200")]), false)
        .unwrap();
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), None);
}

#[test]
fn an_idle_connection_is_closed_gracefully() {
    let mut peer = Peer::client(Limits {
        idle_ms: 300_000,
        ..Limits::default()
    });
    peer.now_ms = 100;
    peer.request(1);
    peer.events();
    peer.tick(150);
    peer.answer(1, 1);
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), Some(300_150));
    peer.now_ms = 200;
    peer.send(frame::PING, 0, 0, b"12345678");
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), Some(300_200));
    peer.tick(300_200);
    assert_eq!(peer.frames(), ["GOAWAY 1 NO_ERROR"]);
    assert!(peer.connection.is_closed());
}

#[test]
fn a_peer_that_takes_no_bytes_is_given_up() {
    let mut peer = Peer::client(Limits {
        stall_ms: 30_000,
        ..Limits::default()
    });
    peer.request(1);
    peer.answer(1, 100);
    assert!(!peer.connection.output(peer.now_ms).is_empty());
    peer.now_ms = 20_000;
    peer.send(frame::PING, 0, 0, b"12345678");
    peer.connection.written(1);
    assert_eq!(peer.connection.deadline_ms(), Some(50_000));
    peer.tick(49_999);
    assert!(!peer.connection.is_closed());
    peer.tick(50_000);
    assert!(peer.connection.is_closed());
    assert_eq!(peer.connection.deadline_ms(), None);
}

#[test]
fn a_peer_that_only_reads_is_not_given_up() {
    let mut peer = Peer::client(Limits {
        stall_ms: 30_000,
        ..Limits::default()
    });
    let window_bytes = 1 << 20;
    peer.setting(4, window_bytes);
    peer.window(0, window_bytes);
    peer.request(1);
    peer.answer(1, 500_000);
    for second in (10..=60).step_by(10) {
        let now_ms = second * 1_000;
        assert!(!peer.connection.output(now_ms).is_empty());
        peer.connection.written(50_000);
        peer.tick(now_ms);
        assert_eq!(peer.connection.deadline_ms(), Some(now_ms + 30_000));
    }
    assert!(!peer.connection.is_closed());
}

#[test]
fn a_stream_whose_window_stays_shut_is_reset() {
    let mut peer = Peer::client(Limits {
        stall_ms: 30_000,
        ..Limits::default()
    });
    peer.setting(4, 10);
    peer.request(1);
    peer.answer(1, 100);
    peer.frames();
    peer.events();
    peer.now_ms = 5_000;
    peer.window(1, 1);
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), Some(35_000));
    peer.tick(35_000);
    assert_eq!(peer.frames(), ["RST_STREAM 1 CANCEL"]);
    assert_eq!(peer.events(), ["reset 1 CANCEL"]);
    assert_eq!(peer.connection.unsent_bytes(), 0);
}

#[test]
fn a_stream_stalls_from_when_its_data_began_to_wait() {
    let mut peer = Peer::client(Limits {
        stall_ms: 30_000,
        ..Limits::default()
    });
    peer.setting(4, 0);
    peer.request(1);
    peer.tick(20_000);
    peer.answer(1, 100);
    peer.frames();
    assert_eq!(peer.connection.deadline_ms(), Some(50_000));
}

#[test]
fn a_body_in_many_small_frames_is_no_flood() {
    let mut peer = Peer::client(Limits {
        idle_frames_max: 10,
        ..Limits::default()
    });
    peer.open(1);
    for _ in 0..1_000 {
        peer.data(1, b"x", 0);
    }
    peer.data(1, b"", END);
    assert_eq!(peer.error(), None);
}
