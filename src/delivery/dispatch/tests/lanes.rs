//! Lanes with real leases: who is spawned, who is woken, what does not fit.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::rig::{Rig, Script};
use crate::delivery::LaneLimits;
use crate::delivery::config::tests::{config, named};
use crate::delivery::lane::{Job, Lane, LaneKey, Pushed, Take};
use crate::hooks::Route;

struct Jobs {
    rig: Rig,
    ready: Vec<Job>,
}

impl Jobs {
    async fn new(count: usize) -> Self {
        let rig = Rig::new(config(), named("x"), Script::default()).await;
        for _ in 0..count {
            rig.accept("sue@example.org", &["ann@example.net"]).await;
        }
        let mut ready = Vec::new();
        while ready.len() < count {
            let leases = rig.queue.lease(count).await;
            ready.extend(leases.into_iter().map(|lease| Job {
                lease,
                route: Arc::new(named("x")),
                fresh: false,
                asked: None,
            }));
        }
        Self { rig, ready }
    }

    fn push(&mut self, lane: &Lane, limits: LaneLimits) -> &'static str {
        match lane.push(self.ready.pop().unwrap(), limits) {
            Pushed::Ready => "ready",
            Pushed::Spawn => "spawn",
            Pushed::Full(..) => "full",
        }
    }
}

fn lane(limits: LaneLimits) -> Lane {
    Lane::new(&LaneKey(Arc::new(named("x"))), limits)
}

fn take(lane: &Lane, starting: &mut bool) -> &'static str {
    match lane.take(starting, Instant::now()) {
        Take::Job { spawn: true, .. } => "job, spawn",
        Take::Job { spawn: false, .. } => "job",
        Take::Wait(_) => "wait",
        Take::Idle(_) => "idle",
        Take::Closed => "closed",
    }
}

#[tokio::test]
async fn workers_come_with_waiting_jobs_and_go_without() {
    let limits = LaneLimits { connections: 2, ..LaneLimits::default() };
    let lane = lane(limits);
    let mut jobs = Jobs::new(6).await;
    assert_eq!(jobs.push(&lane, limits), "spawn");
    assert_eq!(jobs.push(&lane, limits), "spawn");
    assert_eq!(jobs.push(&lane, limits), "ready", "no more than two");
    let (mut one, mut two) = (true, true);
    assert_eq!(take(&lane, &mut one), "job");
    assert_eq!(take(&lane, &mut two), "job");
    assert_eq!(take(&lane, &mut one), "job");
    assert_eq!(take(&lane, &mut two), "idle");
    assert_eq!(jobs.push(&lane, limits), "ready", "the idle one takes it");
    lane.woken();
    assert_eq!(take(&lane, &mut two), "job");
    assert!(!lane.is_over(Instant::now()));
    assert!(!lane.leave(false, false, Instant::now()));
    assert_eq!(jobs.push(&lane, limits), "spawn", "one left, so there is room for another");
    let mut three = true;
    assert_eq!(take(&lane, &mut three), "job");
    assert!(!lane.leave(false, false, Instant::now()) && !lane.leave(false, false, Instant::now()));
    assert!(lane.is_over(Instant::now()));
}

#[tokio::test]
async fn a_lane_at_rest_is_not_forgotten_and_lets_one_in() {
    let limits = LaneLimits::default();
    let lane = Arc::new(lane(limits));
    let mut jobs = Jobs::new(3).await;
    let now = Instant::now();
    assert_eq!(jobs.push(&lane, limits), "spawn");
    let open = lane.opened();
    assert_eq!(lane.refused(now), crate::delivery::limits::Reach::Enough);
    drop(open);
    assert_eq!(lane.refused(now), crate::delivery::limits::Reach::Unreachable);
    let mut starting = true;
    assert_eq!(take(&lane, &mut starting), "job");
    assert_eq!(jobs.push(&lane, limits), "ready", "one worker is enough for what is only put off");
    assert_eq!(take(&lane, &mut starting), "job");
    assert!(!lane.leave(false, false, now));
    assert!(!lane.is_over(now), "the rest is not over");
    assert!(lane.is_over(now + limits.cool_down));
}

#[tokio::test]
async fn a_worker_that_leaves_in_the_moment_a_job_comes_is_replaced() {
    let limits = LaneLimits { connections: 1, ..LaneLimits::default() };
    let lane = lane(limits);
    let mut jobs = Jobs::new(2).await;
    assert_eq!(jobs.push(&lane, limits), "spawn");
    let mut starting = true;
    assert_eq!(take(&lane, &mut starting), "job");
    assert_eq!(take(&lane, &mut starting), "idle");
    assert_eq!(jobs.push(&lane, limits), "ready");
    lane.woken();
    assert!(lane.leave(false, false, Instant::now()), "somebody must come for it");
}

#[tokio::test]
async fn looking_ahead_takes_nothing_from_others() {
    let limits = LaneLimits { connections: 1, ..LaneLimits::default() };
    let lane = lane(limits);
    let mut jobs = Jobs::new(3).await;
    assert_eq!(jobs.push(&lane, limits), "spawn");
    assert_eq!(jobs.push(&lane, limits), "ready");
    let now = Instant::now();
    let mut starting = true;
    assert_eq!(take(&lane, &mut starting), "job");
    assert!(lane.take_ahead(now).is_some());
    assert!(lane.take_ahead(now).is_none(), "nothing left");

    let roomy = LaneLimits { connections: 2, ..limits };
    let lane = self::lane(roomy);
    assert_eq!(jobs.push(&lane, roomy), "spawn");
    assert!(lane.take_ahead(now).is_none(), "one is on its way for it");
}

#[tokio::test]
async fn what_does_not_fit_comes_back_later() {
    let limits = LaneLimits { connections: 1, per_second: Some(1), ..LaneLimits::default() };
    let lane = lane(limits);
    let mut jobs = Jobs::new(12).await;
    for _ in 0..10 {
        assert_ne!(jobs.push(&lane, limits), "full");
    }
    let Pushed::Full(_, after) = lane.push(jobs.ready.pop().unwrap(), limits) else { panic!("ten seconds' worth") };
    assert_eq!(after, Duration::from_secs(5));
    let mut starting = true;
    assert_eq!(take(&lane, &mut starting), "job");
    assert_eq!(take(&lane, &mut starting), "wait", "one a second");
    lane.woken();
    lane.close();
    assert_eq!(take(&lane, &mut starting), "closed");
    drop(jobs.ready);
    assert_eq!(jobs.rig.queue.counts().leased, 0, "all due again");
}

#[test]
fn times_make_no_other_lane() {
    let route = Route { expires_after_secs: Some(60), retry_schedule: Some("x".into()), ..named("x") };
    let (a, b) = (LaneKey(Arc::new(route)), LaneKey(Arc::new(named("x"))));
    assert_eq!(a, b);
    for other in [
        named("y"),
        Route { lane: Some("slow".into()), ..named("x") },
        Route { credential: Some("me".into()), ..named("x") },
        Route { source: Some("here".into()), ..named("x") },
        Route { tls: crate::hooks::TlsPolicy::Verify, ..named("x") },
    ] {
        assert_ne!(LaneKey(Arc::new(other)), b);
    }
}
