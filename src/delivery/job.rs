//! Jobs: what lanes carry, and what makes two of them go the same way. Plain data.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::site::Slot;
use super::trials::Turn;
use super::warmth::Counted;
use crate::hooks::{DeliveryFacts, NextHop, Route};
use crate::queue::{Lease, RecipientState};
use crate::time::Timestamp;

/// Mail that was never tried counts as new for so long after its arrival, however often it was put off.
const YOUNG: Duration = Duration::from_secs(60);

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
    /// Its turn, where nobody knows whether the next hop is alive.
    pub(super) turn: Option<Turn>,
    /// What was counted for it, where its source is in warm-up.
    pub(super) counted: Option<Box<Counted>>,
}

impl Job {
    /// One that no plugin was asked about.
    pub(super) fn new(lease: Lease, route: Arc<Route>, fresh: bool) -> Self {
        Self { lease, route, fresh, asked: None, turn: None, counted: None }
    }

    /// One of its recipients counts as tried.
    pub(super) fn was_tried(&self, now: Timestamp) -> bool {
        let record = &self.lease.record;
        let mut mine = record.recipients.iter().filter(|r| self.lease.recipients.contains(&r.index));
        mine.any(|recipient| was_tried(&recipient.state, record.arrived, now))
    }
}

/// It failed before, or waits for so long that nobody can tell it from what failed: what is young and was never tried must not
/// stand in line with mail for the dead.
fn was_tried(state: &RecipientState, arrived: Timestamp, now: Timestamp) -> bool {
    state.attempts > 0 || now.since(arrived) >= YOUNG
}

/// What makes a connection fit for a message: all of a route but its times, the source that was picked, and the tenant.
#[derive(Clone, Debug)]
pub(super) struct LaneKey {
    pub(super) route: Arc<Route>,
    /// A `[sources.NAME]`, picked of the pool that the route names.
    pub(super) source: Option<Arc<str>>,
    /// A tenant that a rule names.
    pub(super) tenant: Option<Arc<str>>,
}

impl LaneKey {
    /// The next hop, for logs.
    pub(super) fn name(&self) -> Arc<str> {
        self.route.hops.first().map_or_else(|| "nowhere".into(), |hop| HopName(hop).to_string().into())
    }
}

impl PartialEq for LaneKey {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.route, &*other.route);
        let same = a.hops == b.hops && a.tls == b.tls && a.source == b.source && a.lane == b.lane;
        same && a.credential == b.credential && self.source == other.source && self.tenant == other.tenant
    }
}

impl Eq for LaneKey {}

impl Hash for LaneKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.route.hops.hash(state);
        self.route.credential.hash(state);
        self.route.lane.hash(state);
        self.source.hash(state);
    }
}

/// A hop as it is written in logs.
pub(super) struct HopName<'a>(pub(super) &'a NextHop);

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

/// What became of a job that was brought.
#[derive(Debug)]
pub(super) enum Pushed {
    /// A worker will take it.
    Ready,
    /// The same, and one more worker is to be spawned.
    Spawn(Slot),
    /// There is no room. It should come back after this long.
    Full(Box<Job>, Duration),
    /// The lane has to be told its site first: see `Lane::attach`.
    Astray(Box<Job>),
}

/// What a worker is to do.
#[derive(Debug)]
pub(super) enum Take {
    /// This; with `spawn`, there is enough left for one more worker.
    Job {
        /// The job.
        job: Box<Job>,
        /// Spawn a worker.
        spawn: Option<Slot>,
    },
    /// Settle this for a time so far ahead.
    PutOff(Box<Job>, Duration),
    /// Wait until then.
    Wait(Instant),
    /// Wait for a job, but not longer than this.
    Idle(Duration),
    /// Go home.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_mail_that_was_put_off_is_new_for_a_while() {
        let at = Timestamp::from_secs;
        for (attempts, due, now, tried) in [
            (0, 100, 100, false),
            (0, 100, 100_000, true),
            (0, 102, 103, false),
            (0, 150, 159, false),
            (0, 150, 160, true),
            (1, 150, 101, true),
        ] {
            let state = RecipientState { attempts, ..RecipientState::new(at(due)) };
            assert_eq!(was_tried(&state, at(100), at(now)), tried, "{attempts} attempts, due {due}, now {now}");
        }
    }
}
