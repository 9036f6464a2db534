//! Token buckets of plugins, in memory: one set for each plugin, whatever its instances and generations.
//!
//! The arithmetic is exact and is given the time. A plugin has a bounded number of keys; past it one is forgotten for
//! each new one, by second chance: of the next few in line, the first that is full again (nothing is lost by that) or
//! that was not used since it was last looked at, else the last of those few. That is a constant amount of work.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::time::Timestamp;

/// Keys of one plugin: at some hundred octets each, a few dozen MiB at most.
const KEYS_MAX: usize = 100_000;

/// Keys looked at to find one that may go.
const LOOKS: usize = 8;

/// Numbers handed to guests stay below this: some of their languages know no larger ones.
const NUMBER_MAX: u128 = i32::MAX as u128;

/// Size and speed of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    burst: u128,
    refill: u128,
    period_micros: u128,
}

impl Quota {
    /// None where one of them is zero: such a bucket gives nothing, or never again.
    pub(crate) fn new(burst: u32, refill: u32, period_millis: u32) -> Option<Self> {
        let good = burst > 0 && refill > 0 && period_millis > 0;
        let quota =
            Self { burst: burst.into(), refill: refill.into(), period_micros: u128::from(period_millis) * 1000 };
        good.then_some(quota)
    }

    pub(crate) fn burst(&self) -> u32 {
        u32::try_from(self.burst).unwrap_or(u32::MAX)
    }

    /// What a full bucket holds, in parts.
    fn full(&self) -> u128 {
        self.burst * self.period_micros
    }
}

/// What a bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The tokens were taken.
    pub allowed: bool,
    /// Whole tokens left.
    pub remaining: u32,
    /// Milliseconds until what was asked for (at least one token) is there.
    pub retry_after: u32,
}

/// One bucket. Tokens are counted in parts, of which one has as many as its period has microseconds: then each
/// microsecond gives back a whole number of them, and nothing is lost to rounding.
#[derive(Clone, Copy, Debug)]
struct Pail {
    parts: u128,
    quota: Quota,
    at: Timestamp,
    touched: bool,
}

impl Pail {
    fn new(quota: Quota, now: Timestamp) -> Self {
        Self { parts: quota.full(), quota, at: now, touched: false }
    }

    /// As it stands now, under a quota that may be another than before.
    fn bring(&mut self, quota: Quota, now: Timestamp) {
        let micros = now.since(self.at).as_micros();
        self.parts = self.parts.saturating_add(micros.saturating_mul(self.quota.refill)).min(self.quota.full());
        // A clock that was set back must not stop the refill until it has caught up.
        self.at = now;
        if quota != self.quota {
            self.parts = self.parts * quota.period_micros / self.quota.period_micros;
            self.parts = self.parts.min(quota.full());
            self.quota = quota;
        }
    }

    fn take(&mut self, cost: u32) -> Decision {
        let parts = |tokens: u32| u128::from(tokens) * self.quota.period_micros;
        let allowed = parts(cost) <= self.parts;
        let wanted = parts(cost.max(1));
        let missing = if allowed && cost > 0 { 0 } else { wanted.saturating_sub(self.parts) };
        if allowed {
            self.parts -= parts(cost);
        }
        let millis = missing.div_ceil(self.quota.refill).div_ceil(1000);
        let small = |number: u128| u32::try_from(number.min(NUMBER_MAX)).unwrap_or(0);
        Decision { allowed, remaining: small(self.parts / self.quota.period_micros), retry_after: small(millis) }
    }

    fn is_full(mut self, now: Timestamp) -> bool {
        self.bring(self.quota, now);
        self.parts == self.quota.full()
    }
}

/// The buckets of one plugin.
#[derive(Default)]
pub(crate) struct Rates {
    pails: Mutex<Pails>,
    /// Where a trial finds the state of a bucket that it has not used yet.
    below: Option<Arc<Rates>>,
}

#[derive(Default)]
struct Pails {
    by_key: HashMap<Arc<str>, Pail>,
    /// Each key once, the next to be looked at first.
    line: VecDeque<Arc<str>>,
}

impl Pails {
    fn make_room(&mut self, most: usize, now: Timestamp) {
        for look in 1.. {
            if self.by_key.len() < most {
                return;
            }
            let Some(key) = self.line.pop_front() else { return };
            let Some(pail) = self.by_key.get_mut(&key) else { continue };
            if look < LOOKS && pail.touched && !pail.is_full(now) {
                pail.touched = false;
                self.line.push_back(key);
            } else {
                self.by_key.remove(&key);
            }
        }
    }
}

impl Rates {
    /// As if nobody had ever asked.
    pub(crate) fn clear(&self) {
        *self.pails.lock() = Pails::default();
    }

    /// A trial's: what it takes is taken from copies.
    pub(crate) fn over(below: Arc<Self>) -> Self {
        Self { pails: Mutex::default(), below: Some(below) }
    }

    /// Takes `cost` tokens if they are there; a cost of zero only looks.
    pub(crate) fn take(&self, key: &str, quota: Quota, cost: u32, now: Timestamp) -> Decision {
        self.take_of(KEYS_MAX, key, quota, cost, now)
    }

    fn take_of(&self, most: usize, key: &str, quota: Quota, cost: u32, now: Timestamp) -> Decision {
        let mut pails = self.pails.lock();
        if let Some(pail) = pails.by_key.get_mut(key) {
            pail.bring(quota, now);
            pail.touched = true;
            return pail.take(cost);
        }
        let known = self.below.as_ref().and_then(|below| below.pails.lock().by_key.get(key).copied());
        let mut pail = known.unwrap_or(Pail::new(quota, now));
        pail.bring(quota, now);
        let decision = pail.take(cost);
        if cost > 0 {
            pails.make_room(most, now);
            let key: Arc<str> = key.into();
            pails.line.push_back(key.clone());
            pails.by_key.insert(key, Pail { touched: false, ..pail });
        }
        decision
    }
}

/// The buckets of all plugins, for as long as a generation uses them.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Weak<Rates>>>);

impl Registry {
    pub(crate) fn of(&self, plugin: &str) -> Arc<Rates> {
        let mut known = self.0.lock();
        if let Some(rates) = known.get(plugin).and_then(Weak::upgrade) {
            return rates;
        }
        known.retain(|_, rates| rates.strong_count() > 0);
        let rates = Arc::new(Rates::default());
        known.insert(plugin.to_owned(), Arc::downgrade(&rates));
        rates
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_473_060);

    fn at(millis: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(millis))
    }

    fn said(decision: Decision) -> (bool, u32, u32) {
        (decision.allowed, decision.remaining, decision.retry_after)
    }

    #[test]
    fn tokens_go_and_come_back() {
        let rates = Rates::default();
        let quota = Quota::new(10, 2, 1000).unwrap();
        // When (ms), cost; allowed, left, when to ask again.
        let table = [
            (0, 0, (true, 10, 0)),
            (0, 4, (true, 6, 0)),
            (0, 6, (true, 0, 0)),
            (0, 1, (false, 0, 500)),
            (0, 0, (true, 0, 500)),
            (0, 10, (false, 0, 5000)),
            (499, 1, (false, 0, 1)),
            (500, 1, (true, 0, 0)),
            (750, 1, (false, 0, 250)),
            (1000, 1, (true, 0, 0)),
            (900, 1, (false, 0, 500)),
            (1400, 1, (true, 0, 0)),
            (1_000_000, 3, (true, 7, 0)),
            (1_000_000, 8, (false, 7, 500)),
        ];
        for (row, (when, cost, expected)) in table.into_iter().enumerate() {
            assert_eq!(said(rates.take("k", quota, cost, at(when))), expected, "row {row}");
        }
        assert!(rates.take("another", quota, 10, NOW).allowed);
    }

    #[test]
    fn slow_refills_survive_frequent_calls() {
        let rates = Rates::default();
        // One token a day, asked for every second of that day.
        let quota = Quota::new(1, 1, 86_400_000).unwrap();
        assert!(rates.take("k", quota, 1, NOW).allowed);
        for second in 1..86_400 {
            assert!(!rates.take("k", quota, 1, at(second * 1000)).allowed, "{second}");
        }
        assert!(rates.take("k", quota, 1, at(86_400_000)).allowed);
    }

    #[test]
    fn another_quota_is_in_force_at_once() {
        let rates = Rates::default();
        let quota = |burst, refill, period| Quota::new(burst, refill, period).unwrap();
        assert_eq!(said(rates.take("k", quota(10, 1, 1000), 1, NOW)), (true, 9, 0));
        assert_eq!(said(rates.take("k", quota(4, 1, 60_000), 0, NOW)), (true, 4, 0), "smaller");
        assert_eq!(said(rates.take("k", quota(100, 1, 10), 0, NOW)), (true, 4, 0), "larger: not filled up by that");
        assert_eq!(said(rates.take("k", quota(100, 1, 10), 0, at(100))), (true, 14, 0), "and faster");
        assert_eq!(Quota::new(0, 1, 1).or(Quota::new(1, 0, 1)).or(Quota::new(1, 1, 0)), None);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let rates = Rates::default();
        let quota = Quota::new(u32::MAX, 1, u32::MAX).unwrap();
        assert_eq!(said(rates.take("k", quota, u32::MAX, NOW)), (true, 0, 0));
        assert_eq!(said(rates.take("k", quota, u32::MAX, NOW)), (false, 0, i32::MAX as u32));
        let fast = Quota::new(u32::MAX, u32::MAX, 1).unwrap();
        let end = Timestamp::from_micros(i64::MAX);
        assert!(rates.take("k", fast, 1, end).allowed);
    }

    #[test]
    fn idle_and_full_buckets_are_forgotten_first() {
        let rates = Rates::default();
        let slow = Quota::new(2, 1, 1_000_000).unwrap();
        let quick = Quota::new(2, 1, 1).unwrap();
        let take = |key: &str, quota, now| rates.take_of(4, key, quota, 1, now);
        for key in ["busy", "idle", "full"] {
            take(key, if key == "full" { quick } else { slow }, at(0));
        }
        take("busy", slow, at(0));
        take("d", slow, at(0));
        take("e", slow, at(5));
        take("f", slow, at(5));
        let pails = rates.pails.lock();
        let mut keys: Vec<&str> = pails.by_key.keys().map(|key| &**key).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["busy", "d", "e", "f"]);
        assert_eq!(pails.line.len(), 4);
    }

    #[test]
    fn keys_are_bounded_even_when_all_are_busy() {
        let rates = Rates::default();
        let slow = Quota::new(9, 1, 1_000_000).unwrap();
        for n in 0..1000 {
            for _ in 0..2 {
                rates.take_of(20, &n.to_string(), slow, 1, NOW);
            }
        }
        let pails = rates.pails.lock();
        assert_eq!((pails.by_key.len(), pails.line.len()), (20, 20));
    }

    #[test]
    fn a_trial_takes_from_copies() {
        let below = Arc::new(Rates::default());
        let quota = Quota::new(5, 1, 1_000_000).unwrap();
        below.take("k", quota, 2, NOW);
        let trial = Rates::over(below.clone());
        assert_eq!(trial.take("k", quota, 3, NOW).remaining, 0);
        assert!(!trial.take("k", quota, 1, NOW).allowed);
        assert_eq!(below.take("k", quota, 0, NOW).remaining, 3);
    }

    #[test]
    fn generations_share_them() {
        let registry = Registry::default();
        let first = registry.of("p");
        assert!(Arc::ptr_eq(&first, &registry.of("p")));
        assert!(!Arc::ptr_eq(&first, &registry.of("q")));
    }
}
