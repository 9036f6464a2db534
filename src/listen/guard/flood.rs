//! Who was turned away, and what the log gets of it. Pure: the time is passed in.
//!
//! One connection that is turned away has a line of its own. When more follow within a second, there is one line a
//! second with how many they were: a flood must not be paid for in log lines too.

use std::time::Duration;

use super::Shed;

/// No more lines than one in so long.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// How many, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShedCounts {
    /// `limits.connections`.
    pub in_all: u64,
    /// `limits.per-client`.
    pub by_client: u64,
    /// `limits.per-network`.
    pub by_network: u64,
    /// `limits.connections-per-minute`.
    pub too_fast: u64,
    /// A ban.
    pub banned: u64,
    /// Nothing can be stored.
    pub store: u64,
}

impl ShedCounts {
    fn add(&mut self, why: Shed) {
        let count = match why {
            Shed::InAll => &mut self.in_all,
            Shed::ByClient => &mut self.by_client,
            Shed::ByNetwork => &mut self.by_network,
            Shed::TooFast => &mut self.too_fast,
            Shed::Banned => &mut self.banned,
            Shed::Store => &mut self.store,
        };
        *count = count.saturating_add(1);
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        let Self { in_all, by_client, by_network, too_fast, banned, store } = *self;
        [in_all, by_client, by_network, too_fast, banned, store].iter().sum()
    }
}

/// What is to be logged of one that is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// A line of its own.
    Now,
    /// It is counted; somebody has to ask for [`Flood::summary`] in [`EVERY`].
    Later,
    /// It is counted, and somebody will ask.
    Counted,
}

/// The count.
#[derive(Debug, Default)]
pub(super) struct Flood {
    in_all: ShedCounts,
    /// Not told yet.
    untold: ShedCounts,
    told_at: Option<Duration>,
}

impl Flood {
    /// One more.
    pub(super) fn shed(&mut self, why: Shed, now: Duration) -> Tell {
        self.in_all.add(why);
        let quiet = self.told_at.is_none_or(|at| now.saturating_sub(at) >= EVERY);
        if quiet && self.untold.sum() == 0 {
            self.told_at = Some(now);
            return Tell::Now;
        }
        self.untold.add(why);
        if self.untold.sum() == 1 { Tell::Later } else { Tell::Counted }
    }

    /// Those of the last second, which are told now.
    pub(super) fn summary(&mut self, now: Duration) -> ShedCounts {
        self.told_at = Some(now);
        std::mem::take(&mut self.untold)
    }

    /// Since the start.
    pub(super) fn counts(&self) -> ShedCounts {
        self.in_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_a_second() {
        let mut flood = Flood::default();
        let at = Duration::from_millis;
        assert_eq!(flood.shed(Shed::Banned, at(0)), Tell::Now);
        assert_eq!(flood.shed(Shed::Banned, at(5000)), Tell::Now, "after a while of quiet");
        assert_eq!(flood.shed(Shed::InAll, at(5001)), Tell::Later);
        for _ in 0..1000 {
            assert_eq!(flood.shed(Shed::ByClient, at(5500)), Tell::Counted);
        }
        assert_eq!(flood.summary(at(6001)), ShedCounts { in_all: 1, by_client: 1000, ..ShedCounts::default() });
        assert_eq!(flood.shed(Shed::InAll, at(6500)), Tell::Later);
        assert_eq!(flood.summary(at(7500)).sum(), 1);
        assert_eq!(flood.shed(Shed::InAll, at(9000)), Tell::Now);
        assert_eq!(flood.counts().sum(), 1005);
    }
}
