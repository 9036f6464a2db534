//! A guard against circles: how often a message was sent another way in the last minute.
//!
//! Pure; in memory only, since a restart breaks any circle for a while anyway.

use std::collections::HashMap;
use std::time::Duration;

use crate::mail::QueueId;
use crate::time::Timestamp;

/// More reroutes of one message within [`WITHIN`] than this are a circle, not a search.
const MOST: u32 = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// Reroutes by message.
#[derive(Debug, Default)]
pub(super) struct Reroutes(HashMap<QueueId, (Timestamp, u32)>);

impl Reroutes {
    /// Counts a reroute; false if it is one too many.
    pub(super) fn allow(&mut self, id: QueueId, now: Timestamp) -> bool {
        let (since, count) = self.0.entry(id).or_insert((now, 0));
        if now.since(*since) >= WITHIN {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST
    }

    /// Forgets what is a minute old.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, (since, _)| now.since(*since) < WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_broken_and_time_forgives() {
        let mut reroutes = Reroutes::default();
        let (a, b) = (QueueId::from_u64(1), QueueId::from_u64(2));
        let now = Timestamp::from_secs(1000);
        assert!((0..5).all(|_| reroutes.allow(a, now)));
        assert!(!reroutes.allow(a, now.plus(Duration::from_secs(59))));
        assert!(reroutes.allow(b, now), "others are not affected");
        assert!(reroutes.allow(a, now.plus(WITHIN)));
        reroutes.sweep(now.plus(WITHIN));
        assert_eq!(reroutes.0.len(), 1, "b is forgotten");
    }
}
