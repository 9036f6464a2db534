//! A window that is smaller than what is queued.

use std::collections::BTreeSet;

use super::*;
use crate::queue::backlog::Place;

impl Shared {
    /// As `accept`, without waiting for a flush: to fill a queue quickly.
    pub(super) async fn accept_unflushed(&self, incoming: Incoming, due: Timestamp) -> QueueId {
        let mut prepared = self.prepare(incoming, accept::Durable::AtOnce).await.unwrap();
        prepared.record.recipients[0].state.due = due;
        let (place, writes) = prepared.writes(START);
        self.store.ride(keys::TREE, writes).unwrap();
        let mut backlog = self.backlog.lock();
        backlog.holdings().counts.messages += 1;
        backlog.on_disk(prepared.record.id, place);
        prepared.record.id
    }
}

#[tokio::test]
async fn a_window_smaller_than_the_backlog_gets_through_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let mut expected = BTreeSet::new();
    for n in 0..10_000 {
        let incoming = bench.incoming(&["a@example.net"], b"small");
        expected.insert(bench.queue.shared.accept_unflushed(incoming, later(60 * (n % 2))).await);
    }
    bench.queue.shared.barrier().await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    let mut held_back = Vec::new();
    let mut seen = BTreeSet::new();
    while seen.len() < 10_000 {
        for lease in bench.some(30).await {
            assert!(seen.insert(lease.record.id), "leased twice");
            assert!(bench.queue.shared.backlog.lock().in_window() <= 100);
            held_back.push(lease);
        }
        // Some stay leased for a while.
        for lease in held_back.drain(..held_back.len().saturating_sub(20)) {
            let gone = all_gone(&lease);
            bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
        }
    }
    assert_eq!(seen, expected);
    for lease in held_back {
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
    bench.assert_idle();
    assert_eq!((bench.all(), bench.queue.counts()), (Vec::new(), Counts::default()));
}

#[tokio::test]
async fn what_became_due_lately_does_not_come_after_all_that_is_overdue() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    for n in 0..2000 {
        let incoming = bench.incoming(&["a@example.net"], b"small");
        bench.queue.shared.accept_unflushed(incoming, later(n % 100 + 1)).await;
    }
    let mut young = BTreeSet::new();
    for _ in 0..30 {
        let incoming = bench.incoming(&["b@example.net"], b"small");
        young.insert(bench.queue.shared.accept_unflushed(incoming, later(3600)).await);
    }
    bench.queue.shared.barrier().await.unwrap();
    bench.clock.advance(Duration::from_secs(3610));
    let first = bench.some(100).await;
    let (lately, long): (Vec<_>, Vec<_>) = first.iter().map(|lease| lease.record.id).partition(|id| young.contains(id));
    assert_eq!(lately.len(), 30);
    assert!(long.len() >= 40, "{}", long.len());
    drop(first);
    bench.close().await;
}

#[tokio::test]
async fn what_is_passed_over_is_looked_at_once_in_a_round_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let mut all = BTreeSet::new();
    for n in 0..1000 {
        let incoming = bench.incoming(&["a@example.net"], b"small");
        all.insert(bench.queue.shared.accept_unflushed(incoming, later(n % 100 + 1)).await);
    }
    bench.queue.shared.barrier().await.unwrap();
    bench.clock.advance(Duration::from_secs(3600));
    let stored = || bench.store.range(keys::TREE, &[0], &[0xff], 10_000).unwrap();
    let before = stored();
    assert_eq!(before.len(), 3 * 1000, "a record, a chunk and a time for each");
    for round in 0..3 {
        let mut seen = BTreeSet::new();
        while seen.len() < all.len() {
            for mut lease in bench.some(100).await {
                assert!(seen.insert(lease.record.id), "twice in round {round}");
                assert!(lease.pass_over());
            }
            // A search that brought nothing of use is followed by a pause.
            bench.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(seen, all);
        assert_eq!((bench.queue.counts().leased, bench.queue.shared.backlog.lock().in_window()), (0, 0));
        bench.clock.advance(Duration::from_secs(6));
    }
    assert!(stored() == before, "nothing was written");
    // New mail does not come behind them.
    let new = bench.accept(&["b@example.net"], b"x").await;
    let found = bench.some(1000).await.into_iter().any(|lease| lease.record.id == new);
    assert!(found);
    bench.close().await;
}

#[tokio::test]
async fn what_was_passed_over_comes_again_though_the_clock_was_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    for _ in 0..3 {
        bench.accept(&["a@example.net"], b"x").await;
    }
    for lease in bench.some(3).await {
        bench.queue.settle(lease, vec![retry(0, later(60))], None, Vec::new()).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(3 * 3600));
    for mut lease in bench.some(3).await {
        assert!(lease.pass_over());
    }
    bench.assert_idle();
    bench.clock.set(later(3600));
    assert_eq!(bench.some(3).await.len(), 3);
    bench.close().await;
}

#[test]
fn an_index_is_looked_through_whole_though_the_clock_was_put_back() {
    let mut backlog = Backlog::new(100, 0);
    let mut begins = |due, now| {
        backlog.on_disk(QueueId::from_u64(7), Place::Urgent(later(due)));
        backlog.begin_search(later(now)).next_urgent
    };
    assert_eq!(begins(7000, 7200), Some(Timestamp::default()));
    assert_eq!(begins(7201, 7202), Some(later(7201)));
    assert_eq!(begins(1, 2), Some(Timestamp::default()));
    assert_eq!(begins(3, 4), Some(later(3)));
}

#[tokio::test]
async fn only_what_was_put_off_before_and_is_leased_as_a_whole_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let id = bench.accept(&["a@example.net", "b@example.net"], b"x").await;
    let mut fresh = bench.one().await;
    assert!(!fresh.pass_over(), "it is in no index that says when");
    bench.queue.settle(fresh, vec![retry(0, later(60)), retry(1, later(60))], None, Vec::new()).await.unwrap();
    bench.clock.advance(Duration::from_secs(61));
    let [mut one, mut other] = <[Lease; 2]>::try_from(bench.one().await.split(vec![vec![0], vec![1]])).unwrap();
    assert!(!one.pass_over() && !other.pass_over(), "each leaves the other's part alone");
    drop(one);
    assert!(other.pass_over(), "the rest has come back");
    bench.assert_idle();
    bench.clock.advance(Duration::from_secs(10));
    let lease = bench.one().await;
    assert_eq!((lease.record.id, lease.recipients.clone()), (id, vec![0, 1]));
    drop(lease);
    bench.close().await;
}

#[tokio::test]
async fn what_is_found_after_the_one_who_asked_went_away_is_leased_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let incoming = bench.incoming(&["a@example.net"], b"small");
    let id = bench.queue.shared.accept_unflushed(incoming, START).await;
    let mut first = Box::pin(bench.queue.lease(1));
    let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx))).await;
    assert!(begun.is_pending() && !bench.queue.shared.backlog.lock().wants_refill(START), "it is being looked for");
    drop(first);
    assert_eq!(bench.one().await.record.id, id);
    bench.close().await;
}
