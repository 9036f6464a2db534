//! A lane's worker: one task, at most one connection, one job after the other.
//!
//! While jobs wait, the next one is prepared before the one at hand is sent, so that the connection can send its commands
//! together with the final dot and save a round trip for each message of a row.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::attempt::{After, Attempt};
use super::dispatch::Dispatcher;
use super::job::{Job, Take};
use super::lane::Lane;
use super::site::Slot;
use super::transmit::Line;

/// QUIT is a courtesy: its answer is not worth more.
pub(super) const QUIT_WITHIN: Duration = Duration::from_secs(5);

/// Where lanes stand in line for a slot, a worker leaves after so many messages…
const TURN: u32 = 50;

/// …or after this long, so that a lane with much to do does not keep the others out.
const TURN_TIME: Duration = Duration::from_secs(5);

/// A connection that waits longer than this gives its buffers back.
const BREATH: Duration = Duration::from_secs(1);

/// A worker's place in its lane. Dropped in whatever way the worker ends, it leaves the lane in order.
pub(super) struct Seat {
    dispatcher: Arc<Dispatcher>,
    lane: Arc<Lane>,
    slot: Slot,
    starting: bool,
    since: Instant,
    served: u32,
    /// It was let run at all.
    begun: bool,
}

impl Seat {
    /// A place that the lane has counted already.
    pub(super) fn new(dispatcher: Arc<Dispatcher>, lane: Arc<Lane>, slot: Slot) -> Self {
        Self { dispatcher, lane, slot, starting: true, since: Instant::now(), served: 0, begun: false }
    }

    /// Works until there is nothing left to do.
    pub(super) async fn work(mut self) {
        let mut line: Option<Box<Line>> = None;
        self.begun = true;
        self.jobs(&mut line).await;
        if let Some(line) = line {
            // The peer may have gone long ago.
            let _ = timeout(QUIT_WITHIN, Box::pin(line.quit())).await;
        }
    }

    /// One job after the other. What only waits must be small: thousands of connections stand idle, so that whatever an
    /// attempt needs is in a box that lives no longer than it.
    async fn jobs(&mut self, line: &mut Option<Box<Line>>) {
        while let Some(job) = self.next(line).await {
            if Box::pin(self.row(job, line)).await == After::Leave {
                return;
            }
        }
    }

    /// A job, and those that follow it over the same connection without a pause.
    async fn row(&self, job: Job, line: &mut Option<Box<Line>>) -> After {
        let (dispatcher, lane) = (&self.dispatcher, &self.lane);
        let attempt = Attempt::new(dispatcher, job, Arc::clone(&lane.name));
        let Some(mut attempt) = attempt.prepare(lane, line.is_some()).await else { return After::Next };
        loop {
            let ahead = if line.is_some() { self.look_ahead().await } else { None };
            let done = attempt.send(lane, ahead.as_deref(), line).await;
            // In a box of its own, as it needs much more than what waits for a host that does not answer.
            let after = Box::pin(attempt.finish(dispatcher, lane, done)).await;
            match ahead {
                Some(attempt) if after == After::Leave => {
                    lane.give_back(attempt.into_job());
                    return after;
                }
                Some(next) => attempt = next,
                None => return after,
            }
        }
    }

    /// The job after this one, if it waits already: its commands can go out with the end of this one.
    async fn look_ahead(&self) -> Option<Box<Attempt<'_>>> {
        let job = self.lane.take_ahead(Instant::now())?;
        let attempt = Attempt::new(&self.dispatcher, job, Arc::clone(&self.lane.name));
        let mut attempt = attempt.prepare(&self.lane, true).await?;
        attempt.load().await;
        Some(attempt)
    }

    async fn next(&mut self, line: &mut Option<Box<Line>>) -> Option<Job> {
        loop {
            let now = Instant::now();
            if self.gives_way(now) {
                return None;
            }
            match self.lane.take(&mut self.slot, &mut self.starting, line.is_some(), now) {
                Take::Job { job, spawn } => {
                    if let Some(slot) = spawn {
                        self.dispatcher.spawn_worker(&self.lane, slot);
                    }
                    self.served = self.served.saturating_add(1);
                    return Some(*job);
                }
                Take::PutOff(job, after) => Box::pin(self.dispatcher.send_back(*job, after)).await,
                Take::Wait(at) => {
                    // A turn that is half a minute away must not hold up the end.
                    let _ = timeout_at(at, self.dispatcher.closing()).await;
                    self.lane.woken(&self.slot);
                }
                Take::Idle(long) => {
                    // Somebody else can use the place of an idle connection.
                    let long = if self.dispatcher.places().is_scarce() { Duration::ZERO } else { long };
                    let wanted = self.idle(long, line).await;
                    self.lane.woken(&self.slot);
                    // A job that came in this very moment is seen by `leave`.
                    if !wanted {
                        return None;
                    }
                }
                Take::Closed => return None,
            }
        }
    }

    /// Waits for so long at most; true if there may be a job.
    async fn idle(&self, long: Duration, line: &mut Option<Box<Line>>) -> bool {
        let first = long.min(BREATH);
        if timeout(first, self.is_wanted()).await.is_ok() {
            return true;
        }
        if let Some(line) = line {
            line.idle();
        }
        first < long && timeout(long.saturating_sub(first), self.is_wanted()).await.is_ok()
    }

    /// Completes when there may be a job, or somebody else needs the place more.
    async fn is_wanted(&self) {
        tokio::select! {
            () = self.lane.wakes() => {}
            () = self.slot.site.crowds() => {}
        }
    }

    /// True if another lane's turn has come.
    fn gives_way(&self, now: Instant) -> bool {
        self.slot.site.is_crowded() && (self.served >= TURN || now.duration_since(self.since) >= TURN_TIME)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let served = self.lane.leave(&self.slot, self.starting, std::thread::panicking(), Instant::now());
        // One that was never let run is dropped where nothing runs any more: those in its place would be dropped as well, each
        // within the drop of the one before.
        if self.begun {
            self.dispatcher.spawn_workers(served);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, F>(_: fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_worker_that_waits_is_small() {
        let size = size(Seat::work);
        assert!(size <= 1024, "{size} octets for each idle connection");
    }

    #[test]
    fn an_attempt_that_waits_for_a_host_is_small() {
        fn size<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(Seat::row);
        assert!(size <= 1536, "{size} octets for each host that does not answer");
    }
}
