use std::path::Path;
use std::time::Duration;

use super::*;
use crate::hooks::{OutcomeKind, Stage};
use crate::mail::{Annotations, BodyKind, Mailbox, ReversePath};
use crate::store::{Sled, Write};
use crate::time::Manual;

mod census;
mod commands;
mod crash;
mod damage;
mod faults;
mod pieces;
mod quotas;
mod stress;
mod window;

pub(super) const START: Timestamp = Timestamp::from_secs(1_795_473_060);

pub(super) fn record(id: u64, recipients: &[&str]) -> Record {
    let mailbox = |text: &str| Mailbox::parse(text, false).unwrap();
    let queued = |(index, text): (usize, &&str)| QueuedRecipient {
        index: index as u32,
        mailbox: mailbox(text),
        original: mailbox(text),
        params: Vec::new(),
        route: None,
        state: RecipientState::new(START),
    };
    Record {
        id: QueueId::from_u64(id),
        arrived: START,
        origin: None,
        sender: ReversePath(Some(mailbox("sender@example.org"))),
        sender_params: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: recipients.iter().enumerate().map(queued).collect(),
        annotations: Annotations::default(),
        tags: Vec::new(),
        held: None,
        head_size: 0,
        body_size: 0,
        body: BodyPlace::Inline,
    }
}

struct Bench {
    queue: Arc<Queue>,
    clock: Arc<Manual>,
    store: Arc<dyn Store>,
}

fn config(path: &Path) -> Config {
    Config {
        path: path.to_owned(),
        min_free: 0,
        cache: 8 << 20,
        window: 100,
        hot_bytes: 1 << 20,
        bounds: Bounds::default(),
        quotas: Vec::new(),
    }
}

async fn bench_with(config: Config) -> Bench {
    let store: Arc<dyn Store> = Arc::new(Sled::open(&config.path.join("db"), config.cache).unwrap());
    let clock = Arc::new(Manual::new(START));
    let queue = Queue::open(config, Arc::clone(&store), clock.clone()).await.unwrap();
    Bench { queue, clock, store }
}

async fn bench(folder: &Path) -> Bench {
    bench_with(config(folder)).await
}

impl Bench {
    fn incoming(&self, recipients: &[&str], body: &[u8]) -> Incoming {
        let record = Record { id: self.queue.next_id(), ..record(0, recipients) };
        let head = Bytes::from_static(b"Subject: x\r\n\r\n");
        Incoming { record, head, body: Content::Memory(Bytes::copy_from_slice(body)) }
    }

    async fn accept(&self, recipients: &[&str], body: &[u8]) -> QueueId {
        self.queue.accept(self.incoming(recipients, body)).await.unwrap()
    }

    async fn one(&self) -> Lease {
        let mut leases = self.some(1).await;
        leases.pop().unwrap()
    }

    async fn some(&self, room: usize) -> Vec<Lease> {
        tokio::time::timeout(Duration::from_secs(20), self.queue.lease(room)).await.expect("nothing is due")
    }

    /// Nothing is ready, and nothing on disk is due.
    fn assert_idle(&self) {
        let now = self.clock.now();
        let mut backlog = self.queue.shared.backlog.lock();
        assert!(backlog.take_ready(1, now).is_empty());
        assert!(!backlog.wants_refill(now));
    }

    fn all(&self) -> Vec<Arc<Record>> {
        self.queue.list(&Filter::default(), None, 100_000).unwrap()
    }

    async fn body(&self, lease: &Lease) -> Vec<u8> {
        let (head, body) = self.queue.content(lease).await.unwrap();
        assert_eq!(&head[..], b"Subject: x\r\n\r\n");
        let mut all = Vec::new();
        while (all.len() as u64) < body.len() {
            all.extend_from_slice(&body.read_at(all.len() as u64, 64 * 1024).await.unwrap());
        }
        all
    }

    /// The one message that is there, with a body of this size, is leased and goes; nothing of it is left in the store.
    async fn send_the_last(&self, len: usize) {
        let lease = self.one().await;
        assert!(self.body(&lease).await == octets(len), "{len}");
        let gone = all_gone(&lease);
        self.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
        self.queue.close().await;
        assert_eq!(self.store.range(keys::TREE, &[0], &[255], 9).unwrap(), [], "{len}");
    }

    async fn close(self) {
        self.queue.close().await;
    }
}

fn all_gone(lease: &Lease) -> Vec<Settled> {
    lease
        .recipients
        .iter()
        .map(|r| Settled { recipient: *r, change: Change::Gone, outcome: None, past: None })
        .collect()
}

fn retry(recipient: u32, at: Timestamp) -> Settled {
    let outcome = Outcome {
        recipient,
        kind: OutcomeKind::Temporary,
        stage: Stage::Connect,
        reply: None,
        error: Some("refused".into()),
        remote: None,
        remote_endpoint: None,
        at: START,
    };
    Settled {
        recipient,
        change: Change::Retry { at, counted: true, route: None, warned: false },
        outcome: Some(outcome),
        past: None,
    }
}

fn later(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

const SIZES: [usize; 5] = [0, 4096, 32 * 1024, 40_000, 300_000];

fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 11 % 249) as u8).collect()
}

#[tokio::test]
async fn accepted_leased_settled_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    for len in SIZES {
        let id = bench.accept(&["a@example.net"], &octets(len)).await;
        let lease = bench.one().await;
        assert_eq!((lease.record.id, &lease.recipients[..]), (id, &[0][..]));
        assert_eq!(
            bench.queue.counts(),
            Counts { messages: 1, octets: 14 + len as u64, leased: 1, ..Counts::default() }
        );
        assert!(bench.body(&lease).await == octets(len), "{len}");
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
        bench.assert_idle();
    }
    assert_eq!(bench.queue.counts(), Counts::default());
    bench.queue.close().await;
    assert_eq!(bench.store.range(keys::TREE, &[0], &[255], 9).unwrap(), [], "no octet is left in the store");
}

#[tokio::test]
async fn a_retry_waits_its_time_with_its_content_and_across_a_restart() {
    for len in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let bench = bench(folder.path()).await;
        let id = bench.accept(&["a@example.net", "b@example.net"], &octets(len)).await;
        let lease = bench.one().await;
        let settled =
            vec![Settled { recipient: 0, change: Change::Gone, outcome: None, past: None }, retry(1, later(300))];
        let mut notes = Annotations::default();
        notes.set("p", "1", "k", "v").unwrap();
        bench.queue.settle(lease, settled, Some(notes.clone()), Vec::new()).await.unwrap();
        bench.assert_idle();
        bench.close().await;
        let bench = self::bench(folder.path()).await;
        assert_eq!(bench.queue.counts().messages, 1);
        bench.assert_idle();
        bench.clock.advance(Duration::from_secs(300));
        let lease = bench.one().await;
        assert_eq!((lease.record.id, &lease.recipients[..]), (id, &[1][..]));
        let state = &lease.record.recipients[0].state;
        assert_eq!((state.attempts, state.due), (1, later(300)));
        assert_eq!(state.last.as_ref().and_then(|o| o.error.as_deref()), Some("refused"));
        assert_eq!(lease.record.annotations, notes);
        assert!(bench.body(&lease).await == octets(len), "{len}");
        let again = vec![retry(1, later(900))];
        bench.queue.settle(lease, again, None, Vec::new()).await.unwrap();
        bench.clock.advance(Duration::from_secs(600));
        bench.send_the_last(len).await;
    }
}

#[tokio::test]
async fn without_hot_memory_content_comes_from_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { hot_bytes: 0, ..config(folder.path()) }).await;
    for len in SIZES {
        bench.accept(&["a@example.net"], &octets(len)).await;
        let lease = bench.one().await;
        assert!(bench.body(&lease).await == octets(len), "{len}");
        bench.queue.settle(lease, vec![retry(0, later(0))], None, Vec::new()).await.unwrap();
        let lease = bench.one().await;
        assert!(bench.body(&lease).await == octets(len), "moved: {len}");
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_is_shown_whole_right_after_it_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { hot_bytes: 0, ..config(folder.path()) }).await;
    for _ in 0..50 {
        let incoming = bench.incoming(&["a@example.net"], b"body\r\n");
        let head = incoming.head.clone();
        let id = bench.queue.accept(incoming).await.unwrap();
        let lease = bench.one().await;
        bench.queue.settle(lease, vec![retry(0, later(60))], None, Vec::new()).await.unwrap();
        assert_eq!(bench.queue.show(id).await.unwrap().unwrap().1, head);
    }
}

#[tokio::test]
async fn a_large_header_section_is_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { hot_bytes: 0, ..config(folder.path()) }).await;
    let head = Bytes::from(octets(256 * 1024));
    for len in [10, 100_000] {
        let incoming = Incoming { head: head.clone(), ..bench.incoming(&["a@example.net"], &octets(len)) };
        let id = bench.queue.accept(incoming).await.unwrap();
        assert!(bench.queue.show(id).await.unwrap().unwrap().1 == head);
        for _ in 0..2 {
            let lease = bench.one().await;
            assert!(bench.queue.content(&lease).await.unwrap().0 == head);
            bench.queue.settle(lease, vec![retry(0, later(0))], None, Vec::new()).await.unwrap();
            // The settlement that moves the content only rides.
            assert!(bench.queue.show(id).await.unwrap().unwrap().1 == head);
        }
        let lease = bench.one().await;
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
    bench.queue.close().await;
    assert_eq!(bench.store.range(keys::TREE, &[0], &[255], 9).unwrap(), []);
}

#[tokio::test]
async fn a_lease_dropped_is_due_again_and_a_restart_forgets_leases() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let id = bench.accept(&["a@example.net"], b"x").await;
    drop(bench.one().await);
    let lease = bench.one().await;
    assert_eq!(lease.record.id, id);
    bench.assert_idle();
    std::mem::forget(lease);
    drop(bench);
    // The forgotten lease keeps the store open: what matters is on disk, so copy it as a crash would leave it.
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), copy.path());
    let bench = self::bench(copy.path()).await;
    assert_eq!(bench.one().await.record.id, id);
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn parts_of_a_lease_settle_each_on_their_own_and_the_rest_is_due_again() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let all: Vec<String> = (0..20).map(|i| format!("r{i}@example.net")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    bench.accept(&all, b"x").await;
    let parts = bench.one().await.split((0..19).map(|i| vec![i, 99]).collect());
    assert_eq!(parts.len(), 19);
    let rest = bench.one().await;
    assert_eq!(rest.recipients, [19]);
    let mut tasks = tokio::task::JoinSet::new();
    for lease in parts {
        let queue = Arc::clone(&bench.queue);
        tasks.spawn(async move {
            let index = lease.recipients[0];
            let odd = index % 2 == 1;
            let settled = if odd { vec![retry(index, later(60))] } else { all_gone(&lease) };
            queue.settle(lease, settled, None, Vec::new()).await.unwrap();
        });
    }
    tasks.join_all().await;
    let left: Vec<u32> = bench.all()[0].recipients.iter().map(|r| r.index).collect();
    assert_eq!(left, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    bench.assert_idle();
    let gone = all_gone(&rest);
    bench.queue.settle(rest, gone, None, Vec::new()).await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    let lease = bench.one().await;
    assert_eq!(lease.recipients, [1, 3, 5, 7, 9, 11, 13, 15, 17]);
    let gone = all_gone(&lease);
    bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    assert_eq!((bench.all(), bench.queue.counts()), (Vec::new(), Counts::default()));
}

#[tokio::test]
async fn notices_come_with_the_settlement() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    for len in SIZES {
        bench.accept(&["a@example.net"], b"x").await;
        let lease = bench.one().await;
        let notice = bench.incoming(&["sender@example.org"], &octets(len));
        let id = notice.record.id;
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, vec![notice]).await.unwrap();
        let ids: Vec<_> = bench.all().iter().map(|r| r.id).collect();
        let lease = bench.one().await;
        assert_eq!((lease.record.id, bench.queue.counts().messages), (id, 1));
        assert!(bench.body(&lease).await == octets(len));
        bench.queue.shared.barrier().await.unwrap();
        assert!(ids.is_empty() || ids == [id]);
        assert_eq!(bench.all().len(), 1);
        let gone = all_gone(&lease);
        bench.queue.settle(lease, gone, None, Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn ids_are_never_used_twice() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let first = bench.incoming(&["a@example.net"], b"1");
    let second = Incoming { record: Record { id: first.record.id, ..first.record.clone() }, ..first.clone() };
    let a = bench.queue.accept(first).await.unwrap();
    let b = bench.queue.accept(second).await.unwrap();
    assert_ne!(a, b);
    bench.close().await;
    let bench = self::bench(folder.path()).await;
    assert!(bench.queue.next_id() > b, "a clock that stands still makes no old id");
}

#[tokio::test]
async fn operators_hold_release_retry_and_remove() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let a = bench.accept(&["a@one.example"], &octets(5000)).await;
    let b = bench.accept(&["b@two.example"], &octets(50_000)).await;
    let domain = |domain: &str| Filter::domain(domain);
    assert_eq!(bench.queue.command(&domain("one.example"), Command::Hold("spam?".into())).await.unwrap(), 1);
    assert_eq!(bench.queue.counts(), Counts { messages: 2, octets: 55_028, held: 1, ..Counts::default() });
    let lease = bench.one().await;
    assert_eq!(lease.record.id, b);
    bench.assert_idle();
    bench.queue.settle(lease, vec![retry(0, later(3600))], None, Vec::new()).await.unwrap();
    let ids = |filter: &Filter| bench.queue.list(filter, None, 9).unwrap().iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(ids(&Filter::held(true)), [a]);
    assert_eq!(ids(&Filter::held(false)), [b]);
    assert_eq!(ids(&Filter::contains("recipient", "b@")), [b]);
    assert_eq!(ids(&Filter::contains("sender", "nobody")), []);
    assert_eq!(ids(&Filter::ids([b, a])), [a, b]);
    bench.assert_idle();
    assert_eq!(bench.queue.command(&domain("two.example"), Command::Retry { reroute: true }).await.unwrap(), 1);
    let lease = bench.one().await;
    assert!(lease.record.id == b && lease.record.recipients[0].state.reroute);
    assert_eq!(bench.queue.command(&Filter::default(), Command::Release).await.unwrap(), 1);
    let released = bench.one().await;
    assert_eq!((released.record.id, bench.queue.counts().held), (a, 0));
    assert!(bench.body(&released).await == octets(5000));
    assert_eq!(bench.queue.command(&Filter::default(), Command::Remove).await.unwrap(), 2);
    assert!(matches!(bench.queue.content(&lease).await, Err(QueueError::Unknown(id)) if id == b));
    bench.queue.settle(lease, vec![retry(0, later(1))], None, Vec::new()).await.unwrap();
    drop(released);
    assert_eq!((bench.all(), bench.queue.counts()), (Vec::new(), Counts::default()));
    bench.queue.close().await;
    assert_eq!(bench.store.range(keys::TREE, &[0], &[255], 9).unwrap(), []);
}

#[tokio::test]
async fn a_hold_during_an_attempt_outlasts_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    bench.accept(&["a@example.net"], b"x").await;
    let lease = bench.one().await;
    bench.queue.command(&Filter::default(), Command::Hold("why".into())).await.unwrap();
    bench.queue.settle(lease, vec![retry(0, later(0))], None, Vec::new()).await.unwrap();
    bench.assert_idle();
    assert_eq!(bench.all()[0].held.as_deref(), Some("why"));
    bench.queue.command(&Filter::default(), Command::Release).await.unwrap();
    assert_eq!(bench.one().await.record.recipients[0].state.attempts, 1);
}

#[tokio::test]
async fn pages_of_a_listing_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let mut ids = Vec::new();
    for n in 0..300 {
        ids.push(
            bench
                .queue
                .shared
                .accept_unflushed(bench.incoming(&["a@example.net"], b"x"), later(60 * u64::from(n % 3 == 0)))
                .await,
        );
    }
    bench.queue.shared.barrier().await.unwrap();
    let mut seen = Vec::new();
    while let Some(after) = Some(seen.last().copied()) {
        let page = bench.queue.list(&Filter::default(), after, 70).unwrap();
        seen.extend(page.iter().map(|r| r.id));
        if page.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_waiting_lease_wakes_for_new_mail_and_for_due_mail() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Arc::new(bench(folder.path()).await);
    let waiting = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.one().await }
    });
    tokio::task::yield_now().await;
    let id = bench.accept(&["a@example.net"], b"x").await;
    let lease = waiting.await.unwrap();
    assert_eq!(lease.record.id, id);
    // Due in a moment of the wall clock; the timer of the lease is what wakes it.
    bench.queue.settle(lease, vec![retry(0, START.plus(Duration::from_millis(20)))], None, Vec::new()).await.unwrap();
    bench.assert_idle();
    let waiting = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.one().await }
    });
    tokio::task::yield_now().await;
    bench.clock.advance(Duration::from_millis(20));
    assert_eq!(waiting.await.unwrap().record.id, id);
}
