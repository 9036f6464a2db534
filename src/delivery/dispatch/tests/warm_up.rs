//! Sources in warm-up, over loopback: what their plan allows, and that the count of a day is kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::sites::{Names, here};
use super::*;
use crate::delivery::job::Job;
use crate::delivery::{Pool, Question, Source, WarmUp};
use crate::hooks::{NextHop, Past, Route};
use crate::mail::Domain;
use crate::queue::Record;
use crate::store::{Committed, Pair, Sled, Store, StoreError, Ticket, Write};

/// Three messages a day from a new source, the others from an old one.
async fn warming_up(to: Route, store: &Arc<dyn Store>) -> Rig {
    let mut config = config();
    let today = 1_795_473_060 / 86_400;
    let warm_up = Some(WarmUp { start: today, plan: vec![3] });
    config.sources.insert("new".into(), Source { warm_up, ..Source::default() });
    config.sources.insert("old".into(), Source::default());
    config.pools.insert("both".into(), Pool { members: vec![("new".into(), 1), ("old".into(), 0)], sticky: true });
    let route = Route { source: Some("both".into()), ..to };
    let rig = Rig::new(config, route, Script::default()).await;
    rig.dispatcher.warm_up_from(Arc::clone(store)).await.unwrap();
    rig
}

/// How many messages left today from the new source, as people are told.
async fn told(rig: &Rig) -> String {
    let question = Question { domain: Domain::parse("example.net").unwrap(), tenant: None, null_sender: false };
    serde_json::to_value(rig.dispatcher.explain(&question).await).unwrap()["notes"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_source_sends_what_its_plan_allows_in_one_run_or_several() {
    let mut sink = Sink::start(usual).await;
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
    let mut rig = warming_up(to(sink.address), &store).await;
    rig.run();
    for _ in 0..10 {
        rig.accept("sue@example.org", &["ann@example.net"]).await;
    }
    for _ in 0..10 {
        take(&mut sink).await;
    }
    rig.empty().await;
    assert_eq!(told(&rig).await, "the source new has sent 3 of 3 messages there today", "the other took the rest");
    rig.stop().await;

    let rig = warming_up(to(sink.address), &store).await;
    assert_eq!(told(&rig).await, "the source new has sent 3 of 3 messages there today", "the day goes on");
}

#[tokio::test]
async fn what_goes_back_to_the_queue_gives_back_what_was_counted_for_it_and_no_more() {
    let sink = Sink::start(usual).await;
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
    let rig = warming_up(to(sink.address), &store).await;
    let tried = |record: &mut Record| {
        let reply = Reply::new(450, Status::new(4, 2, 0), "not now");
        let outcome = local_outcome(0, OutcomeKind::Temporary, Stage::Rcpt, &reply, record.arrived);
        let state = &mut record.recipients[0].state;
        (state.attempts, state.history) = (1, vec![Past::of(&outcome, "mx".into(), Duration::ZERO)]);
    };
    let new: fn(&mut Record) = |_| {};
    let kept = jobs(&rig, 1, new).await;
    let again = jobs(&rig, 2, tried).await;
    assert!(told(&rig).await.contains("has sent 1 of 3"), "what is tried again was counted before");
    for job in again {
        rig.dispatcher.send_back(job, Duration::from_secs(60)).await;
    }
    assert!(told(&rig).await.contains("has sent 1 of 3"), "and has nothing to give back");
    let mut new = jobs(&rig, 2, new).await;
    assert!(told(&rig).await.contains("has sent 3 of 3"));
    rig.dispatcher.send_back(new.remove(0), Duration::from_secs(60)).await;
    assert!(told(&rig).await.contains("has sent 2 of 3"));
    drop(new);
    assert!(told(&rig).await.contains("has sent 1 of 3"), "lost on the way");
    drop(kept);
}

/// Messages on their way to a lane.
async fn jobs(rig: &Rig, count: usize, edit: fn(&mut Record)) -> Vec<Job> {
    for _ in 0..count {
        rig.accept_with("sue@example.org", &["ann@example.net"], edit).await;
    }
    let mut jobs = Vec::new();
    for lease in rig.queue.lease(count).await {
        let route = rig.dispatcher.route_of(&lease.record.recipients[0]);
        let mut job = Job::new(lease, route, false);
        assert!(rig.dispatcher.lane_key(&rig.dispatcher.config(), &mut job).is_ok());
        jobs.push(job);
    }
    assert_eq!(jobs.len(), count);
    jobs
}

#[tokio::test]
async fn what_was_put_off_for_a_plan_is_counted_when_it_leaves() {
    let mut sink = Sink::start(usual).await;
    let mut config = config();
    let warm_up = Some(WarmUp { start: 1_795_473_060 / 86_400, plan: vec![1, 1] });
    config.schedule.warn_after = Arc::new([]);
    config.sources.insert("new".into(), Source { warm_up, ..Source::default() });
    let route = Route { source: Some("new".into()), ..to(sink.address) };
    let mut rig = Rig::new(config, route, Script::default()).await;
    rig.run();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(rig.accept("sue@example.org", &["ann@example.net"]).await);
    }
    take(&mut sink).await;
    rig.until(|rig| rig.queue.counts().messages == 2).await;
    let waiting = |rig: &Rig, attempts| {
        let records: Vec<_> = ids.iter().filter_map(|id| rig.record(*id)).collect();
        records.iter().all(|record| record.recipients[0].state.attempts == attempts)
    };
    rig.until(|rig| waiting(rig, 1)).await;
    // Put off before, they may leave no sooner.
    rig.queue.command(&Filter::default(), Command::Retry { reroute: false }).await.unwrap();
    rig.until(|rig| waiting(rig, 2)).await;
    assert!(sink.taken.try_recv().is_err());
    rig.clock.advance(Duration::from_secs(86_400));
    rig.queue.command(&Filter::default(), Command::Retry { reroute: false }).await.unwrap();
    take(&mut sink).await;
    rig.until(|rig| rig.queue.counts().messages == 1 && waiting(rig, 3)).await;
    assert!(sink.taken.try_recv().is_err(), "one on the next day");
    rig.stop().await;
}

#[tokio::test]
async fn domains_with_the_same_exchangers_share_the_plan_of_a_new_source() {
    let mut sink = Sink::start(usual).await;
    let mut config = Config { mx_port: sink.address.port(), selection: here(), ..config() };
    let warm_up = Some(WarmUp { start: 1_795_473_060 / 86_400, plan: vec![3] });
    config.sources.insert("new".into(), Source { warm_up, ..Source::default() });
    let route = Route { hops: vec![NextHop::Mx("".into())], source: Some("new".into()), ..Route::default() };
    let mut rig = Rig::with(config, Some(route), Script::default(), Arc::new(Names)).await;
    let mut ids = Vec::new();
    // Nobody knows yet where any of them leads.
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(rig.accept("sue@example.org", &[&format!("ann@{name}.shared.test")]).await);
    }
    rig.run();
    for _ in 0..3 {
        take(&mut sink).await;
    }
    let waiting = |rig: &Rig| -> Vec<_> { ids.iter().filter_map(|id| rig.record(*id)).collect() };
    rig.until(|rig| waiting(rig).len() == 2 && waiting(rig).iter().all(|r| r.recipients[0].state.attempts == 1)).await;
    for record in waiting(&rig) {
        let last = record.recipients[0].state.last.clone().unwrap();
        assert_eq!(last.error.as_deref(), Some("the source new has used up its day's 3 messages"));
    }
    assert_eq!(rig.dispatcher.sources().lock().changed().unwrap().1.iter().map(|sent| sent.count).sum::<u32>(), 3);
    rig.stop().await;
    assert!(sink.taken.try_recv().is_err());
}

/// A store that holds the first write up until it is told.
struct Slow {
    inner: Sled,
    begun: AtomicUsize,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Store for Slow {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(tree, key)
    }
    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.inner.range(tree, from, to, limit)
    }
    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().take();
        gate.map(|gate| gate.recv());
        self.inner.apply(tree, writes)
    }
    fn swap(&self, tree: &str, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        self.inner.swap(tree, key, old, new)
    }
    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_> {
        self.inner.commit(tree, writes)
    }
    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        self.inner.ride(tree, writes)
    }
    fn applied(&self) -> Ticket {
        self.inner.applied()
    }
    fn flushed(&self) -> Ticket {
        self.inner.flushed()
    }
}

#[tokio::test]
async fn on_a_slow_disk_an_older_count_never_comes_after_a_newer_one() {
    let mut sink = Sink::start(usual).await;
    let folder = tempfile::tempdir().unwrap();
    let inner = Sled::open(&folder.path().join("db"), 1 << 20).unwrap();
    let (open, gate) = mpsc::channel();
    let slow = Arc::new(Slow { inner, begun: AtomicUsize::new(0), gate: Mutex::new(Some(gate)) });
    let store: Arc<dyn Store> = Arc::clone(&slow) as Arc<dyn Store>;
    let mut rig = warming_up(to(sink.address), &store).await;
    rig.run();
    for count in 1..=2 {
        rig.accept("sue@example.org", &["ann@example.net"]).await;
        take(&mut sink).await;
        rig.empty().await;
        rig.dispatcher.keep_warmth();
        rig.until(|_| slow.begun.load(Ordering::SeqCst) == 1).await;
        assert!(told(&rig).await.contains(&format!("has sent {count} of 3")));
    }
    open.send(()).unwrap();
    rig.stop().await;
    assert_eq!(slow.begun.load(Ordering::SeqCst), 2, "one at a time");
    let rig = warming_up(to(sink.address), &store).await;
    assert_eq!(told(&rig).await, "the source new has sent 2 of 3 messages there today");
}
