//! Lanes with real leases: who is spawned, who is woken, what does not fit.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::rig::{Rig, Script};
use crate::delivery::config::tests::{config, named};
use crate::delivery::job::{Job, LaneKey, Pushed, Take};
use crate::delivery::lane::Lane;
use crate::delivery::limits::Reach;
use crate::delivery::shaping::{Place, Shaping};
use crate::delivery::site::{Site, SiteKey, Slot};
use crate::delivery::{Config, LaneLimits};
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
            ready.extend(leases.into_iter().map(|lease| Job::new(lease, Arc::new(named("x")), false)));
        }
        Self { rig, ready }
    }

    /// What became of the next job.
    fn push(&mut self, way: &Way) -> &'static str {
        match way.lane.push(self.ready.pop().unwrap(), &way.config) {
            Pushed::Ready => "ready",
            Pushed::Spawn(_) => "spawn",
            Pushed::Full(..) => "full",
            Pushed::Astray(_) => "astray",
        }
    }
}

/// A lane and its site, and a slot to look through.
struct Way {
    lane: Arc<Lane>,
    site: Arc<Site>,
    config: Arc<Config>,
    slot: Slot,
}

fn site(limits: LaneLimits) -> Arc<Site> {
    let key = SiteKey { name: "x".into(), source: None, lane: None, tenant: None, rules: Vec::new() };
    let effective = Shaping::default().effective(&Place::default(), &limits, None);
    let site = Arc::new(Site::new(key, &effective, Arc::default(), Instant::now()));
    assert!(site.greeted().is_empty());
    site
}

fn to(site: &Arc<Site>) -> Way {
    let (lane, config) = (Lane::new(key(named("x"))), Arc::new(config()));
    assert!(lane.attach(site, &config).is_none(), "nothing to do");
    let slot = Slot { site: Arc::clone(site), shed: false };
    Way { lane, site: Arc::clone(site), config, slot }
}

fn way(limits: LaneLimits) -> Way {
    to(&site(limits))
}

fn key(route: Route) -> LaneKey {
    LaneKey { route: Arc::new(route), source: None, tenant: None }
}

impl Way {
    fn take(&mut self, starting: &mut bool) -> &'static str {
        match self.lane.take(&mut self.slot, starting, true, Instant::now()) {
            Take::Job { spawn: Some(_), .. } => "job, spawn",
            Take::Job { spawn: None, .. } => "job",
            Take::PutOff(..) => "put off",
            Take::Wait(_) => "wait",
            Take::Idle(_) => "idle",
            Take::Closed => "closed",
        }
    }

    /// How many get a worker because this one leaves.
    fn leave(&self) -> usize {
        self.lane.leave(&self.slot, false, false, Instant::now()).len()
    }
}

#[tokio::test]
async fn workers_come_with_waiting_jobs_and_go_without() {
    let mut way = way(LaneLimits { connections: 2, ..LaneLimits::default() });
    let mut jobs = Jobs::new(6).await;
    assert_eq!(jobs.push(&way), "spawn");
    assert_eq!(jobs.push(&way), "spawn");
    assert_eq!(jobs.push(&way), "ready", "no more than two");
    let (mut one, mut two) = (true, true);
    assert_eq!(way.take(&mut one), "job");
    assert_eq!(way.take(&mut two), "job");
    assert_eq!(way.take(&mut one), "job");
    assert_eq!(way.take(&mut two), "idle");
    assert_eq!(jobs.push(&way), "ready", "the idle one takes it");
    way.lane.woken(&way.slot);
    assert_eq!(way.take(&mut two), "job");
    assert!(!way.lane.is_over(Instant::now()));
    assert_eq!(way.leave(), 0);
    assert_eq!(jobs.push(&way), "spawn", "one left, so there is room for another");
    let mut three = true;
    assert_eq!(way.take(&mut three), "job");
    assert_eq!((way.leave(), way.leave()), (0, 0));
    assert!(way.lane.is_over(Instant::now()));
}

#[tokio::test]
async fn a_lane_at_rest_lets_one_in_and_its_site_remembers() {
    let limits = LaneLimits::default();
    let mut way = way(limits);
    let mut jobs = Jobs::new(3).await;
    let now = Instant::now();
    assert_eq!(jobs.push(&way), "spawn");
    let open = way.lane.opened();
    assert_eq!(way.lane.refused(now, None), Reach::Enough);
    drop(open);
    assert_eq!(way.lane.refused(now, Some("dead".into())), Reach::Unreachable);
    let mut starting = true;
    assert_eq!(way.take(&mut starting), "job");
    assert_eq!(jobs.push(&way), "ready", "one worker is enough for what is only put off");
    assert_eq!(way.take(&mut starting), "job");
    assert_eq!(way.leave(), 0);
    assert!(way.lane.is_over(Instant::now()) && !way.site.is_over(now, true), "the site's rest is not over");
    assert_eq!(way.lane.rest(now), Some((limits.cool_down, Some("dead".into()))));
    assert!(way.site.is_over(now + limits.cool_down, true));
}

#[tokio::test]
async fn a_worker_that_leaves_in_the_moment_a_job_comes_is_replaced() {
    let mut way = way(LaneLimits { connections: 1, ..LaneLimits::default() });
    let mut jobs = Jobs::new(2).await;
    assert_eq!(jobs.push(&way), "spawn");
    let mut starting = true;
    assert_eq!(way.take(&mut starting), "job");
    assert_eq!(way.take(&mut starting), "idle");
    assert_eq!(jobs.push(&way), "ready");
    way.lane.woken(&way.slot);
    assert_eq!(way.leave(), 1, "somebody must come for it");
}

#[tokio::test]
async fn looking_ahead_takes_nothing_from_others() {
    let limits = LaneLimits { connections: 1, ..LaneLimits::default() };
    let mut one = way(limits);
    let mut jobs = Jobs::new(3).await;
    assert_eq!(jobs.push(&one), "spawn");
    assert_eq!(jobs.push(&one), "ready");
    let now = Instant::now();
    let mut starting = true;
    assert_eq!(one.take(&mut starting), "job");
    assert!(one.lane.take_ahead(now).is_some());
    assert!(one.lane.take_ahead(now).is_none(), "nothing left");

    let roomy = way(LaneLimits { connections: 2, ..limits });
    assert_eq!(jobs.push(&roomy), "spawn");
    assert!(roomy.lane.take_ahead(now).is_none(), "one is on its way for it");
}

#[tokio::test]
async fn what_does_not_fit_comes_back_later() {
    let mut way = way(LaneLimits { connections: 1, per_second: Some(1), ..LaneLimits::default() });
    let mut jobs = Jobs::new(12).await;
    for _ in 0..10 {
        assert_ne!(jobs.push(&way), "full");
    }
    let Pushed::Full(_, after) = way.lane.push(jobs.ready.pop().unwrap(), &way.config) else { panic!("full by now") };
    assert_eq!(after, Duration::from_secs(5));
    let mut starting = true;
    assert_eq!(way.take(&mut starting), "job");
    assert_eq!(way.take(&mut starting), "wait", "one a second");
    way.lane.woken(&way.slot);
    way.lane.close();
    assert_eq!(way.take(&mut starting), "closed");
    drop(jobs.ready);
    assert_eq!(jobs.rig.queue.counts().leased, 0, "all due again");
}

#[tokio::test]
async fn a_swift_next_hop_may_hold_more_than_a_lane_does() {
    let swift = |limits, proven: bool| {
        let way = way(limits);
        if proven {
            way.site.reached(Instant::now());
        }
        way.lane.is_swift()
    };
    let any = LaneLimits { connections: 5, ..LaneLimits::default() };
    assert!(swift(any, true));
    assert!(!swift(any, false), "nobody knows yet whether it is alive");
    assert!(!swift(LaneLimits { per_second: Some(50), ..any }, true), "a thousand are twenty seconds of work");

    let mut jobs = Jobs::new(1250).await;
    let way = way(any);
    way.site.reached(Instant::now());
    let pushed: Vec<_> = (0..1000).map(|_| jobs.push(&way)).collect();
    assert_eq!((pushed.first(), pushed.last()), (Some(&"spawn"), Some(&"ready")));
    for more in 1..=250 {
        let Pushed::Full(job, after) = way.lane.push(jobs.ready.pop().unwrap(), &way.config) else {
            panic!("not full")
        };
        assert_eq!(after, Duration::from_secs(5), "those that found room keep nobody away for longer");
        assert!(matches!(way.lane.push_beyond(*job), Pushed::Ready));
        assert_eq!(way.lane.ready(), 1000 + more);
    }
}

#[tokio::test]
async fn what_a_slow_rate_holds_up_for_long_goes_back_to_the_queue() {
    let mut way = way(LaneLimits { per_hour: Some(6), ..LaneLimits::default() });
    let mut jobs = Jobs::new(3).await;
    assert_eq!(jobs.push(&way), "spawn");
    jobs.push(&way);
    jobs.push(&way);
    let (mut starting, now) = (true, Instant::now());
    let mut after = Vec::new();
    for _ in 0..3 {
        match way.lane.take(&mut way.slot, &mut starting, true, now) {
            Take::Job { .. } => after.push(0),
            Take::PutOff(_, long) => after.push(long.as_secs()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(after, [0, 600, 1200], "each when its turn comes");
}

#[tokio::test]
async fn lanes_of_one_site_share_its_slots_and_take_turns() {
    let site = site(LaneLimits { connections: 1, ..LaneLimits::default() });
    let (mut a, mut b, c) = (to(&site), to(&site), to(&site));
    let mut jobs = Jobs::new(6).await;
    assert_eq!(jobs.push(&a), "spawn");
    assert_eq!(jobs.push(&b), "ready", "it stands in line");
    assert_eq!(jobs.push(&b), "ready");
    assert_eq!(jobs.push(&c), "ready");
    let mut starting = true;
    assert_eq!(a.take(&mut starting), "job");
    assert_eq!(a.take(&mut starting), "closed", "nobody keeps a place for nothing while others wait");
    assert_eq!(jobs.push(&a), "ready", "but a job came, and its lane goes to the end of the line");
    let served = a.lane.leave(&a.slot, false, false, Instant::now());
    let [(lane, _)] = served.as_slice() else { panic!("one") };
    assert!(Arc::ptr_eq(lane, &b.lane));
    let mut starting = true;
    assert_eq!(b.take(&mut starting), "job");
    assert_eq!(b.take(&mut starting), "job");
    let served = b.lane.leave(&b.slot, false, false, Instant::now());
    assert!(Arc::ptr_eq(&served[0].0, &c.lane));
    let served = c.lane.leave(&c.slot, true, false, Instant::now());
    assert!(Arc::ptr_eq(&served[0].0, &a.lane), "it gets its turn");
}

#[tokio::test]
async fn a_slot_that_is_free_again_goes_to_a_lane_with_work_for_one_more() {
    let site = site(LaneLimits { connections: 2, ..LaneLimits::default() });
    let (mut a, mut b) = (to(&site), to(&site));
    let mut jobs = Jobs::new(4).await;
    assert_eq!((jobs.push(&a), jobs.push(&b)), ("spawn", "spawn"));
    assert_eq!((jobs.push(&a), jobs.push(&a)), ("ready", "ready"), "all slots are taken");
    assert_eq!((a.take(&mut true), b.take(&mut true)), ("job", "job"));
    let served = b.lane.leave(&b.slot, false, false, Instant::now());
    let [(lane, _)] = served.as_slice() else { panic!("{}", served.len()) };
    assert!(Arc::ptr_eq(lane, &a.lane), "its worker may be busy for long");
}

#[tokio::test]
async fn who_has_to_wait_for_a_connection_holds_no_job_meanwhile() {
    let mut way = way(LaneLimits { connections: 2, connects_per_minute: Some(1), ..LaneLimits::default() });
    let mut jobs = Jobs::new(3).await;
    assert_eq!((jobs.push(&way), jobs.push(&way)), ("spawn", "spawn"));
    let now = Instant::now();
    let mut take = |connected| way.lane.take(&mut way.slot, &mut true, connected, now);
    assert!(matches!(take(false), Take::Job { .. }));
    assert!(way.site.admit_connection(now) && !way.site.admit_connection(now));
    let Take::Wait(at) = take(false) else { panic!("a job in the hands of a worker without a connection") };
    assert!(at <= now + Duration::from_secs(30));
    way.lane.woken(&way.slot);
    let mut take = |connected| way.lane.take(&mut way.slot, &mut true, connected, now);
    assert!(matches!(take(true), Take::Job { .. }), "the other one goes on");
    assert_eq!((way.leave(), way.leave(), jobs.push(&way)), (0, 0, "spawn"));
    let mut take = |connected| way.lane.take(&mut way.slot, &mut true, connected, now);
    let Take::PutOff(_, long) = take(false) else { panic!("alone, and a minute away") };
    assert!(long > Duration::from_secs(30), "{long:?}");
}

#[tokio::test]
async fn an_idle_worker_gives_its_place_to_a_lane_in_line() {
    let site = site(LaneLimits { connections: 1, ..LaneLimits::default() });
    let (mut a, b) = (to(&site), to(&site));
    let mut jobs = Jobs::new(2).await;
    assert_eq!(jobs.push(&a), "spawn");
    let mut starting = true;
    assert_eq!(a.take(&mut starting), "job");
    assert_eq!(a.take(&mut starting), "idle");
    assert_eq!(jobs.push(&b), "ready");
    tokio::time::timeout(Duration::from_secs(5), site.crowds()).await.expect("it is called");
    a.lane.woken(&a.slot);
    assert_eq!(a.take(&mut starting), "closed");
    assert_eq!(a.leave(), 1);
}

#[tokio::test]
async fn of_too_many_workers_only_the_surplus_leaves() {
    let way = way(LaneLimits { connections: 4, ..LaneLimits::default() });
    let mut jobs = Jobs::new(8).await;
    let mut slots = Vec::new();
    for _ in 0..8 {
        if let Pushed::Spawn(slot) = way.lane.push(jobs.ready.pop().unwrap(), &way.config) {
            slots.push(slot);
        }
    }
    let marks: Vec<_> = slots.iter().map(|_| way.lane.opened()).collect();
    let now = Instant::now();
    (0..5).for_each(|_| way.site.complained(now));
    let closed = |slot: &mut Slot| matches!(way.lane.take(slot, &mut true, true, now), Take::Closed);
    let leaving = slots.iter_mut().map(closed).filter(|closed| *closed).count();
    assert_eq!((slots.len(), leaving), (4, 2), "half of them");
    drop(marks);
}

#[tokio::test]
async fn a_lane_waits_for_its_site_and_follows_it() {
    let first = site(LaneLimits { connections: 1, ..LaneLimits::default() });
    let (lane, config) = (Lane::new(key(named("x"))), Arc::new(config()));
    let mut jobs = Jobs::new(3).await;
    let Pushed::Astray(job) = lane.push(jobs.ready.pop().unwrap(), &config) else { panic!("no site yet") };
    lane.looks();
    assert!(matches!(lane.push(*job, &config), Pushed::Ready) && !lane.is_over(Instant::now()));
    let mut slot = lane.attach(&first, &config).expect("a job waits");
    assert!(matches!(lane.take(&mut slot, &mut true, true, Instant::now()), Take::Job { .. }));
    let other = Arc::new(crate::delivery::config::tests::config());
    assert!(matches!(lane.push(jobs.ready.pop().unwrap(), &other), Pushed::Astray(_)), "after a reload");
    let second = site(LaneLimits::default());
    lane.attach(&second, &other);
    assert!(matches!(lane.push(jobs.ready.pop().unwrap(), &other), Pushed::Spawn(_)), "the new site has room");
    assert!(
        matches!(lane.take(&mut slot, &mut false, true, Instant::now()), Take::Closed),
        "this worker was the old one's"
    );
    assert_eq!(first.now(Instant::now()).workers, 1);
    lane.leave(&slot, false, false, Instant::now());
    assert_eq!((first.now(Instant::now()).workers, second.now(Instant::now()).workers), (0, 1));
}

#[test]
fn times_make_no_other_lane() {
    let route = Route { expires_after_secs: Some(60), retry_schedule: Some("x".into()), ..named("x") };
    let (a, b) = (key(route), key(named("x")));
    assert_eq!(a, b);
    for other in [
        named("y"),
        Route { lane: Some("slow".into()), ..named("x") },
        Route { credential: Some("me".into()), ..named("x") },
        Route { source: Some("here".into()), ..named("x") },
        Route { tls: crate::hooks::TlsPolicy::Verify, ..named("x") },
    ] {
        assert_ne!(key(other), b);
    }
}
