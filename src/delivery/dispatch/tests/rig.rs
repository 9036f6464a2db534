//! A dispatcher over a real queue, with hooks that say what a test wants.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::Dispatcher;
use super::brittle::Brittle;
use crate::delivery::Config;
use crate::delivery::tcp::Tcp;
use crate::hooks::{
    Answer, AttemptVerdict, AuthAttempt, AuthVerdict, BounceVerdict, Disposition, Hook, Hooks, MessageVerdict, NextHop,
    Outcome, Route, RoutingPhase, RoutingVerdict, SessionVerdict, Subject,
};
use crate::mail::{Annotations, BodyKind, Mailbox, QueueId, ReversePath};
use crate::queue::{BodyPlace, Filter, Incoming, Queue, QueuedRecipient, RecipientState, Record};
use crate::routing::{Answer as Resolved, Lookup, Mx, RecordKind, Resolver, Table};
use crate::store::{Content, Sled};
use crate::time::{Clock, Manual, Timestamp};
use crate::tls::TlsClients;

/// What the delivery-result hook answers.
pub(super) type OnResult = fn(&mut Subject, &[Outcome]) -> Vec<Disposition>;

/// What the delivery hooks answer. A hook without a function is not listened to.
#[derive(Default)]
pub(super) struct Script {
    pub(super) attempt: Option<fn(&mut Subject) -> AttemptVerdict>,
    pub(super) result: Option<OnResult>,
    pub(super) bounce: Option<fn(&Subject, &[Outcome]) -> BounceVerdict>,
    pub(super) route: Option<fn(&Subject) -> RoutingVerdict>,
}

fn answer<'a, V: Send + 'a>(subject: Subject, verdict: V) -> Answer<'a, V> {
    Box::pin(std::future::ready((subject, verdict)))
}

impl Hooks for Script {
    fn listens(&self, hook: Hook) -> bool {
        match hook {
            Hook::DeliveryAttempt => self.attempt.is_some(),
            Hook::DeliveryResult => self.result.is_some(),
            Hook::Bounce => self.bounce.is_some(),
            Hook::Route => self.route.is_some(),
            other => panic!("{other:?} is no hook of delivery"),
        }
    }
    fn generation(&self) -> u64 {
        1
    }
    fn connect(&self, _: Subject) -> Answer<'_, SessionVerdict> {
        panic!("not asked by delivery")
    }
    fn helo(&self, _: Subject, _: Arc<str>) -> Answer<'_, SessionVerdict> {
        panic!("not asked by delivery")
    }
    fn auth(&self, _: Subject, _: AuthAttempt) -> Answer<'_, AuthVerdict> {
        panic!("not asked by delivery")
    }
    fn mail(&self, _: Subject) -> Answer<'_, SessionVerdict> {
        panic!("not asked by delivery")
    }
    fn rcpt(&self, _: Subject) -> Answer<'_, SessionVerdict> {
        panic!("not asked by delivery")
    }
    fn message(&self, _: Subject) -> Answer<'_, MessageVerdict> {
        panic!("not asked by delivery")
    }
    fn route(&self, subject: Subject, phase: RoutingPhase) -> Answer<'_, RoutingVerdict> {
        assert_eq!(phase, RoutingPhase::Requeue);
        let verdict = self.route.expect("listens")(&subject);
        answer(subject, verdict)
    }
    fn delivery_attempt(&self, mut subject: Subject) -> Answer<'_, AttemptVerdict> {
        let verdict = self.attempt.expect("listens")(&mut subject);
        answer(subject, verdict)
    }
    fn delivery_result(&self, mut subject: Subject, outcomes: Arc<[Outcome]>) -> Answer<'_, Vec<Disposition>> {
        let verdict = self.result.expect("listens")(&mut subject, &outcomes);
        answer(subject, verdict)
    }
    fn bounce(&self, subject: Subject, failed: Arc<[Outcome]>) -> Answer<'_, BounceVerdict> {
        let verdict = self.bounce.expect("listens")(&subject, &failed);
        answer(subject, verdict)
    }
}

/// Nothing here needs a name looked up.
struct NoResolver;

impl Resolver for NoResolver {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        panic!("look-up of {domain}")
    }
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        panic!("look-up of {host}")
    }
    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        panic!("look-up of {ip}")
    }
    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Resolved> {
        panic!("look-up of {kind:?} {name}")
    }
}

pub(super) struct Rig {
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<Manual>,
    config: Arc<ArcSwap<Config>>,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// Set, no settlement is stored any more.
    pub(super) broken: Arc<AtomicBool>,
    /// Set, no settlement is stored for now.
    pub(super) full: Arc<AtomicBool>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

pub(super) fn to(address: SocketAddr) -> Route {
    let hop = NextHop::Smtp { host: address.ip().to_string().into(), port: address.port() };
    Route { hops: vec![hop], ..Route::default() }
}

impl Rig {
    /// A queue and a dispatcher that is not running yet; everything goes by `route`.
    pub(super) async fn new(config: Config, route: Route, script: Script) -> Self {
        Self::with(config, Some(route), script, Arc::new(NoResolver)).await
    }

    /// The same; without a route by MX, as the resolver says.
    pub(super) async fn with(
        config: Config,
        route: Option<Route>,
        script: Script,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let clock = Arc::new(Manual::new(Timestamp::from_secs(1_795_473_060)));
        Self::within(config, route, script, clock, resolver, TlsClients::load(None).unwrap()).await
    }

    /// The same, with a clock and trusted authorities.
    pub(super) async fn within(
        config: Config,
        route: Option<Route>,
        script: Script,
        clock: Arc<Manual>,
        resolver: Arc<dyn Resolver>,
        clients: TlsClients,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = crate::queue::Config {
            path: folder.path().to_owned(),
            min_free: 0,
            cache: 1 << 20,
            window: 5000,
            hot_bytes: 1 << 20,
            bounds: crate::queue::Bounds::default(),
            quotas: Vec::new(),
        };
        let path = folder.path().join("db");
        let broken = Arc::new(AtomicBool::new(false));
        let full = Arc::new(AtomicBool::new(false));
        let sled = Sled::open(&path, 1 << 20).unwrap();
        let store = Arc::new(Brittle { sled, broken: Arc::clone(&broken), full: Arc::clone(&full) });
        let queue = Queue::open(settings, store, Arc::<Manual>::clone(&clock)).await.unwrap();
        let table = Table { default: route.map(Arc::new), ..Table::default() };
        let table = Arc::new(ArcSwap::from_pointee(table));
        let hooks: Arc<dyn Hooks> = Arc::new(script);
        let config = Arc::new(ArcSwap::from_pointee(config));
        let dispatcher = Dispatcher::new(
            Arc::clone(&config),
            Arc::clone(&table),
            Arc::clone(&queue),
            Arc::new(ArcSwap::from_pointee(hooks)),
            resolver,
            Arc::new(Tcp::new(Arc::new(clients))),
            Arc::<Manual>::clone(&clock),
        );
        Self {
            queue,
            clock,
            config,
            table,
            dispatcher,
            broken,
            full,
            shutdown: CancellationToken::new(),
            running: None,
            _folder: folder,
        }
    }

    /// Puts another configuration in force.
    pub(super) fn reload(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    pub(super) fn run(&mut self) {
        self.running = Some(tokio::spawn(Arc::clone(&self.dispatcher).run(self.shutdown.clone())));
    }

    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        self.running.take().unwrap().await.unwrap();
    }

    pub(super) async fn accept(&self, sender: &str, recipients: &[&str]) -> QueueId {
        self.accept_with(sender, recipients, |_| {}).await
    }

    pub(super) async fn accept_with(&self, sender: &str, recipients: &[&str], edit: fn(&mut Record)) -> QueueId {
        self.accept_headed("Subject: hello\r\n\r\n", sender, recipients, edit).await
    }

    pub(super) async fn accept_headed(
        &self,
        head: &'static str,
        sender: &str,
        recipients: &[&str],
        edit: fn(&mut Record),
    ) -> QueueId {
        let now = self.clock.now();
        let head = Bytes::from_static(head.as_bytes());
        let body = Bytes::from_static(b".dot\r\nbye\r\n");
        let recipients = recipients.iter().zip(0..).map(|(text, index)| {
            let mailbox = Mailbox::parse(text, false).unwrap();
            let state = RecipientState::new(now);
            QueuedRecipient { index, original: mailbox.clone(), mailbox, params: Vec::new(), route: None, state }
        });
        let mut record = Record {
            id: self.queue.next_id(),
            arrived: now,
            origin: None,
            sender: ReversePath((!sender.is_empty()).then(|| Mailbox::parse(sender, false).unwrap())),
            sender_params: Vec::new(),
            body_kind: BodyKind::SevenBit,
            smtputf8: false,
            recipients: recipients.collect(),
            annotations: Annotations::default(),
            tags: Vec::new(),
            held: None,
            head_size: head.len() as u32,
            body_size: body.len() as u64,
            body: BodyPlace::Inline,
        };
        edit(&mut record);
        self.queue.accept(Incoming { record, head, body: Content::Memory(body) }).await.unwrap()
    }

    /// The record, if the message is still queued.
    pub(super) fn record(&self, id: QueueId) -> Option<Arc<Record>> {
        let only = Filter::ids([id]);
        self.queue.list(&only, None, 1).unwrap().pop()
    }

    /// Waits until a condition holds.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time");
    }

    /// Waits until the message's first recipient was tried so often.
    pub(super) async fn tried(&self, id: QueueId, attempts: u32) -> Arc<Record> {
        let tried = |rig: &Self| rig.record(id).is_some_and(|r| r.recipients[0].state.attempts == attempts);
        self.until(tried).await;
        self.record(id).unwrap()
    }

    pub(super) async fn empty(&self) {
        self.until(|rig| rig.queue.counts().messages == 0).await;
    }
}
