//! A site: what the lanes that lead to the same exchangers share - connections, rates, rest and back-off.
//!
//! It hands out slots for workers, and lets lanes without one wait in line. Never waits and never speaks to anybody. As long
//! as all is well and nothing is rated, a message costs no lock here: what the hot path reads are atomics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::LaneLimits;
use super::lane::Lane;
use super::limits::{Admission, Limiter, Reach};
use super::shaping::{Backoff, Effective, Heard, Place, Reaction, heard};
use crate::hooks::TlsPolicy;
use crate::smtp::Reply;

/// A site without lanes is remembered this long: what it earned outlives a pause, and one that has answered does not stand in
/// line with those that may be dead.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What makes two lanes lead to one site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SiteKey {
    /// The set of exchangers, or the host.
    pub(super) name: Arc<str>,
    /// Where it is reached from: what a source did is not held against another one.
    pub(super) source: Option<Arc<str>>,
    /// A lane has limits of its own.
    pub(super) lane: Option<Arc<str>>,
    /// A tenant that some rule names.
    pub(super) tenant: Option<Arc<str>>,
    /// See `Shaping::apart`.
    pub(super) rules: Vec<u16>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) key: SiteKey,
    state: Mutex<State>,
    /// Changed under the lock of `state`, read without it; so are those below.
    workers: AtomicUsize,
    allowed: AtomicUsize,
    waiting: AtomicUsize,
    hungry: AtomicUsize,
    /// There may be something to ask the limiter.
    watched: AtomicBool,
    /// Idle workers, over all lanes.
    idle: AtomicUsize,
    /// A lane waits that has no worker: one that is idle gives up its place.
    crowd: Notify,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    open: usize,
    /// Workers that were told to leave and have not left yet.
    leaving: usize,
    waiting: VecDeque<Weak<Lane>>,
    /// Lanes that have workers and work for more: served when nobody waits who has none.
    hungry: VecDeque<Weak<Lane>>,
    heard: Heard,
    /// Why no connection could be opened the last time.
    trouble: Option<Arc<str>>,
    tls: Option<TlsPolicy>,
    /// The most preferred exchangers, or the host.
    hosts: Arc<[Arc<str>]>,
    /// Something was going on until then.
    left: Instant,
}

/// A worker's place at a site. It is given back by [`Site::release`].
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) site: Arc<Site>,
    /// Its worker was told to leave.
    pub(super) shed: bool,
}

/// What becomes of a lane that finds no slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Queueing<'a> {
    /// It has no worker: it gets one when its turn comes.
    Waiting(&'a Weak<Lane>),
    /// It has some, and work for more: it gets one that nobody else waits for.
    Hungry(&'a Weak<Lane>),
    /// It stands in line already.
    No,
}

/// Lanes that get a worker.
pub(super) type Served = Vec<(Arc<Lane>, Slot)>;

/// A site as it is now, for people.
#[derive(Clone, Debug)]
pub(super) struct SiteState {
    pub(super) open: usize,
    pub(super) workers: usize,
    pub(super) allowed: usize,
    pub(super) waiting: usize,
    pub(super) proven: bool,
    /// Left alone for so long, and why: a back-off's name; none: it could not be reached.
    pub(super) rest: Option<(Duration, Option<Arc<str>>)>,
    pub(super) backoff: Option<(Duration, Arc<str>)>,
    pub(super) trouble: Option<Arc<str>>,
    pub(super) limits: LaneLimits,
    pub(super) hosts: Arc<[Arc<str>]>,
}

impl Site {
    /// A site nothing is known of.
    pub(super) fn new(key: SiteKey, effective: &Effective, hosts: Arc<[Arc<str>]>, now: Instant) -> Self {
        let limiter = Limiter::new(effective.limits);
        let allowed = AtomicUsize::new(limiter.connections());
        let state = State {
            limiter,
            open: 0,
            leaving: 0,
            waiting: VecDeque::new(),
            hungry: VecDeque::new(),
            heard: Heard::default(),
            trouble: None,
            tls: effective.tls,
            hosts,
            left: now,
        };
        Self {
            key,
            state: Mutex::new(state),
            workers: AtomicUsize::new(0),
            allowed,
            waiting: AtomicUsize::new(0),
            hungry: AtomicUsize::new(0),
            watched: AtomicBool::new(true),
            idle: AtomicUsize::new(0),
            crowd: Notify::new(),
        }
    }

    /// After a reload, or when the exchangers were looked up anew.
    pub(super) fn retune(&self, effective: &Effective, hosts: Arc<[Arc<str>]>) {
        let mut state = self.state.lock();
        if *state.limiter.limits() != effective.limits {
            state.limiter.retune(effective.limits);
            state.heard.forget();
        }
        (state.tls, state.hosts) = (effective.tls, hosts);
        self.refresh(&state);
    }

    /// The limits now in force.
    pub(super) fn limits(&self) -> LaneLimits {
        *self.state.lock().limiter.limits()
    }

    /// Connections are no less protected than this.
    pub(super) fn tls(&self) -> Option<TlsPolicy> {
        self.state.lock().tls
    }

    /// Time between two messages at an even flow, where there is a rate.
    pub(super) fn interval(&self) -> Option<Duration> {
        if !self.watched.load(Ordering::Relaxed) {
            return None;
        }
        self.state.lock().limiter.interval()
    }

    /// A slot, if one is free. Else, and if a lane is given, it gets one when its turn comes.
    pub(super) fn enlist(self: &Arc<Self>, queue: Queueing<'_>) -> Option<Slot> {
        if matches!(queue, Queueing::No) && self.is_full() {
            return None;
        }
        let mut state = self.state.lock();
        if !self.is_full() {
            self.workers.fetch_add(1, Ordering::Relaxed);
            return Some(Slot { site: Arc::clone(self), shed: false });
        }
        match queue {
            Queueing::Waiting(lane) => {
                state.waiting.push_back(Weak::clone(lane));
                self.waiting.store(state.waiting.len(), Ordering::Relaxed);
                drop(state);
                if self.idle.load(Ordering::Relaxed) > 0 {
                    self.crowd.notify_one();
                }
            }
            Queueing::Hungry(lane) => {
                state.hungry.push_back(Weak::clone(lane));
                self.hungry.store(state.hungry.len(), Ordering::Relaxed);
            }
            Queueing::No => {}
        }
        None
    }

    /// Gives a slot back; those who waited for it may have it.
    pub(super) fn release(self: &Arc<Self>, slot: &Slot, now: Instant) -> Served {
        {
            let mut state = self.state.lock();
            self.workers.fetch_sub(1, Ordering::Relaxed);
            state.leaving = state.leaving.saturating_sub(usize::from(slot.shed));
            state.left = now;
        }
        self.serve()
    }

    /// Slots for lanes that wait, as far as there are any.
    fn serve(self: &Arc<Self>) -> Served {
        let mut served = Vec::new();
        while self.is_crowded() || self.hungry.load(Ordering::Relaxed) > 0 {
            let (lane, hungry) = {
                let mut state = self.state.lock();
                if self.is_full() {
                    break;
                }
                let waiting = state.waiting.pop_front();
                let hungry = waiting.is_none();
                let Some(lane) = waiting.or_else(|| state.hungry.pop_front()) else { break };
                self.waiting.store(state.waiting.len(), Ordering::Relaxed);
                self.hungry.store(state.hungry.len(), Ordering::Relaxed);
                self.workers.fetch_add(1, Ordering::Relaxed);
                (lane, hungry)
            };
            // Not under the lock: lanes lock themselves first, then their site.
            match lane.upgrade().filter(|lane| lane.accept(self, hungry)) {
                Some(lane) => served.push((lane, Slot { site: Arc::clone(self), shed: false })),
                None => {
                    // Under it: who finds the site full by this slot is in line by the time that the line is looked at again.
                    let _state = self.state.lock();
                    self.workers.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        served
    }

    /// All slots are taken.
    pub(super) fn is_full(&self) -> bool {
        self.workers.load(Ordering::Relaxed) >= self.allowed.load(Ordering::Relaxed)
    }

    /// Lanes wait for a slot.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// True if the worker of a slot is one too many and has to leave; `shed` is that of the slot. One that has a connection
    /// stays as long as there are not too many of those: the others may never get one.
    pub(super) fn sheds(&self, shed: &mut bool, connected: bool) -> bool {
        if self.workers.load(Ordering::Relaxed) <= self.allowed.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.state.lock();
        let all = if connected { state.open } else { self.workers.load(Ordering::Relaxed) };
        let one_too_many = all.saturating_sub(state.leaving) > self.allowed.load(Ordering::Relaxed) && !*shed;
        if one_too_many {
            (*shed, state.leaving) = (true, state.leaving + 1);
        }
        one_too_many
    }

    /// A worker begins to wait for a job.
    pub(super) fn idles(&self) {
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// It is back.
    pub(super) fn woken(&self) {
        self.idle.fetch_sub(1, Ordering::Relaxed);
    }

    /// Completes when an idle worker should give up its place.
    pub(super) async fn crowds(&self) {
        self.crowd.notified().await;
    }

    /// Counts the start of a message, or says when it may start.
    pub(super) fn admit(&self, now: Instant) -> Admission {
        if !self.watched.load(Ordering::Relaxed) {
            return Admission::Go;
        }
        let mut state = self.state.lock();
        let admission = state.limiter.admit(now);
        self.refresh(&state);
        admission
    }

    /// Counts the opening of a connection. False: none may be opened now, see [`Self::connection_opens`].
    pub(super) fn admit_connection(&self, now: Instant) -> bool {
        self.state.lock().limiter.admit_connection(now) == Admission::Go
    }

    /// When a connection may be opened; none: now.
    pub(super) fn connection_opens(&self, now: Instant) -> Option<Instant> {
        self.state.lock().limiter.connection_opens(now)
    }

    /// True while nothing should be tried.
    pub(super) fn is_cooling(&self, now: Instant) -> bool {
        self.watched.load(Ordering::Relaxed) && self.state.lock().limiter.is_cooling(now)
    }

    /// How long nothing should be tried, and what went wrong.
    pub(super) fn rest(&self, now: Instant) -> Option<(Duration, Option<Arc<str>>)> {
        if !self.watched.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state.lock();
        let rest = state.limiter.rest(now)?;
        let why = rest.why.as_ref().map(|name| format!("back-off {name}").into());
        Some((rest.until.duration_since(now), state.trouble.clone().or(why)))
    }

    /// A connection was let in. Answers who gets a slot because of that.
    pub(super) fn greeted(self: &Arc<Self>) -> Served {
        if self.watched.load(Ordering::Relaxed) {
            let mut state = self.state.lock();
            state.limiter.greeted();
            self.refresh(&state);
        }
        self.serve()
    }

    /// The site answered and did not complain. Answers who gets a slot because of that; none: nothing has changed.
    pub(super) fn reached(self: &Arc<Self>, now: Instant) -> Option<Served> {
        if !self.watched.load(Ordering::Relaxed) {
            return None;
        }
        {
            let mut state = self.state.lock();
            state.limiter.reached(now);
            self.refresh(&state);
        }
        Some(self.serve())
    }

    /// It put off a whole message, or ended the connection.
    pub(super) fn complained(&self, now: Instant) {
        let mut state = self.state.lock();
        let used = state.open;
        state.limiter.complained(now, used);
        self.refresh(&state);
    }

    /// No connection could be opened, for this reason.
    pub(super) fn refused(&self, now: Instant, trouble: Option<Arc<str>>) -> Reach {
        let mut state = self.state.lock();
        let open = state.open;
        let reach = state.limiter.refused(now, open);
        if trouble.is_some() {
            state.trouble = trouble;
        }
        self.refresh(&state);
        reach
    }

    /// It may be reachable again, whatever was found a moment ago.
    pub(super) fn look_again(&self) {
        let mut state = self.state.lock();
        state.limiter.look_again();
        self.refresh(&state);
    }

    /// Looks whether a reply is one of those that slow a site down; and if it is one too many, does so.
    pub(super) fn heard(&self, domain: Option<&str>, backoffs: &[Backoff], reply: &Reply, now: Instant) {
        let SiteKey { source, tenant, .. } = &self.key;
        let hosts = Arc::clone(&self.state.lock().hosts);
        let place = Place { domain, hosts: &hosts, source: source.as_deref(), tenant: tenant.as_deref() };
        for at in heard(backoffs, &place, reply) {
            let Some(backoff) = backoffs.get(at) else { continue };
            let mut state = self.state.lock();
            if !state.heard.count(at, backoff, now) {
                continue;
            }
            // Said once, and not again as long as it holds.
            let held = [
                state.limiter.rest(now).and_then(|rest| rest.why.clone()),
                state.limiter.backoff(now).map(|b| b.why.clone()),
            ];
            if !held.contains(&Some(Arc::clone(&backoff.name))) {
                tracing::warn!(site = &*self.key.name, source = self.key.source.as_deref(), backoff = &*backoff.name,
                    %reply, "the site complains: it is worked less hard for a while");
            }
            match &backoff.reaction {
                Reaction::Suspend(time) => {
                    state.limiter.suspend(now, *time, Arc::clone(&backoff.name));
                    state.trouble = Some(format!("{reply} (back-off {})", backoff.name).into());
                }
                Reaction::Slow(slow) => state.limiter.back_off(now, slow.clone(), Arc::clone(&backoff.name)),
            }
            self.refresh(&state);
        }
    }

    /// Counts a connection for as long as the answer lives.
    pub(super) fn opened(self: &Arc<Self>) -> OpenMark {
        self.state.lock().open += 1;
        OpenMark(Arc::clone(self))
    }

    /// It took part in a transaction before.
    pub(super) fn is_proven(&self) -> bool {
        !self.watched.load(Ordering::Relaxed) || self.state.lock().limiter.is_proven()
    }

    /// Nothing of it has to be remembered, if no lane leads there. `scarce`: there are too many sites.
    pub(super) fn is_over(&self, now: Instant, scarce: bool) -> bool {
        let state = self.state.lock();
        let idle = self.workers.load(Ordering::Relaxed) == 0 && state.open == 0;
        idle && state.limiter.is_blank(now) && (scarce || now.duration_since(state.left) >= REMEMBERED)
    }

    /// As it is now.
    pub(super) fn now(&self, now: Instant) -> SiteState {
        let state = self.state.lock();
        let left = |until: Instant| until.saturating_duration_since(now);
        SiteState {
            open: state.open,
            workers: self.workers.load(Ordering::Relaxed),
            allowed: state.limiter.connections(),
            waiting: state.waiting.len(),
            proven: state.limiter.is_proven(),
            rest: state.limiter.rest(now).map(|rest| (left(rest.until), rest.why.clone())),
            backoff: state.limiter.backoff(now).map(|backoff| (left(backoff.until), Arc::clone(&backoff.why))),
            trouble: state.trouble.clone(),
            limits: *state.limiter.limits(),
            hosts: Arc::clone(&state.hosts),
        }
    }

    fn refresh(&self, state: &State) {
        self.allowed.store(state.limiter.connections(), Ordering::Relaxed);
        self.watched.store(state.limiter.is_watched(), Ordering::Relaxed);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct OpenMark(Arc<Site>);

impl Drop for OpenMark {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.open = state.open.saturating_sub(1);
    }
}
