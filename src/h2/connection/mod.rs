//! One HTTP/2 connection, as its user sees it.

mod frames;
mod messages;
mod sending;
mod timers;

use super::flow::{ReceiveWindow, SendWindow};
use super::frame;
use super::guard::Guard;
use super::hpack::{Decoder, Encoder};
use super::outbox::Outbox;
use super::settings::{self, INITIAL_WINDOW_BYTES, PeerSettings};
use super::stream::{Closed, Side, Stream, Streams};
use super::{ConnectionError, ErrorCode, Event, Header, Limits, OpenError, StreamId};
use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// Room for events that is kept when none is left: a burst must not cost memory for ever.
const KEEP_EVENTS: usize = 256;

/// A header block whose CONTINUATION frames are still to come.
#[derive(Debug)]
struct OpenBlock {
    stream: u32,
    end_stream: bool,
    bytes: Vec<u8>,
    continuations: u32,
}

/// What a broken rule costs.
#[derive(Debug)]
enum Fault {
    Connection(ConnectionError),
    Stream(u32, ErrorCode),
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Fault {
        Fault::Connection(error)
    }
}

fn connection_fault(code: ErrorCode, reason: &'static str) -> Fault {
    Fault::Connection(ConnectionError { code, reason })
}

/// One HTTP/2 connection, of either role. See the [module](super) for the loop around it.
///
/// Times are milliseconds of any clock that does not go back, the same one in all calls.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    limits: Limits,
    now_ms: u64,
    guard: Guard,

    // What comes in.
    preface_left: &'static [u8],
    has_settings: bool,
    inbox: Vec<u8>,
    block: Option<OpenBlock>,
    decoder: Decoder,
    receive_window: ReceiveWindow,
    events: VecDeque<Event>,

    streams: Streams,
    last_peer_stream: u32,
    next_stream: u32,

    // What goes out.
    peer: PeerSettings,
    encoder: Encoder,
    send_window: SendWindow,
    outbox: Outbox,
    unsent_replies: u32,
    queued_bytes: usize,
    ready: VecDeque<u32>,

    // Ends and times.
    shutting_down: bool,
    /// The last stream that our first GOAWAY named.
    goaway_stream: Option<u32>,
    peer_goes_away: bool,
    error: Option<ConnectionError>,
    is_stuck: bool,
    began_ms: u64,
    active_ms: u64,
    frame_began_ms: Option<u64>,
    output_moved_ms: Option<u64>,
}

impl Connection {
    /// The server's side of a connection just accepted. Its SETTINGS are in `output` at once.
    pub fn server(limits: Limits, now_ms: u64) -> Connection {
        Connection::new(Role::Server, limits, now_ms)
    }

    /// The client's side of a connection just made. Preface and SETTINGS are in `output` at once,
    /// and streams may be opened before the server has answered.
    pub fn client(limits: Limits, now_ms: u64) -> Connection {
        Connection::new(Role::Client, limits, now_ms)
    }

    fn new(role: Role, limits: Limits, now_ms: u64) -> Connection {
        let is_server = role == Role::Server;
        let mut outbox = Outbox::default();
        if !is_server {
            outbox.bytes.extend_from_slice(frame::PREFACE);
        }
        settings::put_ours(&mut outbox.bytes, &limits, is_server);
        Connection {
            role,
            now_ms,
            guard: Guard::default(),
            preface_left: if is_server { frame::PREFACE } else { &[] },
            has_settings: false,
            inbox: Vec::new(),
            block: None,
            decoder: Decoder::new(),
            receive_window: ReceiveWindow::new(limits.connection_window_bytes),
            events: VecDeque::new(),
            streams: Streams::default(),
            last_peer_stream: 0,
            next_stream: 1,
            peer: PeerSettings::new(),
            encoder: Encoder::new(),
            send_window: SendWindow::new(INITIAL_WINDOW_BYTES),
            outbox,
            unsent_replies: 0,
            queued_bytes: 0,
            ready: VecDeque::new(),
            shutting_down: false,
            goaway_stream: None,
            peer_goes_away: false,
            error: None,
            is_stuck: false,
            began_ms: now_ms,
            active_ms: now_ms,
            frame_began_ms: None,
            output_moved_ms: None,
            limits,
        }
    }

    /// Takes bytes from the socket, in pieces of any size. A broken rule of the connection queues
    /// a GOAWAY and ends it; what comes after is ignored.
    ///
    /// What one call can cost in memory grows with the piece, so read 64 KiB or so at a time.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.error.is_some() || self.is_stuck {
            return;
        }
        self.active_ms = self.now_ms;
        if let Err(error) = self.take_bytes(bytes) {
            self.fail(error);
        }
    }

    /// The next event, if any.
    pub fn poll(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if self.events.is_empty() {
            self.events.shrink_to(KEEP_EVENTS);
        }
        if let Event::Data { stream, data, .. } = &event {
            self.give_back(stream.0, data.len() as u32);
        }
        Some(event)
    }

    /// The bytes that the socket should take next: control frames, and DATA as far as both
    /// flow-control windows allow, a bounded piece at a time. Empty: nothing to write now.
    pub fn output(&mut self, now_ms: u64) -> &[u8] {
        // A peer that only reads moves no other clock, and its progress must not look old.
        self.now_ms = self.now_ms.max(now_ms);
        self.send_queued();
        if self.output_moved_ms.is_none() && !self.outbox.is_empty() {
            self.output_moved_ms = Some(self.now_ms);
        }
        self.outbox.unwritten()
    }

    /// The socket took the first `bytes` of [`Connection::output`].
    ///
    /// # Panics
    /// If there were not so many.
    pub fn written(&mut self, bytes: usize) {
        self.outbox.advance(bytes);
        if self.outbox.is_empty() {
            self.unsent_replies = 0;
            self.output_moved_ms = None;
        } else if bytes > 0 {
            self.output_moved_ms = Some(self.now_ms);
        }
    }

    /// Client: opens a stream with these request headers, pseudo-headers first.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was sent.
    pub fn open(&mut self, headers: &[Header], end_stream: bool) -> Result<StreamId, OpenError> {
        debug_assert_eq!(self.role, Role::Client, "only clients open streams");
        let is_ending = self.shutting_down || self.peer_goes_away || self.is_stuck;
        if is_ending || self.error.is_some() || self.next_stream > frame::MAX_31_BITS {
            return Err(OpenError::GoingAway);
        }
        if self.streams.len() >= self.peer.streams_max as usize {
            return Err(OpenError::TooManyStreams);
        }
        let id = self.next_stream;
        self.next_stream += 2;
        let sending = if end_stream { Side::Ended } else { Side::Body };
        self.insert_stream(id, Side::Headers, sending, None);
        self.put_headers(id, headers, end_stream);
        Ok(StreamId(id))
    }

    /// Breaks a stream off in both directions; unsent data of it is dropped. Nothing happens if
    /// it has ended.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        if self.close_stream(stream.0, Closed::ByUs) {
            self.put_reset(stream.0, code);
            self.forget_events(stream.0);
        }
    }

    /// Takes no new streams, lets the open ones finish, then closes (GOAWAY with NO_ERROR).
    /// Requests that the peer sent before it knew are refused, so it may safely repeat them
    /// elsewhere.
    pub fn shut_down(&mut self) {
        if !self.shutting_down && self.error.is_none() {
            self.shutting_down = true;
            self.put_goaway(ErrorCode::NO_ERROR, b"");
        }
    }

    /// All is said and written: the socket can be closed. Its sending side first, and what still
    /// arrives should be read and dropped for a moment: a socket closed with unread bytes sends
    /// RST, and the peer may lose the GOAWAY.
    pub fn is_closed(&self) -> bool {
        if self.is_stuck {
            return true;
        }
        let client_is_left = self.role == Role::Client && self.peer_goes_away;
        let is_drained = (self.shutting_down || client_is_left)
            && self.streams.is_empty()
            && self.events.is_empty();
        self.outbox.is_empty() && (self.error.is_some() || is_drained)
    }

    /// The error by which we ended the connection, for the log.
    pub fn error(&self) -> Option<ConnectionError> {
        self.error
    }

    /// Whether to read from the socket. False while the peer does not take what we owe it, and
    /// after the end.
    pub fn wants_read(&self) -> bool {
        self.error.is_none()
            && !self.is_stuck
            && self.outbox.len() <= self.limits.unsent_bytes
            && self.unsent_replies <= self.limits.unsent_replies
    }

    /// Bytes that wait to be sent: encoded, and queued behind flow control.
    pub fn unsent_bytes(&self) -> usize {
        self.outbox.len() + self.queued_bytes
    }

    /// Bytes of one stream that wait behind flow control, or for the socket to take others.
    pub fn queued_bytes(&self, stream: StreamId) -> usize {
        let stream = self.streams.get(stream.0);
        stream.map_or(0, |stream| stream.queue.iter().map(Bytes::len).sum())
    }

    /// Streams that have not ended.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    fn insert_stream(&mut self, id: u32, receiving: Side, sending: Side, length: Option<u64>) {
        self.streams.insert(Stream {
            id,
            receiving,
            sending,
            send_window: SendWindow::new(self.peer.initial_window_bytes),
            receive_window: ReceiveWindow::new(self.limits.stream_window_bytes),
            length_left: length,
            queue: VecDeque::new(),
            ending: super::stream::Ending::Open,
            is_ready: false,
            opened_ms: self.now_ms,
            moved_ms: self.now_ms,
        });
    }

    /// Forgets a stream. False when it was not there.
    fn close_stream(&mut self, id: u32, how: Closed) -> bool {
        let Some(stream) = self.streams.close(id, how) else {
            return false;
        };
        self.queued_bytes -= stream.queue.iter().map(Bytes::len).sum::<usize>();
        if stream.is_ready {
            self.ready.retain(|ready| *ready != id);
        }
        self.active_ms = self.now_ms;
        if how == Closed::Ended {
            self.guard.completed();
        }
        true
    }

    /// Drops what was not polled of a stream that we broke off.
    fn forget_events(&mut self, id: u32) {
        let mut dropped_bytes = 0;
        self.events.retain(|event| match event {
            Event::Data { stream, data, .. } if stream.0 == id => {
                dropped_bytes += data.len() as u32;
                false
            }
            Event::Headers { stream, .. } | Event::Trailers { stream, .. } => stream.0 != id,
            _ => true,
        });
        self.give_back(id, dropped_bytes);
    }

    /// A stream error (RFC 9113 §5.4.2).
    fn fail_stream(&mut self, id: u32, code: ErrorCode) -> Result<(), ConnectionError> {
        self.guard.provoked_reset(&self.limits)?;
        self.put_reset(id, code);
        let was_open = self.streams.get(id).is_some();
        self.close_stream(id, Closed::ByUs);
        if was_open {
            self.forget_events(id);
            self.events.push_back(Event::Reset {
                stream: StreamId(id),
                code,
            });
        }
        Ok(())
    }

    /// A connection error (RFC 9113 §5.4.1).
    fn fail(&mut self, error: ConnectionError) {
        if self.error.is_some() {
            return;
        }
        self.put_goaway(error.code, error.reason.as_bytes());
        self.error = Some(error);
        self.streams.clear();
        self.ready.clear();
        self.queued_bytes = 0;
        self.inbox = Vec::new();
        self.block = None;
    }

    /// Gives window back for bytes of a stream that were used up, or will never be.
    fn give_back(&mut self, id: u32, bytes: u32) {
        if let Some(increment) = self.receive_window.give_back(bytes) {
            self.put_window_update(0, increment);
        }
        let is_open = |stream: &&mut Stream| stream.receiving != Side::Ended;
        let stream = self.streams.get_mut(id).filter(is_open);
        if let Some(increment) = stream.and_then(|it| it.receive_window.give_back(bytes)) {
            self.put_window_update(id, increment);
        }
    }
}

#[cfg(test)]
mod tests;
