//! Encoded bytes on their way to the socket.

/// From here on, bytes that were written are dropped before all are.
const COMPACT_BYTES: usize = 64 << 10;

/// A buffer that kept more than this when it ran empty is given back.
const KEEP_BYTES: usize = 32 << 10;

/// A queue of bytes, contiguous, so that one write takes all of them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Where frames are appended.
    pub(super) bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        assert!(
            bytes <= self.len(),
            "the socket takes no more than it was offered"
        );
        self.written += bytes;
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEEP_BYTES);
            self.written = 0;
        } else if self.written >= COMPACT_BYTES {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}
