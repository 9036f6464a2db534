//! Lanes: one per next hop, holding the jobs that are ready for it and counting the workers that take them.
//!
//! A lane never waits and never speaks to anybody: it says what a worker is to do next. It is bounded; what does not
//! fit is handed back to be settled with a later time, so that one slow next hop can't fill the queue's window.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::LaneLimits;
use super::limits::{Admission, Limiter, Reach};
use crate::hooks::{DeliveryFacts, NextHop, Route};
use crate::queue::Lease;

/// Jobs a lane holds at most: a few seconds of work for a fast next hop.
const READY_MAX: usize = 1000;

/// Some recipients of one message on their way to one next hop.
#[derive(Debug)]
pub(super) struct Job {
    /// The claim on them.
    pub(super) lease: Lease,
    /// Where they go.
    pub(super) route: Arc<Route>,
    /// The route was just given by a plugin and is not stored yet.
    pub(super) fresh: bool,
    /// What the attempt hook left, if it was asked already.
    pub(super) asked: Option<Arc<DeliveryFacts>>,
}

/// What makes a connection fit for a message: all of a route but its times.
#[derive(Clone, Debug)]
pub(super) struct LaneKey(pub(super) Arc<Route>);

impl PartialEq for LaneKey {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        a.hops == b.hops && a.tls == b.tls && a.source == b.source && a.credential == b.credential && a.lane == b.lane
    }
}

impl Eq for LaneKey {}

impl Hash for LaneKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hops.hash(state);
        self.0.credential.hash(state);
        self.0.lane.hash(state);
    }
}

/// The way to one next hop.
#[derive(Debug)]
pub(super) struct Lane {
    /// The next hop, for logs.
    pub(super) name: Arc<str>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Job>,
    limiter: Limiter,
    workers: usize,
    /// Workers that were spawned and took nothing yet.
    starting: usize,
    /// Workers that wait for a job, or for the moment when one may start.
    idle: usize,
    /// Open connections.
    open: usize,
    /// Jobs handed back since the lane was last half empty.
    overflow: u32,
    /// Why no connection could be opened the last time.
    trouble: Option<Arc<str>>,
    closed: bool,
}

/// What became of a job that was brought.
#[derive(Debug)]
pub(super) enum Pushed {
    /// A worker will take it.
    Ready,
    /// The same, and one more worker is to be spawned.
    Spawn,
    /// There is no room. It should come back after this long.
    Full(Box<Job>, Duration),
}

/// What a worker is to do.
#[derive(Debug)]
pub(super) enum Take {
    /// This; with `spawn`, there is enough left for one more worker.
    Job {
        /// The job.
        job: Box<Job>,
        /// Spawn a worker.
        spawn: bool,
    },
    /// Wait until then.
    Wait(Instant),
    /// Wait for a job, but not longer than this.
    Idle(Duration),
    /// Go home.
    Closed,
}

impl Lane {
    /// A lane without jobs.
    pub(super) fn new(key: &LaneKey, limits: LaneLimits) -> Self {
        let state = State {
            ready: VecDeque::new(),
            limiter: Limiter::new(limits),
            workers: 0,
            starting: 0,
            idle: 0,
            open: 0,
            overflow: 0,
            trouble: None,
            closed: false,
        };
        Self { name: name(&key.0), state: Mutex::new(state), wake: Notify::new() }
    }

    /// Puts a job at the end of the line. `limits` are those of the configuration now in force.
    pub(super) fn push(&self, job: Job, limits: LaneLimits) -> Pushed {
        let mut state = self.state.lock();
        if *state.limiter.limits() != limits {
            state.limiter.retune(limits);
        }
        if state.ready.len() >= capacity(state.limiter.limits()) {
            state.overflow = state.overflow.saturating_add(1);
            // The more had to go, the later they come back: else a big backlog for a slow host is written over and over.
            let secs = (5 + u64::from(state.overflow) / 200).min(300);
            return Pushed::Full(Box::new(job), Duration::from_secs(secs));
        }
        state.ready.push_back(job);
        if state.wants_worker() {
            state.enlist();
            return Pushed::Spawn;
        }
        let wake = state.idle > 0;
        drop(state);
        if wake {
            // The one that went idle last: the others' connections may then grow old and be closed.
            self.wake.notify_last();
        }
        Pushed::Ready
    }

    /// Gives a job back that others are better placed to do. The worker that does so leaves then, and [`Self::leave`] says
    /// whether somebody has to come in its place.
    pub(super) fn give_back(&self, job: Job) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.ready.push_front(job);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.wake.notify_last();
        }
    }

    /// What a worker is to do now. After `Wait` and `Idle` it must call [`Self::woken`].
    pub(super) fn take(&self, starting: &mut bool, now: Instant) -> Take {
        let mut state = self.state.lock();
        if std::mem::take(starting) {
            state.starting = state.starting.saturating_sub(1);
        }
        if state.closed {
            return Take::Closed;
        }
        if state.ready.is_empty() {
            state.idle += 1;
            return Take::Idle(state.limiter.limits().idle);
        }
        // What is only deferred uses up nothing of the next hop's rate.
        if !state.limiter.is_cooling(now)
            && let Admission::Later(at) = state.limiter.admit(now)
        {
            state.idle += 1;
            return Take::Wait(at);
        }
        let Some(job) = state.ready.pop_front() else { return Take::Closed };
        if state.ready.len() < capacity(state.limiter.limits()) / 2 {
            state.overflow = 0;
        }
        let spawn = state.wants_worker();
        if spawn {
            state.enlist();
        }
        let wake = state.idle > 0 && !state.ready.is_empty();
        drop(state);
        if wake {
            self.wake.notify_last();
        }
        Take::Job { job: Box::new(job), spawn }
    }

    /// A job to be sent right after the one at hand, for a worker that has a connection: only where no other worker
    /// would take it sooner.
    pub(super) fn take_ahead(&self, now: Instant) -> Option<Job> {
        let mut state = self.state.lock();
        let spare = !state.closed && state.ready.len() > state.idle + state.starting && !state.wants_worker();
        if !spare || state.limiter.is_cooling(now) || state.limiter.admit(now) != Admission::Go {
            return None;
        }
        state.ready.pop_front()
    }

    /// A waiting worker is back.
    pub(super) fn woken(&self) {
        let mut state = self.state.lock();
        state.idle = state.idle.saturating_sub(1);
    }

    /// Completes when there may be a job.
    pub(super) async fn wakes(&self) {
        self.wake.notified().await;
    }

    /// A worker leaves; true if another must come for what is still there.
    pub(super) fn leave(&self, starting: bool, fault: bool, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.workers = state.workers.saturating_sub(1);
        if starting {
            state.starting = state.starting.saturating_sub(1);
        }
        if fault {
            // Whatever made the worker panic may do so again: rest, as after any failure, and never spin on it.
            state.limiter.refused(now, 0);
        }
        let spawn = state.wants_worker();
        if spawn {
            state.enlist();
        }
        spawn
    }

    /// True while nothing should be tried.
    pub(super) fn is_cooling(&self, now: Instant) -> bool {
        self.state.lock().limiter.is_cooling(now)
    }

    /// The next hop answered; true if one more worker may be spawned for what waits.
    pub(super) fn reached(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.limiter.reached(now);
        let spawn = state.wants_worker();
        if spawn {
            state.enlist();
        }
        spawn
    }

    /// Why no connection could be opened: for the log, and for operators who look at what waits meanwhile.
    pub(super) fn blame(&self, trouble: Option<Arc<str>>) {
        self.state.lock().trouble = trouble;
    }

    /// As blamed last.
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.state.lock().trouble.clone()
    }

    /// No connection could be opened.
    pub(super) fn refused(&self, now: Instant) -> Reach {
        let mut state = self.state.lock();
        let open = state.open;
        state.limiter.refused(now, open)
    }

    /// The limits now in force.
    pub(super) fn limits(&self) -> LaneLimits {
        *self.state.lock().limiter.limits()
    }

    /// Nothing to do, nobody here, nothing to remember: it can vanish.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.ready.is_empty() && state.workers == 0 && !state.limiter.is_cooling(now)
    }

    /// Workers finish what they are at and leave; what waits is dropped, and thereby due again.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let ready = std::mem::take(&mut state.ready);
        drop(state);
        drop(ready);
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Counts a connection for as long as the answer lives.
    pub(super) fn opened(self: &Arc<Self>) -> OpenMark {
        self.state.lock().open += 1;
        OpenMark(Arc::clone(self))
    }
}

impl State {
    fn wants_worker(&self) -> bool {
        !self.closed && self.ready.len() > self.idle + self.starting && self.workers < self.limiter.connections()
    }

    fn enlist(&mut self) {
        self.workers += 1;
        self.starting += 1;
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct OpenMark(Arc<Lane>);

impl Drop for OpenMark {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.open = state.open.saturating_sub(1);
    }
}

/// Ten seconds' worth where there is a rate: what waits here is leased, and others could use the window.
fn capacity(limits: &LaneLimits) -> usize {
    let rated = limits.per_second.map(|rate| (rate as usize).saturating_mul(10));
    rated.unwrap_or(READY_MAX).clamp(10, READY_MAX)
}

fn name(route: &Route) -> Arc<str> {
    route.hops.first().map_or_else(|| "nowhere".into(), |hop| HopName(hop).to_string().into())
}

/// A hop as it is written in logs.
struct HopName<'a>(&'a NextHop);

impl fmt::Display for HopName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NextHop::Mx(domain) => f.write_str(domain),
            NextHop::Smtp { host, port } => write!(f, "{host}:{port}"),
            NextHop::Lmtp { host, .. } if host.starts_with("unix:") => write!(f, "lmtp {host}"),
            NextHop::Lmtp { host, port } => write!(f, "lmtp {host}:{port}"),
            NextHop::Named(name) => write!(f, "destination {name}"),
        }
    }
}
