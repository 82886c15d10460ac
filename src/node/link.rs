//! Our connection to one other member. We send on it; it is theirs to receive. Frames for a member
//! that is not connected are dropped: consensus repeats what is lost, and old news is worth less
//! than the memory it takes.

use std::{collections::VecDeque, io, net::SocketAddr};

use bytes::Bytes;
use mio::{Interest, Registry, Token, net::TcpStream};

use super::{
    hello::{self, HELLO_MAX_BYTES, Hello},
    socket::{self, READ_BYTES, ReadEnd},
};
use crate::{codec::FrameDecoder, raft::NodeId};

/// Frames and bytes that wait for a slow socket. Beyond, new frames are dropped rather than old
/// ones, so that what is queued has no gap up to the first drop; once there is room again, later
/// frames follow behind the gap, and consensus repeats what is missing.
const QUEUE_MAX_FRAMES: usize = 1024;
const QUEUE_MAX_BYTES: usize = 16 << 20;

/// To connect and to be greeted may take this long.
const GREETING_MAX_MS: u64 = 5_000;
/// Between two attempts, doubled from the first to the second.
const RETRY_MIN_MS: u64 = 20;
const RETRY_MAX_MS: u64 = 500;

/// Why a link failed that the other end gave up.
const CLOSED: &str = "it closed the connection";

/// Our way to one member.
pub(super) struct Link {
    node: NodeId,
    /// Where to look for it, in turn.
    places: Vec<String>,
    state: State,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Of the first frame.
    written_bytes: usize,
    retry_ms: u64,
    /// How often it was tried since the start.
    attempts: usize,
    /// Where it was last looked for.
    place: String,
    /// Whether the other end had closed when the socket was last ready.
    ended: bool,
    /// Why the last attempt failed, until it was told.
    failure: Option<String>,
}

enum State {
    Idle {
        until_ms: u64,
    },
    Resolving,
    Connecting {
        stream: TcpStream,
        until_ms: u64,
    },
    Greeting {
        stream: TcpStream,
        decoder: FrameDecoder,
        until_ms: u64,
    },
    Ready {
        stream: TcpStream,
    },
}

/// What came of looking after a link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Nothing to act on.
    Nothing,
    /// The connection stands: say hello by [`Link::greet`].
    Connected,
    /// The other end answered our hello: decide, and call [`Link::accept`] or [`Link::fail`].
    Answered(Box<Hello>),
}

impl Link {
    pub(super) fn new(node: NodeId, places: Vec<String>) -> Link {
        Link {
            node,
            places,
            place: String::new(),
            state: State::Idle { until_ms: 0 },
            queue: VecDeque::new(),
            queued_bytes: 0,
            written_bytes: 0,
            retry_ms: RETRY_MIN_MS,
            attempts: 0,
            ended: false,
            failure: None,
        }
    }

    /// From now on it is looked for there.
    pub(super) fn set_places(&mut self, places: Vec<String>) {
        self.places = places;
    }

    /// The `host:port` to look up, if it is time to try again, and how often that was tried before.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<(&str, usize)> {
        match self.state {
            State::Idle { until_ms } if now_ms >= until_ms => {
                self.state = State::Resolving;
                let (turn, at) = (
                    self.attempts / self.places.len(),
                    self.attempts % self.places.len(),
                );
                self.attempts += 1;
                self.place.clone_from(&self.places[at]);
                Some((&self.place, turn))
            }
            State::Connecting { until_ms, .. } | State::Greeting { until_ms, .. }
                if now_ms >= until_ms =>
            {
                self.fail(now_ms, "no answer in time");
                None
            }
            _ => None,
        }
    }

    pub(super) fn connect(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        now_ms: u64,
    ) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(self.node.0 as usize), interest)?;
        self.state = State::Connecting {
            stream,
            until_ms: now_ms + GREETING_MAX_MS,
        };
        Ok(())
    }

    /// The socket can be read or written again; `ended` is whether the other end has closed.
    pub(super) fn ready(
        &mut self,
        now_ms: u64,
        ended: bool,
        buffer: &mut [u8; READ_BYTES],
    ) -> LinkEvent {
        self.ended = ended;
        match &mut self.state {
            State::Idle { .. } | State::Resolving => LinkEvent::Nothing,
            State::Connecting { stream, .. } => match connected(stream) {
                Ok(true) if ended => self.failed(now_ms, CLOSED),
                Ok(true) => LinkEvent::Connected,
                Ok(false) => LinkEvent::Nothing,
                Err(error) => self.failed(now_ms, &error.to_string()),
            },
            State::Greeting {
                stream, decoder, ..
            } => {
                // A hello is shorter than the buffer: one read takes all of it that came.
                let end = socket::read(stream, buffer, ended, |bytes| decoder.receive(bytes));
                let hello = decoder
                    .next_frame()
                    .and_then(|frame| frame.map(hello::decode).transpose());
                match hello {
                    Ok(Some(Ok(hello))) => LinkEvent::Answered(Box::new(hello)),
                    Ok(Some(Err(version))) => {
                        self.failed(now_ms, &hello::other_version(version).reason)
                    }
                    Ok(None) if ended || end == ReadEnd::Closed => self.failed(now_ms, CLOSED),
                    Ok(None) => self.flushed(now_ms),
                    Err(error) => self.failed(now_ms, &error.to_string()),
                }
            }
            State::Ready { stream } => {
                // Nothing is ever said on it in this direction.
                let mut said = false;
                let end = socket::read(stream, buffer, ended, |_| said = true);
                match said || ended || end == ReadEnd::Closed {
                    true => self.failed(now_ms, CLOSED),
                    false => self.flushed(now_ms),
                }
            }
        }
    }

    /// Why it failed since this was last asked.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Says hello on the connection that stands.
    pub(super) fn greet(&mut self, hello: Vec<u8>, now_ms: u64) {
        let State::Connecting { stream, until_ms } = self.take_state() else {
            unreachable!("only a new connection is greeted")
        };
        let decoder = FrameDecoder::new(HELLO_MAX_BYTES);
        self.state = State::Greeting {
            stream,
            decoder,
            until_ms,
        };
        self.enqueue(hello.into());
        self.flush(now_ms);
    }

    /// The other end is whom we want. If it closed behind its answer, no event will tell.
    pub(super) fn accept(&mut self, now_ms: u64) {
        if self.ended {
            return self.fail(now_ms, CLOSED);
        }
        let State::Greeting { stream, .. } = self.take_state() else {
            unreachable!("only an answer to a greeting is accepted")
        };
        self.state = State::Ready { stream };
        self.retry_ms = RETRY_MIN_MS;
        self.failure = None;
    }

    /// Gives the connection up and tries again later.
    pub(super) fn fail(&mut self, now_ms: u64, why: &str) {
        self.failure = Some(format!("{}: {why}", self.place));
        // From half of it to all, so that members which lost each other do not dial in step; the
        // moment of the failure is chance enough.
        let spread_ms = now_ms.wrapping_mul(31) % (self.retry_ms / 2);
        self.state = State::Idle {
            until_ms: now_ms + self.retry_ms / 2 + spread_ms,
        };
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MAX_MS);
        self.queue.clear();
        self.queued_bytes = 0;
        self.written_bytes = 0;
    }

    /// Queues a frame, if there is a connection with room.
    pub(super) fn send(&mut self, frame: Bytes) {
        let room = self.queue.len() < QUEUE_MAX_FRAMES
            && self.queued_bytes + frame.len() <= QUEUE_MAX_BYTES;
        if room && matches!(self.state, State::Ready { .. }) {
            self.enqueue(frame);
        }
    }

    fn enqueue(&mut self, frame: Bytes) {
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Writes what the socket takes, many frames with one call.
    pub(super) fn flush(&mut self, now_ms: u64) {
        while !self.queue.is_empty() {
            let (State::Greeting { stream, .. } | State::Ready { stream }) = &mut self.state else {
                return;
            };
            match socket::write(stream, &self.queue, self.written_bytes) {
                Ok(0) => return,
                Ok(written) => self.written(written),
                Err(error) => return self.fail(now_ms, &error.to_string()),
            }
        }
    }

    fn written(&mut self, bytes: usize) {
        self.written_bytes += bytes;
        while let Some(frame) = self.queue.front()
            && self.written_bytes >= frame.len()
        {
            self.written_bytes -= frame.len();
            self.queued_bytes -= frame.len();
            self.queue.pop_front();
        }
    }

    fn flushed(&mut self, now_ms: u64) -> LinkEvent {
        self.flush(now_ms);
        LinkEvent::Nothing
    }

    fn failed(&mut self, now_ms: u64, why: &str) -> LinkEvent {
        self.fail(now_ms, why);
        LinkEvent::Nothing
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Resolving)
    }
}

/// Whether a connection that was begun stands by now.
fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => socket::configure(stream).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::Write as _,
        net::{Shutdown, TcpListener},
    };

    use mio::{Events, Poll, event::Event};

    use super::*;

    fn wait(poll: &mut Poll, is_it: impl Fn(&Event) -> bool) {
        let mut events = Events::with_capacity(1);
        while !events.iter().any(&is_it) {
            poll.poll(&mut events, None).expect("polled");
        }
    }

    fn hello() -> Vec<u8> {
        let me = hello::Introduction {
            cluster_id: [7; 16],
            node_id: NodeId(1),
            incarnation: [1; 16],
            peer_address: String::new(),
            client_address: String::new(),
            heartbeat_ms: 50,
            election_timeout_ms: 150,
        };
        let mut frame = Vec::new();
        hello::encode(&me, &BTreeMap::new(), None, &mut frame);
        frame
    }

    #[test]
    fn a_link_whose_end_came_with_the_answer_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut poll = Poll::new().expect("a poll");
        let mut buffer = [0; READ_BYTES];
        let mut link = Link::new(NodeId(1), vec![address.to_string()]);
        link.connect(address, poll.registry(), 0)
            .expect("it listens");
        wait(&mut poll, Event::is_writable);
        let event = link.ready(0, false, &mut buffer);
        assert!(matches!(event, LinkEvent::Connected), "{event:?}");
        link.greet(hello(), 0);

        let (mut other, _) = listener.accept().expect("connected");
        other.write_all(&hello()).expect("answered");
        other.shutdown(Shutdown::Write).expect("closed");
        wait(&mut poll, Event::is_read_closed);
        let event = link.ready(0, true, &mut buffer);
        assert!(matches!(event, LinkEvent::Answered(_)), "{event:?}");
        link.accept(0);
        assert!(!link.is_ready(), "nobody reads what is sent on it");
        assert!(link.take_failure().is_some());
    }
}
