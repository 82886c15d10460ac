//! A client that can do what well-behaved ones do not.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use raftkv::{
    grpc::{self, Deframer},
    h2::{Connection, ErrorCode, Event, Header, Limits, StreamId},
};

/// A connection to a gateway.
pub struct Wire {
    socket: TcpStream,
    pub h2: Connection,
    replies: BTreeMap<StreamId, Reply>,
    pub goaway: Option<ErrorCode>,
    pub closed: bool,
}

/// What has come for one stream.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    pub trailers: Vec<Header>,
    pub ended: bool,
    pub reset: Option<ErrorCode>,
}

impl Wire {
    pub fn connect(address: &str) -> Wire {
        let socket = TcpStream::connect(address).expect("the gateway listens");
        let limit = Some(Duration::from_secs(20));
        socket.set_read_timeout(limit).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        Wire {
            socket,
            h2: Connection::client(Limits::default(), 0),
            replies: BTreeMap::new(),
            goaway: None,
            closed: false,
        }
    }

    /// Opens a call of `path` with further headers.
    pub fn open(&mut self, path: &'static str, more: &[Header]) -> StreamId {
        let mut headers = grpc::request_headers("test", path, None);
        headers.extend_from_slice(more);
        self.h2.open(&headers, false).expect("a stream")
    }

    /// Sends a piece of a call's body.
    pub fn send(&mut self, stream: StreamId, data: impl Into<Bytes>, end: bool) {
        self.h2
            .send_data(stream, data.into(), end)
            .expect("an open stream");
    }

    /// Makes a whole call with one message.
    pub fn call(&mut self, path: &'static str, message: &impl Message) -> Reply {
        self.call_with(path, &[], grpc::encode(message))
    }

    /// Makes a whole call with these headers and this body.
    pub fn call_with(
        &mut self,
        path: &'static str,
        more: &[Header],
        body: impl Into<Bytes>,
    ) -> Reply {
        let stream = self.open(path, more);
        self.send(stream, body, true);
        self.reply(stream)
    }

    /// Waits for the end of a stream.
    pub fn reply(&mut self, stream: StreamId) -> Reply {
        self.wait(stream, |reply| reply.ended || reply.reset.is_some())
    }

    /// Waits until a stream's answer is as told.
    pub fn wait(&mut self, stream: StreamId, enough: impl Fn(&Reply) -> bool) -> Reply {
        loop {
            if let Some(reply) = self.replies.get(&stream)
                && enough(reply)
            {
                return reply.clone();
            }
            assert!(!self.closed, "closed before the answer of {stream:?}");
            self.exchange();
        }
    }

    /// Waits for the end of any stream.
    pub fn any_reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.replies.values().find(|reply| reply.ended) {
                return reply.clone();
            }
            assert!(!self.closed, "closed before any answer");
            self.exchange();
        }
    }

    /// Waits until the gateway has closed the connection.
    pub fn wait_closed(&mut self) {
        while !self.closed {
            self.exchange();
        }
    }

    /// Writes what is to be written.
    pub fn flush(&mut self) {
        while !self.h2.output(0).is_empty() {
            let count = self.socket.write(self.h2.output(0)).unwrap_or(0);
            if count == 0 {
                return;
            }
            self.h2.written(count);
        }
    }

    fn exchange(&mut self) {
        self.flush();
        let mut chunk = vec![0; 64 << 10];
        match self.socket.read(&mut chunk) {
            Ok(0) | Err(_) => self.closed = true,
            Ok(count) => self.h2.receive(&chunk[..count], 0),
        }
        while let Some(event) = self.h2.poll() {
            self.record(event);
        }
    }

    fn record(&mut self, event: Event) {
        match event {
            Event::Headers {
                stream,
                headers,
                end_stream,
            } => {
                let reply = self.replies.entry(stream).or_default();
                reply.headers = headers;
                reply.ended = end_stream;
            }
            Event::Data {
                stream,
                data,
                end_stream,
            } => {
                let reply = self.replies.entry(stream).or_default();
                reply.body.extend_from_slice(&data);
                reply.ended = end_stream;
            }
            Event::Trailers { stream, headers } => {
                let reply = self.replies.entry(stream).or_default();
                reply.trailers = headers;
                reply.ended = true;
            }
            Event::Reset { stream, code } => {
                self.replies.entry(stream).or_default().reset = Some(code);
            }
            Event::Refused { stream } => {
                self.replies.entry(stream).or_default().reset = Some(ErrorCode::REFUSED_STREAM);
            }
            Event::GoAway { code, .. } => self.goaway = Some(code),
        }
    }
}

impl Reply {
    /// A field of the trailers, or of the headers of an answer without messages.
    pub fn trailer(&self, name: &str) -> Option<String> {
        let block = if self.trailers.is_empty() {
            &self.headers
        } else {
            &self.trailers
        };
        let value = grpc::header(block, name)?;
        Some(String::from_utf8(value.to_vec()).expect("ASCII"))
    }

    /// The number of the status.
    pub fn code(&self) -> u8 {
        let digits = self.trailer("grpc-status").expect("a status");
        digits.parse().expect("a number")
    }

    /// The status' text.
    pub fn text(&self) -> String {
        self.trailer("grpc-message").unwrap_or_default()
    }

    /// Whether the trailers promise that nothing was applied.
    pub fn nothing_applied(&self) -> bool {
        let value = self.trailer("raftkv-applied");
        assert!(matches!(value.as_deref(), None | Some("no")), "{value:?}");
        value.is_some()
    }

    /// All messages.
    pub fn messages<M: Message + Default>(&self) -> Vec<M> {
        let mut deframer = Deframer::new();
        deframer.push(Bytes::copy_from_slice(&self.body));
        let mut messages = Vec::new();
        while let Some(message) = deframer.next().expect("good framing") {
            messages.push(M::decode(message).expect("a message"));
        }
        messages
    }

    /// The only message.
    pub fn message<M: Message + Default>(&self) -> M {
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }
}
