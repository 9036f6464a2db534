//! Rates: how many of something may start within a time, as an even flow with a bounded burst.
//!
//! Pure: told what happened and `now`, it says go or later. Never waits, never reads time.

use std::time::Duration;

use tokio::time::Instant;

/// So many within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Time between two at an even flow.
    pub(super) interval: Duration,
    /// How far ahead of the even flow a burst may be.
    ahead: Duration,
}

impl Rate {
    /// All of a second's worth may start at once.
    pub(super) fn per_second(count: u32) -> Self {
        Self::new(count, Duration::from_secs(1), count)
    }

    /// Over a longer time a tenth may start at once: an hour's worth in its first second is what such a rate is to prevent.
    pub(super) fn per(count: u32, time: Duration) -> Self {
        Self::new(count, time, count / 10)
    }

    fn new(count: u32, time: Duration, burst: u32) -> Self {
        let interval = time / count.max(1);
        Self { interval, ahead: interval.saturating_mul(burst.saturating_sub(1)) }
    }

    /// The same, so many times slower, without a burst.
    pub(super) fn slowed(self, divide: u32) -> Self {
        if divide <= 1 {
            return self;
        }
        Self { interval: self.interval.saturating_mul(divide), ahead: Duration::ZERO }
    }
}

/// What is remembered for one rate: when the next one would start if all kept the exact rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket(Option<Instant>);

impl Bucket {
    /// When one may start: now, or then.
    pub(super) fn opens(&self, rate: Rate, now: Instant) -> Instant {
        self.0.and_then(|next| next.checked_sub(rate.ahead)).map_or(now, |at| at.max(now))
    }

    /// One starts.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) {
        let from = self.0.filter(|next| *next > now).unwrap_or(now);
        self.0 = from.checked_add(rate.interval);
    }

    /// True if nothing of the past matters any more.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        self.0.is_none_or(|next| next <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many start when one is tried at each millisecond.
    fn started(rate: Rate, from: Instant, millis: u64) -> usize {
        let mut bucket = Bucket::default();
        let mut count = 0;
        for n in 0..millis {
            let now = from + Duration::from_millis(n);
            if bucket.opens(rate, now) <= now {
                bucket.take(rate, now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_rate_is_kept_over_time() {
        let now = Instant::now();
        for (rate, millis, least, most) in [
            (Rate::per_second(1), 10_000, 10, 10),
            (Rate::per_second(4), 10_000, 40, 43),
            (Rate::per(60, 60 * SECOND), 60_000, 60, 65),
            (Rate::per(5, 60 * SECOND), 60_000, 5, 5),
            (Rate::per(100, 60 * SECOND).slowed(10), 60_000, 10, 10),
        ] {
            let count = started(rate, now, millis);
            assert!((least..=most).contains(&count), "{rate:?}: {count}");
        }
    }

    #[test]
    fn a_tenth_of_a_long_rate_may_start_at_once() {
        let (now, rate) = (Instant::now(), Rate::per(1000, 3600 * SECOND));
        let mut bucket = Bucket::default();
        let burst = (0..1000).take_while(|_| {
            let open = bucket.opens(rate, now) <= now;
            bucket.take(rate, now);
            open
        });
        assert_eq!(burst.count(), 100);
        assert!(!bucket.is_blank(now) && bucket.is_blank(now + 3600 * SECOND));
    }
}
