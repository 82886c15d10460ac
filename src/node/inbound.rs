//! A connection that another node opened: it says hello and then sends, we receive.

use std::io::Write;

use mio::net::TcpStream;

use super::{
    hello::{self, HELLO_MAX_BYTES, Hello},
    socket::{self, READ_BYTES, ReadEnd},
};
use crate::{
    codec::{DecodeError, FRAME_MAX_BYTES, FrameDecoder, Packet, decode_packet},
    raft::NodeId,
};

/// A stranger must have said hello within this time.
const HELLO_MAX_MS: u64 = 5_000;
/// A frame that has begun must be whole within this time.
const FRAME_MAX_MS: u64 = 30_000;

/// One accepted connection.
pub(super) struct Inbound {
    stream: TcpStream,
    decoder: FrameDecoder,
    /// Who is there, once that is settled.
    from: Option<NodeId>,
    opened_ms: u64,
    /// Since when a frame has been incomplete.
    frame_since_ms: Option<u64>,
    /// Whether there may be bytes to read without a new event.
    pub(super) readable: bool,
    /// Whether the other end has closed, behind what is still to be read.
    ended: bool,
}

/// What was read.
pub(super) enum Received {
    /// The first frame: decide, and call [`Inbound::accept`] or drop it.
    Hello(Box<Hello>),
    /// The hello of a node that speaks another version of the protocol: say so, and drop it.
    OtherVersion(u32),
    /// What a member says.
    Packet(NodeId, Packet),
}

impl Inbound {
    pub(super) fn new(stream: TcpStream, now_ms: u64) -> Inbound {
        Inbound {
            stream,
            decoder: FrameDecoder::new(HELLO_MAX_BYTES),
            from: None,
            opened_ms: now_ms,
            frame_since_ms: None,
            readable: false,
            ended: false,
        }
    }

    pub(super) fn from(&self) -> Option<NodeId> {
        self.from
    }

    /// The sender is a member: from here on it may send whole frames.
    pub(super) fn accept(&mut self, from: NodeId) {
        self.from = Some(from);
        self.decoder.set_max_bytes(FRAME_MAX_BYTES);
    }

    /// Answers a hello. It is short and the first thing written, so that a socket which does not
    /// take it whole belongs to nobody worth talking to.
    pub(super) fn answer(&mut self, hello: &[u8]) -> bool {
        self.stream.write(hello).is_ok_and(|n| n == hello.len())
    }

    /// The socket can be read; `ended` is whether to its end.
    pub(super) fn ready(&mut self, ended: bool) {
        self.readable = true;
        self.ended |= ended;
    }

    /// Reads once. Returns whether the connection is still open.
    pub(super) fn read(&mut self, buffer: &mut [u8; READ_BYTES]) -> bool {
        let end = socket::read(&mut self.stream, buffer, self.ended, |bytes| {
            self.decoder.receive(bytes);
        });
        self.readable = end == ReadEnd::More;
        end != ReadEnd::Closed
    }

    /// The next whole frame of what was read.
    ///
    /// # Errors
    /// When it is none: the connection cannot be followed any further.
    pub(super) fn next(&mut self, now_ms: u64) -> Result<Option<Received>, DecodeError> {
        let Some(body) = self.decoder.next_frame()? else {
            let since = self.frame_since_ms.unwrap_or(now_ms);
            self.frame_since_ms = self.decoder.is_within_a_frame().then_some(since);
            return Ok(None);
        };
        self.frame_since_ms = None;
        Ok(Some(match self.from {
            None => match hello::decode(body)? {
                Ok(hello) => Received::Hello(Box::new(hello)),
                Err(version) => Received::OtherVersion(version),
            },
            Some(from) => Received::Packet(from, decode_packet(body)?),
        }))
    }

    /// Whether it took too long over its hello or a frame.
    pub(super) fn is_overdue(&self, now_ms: u64) -> bool {
        let hello = self.from.is_none() && now_ms - self.opened_ms > HELLO_MAX_MS;
        hello
            || self
                .frame_since_ms
                .is_some_and(|since| now_ms - since > FRAME_MAX_MS)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream as StdStream},
    };

    use mio::{Events, Interest, Poll, Token};

    use super::*;
    use crate::{
        codec::encode_message,
        raft::{Message, Term},
    };

    #[test]
    fn what_came_with_the_end_is_heard_and_then_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut sender = StdStream::connect(address).expect("it listens");
        let (accepted, _) = listener.accept().expect("connected");
        accepted.set_nonblocking(true).expect("a socket");
        let mut inbound = Inbound::new(TcpStream::from_std(accepted), 0);
        inbound.accept(NodeId(1));

        let sent = Message::TimeoutNow { term: Term(7) };
        let mut frame = Vec::new();
        encode_message(&sent, &mut frame);
        sender.write_all(&frame).expect("sent");
        drop(sender);
        let mut poll = Poll::new().expect("a poll");
        let registry = poll.registry();
        registry
            .register(&mut inbound.stream, Token(0), Interest::READABLE)
            .expect("registered");
        let mut events = Events::with_capacity(1);
        let is_end = |events: &Events| events.iter().any(mio::event::Event::is_read_closed);
        while !is_end(&events) {
            poll.poll(&mut events, None).expect("polled");
        }

        let mut buffer = [0; READ_BYTES];
        inbound.ready(true);
        assert!(inbound.read(&mut buffer), "the message comes first");
        let heard = inbound.next(0).expect("sound");
        let sent = Packet::Message(sent);
        assert!(matches!(heard, Some(Received::Packet(NodeId(1), packet)) if packet == sent));
        assert!(inbound.readable, "there is no further event to wait for");
        assert!(!inbound.read(&mut buffer), "then the end");
    }
}
