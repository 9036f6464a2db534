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
    let (bench, id) = with_one(folder.path(), 300_000, true).await;
    let BodyPlace::File { name, .. } = bench.all()[0].body.clone() else { panic!("inline") };
    // Nobody has it open, so that it is verified when it is read.
    drop(bench.one().await);
    bench.queue.shared.backlog.lock().leave(id);
    bench.queue.shared.backlog.lock().on_disk(id, backlog::Place::Due(later(0)));
    let path = folder.path().join("spool").join(&*name);
    std::fs::write(&path, octets(299_999)).unwrap();
    let value = bench.store.get(keys::TREE, &keys::waiting(id)).unwrap().unwrap();
    expect_damaged(&bench, id, &keys::waiting(id), &value).await;
    assert!(!path.exists());
    assert!(folder.path().join("spool/damaged").join(name.replace('/', "-")).exists());
}

#[tokio::test]
async fn a_body_in_a_slot_of_a_slab() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, id) = with_one(folder.path(), 100_000, true).await;
    let BodyPlace::File { name, .. } = bench.all()[0].body.clone() else { panic!("inline") };
    assert_eq!(&*name, "slab/128/0");
    drop(bench.one().await);
    bench.queue.shared.backlog.lock().leave(id);
    bench.queue.shared.backlog.lock().on_disk(id, backlog::Place::Due(later(0)));
    let mut wrong = octets(100_000);
    wrong[77_777] ^= 1;
    std::fs::write(folder.path().join("spool/slab-128k"), &wrong).unwrap();
    let value = bench.store.get(keys::TREE, &keys::waiting(id)).unwrap().unwrap();
    expect_damaged(&bench, id, &keys::waiting(id), &value).await;
    assert_eq!(
        std::fs::read(folder.path().join("spool/damaged/slab-128-0")).unwrap(),
        wrong,
        "for somebody to look at"
    );
    let another = bench.accept(&["a@example.net"], &octets(100_000)).await;
    let place = bench.all().into_iter().find(|record| record.id == another).unwrap().body.clone();
    assert!(matches!(place, BodyPlace::File { name, .. } if &*name == "slab/128/1"), "its slot is left as it is");
}

#[tokio::test]
async fn bodies_of_a_batch_are_written_with_it_and_read_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [32_769, 65_536, 65_537, 131_072, 200_000, 262_144, 262_145];
    let content = |len: usize| {
        let mut octets = octets(len);
        octets[..4].copy_from_slice(&(len as u32).to_be_bytes());
        octets
    };
    {
        let bench = bench_with(Config { hot_bytes: 0, ..config(folder.path()) }).await;
        let mut accepted = tokio::task::JoinSet::new();
        for size in sizes {
            let (queue, incoming) = (Arc::clone(&bench.queue), bench.incoming(&["a@example.net"], &content(size)));
            accepted.spawn(async move { queue.accept(incoming).await.unwrap() });
        }
        accepted.join_all().await;
        bench.close().await;
    }
    let bench = bench_with(Config { hot_bytes: 0, ..config(folder.path()) }).await;
    let mut read = Vec::new();
    for lease in bench.some(10).await {
        let body = bench.body(&lease).await;
        assert!(body == content(body.len()));
        read.push(body.len());
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
    read.sort_unstable();
    assert_eq!(read, sizes);
    bench.queue.shared.barrier().await.unwrap();
    // What was given back is used again.
    bench.accept(&["a@example.net"], &octets(100_000)).await;
    assert!(
        matches!(&bench.all()[0].body, BodyPlace::File { name, .. } if ["slab/128/0", "slab/128/1"].contains(&&**name))
    );
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
