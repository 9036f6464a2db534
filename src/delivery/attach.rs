//! From a job to its lane, and from a lane to its site: exchangers are looked up aside, so that the loop waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Config;
use super::attempt::Attempt;
use super::dispatch::Dispatcher;
use super::give_up;
use super::job::{HopName, Job, LaneKey};
use super::lane::Lane;
use super::pools::{Passenger, Picked};
use super::sites::{Exchangers, describe};
use super::warmth::Counted;
use crate::hooks::{NextHop, Route, Stage};
use crate::queue::{Change, Settled};
use crate::routing::ResolveError;
use crate::time::Timestamp;

/// Look-ups under way at a time for mail that was never tried: a name server that does not answer must not have a task's
/// worth of questions for each of ten thousand domains.
const LOOK_UPS: usize = 192;

/// The same for mail that failed before. After a restart there may be much of it, for domains whose names are as dead as
/// their hosts, and new mail must not stand in line behind it.
const LOOK_UPS_AGAIN: usize = 64;

/// A resolver gives up by itself; this is for one that does not. The domain is then counted alone.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(30);

/// Turns for looking up exchangers.
#[derive(Debug)]
pub(super) struct LookUps {
    first: Semaphore,
    again: Semaphore,
}

impl Default for LookUps {
    fn default() -> Self {
        Self { first: Semaphore::new(LOOK_UPS), again: Semaphore::new(LOOK_UPS_AGAIN) }
    }
}

/// A lane whose site is being looked for, until the look-up ends in whatever way.
struct Looking(Arc<Lane>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.looked();
    }
}

impl Dispatcher {
    /// What makes the lane of a job.
    ///
    /// # Errors
    /// When it can leave from nowhere: the time before which that does not change, and why.
    pub(super) fn lane_key(&self, config: &Config, job: &mut Job) -> Result<LaneKey, (Timestamp, Arc<str>)> {
        let tenant = config.shaping.tenant_of(&job.lease.record.annotations);
        let route = Arc::clone(&job.route);
        let source = match config.source_for(&route, tenant.as_deref()) {
            // A name that is not known is told of by the attempt.
            Some((name, _)) if config.sources.contains_key(name) || config.pools.contains_key(name) => {
                Some(self.pick(config, name, job)?)
            }
            _ => None,
        };
        Ok(LaneKey { route, source, tenant })
    }

    fn pick(&self, config: &Config, name: &Arc<str>, job: &mut Job) -> Result<Arc<str>, (Timestamp, Arc<str>)> {
        let record = &job.lease.record;
        let leased = record.recipients.iter().filter(|r| job.lease.recipients.contains(&r.index));
        let site = self.site_name(config, &job.route);
        // What was put off for want of a source has not left.
        let tried = leased.flat_map(|r| &r.state.history).any(|past| past.stage != Stage::Queue);
        let who = Passenger { number: record.id.to_u64(), tried, site: &site };
        let picked = self.sources().lock().pick(config, name, who, fastrand::f64(), self.clock().now());
        match picked {
            Picked::Source(source, count) => {
                job.counted = count.map(|count| Counted::new(self.sources(), count));
                Ok(source)
            }
            Picked::Later(at, why) => Err((at, why)),
        }
    }

    /// What the site of a route's first hop is called, as far as that is known: what was looked up a while ago is nearer the truth
    /// than a domain's own name.
    pub(super) fn site_name(&self, config: &Config, route: &Route) -> Arc<str> {
        let Some(hop) = config.first_hop(route) else { return "".into() };
        match (self.sites().known_lately(hop), hop) {
            (Some(found), _) => found.name,
            (None, NextHop::Mx(domain)) => Arc::clone(domain),
            (None, _) => "".into(),
        }
    }

    /// True if the give-up time of a job has come.
    pub(super) fn is_over(&self, job: &Job) -> bool {
        give_up::is_over(&self.config(), &job.route, &job.lease, self.clock().now())
    }

    /// Defers a job that can leave from nowhere.
    pub(super) fn put_off(self: &Arc<Self>, job: Job, at: Timestamp, why: Arc<str>) {
        let dispatcher = Arc::clone(self);
        self.spawn(async move {
            let name = job.route.hops.first().map_or_else(|| "nowhere".into(), |hop| HopName(hop).to_string().into());
            Attempt::new(&dispatcher, job, name).put_off(at, why).await;
        });
    }

    /// Puts a job off, without an attempt.
    pub(super) async fn send_back(self: &Arc<Self>, mut job: Job, after: Duration) {
        // Its source has not sent it.
        job.counted = None;
        if self.is_over(&job) {
            return self.put_off(job, self.clock().now(), "its turn did not come in time".into());
        }
        let now = self.clock().now();
        let at = now.plus(after.mul_f64(1.0 + fastrand::f64()));
        let Job { lease, route, fresh, .. } = job;
        let at = give_up::in_time(&lease.record, at, now);
        let settled = lease.record.recipients.iter().filter(|r| lease.recipients.contains(&r.index)).map(|r| {
            let route = fresh.then(|| Arc::clone(&route));
            let change = Change::Retry { at, counted: false, route, warned: r.state.warned };
            Settled { recipient: r.index, change, outcome: None, past: None }
        });
        let settled = settled.collect();
        self.settle(lease, settled, None, Vec::new()).await;
    }

    /// Finds the site of a lane, at once or by a task of its own; `again`: for a job that failed before.
    pub(super) fn attach(self: &Arc<Self>, lane: &Arc<Lane>, config: &Arc<Config>, again: bool) {
        let now = Instant::now();
        let hop = config.first_hop(&lane.key.route).cloned().unwrap_or_else(|| NextHop::Named("".into()));
        if let Some(found) = self.sites().exchangers(&hop, now) {
            return self.join(lane, config, &found, now);
        }
        let NextHop::Mx(domain) = hop else { return };
        lane.looks();
        let (dispatcher, lane, config) = (Arc::clone(self), Arc::clone(lane), Arc::clone(config));
        self.spawn(async move { dispatcher.look_up(lane, config, domain, again).await });
    }

    async fn look_up(self: Arc<Self>, lane: Arc<Lane>, config: Arc<Config>, domain: Arc<str>, again: bool) {
        let looking = Looking(lane);
        let turns = self.look_ups();
        let Ok(_turn) = (if again { &turns.again } else { &turns.first }).acquire().await else { return };
        let answer = match timeout(LOOK_UP_WITHIN, self.resolver().mx(&domain)).await {
            Ok(answer) => answer,
            Err(_) => Err(ResolveError::Temporary("it took too long".into())),
        };
        let now = Instant::now();
        let found = self.sites().learn(&domain, answer, now);
        self.join(&looking.0, &config, &found, now);
    }

    fn join(self: &Arc<Self>, lane: &Arc<Lane>, config: &Arc<Config>, found: &Exchangers, now: Instant) {
        let site = self.sites().find(config, &lane.key, found, now);
        if let Some(slot) = lane.attach(&site, config) {
            self.spawn_worker(lane, slot);
        }
    }

    /// Recipients of one transaction by this route.
    pub(super) fn recipients_at_once(&self, config: &Config, route: &Arc<Route>) -> usize {
        if config.shaping.rules.is_empty() {
            return config.lane(route).map_or(config.limits, |(_, limits)| *limits).recipients.max(1);
        }
        let found = config.first_hop(route).and_then(|hop| self.sites().exchangers(hop, Instant::now()));
        let found = found.unwrap_or_else(|| Exchangers { name: "".into(), best: Arc::default() });
        let key = LaneKey { route: Arc::clone(route), source: None, tenant: None };
        describe(config, &key, &found).1.limits.recipients.max(1)
    }

    /// Lanes whose exchangers were looked up long ago have them looked up again with their next job.
    pub(super) fn age(&self, lanes: &[Arc<Lane>]) {
        let (config, now) = (self.config(), Instant::now());
        for lane in lanes.iter().filter(|lane| lane.is_attached()) {
            if config.first_hop(&lane.key.route).is_some_and(|hop| self.sites().is_old(hop, now)) {
                lane.detach();
            }
        }
    }
}
