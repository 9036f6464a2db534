//! How fast the queue takes mail in and lets it go: `cargo bench --bench queue [seconds]`.
//!
//! Tasks accept messages as fast as they are acknowledged, durable; one dispatcher leases, reads the content and
//! settles. Prints acceptances in a second and CPU time (user and system) of the whole process for each.

#![expect(clippy::expect_used, reason = "a measurement has nobody to report a failure to")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use waypost::mail::{Annotations, BodyKind, Mailbox, ReversePath};
use waypost::queue::{
    BodyPlace, Change, Config, Counts, Incoming, Lease, Queue, QueuedRecipient, RecipientState, Record, Settled,
};
use waypost::store::{Content, Sled};
use waypost::time::{Clock, System};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for size in [4 * 1024, 100 * 1024] {
        for tasks in [1, 10, 50] {
            runtime.block_on(round(tasks, size, Duration::from_secs(seconds)))?;
        }
    }
    Ok(())
}

async fn round(tasks: usize, size: usize, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in(".")?;
    let config = Config {
        path: folder.path().to_owned(),
        min_free: 1 << 20,
        cache: 64 << 20,
        window: 1000,
        hot_bytes: 64 << 20,
        bounds: waypost::queue::Bounds::default(),
        quotas: Vec::new(),
    };
    let store = Arc::new(Sled::open(&folder.path().join("db"), config.cache)?);
    let queue = Queue::open(config, store, Arc::new(System)).await?;
    let settled = Arc::new(AtomicU64::new(0));
    let dispatcher = tokio::spawn(dispatch(Arc::clone(&queue), Arc::clone(&settled)));
    let (cpu, began, over) = (cpu(), Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut accepting = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (queue, over) = (Arc::clone(&queue), Arc::clone(&over));
        accepting.spawn(async move {
            let mut accepted = 0_u64;
            while !over.load(Ordering::Relaxed) {
                queue.accept(message(&queue, size)).await.expect("the disk is for measuring");
                accepted += 1;
            }
            accepted
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let accepted: u64 = accepting.join_all().await.iter().sum();
    let took = began.elapsed().as_secs_f64();
    while queue.counts() != Counts::default() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (drained, used) = (began.elapsed().as_secs_f64(), self::cpu() - cpu);
    dispatcher.abort();
    println!(
        "{:>3} KiB, {tasks:>2} tasks: {:>6.0} accepted/s, {:>6.0} settled/s, {:>5.1} us CPU each",
        size / 1024,
        accepted as f64 / took,
        settled.load(Ordering::Relaxed) as f64 / drained,
        used * 1e6 / accepted as f64
    );
    Ok(())
}

async fn dispatch(queue: Arc<Queue>, count: Arc<AtomicU64>) {
    loop {
        for lease in queue.lease(50).await {
            let _content = queue.content(&lease).await.expect("it was accepted");
            let gone =
                |recipient: &u32| Settled { recipient: *recipient, change: Change::Gone, outcome: None, past: None };
            let settled = lease.recipients.iter().map(gone).collect();
            settle(&queue, lease, settled).await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn settle(queue: &Queue, lease: Lease, settled: Vec<Settled>) {
    queue.settle(lease, settled, None, Vec::new()).await.expect("the store works");
}

fn message(queue: &Queue, size: usize) -> Incoming {
    let now = System.now();
    let mailbox = |text| Mailbox::parse(text, false).expect("it is one");
    let recipient = QueuedRecipient {
        index: 0,
        mailbox: mailbox("somebody@example.net"),
        original: mailbox("somebody@example.net"),
        params: Vec::new(),
        route: None,
        state: RecipientState::new(now),
    };
    let record = Record {
        id: queue.next_id(),
        arrived: now,
        origin: None,
        sender: ReversePath(Some(mailbox("sender@example.org"))),
        sender_params: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: vec![recipient],
        annotations: Annotations::default(),
        tags: Vec::new(),
        held: None,
        head_size: 0,
        body_size: 0,
        body: BodyPlace::Inline,
    };
    let head = Bytes::from(vec![b'h'; 400]);
    Incoming { record, head, body: Content::Memory(Bytes::from(vec![b'b'; size])) }
}

/// Seconds of CPU time of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
