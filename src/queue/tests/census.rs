//! A queue too large to be counted before it opens.

use super::*;

/// Every tenth is fresh, every other one of the rest is due; one in a hundred is held.
async fn fill(store: &Arc<dyn Store>, messages: u64) {
    let ids: Vec<u64> = (1..=messages).collect();
    for ids in ids.chunks(500) {
        let mut writes = Vec::new();
        for &id in ids {
            let mut record = record(id, &["a@example.net"]);
            let fresh = id % 10 == 0;
            let due = START.plus(Duration::from_secs(3600 * (id % 2)));
            record.recipients[0].state.due = if fresh { START } else { due };
            record.held = (id % 100 == 1).then(|| "why".into());
            record.head_size = 5;
            let value = stored::encode(&record, if fresh { b"head\n" } else { b"" }, b"");
            let id = record.id;
            if fresh {
                writes.push(Write::Put { key: keys::fresh(id), value });
                continue;
            }
            writes.push(Write::Put { key: keys::waiting(id), value });
            if record.held.is_none() {
                writes.push(Write::Put { key: keys::due(keys::Index::Due, due, id), value: Bytes::new() });
            }
            stored::chunks(id, b"head\n", b"", &mut writes);
        }
        store.commit(keys::TREE, writes).await.unwrap();
    }
}

async fn counted(queue: &Queue) -> Counts {
    let end = async {
        while queue.counts().counting {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("the count has no end");
    queue.counts()
}

#[tokio::test]
async fn mail_flows_while_a_large_queue_is_counted_and_the_count_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let failing = faults::failing_store(folder.path());
    let store: Arc<dyn Store> = failing.clone();
    let messages = 12_000;
    fill(&store, messages).await;
    // The count stops behind those that are counted before it opens, for as long as this says.
    *failing.full.lock() = (keys::waiting(QueueId::from_u64(8_500)), usize::MAX);
    let clock = Arc::new(Manual::new(START));
    let config = Config { window: 2000, quotas: quotas::wide(), ..config(folder.path()) };
    let queue = Queue::open(config, Arc::clone(&store), Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    assert!(queue.counts().counting, "8,192 at most are counted first");
    let bench = Bench { queue, clock, store };
    let mut gone = 0;
    for turn in 0..20_u32 {
        for lease in bench.some(40).await {
            let changes = match turn % 2 {
                0 => all_gone(&lease),
                _ => vec![retry(0, START.plus(Duration::from_secs(600)))],
            };
            gone += u64::from(turn % 2 == 0);
            bench.queue.settle(lease, changes, None, Vec::new()).await.unwrap();
        }
        bench.accept(&["new@example.net"], b"new").await;
    }
    assert!(bench.queue.counts().counting);
    failing.full.lock().1 = 0;
    // Of those that are counted last: held, to be released, fresh, due later.
    for (id, command) in [
        (11_901, Command::Remove),
        (11_801, Command::Release),
        (11_990, Command::Remove),
        (11_993, Command::Hold("why".into())),
        (11_995, Command::Remove),
    ] {
        let filter = Filter::parse(&format!("id = {}", QueueId::from_u64(id))).unwrap();
        let reach = Reach { after: None, upto: None, look: 10, find: 10 };
        let changed = bench.queue.command_step(&filter, reach, &command).await.unwrap();
        assert_eq!(changed.messages, 1, "{id}");
        gone += u64::from(command == Command::Remove);
    }
    let counts = counted(&bench.queue).await;
    let all = bench.all();
    assert_eq!(all.len() as u64, messages + 20 - gone);
    let held = all.iter().filter(|record| record.is_held()).count() as u64;
    let octets = all.iter().map(|record| record.size()).sum();
    let leased = counts.leased;
    assert_eq!(counts, Counts { messages: all.len() as u64, octets, held, leased, ..Counts::default() });
    bench.queue.command(&Filter::default(), Command::Remove).await.unwrap();
    assert_eq!(bench.queue.counts(), Counts::default());
    assert!(quotas::are_empty(&bench.queue), "each was counted once");
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_moment_does_not_end_the_count() {
    let folder = tempfile::tempdir().unwrap();
    let failing = faults::failing_store(folder.path());
    let store: Arc<dyn Store> = failing.clone();
    let messages = 9_500;
    fill(&store, messages).await;
    // Behind those that are counted before it opens.
    *failing.full.lock() = (keys::waiting(QueueId::from_u64(8_500)), 2);
    let queue = Queue::open(config(folder.path()), store, Arc::new(Manual::new(START))).await.unwrap();
    assert_eq!(counted(&queue).await.messages, messages);
    assert_eq!(failing.full.lock().1, 0);
}
