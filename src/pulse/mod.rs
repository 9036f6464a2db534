//! What happens in the relay, counted for metrics and told to whoever watches.
//!
//! Counting is a few atomic additions; telling costs one look at a number while nobody watches. Knows nobody but the clock: those who do
//! the work count here, the admin API reads. Must never wait, never hold up mail, and never be told content or a secret.

mod feed;
mod histogram;
mod reasons;
mod tally;

use std::sync::Arc;

pub use feed::{Event, Heard, Kind, Listener, Watch};
pub use histogram::{Histogram, Observed};
pub use tally::{Refused, Tally, Totals};

use reasons::Reasons;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tally: Tally,
    reasons: Reasons,
    feed: feed::Feed,
}

impl Pulse {
    /// What is counted.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Tells what happened, if somebody wants to know; `tell` is called only then.
    pub fn tell(&self, kind: Kind, tell: impl FnOnce() -> Event) {
        self.0.feed.tell(kind, tell);
    }

    /// True if somebody wants to know of this kind. Cheap.
    pub fn is_watched(&self, kind: Kind) -> bool {
        self.0.feed.is_watched(kind)
    }

    /// Watches from here on. None: too many do already.
    pub fn watch(&self, watch: Watch) -> Option<Listener> {
        self.0.feed.watch(watch)
    }

    /// A recipient was deferred, with this in the words of the next hop; `minute` is the time in minutes.
    pub fn deferred_because(&self, reason: &str, minute: u64) {
        self.0.reasons.add(reason, minute);
    }

    /// Reasons of deferrals in the last ten minutes, with how often, the most frequent first.
    pub fn deferral_reasons(&self, most: usize, minute: u64) -> Vec<(String, u64)> {
        self.0.reasons.top(most, minute)
    }
}

#[cfg(test)]
mod tests;
