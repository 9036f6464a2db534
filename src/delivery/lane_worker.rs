//! A lane's worker: one task, at most one connection, one job after the other.
//!
//! The job's three steps - prepare, transmit, conclude - are apart (see `attempt`), so that a connection that can overlap
//! transactions may be given the next job while it waits for the answer to the last.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::attempt::{self, After};
use super::dispatch::Dispatcher;
use super::lane::{Job, Lane, Take};
use super::transmit::Line;

/// QUIT is a courtesy: its answer is not worth more.
pub(super) const QUIT_WITHIN: Duration = Duration::from_secs(5);

/// A worker's place in its lane. Dropped in whatever way the worker ends, it leaves the lane in order.
pub(super) struct Seat {
    dispatcher: Arc<Dispatcher>,
    lane: Arc<Lane>,
    starting: bool,
}

impl Seat {
    /// A place that the lane has counted already.
    pub(super) fn new(dispatcher: Arc<Dispatcher>, lane: Arc<Lane>) -> Self {
        Self { dispatcher, lane, starting: true }
    }

    /// Works until there is nothing left to do.
    pub(super) async fn work(mut self) {
        let mut line: Option<Line> = None;
        while let Some(job) = self.next().await {
            if attempt::run(&self.dispatcher, &self.lane, job, &mut line).await == After::Leave {
                break;
            }
        }
        if let Some(line) = line {
            // The peer may have gone long ago.
            let _ = timeout(QUIT_WITHIN, line.quit()).await;
        }
    }

    async fn next(&mut self) -> Option<Job> {
        loop {
            match self.lane.take(&mut self.starting, Instant::now()) {
                Take::Job { job, spawn } => {
                    if spawn {
                        self.dispatcher.spawn_worker(&self.lane);
                    }
                    return Some(*job);
                }
                Take::Wait(at) => {
                    tokio::time::sleep_until(at).await;
                    self.lane.woken();
                }
                Take::Idle(long) => {
                    let waited = timeout(long, self.lane.wakes()).await;
                    self.lane.woken();
                    // A job that came in this very moment is seen by `leave`.
                    waited.ok()?;
                }
                Take::Closed => return None,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.lane.leave(self.starting, std::thread::panicking(), Instant::now()) {
            self.dispatcher.spawn_worker(&self.lane);
        }
    }
}
