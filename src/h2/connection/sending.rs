//! What goes out: headers, data within both windows, and control frames.

use super::super::frame::{self, PAYLOAD_MAX_BYTES};
use super::super::stream::{Closed, Ending, Side, Stream};
use super::super::{ConnectionError, ErrorCode, Header, StreamGone, StreamId};
use super::{Connection, Role};
use bytes::{Buf, Bytes};

/// DATA is encoded only up to here ahead of the socket, so that an answer to PING never waits
/// behind more.
const ENCODE_AHEAD_BYTES: usize = 64 << 10;

impl Connection {
    /// Server: answers a stream with these response headers, `:status` first.
    ///
    /// # Errors
    /// [`StreamGone`]: the call is over, drop it.
    pub fn send_headers(
        &mut self,
        stream: StreamId,
        headers: &[Header],
        end_stream: bool,
    ) -> Result<(), StreamGone> {
        let sending = self.sending_in(stream, Side::Headers)?;
        sending.sending = if end_stream { Side::Ended } else { Side::Body };
        self.put_headers(stream.0, headers, end_stream);
        if end_stream {
            self.end_sending(stream.0);
        }
        Ok(())
    }

    /// Sends a part of the body, now or when the peer's windows allow.
    ///
    /// # Errors
    /// [`StreamGone`]: the call is over, drop it.
    pub fn send_data(
        &mut self,
        stream: StreamId,
        data: Bytes,
        end_stream: bool,
    ) -> Result<(), StreamGone> {
        let now_ms = self.now_ms;
        let ahead_bytes = ENCODE_AHEAD_BYTES.saturating_sub(self.outbox.len());
        let at_once_bytes = ahead_bytes
            .min(PAYLOAD_MAX_BYTES)
            .min(self.send_window.available());
        let sending = self.sending_in(stream, Side::Body)?;
        if end_stream {
            sending.sending = Side::Ended;
        }
        let is_first = sending.queue.is_empty();
        if is_first && data.len() <= at_once_bytes.min(sending.send_window.available()) {
            if !data.is_empty() || end_stream {
                sending.send_window.take(data.len());
                self.put_data(stream.0, &data, end_stream);
            }
            return Ok(());
        }
        if is_first {
            sending.moved_ms = now_ms;
        }
        if end_stream {
            sending.ending = Ending::Data;
        }
        let queued_bytes = data.len();
        if !data.is_empty() {
            sending.queue.push_back(data);
        }
        self.queued_bytes += queued_bytes;
        self.mark_ready(stream.0);
        Ok(())
    }

    /// Sends the last fields, after all data, and ends our side of the stream. A server whose
    /// peer has not ended its own side then tells it to stop (RST_STREAM with NO_ERROR,
    /// RFC 9113 §8.1).
    ///
    /// # Errors
    /// [`StreamGone`]: the call is over, drop it.
    pub fn send_trailers(
        &mut self,
        stream: StreamId,
        headers: &[Header],
    ) -> Result<(), StreamGone> {
        let sending = self.sending_in(stream, Side::Body)?;
        sending.sending = Side::Ended;
        if sending.queue.is_empty() {
            self.put_headers(stream.0, headers, true);
            self.end_sending(stream.0);
        } else {
            sending.ending = Ending::Trailers(headers.to_vec());
        }
        Ok(())
    }

    fn sending_in(&mut self, stream: StreamId, side: Side) -> Result<&mut Stream, StreamGone> {
        self.streams
            .get_mut(stream.0)
            .filter(|it| it.sending == side)
            .ok_or(StreamGone)
    }

    /// Moves queued data to the outbox, a frame of each stream in turn.
    pub(super) fn send_queued(&mut self) {
        while self.outbox.len() < ENCODE_AHEAD_BYTES
            && let Some(id) = self.ready.front().copied()
            && let Some(stream) = self.streams.get_mut(id)
        {
            let connection_bytes = self.send_window.available();
            let bytes = stream.next_frame_bytes().min(connection_bytes);
            if !stream.queue.is_empty() && connection_bytes == 0 {
                return;
            }
            self.ready.pop_front();
            stream.is_ready = false;
            if stream.can_send() {
                self.send_frame(id, bytes);
                self.mark_ready(id);
            }
        }
    }

    /// Sends so many of the queued bytes of a stream, which are not more than its first piece,
    /// and its end after the last.
    fn send_frame(&mut self, id: u32, bytes: usize) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        self.queued_bytes -= bytes;
        let data = stream.take_queued(bytes, self.now_ms);
        let is_last = stream.queue.is_empty() && stream.ending != Ending::Open;
        let ending = if is_last {
            std::mem::replace(&mut stream.ending, Ending::Open)
        } else {
            Ending::Open
        };
        self.put_data(id, &data, ending == Ending::Data);
        if let Ending::Trailers(headers) = &ending {
            self.put_headers(id, headers, true);
            self.end_sending(id);
        }
    }

    /// Encodes data that both windows allow; the stream's has been charged.
    fn put_data(&mut self, id: u32, data: &[u8], end_stream: bool) {
        self.send_window.take(data.len());
        let flags = if end_stream {
            frame::FLAG_END_STREAM
        } else {
            0
        };
        frame::put_frame(&mut self.outbox.bytes, frame::DATA, flags, id, data);
        self.guard.payload_sent();
        if end_stream {
            self.end_sending(id);
        }
    }

    /// Lines a stream up for sending, if it has something that its own window allows.
    pub(super) fn mark_ready(&mut self, id: u32) {
        let can_send = |stream: &&mut Stream| !stream.is_ready && stream.can_send();
        if let Some(stream) = self.streams.get_mut(id).filter(can_send) {
            stream.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// INITIAL_WINDOW_SIZE moves the windows of all open streams (§6.9.2).
    pub(super) fn move_send_windows(&mut self, by: i64) -> Result<(), ConnectionError> {
        if by == 0 {
            return Ok(());
        }
        for stream in self.streams.iter_mut() {
            if stream.send_window.adjust(by).is_err() {
                let reason = "INITIAL_WINDOW_SIZE moves a stream's window above 2^31-1";
                return Err(ConnectionError {
                    code: ErrorCode::FLOW_CONTROL_ERROR,
                    reason,
                });
            }
            if !stream.is_ready && stream.can_send() {
                stream.is_ready = true;
                self.ready.push_back(stream.id);
            }
        }
        Ok(())
    }

    /// END_STREAM of ours is in the outbox.
    fn end_sending(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if stream.receiving == Side::Ended {
            self.close_stream(id, Closed::Ended);
        } else if self.role == Role::Server {
            self.guard.completed();
            self.close_stream(id, Closed::ByUs);
            self.put_reset(id, ErrorCode::NO_ERROR);
            self.forget_events(id);
        }
    }

    pub(super) fn put_headers(&mut self, id: u32, headers: &[Header], end_stream: bool) {
        let out = &mut self.outbox.bytes;
        let start = out.len();
        out.extend_from_slice(&[0; frame::HEAD_BYTES]);
        self.encoder.encode(headers, out);
        frame::frame_block(out, start, id, end_stream);
        self.guard.payload_sent();
    }

    pub(super) fn put_reply(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        self.unsent_replies += 1;
        frame::put_frame(&mut self.outbox.bytes, kind, flags, 0, payload);
    }

    pub(super) fn put_reset(&mut self, id: u32, code: ErrorCode) {
        self.unsent_replies += 1;
        let payload = code.0.to_be_bytes();
        frame::put_frame(&mut self.outbox.bytes, frame::RST_STREAM, 0, id, &payload);
    }

    pub(super) fn put_window_update(&mut self, id: u32, increment: u32) {
        if self.error.is_none() {
            let payload = increment.to_be_bytes();
            frame::put_frame(
                &mut self.outbox.bytes,
                frame::WINDOW_UPDATE,
                0,
                id,
                &payload,
            );
        }
    }

    pub(super) fn put_goaway(&mut self, code: ErrorCode, debug: &[u8]) {
        // A later GOAWAY must not name a higher stream than the first (RFC 9113 §6.8).
        let last_stream = *self.goaway_stream.get_or_insert(self.last_peer_stream);
        let mut payload = Vec::with_capacity(8 + debug.len());
        payload.extend_from_slice(&last_stream.to_be_bytes());
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(debug);
        frame::put_frame(&mut self.outbox.bytes, frame::GOAWAY, 0, 0, &payload);
    }
}

impl Stream {
    /// Payload of the next DATA frame, as far as the stream's own window goes.
    fn next_frame_bytes(&self) -> usize {
        let first = self.queue.front().map_or(0, Bytes::len);
        first
            .min(PAYLOAD_MAX_BYTES)
            .min(self.send_window.available())
    }

    /// Whether it has a frame to send: data within its window, or END_STREAM alone.
    fn can_send(&self) -> bool {
        match self.queue.is_empty() {
            true => self.ending != Ending::Open,
            false => self.send_window.available() > 0,
        }
    }

    /// Whether END_STREAM has left.
    pub(super) fn has_sent_all(&self) -> bool {
        self.sending == Side::Ended && self.queue.is_empty() && self.ending == Ending::Open
    }

    fn take_queued(&mut self, bytes: usize, now_ms: u64) -> Bytes {
        self.send_window.take(bytes);
        self.moved_ms = now_ms;
        let Some(first) = self.queue.front_mut() else {
            return Bytes::new();
        };
        let data = first.split_to(bytes);
        if !first.has_remaining() {
            self.queue.pop_front();
        }
        data
    }
}
