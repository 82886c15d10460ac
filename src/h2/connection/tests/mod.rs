//! One end is a [`Connection`], the other one is a test that speaks frames.

mod any_bytes;
mod client;
mod flow;
mod limits;
mod rules;

use super::super::frame::{self, HEAD_BYTES, Head};
use super::super::hpack::{Decoder, Encoder};
use super::super::{ConnectionError, ErrorCode, Event, Header, Limits, OpenError, StreamId};
use super::Connection;
use bytes::Bytes;

const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/service/Method"),
    (":authority", "host"),
];

/// The raw peer of a connection.
struct Peer {
    connection: Connection,
    encoder: Encoder,
    decoder: Decoder,
    now_ms: u64,
    unread: Vec<u8>,
}

fn list(fields: &[(&'static str, &'static str)]) -> Vec<Header> {
    let header = |(name, value): &(&'static str, &'static str)| Header::from_static(name, value);
    fields.iter().map(header).collect()
}

impl Peer {
    /// A client that faces a server, before it has said anything.
    fn silent(limits: Limits) -> Peer {
        Peer::of(Connection::server(limits, 0))
    }

    /// A client that faces a server, after the exchange of settings.
    fn client(limits: Limits) -> Peer {
        let mut peer = Peer::silent(limits);
        peer.bytes(frame::PREFACE);
        peer.send(frame::SETTINGS, 0, 0, &[]);
        peer.send(frame::SETTINGS, frame::FLAG_ACK, 0, &[]);
        peer.frames();
        peer
    }

    /// A server that faces a client, after the exchange of settings.
    fn server(limits: Limits) -> Peer {
        let mut peer = Peer::of(Connection::client(limits, 0));
        let preface = peer.connection.output(peer.now_ms)[..frame::PREFACE.len()].to_vec();
        assert_eq!(preface, frame::PREFACE);
        peer.connection.written(preface.len());
        peer.send(frame::SETTINGS, 0, 0, &[]);
        peer.send(frame::SETTINGS, frame::FLAG_ACK, 0, &[]);
        peer.frames();
        peer
    }

    fn of(connection: Connection) -> Peer {
        let (encoder, decoder) = (Encoder::new(), Decoder::new());
        Peer {
            connection,
            encoder,
            decoder,
            now_ms: 0,
            unread: Vec::new(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.connection.receive(bytes, self.now_ms);
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::put_frame(&mut bytes, kind, flags, stream, payload);
        self.bytes(&bytes);
    }

    fn block(&mut self, fields: &[(&'static str, &'static str)]) -> Vec<u8> {
        let mut block = Vec::new();
        self.encoder.encode(&list(fields), &mut block);
        block
    }

    fn headers(&mut self, stream: u32, fields: &[(&'static str, &'static str)], flags: u8) {
        let block = self.block(fields);
        self.send(
            frame::HEADERS,
            frame::FLAG_END_HEADERS | flags,
            stream,
            &block,
        );
    }

    /// A request of which the body is still to come.
    fn open(&mut self, stream: u32) {
        self.headers(stream, &POST, 0);
    }

    /// A request without a body.
    fn request(&mut self, stream: u32) {
        self.headers(stream, &POST, frame::FLAG_END_STREAM);
    }

    fn data(&mut self, stream: u32, data: &[u8], flags: u8) {
        self.send(frame::DATA, flags, stream, data);
    }

    fn window(&mut self, stream: u32, increment: u32) {
        self.send(frame::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    fn setting(&mut self, id: u8, value: u32) {
        self.send(
            frame::SETTINGS,
            0,
            0,
            &[&[0, id][..], &value.to_be_bytes()].concat(),
        );
    }

    fn reset(&mut self, stream: u32, code: ErrorCode) {
        self.send(frame::RST_STREAM, 0, stream, &code.0.to_be_bytes());
    }

    fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.connection.tick(now_ms);
    }

    /// What the connection has sent since, a line per frame.
    fn frames(&mut self) -> Vec<String> {
        while !self.connection.output(self.now_ms).is_empty() {
            let output = self.connection.output(self.now_ms);
            self.unread.extend_from_slice(output);
            let length = output.len();
            self.connection.written(length);
        }
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        let mut lines = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = Head::parse(head);
            let (payload, after) = after.split_at(head.length);
            lines.push(self.line(head, payload));
            rest = after;
        }
        assert!(rest.is_empty(), "only whole frames are sent");
        lines
    }

    fn line(&mut self, head: Head, payload: &[u8]) -> String {
        let stream = head.stream;
        let number = |at: usize| frame::first_u32(&payload[at..]).unwrap();
        let end = if head.has(frame::FLAG_END_STREAM) {
            " end"
        } else {
            ""
        };
        let ack = if head.has(frame::FLAG_ACK) {
            " ack"
        } else {
            ""
        };
        match head.kind {
            frame::DATA => format!("DATA {stream} {}{end}", payload.len()),
            frame::HEADERS if head.has(frame::FLAG_END_HEADERS) => {
                let decoded = self.decoder.decode(payload, usize::MAX).unwrap();
                let text = |it: &Header| {
                    let [name, value] = [&it.name, &it.value].map(|it| String::from_utf8_lossy(it));
                    format!(" {name}={value}")
                };
                let fields: String = decoded.headers.iter().map(text).collect();
                format!("HEADERS {stream}{fields}{end}")
            }
            frame::HEADERS => format!("HEADERS {stream} {} bytes, to be continued", payload.len()),
            frame::CONTINUATION => format!("CONTINUATION {stream} {} bytes", payload.len()),
            frame::RST_STREAM => format!("RST_STREAM {stream} {}", ErrorCode(number(0))),
            frame::SETTINGS => format!("SETTINGS{ack}"),
            frame::PING => format!("PING{ack} {}", String::from_utf8_lossy(payload)),
            frame::GOAWAY => format!("GOAWAY {} {}", number(0), ErrorCode(number(4))),
            frame::WINDOW_UPDATE => format!("WINDOW_UPDATE {stream} +{}", number(0)),
            kind => panic!("frame of kind {kind}"),
        }
    }

    /// The events since, a line each.
    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.connection.poll())
            .map(|event| describe(&event))
            .collect()
    }

    /// Answers with a body of so many bytes.
    fn answer(&mut self, stream: u32, bytes: usize) {
        let stream = StreamId(stream);
        self.connection
            .send_headers(stream, &list(&[(":status", "200")]), false)
            .unwrap();
        self.connection
            .send_data(stream, Bytes::from(vec![b'x'; bytes]), true)
            .unwrap();
    }

    fn error(&self) -> Option<ErrorCode> {
        self.connection
            .error()
            .map(|ConnectionError { code, .. }| code)
    }

    #[track_caller]
    fn expect_goaway(&mut self, last: u32, code: ErrorCode) {
        assert_eq!(self.frames().last(), Some(&format!("GOAWAY {last} {code}")));
        assert!(self.connection.is_closed());
        assert_eq!(self.error(), Some(code));
    }
}

fn describe(event: &Event) -> String {
    let end = |end_stream: &bool| if *end_stream { " end" } else { "" };
    match event {
        Event::Headers {
            stream,
            headers,
            end_stream,
        } => {
            format!(
                "headers {} of {}{}",
                stream.0,
                headers.len(),
                end(end_stream)
            )
        }
        Event::Data {
            stream,
            data,
            end_stream,
        } => {
            format!(
                "data {} {}{}",
                stream.0,
                String::from_utf8_lossy(data),
                end(end_stream)
            )
        }
        Event::Trailers { stream, headers } => {
            format!("trailers {} of {}", stream.0, headers.len())
        }
        Event::Reset { stream, code } => format!("reset {} {code}", stream.0),
        Event::Refused { stream } => format!("refused {}", stream.0),
        Event::GoAway {
            last_stream, code, ..
        } => format!("goaway {last_stream} {code}"),
    }
}
