//! Message framing: a flag byte, the length in four bytes, the message.

use super::{Code, Status};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest message that is taken, in bytes; what gRPC's libraries take by default.
pub const MESSAGE_MAX_BYTES: usize = 4 << 20;

/// Bytes before each message.
const PREFIX_BYTES: usize = 5;

/// Frames a message that is already encoded.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    put_prefix(&mut framed, message.len());
    framed.put_slice(message);
    framed.freeze()
}

/// Encodes and frames a message, in one allocation.
pub fn encode(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    put_prefix(&mut framed, length);
    message.encode_raw(&mut framed);
    framed.freeze()
}

fn put_prefix(framed: &mut BytesMut, length: usize) {
    let length = u32::try_from(length).expect("a message of ours is shorter than 4 GiB");
    framed.put_u8(0);
    framed.put_u32(length);
}

/// Cuts the DATA of one direction of a call into messages. A message that came within one piece is
/// a view of it; only one that spans pieces is copied.
#[derive(Debug)]
pub struct Deframer {
    message_max_bytes: usize,
    buffer: BytesMut,
    whole: Bytes,
}

impl Default for Deframer {
    fn default() -> Deframer {
        Deframer::new()
    }
}

impl Deframer {
    /// Nothing received yet; takes messages up to [`MESSAGE_MAX_BYTES`].
    pub fn new() -> Deframer {
        Deframer::with_max(MESSAGE_MAX_BYTES)
    }

    /// Nothing received yet; takes messages up to so many bytes.
    pub fn with_max(message_max_bytes: usize) -> Deframer {
        Deframer {
            message_max_bytes,
            buffer: BytesMut::new(),
            whole: Bytes::new(),
        }
    }

    /// Takes the next piece of the body. Call [`Deframer::next`] until it has no more before
    /// the next piece, so that at most one message and one piece are held.
    pub fn push(&mut self, data: Bytes) {
        if self.buffer.is_empty() && self.whole.is_empty() {
            self.whole = data;
            return;
        }
        self.buffer.extend_from_slice(&self.whole);
        self.whole = Bytes::new();
        self.buffer.extend_from_slice(&data);
    }

    /// The next complete message, without its prefix.
    ///
    /// # Errors
    /// From the prefix alone, before memory is taken: RESOURCE_EXHAUSTED for a message above
    /// the largest that is taken, INTERNAL for a compressed one (no compression is negotiated). The
    /// call is over then.
    #[expect(
        clippy::should_implement_trait,
        reason = "it yields a Result that ends the call"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let held = if self.buffer.is_empty() {
            &self.whole[..]
        } else {
            &self.buffer[..]
        };
        let Some(prefix) = held.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let held_bytes = held.len();
        let length = check_prefix(*prefix, self.message_max_bytes)?;
        // No memory for what is only announced: a prefix is five bytes, and promises are cheap.
        if held_bytes < PREFIX_BYTES + length {
            return Ok(None);
        }
        if self.buffer.is_empty() {
            self.whole.advance(PREFIX_BYTES);
            return Ok(Some(self.whole.split_to(length)));
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Bytes of an incomplete message, or of messages not yet taken.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() + self.whole.len()
    }

    /// Checks that the body did not end within a message.
    ///
    /// # Errors
    /// INTERNAL, if it did.
    pub fn finish(&self) -> Result<(), Status> {
        match self.held_bytes() {
            0 => Ok(()),
            held => Err(Status::new(
                Code::Internal,
                format!("the stream ended within a message, after {held} bytes of it"),
            )),
        }
    }
}

fn check_prefix(prefix: [u8; PREFIX_BYTES], max_bytes: usize) -> Result<usize, Status> {
    let [flag, length @ ..] = prefix;
    match flag {
        0 => {}
        1 => {
            return Err(Status::new(
                Code::Internal,
                "a compressed message, but no grpc-encoding was agreed on",
            ));
        }
        _ => {
            let text = format!("a message begins with flag {flag}; only 0 and 1 exist");
            return Err(Status::new(Code::Internal, text));
        }
    }
    match usize::try_from(u32::from_be_bytes(length)) {
        Ok(length) if length <= max_bytes => Ok(length),
        _ => Err(Status::new(
            Code::ResourceExhausted,
            format!(
                "a message of {} bytes; the limit is {max_bytes}",
                u32::from_be_bytes(length)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code_of(bytes: &[u8]) -> Option<Code> {
        let mut deframer = Deframer::new();
        deframer.push(Bytes::copy_from_slice(bytes));
        deframer.next().err().map(|status| status.code)
    }

    #[test]
    fn a_message_too_long_is_refused_from_its_prefix_alone() {
        assert_eq!(code_of(&[0, 0, 0x40, 0, 1]), Some(Code::ResourceExhausted));
        assert_eq!(
            code_of(&[0, 0xff, 0xff, 0xff, 0xff]),
            Some(Code::ResourceExhausted)
        );
        assert_eq!(code_of(&[0, 0, 0x40, 0, 0]), None);
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut deframer = Deframer::new();
        deframer.push(Bytes::from_static(&[0, 0, 0x40, 0, 0, 7]));
        assert_eq!(deframer.next(), Ok(None));
        deframer.push(Bytes::from_static(&[7]));
        assert_eq!(deframer.next(), Ok(None));
        let bytes = deframer.buffer.capacity();
        assert!(bytes < 1024, "{bytes} bytes for a message of which 2 came");
    }

    #[test]
    fn compressed_messages_and_unknown_flags_are_refused() {
        assert_eq!(code_of(&[1, 0, 0, 0, 0]), Some(Code::Internal));
        assert_eq!(code_of(&[2, 0, 0, 0, 0]), Some(Code::Internal));
    }

    #[test]
    fn an_end_within_a_message_is_an_error() {
        for bytes in [&[0][..], &[0, 0, 0, 0, 2], &[0, 0, 0, 0, 2, 7]] {
            let mut deframer = Deframer::new();
            deframer.push(Bytes::copy_from_slice(bytes));
            assert_eq!(deframer.next(), Ok(None));
            assert_eq!(
                deframer.finish().map_err(|status| status.code),
                Err(Code::Internal)
            );
        }
        assert_eq!(Deframer::new().finish(), Ok(()));
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let piece = frame(b"message");
        let mut deframer = Deframer::new();
        deframer.push(piece.clone());
        let message = deframer.next().unwrap().unwrap();
        assert_eq!(message.as_ptr(), piece[PREFIX_BYTES..].as_ptr());
        assert_eq!((deframer.held_bytes(), deframer.finish()), (0, Ok(())));
    }

    #[test]
    fn a_message_is_encoded_as_it_is_framed() {
        let message = vec![1u8, 2, 3];
        assert_eq!(
            encode(&message),
            frame(&prost::Message::encode_to_vec(&message))
        );
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut_into_pieces(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            lengths in prop::collection::vec(1..40usize, 1..10),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let mut rest = &bytes[..];
            let mut deframer = Deframer::new();
            let mut received = Vec::new();
            for length in lengths.iter().cycle() {
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                deframer.push(Bytes::copy_from_slice(piece));
                while let Some(message) = deframer.next().unwrap() {
                    received.push(message.to_vec());
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(received, messages);
            prop_assert!(deframer.finish().is_ok());
        }
    }
}
