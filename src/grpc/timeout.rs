//! `grpc-timeout`: one to eight digits and a unit.

use std::time::Duration;

/// Most digits that a timeout may have.
const DIGITS_MAX: usize = 8;

/// Reads a `grpc-timeout`.
///
/// # Errors
/// `None` when it is not 1 to 8 digits and one of the units H, M, S, m, u, n.
pub(super) fn decode(value: &[u8]) -> Option<Duration> {
    let (&unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits
        .iter()
        .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3_600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Writes a `grpc-timeout`: in the finest unit that has room, rounded up, so that the server never
/// stops before the caller does; at most 99999999 hours.
pub(super) fn encode(timeout: Duration) -> String {
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    const COUNT_MAX: u128 = 99_999_999;
    let nanos = timeout.as_nanos();
    let (unit_nanos, unit) = UNITS
        .into_iter()
        .find(|(unit_nanos, _)| nanos.div_ceil(*unit_nanos) <= COUNT_MAX)
        .unwrap_or(UNITS[5]);
    format!("{}{unit}", nanos.div_ceil(unit_nanos).min(COUNT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_read() {
        for (text, nanos) in [
            ("2H", 7_200_000_000_000u64),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5010m", 5_010_000_000),
            ("6u", 6_000),
            ("99999999n", 99_999_999),
        ] {
            assert_eq!(
                decode(text.as_bytes()),
                Some(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn nine_digits_no_digits_signs_and_unknown_units_are_refused() {
        for text in [
            "",
            "m",
            "123456789m",
            "-1m",
            "+1m",
            "1",
            "1s",
            "1h",
            "1.5S",
            " 1S",
            "1S ",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_finest_unit_with_room_is_written() {
        assert_eq!(encode(Duration::ZERO), "0n");
        assert_eq!(encode(Duration::from_secs(5)), "5000000u");
        assert_eq!(encode(Duration::from_secs(100)), "100000m");
        assert_eq!(encode(Duration::MAX), "99999999H");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_never_shorter(nanos in any::<u64>()) {
            let timeout = Duration::from_nanos(nanos);
            let read = decode(encode(timeout).as_bytes()).unwrap();
            prop_assert!(read >= timeout);
            prop_assert!(read - timeout <= timeout / 99_999);
        }
    }
}
