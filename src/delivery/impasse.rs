//! The rest of one way: its names can't be looked up, its policy does not take the hosts, its credential is refused. Others who
//! go to the same hosts are let in, so that none of it is held against the site.
//!
//! Told what happened and `now`; never waits, never reads time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits::grown;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Impasse {
    /// There is something to look at: as long as all is well, nobody locks anything.
    met: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    why: Option<Arc<str>>,
    /// Rests in a row.
    failures: u32,
}

impl Impasse {
    /// Nobody was let through. Those that were tried together fail together: that is one failure.
    pub(super) fn meet(&self, now: Instant, first: Duration, why: Option<Arc<str>>) {
        let mut state = self.state.lock();
        self.met.store(true, Ordering::Relaxed);
        if why.is_some() {
            state.why = why;
        }
        if state.until.is_none_or(|until| until <= now) {
            state.until = Some(now + grown(first, state.failures));
            state.failures = state.failures.saturating_add(1);
        }
    }

    /// Somebody was, or it is to be tried whatever was found a moment ago.
    pub(super) fn end(&self) {
        if self.met.swap(false, Ordering::Relaxed) {
            *self.state.lock() = State::default();
        }
    }

    /// How long nothing should be tried, and what went wrong.
    pub(super) fn rest(&self, now: Instant) -> Option<(Duration, Option<Arc<str>>)> {
        if !self.met.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state.lock();
        let left = state.until?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some((left, state.why.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_each_failure_and_ends_with_success() {
        let (impasse, first, mut now) = (Impasse::default(), Duration::from_secs(60), Instant::now());
        assert_eq!(impasse.rest(now), None);
        for secs in [60, 120, 240, 300, 300] {
            impasse.meet(now, first, Some("no name".into()));
            impasse.meet(now, first, None);
            assert_eq!(impasse.rest(now), Some((Duration::from_secs(secs), Some("no name".into()))));
            now += Duration::from_secs(secs);
            assert_eq!(impasse.rest(now), None);
        }
        impasse.end();
        impasse.meet(now, first, None);
        assert_eq!(impasse.rest(now), Some((first, None)));
        impasse.end();
        assert_eq!(impasse.rest(now), None);
    }
}
