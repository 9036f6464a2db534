//! The dispatch loop: leases what is due, routes it, and hands it to the lane of its next hop.
//!
//! Between the lease and the settlement a message changes tasks once, from this loop to the worker that sends it. The
//! loop itself waits for nobody but the queue: hooks are asked by workers, or by tasks of their own. A fault in any task
//! drops its lease, which makes the recipients due again; the lane then rests, so that no fault is met in a tight loop.

mod access;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::future::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Config;
use super::attach::LookUps;
use super::connector::Connector;
use super::job::{Job, LaneKey, Pushed};
use super::lane::Lane;
use super::lane_worker::Seat;
use super::places::Places;
use super::pools::Sources;
use super::requeue;
use super::reroutes::Reroutes;
use super::site::{Served, Slot};
use super::sites::Sites;
use super::tls_out::Wisdom;
use super::trials::{Trials, Turn};
use super::warmth::Warmth;
use crate::history::History;
use crate::hooks::{Hooks, Route};
use crate::mail::{Annotations, QueueId};
use crate::pulse::Pulse;
use crate::queue::{Incoming, Lease, Queue, QueueError, QueuedRecipient, Settled};
use crate::routing::{Resolver, Table};
use crate::store::StoreError;
use crate::sts::Policies;
use crate::suppression::Suppression;
use crate::time::Clock;
use crate::tlsrpt::Ledger;

/// Messages leased at a time: enough to keep the lanes fed, few enough that a reload or a shutdown finds little on
/// its way. How many are leased in all is the queue's own window.
const BATCH: usize = 64;

/// How often lanes without work are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// How long attempts under way may go on at shutdown. What is cut off is tried again after the restart.
const DRAIN: Duration = Duration::from_secs(20);

/// Nothing is sent for this long after the queue could not take a settlement, and twice as long after each pause that
/// did not help, up to [`PAUSE_MAX`]: what was delivered is due again, and would be delivered over and over.
const PAUSE: Duration = Duration::from_secs(2);

/// A full disk has room again when somebody made some, and nobody tells: that is how late it may be noticed.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The same, once the store has failed for good and waits for a restart.
const PAUSE_BROKEN: Duration = Duration::from_secs(86_400);

/// Takes due recipients from the queue to their next hops and settles them.
pub struct Dispatcher {
    /// Known once it runs.
    me: OnceLock<Weak<Self>>,
    config: Arc<ArcSwap<Config>>,
    table: Arc<ArcSwap<Table>>,
    queue: Arc<Queue>,
    hooks: Arc<ArcSwap<Arc<dyn Hooks>>>,
    resolver: Arc<dyn Resolver>,
    connector: Arc<dyn Connector>,
    clock: Arc<dyn Clock>,
    wisdom: Wisdom,
    lanes: Mutex<HashMap<LaneKey, Arc<Lane>>>,
    sites: Sites,
    sources: Arc<Mutex<Sources>>,
    places: Places,
    look_ups: LookUps,
    reroutes: Mutex<Reroutes>,
    trials: Trials,
    /// Pauses in a row, without a settlement that was stored in between.
    failures: AtomicU32,
    /// After a failure, nothing is sent before this.
    paused: Mutex<Option<Instant>>,
    /// Where it is written down what left the queue.
    history: OnceLock<History>,
    /// Whom nothing is sent to.
    suppression: OnceLock<Suppression>,
    /// Where it is counted what attempts come to.
    pulse: OnceLock<Pulse>,
    /// What sources in warm-up sent is kept there.
    pub(super) warmth: OnceLock<Warmth>,
    tasks: TaskTracker,
    /// Nothing new is begun.
    closing: CancellationToken,
    /// The drain time is over.
    cut: CancellationToken,
}

impl Dispatcher {
    /// A dispatcher at rest.
    pub fn new(
        config: Arc<ArcSwap<Config>>,
        table: Arc<ArcSwap<Table>>,
        queue: Arc<Queue>,
        hooks: Arc<ArcSwap<Arc<dyn Hooks>>>,
        resolver: Arc<dyn Resolver>,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let places = Places::new(config.load().max_connections);
        let trials = Trials::new(queue.window(), places.unknown());
        Arc::new(Self {
            me: OnceLock::new(),
            config,
            table,
            queue,
            hooks,
            resolver,
            connector,
            clock,
            wisdom: Wisdom::default(),
            lanes: Mutex::default(),
            sites: Sites::default(),
            sources: Arc::default(),
            places,
            look_ups: LookUps::default(),
            reroutes: Mutex::default(),
            trials,
            failures: AtomicU32::new(0),
            paused: Mutex::default(),
            history: OnceLock::new(),
            suppression: OnceLock::new(),
            pulse: OnceLock::new(),
            warmth: OnceLock::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }

    /// Has it written down what leaves the queue from here on.
    pub fn record_in(&self, history: History) {
        // Said once, by whoever puts the relay together.
        let _ = self.history.set(history);
    }

    /// Has nothing sent to those on this list from here on.
    pub fn heed(&self, list: Suppression) {
        // Said once, as above.
        let _ = self.suppression.set(list);
    }

    /// Has it counted, and told, what attempts come to from here on.
    pub fn count_in(&self, pulse: Pulse) {
        // Said once, as above.
        let _ = self.pulse.set(pulse);
    }

    /// Where it is counted, if it is.
    pub(super) fn pulse(&self) -> Option<&Pulse> {
        self.pulse.get()
    }

    /// The same, heeding the policies that domains publish, and counting for their reports. Before it runs.
    pub fn with_policies(mut self: Arc<Self>, policies: Arc<Policies>, ledger: Arc<Ledger>) -> Arc<Self> {
        if let Some(this) = Arc::get_mut(&mut self) {
            (this.wisdom.policies, this.wisdom.ledger) = (Some(policies), Some(ledger));
        }
        self
    }

    /// Runs until `shutdown`, then finishes what is under way, within a bound.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        // Once, as it runs once.
        let _ = self.me.set(Arc::downgrade(&self));
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let leases = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = sweep.tick() => {
                    self.sweep();
                    continue;
                }
                leases = self.leases() => leases,
            };
            for lease in leases {
                self.dispatch(lease).await;
            }
        }
        self.drain().await;
    }

    /// What is due next. Dropped while it waits, nothing is lost: a lease that is not dispatched is due again.
    async fn leases(&self) -> Vec<Lease> {
        let pause = *self.paused.lock();
        if let Some(until) = pause {
            tokio::time::sleep_until(until).await;
            self.paused.lock().take_if(|paused| *paused <= until);
        }
        self.queue.lease(BATCH).await
    }

    /// Routes one message's recipients and hands them to lanes; ends those that a plugin refused already.
    async fn dispatch(self: &Arc<Self>, lease: Lease) {
        let Some(lease) = self.end_refused(lease) else { return };
        let Some(lease) = self.set_apart(lease) else { return };
        let record = Arc::clone(&lease.record);
        let mut leased = record.recipients.iter().filter(|r| lease.recipients.contains(&r.index));
        if lease.recipients.len() == 1
            && let Some(only) = leased.next()
            && !only.state.reroute
        {
            let route = self.route_of(only);
            return self.hand_over(Job::new(lease, route, false)).await;
        }
        if record.recipients.iter().any(|r| r.state.reroute && lease.recipients.contains(&r.index)) {
            let dispatcher = Arc::clone(self);
            self.spawn(async move { requeue::reroute(&dispatcher, lease).await });
            return;
        }
        let routes: Vec<(u32, Arc<Route>)> = leased.map(|r| (r.index, self.route_of(r))).collect();
        self.hand_over_all(lease, routes, false).await;
    }

    /// Recipients that the route hook refused at arrival are queued with that outcome: it is concluded without an
    /// attempt, apart from the others. None: there are no others.
    fn end_refused(self: &Arc<Self>, lease: Lease) -> Option<Lease> {
        let leased = |r: &&QueuedRecipient| lease.recipients.contains(&r.index);
        let refused = lease.record.recipients.iter().filter(leased).filter(|r| r.state.is_refused());
        let refused: Vec<u32> = refused.map(|r| r.index).collect();
        if refused.is_empty() {
            return Some(lease);
        }
        let others = lease.recipients.iter().copied().filter(|index| !refused.contains(index)).collect();
        let mut rest = None;
        for part in lease.split(vec![refused.clone(), others]) {
            if part.recipients.iter().any(|index| refused.contains(index)) {
                let dispatcher = Arc::clone(self);
                self.spawn(async move { requeue::end_refused(&dispatcher, part).await });
            } else {
                rest = Some(part);
            }
        }
        rest
    }

    /// The route a plugin stored with the recipient, or the relay's own.
    pub(super) fn route_of(&self, recipient: &QueuedRecipient) -> Arc<Route> {
        match &recipient.route {
            Some(route) => Arc::clone(route),
            None => self.table.load().route(&recipient.mailbox.domain),
        }
    }

    /// Splits a lease by route, and by how many recipients one transaction may have.
    pub(super) async fn hand_over_all(self: &Arc<Self>, lease: Lease, routes: Vec<(u32, Arc<Route>)>, fresh: bool) {
        let mut order: Vec<Arc<Route>> = Vec::new();
        let mut groups: HashMap<Arc<Route>, Vec<u32>> = HashMap::new();
        for (index, route) in routes {
            match groups.entry(route) {
                Entry::Occupied(mut group) => group.get_mut().push(index),
                Entry::Vacant(group) => {
                    order.push(Arc::clone(group.key()));
                    group.insert(vec![index]);
                }
            }
        }
        let config = self.config();
        let mut ways = Vec::new();
        let mut parts = Vec::new();
        for route in order {
            let most = self.recipients_at_once(&config, &route);
            for chunk in groups.get(&route).map(Vec::as_slice).unwrap_or_default().chunks(most) {
                ways.push(Arc::clone(&route));
                parts.push(chunk.to_vec());
            }
        }
        for (lease, route) in lease.split(parts).into_iter().zip(ways) {
            self.hand_over(Job::new(lease, route, fresh)).await;
        }
    }

    /// Puts a job into its lane; what does not fit goes back to the queue.
    async fn hand_over(self: &Arc<Self>, mut job: Job) {
        let (lane, pushed) = {
            let config = self.config.load();
            let key = match self.lane_key(&config, &mut job) {
                Ok(key) => key,
                Err((at, why)) => return self.put_off(job, at, why),
            };
            // Held while the job is pushed, so that no lane is swept away with a job in it.
            let mut lanes = self.lanes.lock();
            let lane = match lanes.entry(key) {
                Entry::Occupied(lane) => Arc::clone(lane.get()),
                Entry::Vacant(place) => {
                    let lane = Lane::new(place.key().clone());
                    Arc::clone(place.insert(lane))
                }
            };
            let now = Instant::now();
            let on_trial = lane.on_trial(now);
            let on_trial = on_trial.filter(|_| lane.site().is_some() || !self.sites.presumes(&config, &lane.key));
            let again = job.was_tried(self.clock.now());
            match on_trial.map_or(Ok(None), |held| self.turn(held, again, now)) {
                Ok(turn) => job.turn = turn,
                Err(after) => {
                    drop(lanes);
                    return self.without_turn(job, after, again);
                }
            }
            let pushed = self.push(&lane, job, &config);
            (lane, pushed)
        };
        match pushed {
            Pushed::Ready => {}
            Pushed::Spawn(slot) => self.spawn_worker(&lane, slot),
            Pushed::Full(job, after) => self.send_back_aside(*job, after),
            // Due again at once: the configuration was replaced in between.
            Pushed::Astray(job) => drop(job),
        }
    }

    /// What failed before is let be as it is: after an outage there may be a million such, and none is to be written for nothing.
    fn without_turn(self: &Arc<Self>, mut job: Job, after: Duration, again: bool) {
        if again && !job.fresh && !self.is_over(&job) && job.lease.pass_over() {
            return;
        }
        self.send_back_aside(job, after);
    }

    /// Aside: content may have to be read and moved, and others can be sent meanwhile.
    fn send_back_aside(self: &Arc<Self>, job: Job, after: Duration) {
        let dispatcher = Arc::clone(self);
        self.spawn(async move { dispatcher.send_back(job, after).await });
    }

    /// A turn for a job to a next hop that has `held` jobs already, if it needs one.
    fn turn(&self, held: usize, again: bool, now: Instant) -> Result<Option<Turn>, Duration> {
        // It is being found out already whether anybody is there. New mail waits for that where it keeps nobody out of the window:
        // gone back to the queue, it would come after all that is due there.
        if held > 0 && !again && self.queue.is_roomy() {
            return Ok(None);
        }
        self.trials.turn(held, again, now).map(Some)
    }

    fn push(self: &Arc<Self>, lane: &Arc<Lane>, job: Job, config: &Arc<Config>) -> Pushed {
        match lane.push(job, config) {
            Pushed::Astray(job) => {
                self.attach(lane, config, job.was_tried(self.clock.now()));
                lane.push(*job, config)
            }
            // Gone back to the queue it would come after seconds, and the next hop needs a fraction of one for all before it.
            Pushed::Full(job, _) if lane.is_swift() && self.queue.is_roomy() => lane.push_beyond(*job),
            pushed => pushed,
        }
    }

    /// Records what became of a lease; true if that is done. If it fails, sending pauses.
    pub(super) async fn settle(
        &self,
        lease: Lease,
        settled: Vec<Settled>,
        annotations: Option<Annotations>,
        notices: Vec<Incoming>,
    ) -> bool {
        let id = lease.record.id;
        match self.queue.settle(lease, settled, annotations, notices).await {
            Ok(()) => {
                if self.failures.load(Ordering::Relaxed) > 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
                return true;
            }
            Err(QueueError::Unknown(_) | QueueError::Recent(_)) => {
                tracing::info!(queue_id = %id, "removed while it was under way")
            }
            Err(QueueError::Store(error)) => self.pause(id, &error),
            // It is set aside, and no other message is the worse for it.
            Err(error) => tracing::error!(queue_id = %id, %error, "outcome can't be stored"),
        }
        false
    }

    /// Attempts under way fail together: they make one pause, not each a longer one.
    fn pause(&self, id: QueueId, error: &StoreError) {
        let now = Instant::now();
        let mut paused = self.paused.lock();
        let pausing = paused.is_some_and(|until| now < until);
        let pause = match error {
            StoreError::Broken(_) | StoreError::Closed => PAUSE_BROKEN,
            _ if pausing => {
                tracing::error!(queue_id = %id, %error, "outcome can't be stored");
                return;
            }
            _ => PAUSE_MAX.min(PAUSE * 2_u32.pow(self.failures.load(Ordering::Relaxed).min(6))),
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(queue_id = %id, %error, pause_s = pause.as_secs(), "outcome can't be stored");
        *paused = Some(now + pause);
    }

    /// True while nothing should be sent, because what becomes of it could not be stored.
    pub(super) fn is_paused(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0 && self.paused.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Adds a worker that the lane has counted already.
    pub(super) fn spawn_worker(self: &Arc<Self>, lane: &Arc<Lane>, slot: Slot) {
        self.spawn(Seat::new(Arc::clone(self), Arc::clone(lane), slot).work());
    }

    /// The same for several lanes.
    pub(super) fn spawn_workers(self: &Arc<Self>, served: Served) {
        for (lane, slot) in served {
            self.spawn_worker(&lane, slot);
        }
    }

    /// The same, for who has no share in the dispatcher.
    pub(super) fn spawn_more(&self, served: Served) {
        if let Some(me) = self.me.get().and_then(Weak::upgrade).filter(|_| !served.is_empty()) {
            me.spawn_workers(served);
        }
    }

    /// Runs something that the drain waits for, and cuts off when it took too long.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Not in an async block: each of those that the work is moved through has room for it once more.
        self.tasks.spawn(work.with_cancellation_token_owned(self.cut.clone()));
    }

    /// Forgets lanes without work, and sites that nobody needs.
    fn sweep(&self) {
        let now = Instant::now();
        let lanes: Vec<Arc<Lane>> = {
            let mut lanes = self.lanes.lock();
            lanes.retain(|_, lane| !lane.is_over(now));
            if lanes.capacity() > 4 * lanes.len() + 64 {
                lanes.shrink_to_fit();
            }
            lanes.values().cloned().collect()
        };
        self.age(&lanes);
        drop(lanes);
        self.sites.sweep(now);
        self.reroutes.lock().sweep(self.clock.now());
        self.wisdom.memory.sweep(now);
        self.keep_warmth();
    }

    async fn drain(&self) {
        let lanes = std::mem::take(&mut *self.lanes.lock());
        lanes.values().for_each(|lane| lane.close());
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "attempts cut off at shutdown; they will be made again");
            self.cut.cancel();
            self.tasks.wait().await;
        }
        self.finish_warmth().await;
    }

    /// False once a message went from one route to the next too often.
    pub(super) fn may_reroute(&self, id: QueueId, now: crate::time::Timestamp) -> bool {
        self.reroutes.lock().allow(id, now)
    }
}

#[cfg(test)]
mod tests;
