//! Policies fetched from a real HTTPS server in this process, by a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache::describe;
use super::*;
use crate::https::testing::{Authority, Reply, WebServer, Zone};
use crate::store::{Sled, Store};
use crate::time::{Manual, Timestamp};

const DOMAIN: &str = "example.com";
const DAY: Duration = Duration::from_secs(86_400);

struct Rig {
    authority: Authority,
    server: WebServer,
    zone: Arc<Zone>,
    clock: Arc<Manual>,
    store: Arc<dyn Store>,
    policies: Arc<Policies>,
    config: Config,
    _folder: tempfile::TempDir,
}

fn policy(mode: &str, host: &str) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: 604800\r\n")
}

impl Rig {
    /// The server proves to be `name`, and the record announces the id `1`.
    async fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let server = WebServer::start(authority.acceptor(&[name])).await;
        let zone = Arc::new(Zone::default());
        let clock = Arc::new(Manual::new(Timestamp::from_secs(1_795_473_060)));
        let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
        let config = Config {
            port: server.port,
            networks: vec!["127.0.0.0/8".parse().unwrap()],
            wait: Duration::from_secs(20),
            cache: 100,
            ..Config::default()
        };
        let policies = open(&authority, &zone, &store, &clock);
        let rig = Self { authority, server, zone, clock, store, policies, config, _folder: folder };
        rig.announce("1");
        rig
    }

    fn announce(&self, id: &str) {
        self.zone.set("_mta-sts.example.com", &[&format!("v=STSv1; id={id};")]);
    }

    fn serves(&self, text: &str) {
        let text = text.to_owned();
        self.server.answers(move |_| Reply::text("200 OK", "text/plain; charset=utf-8", &text));
    }

    async fn find(&self) -> Found {
        self.policies.find(DOMAIN, &self.config).await
    }

    /// A life later.
    fn reopen(&mut self) {
        self.policies = open(&self.authority, &self.zone, &self.store, &self.clock);
    }

    /// Waits until the store has this policy and no other, or none: that is done beside.
    async fn stored(&self, host: Option<&str>) {
        let wait = async {
            loop {
                let policies = self.store.range("mta-sts", &[0], &[0xff], 9).unwrap();
                let texts: Vec<_> = policies.iter().map(|(_, held)| String::from_utf8_lossy(held)).collect();
                if texts.len() == usize::from(host.is_some())
                    && texts.iter().all(|t| t.contains(host.unwrap_or_default()))
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time");
    }
}

fn open(authority: &Authority, zone: &Arc<Zone>, store: &Arc<dyn Store>, clock: &Arc<Manual>) -> Arc<Policies> {
    let (client, resolver) = (authority.client(zone), Arc::<Zone>::clone(zone));
    Policies::open(resolver, client, Arc::clone(store), Arc::<Manual>::clone(clock), 100).unwrap().into()
}

fn host(found: &Found) -> String {
    found.policy().map(|policy| policy.mx[0].to_string()).unwrap_or_default()
}

fn kind(found: &Found) -> Option<TroubleKind> {
    found.trouble.as_ref().map(|trouble| trouble.kind)
}

#[tokio::test]
async fn a_policy_is_fetched_once_kept_and_fetched_again_when_its_id_changes() {
    let mut rig = Rig::new("mta-sts.example.com").await;
    rig.serves(&policy("enforce", "mx1.example.com"));
    let all = at_once(&rig, 20).await;
    assert!(all.iter().all(|found| host(found) == "mx1.example.com"), "{all:?}");
    assert_eq!((rig.server.count(), rig.zone.count()), (1, 1), "one question for all who wait");
    let asked = rig.server.asked().remove(0).head.to_ascii_lowercase();
    assert!(asked.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: mta-sts.example.com:{}", rig.server.port)), "{asked}");

    rig.serves(&policy("testing", "mx2.example.com"));
    rig.clock.advance(Duration::from_secs(301));
    assert_eq!(host(&rig.find().await), "mx1.example.com");
    assert_eq!((rig.server.count(), rig.zone.count()), (1, 2), "the same id: the record is enough");
    rig.announce("2");
    rig.clock.advance(Duration::from_secs(301));
    let found = rig.find().await;
    assert_eq!((host(&found), found.policy().unwrap().mode), ("mx2.example.com".to_owned(), Mode::Testing));
    assert!(describe(&found).starts_with("MTA-STS policy 2 until 2026-"), "{}", describe(&found));

    rig.stored(Some("mx2.example.com")).await;
    rig.zone.dead.store(true, Ordering::SeqCst);
    rig.reopen();
    let found = rig.find().await;
    assert_eq!(
        (&*host(&found), kind(&found)),
        ("mx2.example.com", Some(TroubleKind::Record)),
        "it outlives the process"
    );
    rig.clock.advance(7 * DAY);
    let found = rig.find().await;
    assert!(found.policy().is_none() && found.is_unknown(), "but not its time");
    rig.stored(None).await;
}

async fn at_once(rig: &Rig, number: usize) -> Vec<Found> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..number {
        let (policies, config) = (Arc::clone(&rig.policies), rig.config.clone());
        all.spawn(async move { policies.find(DOMAIN, &config).await });
    }
    all.join_all().await
}

#[tokio::test]
async fn a_policy_grows_old_and_is_fetched_before_it_expires() {
    let rig = Rig::new("mta-sts.example.com").await;
    rig.serves(&policy("enforce", "mx1.example.com"));
    rig.find().await;
    rig.serves(&policy("enforce", "mx2.example.com"));
    rig.clock.advance(DAY - Duration::from_secs(1));
    rig.policies.tend(&rig.config);
    assert_eq!(rig.server.count(), 1);
    rig.clock.advance(Duration::from_secs(1));
    rig.policies.tend(&rig.config);
    // It joins the question that is on its way.
    assert_eq!(host(&rig.find().await), "mx2.example.com");
    assert_eq!(rig.server.count(), 2);
    rig.serves(&policy("none", "mx2.example.com"));
    assert!(rig.policies.refresh(DOMAIN, &rig.config).await.policy().is_none(), "asked for, it comes at once");
    assert_eq!(rig.server.count(), 3);
}

#[tokio::test]
async fn what_is_no_policy_leaves_the_old_one_in_force() {
    let rig = Rig::new("mta-sts.example.com").await;
    rig.serves(&policy("enforce", "mx.example.com"));
    rig.find().await;
    let large = format!("{}x: {}\r\n", policy("enforce", "mx.example.com"), "y".repeat(64 << 10));
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{large}").into_bytes();
    let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let good = policy("enforce", "other.example.com");
    let table: [(Reply, TroubleKind); 7] = [
        (Reply::Raw(moved.into()), TroubleKind::Fetch),
        (Reply::text("404 Not Found", "text/plain", &good), TroubleKind::Fetch),
        (Reply::text("200 OK", "text/plain", &large), TroubleKind::Fetch),
        (Reply::Raw(endless), TroubleKind::Fetch),
        (Reply::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()), TroubleKind::Fetch),
        (Reply::text("200 OK", "text/html", &good), TroubleKind::Invalid),
        (Reply::text("200 OK", "text/plain", "<html>"), TroubleKind::Invalid),
    ];
    for (number, (reply, expected)) in table.into_iter().enumerate() {
        let reply = parking_lot::Mutex::new(Some(reply));
        rig.server.answers(move |asked| {
            assert!(asked.head.contains("mta-sts.txt"), "no redirect is followed: {}", asked.head);
            reply.lock().take().unwrap()
        });
        rig.announce(&format!("x{number}"));
        let found = rig.policies.refresh(DOMAIN, &rig.config).await;
        assert_eq!((&*host(&found), kind(&found)), ("mx.example.com", Some(expected)), "{number}: {found:?}");
    }
}

#[tokio::test]
async fn a_host_that_cannot_prove_its_name_has_no_policy() {
    let rig = Rig::new("www.example.com").await;
    rig.serves(&policy("enforce", "mx.example.com"));
    let found = rig.find().await;
    assert_eq!((kind(&found), found.is_unknown()), (Some(TroubleKind::Certificate), true));
    assert_eq!(rig.server.count(), 0);

    let rig = Rig::new("mta-sts.example.com").await;
    rig.serves(&policy("enforce", "mx.example.com"));
    let strict = Config { networks: Vec::new(), ..rig.config.clone() };
    let found = rig.policies.find(DOMAIN, &strict).await;
    assert_eq!(kind(&found), Some(TroubleKind::Fetch));
    assert!(found.trouble.unwrap().text.contains("127.0.0.1, which is no public address"));
}

#[tokio::test]
async fn a_dead_policy_host_costs_one_message_a_moment_and_the_others_nothing() {
    let rig = Rig::new("mta-sts.example.com").await;
    rig.server.answers(|_| Reply::Silence);
    let config =
        Config { wait: Duration::from_millis(50), fetch_timeout: Duration::from_secs(2), ..rig.config.clone() };
    let found = rig.policies.find(DOMAIN, &config).await;
    assert!(found.pending && found.is_unknown(), "{found:?}");
    let begun = tokio::time::Instant::now();
    for _ in 0..1000 {
        assert!(rig.policies.find(DOMAIN, &config).await.is_unknown());
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert!(rig.policies.find("other.example", &config).await == Found::default(), "neighbours do not wait");
    let found = rig.policies.refresh(DOMAIN, &config).await;
    assert_eq!(kind(&found), Some(TroubleKind::Fetch));
    assert!(rig.policies.find(DOMAIN, &config).await.is_unknown());
    assert_eq!(rig.server.count(), 1, "and it is not asked again at once");
    // After that, nobody waits for it until it has answered.
    rig.clock.advance(Duration::from_secs(301));
    let patient = Config { wait: Duration::from_secs(3600), ..config };
    let found = rig.policies.find(DOMAIN, &patient).await;
    assert!(found.pending && found.is_unknown(), "{found:?}");
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_is_to_be_had() {
    let rig = Rig::new("mta-sts.example.com").await;
    let off = Config { enabled: false, ..rig.config.clone() };
    assert_eq!(rig.policies.find(DOMAIN, &off).await, Found::default());
    for name in ["", "[192.0.2.1]"] {
        assert_eq!(rig.policies.find(name, &rig.config).await, Found::default());
    }
    assert_eq!(rig.zone.count(), 0);
    assert_eq!(rig.policies.find("plain.example", &rig.config).await, Found::default());
    assert_eq!(rig.policies.find("plain.example", &rig.config).await, Found::default());
    assert_eq!((rig.zone.count(), rig.server.count()), (1, 0), "that there is none is known for a while");
}

#[tokio::test]
async fn the_memory_of_domains_is_bounded_and_policies_stay_longest() {
    let rig = Rig::new("mta-sts.example.com").await;
    rig.serves(&policy("enforce", "mx.example.com"));
    rig.find().await;
    for number in 0..500 {
        rig.clock.advance(Duration::from_millis(1));
        rig.policies.find(&format!("{number}.example"), &rig.config).await;
    }
    assert!(rig.policies.known() <= 100);
    let asked = rig.zone.count();
    assert_eq!(host(&rig.find().await), "mx.example.com");
    assert_eq!(rig.zone.count(), asked);
}
