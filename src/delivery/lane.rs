//! Lanes: one per next hop, holding the jobs that are ready for it and counting the workers that take them.
//!
//! A lane never waits and never speaks to anybody: it says what a worker is to do next. It is bounded; what does not
//! fit is handed back to be settled with a later time, so that one slow next hop can't fill the queue's window. How many
//! workers there may be, and how fast they may go, is the site's to say, which it shares with others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::impasse::Impasse;
use super::job::{Job, LaneKey, Pushed, Take};
use super::limits::{Admission, Reach};
use super::site::{OpenMark, Queueing, Served, Site, Slot};
use super::{Config, LaneLimits};
use crate::hooks::NextHop;

/// Jobs a lane holds at most, unless there is room for more: a few seconds of work for most next hops.
const READY_MAX: usize = 1000;

/// The same, as long as nothing is known of the next hop: many of them may be dead, and the window is for all.
const UNKNOWN_MAX: usize = 200;

/// A job whose turn is further away goes back to the queue: held here it would keep others out of the window, and nobody
/// would see that its time is over.
const HELD_MAX: Duration = Duration::from_secs(30);

/// What goes back comes back within this, whatever the rate: another source or another setting may do better by then.
const BACK_WITHIN: Duration = Duration::from_secs(3600);

/// The way to one next hop.
#[derive(Debug)]
pub(super) struct Lane {
    /// The next hop, for logs.
    pub(super) name: Arc<str>,
    pub(super) key: LaneKey,
    me: Weak<Self>,
    /// None: it is still being looked up.
    site: ArcSwapOption<Site>,
    /// Messages over one connection.
    most: AtomicU32,
    state: Mutex<State>,
    wake: Notify,
    impasse: Impasse,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Job>,
    /// The site was found by this configuration; none: it is to be found again.
    config: Option<Arc<Config>>,
    /// Somebody is looking for the site.
    looking: bool,
    /// It stands in line at the site, without a worker.
    waiting: bool,
    /// It stands in line there for one more worker.
    hungry: bool,
    idle_for: Duration,
    capacity: usize,
    workers: usize,
    /// Workers that were spawned and took nothing yet.
    starting: usize,
    /// Workers that wait for a job, or for the moment when one may start.
    idle: usize,
    /// Jobs handed back since the lane was last half empty.
    overflow: u32,
    /// Jobs put off in a row because of a rate.
    put_off: u32,
    closed: bool,
}

impl Lane {
    /// A lane without jobs, and without a site.
    pub(super) fn new(key: LaneKey) -> Arc<Self> {
        let state = State {
            ready: VecDeque::new(),
            config: None,
            looking: false,
            waiting: false,
            hungry: false,
            idle_for: Duration::ZERO,
            capacity: UNKNOWN_MAX,
            workers: 0,
            starting: 0,
            idle: 0,
            overflow: 0,
            put_off: 0,
            closed: false,
        };
        Arc::new_cyclic(|me| Self {
            name: key.name(),
            key,
            me: Weak::clone(me),
            site: ArcSwapOption::empty(),
            most: AtomicU32::new(1),
            state: Mutex::new(state),
            wake: Notify::new(),
            impasse: Impasse::default(),
        })
    }

    /// Puts a job at the end of the line. `config` is the configuration now in force.
    pub(super) fn push(&self, job: Job, config: &Arc<Config>) -> Pushed {
        let mut state = self.state.lock();
        if !state.looking && !state.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, config)) {
            return Pushed::Astray(Box::new(job));
        }
        if state.ready.len() >= state.capacity && !self.widen(&mut state) {
            state.overflow = state.overflow.saturating_add(1);
            let overflow = state.overflow;
            drop(state);
            return Pushed::Full(Box::new(job), self.back_after(overflow));
        }
        self.take_in(job, state)
    }

    /// True where more than [`READY_MAX`] is a moment's work: the next hop has proven itself, and no rate holds it back.
    pub(super) fn is_swift(&self) -> bool {
        let swift = |site: &Arc<Site>| site.is_proven() && capacity(&site.limits(), true) >= READY_MAX;
        self.site.load().as_ref().is_some_and(swift)
    }

    /// As [`Self::push`], for a lane that is full already.
    pub(super) fn push_beyond(&self, job: Job) -> Pushed {
        let mut state = self.state.lock();
        // It was counted among those that have to go.
        state.overflow = state.overflow.saturating_sub(1);
        self.take_in(job, state)
    }

    fn take_in(&self, job: Job, mut state: MutexGuard<'_, State>) -> Pushed {
        state.ready.push_back(job);
        if let Some(slot) = self.wants_worker(&mut state) {
            return Pushed::Spawn(slot);
        }
        let wake = state.idle > 0;
        drop(state);
        if wake {
            // The one that went idle last: the others' connections may then grow old and be closed.
            self.wake.notify_last();
        }
        Pushed::Ready
    }

    /// How many jobs there are for a next hop of which nobody knows whether it is alive. None: it has proven itself, it is the
    /// operator's own, or it is left alone and what comes is put off at once.
    pub(super) fn on_trial(&self, now: Instant) -> Option<usize> {
        let site = self.site.load();
        let known = !matches!(self.key.route.hops.first(), Some(NextHop::Mx(_)))
            || site.as_ref().is_some_and(|site| site.is_proven() || self.is_resting(site, now));
        (!known).then(|| {
            let state = self.state.lock();
            state.ready.len() + state.workers
        })
    }

    /// Makes room for more where the next hop has proven itself since. False: it stays full.
    fn widen(&self, state: &mut State) -> bool {
        if state.capacity >= READY_MAX {
            return false;
        }
        let site = self.site.load();
        let Some(site) = site.as_ref().filter(|site| site.is_proven()) else { return false };
        state.capacity = capacity(&site.limits(), true);
        state.ready.len() < state.capacity
    }

    /// The more had to go, the later they come back: else a big backlog for a slow host is written over and over.
    fn back_after(&self, overflow: u32) -> Duration {
        let interval = self.site.load().as_ref().and_then(|site| site.interval());
        let by_rate = interval.unwrap_or_default().saturating_mul(overflow);
        let secs = (5 + u64::from(overflow) / 200).min(300);
        by_rate.clamp(Duration::from_secs(secs), BACK_WITHIN)
    }

    /// Somebody looks for the site; what is pushed meanwhile waits, or goes on to the one known so far.
    pub(super) fn looks(&self) {
        self.state.lock().looking = true;
    }

    /// Nobody does any more. Had they no success, the next job has them look again.
    pub(super) fn looked(&self) {
        self.state.lock().looking = false;
    }

    /// Tells the lane its site, found by this configuration. A worker is to be spawned for what waits.
    pub(super) fn attach(&self, site: &Arc<Site>, config: &Arc<Config>) -> Option<Slot> {
        let limits = site.limits();
        let mut state = self.state.lock();
        if !self.site.load().as_ref().is_some_and(|known| Arc::ptr_eq(known, site)) {
            (state.waiting, state.hungry) = (false, false);
            self.site.store(Some(Arc::clone(site)));
        }
        (state.config, state.looking) = (Some(Arc::clone(config)), false);
        // A host that the operator named is meant to be there.
        let known = !matches!(self.key.route.hops.first(), Some(NextHop::Mx(_))) || site.is_proven();
        (state.idle_for, state.capacity) = (limits.idle, capacity(&limits, known));
        self.most.store(limits.messages_per_connection, Ordering::Relaxed);
        self.wants_worker(&mut state)
    }

    /// What was looked up is old: the next job has the site found again.
    pub(super) fn detach(&self) {
        self.state.lock().config = None;
    }

    /// True if nobody knows how old the knowledge of the site is, or it is being renewed.
    pub(super) fn is_attached(&self) -> bool {
        self.state.lock().config.is_some()
    }

    /// The site, once it is known.
    pub(super) fn site(&self) -> Option<Arc<Site>> {
        self.site.load_full()
    }

    /// A slot at `site` for this lane, which stood in line, maybe for one more. False: there is no need of it any more.
    pub(super) fn accept(&self, site: &Arc<Site>, hungry: bool) -> bool {
        let mut state = self.state.lock();
        if !self.site.load().as_ref().is_some_and(|known| Arc::ptr_eq(known, site)) {
            return false;
        }
        *(if hungry { &mut state.hungry } else { &mut state.waiting }) = false;
        let needed = !state.closed && state.ready.len() > state.idle + state.starting;
        if needed {
            state.enlist();
        }
        needed
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

    /// What the worker of this slot is to do now; `connected`: it has a connection. After `Wait` and `Idle` it must call
    /// [`Self::woken`].
    pub(super) fn take(&self, slot: &mut Slot, starting: &mut bool, connected: bool, now: Instant) -> Take {
        let mut state = self.state.lock();
        if std::mem::take(starting) {
            state.starting = state.starting.saturating_sub(1);
        }
        // Also one whose lane leads elsewhere by now.
        let Slot { site, shed } = slot;
        let elsewhere = !self.site.load().as_ref().is_some_and(|known| Arc::ptr_eq(known, site));
        if state.closed || elsewhere || site.sheds(shed, connected) {
            return Take::Closed;
        }
        if state.ready.is_empty() {
            if site.is_crowded() {
                return Take::Closed;
            }
            state.idle += 1;
            site.idles();
            return Take::Idle(state.idle_for);
        }
        // What is only deferred uses up nothing of the next hop's rate. Nor is a job held that would wait for a connection.
        if !self.is_resting(site, now) {
            let opens = if connected { None } else { site.connection_opens(now) };
            if let Some(at) = opens.filter(|_| state.workers > 1) {
                // What there is to do goes over the connections that others have.
                return wait(&mut state, site, at.min(now + HELD_MAX), now);
            }
            if let Admission::Later(at) = opens.map_or_else(|| site.admit(now), Admission::Later) {
                return wait(&mut state, site, at, now);
            }
        }
        state.put_off = 0;
        let Some(job) = state.ready.pop_front() else { return Take::Closed };
        if state.ready.len() < state.capacity / 2 {
            state.overflow = 0;
        }
        let spawn = self.wants_worker(&mut state);
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
        let site = self.site.load();
        let site = site.as_ref()?;
        let spare = !state.closed && state.ready.len() > state.idle + state.starting;
        if !spare || site.is_crowded() || self.is_resting(site, now) {
            return None;
        }
        // Where one more worker can be had, it sends this over a connection of its own.
        if !site.is_full() || site.admit(now) != Admission::Go {
            return None;
        }
        state.ready.pop_front()
    }

    /// A waiting worker is back.
    pub(super) fn woken(&self, slot: &Slot) {
        slot.site.woken();
        let mut state = self.state.lock();
        state.idle = state.idle.saturating_sub(1);
    }

    /// Completes when there may be a job.
    pub(super) async fn wakes(&self) {
        self.wake.notified().await;
    }

    /// A worker leaves; answers who gets a worker for it: lanes that stood in line, this one for what is still there.
    pub(super) fn leave(&self, slot: &Slot, starting: bool, fault: bool, now: Instant) -> Served {
        {
            let mut state = self.state.lock();
            state.workers = state.workers.saturating_sub(1);
            if starting {
                state.starting = state.starting.saturating_sub(1);
            }
        }
        if fault {
            // Whatever made the worker panic may do so again: rest, as after any failure, and never spin on it.
            slot.site.refused(now, None);
        }
        let mut served = slot.site.release(slot, now);
        let mut state = self.state.lock();
        if let Some(slot) = self.wants_worker(&mut state)
            && let Some(me) = self.me.upgrade()
        {
            served.push((me, slot));
        }
        served
    }

    /// How long nothing should be tried, and what went wrong.
    pub(super) fn rest(&self, now: Instant) -> Option<(Duration, Option<Arc<str>>)> {
        self.impasse.rest(now).or_else(|| self.site.load().as_ref()?.rest(now))
    }

    fn is_resting(&self, site: &Site, now: Instant) -> bool {
        site.is_cooling(now) || self.impasse.rest(now).is_some()
    }

    /// What is in the way of this lane alone.
    pub(super) fn impasse(&self) -> &Impasse {
        &self.impasse
    }

    /// Nobody was let in who goes this way, for this reason.
    pub(super) fn shut(&self, now: Instant, why: Option<Arc<str>>) {
        let cool_down = self.site.load().as_ref().map(|site| site.limits().cool_down);
        self.impasse.meet(now, cool_down.unwrap_or_default(), why);
    }

    /// The next hop let a connection in; answers who gets a worker because of that.
    pub(super) fn greeted(&self) -> Served {
        self.impasse.end();
        let Some(site) = &*self.site.load() else { return Vec::new() };
        let mut served = site.greeted();
        let mut state = self.state.lock();
        while let Some(slot) = self.wants_worker(&mut state)
            && let Some(me) = self.me.upgrade()
        {
            served.push((me, slot));
        }
        served
    }

    /// The next hop answered; answers who gets a worker because of that.
    pub(super) fn reached(&self, now: Instant) -> Served {
        let Some(site) = &*self.site.load() else { return Vec::new() };
        let Some(mut served) = site.reached(now) else { return Vec::new() };
        if site.is_crowded() || !served.is_empty() {
            return served;
        }
        let mut state = self.state.lock();
        if let Some(slot) = self.wants_worker(&mut state)
            && let Some(me) = self.me.upgrade()
        {
            served.push((me, slot));
        }
        served
    }

    /// No connection could be opened, for this reason.
    pub(super) fn refused(&self, now: Instant, trouble: Option<Arc<str>>) -> Reach {
        self.site.load().as_ref().map_or(Reach::Unreachable, |site| site.refused(now, trouble))
    }

    /// Messages over one connection.
    pub(super) fn messages_per_connection(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// Jobs that wait.
    pub(super) fn ready(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Nothing to do, nobody here: it can vanish. What else has to be remembered is the site's.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.ready.is_empty() && state.workers == 0 && !state.looking && self.impasse.rest(now).is_none()
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
    pub(super) fn opened(&self) -> Option<OpenMark> {
        self.site.load().as_ref().map(Site::opened)
    }

    /// A slot, if there is work for one more worker. A lane without any gets in line where none is free.
    fn wants_worker(&self, state: &mut State) -> Option<Slot> {
        if state.closed || state.ready.len() <= state.idle + state.starting {
            return None;
        }
        let site = self.site.load();
        let queue = match state.workers {
            0 if !state.waiting => Queueing::Waiting(&self.me),
            1.. if !state.hungry => Queueing::Hungry(&self.me),
            _ => Queueing::No,
        };
        let slot = site.as_ref()?.enlist(queue);
        match (&slot, queue) {
            (Some(_), _) => state.enlist(),
            (None, Queueing::Waiting(_)) => state.waiting = true,
            (None, Queueing::Hungry(_)) => state.hungry = true,
            (None, Queueing::No) => {}
        }
        slot
    }
}

/// No message may start before `at`.
fn wait(state: &mut State, site: &Site, at: Instant, now: Instant) -> Take {
    if at.duration_since(now) <= HELD_MAX {
        state.idle += 1;
        site.idles();
        return Take::Wait(at);
    }
    let Some(job) = state.ready.pop_front() else { return Take::Closed };
    // Each later than the one before: they would all be put off again.
    let behind = site.interval().unwrap_or_default().saturating_mul(state.put_off);
    state.put_off = state.put_off.saturating_add(1);
    Take::PutOff(Box::new(job), (at.duration_since(now) + behind).min(BACK_WITHIN))
}

impl State {
    fn enlist(&mut self) {
        self.workers += 1;
        self.starting += 1;
    }
}

/// Ten seconds' worth where there is a rate: what waits here is leased, and others could use the window.
fn capacity(limits: &LaneLimits, proven: bool) -> usize {
    let LaneLimits { per_second, per_minute, per_hour, .. } = limits;
    let in_ten = [per_second.map(|n| n.saturating_mul(10)), per_minute.map(|n| n / 6), per_hour.map(|n| n / 360)];
    let rated = in_ten.into_iter().flatten().min().map(|n| n as usize);
    rated.unwrap_or(READY_MAX).clamp(10, if proven { READY_MAX } else { UNKNOWN_MAX })
}
