//! A token bucket in one number. Pure: the time is passed in, as time since the guard began.
//!
//! The number is the time at which all that was taken will have been made up for (the "virtual scheduling" of ITU-T
//! I.371). A bucket that was never used, or not for long, is zero or past: to forget it changes nothing.

use std::time::Duration;

/// So much in so long; all of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    amount: u64,
    per: Duration,
}

impl Rate {
    /// `amount` in a time; zero is no limit.
    pub(super) fn new(amount: u32, per: Duration) -> Self {
        Self { amount: amount.into(), per }
    }

    /// Many times as much in the same time.
    pub(super) fn times(self, factor: u32) -> Self {
        Self { amount: self.amount.saturating_mul(factor.into()), ..self }
    }

    /// True if it limits anything.
    pub(super) fn is_limit(self) -> bool {
        self.amount > 0
    }

    /// How long it takes until `weight` may be taken again.
    fn cost(self, weight: u32) -> u64 {
        nanos(self.per).checked_div(self.amount).unwrap_or(0).saturating_mul(weight.into())
    }
}

/// What was taken, in nanoseconds of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket(u64);

impl Bucket {
    /// True if `weight` may be taken now.
    pub(super) fn has(self, rate: Rate, weight: u32, now: Duration) -> bool {
        !rate.is_limit() || self.after(rate, weight, now) <= nanos(now).saturating_add(nanos(rate.per))
    }

    /// Takes `weight`, whether or not there is so much; what is owed is never more than twice what the rate gives.
    pub(super) fn take(&mut self, rate: Rate, weight: u32, now: Duration) {
        if rate.is_limit() {
            let most = nanos(now).saturating_add(nanos(rate.per).saturating_mul(2));
            self.0 = self.after(rate, weight, now).min(most);
        }
    }

    /// When it is as good as new.
    pub(super) fn full_at(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    fn after(self, rate: Rate, weight: u32, now: Duration) -> u64 {
        self.0.max(nanos(now)).saturating_add(rate.cost(weight))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn all_of_it_may_come_at_once_and_then_one_after_the_other() {
        let (rate, mut bucket) = (Rate::new(6, MINUTE), Bucket::default());
        let start = Duration::from_secs(1000);
        for _ in 0..6 {
            assert!(bucket.has(rate, 1, start));
            bucket.take(rate, 1, start);
        }
        assert!(!bucket.has(rate, 1, start));
        assert!(!bucket.has(rate, 1, start + Duration::from_secs(9)));
        assert!(bucket.has(rate, 1, start + Duration::from_secs(10)));
        assert!(!bucket.has(rate, 2, start + Duration::from_secs(10)));
        assert_eq!(bucket.full_at(), start + MINUTE);
        assert!(bucket.has(rate, 6, bucket.full_at()));
    }

    #[test]
    fn debts_are_bounded_and_no_limit_is_none() {
        let (rate, mut bucket) = (Rate::new(1, MINUTE), Bucket::default());
        for _ in 0..1000 {
            bucket.take(rate, 1000, Duration::ZERO);
        }
        assert_eq!(bucket.full_at(), 2 * MINUTE);
        let none = Rate::new(0, MINUTE);
        let mut free = Bucket::default();
        free.take(none, 1, Duration::ZERO);
        assert!(bucket.has(none, 1000, Duration::ZERO) && free == Bucket::default());
        assert_eq!(rate.times(3), Rate::new(3, MINUTE));
    }
}
