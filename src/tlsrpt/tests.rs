//! Reports as they go out: counted, kept over a restart, sent by mail and posted, read back by another's parser.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::report::tlsrpt::{PolicyType, ResultType, TlsReport};

use super::*;
use crate::https::testing::{Authority, Reply, WebServer, Zone};
use crate::mail::waives_tls;
use crate::queue::{Filter, Queue};
use crate::store::{Content, Sled, Store};
use crate::time::{Clock as _, Manual, Timestamp};

/// 2016-04-01T00:00:00Z, the day of RFC 8460 appendix B.
const DAY: i64 = 1_459_468_800;
const HOURS: Duration = Duration::from_secs(3600);

struct Rig {
    authority: Authority,
    server: WebServer,
    zone: Arc<Zone>,
    clock: Arc<Manual>,
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
    ledger: Arc<Ledger>,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let server = WebServer::start(authority.acceptor(&["reports.example"])).await;
        let clock = Arc::new(Manual::new(Timestamp::from_secs(DAY + 3600)));
        let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
        let settings = crate::queue::Config {
            path: folder.path().to_owned(),
            min_free: 0,
            cache: 1 << 20,
            window: 100,
            hot_bytes: 1 << 20,
            bounds: crate::queue::Bounds::default(),
            quotas: Vec::new(),
        };
        let queue = Queue::open(settings, Arc::clone(&store), Arc::<Manual>::clone(&clock)).await.unwrap();
        let ledger = Arc::new(Ledger::open(Arc::clone(&store), Arc::<Manual>::clone(&clock)).unwrap());
        let reporter = Reporter {
            organisation: "Company-X".to_owned(),
            contact: "sts-reporting@company-x.example".to_owned(),
            from: Mailbox::parse("tls@company-x.example", false).unwrap(),
        };
        let networks = vec!["127.0.0.0/8".parse().unwrap()];
        let config = Config { reporter: Some(reporter), domains: 10, port: server.port, networks };
        let zone = Arc::default();
        Self { authority, server, zone, clock, store, queue, ledger, config, _folder: folder }
    }

    /// What RFC 8460 appendix B reports on.
    fn count_the_example(&self) {
        let policy = PolicySeen {
            kind: PolicyKind::Sts,
            text: ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"]
                .map(ToOwned::to_owned)
                .into(),
            hosts: vec!["*.mail.company-y.example".to_owned()],
        };
        let session = |host: &str, address: Option<&str>, source: Option<&str>, failure| Session {
            domain: "company-y.example".into(),
            policy: policy.clone(),
            host: host.into(),
            address: address.map(|ip| ip.parse().unwrap()),
            source: source.map(|ip| ip.parse().unwrap()),
            failure,
        };
        let failure = |kind, reason: Option<&str>| Some(Failure { kind, reason: reason.map(Into::into) });
        let table = [
            (5326, session("mx1.mail.company-y.example", None, None, None)),
            (
                100,
                session(
                    "mx1.mail.company-y.example",
                    None,
                    Some("2001:db8:abcd:0012::1"),
                    failure(FailureKind::CertificateExpired, None),
                ),
            ),
            (
                200,
                session(
                    "mx2.mail.company-y.example",
                    Some("203.0.113.56"),
                    Some("2001:db8:abcd:0013::1"),
                    failure(FailureKind::StarttlsNotSupported, None),
                ),
            ),
            (
                3,
                session(
                    "mx-backup.mail.company-y.example",
                    Some("203.0.113.58"),
                    Some("198.51.100.62"),
                    failure(FailureKind::ValidationFailure, Some("X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED")),
                ),
            ),
        ];
        for (times, session) in table {
            (0..times).for_each(|_| self.ledger.count(session.clone(), &self.config));
        }
    }

    fn sender(&self) -> Sender {
        let (ledger, queue) = (Arc::clone(&self.ledger), Arc::clone(&self.queue));
        Sender::new(ledger, queue, Arc::<Zone>::clone(&self.zone), self.authority.client(&self.zone))
    }

    async fn tend(&self) {
        self.sender().tend("mail.company-x.example", &self.config).await.unwrap();
    }

    fn wants(&self, rua: &str) {
        self.zone.set("_smtp._tls.company-y.example", &[&format!("v=TLSRPTv1; rua={rua}")]);
    }

    fn kept(&self) -> usize {
        self.store.range("tlsrpt", &[0], &[0xff], 99).unwrap().len()
    }

    /// All that are in the queue: recipient, head and body.
    async fn queued(&self) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for record in self.queue.list(&Filter::default(), None, 99).unwrap() {
            let (_, head, body) = self.queue.whole(record.id).await.unwrap().unwrap();
            assert!(record.sender.is_null() && record.tags.iter().any(|tag| &**tag == TAG));
            assert!(waives_tls(&head));
            let Content::Memory(body) = body else { panic!("a small body") };
            let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
            all.push((record.recipients[0].mailbox.to_string(), text(&head), text(&body)));
        }
        all
    }
}

fn unpacked(octets: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(octets).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn the_report_of_the_standard_comes_out_as_it_stands_there() {
    let rig = Rig::new().await;
    rig.count_the_example();
    rig.wants("mailto:reports@company-y.example");
    rig.clock.set(Timestamp::from_secs(DAY + 2 * 86_400 - 3600));
    rig.tend().await;
    let queued = rig.queued().await;
    let [(to, head, body)] = &queued[..] else { panic!("{queued:?}") };
    assert_eq!(to, "reports@company-y.example");
    // Another implementation reads it.
    let whole = format!("{head}{body}");
    let report = TlsReport::parse_rfc5322(whole.as_bytes(), 1 << 20).unwrap();
    assert_eq!(report.organization_name.as_deref(), Some("Company-X"));
    let policy = &report.policies[0];
    assert_eq!((report.policies.len(), policy.policy.policy_type), (1, PolicyType::Sts));
    assert_eq!((policy.summary.total_success, policy.summary.total_failure), (5326, 303));
    let details: Vec<_> = policy.failure_details.iter().map(|d| (d.result_type, d.failed_session_count)).collect();
    let expected = [
        (ResultType::CertificateExpired, 100),
        (ResultType::StartTlsNotSupported, 200),
        (ResultType::ValidationFailure, 3),
    ];
    assert_eq!(details, expected);
    let boundary = head.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let shown = whole.split("\r\n\r\n").take(3).collect::<Vec<_>>().join("\n\n");
    let shown = shown.replace(boundary, "BOUNDARY").replace(&boundary[2..boundary.len() - 7], "ID").replace('\r', "");
    insta::assert_snapshot!("message", shown);
    let encoded = body.split("\r\n\r\n").nth(4).unwrap().replace("\r\n", "");
    let packed = STANDARD.decode(encoded).unwrap();
    insta::assert_snapshot!("report", unpacked(&packed));
    assert_eq!(rig.kept(), 0, "what is sent is forgotten");
}

#[tokio::test]
async fn a_report_is_posted_and_what_fails_is_tried_again_for_a_day() {
    let rig = Rig::new().await;
    rig.count_the_example();
    rig.wants("https://reports.example/v1/tlsrpt?x=y,mailto:a@company-y.example");
    rig.server.answers(|_| Reply::text("503 Busy", "text/plain", ""));
    rig.tend().await;
    assert_eq!((rig.server.count(), rig.kept()), (0, 1), "the day is not over");
    rig.clock.set(Timestamp::from_secs(DAY + 86_400));
    rig.tend().await;
    assert_eq!((rig.server.count(), rig.kept()), (0, 1), "nobody reports at midnight");
    rig.clock.advance(5 * HOURS);
    rig.tend().await;
    assert_eq!((rig.server.count(), rig.queued().await.len(), rig.kept()), (1, 1, 1));
    rig.tend().await;
    assert_eq!((rig.server.count(), rig.queued().await.len()), (1, 1), "not at once again");
    rig.server.answers(|_| Reply::text("201 Created", "text/plain", ""));
    rig.clock.advance(HOURS);
    rig.tend().await;
    assert_eq!((rig.server.count(), rig.queued().await.len(), rig.kept()), (2, 1, 0), "only what had failed");
    let asked = rig.server.asked().remove(1);
    let head = asked.head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/tlsrpt?x=y http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/tlsrpt+gzip"), "{head}");
    let report = TlsReport::parse_json(unpacked(&asked.body).as_bytes()).unwrap();
    assert_eq!(report.policies[0].policy.policy_domain, "company-y.example");

    rig.count_the_example();
    rig.server.answers(|_| Reply::Silence);
    rig.zone.dead.store(true, Ordering::SeqCst);
    for _ in 0..80 {
        rig.clock.advance(HOURS);
        rig.tend().await;
    }
    assert_eq!((rig.queued().await.len(), rig.kept()), (1, 0), "in the end it is given up");
}

#[tokio::test]
async fn counts_survive_a_restart_and_the_turn_of_the_day() {
    let mut rig = Rig::new().await;
    rig.count_the_example();
    rig.ledger.write().unwrap();
    rig.ledger = Arc::new(Ledger::open(Arc::clone(&rig.store), Arc::<Manual>::clone(&rig.clock)).unwrap());
    rig.count_the_example();
    rig.clock.advance(24 * HOURS);
    // Of the next day, before anything was written down.
    rig.count_the_example();
    rig.wants("https://reports.example/");
    rig.server.answers(|_| Reply::text("200 OK", "text/plain", ""));
    rig.clock.advance(5 * HOURS);
    rig.tend().await;
    let reports: Vec<_> = rig.server.asked().iter().map(|asked| unpacked(&asked.body)).collect();
    let report = TlsReport::parse_json(reports[0].as_bytes()).unwrap();
    assert_eq!((reports.len(), report.policies[0].summary.total_success), (1, 2 * 5326));
    rig.clock.advance(24 * HOURS);
    rig.tend().await;
    assert_eq!((rig.server.count(), rig.kept()), (2, 0));
}

#[tokio::test]
async fn nothing_is_counted_for_nobody_and_too_many() {
    let mut rig = Rig::new().await;
    let session = |number: u32| Session {
        domain: format!("{number}.example").into(),
        policy: PolicySeen::none(),
        host: "mx.example".into(),
        address: None,
        source: None,
        failure: None,
    };
    (0..100).for_each(|number| rig.ledger.count(session(number), &rig.config));
    rig.ledger.write().unwrap();
    assert_eq!(rig.kept(), 10);
    rig.clock.set(Timestamp::from_secs(DAY + 86_400 + 5 * 3600));
    rig.tend().await;
    assert_eq!((rig.kept(), rig.queued().await.len(), rig.zone.count()), (0, 0, 10), "nobody wants them");
    rig.config.reporter = None;
    rig.ledger.count(session(1), &rig.config);
    rig.ledger.write().unwrap();
    assert_eq!(rig.kept(), 0);
    assert!(rig.clock.now() > Timestamp::default());
}
