//! The layout of frames (RFC 9113 §4.1, §6).

use super::{ConnectionError, ErrorCode};

/// Bytes before each payload.
pub(super) const HEAD_BYTES: usize = 9;

/// Largest payload that we take, and send: the protocol's initial SETTINGS_MAX_FRAME_SIZE, below
/// which no peer may go.
pub(super) const PAYLOAD_MAX_BYTES: usize = 16_384;

/// What a client sends before its first frame (§3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest stream id and the largest window: 31 bits.
pub(super) const MAX_31_BITS: u32 = (1 << 31) - 1;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

pub(super) const FLAG_END_STREAM: u8 = 0x1;
pub(super) const FLAG_ACK: u8 = 0x1;
pub(super) const FLAG_END_HEADERS: u8 = 0x4;
pub(super) const FLAG_PADDED: u8 = 0x8;
pub(super) const FLAG_PRIORITY: u8 = 0x20;

/// The fields before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Head {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = *bytes;
        Head {
            length: usize::from(l2) << 16 | usize::from(l1) << 8 | usize::from(l0),
            kind,
            flags,
            stream: u32::from_be_bytes([s3, s2, s1, s0]) & MAX_31_BITS,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the head of a frame.
pub(super) fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    debug_assert!(
        length <= PAYLOAD_MAX_BYTES,
        "no frame of ours is longer than any peer takes"
    );
    let [_, l2, l1, l0] = (length as u32).to_be_bytes();
    let [s3, s2, s1, s0] = stream.to_be_bytes();
    out.extend_from_slice(&[l2, l1, l0, kind, flags, s3, s2, s1, s0]);
}

/// Appends a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_head(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// Makes the header block that begins at `start` in `out`, after room for one head, into HEADERS
/// and as many CONTINUATION frames as it needs.
pub(super) fn frame_block(out: &mut Vec<u8>, start: usize, stream: u32, end_stream: bool) {
    let mut flags = if end_stream { FLAG_END_STREAM } else { 0 };
    let length = out.len() - start - HEAD_BYTES;
    let first = length.min(PAYLOAD_MAX_BYTES);
    let rest = out.split_off(start + HEAD_BYTES + first);
    if rest.is_empty() {
        flags |= FLAG_END_HEADERS;
    }
    let mut head = Vec::with_capacity(HEAD_BYTES);
    put_head(&mut head, first, HEADERS, flags, stream);
    out[start..start + HEAD_BYTES].copy_from_slice(&head);
    let mut pieces = rest.chunks(PAYLOAD_MAX_BYTES).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            FLAG_END_HEADERS
        } else {
            0
        };
        put_frame(out, CONTINUATION, flags, stream, piece);
    }
}

/// The payload of a DATA or HEADERS frame without its padding (§6.1).
pub(super) fn without_padding(head: Head, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !head.has(FLAG_PADDED) {
        return Ok(payload);
    }
    let Some((&padding, rest)) = payload.split_first() else {
        let reason = "a padded frame without room for the length of its padding";
        return Err(ConnectionError {
            code: ErrorCode::FRAME_SIZE_ERROR,
            reason,
        });
    };
    let content = rest
        .len()
        .checked_sub(usize::from(padding))
        .map(|length| &rest[..length]);
    content.ok_or(ConnectionError {
        code: ErrorCode::PROTOCOL_ERROR,
        reason: "padding that is longer than its frame",
    })
}

/// The 32-bit number at the start of a payload.
pub(super) fn first_u32(payload: &[u8]) -> Option<u32> {
    payload
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}
