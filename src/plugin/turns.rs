//! Turns: how the calls of one plugin that compute for long share the processors with everybody else.
//!
//! A call gives way at each tick of the clock. With many such calls of one plugin at a time that is not enough: each is
//! one more task among those of all sessions, so a plugin would get the more of the processors the more it is called.
//! So once a call has run past a tick, it goes on only when it is its turn, and as many calls of a plugin have one at a
//! time as leave a worker to others. Waiting for it costs wall time, never CPU budget.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long a turn is: that of a quick tick.
const TURN: Duration = Duration::from_millis(1);

/// Of one plugin.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Calls that ran past a tick and have not ended.
    long: AtomicUsize,
    at_a_time: usize,
    free: Arc<Semaphore>,
}

impl Turns {
    /// For the runtime that this is called in: all of its workers but one, at least one.
    pub(crate) fn new() -> Arc<Self> {
        let workers = tokio::runtime::Handle::try_current().map_or(1, |handle| handle.metrics().num_workers());
        let at_a_time = workers.saturating_sub(1).max(1);
        Arc::new(Self { long: AtomicUsize::new(0), at_a_time, free: Arc::new(Semaphore::new(at_a_time)) })
    }

    /// A call ran past its first tick.
    pub(crate) fn long(self: &Arc<Self>) -> Long {
        self.long.fetch_add(1, Ordering::Relaxed);
        Long(self.clone())
    }
}

/// A call that runs long, until it ends.
#[derive(Debug)]
pub(crate) struct Long(Arc<Turns>);

impl Long {
    /// Done when the call may go on: after the others have had their chance, and where its plugin has several such
    /// calls, when it is its turn.
    pub(crate) fn turn(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if self.0.long.load(Ordering::Relaxed) <= self.0.at_a_time {
            return Box::pin(tokio::task::yield_now());
        }
        let free = self.0.free.clone();
        Box::pin(async move {
            // Never closed. The turn ends by itself: what the call does with it, computing or waiting, is its affair.
            if let Ok(turn) = free.acquire_owned().await {
                tokio::spawn(async move {
                    tokio::time::sleep(TURN).await;
                    drop(turn);
                });
            }
        })
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_long_calls_have_one_turn_at_a_time_and_each_its_own() {
        let turns = Turns::new();
        assert_eq!(turns.at_a_time, 1);
        let (one, two) = (turns.long(), turns.long());
        let began = tokio::time::Instant::now();
        for _ in 0..3 {
            one.turn().await;
            two.turn().await;
        }
        assert!(began.elapsed() >= TURN * 5, "{:?}", began.elapsed());
        drop(two);
        let began = tokio::time::Instant::now();
        for _ in 0..100 {
            one.turn().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "alone it waits for nobody");
    }
}
