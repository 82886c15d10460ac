//! Counts what a peer may do only so often (see [`Limits`]).

use super::{ConnectionError, ErrorCode, Limits};

/// Events since the start of a period.
#[derive(Debug, Default)]
struct Period {
    start_ms: u64,
    count: u32,
}

impl Period {
    fn roll(&mut self, now_ms: u64, period_ms: u64) -> bool {
        let over = now_ms.saturating_sub(self.start_ms) >= period_ms;
        if over {
            *self = Period {
                start_ms: now_ms,
                count: 0,
            };
        }
        over
    }
}

/// The counters of one connection.
#[derive(Debug, Default)]
pub(super) struct Guard {
    idle_frames: Period,
    resets: Period,
    opened: u32,
    provoked_resets: u32,
}

fn calm(reason: &'static str) -> ConnectionError {
    ConnectionError {
        code: ErrorCode::ENHANCE_YOUR_CALM,
        reason,
    }
}

impl Guard {
    /// A frame came that carries nothing of a call.
    pub(super) fn idle_frame(
        &mut self,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        self.idle_frames.roll(now_ms, limits.idle_frames_period_ms);
        self.idle_frames.count += 1;
        if self.idle_frames.count > limits.idle_frames_max {
            return Err(calm("too many frames that carry nothing"));
        }
        Ok(())
    }

    /// We sent HEADERS or DATA: pings and window updates may well be about them.
    pub(super) fn payload_sent(&mut self) {
        self.idle_frames.count = 0;
    }

    /// The peer opened a stream.
    pub(super) fn opened(&mut self, limits: &Limits, now_ms: u64) {
        self.roll_resets(limits, now_ms);
        self.opened = self.opened.saturating_add(1);
    }

    /// The peer reset a stream that was open.
    pub(super) fn reset_by_peer(
        &mut self,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        self.roll_resets(limits, now_ms);
        self.resets.count += 1;
        if self.resets.count > limits.resets_max.saturating_add(self.opened / 2) {
            return Err(calm("too many streams reset"));
        }
        Ok(())
    }

    fn roll_resets(&mut self, limits: &Limits, now_ms: u64) {
        if self.resets.roll(now_ms, limits.reset_period_ms) {
            self.opened = 0;
        }
    }

    /// The peer broke a rule that cost a stream.
    pub(super) fn provoked_reset(&mut self, limits: &Limits) -> Result<(), ConnectionError> {
        self.provoked_resets += 1;
        if self.provoked_resets > limits.provoked_resets_max {
            return Err(calm("too many stream errors"));
        }
        Ok(())
    }

    /// A stream ended as it should.
    pub(super) fn completed(&mut self) {
        self.provoked_resets = self.provoked_resets.saturating_sub(1);
    }
}
