//! From bytes to frames, and the frames that concern the connection or streams as such.

use super::super::frame::{self, HEAD_BYTES, Head, PAYLOAD_MAX_BYTES};
use super::super::stream::Closed;
use super::super::{ConnectionError, ErrorCode, Event, StreamId};
use super::{Connection, Fault, Role, connection_fault};
use bytes::Bytes;

impl Connection {
    pub(super) fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let mut rest = self.take_preface(bytes)?;
        while !rest.is_empty() {
            rest = if self.inbox.is_empty() {
                self.take_frame(rest)?
            } else {
                self.complete_frame(rest)?
            };
        }
        if !self.inbox.is_empty() {
            self.frame_began_ms.get_or_insert(self.now_ms);
        }
        Ok(())
    }

    fn take_preface<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ConnectionError> {
        let length = self.preface_left.len().min(bytes.len());
        let (expected, left) = self.preface_left.split_at(length);
        if &bytes[..length] != expected {
            let reason = "the connection does not begin with the preface of HTTP/2";
            return Err(ConnectionError {
                code: ErrorCode::PROTOCOL_ERROR,
                reason,
            });
        }
        self.preface_left = left;
        Ok(&bytes[length..])
    }

    /// Handles the frame that `bytes` begin with, or keeps the start of one.
    fn take_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ConnectionError> {
        if let Some((head, payload)) = bytes.split_first_chunk::<HEAD_BYTES>() {
            let head = check_length(Head::parse(head))?;
            if let Some((payload, rest)) = payload.split_at_checked(head.length) {
                self.take(head, payload)?;
                return Ok(rest);
            }
        }
        self.inbox.extend_from_slice(bytes);
        Ok(&[])
    }

    /// Adds to the frame in the inbox as much as it needs, and handles it when it is whole.
    fn complete_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ConnectionError> {
        let missing = match self.inbox.first_chunk() {
            None => HEAD_BYTES - self.inbox.len(),
            Some(head) => {
                let head = check_length(Head::parse(head))?;
                HEAD_BYTES + head.length - self.inbox.len()
            }
        };
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.inbox.extend_from_slice(more);
        let Some((head, payload)) = self.inbox.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(rest);
        };
        let head = check_length(Head::parse(head))?;
        if payload.len() < head.length {
            return Ok(rest);
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        self.take(head, &inbox[HEAD_BYTES..])?;
        inbox.clear();
        self.inbox = inbox;
        Ok(rest)
    }

    fn take(&mut self, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        let taken = match self.dispatch(head, payload) {
            Ok(()) => Ok(()),
            Err(Fault::Connection(error)) => Err(error),
            Err(Fault::Stream(id, code)) => self.fail_stream(id, code),
        };
        if self.block.is_none() {
            self.frame_began_ms = None;
        }
        taken
    }

    fn dispatch(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if !self.has_settings && (head.kind != frame::SETTINGS || head.has(frame::FLAG_ACK)) {
            let reason = "the first frame is not SETTINGS";
            return Err(connection_fault(ErrorCode::PROTOCOL_ERROR, reason));
        }
        if self.block.is_some() && head.kind != frame::CONTINUATION {
            let reason = "a header block is interrupted by another frame";
            return Err(connection_fault(ErrorCode::PROTOCOL_ERROR, reason));
        }
        check_stream(head)?;
        match head.kind {
            frame::DATA => self.take_data(head, payload),
            frame::HEADERS => self.take_headers(head, payload),
            frame::PRIORITY => self.take_priority(head),
            frame::RST_STREAM => self.take_reset(head, payload),
            frame::SETTINGS => self.take_settings(head, payload),
            frame::PUSH_PROMISE => {
                let reason = "PUSH_PROMISE, which we never allowed";
                Err(connection_fault(ErrorCode::PROTOCOL_ERROR, reason))
            }
            frame::PING => self.take_ping(head, payload),
            frame::GOAWAY => self.take_goaway(payload),
            frame::WINDOW_UPDATE => self.take_window_update(head, payload),
            frame::CONTINUATION => self.take_continuation(head, payload),
            _ => Ok(self.guard.idle_frame(&self.limits, self.now_ms)?),
        }
    }

    /// Priorities are ignored (RFC 9113 §5.3.2).
    fn take_priority(&mut self, head: Head) -> Result<(), Fault> {
        self.guard.idle_frame(&self.limits, self.now_ms)?;
        match head.length {
            5 => Ok(()),
            _ => Err(Fault::Stream(head.stream, ErrorCode::FRAME_SIZE_ERROR)),
        }
    }

    fn take_reset(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(code) = first_u32_of(4, payload) else {
            let reason = "RST_STREAM of a length other than 4";
            return Err(connection_fault(ErrorCode::FRAME_SIZE_ERROR, reason));
        };
        self.check_not_idle(head.stream)?;
        if !self.close_stream(head.stream, Closed::ByPeer) {
            return Ok(self.guard.idle_frame(&self.limits, self.now_ms)?);
        }
        let (stream, code) = (StreamId(head.stream), ErrorCode(code));
        self.events.push_back(match (self.role, code) {
            (Role::Client, ErrorCode::REFUSED_STREAM) => Event::Refused { stream },
            _ => Event::Reset { stream, code },
        });
        Ok(self.guard.reset_by_peer(&self.limits, self.now_ms)?)
    }

    fn take_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.guard.idle_frame(&self.limits, self.now_ms)?;
        if head.has(frame::FLAG_ACK) {
            if payload.is_empty() {
                return Ok(());
            }
            let reason = "an acknowledgment of SETTINGS that is not empty";
            return Err(connection_fault(ErrorCode::FRAME_SIZE_ERROR, reason));
        }
        self.has_settings = true;
        let before = self.peer;
        self.peer.apply(payload)?;
        if self.peer.header_table_bytes < before.header_table_bytes {
            self.encoder.table_was_lowered();
        }
        let by = i64::from(self.peer.initial_window_bytes) - i64::from(before.initial_window_bytes);
        self.move_send_windows(by)?;
        self.put_reply(frame::SETTINGS, frame::FLAG_ACK, &[]);
        Ok(())
    }

    fn take_ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.guard.idle_frame(&self.limits, self.now_ms)?;
        if head.length != 8 {
            let reason = "PING of a length other than 8";
            return Err(connection_fault(ErrorCode::FRAME_SIZE_ERROR, reason));
        }
        if !head.has(frame::FLAG_ACK) {
            self.put_reply(frame::PING, frame::FLAG_ACK, payload);
        }
        Ok(())
    }

    fn take_goaway(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.guard.idle_frame(&self.limits, self.now_ms)?;
        let Some((&[l3, l2, l1, l0, c3, c2, c1, c0], debug)) = payload.split_first_chunk() else {
            let reason = "GOAWAY of a length below 8";
            return Err(connection_fault(ErrorCode::FRAME_SIZE_ERROR, reason));
        };
        let last_stream = u32::from_be_bytes([l3, l2, l1, l0]) & frame::MAX_31_BITS;
        self.peer_goes_away = true;
        self.events.push_back(Event::GoAway {
            last_stream,
            code: ErrorCode(u32::from_be_bytes([c3, c2, c1, c0])),
            debug: Bytes::copy_from_slice(debug),
        });
        if self.role == Role::Client {
            let is_later = |id: &u32| *id > last_stream;
            let refused: Vec<u32> = self
                .streams
                .iter()
                .map(|it| it.id)
                .filter(is_later)
                .collect();
            for id in refused {
                self.close_stream(id, Closed::ByPeer);
                self.events.push_back(Event::Refused {
                    stream: StreamId(id),
                });
            }
        }
        Ok(())
    }

    fn take_window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.guard.idle_frame(&self.limits, self.now_ms)?;
        let Some(increment) = first_u32_of(4, payload) else {
            let reason = "WINDOW_UPDATE of a length other than 4";
            return Err(connection_fault(ErrorCode::FRAME_SIZE_ERROR, reason));
        };
        let increment = i64::from(increment & frame::MAX_31_BITS);
        if head.stream == 0 {
            let error = |code, reason| Err(connection_fault(code, reason));
            if increment == 0 {
                return error(ErrorCode::PROTOCOL_ERROR, "WINDOW_UPDATE by 0");
            }
            return self.send_window.adjust(increment).or_else(|_| {
                error(
                    ErrorCode::FLOW_CONTROL_ERROR,
                    "a connection window above 2^31-1",
                )
            });
        }
        self.check_not_idle(head.stream)?;
        let Some(stream) = self.streams.get_mut(head.stream) else {
            return Ok(());
        };
        if increment == 0 {
            return Err(Fault::Stream(head.stream, ErrorCode::PROTOCOL_ERROR));
        }
        if stream.send_window.adjust(increment).is_err() {
            return Err(Fault::Stream(head.stream, ErrorCode::FLOW_CONTROL_ERROR));
        }
        self.mark_ready(head.stream);
        Ok(())
    }

    /// Frames other than HEADERS and PRIORITY need a stream that has begun (§5.1, "idle").
    pub(super) fn check_not_idle(&self, id: u32) -> Result<(), ConnectionError> {
        let has_begun = match self.role {
            Role::Server => id % 2 == 1 && id <= self.last_peer_stream,
            Role::Client => id % 2 == 1 && id < self.next_stream,
        };
        if has_begun {
            return Ok(());
        }
        let reason = "a frame for a stream that has not begun";
        Err(ConnectionError {
            code: ErrorCode::PROTOCOL_ERROR,
            reason,
        })
    }
}

fn check_length(head: Head) -> Result<Head, ConnectionError> {
    if head.length > PAYLOAD_MAX_BYTES {
        let reason = "a frame above MAX_FRAME_SIZE";
        return Err(ConnectionError {
            code: ErrorCode::FRAME_SIZE_ERROR,
            reason,
        });
    }
    Ok(head)
}

/// Which frames belong to a stream, and which to the connection.
fn check_stream(head: Head) -> Result<(), Fault> {
    let reason = match (head.kind, head.stream) {
        (frame::SETTINGS | frame::PING | frame::GOAWAY, 1..) => {
            "a frame of the connection on a stream"
        }
        (
            frame::DATA
            | frame::HEADERS
            | frame::PRIORITY
            | frame::RST_STREAM
            | frame::PUSH_PROMISE
            | frame::CONTINUATION,
            0,
        ) => "a frame of a stream on the connection",
        _ => return Ok(()),
    };
    Err(connection_fault(ErrorCode::PROTOCOL_ERROR, reason))
}

fn first_u32_of(length: usize, payload: &[u8]) -> Option<u32> {
    frame::first_u32(payload).filter(|_| payload.len() == length)
}
