//! One HTTP/2 connection, as its user sees it.

use super::{ConnectionError, ErrorCode, Event, Header, Limits, OpenError, StreamGone, StreamId};
use bytes::Bytes;

/// One HTTP/2 connection, of either role. See the [module](super) for the loop around it.
///
/// Times are milliseconds of any clock that does not go back, the same one in all calls.
pub struct Connection {
    now_ms: u64,
    limits: Limits,
    out: Vec<u8>,
}

impl Connection {
    /// The server's side of a connection just accepted. Its SETTINGS are in `output` at once.
    pub fn server(limits: Limits, now_ms: u64) -> Connection {
        Connection {
            now_ms,
            limits,
            out: Vec::new(),
        }
    }

    /// The client's side of a connection just made. Preface and SETTINGS are in `output` at once,
    /// and streams may be opened before the server has answered.
    pub fn client(limits: Limits, now_ms: u64) -> Connection {
        Connection {
            now_ms,
            limits,
            out: Vec::new(),
        }
    }

    /// Takes bytes from the socket, in pieces of any size. A broken rule of the connection queues
    /// a GOAWAY and ends it; what comes after is ignored.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64) {
        let _ = bytes;
        self.now_ms = now_ms;
    }

    /// The next event, if any.
    pub fn poll(&mut self) -> Option<Event> {
        None
    }

    /// The bytes that the socket should take next: control frames, and DATA as far as both
    /// flow-control windows allow, a bounded piece at a time. Empty: nothing to write now.
    pub fn output(&mut self) -> &[u8] {
        &self.out
    }

    /// The socket took the first `bytes` of [`Connection::output`].
    pub fn written(&mut self, bytes: usize) {
        self.out.drain(..bytes);
    }

    /// When [`Connection::tick`] must be called next, on the clock of `now_ms`.
    pub fn deadline_ms(&self) -> Option<u64> {
        Some(self.now_ms + self.limits.idle_ms)
    }

    /// Ends what has run out of time: a stream by RST_STREAM, the connection by GOAWAY.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Client: opens a stream with these request headers, pseudo-headers first.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was sent.
    pub fn open(&mut self, headers: &[Header], end_stream: bool) -> Result<StreamId, OpenError> {
        let _ = (headers, end_stream);
        Err(OpenError::GoingAway)
    }

    /// Server: answers a stream with these response headers, `:status` first.
    ///
    /// # Errors
    /// [`StreamGone`]: the call is over, drop it.
    pub fn send_headers(
        &mut self,
        stream: StreamId,
        headers: &[Header],
        end_stream: bool,
    ) -> Result<(), StreamGone> {
        let _ = (stream, headers, end_stream);
        Err(StreamGone)
    }

    /// Sends a part of the body, now or when the peer's windows allow.
    ///
    /// # Errors
    /// [`StreamGone`]: the call is over, drop it.
    pub fn send_data(
        &mut self,
        stream: StreamId,
        data: Bytes,
        end_stream: bool,
    ) -> Result<(), StreamGone> {
        let _ = (stream, data, end_stream);
        Err(StreamGone)
    }

    /// Sends the last fields, after all data, and ends our side of the stream. A server whose
    /// peer has not ended its own side then tells it to stop (RST_STREAM with NO_ERROR,
    /// RFC 9113 §8.1).
    ///
    /// # Errors
    /// [`StreamGone`]: the call is over, drop it.
    pub fn send_trailers(
        &mut self,
        stream: StreamId,
        headers: &[Header],
    ) -> Result<(), StreamGone> {
        let _ = (stream, headers);
        Err(StreamGone)
    }

    /// Breaks a stream off in both directions; unsent data of it is dropped. Nothing happens if
    /// it has ended.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        let _ = (stream, code);
    }

    /// Takes no new streams, lets the open ones finish, then closes (GOAWAY with NO_ERROR).
    pub fn shut_down(&mut self) {}

    /// All is said and written: the socket can be closed.
    pub fn is_closed(&self) -> bool {
        false
    }

    /// The error by which we ended the connection, for the log.
    pub fn error(&self) -> Option<ConnectionError> {
        None
    }

    /// Whether to read from the socket. False while the peer does not take what we owe it, and
    /// after the end.
    pub fn wants_read(&self) -> bool {
        true
    }

    /// Bytes that wait to be sent: encoded, and queued behind flow control.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len()
    }

    /// Bytes of a stream's body that wait for flow control: what a sender of much watches.
    pub fn queued_bytes(&self, stream: StreamId) -> usize {
        let _ = stream;
        0
    }

    /// Streams that have not ended.
    pub fn open_streams(&self) -> usize {
        0
    }
}
