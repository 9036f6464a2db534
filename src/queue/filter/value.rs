//! Durations, sizes and next hops as they are written in filters.

use crate::hooks::NextHop;

const TIMES: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tib", 1 << 40),
];

/// Seconds of `2h`, `1h30m`; none where it is no duration. A bare number is none: seconds and minutes are mixed up.
pub fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut secs: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        secs = secs.checked_add(number.checked_mul(factor(&TIMES, unit)?)?)?;
        rest = after;
    }
    Some(secs)
}

/// Seconds as [`duration`] reads them, in the largest unit that divides them.
pub fn show_duration(secs: u64) -> String {
    let fits = TIMES.iter().rev().find(|(_, factor)| secs >= *factor && secs.is_multiple_of(*factor));
    let (unit, factor) = fits.copied().unwrap_or(("s", 1));
    format!("{}{unit}", secs / factor)
}

/// Octets of `10M`, `64KiB`, `512`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    number.checked_mul(factor(&SIZES, unit.trim())?)
}

/// Octets as [`size`] reads them, in the largest unit that divides them.
pub(super) fn show_size(octets: u64) -> String {
    let units = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    let fits = units.iter().find(|(_, shift)| octets > 0 && octets.trailing_zeros() >= *shift);
    fits.map_or_else(|| format!("{octets}B"), |(unit, shift)| format!("{}{unit}", octets >> shift))
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)).map(|(_, factor)| *factor)
}

/// A next hop as it is written in the configuration: `mx:example.org`, `smtp://mail.example.org:25`.
pub fn hop_text(hop: &NextHop) -> String {
    let host = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match hop {
        NextHop::Mx(domain) => format!("mx:{domain}"),
        NextHop::Smtp { host: name, port } => format!("smtp://{}:{port}", host(name)),
        NextHop::Lmtp { host: name, port } => match name.strip_prefix("unix:") {
            Some(path) => format!("lmtp+unix:{path}"),
            None => format!("lmtp://{}:{port}", host(name)),
        },
        NextHop::Named(name) => format!("destination:{name}"),
    }
}
