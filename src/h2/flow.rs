//! Flow-control windows (RFC 9113 §5.2, §6.9).

use super::frame::MAX_31_BITS;
use super::settings::INITIAL_WINDOW_BYTES;

/// What we may send. Negative after the peer lowered INITIAL_WINDOW_SIZE (§6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendWindow {
    bytes: i64,
}

/// A window above 2^31-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl SendWindow {
    pub(super) fn new(bytes: u32) -> SendWindow {
        SendWindow {
            bytes: i64::from(bytes),
        }
    }

    /// How much may be sent now.
    pub(super) fn available(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(0)
    }

    pub(super) fn take(&mut self, bytes: usize) {
        debug_assert!(
            bytes <= self.available(),
            "nothing is sent beyond the window"
        );
        self.bytes -= bytes as i64;
    }

    /// Grows by a WINDOW_UPDATE, or moves with INITIAL_WINDOW_SIZE.
    pub(super) fn adjust(&mut self, by: i64) -> Result<(), Overflow> {
        let bytes = self.bytes + by;
        if bytes > i64::from(MAX_31_BITS) {
            return Err(Overflow);
        }
        self.bytes = bytes;
        Ok(())
    }
}

/// What the peer may send, and what of that we owe it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    size: u32,
    available: u32,
    owed: u32,
}

impl ReceiveWindow {
    /// A window of this size once the peer knows of it; until then it may use the initial one.
    pub(super) fn new(size: u32) -> ReceiveWindow {
        ReceiveWindow {
            size,
            available: size.max(INITIAL_WINDOW_BYTES),
            owed: 0,
        }
    }

    /// Takes what arrived; `Err` when the peer had no right to send it.
    pub(super) fn take(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.available = self.available.checked_sub(bytes).ok_or(Overflow)?;
        Ok(())
    }

    /// Gives back what was used up. Returns the increment of a WINDOW_UPDATE once half of the
    /// window is owed, so that short messages cost no frame.
    pub(super) fn give_back(&mut self, bytes: u32) -> Option<u32> {
        self.owed += bytes;
        if self.owed == 0 || self.owed < self.size / 2 {
            return None;
        }
        let increment = std::mem::take(&mut self.owed);
        self.available += increment;
        Some(increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_be_negative_and_must_be_refilled_first() {
        let mut window = SendWindow::new(3);
        window.take(3);
        window.adjust(-1).unwrap();
        assert_eq!(window.available(), 0);
        window.adjust(2).unwrap();
        assert_eq!(window.available(), 1);
    }

    #[test]
    fn a_window_beyond_31_bits_is_refused() {
        let mut window = SendWindow::new(1);
        assert_eq!(window.adjust(i64::from(MAX_31_BITS) - 1), Ok(()));
        assert_eq!(window.adjust(1), Err(Overflow));
    }

    #[test]
    fn window_is_given_back_in_halves_and_never_lost() {
        let mut window = ReceiveWindow::new(100_000);
        window.take(60_000).unwrap();
        assert_eq!(window.give_back(49_000), None);
        assert_eq!(window.give_back(11_000), Some(60_000));
        assert_eq!(window.take(100_000), Ok(()));
        assert_eq!(window.take(1), Err(Overflow));
    }
}
