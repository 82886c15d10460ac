//! Frames on their way out. The bytes of all lie one behind the other in one buffer, whose memory
//! comes back when the last of them is sent.

use bytes::{Bytes, BytesMut};

use crate::{
    codec,
    raft::{Index, LogPos, Message, Term},
};

/// What an append says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) term: Term,
    pub(super) prev: LogPos,
    pub(super) last: Index,
    pub(super) commit: Index,
}

/// The size of a buffer, unless a frame needs more.
const BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    /// The append made last: followers that keep up get the same.
    append: Option<(Appended, Bytes)>,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
            append: None,
        }
    }
}

impl Frames {
    pub(super) fn message(&mut self, message: &Message) -> Bytes {
        codec::encode_message(message, &mut self.buffer);
        self.buffer.split().freeze()
    }

    /// The entries go from the log's mapped bytes into the frame: each was encoded once, and is
    /// copied once for all followers that need the same.
    pub(super) fn append<'a>(
        &mut self,
        append: Appended,
        encoded_entry: impl Fn(Index) -> &'a [u8] + Clone,
    ) -> Bytes {
        if let Some((made, frame)) = &self.append
            && *made == append
        {
            return frame.clone();
        }
        let Appended {
            term,
            prev,
            last,
            commit,
        } = append;
        let entries = (prev.index.0 + 1..=last.0).map(|n| encoded_entry(Index(n)));
        codec::encode_append(term, prev, commit, entries, &mut self.buffer);
        let frame = self.buffer.split().freeze();
        self.append = Some((append, frame.clone()));
        frame
    }

    /// Lets go of the append made last.
    pub(super) fn forget_append(&mut self) {
        self.append = None;
    }
}
