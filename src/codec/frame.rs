//! Frames between peers: length, CRC, body. TCP's checksum lets some damage through; here it
//! would become a log entry.

use std::ops::DerefMut;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::DecodeError;

/// Length and CRC-32 of the body, each 4 bytes, little-endian.
pub const FRAME_HEADER_BYTES: usize = 8;
/// A frame's body is 1 to this many bytes.
pub const FRAME_MAX_BYTES: u32 = 8 << 20;

/// What a frame is written into: its length and CRC are known at the end only.
pub trait Buffer: BufMut + DerefMut<Target = [u8]> {}

impl<B: BufMut + DerefMut<Target = [u8]>> Buffer for B {}

/// Appends a frame whose body `fill` writes.
///
/// # Panics
/// If the body is empty or over [`FRAME_MAX_BYTES`]: no message is.
pub fn encode_frame<B: Buffer>(out: &mut B, fill: impl FnOnce(&mut B)) {
    let start = out.len();
    out.put_bytes(0, FRAME_HEADER_BYTES);
    let body = out.len();
    fill(out);
    let bytes = out.len() - body;
    assert!(
        (1..=FRAME_MAX_BYTES as usize).contains(&bytes),
        "a frame of {bytes} bytes"
    );
    let crc = crc32fast::hash(&out[body..]);
    out[start..start + 4].copy_from_slice(&(bytes as u32).to_le_bytes());
    out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// Cuts a stream of bytes into frames. It holds no more than was received, whatever a header
/// promises.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    max_bytes: u32,
}

impl FrameDecoder {
    /// A decoder that refuses bodies of more than `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u32) -> FrameDecoder {
        FrameDecoder {
            buffer: BytesMut::new(),
            max_bytes,
        }
    }

    /// Raises the limit, once the peer has proven itself.
    pub fn set_max_bytes(&mut self, max_bytes: u32) {
        self.max_bytes = max_bytes;
    }

    /// Takes received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub fn is_within_a_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The body of the next whole frame, if there is one.
    ///
    /// # Errors
    /// When the length is out of bounds or the CRC is wrong. The stream cannot be followed then.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let bytes = u32::from_le_bytes(*length);
        if bytes == 0 || bytes > self.max_bytes {
            return Err(DecodeError::FrameLength {
                bytes,
                max_bytes: self.max_bytes,
            });
        }
        let Some((crc, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let crc = u32::from_le_bytes(*crc);
        if rest.len() < bytes as usize {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER_BYTES);
        let body = self.buffer.split_to(bytes as usize).freeze();
        if crc32fast::hash(&body) != crc {
            return Err(DecodeError::FrameCrc);
        }
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame(&mut out, |out| out.put_slice(body));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Option<Bytes>, DecodeError> {
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        decoder.receive(bytes);
        decoder.next_frame()
    }

    #[test]
    fn every_change_of_one_byte_is_refused_or_waits_for_more() {
        let good = framed(b"some body");
        for at in 0..good.len() {
            for flip in 1..=255u8 {
                let mut bad = good.clone();
                bad[at] ^= flip;
                assert!(
                    !matches!(decode(&bad), Ok(Some(_))),
                    "byte {at} ^ {flip:#x} was taken"
                );
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_from_its_four_bytes() {
        let mut decoder = FrameDecoder::new(1024);
        decoder.receive(&1025u32.to_le_bytes());
        let refused = Err(DecodeError::FrameLength {
            bytes: 1025,
            max_bytes: 1024,
        });
        assert_eq!(decoder.next_frame(), refused);
    }

    proptest! {
        #[test]
        fn frames_arrive_whole_however_the_stream_is_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            piece in 1usize..20,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
            let mut got = Vec::new();
            for part in stream.chunks(piece) {
                decoder.receive(part);
                while let Some(body) = decoder.next_frame().expect("sound frames") {
                    got.push(body.to_vec());
                }
            }
            prop_assert_eq!(got, bodies);
            prop_assert!(!decoder.is_within_a_frame());
        }

        #[test]
        fn no_bytes_make_the_decoder_fail(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
