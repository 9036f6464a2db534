//! Everything at once over a window far too small: nothing is lost, nothing is leased twice, nothing gets stuck.

use std::collections::HashMap;

use super::*;

const MESSAGES: usize = 600;

/// What each message has left: attempts until it is delivered, and whether it is leased.
type Book = Arc<Mutex<HashMap<QueueId, (u32, bool)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_tried_as_often_as_it_wants_and_never_twice_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bench =
        bench_with(Config { window: 7, hot_bytes: 20_000, quotas: quotas::wide(), ..config(folder.path()) }).await;
    let bench = Arc::new(bench);
    let book = Book::default();
    let mut accepting = tokio::task::JoinSet::new();
    for task in 0..6 {
        let (bench, book) = (Arc::clone(&bench), Arc::clone(&book));
        accepting.spawn(async move {
            for n in 0..MESSAGES / 6 {
                let len = [10, 5000, 40_000][(task + n) % 3];
                let incoming = bench.incoming(&["a@example.net"], &octets(len));
                book.lock().insert(incoming.record.id, (fastrand::u32(1..4), false));
                bench.queue.accept(incoming).await.unwrap();
            }
        });
    }
    let mut trying = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (bench, book) = (Arc::clone(&bench), Arc::clone(&book));
        trying.spawn(async move {
            while !book.lock().is_empty() || bench.queue.counts().messages > 0 {
                let waited = tokio::time::timeout(Duration::from_millis(50), bench.queue.lease(3)).await;
                // Where there is nothing, the next round is waited for.
                bench.clock.advance(Duration::from_millis(if waited.is_ok() { 3 } else { 1000 }));
                for lease in waited.unwrap_or_default() {
                    attempt(&bench, &book, lease).await;
                }
            }
        });
    }
    let all = async {
        accepting.join_all().await;
        trying.join_all().await;
    };
    let stuck = tokio::time::timeout(Duration::from_secs(60), all).await.is_err();
    assert!(!stuck, "{} messages are stuck: {:?}", book.lock().len(), bench.queue.counts());
    bench.queue.close().await;
    assert_eq!(bench.queue.counts(), Counts::default());
    assert!(quotas::are_empty(&bench.queue));
    assert_eq!(bench.store.range(keys::TREE, &[0], &[255], 9).unwrap(), []);
}

async fn attempt(bench: &Bench, book: &Book, mut lease: Lease) {
    let id = lease.record.id;
    let wanted = {
        let mut book = book.lock();
        let (wanted, leased) = book.get_mut(&id).expect("leased after it was settled");
        assert!(!*leased, "leased twice");
        *leased = true;
        *wanted
    };
    assert!(bench.body(&lease).await == octets(lease.record.body_size as usize));
    if fastrand::u8(..) < 30 {
        book.lock().get_mut(&id).unwrap().1 = false;
        drop(lease);
        return;
    }
    // The book is written before the lease ends: another may follow at once.
    if fastrand::u8(..) < 20 {
        book.lock().get_mut(&id).unwrap().1 = false;
        if lease.pass_over() {
            return;
        }
        book.lock().get_mut(&id).unwrap().1 = true;
    }
    let settled = if wanted == 1 {
        book.lock().remove(&id);
        all_gone(&lease)
    } else {
        book.lock().insert(id, (wanted - 1, false));
        vec![retry(0, bench.clock.now().plus(Duration::from_millis(fastrand::u64(..40))))]
    };
    bench.queue.settle(lease, settled, None, Vec::new()).await.unwrap();
}
