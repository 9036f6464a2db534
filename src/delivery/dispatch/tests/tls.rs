//! Policies of others' domains, kept to: a policy server, an MX host with STARTTLS, and the dispatcher between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::rig::{Rig, Script};
use crate::delivery::config::tests::config;
use crate::delivery::{Config, LaneLimits, TlsOut};
use crate::hooks::{NextHop, Route, TlsPolicy};
use crate::https::testing::{Authority, Reply, WebServer, Zone};
use crate::mail::{Mailbox, Param, QueueId};
use crate::queue::{Filter, Record};
use crate::routing::Selection;
use crate::store::{Sled, Store};
use crate::sts::{self, Policies};
use crate::time::{Manual, Timestamp};
use crate::tls::TlsClients;
use crate::tlsrpt::{self, Ledger, Reporter};

/// What the MX host does about TLS.
#[derive(Clone)]
enum Offer {
    Nothing,
    Tls(TlsAcceptor),
    /// It says so, and then speaks something else.
    Broken,
}

/// An MX host; each line it was told goes into `heard`, after `tls ` where TLS stands.
struct Host {
    port: u16,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Host {
    async fn start(offer: Offer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, heard) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let host = Self { port, connections: Arc::clone(&connections), heard: Arc::clone(&heard) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (offer, heard) = (offer.clone(), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Some(stream) = talk(stream, &offer, "", true, &heard).await else { return };
                    if let Offer::Tls(acceptor) = &offer
                        && let Ok(stream) = acceptor.accept(stream).await
                    {
                        talk(stream, &Offer::Nothing, "tls ", false, &heard).await;
                    }
                });
            }
        });
        host
    }

    /// MAIL commands, as they came.
    fn mails(&self) -> Vec<String> {
        let is_mail = |line: &&String| line.trim_start_matches("tls ").starts_with("MAIL");
        self.heard.lock().iter().filter(is_mail).cloned().collect()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Speaks SMTP until the client leaves, or, with its stream, until it wants TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    offer: &Offer,
    mark: &str,
    greeting: bool,
    heard: &Mutex<Vec<String>>,
) -> Option<S> {
    let mut stream = BufReader::new(stream);
    if greeting {
        stream.write_all(b"220 mx ESMTP\r\n").await.ok()?;
    }
    let mut content = false;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        if content {
            content = line != ".";
            if !content {
                stream.write_all(b"250 taken\r\n").await.ok()?;
            }
            continue;
        }
        heard.lock().push(format!("{mark}{line}"));
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        let answer: &[u8] = match (verb, offer) {
            ("EHLO", Offer::Nothing) => b"250-mx\r\n250 REQUIRETLS\r\n",
            ("EHLO", _) => b"250-mx\r\n250-REQUIRETLS\r\n250 STARTTLS\r\n",
            ("STARTTLS", _) => b"220 go\r\n",
            ("DATA", _) => b"354 go\r\n",
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).await.ok()?;
        match verb {
            "STARTTLS" if matches!(offer, Offer::Tls(_)) => return Some(stream.into_inner()),
            "STARTTLS" => {
                // The first octet of the handshake is answered with what is none.
                stream.read_u8().await.ok()?;
                stream.write_all(b"what?\r\n").await.ok()?;
                return None;
            }
            "QUIT" => return None,
            _ => content = verb == "DATA",
        }
    }
}

struct Net {
    rig: Rig,
    host: Host,
    store: Arc<dyn Store>,
    ledger: Arc<Ledger>,
    web: WebServer,
    _folder: tempfile::TempDir,
}

/// A policy of example.com that names `mx.example.com`.
fn policy(mode: &str) -> Option<String> {
    Some(format!("version: STSv1\nmode: {mode}\nmx: mx.example.com\nmax_age: 86400\n"))
}

impl Net {
    /// `names` are those of the host's certificate; no names: no TLS.
    async fn new(names: &[&str], mx: &[(u16, &str)], policy: Option<String>) -> Self {
        let authority = Authority::new();
        let offer = if names.is_empty() { Offer::Nothing } else { Offer::Tls(authority.acceptor(names)) };
        Self::with(authority, offer, mx, policy).await
    }

    async fn with(authority: Authority, offer: Offer, mx: &[(u16, &str)], policy: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::start(offer).await;
        let web = WebServer::start(authority.acceptor(&["mta-sts.example.com"])).await;
        let zone = Arc::new(Zone::default());
        zone.set_mx(mx);
        if let Some(policy) = policy {
            zone.set("_mta-sts.example.com", &["v=STSv1; id=1;"]);
            web.answers(move |_| Reply::text("200 OK", "text/plain", &policy));
        }
        let clock = Arc::new(Manual::new(Timestamp::from_secs(1_795_473_060)));
        let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
        let policies = Policies::open(
            Arc::<Zone>::clone(&zone),
            authority.client(&zone),
            Arc::clone(&store),
            Arc::<Manual>::clone(&clock),
            100,
        );
        let ledger = Arc::new(Ledger::open(Arc::clone(&store), Arc::<Manual>::clone(&clock)).unwrap());
        let route = Route { hops: vec![NextHop::Mx("example.com".into())], ..Route::default() };
        let clients = TlsClients::load(Some(&authority.root())).unwrap();
        let config = settings(host.port, web.port);
        let mut rig = Rig::within(config, Some(route), Script::default(), clock, zone, clients).await;
        rig.dispatcher = rig.dispatcher.with_policies(Arc::new(policies.unwrap()), Arc::clone(&ledger));
        rig.run();
        Self { rig, host, store, ledger, web, _folder: folder }
    }

    async fn accept(&self, edit: fn(&mut Record)) -> QueueId {
        self.rig.accept_with("sue@example.org", &["ann@example.com"], edit).await
    }

    /// What the message waits for.
    async fn waits_for(&self, id: QueueId) -> String {
        let record = self.rig.tried(id, 1).await;
        let last = record.recipients[0].state.last.clone().unwrap();
        last.reply.unwrap().to_string()
    }

    /// What the domain will be told: policy type, successes, and the kinds of failures.
    fn counted(&self) -> Vec<(String, u64, Vec<String>)> {
        self.ledger.write().unwrap();
        let kept = self.store.range("tlsrpt", &[0], &[0xff], 9).unwrap();
        let Some((_, value)) = kept.first() else { return Vec::new() };
        let value: serde_json::Value = serde_json::from_slice(value).unwrap();
        let one = |policy: &serde_json::Value| {
            let kinds = policy["details"].as_array().unwrap().iter();
            let kinds = kinds.map(|detail| detail["failure"]["kind"].as_str().unwrap().to_owned()).collect();
            let kind = policy["policy"]["kind"].as_str().unwrap().to_owned();
            (kind, policy["successes"].as_u64().unwrap(), kinds)
        };
        value["tally"]["policies"].as_array().unwrap().iter().map(one).collect()
    }
}

fn settings(mx_port: u16, policy_port: u16) -> Config {
    let networks = || vec!["127.0.0.0/8".parse().unwrap()];
    let reporter = Reporter {
        organisation: "Test".to_owned(),
        contact: "postmaster@relay.test".to_owned(),
        from: Mailbox::parse("tls@relay.test", false).unwrap(),
    };
    let tls_out = TlsOut {
        sts: sts::Config {
            port: policy_port,
            networks: networks(),
            wait: Duration::from_secs(20),
            ..sts::Config::default()
        },
        reports: tlsrpt::Config { reporter: Some(reporter), domains: 10, ..tlsrpt::Config::default() },
        ..TlsOut::default()
    };
    // Each message has a connection of its own.
    let limits = LaneLimits {
        idle: Duration::ZERO,
        messages_per_connection: 1,
        cool_down: Duration::ZERO,
        ..LaneLimits::default()
    };
    let selection = Selection { never: Arc::default(), ..Selection::default() };
    Config { tls: TlsPolicy::Opportunistic, mx_port, tls_out, limits, selection, ..config() }
}

fn plain(_: &mut Record) {}

fn requires_tls(record: &mut Record) {
    record.sender_params = vec![Param { keyword: "REQUIRETLS".into(), value: None }];
}

const MX: [(u16, &str); 1] = [(10, "mx.example.com")];

#[tokio::test]
async fn a_host_of_the_policy_with_a_good_certificate_gets_its_mail() {
    let mut net =
        Net::new(&["mx.example.com"], &[(5, "old.example.com"), (10, "mx.example.com")], policy("enforce")).await;
    net.accept(plain).await;
    net.rig.empty().await;
    assert_eq!(net.host.mails(), ["tls MAIL FROM:<sue@example.org>"]);
    assert_eq!(net.host.connections(), 1, "the host that the policy does not name is not spoken to");
    net.accept(requires_tls).await;
    net.rig.empty().await;
    assert_eq!(net.host.mails()[1], "tls MAIL FROM:<sue@example.org> REQUIRETLS", "the policy proves its name");
    let expected = ("sts".to_owned(), 2, vec!["validation-failure".to_owned()]);
    assert_eq!(net.counted(), [expected], "the host that is not named is told of");
    net.rig.stop().await;
}

#[tokio::test]
async fn what_the_policy_does_not_allow_waits_and_never_goes_in_plain_text() {
    type Row<'a> = (&'a [&'a str], &'a [(u16, &'a str)], &'a str, &'a str);
    let table: [Row<'_>; 3] = [
        (&["other.example.com"], &MX, "451 4.7.5 the TLS handshake failed", "certificate-host-mismatch"),
        (&[], &MX, "451 4.7.4 the next hop offers no STARTTLS, and TLS is required", "starttls-not-supported"),
        (
            &["mx.example.com"],
            &[(10, "other.example.com")],
            "451 4.7.5 the domain's MTA-STS policy does not name this host",
            "validation-failure",
        ),
    ];
    for (names, mx, waits_for, told) in table {
        let mut net = Net::new(names, mx, policy("enforce")).await;
        let id = net.accept(plain).await;
        assert_eq!(net.waits_for(id).await, waits_for);
        assert!(net.host.mails().is_empty());
        assert_eq!(net.counted(), [("sts".to_owned(), 0, vec![told.to_owned()])]);
        net.rig.stop().await;
    }
}

#[tokio::test]
async fn what_a_domain_wants_is_not_held_against_the_hosts_that_others_share() {
    let mut net = Net::new(&["mx.example.com"], &[(10, "other.example.com")], policy("enforce")).await;
    let config = settings(net.host.port, net.web.port);
    let limits = LaneLimits { cool_down: Duration::from_secs(60), ..config.limits };
    net.rig.reload(Config { limits, ..config });
    let id = net.accept(plain).await;
    assert!(net.waits_for(id).await.starts_with("451 4.7.5"));
    let id = net.accept(plain).await;
    assert_eq!(net.waits_for(id).await, "450 4.4.1 the next hop could not be reached a moment ago");
    let site = net.rig.dispatcher.sites().all().remove(0);
    assert_eq!(site.rest(tokio::time::Instant::now()), None, "others get through");
    net.rig.stop().await;
}

#[tokio::test]
async fn a_policy_on_trial_is_only_reported_on() {
    let table: [(&[&str], &str, &[&str]); 3] = [
        (&["mx.example.com"], "tls MAIL FROM:<sue@example.org>", &[]),
        (&["other.example.com"], "tls MAIL FROM:<sue@example.org>", &["certificate-host-mismatch"]),
        (&[], "MAIL FROM:<sue@example.org>", &["starttls-not-supported"]),
    ];
    for (names, mail, told) in table {
        let mut net = Net::new(names, &MX, policy("testing")).await;
        net.accept(plain).await;
        net.rig.empty().await;
        assert_eq!(net.host.mails(), [mail]);
        let told: Vec<String> = told.iter().map(|kind| (*kind).to_owned()).collect();
        assert_eq!(net.counted(), [("sts".to_owned(), u64::from(told.is_empty()), told)]);
        net.rig.stop().await;
    }
    let mut net = Net::new(&["mx.example.com"], &[(10, "other.example.com")], policy("testing")).await;
    net.accept(plain).await;
    net.rig.empty().await;
    assert_eq!(net.counted().remove(0).2.len(), 1, "a host that the policy does not name gets mail, and is told of");
    net.rig.stop().await;
}

#[tokio::test]
async fn a_sender_may_waive_what_the_recipient_wants_for_one_message() {
    let mut net = Net::new(&[], &MX, policy("enforce")).await;
    let (sender, to) = ("sue@example.org", ["ann@example.com"]);
    net.rig.accept_headed("TLS-Required: No\r\nSubject: x\r\n\r\n", sender, &to, plain).await;
    net.rig.empty().await;
    assert_eq!(net.host.mails(), ["MAIL FROM:<sue@example.org>"]);
    let id = net.rig.accept_headed("TLS-Required: No\r\n\r\n", sender, &to, requires_tls).await;
    assert!(net.waits_for(id).await.starts_with("451 4.7.4"), "REQUIRETLS wins");
    let id = net.accept(plain).await;
    assert!(net.waits_for(id).await.starts_with("451 4.7.4"), "others do not go the same way");
    assert_eq!(net.host.mails().len(), 1);
    net.rig.stop().await;
}

#[tokio::test]
async fn what_requires_tls_comes_back_where_nothing_proves_the_host() {
    let table: [(&[&str], &str); 2] = [(&["mx.example.com"], "tls MAIL FROM:<> REQUIRETLS"), (&[], "MAIL FROM:<>")];
    for (names, report) in table {
        let mut net = Net::new(names, &MX, None).await;
        net.accept(requires_tls).await;
        net.rig.empty().await;
        // The report finds its way all the same, and asks for what the message asked for where that is offered.
        assert_eq!(net.host.mails(), [report]);
        net.rig.stop().await;
    }
}

#[tokio::test]
async fn a_report_of_another_relay_asks_for_tls_and_is_not_lost_for_want_of_it() {
    let table: [(&[&str], &str); 2] = [(&["other.example.com"], "tls MAIL FROM:<> REQUIRETLS"), (&[], "MAIL FROM:<>")];
    for (names, mail) in table {
        let mut net = Net::new(names, &MX, None).await;
        net.rig.accept_with("", &["ann@example.com"], requires_tls).await;
        net.rig.empty().await;
        assert_eq!(net.host.mails(), [mail]);
        net.rig.stop().await;
    }
    // What the recipient's domain wants of everybody holds for reports too, and no field of theirs lifts it.
    let mut net = Net::new(&[], &MX, policy("enforce")).await;
    let id = net.rig.accept_headed("TLS-Required: No\r\n\r\n", "", &["ann@example.com"], requires_tls).await;
    assert!(net.waits_for(id).await.starts_with("451 4.7.4"));
    net.rig.stop().await;
}

#[tokio::test]
async fn every_report_of_what_requires_tls_requires_it() {
    let mut net = Net::new(&["mx.example.com"], &MX, policy("enforce")).await;
    net.accept(|record| {
        requires_tls(record);
        record.recipients[0].params = vec![Param { keyword: "NOTIFY".into(), value: Some("SUCCESS".into()) }];
    })
    .await;
    net.rig.empty().await;
    assert_eq!(net.host.mails(), ["tls MAIL FROM:<sue@example.org> REQUIRETLS", "tls MAIL FROM:<> REQUIRETLS"]);
    net.rig.stop().await;
    // Of a delay: nobody there takes what the policy allows.
    let mut net = Net::new(&[], &MX, policy("enforce")).await;
    let id = net
        .accept(|record| {
            requires_tls(record);
            record.arrived = record.arrived.minus(Duration::from_secs(5 * 3600));
        })
        .await;
    net.waits_for(id).await;
    let delay = |rig: &Rig| {
        let queued = rig.queue.list(&Filter::default(), None, 9).unwrap();
        queued.into_iter().find(|record| record.sender.is_null())
    };
    net.rig.until(|rig| delay(rig).is_some()).await;
    let delay = delay(&net.rig).unwrap();
    assert_eq!(delay.sender_params, [Param { keyword: "REQUIRETLS".into(), value: None }]);
    net.rig.stop().await;
}

#[tokio::test]
async fn broken_tls_is_remembered_where_plain_text_will_do() {
    let mut net = Net::with(Authority::new(), Offer::Broken, &MX, None).await;
    for connections in [2, 3, 4] {
        net.accept(plain).await;
        net.rig.empty().await;
        assert_eq!(net.host.connections(), connections, "one handshake for all");
    }
    assert_eq!(net.host.mails().len(), 3);
    assert_eq!(net.counted(), [("no-policy-found".to_owned(), 0, vec!["validation-failure".to_owned()])]);
    net.rig.stop().await;

    let mut net = Net::with(Authority::new(), Offer::Broken, &MX, policy("enforce")).await;
    for _ in 0..2 {
        let id = net.accept(plain).await;
        net.waits_for(id).await;
    }
    assert!(net.host.mails().is_empty());
    net.rig.stop().await;
}

#[tokio::test]
async fn reports_are_not_reported_on() {
    let mut net = Net::new(&["mx.example.com"], &MX, policy("enforce")).await;
    net.accept(|record| record.tags = vec![tlsrpt::TAG.into()]).await;
    net.rig.empty().await;
    assert_eq!((net.host.mails().len(), net.counted().len()), (1, 0));
    net.rig.stop().await;
}
