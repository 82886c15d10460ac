//! HEADERS, CONTINUATION and DATA: what requests and responses are made of.

use super::super::frame::{self, Head};
use super::super::message::{self, Body, Response};
use super::super::stream::{Closed, Side};
use super::super::{ErrorCode, Event, Header, StreamId};
use super::{Connection, Fault, OpenBlock, Role, connection_fault};
use bytes::Bytes;

impl Connection {
    pub(super) fn take_headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let mut fragment = frame::without_padding(head, payload)?;
        if head.has(frame::FLAG_PRIORITY) {
            // Five bytes of dependency and weight, which we ignore (§5.3.2).
            let Some((_, rest)) = fragment.split_first_chunk::<5>() else {
                let reason = "HEADERS without room for the priority it announces";
                return Err(connection_fault(ErrorCode::FRAME_SIZE_ERROR, reason));
            };
            fragment = rest;
        }
        let end_stream = head.has(frame::FLAG_END_STREAM);
        if head.has(frame::FLAG_END_HEADERS) {
            return self.take_block(head.stream, end_stream, fragment);
        }
        self.frame_began_ms.get_or_insert(self.now_ms);
        self.block = Some(OpenBlock {
            stream: head.stream,
            end_stream,
            bytes: Vec::new(),
            continuations: 0,
        });
        self.extend_block(fragment)
    }

    pub(super) fn take_continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        match &mut self.block {
            Some(block) if block.stream == head.stream => block.continuations += 1,
            _ => {
                let reason = "CONTINUATION without a header block to continue";
                return Err(connection_fault(ErrorCode::PROTOCOL_ERROR, reason));
            }
        }
        self.extend_block(payload)?;
        match self.block.take_if(|_| head.has(frame::FLAG_END_HEADERS)) {
            Some(block) => self.take_block(block.stream, block.end_stream, &block.bytes),
            None => Ok(()),
        }
    }

    /// A block beyond the limits ends the connection undecoded: decoding on, only to keep the
    /// table in step, is the work that a flood of CONTINUATION wants (CVE-2023-45288).
    fn extend_block(&mut self, fragment: &[u8]) -> Result<(), Fault> {
        let Some(block) = &mut self.block else {
            return Ok(());
        };
        if block.bytes.len() + fragment.len() > self.limits.header_block_bytes
            || block.continuations > self.limits.continuations_max
        {
            let reason = "a header block that is too large or in too many frames";
            return Err(connection_fault(ErrorCode::ENHANCE_YOUR_CALM, reason));
        }
        block.bytes.extend_from_slice(fragment);
        Ok(())
    }

    /// A whole header block. It is decoded even for streams that are gone or refused, since the
    /// blocks after it refer to what it leaves in the table.
    fn take_block(&mut self, id: u32, end_stream: bool, block: &[u8]) -> Result<(), Fault> {
        let list_max_bytes = self.limits.header_list_bytes as usize;
        let decoded = self.decoder.decode(block, list_max_bytes);
        let decoded =
            decoded.map_err(|reason| connection_fault(ErrorCode::COMPRESSION_ERROR, reason))?;
        let list = (!decoded.too_large).then_some(decoded.headers);
        let Some(stream) = self.streams.get(id) else {
            return match self.role {
                Role::Server if id % 2 == 1 && id > self.last_peer_stream => {
                    self.take_request(id, list, end_stream)
                }
                _ => self.take_late_headers(id),
            };
        };
        // 16 KiB of fields are more than gRPC needs; the code tells its clients RESOURCE_EXHAUSTED.
        let list = list.ok_or(Fault::Stream(id, ErrorCode::ENHANCE_YOUR_CALM))?;
        match stream.receiving {
            Side::Headers => self.take_response(id, list, end_stream),
            Side::Body => self.take_trailers(id, list, end_stream),
            Side::Ended => Err(Fault::Stream(id, ErrorCode::STREAM_CLOSED)),
        }
    }

    fn take_request(
        &mut self,
        id: u32,
        list: Option<Vec<Header>>,
        end_stream: bool,
    ) -> Result<(), Fault> {
        self.last_peer_stream = id;
        self.guard.opened(&self.limits, self.now_ms);
        if self.shutting_down || self.streams.len() >= self.limits.streams_max as usize {
            // A client may not know our limit yet, so a refusal is no stream error of its making.
            self.guard.idle_frame(&self.limits, self.now_ms)?;
            self.close_stream(id, Closed::ByUs);
            self.put_reset(id, ErrorCode::REFUSED_STREAM);
            return Ok(());
        }
        let headers = list.ok_or(Fault::Stream(id, ErrorCode::ENHANCE_YOUR_CALM))?;
        let malformed = |_| Fault::Stream(id, ErrorCode::PROTOCOL_ERROR);
        let Body { length } = message::check_request(&headers).map_err(malformed)?;
        if end_stream && length.unwrap_or(0) > 0 {
            return Err(Fault::Stream(id, ErrorCode::PROTOCOL_ERROR));
        }
        let receiving = if end_stream { Side::Ended } else { Side::Body };
        self.insert_stream(id, receiving, Side::Headers, length);
        self.events.push_back(Event::Headers {
            stream: StreamId(id),
            headers,
            end_stream,
        });
        if id >= frame::MAX_31_BITS - 1 {
            // The client has no ids left; it needs another connection.
            self.shut_down();
        }
        Ok(())
    }

    fn take_response(
        &mut self,
        id: u32,
        headers: Vec<Header>,
        end_stream: bool,
    ) -> Result<(), Fault> {
        let malformed = Fault::Stream(id, ErrorCode::PROTOCOL_ERROR);
        let length = match message::check_response(&headers) {
            Ok(Response::Final(Body { length })) => length,
            Ok(Response::Informational) if !end_stream => {
                return Ok(self.guard.idle_frame(&self.limits, self.now_ms)?);
            }
            Ok(Response::Informational) | Err(_) => return Err(malformed),
        };
        if end_stream && length.unwrap_or(0) > 0 {
            return Err(malformed);
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.receiving = Side::Body;
            stream.length_left = length;
        }
        self.events.push_back(Event::Headers {
            stream: StreamId(id),
            headers,
            end_stream,
        });
        if end_stream {
            self.end_receiving(id);
        }
        Ok(())
    }

    fn take_trailers(
        &mut self,
        id: u32,
        headers: Vec<Header>,
        end_stream: bool,
    ) -> Result<(), Fault> {
        let is_short = self
            .streams
            .get(id)
            .is_some_and(|it| it.length_left.unwrap_or(0) > 0);
        if !end_stream || is_short || message::check_trailers(&headers).is_err() {
            return Err(Fault::Stream(id, ErrorCode::PROTOCOL_ERROR));
        }
        self.events.push_back(Event::Trailers {
            stream: StreamId(id),
            headers,
        });
        self.end_receiving(id);
        Ok(())
    }

    /// HEADERS for a stream that is not open, nor opened by them.
    fn take_late_headers(&mut self, id: u32) -> Result<(), Fault> {
        self.check_not_idle(id)?;
        match self.streams.how_closed(id) {
            Some(Closed::ByUs) => Ok(self.guard.idle_frame(&self.limits, self.now_ms)?),
            Some(Closed::ByPeer) => Err(Fault::Stream(id, ErrorCode::STREAM_CLOSED)),
            Some(Closed::Ended) => {
                let reason = "HEADERS for a stream that has ended";
                Err(connection_fault(ErrorCode::STREAM_CLOSED, reason))
            }
            None if self.role == Role::Client => {
                Ok(self.guard.idle_frame(&self.limits, self.now_ms)?)
            }
            // Ids that were skipped are closed, and never come again (§5.1.1).
            None => {
                let reason = "a stream id below one that was used";
                Err(connection_fault(ErrorCode::PROTOCOL_ERROR, reason))
            }
        }
    }

    pub(super) fn take_data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let flow_bytes = head.length as u32;
        let data = frame::without_padding(head, payload)?;
        self.check_not_idle(head.stream)?;
        if self.receive_window.take(flow_bytes).is_err() {
            let reason = "DATA beyond the connection's window";
            return Err(connection_fault(ErrorCode::FLOW_CONTROL_ERROR, reason));
        }
        let end_stream = head.has(frame::FLAG_END_STREAM);
        if data.is_empty() && !end_stream {
            self.guard.idle_frame(&self.limits, self.now_ms)?;
        }
        if let Err(fault) = self.account_data(head, data.len(), end_stream) {
            // Nobody will use these bytes, but they count in the connection's window.
            self.give_back(0, flow_bytes);
            return fault.map_or(Ok(()), Err);
        }
        if head.has(frame::FLAG_PADDED) {
            self.give_back(head.stream, flow_bytes - data.len() as u32);
        }
        if !data.is_empty() || end_stream {
            let (stream, data) = (StreamId(head.stream), Bytes::copy_from_slice(data));
            self.events.push_back(Event::Data {
                stream,
                data,
                end_stream,
            });
        }
        if end_stream {
            self.end_receiving(head.stream);
        }
        Ok(())
    }

    /// Holds DATA against the state of its stream. `Err`: it must be dropped, with a fault or
    /// without.
    fn account_data(
        &mut self,
        head: Head,
        data_bytes: usize,
        end_stream: bool,
    ) -> Result<(), Option<Fault>> {
        let stream_fault = |code| Err(Some(Fault::Stream(head.stream, code)));
        let Some(stream) = self.streams.get_mut(head.stream) else {
            return match self.streams.how_closed(head.stream) {
                Some(Closed::Ended | Closed::ByPeer) => stream_fault(ErrorCode::STREAM_CLOSED),
                Some(Closed::ByUs) | None => Err(None),
            };
        };
        match stream.receiving {
            Side::Body => {}
            Side::Headers => return stream_fault(ErrorCode::PROTOCOL_ERROR),
            Side::Ended => return stream_fault(ErrorCode::STREAM_CLOSED),
        }
        if stream.receive_window.take(head.length as u32).is_err() {
            return stream_fault(ErrorCode::FLOW_CONTROL_ERROR);
        }
        if let Some(left) = &mut stream.length_left {
            match left.checked_sub(data_bytes as u64) {
                Some(rest) if rest == 0 || !end_stream => *left = rest,
                _ => return stream_fault(ErrorCode::PROTOCOL_ERROR),
            }
        }
        Ok(())
    }

    /// The peer has ended its side.
    fn end_receiving(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        stream.receiving = Side::Ended;
        if stream.has_sent_all() {
            self.close_stream(id, Closed::Ended);
        } else if self.role == Role::Client {
            // The call is over; what is left of the request has no reader.
            self.close_stream(id, Closed::ByUs);
            self.put_reset(id, ErrorCode::NO_ERROR);
        }
    }
}
