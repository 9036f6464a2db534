//! A histogram in atomics: adding to it is three additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds: from a tenth of a millisecond to ten minutes, so that a flush and an attempt both fit.
const BOUNDS: [u64; 18] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
];

/// Durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Upper bound in seconds, the last infinite, and how many are not above it but above the one before.
    pub buckets: Vec<(f64, u64)>,
    /// Seconds in all.
    pub sum: f64,
    /// How many in all.
    pub count: u64,
}

impl Histogram {
    /// Adds one.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// As it is now.
    pub fn observed(&self) -> Observed {
        Observed::of(&self.counts(), self.sum_us())
    }

    /// How many are in each bucket.
    pub fn counts(&self) -> Vec<u64> {
        self.buckets.iter().map(|n| n.load(Ordering::Relaxed)).collect()
    }

    /// Microseconds in all.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }
}

impl Observed {
    /// Of how many are in each bucket of a histogram, and microseconds in all.
    #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds beyond 2^53 is 285 years")]
    pub fn of(counts: &[u64], sum_us: u64) -> Self {
        let bounds = BOUNDS.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied().chain(std::iter::repeat(0))).collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        Self { buckets, sum: sum_us as f64 / 1e6, count }
    }
}
