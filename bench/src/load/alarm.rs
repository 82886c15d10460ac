//! Wakes a poll at a moment: its own timeout counts in whole milliseconds.

use mio::{Interest, Poll, Token, unix::SourceFd};
use rustix::{
    fd::{AsRawFd, OwnedFd},
    io::read,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use std::{
    io,
    time::{Duration, Instant},
};

/// The least that can be set: nothing at all would switch it off.
const SOON: Duration = Duration::from_nanos(1);

/// One alarm.
pub struct Alarm {
    timer: OwnedFd,
    set: Option<Instant>,
}

impl Alarm {
    /// One that tells `poll` under this token.
    pub fn new(poll: &Poll, token: Token) -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, set: None })
    }

    /// To go off at this moment, once.
    pub fn set(&mut self, at: Instant) -> io::Result<()> {
        if self.set == Some(at) {
            return Ok(());
        }
        let after = at.saturating_duration_since(Instant::now()).max(SOON);
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timer = Itimerspec {
            it_interval: zero,
            it_value: Timespec::try_from(after).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        self.set = Some(at);
        Ok(())
    }

    /// It went off.
    pub fn clear(&mut self) {
        self.set = None;
        // Nothing to read is no matter: it was set anew meanwhile.
        let _ = read(&self.timer, &mut [0; 8]);
    }
}
