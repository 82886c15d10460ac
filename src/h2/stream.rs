//! Streams and their states (RFC 9113 §5.1).

use super::Header;
use super::flow::{ReceiveWindow, SendWindow};
use bytes::Bytes;
use std::collections::VecDeque;

/// How far one direction of a stream has come. Both together are the states of §5.1: `Ended` on
/// one side is half-closed, on both sides closed, and closed streams are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Its headers are still to come.
    Headers,
    /// Its body, and perhaps trailers.
    Body,
    /// END_STREAM was received; or, on the sending side, is at least decided.
    Ended,
}

/// What follows the queued body of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// More may come.
    Open,
    /// END_STREAM on the last DATA.
    Data,
    /// Trailers. Not encoded yet, since the block must be the next one that is sent.
    Trailers(Vec<Header>),
}

/// A stream that is open or half-closed.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) receiving: Side,
    pub(super) sending: Side,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    /// What is missing of the announced `content-length`.
    pub(super) length_left: Option<u64>,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) ending: Ending,
    /// It has an entry in the connection's list of streams to send from.
    pub(super) is_ready: bool,
    pub(super) opened_ms: u64,
    /// When the queue last began to wait or got shorter.
    pub(super) moved_ms: u64,
}

/// How a stream that is not kept any more came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// By END_STREAM in both directions.
    Ended,
    /// The peer reset it.
    ByPeer,
    /// We reset it: what the peer sent before it knew must be ignored.
    ByUs,
}

/// Streams whose end is remembered.
const CLOSED_MAX: usize = 256;

/// The streams of a connection, in the order of their ids, and the ends of the last ones.
#[derive(Debug, Default)]
pub(super) struct Streams {
    // Ids only grow, so new ones go to the end; at most Limits::streams_max are held, which a
    // vector searches and shifts faster than a tree allocates.
    open: Vec<Stream>,
    closed: VecDeque<(u32, Closed)>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        self.find(id).ok().map(|at| &self.open[at])
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.find(id).ok().map(|at| &mut self.open[at])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.open.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    pub(super) fn insert(&mut self, stream: Stream) {
        debug_assert!(self.open.last().is_none_or(|last| last.id < stream.id));
        self.open.push(stream);
    }

    /// Forgets a stream but for how it ended.
    pub(super) fn close(&mut self, id: u32, how: Closed) -> Option<Stream> {
        if self.closed.len() == CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((id, how));
        self.find(id).ok().map(|at| self.open.remove(at))
    }

    /// Forgets all of them: the connection has ended.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// How a stream ended, if that was lately.
    pub(super) fn how_closed(&self, id: u32) -> Option<Closed> {
        self.closed
            .iter()
            .rev()
            .find(|(closed, _)| *closed == id)
            .map(|(_, how)| *how)
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_the_last_streams_are_remembered() {
        let mut streams = Streams::default();
        for number in 0..1_000 {
            streams.close(2 * number + 1, Closed::ByUs);
        }
        assert_eq!(streams.closed.len(), CLOSED_MAX);
        assert_eq!(streams.how_closed(1_999), Some(Closed::ByUs));
        assert_eq!(streams.how_closed(1), None);
    }
}
