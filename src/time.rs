//! Wall time: the [`Timestamp`] every record carries and the [`Clock`] it comes from.
//!
//! The only reader of the system's wall clock. Protocol and policy never call a clock: they are given `now`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// An instant, UTC, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Nanoseconds past [`Self::secs`]; below 1,000,000,000.
    pub const fn subsec_nanos(self) -> u32 {
        (self.0.rem_euclid(1_000_000) * 1000) as u32
    }

    /// `self + by`, held at the largest instant there is.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// `self - by`, held at the smallest instant there is.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// The date-time of RFC 5322 section 3.3, in UTC: `Mon, 23 Nov 2026 22:31:00 +0000`.
    pub fn rfc5322(self) -> String {
        self.zoned().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }

    /// RFC 3339 with milliseconds, for logs and JSON: `2026-11-23T22:31:00.123Z`.
    pub fn rfc3339(self) -> String {
        self.zoned().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    /// RFC 3339 without fractions, as EHLO has it: `2026-11-23T22:31:00Z`.
    pub fn rfc3339_seconds(self) -> String {
        self.zoned().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Reads RFC 3339: `2026-11-23T22:31:00Z`. None: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_microsecond()))
    }

    fn zoned(self) -> jiff::Zoned {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC)
    }
}

/// Where `now` comes from: the system, or a test's hand.
pub trait Clock: Send + Sync + 'static {
    /// The wall time of this moment.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the one place where wall time is read")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct Manual(std::sync::atomic::AtomicI64);

impl Manual {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(now.0.into())
    }

    /// Sets the hand.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves the hand forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.0.fetch_add(micros, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_standards_want_them() {
        let at = Timestamp::from_micros(1_795_473_060_123_456);
        assert_eq!(at.rfc5322(), "Mon, 23 Nov 2026 22:31:00 +0000");
        assert_eq!(at.rfc3339(), "2026-11-23T22:31:00.123Z");
    }

    #[test]
    fn arithmetic_saturates() {
        let last = Timestamp::from_micros(i64::MAX);
        assert_eq!(last.plus(Duration::from_secs(1)), last);
        assert_eq!(Timestamp::from_secs(5).since(Timestamp::from_secs(9)), Duration::ZERO);
        assert_eq!((Timestamp::from_micros(-1).secs(), Timestamp::from_micros(-1).subsec_nanos()), (-1, 999_999_000));
    }
}
