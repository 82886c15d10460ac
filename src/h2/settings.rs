//! SETTINGS (RFC 9113 §6.5).

use super::frame::{self, MAX_31_BITS};
use super::{ConnectionError, ErrorCode, Limits};

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// Window of streams and of the connection before any setting (§6.9.2).
pub(super) const INITIAL_WINDOW_BYTES: u32 = 65_535;

/// Streams that a client opens before it knows the server's limit: what the RFC recommends as
/// the least that a server allows (§6.5.2).
const UNKNOWN_STREAMS_MAX: u32 = 100;

/// The largest SETTINGS_MAX_FRAME_SIZE.
const FRAME_SIZE_MAX: u32 = (1 << 24) - 1;

/// What of the peer's settings matters to us. Its frame size does not: we send none larger than
/// the least it may set. Nor its header list size, which is advisory, and our lists are small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerSettings {
    pub(super) header_table_bytes: u32,
    pub(super) initial_window_bytes: u32,
    pub(super) streams_max: u32,
}

impl PeerSettings {
    pub(super) fn new() -> PeerSettings {
        PeerSettings {
            header_table_bytes: 4096,
            initial_window_bytes: INITIAL_WINDOW_BYTES,
            streams_max: UNKNOWN_STREAMS_MAX,
        }
    }

    /// Applies the payload of a frame, in its order. A value out of its range is an error of the
    /// connection; unknown settings are ignored.
    pub(super) fn apply(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let (settings, []) = payload.as_chunks::<6>() else {
            let reason = "SETTINGS of a length that is no multiple of 6";
            return Err(ConnectionError {
                code: ErrorCode::FRAME_SIZE_ERROR,
                reason,
            });
        };
        let out_of_range = |code, reason| Err(ConnectionError { code, reason });
        for [id1, id0, v3, v2, v1, v0] in settings {
            let value = u32::from_be_bytes([*v3, *v2, *v1, *v0]);
            match u16::from_be_bytes([*id1, *id0]) {
                HEADER_TABLE_SIZE => self.header_table_bytes = value,
                MAX_CONCURRENT_STREAMS => self.streams_max = value,
                ENABLE_PUSH if value > 1 => {
                    return out_of_range(ErrorCode::PROTOCOL_ERROR, "ENABLE_PUSH above 1");
                }
                INITIAL_WINDOW_SIZE if value > MAX_31_BITS => {
                    let reason = "INITIAL_WINDOW_SIZE above 2^31-1";
                    return out_of_range(ErrorCode::FLOW_CONTROL_ERROR, reason);
                }
                INITIAL_WINDOW_SIZE => self.initial_window_bytes = value,
                MAX_FRAME_SIZE
                    if (value as usize) < frame::PAYLOAD_MAX_BYTES || value > FRAME_SIZE_MAX =>
                {
                    let reason = "MAX_FRAME_SIZE outside of 2^14 to 2^24-1";
                    return out_of_range(ErrorCode::PROTOCOL_ERROR, reason);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Appends our SETTINGS, and what raises the connection's window to our limit.
pub(super) fn put_ours(out: &mut Vec<u8>, limits: &Limits, is_server: bool) {
    let mut payload = Vec::with_capacity(18);
    let mut put = |id: u16, value: u32| {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    };
    if is_server {
        put(MAX_CONCURRENT_STREAMS, limits.streams_max);
    } else {
        put(ENABLE_PUSH, 0);
    }
    put(INITIAL_WINDOW_SIZE, limits.stream_window_bytes);
    put(MAX_HEADER_LIST_SIZE, limits.header_list_bytes);
    frame::put_frame(out, frame::SETTINGS, 0, 0, &payload);
    let raise = limits
        .connection_window_bytes
        .saturating_sub(INITIAL_WINDOW_BYTES);
    if raise > 0 {
        frame::put_frame(out, frame::WINDOW_UPDATE, 0, 0, &raise.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(payload: &[u8]) -> Result<PeerSettings, ErrorCode> {
        let mut settings = PeerSettings::new();
        settings.apply(payload).map_err(|error| error.code)?;
        Ok(settings)
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let settings = apply(&[0, 4, 0, 0, 0, 100, 0, 4, 0, 0, 0, 1]).unwrap();
        assert_eq!(settings.initial_window_bytes, 1);
    }

    #[test]
    fn unknown_settings_are_ignored() {
        assert_eq!(apply(&[0xfe, 3, 0, 0, 0, 1]), Ok(PeerSettings::new()));
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_codes_of_the_rfc() {
        assert_eq!(apply(&[0, 2, 0, 0, 0, 2]), Err(ErrorCode::PROTOCOL_ERROR));
        assert_eq!(
            apply(&[0, 4, 0x80, 0, 0, 0]),
            Err(ErrorCode::FLOW_CONTROL_ERROR)
        );
        assert_eq!(
            apply(&[0, 5, 0, 0, 0x3f, 0xff]),
            Err(ErrorCode::PROTOCOL_ERROR)
        );
        assert_eq!(apply(&[0, 5, 1, 0, 0, 0]), Err(ErrorCode::PROTOCOL_ERROR));
        assert_eq!(apply(&[0, 5, 0]), Err(ErrorCode::FRAME_SIZE_ERROR));
        assert!(apply(&[0, 5, 0, 0xff, 0xff, 0xff]).is_ok());
    }
}
