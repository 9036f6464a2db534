//! A window that is smaller than what is queued.

use std::collections::BTreeSet;

use super::*;

impl Shared {
    /// As `accept`, without waiting for a flush: to fill a queue quickly.
    pub(super) async fn accept_unflushed(&self, incoming: Incoming, due: Timestamp) -> QueueId {
        let mut prepared = self.prepare(incoming, accept::Durable::AtOnce).await.unwrap();
        prepared.record.recipients[0].state.due = due;
        let (place, writes) = prepared.writes(START);
        self.store.ride(keys::TREE, writes).unwrap();
        let mut backlog = self.backlog.lock();
        backlog.counts_mut().messages += 1;
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
