//! Durations and sizes as operators write them: `5m`, `1h30m`, `250ms`; `10 MiB`, `512 KiB`.
//!
//! Pure text rules. A bare number is no duration: seconds and minutes are mixed up too easily.

use std::time::Duration;

/// What to write where a duration was not understood.
pub(super) const DURATION_HELP: &str = "write a number and a unit (ms, s, m, h, d), such as \"30s\" or \"1h30m\"";
/// What to write where a size was not understood.
pub(super) const SIZE_HELP: &str = "write a number and a unit (B, KiB, MiB, GiB, TiB), such as \"50 MiB\"";

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 5] = [("b", 1), ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("tib", 1 << 40)];

/// Reads a duration: one or several numbers, each with its unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let factor = factor(&DURATION_UNITS, unit)?;
        millis = millis.checked_add(number.checked_mul(factor)?)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(millis))
}

/// Reads a size in octets: a number and a unit of powers of 1024.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    number.checked_mul(factor(&SIZE_UNITS, unit)?)
}

/// A duration as [`duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(&DURATION_UNITS, millis, "")
}

/// A size as [`size`] reads it.
pub(super) fn show_size(octets: u64) -> String {
    const NAMES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    show(&NAMES, octets, " ")
}

/// In the largest unit that divides it.
fn show(units: &[(&str, u64)], amount: u64, space: &str) -> String {
    let fits = units.iter().rev().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    let (unit, factor) = fits.or(units.get(1)).copied().unwrap_or(("", 1));
    format!("{}{space}{unit}", amount / factor)
}

/// The digits at the start, and what follows without leading spaces.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest.trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [("250ms", 250), ("30s", 30_000), ("5 m", 300_000), ("1h30m", 5_400_000), ("1d 2h", 93_600_000)];
        for (text, millis) in good {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5 weeks", "-5s", "1.5h", "5s!", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn limits_are_shown_as_they_are_written() {
        for text in ["250ms", "30s", "90s", "366d", "2h", "0s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["64 KiB", "2147483647 B", "4 GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes() {
        let good = [("0 B", 0), ("10 MiB", 10 << 20), ("64KiB", 64 << 10), ("2 gib", 2 << 30), ("1 TiB", 1 << 40)];
        for (text, octets) in good {
            assert_eq!(size(text), Some(octets), "{text}");
        }
        for text in ["", "10", "MiB", "10 MB", "1.5 GiB", "-1 B", "99999999999 TiB", "5 MiB x"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
