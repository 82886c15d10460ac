//! What may take only so long.

use super::super::stream::{Closed, Side, Stream};
use super::super::{ConnectionError, ErrorCode, Event, Limits, StreamId};
use super::{Connection, Role};

impl Connection {
    /// When [`Connection::tick`] must be called next, on the clock of `now_ms`.
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.is_stuck {
            return None;
        }
        if self.error.is_some() {
            return self.output_deadline_ms();
        }
        let streams = self
            .streams
            .iter()
            .filter_map(|it| self.stream_deadline_ms(it))
            .min();
        let deadlines = [
            self.setup_deadline_ms(),
            self.output_deadline_ms(),
            self.idle_deadline_ms(),
            streams,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Ends what has run out of time: a stream by RST_STREAM, the connection by GOAWAY.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        let is_due = |deadline_ms: Option<u64>| deadline_ms.is_some_and(|it| it <= now_ms);
        if is_due(self.output_deadline_ms()) {
            // Not even a GOAWAY would get through.
            self.is_stuck = true;
            return;
        }
        if self.error.is_some() || self.is_stuck {
            return;
        }
        if is_due(self.setup_deadline_ms()) {
            let reason = "the preface, a frame or a header block took too long";
            self.fail(ConnectionError {
                code: ErrorCode::ENHANCE_YOUR_CALM,
                reason,
            });
            return;
        }
        let is_late = |it: &&Stream| is_due(self.stream_deadline_ms(it));
        let late: Vec<u32> = self
            .streams
            .iter()
            .filter(is_late)
            .map(|it| it.id)
            .collect();
        for id in late {
            self.close_stream(id, Closed::ByUs);
            self.put_reset(id, ErrorCode::CANCEL);
            self.forget_events(id);
            self.events.push_back(Event::Reset {
                stream: StreamId(id),
                code: ErrorCode::CANCEL,
            });
        }
        if is_due(self.idle_deadline_ms()) {
            self.shut_down();
        }
    }

    /// The preface with the first SETTINGS, and the frame or header block that is under way.
    fn setup_deadline_ms(&self) -> Option<u64> {
        let frame_ms = self
            .frame_began_ms
            .map(|began_ms| began_ms + self.limits.frame_ms);
        let preface_ms = (!self.has_settings).then_some(self.began_ms + self.limits.preface_ms);
        frame_ms.into_iter().chain(preface_ms).min()
    }

    fn output_deadline_ms(&self) -> Option<u64> {
        self.output_moved_ms
            .map(|moved_ms| moved_ms + self.limits.stall_ms)
    }

    fn idle_deadline_ms(&self) -> Option<u64> {
        let is_idle = self.role == Role::Server && self.streams.is_empty() && !self.shutting_down;
        is_idle.then_some(self.active_ms + self.limits.idle_ms)
    }

    fn stream_deadline_ms(&self, stream: &Stream) -> Option<u64> {
        let Limits {
            request_ms,
            stall_ms,
            ..
        } = self.limits;
        let is_unanswered = self.role == Role::Server
            && stream.sending == Side::Headers
            && stream.receiving != Side::Ended;
        let request_ms = is_unanswered.then_some(stream.opened_ms + request_ms);
        let stall_ms = (!stream.queue.is_empty()).then_some(stream.moved_ms + stall_ms);
        request_ms.into_iter().chain(stall_ms).min()
    }
}
