//! Bytes to messages and back: frames on a connection, what peers say, and what log entries
//! carry. Decoders check shape before anything else sees the message, so that the FSM meets only
//! what a member could mean.

mod command;
mod entry;
mod fields;
mod frame;
mod peer;

use std::fmt;

pub use command::{decode_command, encode_command, read_command};
pub use entry::{EntryView, decode_entry, encode_entry, encoded_entry_len, read_entry};
pub use frame::{Buffer, FRAME_HEADER_BYTES, FRAME_MAX_BYTES, FrameDecoder, encode_frame};
pub use peer::{
    CHUNK_MAX_BYTES, Packet, decode_packet, encode_append, encode_chunk, encode_fetch,
    encode_message,
};

/// Why bytes are no message. It costs the sender its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The length in a frame's header is over the limit, or zero.
    FrameLength {
        /// What it says.
        bytes: u32,
        /// The limit.
        max_bytes: u32,
    },
    /// A frame's CRC does not match its body.
    FrameCrc,
    /// The body is not the protobuf that it should be.
    Protobuf(prost::DecodeError),
    /// A required part is absent, or a number is out of bounds.
    Shape(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::FrameLength { bytes, max_bytes } => {
                write!(f, "a frame of {bytes} bytes, the limit is {max_bytes}")
            }
            DecodeError::FrameCrc => write!(f, "a frame's CRC does not match"),
            DecodeError::Protobuf(error) => error.fmt(f),
            DecodeError::Shape(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> DecodeError {
        DecodeError::Protobuf(error)
    }
}
