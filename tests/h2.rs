//! A client and a server of ours talk to each other through a wire that cuts bytes anywhere.

use bytes::Bytes;
use proptest::prelude::*;
use raftkv::h2::{Connection, Event, Header, Limits, OpenError, StreamId};
use std::collections::BTreeMap;

/// One call: what is sent in each direction, and in how many pieces.
#[derive(Clone, Debug)]
struct Call {
    request: Vec<Bytes>,
    response: Vec<Bytes>,
}

fn any_body() -> impl Strategy<Value = Vec<Bytes>> {
    let length = prop_oneof![Just(0), 1..100usize, 1..40_000usize];
    let piece = (length, any::<u8>()).prop_map(|(length, fill)| Bytes::from(vec![fill; length]));
    prop::collection::vec(piece, 0..4)
}

fn any_call() -> impl Strategy<Value = Call> {
    (any_body(), any_body()).prop_map(|(request, response)| Call { request, response })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let window = || prop_oneof![1..100u32, 1..100_000u32, Just(1 << 20)];
    (1..5u32, window(), window()).prop_map(|(streams_max, stream, connection)| Limits {
        streams_max,
        stream_window_bytes: stream,
        connection_window_bytes: connection,
        // Tiny windows need many WINDOW_UPDATE frames; that is what is tried here.
        idle_frames_max: u32::MAX,
        ..Limits::default()
    })
}

fn joined(pieces: &[Bytes]) -> Vec<u8> {
    pieces.concat()
}

#[derive(Default)]
struct Received {
    body: Vec<u8>,
    trailers: Vec<Header>,
    ended: bool,
}

impl Received {
    fn take(&mut self, event: Event) {
        match event {
            Event::Data {
                data, end_stream, ..
            } => {
                self.body.extend_from_slice(&data);
                self.ended |= end_stream;
            }
            Event::Trailers { headers, .. } => {
                self.trailers = headers;
                self.ended = true;
            }
            Event::Headers { end_stream, .. } => self.ended |= end_stream,
            other => panic!("{other:?}"),
        }
    }
}

fn stream_of(event: &Event) -> StreamId {
    match event {
        Event::Headers { stream, .. }
        | Event::Data { stream, .. }
        | Event::Trailers { stream, .. } => *stream,
        other => panic!("{other:?}"),
    }
}

/// Moves a piece of at most so many bytes; false when there is none.
fn carry(from: &mut Connection, to: &mut Connection, most: usize) -> bool {
    let piece = from.output(0);
    let piece = piece[..piece.len().min(most)].to_vec();
    from.written(piece.len());
    to.receive(&piece, 0);
    !piece.is_empty()
}

struct Talk {
    client: Connection,
    server: Connection,
    calls: Vec<Call>,
    /// Which call each stream is.
    streams: BTreeMap<StreamId, usize>,
    at_server: BTreeMap<StreamId, Received>,
    at_client: BTreeMap<StreamId, Received>,
}

impl Talk {
    fn open_calls(&mut self) {
        while let Some(call) = self.calls.get(self.streams.len()) {
            let headers = [
                Header::from_static(":method", "POST"),
                Header::from_static(":scheme", "http"),
                Header::from_static(":path", "/a.B/C"),
                Header::new("call", self.streams.len().to_string()),
            ];
            let stream = match self.client.open(&headers, call.request.is_empty()) {
                Ok(stream) => stream,
                Err(OpenError::TooManyStreams) => return,
                Err(error) => panic!("{error}"),
            };
            for (number, piece) in call.request.iter().enumerate() {
                let is_last = number + 1 == call.request.len();
                self.client
                    .send_data(stream, piece.clone(), is_last)
                    .unwrap();
            }
            self.streams.insert(stream, self.streams.len());
        }
    }

    fn serve(&mut self) {
        while let Some(event) = self.server.poll() {
            let stream = stream_of(&event);
            let received = self.at_server.entry(stream).or_default();
            received.take(event);
            if received.ended {
                let call = &self.calls[self.streams[&stream]];
                let status = [Header::from_static(":status", "200")];
                self.server.send_headers(stream, &status, false).unwrap();
                for piece in &call.response {
                    self.server.send_data(stream, piece.clone(), false).unwrap();
                }
                let trailers = [Header::from_static("grpc-status", "0")];
                self.server.send_trailers(stream, &trailers).unwrap();
            }
        }
    }

    fn collect(&mut self) {
        while let Some(event) = self.client.poll() {
            self.at_client
                .entry(stream_of(&event))
                .or_default()
                .take(event);
        }
    }

    fn all_done(&self) -> bool {
        self.at_client.len() == self.calls.len() && self.at_client.values().all(|it| it.ended)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_messages_arrive_whole_whatever_the_windows_and_the_wire(
        calls in prop::collection::vec(any_call(), 1..10),
        client in any_limits(),
        server in any_limits(),
        pieces in prop::collection::vec(prop_oneof![1..50usize, 1..100_000usize], 1..20),
    ) {
        let mut talk = Talk {
            client: Connection::client(client, 0),
            server: Connection::server(server.clone(), 0),
            calls,
            streams: BTreeMap::new(),
            at_server: BTreeMap::new(),
            at_client: BTreeMap::new(),
        };
        // The client must know the server's limit, else its first calls would be refused.
        while carry(&mut talk.server, &mut talk.client, usize::MAX) {}
        for most in pieces.iter().cycle() {
            talk.open_calls();
            let mut has_moved = carry(&mut talk.client, &mut talk.server, *most);
            talk.serve();
            has_moved |= carry(&mut talk.server, &mut talk.client, *most);
            talk.collect();
            prop_assert_eq!((talk.client.error(), talk.server.error()), (None, None));
            prop_assert!(talk.server.open_streams() <= server.streams_max as usize);
            if talk.all_done() && !has_moved {
                break;
            }
            prop_assert!(has_moved, "the talk has come to a halt");
        }
        for (stream, number) in &talk.streams {
            let call = &talk.calls[*number];
            prop_assert_eq!(&talk.at_server[stream].body, &joined(&call.request));
            prop_assert_eq!(&talk.at_client[stream].body, &joined(&call.response));
            prop_assert_eq!(&talk.at_client[stream].trailers[0].value[..], b"0");
        }
        prop_assert_eq!(talk.client.unsent_bytes() + talk.server.unsent_bytes(), 0);
        prop_assert_eq!(talk.client.open_streams() + talk.server.open_streams(), 0);
    }
}
