//! Whatever arrives, in whatever pieces.

use super::*;
use proptest::prelude::*;

fn block() -> Vec<u8> {
    let mut block = Vec::new();
    Encoder::new().encode(&list(&POST), &mut block);
    block
}

/// A frame that breaks no rule by itself.
fn valid_frame() -> impl Strategy<Value = (u8, u8, u32, Vec<u8>)> {
    use frame::*;
    let stream = || prop_oneof![Just(1), Just(3), Just(5), Just(7)];
    let number = || prop_oneof![Just(1u32), 1..100_000u32].prop_map(|it| it.to_be_bytes().to_vec());
    let end = || prop_oneof![Just(0), Just(FLAG_END_STREAM)];
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    let response = vec![0x88];
    prop_oneof![
        (stream(), end(), bytes()).prop_map(|(id, flags, data)| (DATA, flags, id, data)),
        (stream(), end(), bytes()).prop_map(|(id, flags, data)| {
            let padded = [&[2][..], &data, &[0; 2]].concat();
            (DATA, FLAG_PADDED | flags, id, padded)
        }),
        (stream(), end(), prop_oneof![Just(block()), Just(response)])
            .prop_map(|(id, flags, block)| (HEADERS, FLAG_END_HEADERS | flags, id, block)),
        stream().prop_map(|id| (HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, id, vec![])),
        stream().prop_map(|id| (PRIORITY, 0, id, vec![0; 5])),
        (stream(), number()).prop_map(|(id, code)| (RST_STREAM, 0, id, code)),
        (1..7u8, 16_384..100_000u32).prop_map(|(id, value)| {
            (
                SETTINGS,
                0,
                0,
                [&[0, id][..], &value.to_be_bytes()].concat(),
            )
        }),
        Just((SETTINGS, FLAG_ACK, 0, vec![])),
        Just((PING, 0, 0, vec![7; 8])),
        number().prop_map(|last| (GOAWAY, 0, 0, [last, vec![0; 4]].concat())),
        (stream(), number()).prop_map(|(id, by)| (WINDOW_UPDATE, 0, id, by)),
        number().prop_map(|by| (WINDOW_UPDATE, 0, 0, by)),
        (stream(), bytes()).prop_map(|(id, bytes)| (0xfa, 0, id, bytes)),
    ]
}

/// Frames that mostly keep the rules, so that they come far, and sometimes are no frames at all.
fn any_frames() -> impl Strategy<Value = Vec<u8>> {
    let bytes_of = |(kind, flags, stream, payload): (u8, u8, u32, Vec<u8>)| {
        let mut bytes = Vec::new();
        frame::put_frame(&mut bytes, kind, flags, stream, &payload);
        bytes
    };
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let interrupted = (bytes(), 1..8u32).prop_map(|(more, stream)| {
        let (mut frames, block) = (Vec::new(), block());
        let (first, second) = block.split_at(more.len().min(block.len()));
        frame::put_frame(&mut frames, frame::HEADERS, 0, stream, first);
        frame::put_frame(
            &mut frames,
            frame::CONTINUATION,
            more.len() as u8,
            stream,
            second,
        );
        frames
    });
    let piece = prop_oneof![
        60 => valid_frame().prop_map(bytes_of),
        2 => (any::<u8>(), any::<u8>(), 0..8u32, bytes()).prop_map(bytes_of),
        2 => interrupted,
        1 => bytes(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn peer_of(is_server: bool) -> Peer {
    match is_server {
        true => Peer::client(Limits::default()),
        false => {
            let mut peer = Peer::server(Limits::default());
            for _ in 0..3 {
                peer.connection.open(&list(&POST), false).unwrap();
            }
            peer.frames();
            peer
        }
    }
}

type Outcome = (Vec<Event>, Vec<u8>, Option<ConnectionError>);

/// All that the connection says to these bytes, given in pieces of these lengths in turn.
fn outcome(is_server: bool, bytes: &[u8], lengths: &[usize]) -> Outcome {
    let mut peer = peer_of(is_server);
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        peer.bytes(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let mut output = Vec::new();
    while !peer.connection.output(peer.now_ms).is_empty() {
        output.extend_from_slice(peer.connection.output(peer.now_ms));
        let length = peer.connection.output(peer.now_ms).len();
        peer.connection.written(length);
    }
    let events = std::iter::from_fn(|| peer.connection.poll()).collect();
    (events, output, peer.connection.error())
}

proptest! {
    #[test]
    fn the_pieces_in_which_bytes_arrive_make_no_difference(
        is_server in any::<bool>(),
        bytes in any_frames(),
        lengths in prop::collection::vec(1..30usize, 1..10),
    ) {
        let whole = outcome(is_server, &bytes, &[usize::MAX]);
        prop_assert_eq!(outcome(is_server, &bytes, &lengths), whole);
    }

    #[test]
    fn an_answering_user_and_any_peer_end_in_no_panic(
        is_server in any::<bool>(),
        turns in prop::collection::vec((any_frames(), 0..40_000u64, 0..70_000usize), 1..6),
    ) {
        let mut peer = peer_of(is_server);
        for (bytes, pause_ms, answer_bytes) in turns {
            peer.now_ms += pause_ms;
            peer.connection.tick(peer.now_ms);
            peer.bytes(&bytes);
            while let Some(event) = peer.connection.poll() {
                let Event::Headers { stream, .. } = event else { continue };
                let body = Bytes::from(vec![0; answer_bytes]);
                let _ = peer.connection.send_headers(stream, &list(&[(":status", "200")]), false);
                let _ = peer.connection.send_data(stream, body, false);
                let _ = peer.connection.send_trailers(stream, &list(&[("grpc-status", "0")]));
            }
            let length = peer.connection.output(peer.now_ms).len();
            peer.connection.written(length / 2);
            if peer.connection.open_streams() == 0 {
                prop_assert!(peer.connection.unsent_bytes() == length - length / 2);
            }
        }
    }
}
