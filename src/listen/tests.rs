//! Reception over real sockets where a fault has to be forced: a store that breaks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::*;
use crate::queue::{self, Injected, Injection};
use crate::session::RelayRules;
use crate::smtp::Extensions;
use crate::store::{Committed, Pair, Sled, Store, StoreError, Ticket, Write};
use crate::time::System;

/// A store that says it is broken, when it is told to be.
struct Sick(Sled, AtomicBool);

impl Store for Sick {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(tree, key)
    }

    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.0.range(tree, from, to, limit)
    }

    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError> {
        self.0.apply(tree, writes)
    }

    fn swap(&self, tree: &str, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        self.0.swap(tree, key, expected, new)
    }

    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_> {
        self.0.commit(tree, writes)
    }

    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        self.0.ride(tree, writes)
    }

    fn applied(&self) -> Ticket {
        self.0.applied()
    }

    fn flushed(&self) -> Ticket {
        self.0.flushed()
    }

    fn health(&self) -> Result<(), StoreError> {
        if self.1.load(Ordering::Relaxed) { Err(StoreError::Broken("it was told to".into())) } else { Ok(()) }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn reply(&mut self) -> String {
        let mut line = String::new();
        while line.is_empty() || line.as_bytes().get(3) == Some(&b'-') {
            line.clear();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "closed");
        }
        line
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }
}

fn config() -> Config {
    let session = crate::session::Config {
        hostname: "relay.test".into(),
        relay: RelayRules { networks: vec!["127.0.0.0/8".parse().unwrap()], ..RelayRules::default() },
        extensions: Extensions::default(),
        max_message_size: 1 << 20,
        max_header_size: 1 << 16,
        max_recipients: 100,
        max_transactions: 100,
        max_errors: 20,
        max_hops: 100,
        max_line_length: 65536,
        line_ends: Default::default(),
        strict_pipelining: true,
        lmtp: false,
        submission: false,
        auth: Default::default(),
        xclient_from: Vec::new(),
        max_hold: 0,
        require_auth: false,
        allow_plaintext_auth: false,
    };
    let listener = Listener {
        name: "smtp".into(),
        address: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
        tls: TlsMode::None,
        client_certificates: ClientCertificates::None,
        proxy_from: ProxyFrom::default(),
        relay: false,
        allow_everyone: false,
        authentication_results: false,
        session: session.into(),
    };
    let limits = Limits::default();
    Config {
        listeners: vec![listener],
        limits,
        tls: None,
        tls_watch: None,
        credentials: None,
        senders: None,
        client_names: false,
        greet_delay: Duration::ZERO,
    }
}

#[tokio::test]
async fn where_the_store_is_broken_nobody_is_let_in_and_nobody_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sick(Sled::open(&folder.path().join("db"), 1 << 20).unwrap(), AtomicBool::new(false)));
    let path = folder.path().to_owned();
    let settings = queue::Config {
        path,
        min_free: 1,
        cache: 1 << 20,
        window: 10,
        hot_bytes: 1 << 20,
        bounds: queue::Bounds::default(),
        quotas: Vec::new(),
    };
    let queue = Queue::open(settings, store.clone(), Arc::new(System)).await.unwrap();
    let config = config();
    let bound = Bound::bind(&config.listeners[0], &mut Activation::default()).unwrap().remove(0);
    let address = bound.address().unwrap().parse().unwrap();
    let hooks: Arc<dyn Hooks> = Arc::new(crate::plugin::PluginSet::empty(1));
    let rules = Rules { config, tls: None, credentials: None, senders: None, hooks };
    let rules = Arc::new(ArcSwap::from_pointee(rules));
    let names: Arc<ClientNames> = Arc::new(|_| Box::pin(std::future::ready(None)));
    let draining = CancellationToken::new();
    let reception = Reception::new(queue, rules, Arc::new(System), names, draining.clone());
    let accepting = tokio::spawn(reception.clone().accept(bound));

    let mut client = Client::connect(address).await;
    assert!(client.reply().await.starts_with("220 "));
    assert!(client.say("EHLO client.test").await.starts_with("250 "));
    store.1.store(true, Ordering::Relaxed);
    assert!(client.say("NOOP").await.starts_with("250 "));
    assert!(client.say("MAIL FROM:<a@client.test>").await.starts_with("421 4.3.0 "));
    let mut refused = Client::connect(address).await;
    assert!(refused.reply().await.starts_with("421 4.3.0 "));
    assert_eq!(reception.load().shed.store, 1);
    draining.cancel();
    accepting.await.unwrap();
    reception.drained().await;
}

#[tokio::test]
async fn what_is_handed_in_goes_through_a_session_and_is_in_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
    let path = folder.path().to_owned();
    let settings = queue::Config {
        path,
        min_free: 1,
        cache: 1 << 20,
        window: 10,
        hot_bytes: 1 << 20,
        bounds: queue::Bounds::default(),
        quotas: Vec::new(),
    };
    let queue = Queue::open(settings, store, Arc::new(System)).await.unwrap();
    let hooks: Arc<dyn Hooks> = Arc::new(crate::plugin::PluginSet::empty(1));
    let rules = Rules { config: config(), tls: None, credentials: None, senders: None, hooks };
    let rules = Arc::new(ArcSwap::from_pointee(rules));
    let names: Arc<ClientNames> = Arc::new(|_| Box::pin(std::future::ready(None)));
    let draining = CancellationToken::new();
    let reception = Reception::new(queue.clone(), rules, Arc::new(System), names, draining.clone());
    let mailbox = |text: &str| crate::mail::Mailbox::parse(text, true).unwrap();
    let mail = Injection {
        sender: Some(mailbox("ann@example.org")),
        recipients: vec![mailbox("bob@far.test"), mailbox("eve@far.test")],
        content: Bytes::from_static(b"Subject: x\n\n.dot\nlast"),
        client: "192.0.2.9".parse().ok(),
        by: "shop".into(),
    };
    let Injected::Taken { id, refused } = reception.inject(mail.clone()).await.unwrap() else { panic!("refused") };
    assert!(refused.is_empty());
    let (record, head, body) = queue.whole(id.parse().unwrap()).await.unwrap().unwrap();
    let origin = record.origin.as_ref().unwrap();
    assert_eq!((origin.identity.as_deref(), &*origin.client.address), (Some("shop"), "192.0.2.9"));
    assert_eq!(record.recipients.len(), 2);
    let head = String::from_utf8(head.to_vec()).unwrap();
    assert!(head.starts_with("Received: ") && head.contains("[192.0.2.9]"), "{head}");
    assert_eq!(&body.read_at(0, 100).await.unwrap()[..], b".dot\r\nlast\r\n");
    assert_eq!(reception.pulse.tally().totals().accepted, 1);

    let none = Injection { content: Bytes::from_static(b"Subject: x\n\na\0b"), ..mail };
    let refused = reception.inject(none.clone()).await.unwrap();
    assert!(matches!(refused, Injected::Refused { later: false, .. }), "{refused:?}");
    draining.cancel();
    assert!(matches!(reception.inject(none).await.unwrap(), Injected::Refused { later: true, .. }));
    tokio::time::timeout(Duration::from_secs(10), reception.drained()).await.unwrap();
}
