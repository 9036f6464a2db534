//! Queue ids: ordered by arrival, unique across restarts, short enough to read aloud.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Names one transaction, and the message it becomes. Thirteen characters of `0-9a-v` (base 32), most significant first,
/// so that text order is arrival order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(u64);

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

impl QueueId {
    /// From the stored form.
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The stored form.
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 13];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS.get((self.0 >> (5 * place)) as usize & 31).copied().unwrap_or(b'0');
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An id as text, where other programs read it: not all of them have numbers that large.
pub mod queue_id_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::QueueId;

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(id: &QueueId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// When the text is no queue id.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QueueId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id is 13 characters of 0-9 and a-v")]
pub struct NotAQueueId;

impl FromStr for QueueId {
    type Err = NotAQueueId;

    fn from_str(text: &str) -> Result<Self, NotAQueueId> {
        if text.len() != 13 {
            return Err(NotAQueueId);
        }
        text.bytes().try_fold(Self(0), |id, byte| {
            let digit = DIGITS.iter().position(|d| *d == byte.to_ascii_lowercase()).ok_or(NotAQueueId)?;
            let shifted = id.0.checked_mul(32).ok_or(NotAQueueId)?;
            Ok(Self(shifted | digit as u64))
        })
    }
}

/// Hands out ids that only grow: microseconds of arrival, then a counter.
#[derive(Debug, Default)]
pub struct QueueIds(AtomicU64);

impl QueueIds {
    /// The next id, above every id given before and, clock willing, above those of earlier runs.
    pub fn next(&self, now: Timestamp) -> QueueId {
        let wanted = now.micros().max(0).unsigned_abs() << 10;
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(wanted.max(last + 1)));
        QueueId(before.map_or(wanted, |last| wanted.max(last + 1)))
    }

    /// Never hand out `seen` or anything below it again: the store told what is there.
    pub fn start_above(&self, seen: QueueId) {
        self.0.fetch_max(seen.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree_and_order_is_kept() {
        let ids = QueueIds::default();
        let now = Timestamp::from_secs(1_795_473_060);
        let (a, b) = (ids.next(now), ids.next(now));
        assert!(a < b && a.to_string() < b.to_string());
        assert_eq!(a.to_string().parse(), Ok(a));
        assert!(ids.next(Timestamp::from_secs(0)) > b, "a clock that steps back makes no old id");
    }

    #[test]
    fn rubbish_is_refused() {
        for text in ["", "abc", "zzzzzzzzzzzzz", "vvvvvvvvvvvvv", "0123456789ab\u{e9}"] {
            assert_eq!(text.parse::<QueueId>(), Err(NotAQueueId), "{text}");
        }
    }
}
