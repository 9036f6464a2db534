//! Sources in warm-up, over loopback: what their plan allows, and that the count of a day is kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::delivery::{Pool, Question, Source, WarmUp};
use crate::hooks::Route;
use crate::mail::Domain;
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
