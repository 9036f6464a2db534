//! What does not verify is set aside: not delivered, not dropped, counted.

use super::*;

async fn spoil(store: &Arc<dyn Store>, key: &[u8]) -> Bytes {
    let mut value = store.get(keys::TREE, key).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    let value = Bytes::from(value);
    let write = Write::Put { key: Bytes::copy_from_slice(key), value: value.clone() };
    store.commit(keys::TREE, vec![write]).await.unwrap();
    value
}

/// A queue without memory of content, one message in it, tried once or not.
async fn with_one(folder: &Path, body: usize, tried: bool) -> (Bench, QueueId) {
    let bench = bench_with(Config { hot_bytes: 0, ..config(folder) }).await;
    let id = bench.accept(&["a@example.net"], &octets(body)).await;
    if tried {
        let lease = bench.one().await;
        bench.queue.settle(lease, vec![retry(0, later(0))], None, Vec::new()).await.unwrap();
        bench.queue.shared.barrier().await.unwrap();
    }
    (bench, id)
}

async fn expect_damaged(bench: &Bench, id: QueueId, key: &[u8], value: &Bytes) {
    let lease = bench.one().await;
    assert!(matches!(bench.queue.content(&lease).await, Err(QueueError::Damaged(damaged, _)) if damaged == id));
    bench.queue.settle(lease, vec![retry(0, later(0))], None, Vec::new()).await.unwrap();
    bench.assert_idle();
    assert_eq!(bench.queue.counts(), Counts { damaged: 1, ..Counts::default() });
    bench.queue.shared.barrier().await.unwrap();
    assert_eq!(bench.all(), []);
    assert_eq!(bench.store.get(keys::TREE, &keys::damaged(key)).unwrap().as_ref(), Some(value), "it is kept");
}

#[tokio::test]
async fn a_fresh_message() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, id) = with_one(folder.path(), 100, false).await;
    let value = spoil(&bench.store, &keys::fresh(id)).await;
    expect_damaged(&bench, id, &keys::fresh(id), &value).await;
}

#[tokio::test]
async fn a_chunk_of_content() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, id) = with_one(folder.path(), 100, true).await;
    let value = spoil(&bench.store, &keys::chunk(id, 0)).await;
    expect_damaged(&bench, id, &keys::chunk(id, 0), &value).await;
}

#[tokio::test]
async fn a_body_in_a_spool_file() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, id) = with_one(folder.path(), 100_000, true).await;
    let BodyPlace::File { name, .. } = bench.all()[0].body.clone() else { panic!("inline") };
    // Nobody has it open, so that it is verified when it is read.
    drop(bench.one().await);
    bench.queue.shared.backlog.lock().leave(id);
    bench.queue.shared.backlog.lock().on_disk(id, backlog::Place::Due(later(0)));
    let path = folder.path().join("spool").join(&*name);
    std::fs::write(&path, octets(99_999)).unwrap();
    let value = bench.store.get(keys::TREE, &keys::waiting(id)).unwrap().unwrap();
    expect_damaged(&bench, id, &keys::waiting(id), &value).await;
    assert!(!path.exists());
    assert!(folder.path().join("spool/damaged").join(name.replace('/', "-")).exists());
}

#[tokio::test]
async fn records_found_at_start_or_when_due() {
    for at_start in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (bench, id) = with_one(folder.path(), 100, true).await;
        let sound = bench.accept(&["b@example.net"], b"x").await;
        bench.queue.shared.backlog.lock().leave(id);
        bench.queue.shared.backlog.lock().on_disk(id, backlog::Place::Due(later(0)));
        let value = spoil(&bench.store, &keys::waiting(id)).await;
        let bench = if at_start {
            bench.close().await;
            self::bench(folder.path()).await
        } else {
            bench
        };
        let lease = bench.one().await;
        assert_eq!(lease.record.id, sound);
        if !at_start {
            bench.queue.shared.refill().await.unwrap();
        }
        let mut counts = bench.queue.counts();
        if bench.queue.shared.backlog.lock().wants_refill(START) {
            bench.queue.shared.refill().await.unwrap();
            counts = bench.queue.counts();
        }
        assert_eq!((counts.messages, counts.damaged), (1, 1), "{at_start}");
        bench.queue.shared.barrier().await.unwrap();
        let kept = bench.store.get(keys::TREE, &keys::damaged(&keys::waiting(id))).unwrap();
        assert_eq!(kept, Some(value), "{at_start}");
        drop(lease);
        bench.close().await;
        let bench = self::bench(folder.path()).await;
        assert_eq!(bench.queue.counts().damaged, 1, "still counted after a restart");
    }
}

#[tokio::test]
async fn a_later_version_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, id) = with_one(folder.path(), 100, false).await;
    let mut value = bench.store.get(keys::TREE, &keys::fresh(id)).unwrap().unwrap().to_vec();
    value[0] = 9;
    let write = Write::Put { key: keys::fresh(id), value: value.clone().into() };
    bench.store.commit(keys::TREE, vec![write]).await.unwrap();
    let store = Arc::clone(&bench.store);
    let again = Queue::open(config(folder.path()), Arc::clone(&store), bench.clock.clone()).await;
    let Err(error) = again else { panic!("opened") };
    insta::assert_snapshot!(error.to_string().replace(&id.to_string(), "ID"), @"record of ID is damaged: it was written by a later version of this program (form 9)");
    assert_eq!(store.get(keys::TREE, &keys::fresh(id)).unwrap().as_deref(), Some(&value[..]));
}
