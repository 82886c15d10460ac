//! HTTP/2 (RFC 9113) without sockets or clocks: bytes and the time go in, events and bytes come
//! out. One [`Connection`] type serves the gateway (server) and the client.
//!
//! The caller's loop, after each read, timer or decision of its own:
//!
//! 1. [`Connection::receive`] what was read, or [`Connection::tick`] when the deadline has passed;
//! 2. [`Connection::poll`] until it is empty, answering with `send_*`;
//! 3. write [`Connection::output`], report it with [`Connection::written`], until either the
//!    socket is full or nothing is left;
//! 4. drop the connection when [`Connection::is_closed`]; read again only while
//!    [`Connection::wants_read`]; wake at [`Connection::deadline_ms`].

mod connection;
mod error;
mod flow;
mod frame;
mod guard;
mod hpack;
mod limits;
mod message;
mod outbox;
mod settings;
mod stream;

use bytes::Bytes;

pub use connection::Connection;
pub use error::{ConnectionError, ErrorCode, OpenError, StreamGone};
pub use limits::Limits;

/// Number of a stream: odd, since clients open all of them, and growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number on the wire.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// One header field: a lower-case name and its value. Clones share the bytes; a static one costs
/// no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The lower-case name, with the colon of a pseudo-header.
    pub name: Bytes,
    /// The value: any bytes but NUL, CR and LF.
    pub value: Bytes,
}

impl Header {
    /// A field made of constants.
    pub const fn from_static(name: &'static str, value: &'static str) -> Header {
        Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    /// A field with a constant name.
    pub fn new(name: &'static str, value: impl Into<Bytes>) -> Header {
        Header {
            name: Bytes::from_static(name.as_bytes()),
            value: value.into(),
        }
    }
}

/// What the peer did. After [`Connection::reset`], no more events of that stream come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Server: a request. Client: a response (informational ones are left out). Checked against
    /// RFC 9113 §8.2 and §8.3: names lower-case, all pseudo-headers there once and first.
    Headers {
        /// On which stream.
        stream: StreamId,
        /// In the order of the wire.
        headers: Vec<Header>,
        /// Nothing follows.
        end_stream: bool,
    },
    /// Part of the body. Polling it gives its flow-control window back, so a caller that
    /// collects a message bounds that itself.
    Data {
        /// On which stream.
        stream: StreamId,
        /// Without padding; empty only together with `end_stream`.
        data: Bytes,
        /// Nothing follows.
        end_stream: bool,
    },
    /// The fields after the body; nothing follows.
    Trailers {
        /// On which stream.
        stream: StreamId,
        /// In the order of the wire.
        headers: Vec<Header>,
    },
    /// The stream broke off: the peer reset it, or broke a rule, or a time ran out.
    Reset {
        /// Which stream.
        stream: StreamId,
        /// The code of the RST_STREAM, received or sent.
        code: ErrorCode,
    },
    /// Client: the server has not processed this stream, nor will it (RFC 9113 §8.7). Sending
    /// the request again, there or elsewhere, is safe.
    Refused {
        /// Which stream.
        stream: StreamId,
    },
    /// The peer takes no new streams; those up to `last_stream` go on.
    GoAway {
        /// The last stream of ours that the peer has processed or may process.
        last_stream: u32,
        /// Why.
        code: ErrorCode,
        /// Text for people, if the peer sent any.
        debug: Bytes,
    },
}
