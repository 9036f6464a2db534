//! Faults that a real store shows only on a bad day, forced. The whole way - a real file system filled up - is the
//! system test with a small tmpfs as spool.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::*;
use crate::store::{Committed, Pair, Ticket};

/// A real store whose next commits and rides fail as told.
pub(super) struct Failing {
    inner: Sled,
    how: AtomicU8,
    /// Pairs that were read by range.
    read: AtomicUsize,
    /// So many pages read from there on, of this kind of key, find the store closed by a full disk.
    pub(super) full: Mutex<(Bytes, usize)>,
    /// Who has read from this key waits at the first gate, and again at the second.
    gates: Mutex<Option<(Bytes, Arc<[Barrier; 2]>)>>,
    /// Barriers that failed.
    barred: AtomicUsize,
    /// Before answers that are late.
    gate: tokio::sync::Semaphore,
}

const WELL: u8 = 0;
const FULL: u8 = 1;
const BROKEN: u8 = 2;
/// Done, but the answer comes only once the gate is opened.
const LATE: u8 = 3;
/// Nobody can wait for what was written before.
const BARRED: u8 = 4;

impl Failing {
    fn fault(&self) -> Option<StoreError> {
        match self.how.load(Ordering::SeqCst) {
            WELL | LATE | BARRED => None,
            FULL => Some(StoreError::Full("no space left".into())),
            BROKEN => Some(StoreError::Broken("input/output error".into())),
            other => panic!("fault {other}"),
        }
    }
}

impl Store for Failing {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(tree, key)
    }
    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let mut full = self.full.lock();
        if full.1 > 0 && limit > 1 && from.first() == full.0.first() && *from >= *full.0 {
            full.1 -= 1;
            return Err(StoreError::Full("no space left".into()));
        }
        drop(full);
        let pairs = self.inner.range(tree, from, to, limit)?;
        self.read.fetch_add(pairs.len(), Ordering::SeqCst);
        let gates = self.gates.lock().take_if(|(key, _)| *key == from);
        gates.iter().flat_map(|(_, gates)| gates.iter()).for_each(pass);
        Ok(pairs)
    }
    fn apply(&self, tree: &str, _writes: Vec<Write>) -> Result<(), StoreError> {
        panic!("the queue writes past the order of writes, in {tree}")
    }
    fn swap(&self, tree: &str, _key: &[u8], _old: Option<&[u8]>, _new: Option<&[u8]>) -> Result<bool, StoreError> {
        panic!("the queue swaps in {tree}")
    }
    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_> {
        match self.fault() {
            // As in a batch that was written, but whose flush failed.
            Some(error) => Box::pin(async move {
                self.inner.commit(tree, writes).await?;
                Err(error)
            }),
            None if self.how.load(Ordering::SeqCst) == LATE && !writes.is_empty() => {
                let committed = self.inner.commit(tree, writes);
                Box::pin(async move {
                    committed.await?;
                    self.gate.acquire().await.unwrap().forget();
                    self.fault().map_or(Ok(()), Err)
                })
            }
            None if self.how.load(Ordering::SeqCst) == BARRED && writes.is_empty() => {
                self.barred.fetch_add(1, Ordering::SeqCst);
                Box::pin(std::future::ready(Err(StoreError::Full("no space left".into()))))
            }
            None => self.inner.commit(tree, writes),
        }
    }
    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        match self.fault() {
            Some(error @ StoreError::Broken(_)) => Err(error),
            _ => self.inner.ride(tree, writes),
        }
    }
    fn applied(&self) -> Ticket {
        self.inner.applied()
    }
    fn flushed(&self) -> Ticket {
        self.inner.flushed()
    }
}

fn pass(gate: &Barrier) {
    let _leader = gate.wait();
}

pub(super) fn failing_store(folder: &Path) -> Arc<Failing> {
    let inner = Sled::open(&folder.join("db"), 8 << 20).unwrap();
    let (read, full, gates) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
    let gate = tokio::sync::Semaphore::new(0);
    let barred = AtomicUsize::new(0);
    Arc::new(Failing { inner, how: AtomicU8::new(WELL), read, full, gates, barred, gate })
}

async fn failing(folder: &Path) -> (Bench, Arc<Failing>) {
    let store = failing_store(folder);
    let clock = Arc::new(Manual::new(START));
    let queue =
        Queue::open(Config { quotas: quotas::wide(), ..config(folder) }, store.clone(), clock.clone()).await.unwrap();
    (Bench { queue, clock, store: store.clone() }, store)
}

#[tokio::test]
async fn a_full_disk_refuses_takes_back_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    for len in [10, 100_000] {
        store.how.store(FULL, Ordering::SeqCst);
        let refused = bench.queue.accept(bench.incoming(&["a@example.net"], &octets(len))).await;
        assert!(matches!(refused, Err(QueueError::Store(StoreError::Full(_)))));
        assert_eq!(bench.queue.counts(), Counts::default());
        assert!(quotas::are_empty(&bench.queue));
        store.how.store(WELL, Ordering::SeqCst);
        bench.queue.shared.barrier().await.unwrap();
        assert_eq!(bench.all(), [], "what the failed batch left is taken back");
        let id = bench.accept(&["a@example.net"], &octets(len)).await;
        let lease = bench.one().await;
        assert_eq!(lease.record.id, id);
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_settlement_that_fails_leaves_the_recipients_due() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    let id = bench.accept(&["a@example.net"], b"x").await;
    let lease = bench.one().await;
    store.how.store(BROKEN, Ordering::SeqCst);
    let notice = bench.incoming(&["sender@example.org"], b"y");
    let gone = all_gone(&lease);
    let failed = bench.queue.settle(lease, gone, None, vec![notice]).await;
    assert!(matches!(failed, Err(QueueError::Store(StoreError::Broken(_)))));
    assert_eq!(bench.queue.counts().messages, 1);
    assert_eq!(bench.one().await.record.id, id);
    assert!(matches!(
        bench.queue.accept(bench.incoming(&["a@example.net"], b"x")).await,
        Err(QueueError::Store(StoreError::Broken(_)))
    ));
}

#[tokio::test]
async fn below_the_floor_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { min_free: u64::MAX, ..config(folder.path()) }).await;
    assert!(matches!(bench.queue.has_room(), Err(StoreError::Full(_))));
    let refused = bench.queue.accept(bench.incoming(&["a@example.net"], b"x")).await;
    assert!(matches!(refused, Err(QueueError::Store(StoreError::Full(_)))));
}

#[tokio::test]
async fn below_the_floor_a_large_report_is_taken_with_its_settlement() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    bench.accept(&["a@example.net"], b"x").await;
    bench.close().await;
    let bench = bench_with(Config { min_free: u64::MAX, ..config(folder.path()) }).await;
    let (lease, report) = (bench.one().await, bench.incoming(&["sender@example.org"], &octets(100_000)));
    let (id, gone) = (report.record.id, all_gone(&lease));
    bench.queue.settle(lease, gone, None, vec![report]).await.unwrap();
    let lease = bench.one().await;
    assert_eq!((lease.record.id, bench.queue.counts().messages), (id, 1));
    assert!(bench.body(&lease).await == octets(100_000));
}

#[tokio::test]
async fn an_accept_dropped_half_way_is_delivered_once_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { quotas: quotas::wide(), ..config(folder.path()) }).await;
    {
        let accepted = bench.queue.accept(bench.incoming(&["a@example.net"], b"x"));
        tokio::pin!(accepted);
        // Polled once: the commit is on its way.
        tokio::select! {
            biased;
            _ = &mut accepted => {}
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(bench.queue.counts().messages, 1);
    assert!(!quotas::are_empty(&bench.queue));
    let lease = bench.one().await;
    bench.assert_idle();
    let gone = all_gone(&lease);
    bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    assert_eq!(bench.queue.counts(), Counts::default());
    assert!(quotas::are_empty(&bench.queue));
}

/// While its content is read, a message goes and another takes the place of its body.
#[tokio::test]
async fn content_of_a_message_that_goes_meanwhile_is_never_anothers() {
    for leased in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let store = failing_store(folder.path());
        let clock = Arc::new(Manual::new(START));
        let config = Config { hot_bytes: 0, ..config(folder.path()) };
        let queue = Queue::open(config, store.clone(), clock.clone()).await.unwrap();
        let bench = Bench { queue, clock, store: store.clone() };
        let id = bench.accept(&["a@example.net"], &octets(100_000)).await;
        let lease = bench.one().await;
        bench.queue.settle(lease, vec![retry(0, later(60))], None, Vec::new()).await.unwrap();
        bench.queue.shared.barrier().await.unwrap();
        bench.clock.advance(Duration::from_secs(60));
        let lease = if leased { Some(bench.one().await) } else { None };
        let gates = Arc::new([Barrier::new(2), Barrier::new(2)]);
        *store.gates.lock() = Some((keys::chunk(id, 0), Arc::clone(&gates)));
        let queue = Arc::clone(&bench.queue);
        let reading = tokio::spawn(async move {
            match lease {
                Some(lease) => queue.content(&lease).await.map(|_| ()),
                None => queue.whole(id).await.map(|read| assert!(read.is_none(), "it is gone")),
            }
        });
        let at = Arc::clone(&gates);
        tokio::task::spawn_blocking(move || pass(&at[0])).await.unwrap();
        bench.queue.command(&Filter::ids([id]), Command::Remove).await.unwrap();
        let other = bench.accept(&["b@example.net"], &octets(100_001)[1..]).await;
        let place = bench.all().pop().filter(|record| record.id == other).map(|record| record.body.clone());
        assert!(matches!(place, Some(BodyPlace::File { name, .. }) if &*name == "slab/128/0"), "the same place");
        tokio::task::spawn_blocking(move || pass(&gates[1])).await.unwrap();
        match (leased, reading.await.unwrap()) {
            (true, Err(QueueError::Unknown(unknown))) => assert_eq!(unknown, id),
            (leased, result) => assert!(!leased && result.is_ok(), "{result:?}"),
        }
        assert_eq!(bench.queue.counts().damaged, 0);
    }
}

async fn until(is: impl Fn() -> bool) {
    let come = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), come).await.expect("in time");
}

type Accepted = tokio::task::JoinHandle<Result<QueueId, QueueError>>;

/// A message that the store shows, of which its taker has not heard yet.
async fn arriving(bench: &Bench, store: &Failing, len: usize) -> (QueueId, Accepted) {
    store.how.store(LATE, Ordering::SeqCst);
    let (queue, incoming) = (Arc::clone(&bench.queue), bench.incoming(&["a@example.net"], &octets(len)));
    let id = incoming.record.id;
    let accepted = tokio::spawn(async move { queue.accept(incoming).await });
    until(|| store.get(keys::TREE, &keys::fresh(id)).unwrap().is_some()).await;
    (id, accepted)
}

/// A command that is as far as it gets.
async fn asked(bench: &Bench, command: Command) -> tokio::task::JoinHandle<Result<u64, QueueError>> {
    let queue = Arc::clone(&bench.queue);
    let asked = tokio::spawn(async move { queue.command(&Filter::default(), command).await });
    // One that waits is woken, and waits again.
    until(|| asked.is_finished() || bench.queue.shared.landed.notify_all() > 0).await;
    asked
}

#[tokio::test]
async fn a_command_waits_for_what_is_still_arriving() {
    for len in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let (bench, store) = failing(folder.path()).await;
        let (id, accepted) = arriving(&bench, &store, len).await;
        let held = asked(&bench, Command::Hold("why".into())).await;
        store.gate.add_permits(1);
        assert_eq!((accepted.await.unwrap().unwrap(), held.await.unwrap().unwrap()), (id, 1));
        bench.assert_idle();
        assert_eq!((bench.queue.counts().messages, bench.queue.counts().held), (1, 1));
        store.how.store(WELL, Ordering::SeqCst);
        assert_eq!(bench.queue.command(&Filter::default(), Command::Release).await.unwrap(), 1);
        bench.send_the_last(len).await;
    }
}

#[tokio::test]
async fn what_did_not_arrive_is_not_written_anew_by_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    let (_, accepted) = arriving(&bench, &store, 10).await;
    let held = asked(&bench, Command::Hold("why".into())).await;
    store.how.store(FULL, Ordering::SeqCst);
    store.gate.add_permits(1);
    assert!(matches!(accepted.await.unwrap(), Err(QueueError::Store(StoreError::Full(_)))));
    store.how.store(WELL, Ordering::SeqCst);
    assert_eq!(held.await.unwrap().unwrap(), 0);
    bench.queue.close().await;
    assert_eq!(bench.store.range(keys::TREE, &[0], &[255], 9).unwrap(), []);
}

#[tokio::test]
async fn what_was_changed_before_it_was_there_is_not_delivered_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    let (id, accepted) = arriving(&bench, &store, 10).await;
    bench.queue.shared.set_aside(id, None, "a test says so", false);
    store.gate.add_permits(1);
    assert_eq!(accepted.await.unwrap().unwrap(), id);
    bench.assert_idle();
}

#[tokio::test]
async fn a_rule_whose_maker_went_away_is_in_force_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    store.how.store(LATE, Ordering::SeqCst);
    let mut added =
        Box::pin(bench.queue.add_rule(RuleKind::Hold, Filter::default(), "why".into(), None, "uid 0".into()));
    let stored = async {
        while store.get(keys::TREE, &keys::rule(1)).unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut added => panic!("it is not stored yet"),
        () = stored => {}
    }
    drop(added);
    store.gate.add_permits(1);
    until(|| bench.queue.rules().len() == 1).await;
    let mut lifted = Box::pin(bench.queue.lift_rule(1));
    let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(lifted.as_mut().poll(cx))).await;
    assert!(begun.is_pending());
    drop(lifted);
    // The second is for its being forgotten.
    store.gate.add_permits(2);
    until(|| bench.queue.rules().is_empty()).await;
}

#[tokio::test]
async fn a_change_of_the_rules_that_failed_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    let add = async || bench.queue.add_rule(RuleKind::Hold, Filter::default(), "".into(), None, "".into()).await;
    store.how.store(FULL, Ordering::SeqCst);
    assert!(matches!(add().await, Err(RuleError::Store(StoreError::Full(_)))));
    store.how.store(WELL, Ordering::SeqCst);
    bench.queue.shared.barrier().await.unwrap();
    assert_eq!((store.get(keys::TREE, &keys::rule(1)).unwrap(), bench.queue.rules().len()), (None, 0));
    let number = add().await.unwrap().number;
    let before = store.get(keys::TREE, &keys::rule(number)).unwrap();
    store.how.store(FULL, Ordering::SeqCst);
    assert!(bench.queue.lift_rule(number).await.is_err());
    store.how.store(WELL, Ordering::SeqCst);
    bench.queue.shared.barrier().await.unwrap();
    assert_eq!((store.get(keys::TREE, &keys::rule(number)).unwrap(), bench.queue.rules().len()), (before, 1));
}

#[tokio::test(start_paused = true)]
async fn who_could_not_be_told_that_a_suspension_is_over_is_told_later() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    bench.queue.add_rule(RuleKind::Suspend, Filter::default(), "".into(), None, "".into()).await.unwrap();
    store.how.store(BARRED, Ordering::SeqCst);
    bench.queue.lift_rule(1).await.unwrap().unwrap();
    while store.barred.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    store.how.store(WELL, Ordering::SeqCst);
    assert_eq!(bench.queue.rules().len(), 1);
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    until(|| bench.queue.rules().is_empty()).await;
}

#[tokio::test]
async fn a_part_of_the_window_is_left_for_what_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { window: 80, ..config(folder.path()) }).await;
    for _ in 0..300 {
        bench.accept(&["a@example.net"], b"x").await;
    }
    for lease in bench.some(80).await {
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
    let _one = bench.one().await;
    assert_eq!(bench.queue.shared.backlog.lock().in_window(), 70, "220 wait on the disk");
}

#[tokio::test]
async fn what_is_in_the_window_is_not_read_again_for_each_message_that_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = failing(folder.path()).await;
    for _ in 0..70 {
        bench.accept(&["a@example.net"], b"x").await;
    }
    for (n, lease) in bench.some(70).await.into_iter().enumerate() {
        // Ten of them one after the other, the rest before.
        let at = later(60 + 2 * (n as u64).saturating_sub(59));
        bench.queue.settle(lease, vec![retry(0, at)], None, Vec::new()).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(61));
    let mut held = Vec::new();
    while held.len() < 60 {
        held.extend(bench.some(60).await);
    }
    for _ in 0..10 {
        store.read.store(0, Ordering::SeqCst);
        bench.clock.advance(Duration::from_secs(2));
        held.push(bench.one().await);
        let read = store.read.load(Ordering::SeqCst);
        assert!(read <= 20, "{read} entries were read for one");
    }
    assert_eq!(held.len(), 70);
    drop(held);
    assert_eq!(bench.some(100).await.len(), 70, "given back, they are due again");
}
