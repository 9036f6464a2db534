//! The command line's client over a real socket, against a relay that answers from a list.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hooks::{Outcome, OutcomeKind, Stage};
use crate::mail::{Annotations, BodyKind, Domain, Mailbox, Param, ReversePath};
use crate::queue::{BodyPlace, Counts, Found, QueuedRecipient, RecipientState, Sight};
use crate::smtp::Reply;
use crate::store::Spool;

const ARRIVED: Timestamp = Timestamp::from_secs(1_795_473_060);

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) injected: Mutex<Vec<Injection>>,
    pub(crate) commands: Mutex<Vec<(Filter, Command)>>,
    pub(crate) spool: Option<Spool>,
    pub(crate) imported: Mutex<Vec<Incoming>>,
}

fn ready<'a, T: Send + 'a>(answer: Result<T, Vec<String>>) -> Pending<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Control for Fake {
    fn status(&self) -> Pending<'_, Status> {
        let queue = Counts { messages: self.records.len() as u64, leased: 1, held: 1, ..Counts::default() };
        ready(Ok(Status { version: "0.1.0".into(), pid: 7, generation: 3, queue, ..Status::default() }))
    }

    fn reload(&self, _by: Peer, _weakening: Weakening) -> Pending<'_, ReloadReport> {
        ready(Err(vec!["waypost.toml:3: smtp.x: no such key".into(), "plugin greylist: no such file".into()]))
    }

    fn queue_look(&self, filter: Filter, reach: Reach) -> Pending<'_, Stepped> {
        let above = self.records.iter().filter(|record| reach.after.is_none_or(|after| record.id > after));
        let fits =
            |record: &&Arc<Record>| !filter.select(Sight { record, now: ARRIVED, ways: &*self.ways() }).is_empty();
        let found = above.filter(fits).take(reach.find);
        let found: Vec<_> = found.map(|record| Found { record: Arc::clone(record), recipients: vec![0] }).collect();
        let next = (found.len() >= reach.find).then(|| found.last().map(|found| found.record.id)).flatten();
        ready(Ok(Stepped { looked: found.len() as u64, found, next, upto: reach.upto }))
    }

    fn queue_show(&self, id: QueueId) -> Pending<'_, Option<Shown>> {
        let found = self.records.iter().find(|record| record.id == id).cloned();
        let shown = |record: Arc<Record>| Shown {
            routes: record.recipients.iter().map(|_| Arc::default()).collect(),
            record,
            head: Bytes::from_static(b"Subject: \xff\r\n\r\n"),
            leased: vec![1],
            rules: Arc::default(),
        };
        ready(Ok(found.map(shown)))
    }

    fn queue_content(&self, _: QueueId) -> Pending<'_, Option<(Bytes, Content)>> {
        let (head, body) = (Bytes::from_static(b"Subject: \xff\r\n\r\n"), vec![b'x'; 100_000]);
        ready(Ok(Some((head, Content::Memory(body.into())))))
    }

    fn queue_whole(&self, id: QueueId) -> Pending<'_, Option<(Arc<Record>, Bytes, Content)>> {
        let found = self.records.iter().find(|record| record.id == id).cloned();
        let (head, body) = (Bytes::from_static(b"Subject: \xff\r\n\r\n"), vec![b'x'; 100_000]);
        let whole = |record: Arc<Record>| {
            let record = Record { head_size: 14, body_size: 100_000, ..Arc::unwrap_or_clone(record) };
            (Arc::new(record), head, Content::Memory(body.into()))
        };
        ready(Ok(found.map(whole)))
    }

    fn queue_draft(&self) -> Option<Draft> {
        self.spool.as_ref().map(Spool::draft)
    }

    fn queue_import(&self, _: Peer, incoming: Incoming) -> Pending<'_, bool> {
        let mut imported = self.imported.lock();
        let known = imported.iter().any(|known| known.record.id == incoming.record.id);
        if !known {
            imported.push(incoming);
        }
        ready(Ok(!known))
    }

    fn queue_command(&self, _: Peer, filter: Filter, reach: Reach, command: Command) -> Pending<'_, Changed> {
        let messages = filter.only_ids().map_or(0, |ids| ids.len() as u64);
        self.commands.lock().push((filter, command));
        ready(Ok(Changed { messages, recipients: messages, upto: reach.upto, ..Changed::default() }))
    }

    fn queue_rule(
        &self,
        by: Peer,
        kind: RuleKind,
        filter: Filter,
        reason: Arc<str>,
        until: Option<Timestamp>,
    ) -> Pending<'_, Arc<Rule>> {
        let by = by.to_string().into();
        ready(Ok(Arc::new(Rule {
            number: 7,
            kind,
            filter,
            reason,
            since: Timestamp::from_secs(0),
            until,
            by,
            lifted: false,
        })))
    }

    fn queue_rules(&self) -> Pending<'_, Arc<Rules>> {
        ready(Ok(Arc::default()))
    }

    fn queue_rule_lift(&self, _: Peer, _: u32) -> Pending<'_, Option<Arc<Rule>>> {
        ready(Ok(None))
    }

    fn read_route(&self, text: String) -> Pending<'_, Arc<Route>> {
        ready(Err(vec![format!("{text:?} is no route")]))
    }

    fn ways(&self) -> Arc<Ways> {
        Arc::new(|_| Arc::default())
    }

    fn explain(&self, about: ExplainForm) -> Pending<'_, serde_json::Value> {
        ready(match &*about.domain {
            "example.org" => Ok(serde_json::json!({ "domain": about.domain })),
            other => Err(vec![format!("{other:?} is no domain")]),
        })
    }

    fn sts(&self, about: StsForm) -> Pending<'_, serde_json::Value> {
        ready(match &*about.domain {
            "example.org" => Ok(serde_json::json!({ "domain": about.domain, "fetched-now": about.refresh })),
            other => Err(vec![format!("{other:?} is no domain")]),
        })
    }

    fn destinations(&self) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(vec![serde_json::json!({ "site": "a" }), serde_json::json!({ "site": "b" })]))
    }

    fn bans(&self) -> Pending<'_, (Vec<BanStatus>, u64)> {
        let network = "192.0.2.0/24".parse().unwrap();
        ready(Ok((vec![BanStatus { network, left_secs: 60, rule: "operator".into() }], 2)))
    }

    fn ban(&self, _: Peer, network: IpNet, secs: u64) -> Pending<'_, ()> {
        ready(if secs > 0 { Ok(()) } else { Err(vec![format!("{network} for {secs}")]) })
    }

    fn lift_ban(&self, _: Peer, network: IpNet) -> Pending<'_, ()> {
        ready(Err(vec![format!("{network} is not banned")]))
    }

    fn plugins(&self) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(vec![json!({"name": "greylist", "state": "serving"})]))
    }

    fn plugin_metrics(&self, plugin: Option<String>) -> Pending<'_, Vec<serde_json::Value>> {
        ready(match plugin.as_deref() {
            None | Some("greylist") => Ok(vec![json!({"plugin": "greylist", "counters": [], "histograms": []})]),
            Some(other) => Err(vec![format!("no plugin {other}")]),
        })
    }
    fn plugin_trial(&self, name: String) -> Pending<'_, (serde_json::Value, Vec<serde_json::Value>)> {
        if name != "greylist" {
            return ready(Err(vec![format!("there is no plugin {name}")]));
        }
        ready(Ok((json!({"plugin": name, "waiting": 0}), vec![json!({"hook": "on-rcpt"})])))
    }

    fn plugin_status(&self) -> Pending<'_, (Vec<serde_json::Value>, SetStatus)> {
        let set = SetStatus { generation: 3, reason: "reload".into(), kept: vec![3, 2], ..SetStatus::default() };
        ready(Ok((vec![json!({"name": "greylist", "state": "serving"})], set)))
    }

    fn plugin_generations(&self) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(vec![json!({"generation": 3}), json!({"generation": 2})]))
    }

    fn plugin_audit(&self, limit: usize) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(vec![json!({"what": "reload"}); limit]))
    }

    fn plugin_change(&self, by: Peer, change: PluginChange, weakening: Weakening) -> Pending<'_, ReloadReport> {
        let said = format!("{change:?} by {by}, weakening {weakening:?}");
        ready(Ok(ReloadReport { generation: 4, changes: vec![said], ..ReloadReport::default() }))
    }

    fn record(&self, plugin: String, calls: u32, _: Option<String>) -> Pending<'_, RecordingStatus> {
        ready(Ok(RecordingStatus { path: format!("/r/{plugin}.jsonl"), wanted: calls, ..RecordingStatus::default() }))
    }

    fn stop_recording(&self, plugin: String) -> Pending<'_, RecordingStatus> {
        ready(Err(vec![format!("{plugin} is not being recorded")]))
    }

    fn inject(&self, mail: Injection) -> Pending<'_, Injected> {
        self.injected.lock().push(mail);
        let id = format!("{:013}", self.injected.lock().len());
        ready(Ok(Injected::Taken { id, refused: vec![("x@y.test".into(), "550 no".into())] }))
    }

    fn suppress(&self, by: Peer, what: SuppressForm) -> Pending<'_, Vec<serde_json::Value>> {
        let entry =
            json!({"pattern": "ann@x.test", "tenant": null, "reason": "why", "by": by.to_string(), "until": null});
        ready(Ok(if matches!(what, SuppressForm::Check { .. }) { Vec::new() } else { vec![entry] }))
    }

    fn history(&self, which: HistoryForm) -> Pending<'_, (Vec<serde_json::Value>, bool)> {
        ready(Ok((vec![json!({"queue_id": which.id})], false)))
    }

    fn why(&self, which: WhyForm) -> Pending<'_, (Vec<serde_json::Value>, bool)> {
        ready(Ok((vec![json!({"plugin": "greylist", "verdict": which.verdict})], true)))
    }
}

fn mailbox(local: &str, domain: &str) -> Mailbox {
    Mailbox::new(local, Domain::parse(domain).unwrap())
}

pub(crate) fn record(id: u64) -> Arc<Record> {
    let deferred = Outcome {
        recipient: 0,
        kind: OutcomeKind::Temporary,
        stage: Stage::Rcpt,
        reply: Some(Reply::new(450, crate::smtp::Status::new(4, 2, 1), "not now")),
        error: None,
        remote: Some("mx.example.net".into()),
        remote_endpoint: None,
        at: ARRIVED.plus(std::time::Duration::from_secs(60)),
    };
    let recipient = |index: u32, last| QueuedRecipient {
        index,
        mailbox: mailbox(&format!("r{index}"), "example.net"),
        original: mailbox(&format!("r{index}"), "old.example.net"),
        params: vec![Param { keyword: "NOTIFY".into(), value: Some("FAILURE".into()) }],
        route: None,
        state: RecipientState {
            due: ARRIVED.plus(std::time::Duration::from_secs(360)),
            attempts: 1,
            last,
            ..RecipientState::default()
        },
    };
    let mut annotations = Annotations::default();
    annotations.set("greylist", "1", "triplet", "new").unwrap();
    Arc::new(Record {
        id: QueueId::from_u64(id),
        arrived: ARRIVED,
        origin: None,
        sender: ReversePath(Some(mailbox("ann", "example.org"))),
        sender_params: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: vec![recipient(0, Some(deferred)), recipient(1, None), recipient(2, None), recipient(3, None)],
        annotations,
        tags: vec!["bulk".into()],
        held: None,
        head_size: 200,
        body_size: 4096,
        body: BodyPlace::File { name: "a/b".into(), crc: 1 },
    })
}

struct Served {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    fn start(records: Vec<Arc<Record>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let doors = bind(&at(&dir.path().join("run/admin.sock"))).unwrap();
        let fake = Arc::new(Fake { records, ..Fake::default() });
        let shutdown = CancellationToken::new();
        let around = Surroundings { audit: Some(dir.path().join("audit.jsonl")), ..Surroundings::default() };
        let task = tokio::spawn(serve(doors, Api::new(fake.clone(), around), shutdown.clone()));
        Self { dir, fake, shutdown, task }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("run/admin.sock")
    }

    async fn client(&self) -> Client {
        Client::connect(&self.path()).await.unwrap()
    }

    /// Sends octets as they are; the whole answer.
    async fn raw(&self, octets: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.path()).await.unwrap();
        stream.write_all(octets).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request; status and body.
    async fn request(&self, line: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kind}content-length: {length}\r\n\r\n");
        let answer = self.raw((head + body).as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

fn at(path: &Path) -> Config {
    Config { socket: path.to_owned(), ..Config::default() }
}

#[tokio::test]
async fn one_connection_carries_every_request() {
    let served = Served::start((1..=5).map(record).collect());
    let mut client = served.client().await;
    assert_eq!(client.status().await.unwrap().queue.messages, 5);
    assert_eq!(client.plugins().await.unwrap(), [json!({"name": "greylist", "state": "serving"})]);
    assert_eq!(client.plugin_metrics(Some("greylist".into())).await.unwrap().len(), 1);
    let refused = client.plugin_metrics(Some("other".into())).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(reasons) if reasons[..] == ["no plugin other"]), "{refused}");
    let trial = client.plugin_trial("greylist".into()).await.unwrap();
    assert_eq!(trial, (json!({"plugin": "greylist", "waiting": 0}), vec![json!({"hook": "on-rcpt"})]));
    assert!(
        matches!(client.plugin_trial("x".into()).await, Err(ClientError::Refused(why)) if why == ["there is no plugin x"])
    );
    let refused = client.reload(false).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(reasons) if reasons.len() == 2), "{refused}");
    let shown = client.queue_show(QueueId::from_u64(2).to_string()).await.unwrap();
    assert_eq!((shown.size, shown.header.as_str()), (4296, "Subject: \u{fffd}\r\n\r\n"));
    assert!(matches!(client.queue_show("0000000000009".into()).await, Err(ClientError::Refused(_))));
    let which = WhyForm { verdict: Some("reject".into()), ..WhyForm::default() };
    let decided = client.why(which).await.unwrap();
    assert_eq!(decided, (vec![json!({"plugin": "greylist", "verdict": "reject"})], true));
    assert!(matches!(client.queue_show("rubbish".into()).await, Err(ClientError::Refused(_))));
}

#[tokio::test]
async fn plugins_are_looked_at_and_changed_in_the_peers_name() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    let (plugins, set) = client.plugin_status().await.unwrap();
    assert_eq!((plugins.len(), set.generation, set.kept), (1, 3, vec![3, 2]));
    assert_eq!(client.plugin_generations().await.unwrap().len(), 2);
    assert_eq!(client.plugin_audit(2).await.unwrap().len(), 2);
    let report = client.plugin_change(PluginChange::Rollback { generation: None }, true).await.unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(report.changes, [format!("Rollback {{ generation: None }} by uid {uid}, weakening Allowed")]);
    let body = r#"{"change":{"try":{"plugin":"p","file":"/x","config":{"key":"hush"}}}}"#;
    let (status, report) = served.request("POST /api/v1/plugins/change", body).await;
    assert!(status == 200 && report.contains("weakening Refused"), "{report}");
    let audit = std::fs::read_to_string(served.dir.path().join("audit.jsonl")).unwrap();
    assert!(audit.lines().count() == 2 && audit.contains(&format!("uid {uid}")) && !audit.contains("hush"), "{audit}");
}

#[tokio::test]
async fn ways_and_sites_are_told() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    let about = |domain: &str| ExplainForm { domain: domain.into(), ..ExplainForm::default() };
    assert_eq!(client.explain(about("example.org")).await.unwrap()["domain"], "example.org");
    let refused = client.explain(about("@")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(reasons) if reasons[0].contains("no domain")));
    assert_eq!(client.destinations().await.unwrap().len(), 2);
}

#[tokio::test]
async fn policies_are_told_and_fetched_if_asked_for() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    for refresh in [false, true] {
        let told = client.sts(StsForm { domain: "example.org".into(), refresh }).await.unwrap();
        assert_eq!((&told["domain"], &told["fetched-now"]), (&"example.org".into(), &refresh.into()));
    }
    let refused = client.sts(StsForm { domain: "@".into(), refresh: false }).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(reasons) if reasons[0].contains("no domain")));
}

#[tokio::test]
async fn bans_are_listed_added_and_lifted() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    let (bans, in_force) = client.bans().await.unwrap();
    assert_eq!((bans[0].network.to_string().as_str(), bans[0].left_secs, in_force), ("192.0.2.0/24", 60, 2));
    let network = "2001:db8::/48".parse().unwrap();
    client.ban(network, 60).await.unwrap();
    let refused = client.lift_ban(network).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(why) if why[..] == ["2001:db8::/48 is not banned"]), "{refused}");
    let (status, why) = served.request("POST /api/v1/bans", r#"{"network":"nonsense","secs":1}"#).await;
    assert!(status == 400 && why.contains("is no network"), "{status} {why}");
}

#[tokio::test]
async fn the_queue_is_listed_page_by_page() {
    let served = Served::start((1..=5).map(record).collect());
    let mut client = served.client().await;
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = client.queue_list(FilterForm::default(), after, 2).await.unwrap();
        seen.extend(page.messages.into_iter().map(|message| message.id));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (1..=5).map(|id| QueueId::from_u64(id).to_string()).collect();
    assert_eq!((seen, pages), (expected, 3));
}

#[tokio::test]
async fn commands_reach_the_queue_and_everything_has_to_be_meant() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    let none = FilterForm::default();
    let refused = client.queue_command(none.clone(), false, CommandForm::Remove, &Next::default()).await;
    assert!(matches!(refused, Err(ClientError::Refused(_))) && served.fake.commands.lock().is_empty());
    let begin = Next::default();
    client.queue_command(none, true, CommandForm::Release, &begin).await.unwrap();
    let ids = vec![QueueId::from_u64(9).to_string()];
    let filter = FilterForm { ids, held: Some(true), ..FilterForm::default() };
    let hold = CommandForm::Hold { reason: "odd".into() };
    assert_eq!(client.queue_command(filter, false, hold, &begin).await.unwrap().messages, 1);
    let text = FilterForm::text("all");
    client.queue_command(text, false, CommandForm::Bounce { reason: "spam".into() }, &begin).await.unwrap();
    let commands = served.fake.commands.lock();
    assert!(matches!(&commands[..], [(_, Command::Release), (filter, Command::Hold(why)), (_, Command::Bounce(_))]
        if filter.to_string() == "id = 0000000000009 and held" && &**why == "odd"));
}

#[tokio::test]
async fn what_cant_be_meant_is_refused_with_where_and_why() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    let begin = Next::default();
    let mut refused =
        async |filter: FilterForm, command| match client.queue_command(filter, false, command, &begin).await {
            Err(ClientError::Refused(why)) => why.join("; "),
            other => panic!("{other:?}"),
        };
    let one = || FilterForm::text("held");
    let reschedule = |at: &str, in_secs| CommandForm::Reschedule { at: Some(at.into()), in_secs, spread_secs: 0 };
    let cases = [
        (
            FilterForm::text("held and"),
            CommandForm::Release,
            "\"held and\": at column 9: expected a condition, such as domain = example.org",
        ),
        (one(), CommandForm::Hold { reason: "a\nb".into() }, "a reason is one line of text"),
        (one(), CommandForm::Bounce { reason: "x".repeat(401) }, "a reason has at most 400 characters"),
        (one(), reschedule("tomorrow", 0), "\"tomorrow\" is no time: write 2026-11-27T08:00:00Z"),
        (one(), reschedule("2026-11-27T08:00:00Z", u64::MAX), "nothing is put off for more than a year"),
        (one(), CommandForm::Reroute { to: "nowhere".into() }, "\"nowhere\" is no route"),
    ];
    for (filter, command, why) in cases {
        assert_eq!(refused(filter, command).await, why);
    }
    assert!(served.fake.commands.lock().is_empty());
}

#[tokio::test]
async fn counts_summaries_and_content_come_whole() {
    let served = Served::start((1..=5).map(record).collect());
    let mut client = served.client().await;
    let counted = client.queue_count(FilterForm::text("domain = example.net"), &Next::default()).await.unwrap();
    assert_eq!((counted.messages, counted.recipients, counted.ids.len(), counted.next.next), (5, 5, 5, None));
    let (rows, _) = client.queue_summary(FilterForm::default(), "domain".into(), &Next::default()).await.unwrap();
    assert_eq!((rows.len(), rows[0].name.as_str(), rows[0].by_age.iter().sum::<u64>()), (1, "example.net", 5));
    let wrong = client.queue_summary(FilterForm::default(), "moon".into(), &Next::default()).await.unwrap_err();
    assert!(wrong.to_string().starts_with("nothing is counted by \"moon\""), "{wrong}");
    let mut octets = Vec::new();
    let mut take = |piece: &[u8]| {
        octets.extend_from_slice(piece);
        Ok(())
    };
    client.queue_cat(QueueId::from_u64(1).to_string(), &mut take).await.unwrap();
    assert!(octets.starts_with(b"Subject: \xff\r\n\r\nx") && octets.len() == 100_014);
}

#[tokio::test]
async fn rules_are_made_in_the_peers_name_and_never_by_accident() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    let add = RuleKind::Suspend;
    let refused = client.queue_rule_add(add, FilterForm::default(), false, "x".into(), None).await;
    assert!(matches!(refused, Err(ClientError::Refused(_))));
    let refused = client.queue_rule_add(add, FilterForm::default(), true, "x".into(), Some(0)).await;
    assert!(matches!(refused, Err(ClientError::Refused(_))));
    let rule = client.queue_rule_add(add, FilterForm::text("domain = x.test"), false, "down".into(), Some(60)).await;
    let rule = rule.unwrap();
    assert_eq!((rule.number, rule.filter.as_str(), rule.reason.as_str()), (7, "domain = x.test", "down"));
    assert!(rule.by.starts_with("uid ") && rule.left_secs.is_some_and(|left| (55..=60).contains(&left)));
    assert!(client.queue_rules().await.unwrap().is_empty());
    let none = client.queue_rule_lift(9).await.unwrap_err();
    assert_eq!(none.to_string(), "no rule 9: `waypost queue suspensions` shows which there are");
}

#[tokio::test]
async fn rubbish_is_refused_and_bounded() {
    let served = Served::start(Vec::new());
    let long = format!("{{\"filter\":{{\"text\":\"{}\"}},\"command\":\"release\"}}", "x".repeat(70_000));
    let cases = [
        ("GET /api/v1/dance", "", 404, "there is no such route"),
        ("PUT /api/v1/status", "", 405, "not with this method"),
        ("GET /api/v1/queue?size=1", "", 400, "unknown field `size`"),
        ("GET /api/v1/queue?limit=x", "", 400, "limit"),
        ("GET /api/v1/status?x=1", "", 400, "this takes no query"),
        ("GET /api/v1/queue?filter=held+and", "", 422, "at column 9"),
        ("GET /api/v1/queue/messages/rubbish", "", 422, "rubbish"),
        ("GET /api/v1/queue/messages/%ff", "", 400, "no UTF-8"),
        ("GET /api/v1/queue/messages/0000000000009", "", 404, "no message"),
        ("POST /api/v1/reload", "{", 400, "the body"),
        ("POST /api/v1/reload", "{\"allow_waeken\":true}", 400, "unknown field `allow_waeken`"),
        ("POST /api/v1/reload", "", 415, "application/json"),
        ("POST /api/v1/queue/command", &long, 413, "at most 65536 octets"),
        ("DELETE /api/v1/queue/rules/x", "", 400, "no number"),
        ("DELETE /api/v1/queue/rules/9", "", 404, "no rule 9"),
        ("DELETE /api/v1/plugins/p/recording", "", 409, "not being recorded"),
    ];
    for (line, body, status, expected) in cases {
        let (got, answer) = served.request(line, body).await;
        assert!(got == status && answer.contains(expected), "{line}: {got} {answer}");
        let problem: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((problem["status"].as_u64(), problem["type"].as_str()), (Some(status.into()), Some("about:blank")));
    }
    let answer = served.raw(b"hello\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let head = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000));
    let answer = served.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(served.client().await.status().await.is_ok(), "it still answers others");
}

#[tokio::test]
async fn the_wire_form_is_stable() {
    let served = Served::start(vec![record(1)]);
    let id = QueueId::from_u64(1);
    insta::assert_snapshot!(served.request(&format!("GET /api/v1/queue/messages/{id}"), "").await.1);
    let command = format!("{{\"filter\":{{\"ids\":[\"{id}\"]}},\"command\":{{\"retry\":{{\"reroute\":true}}}}}}");
    insta::assert_snapshot!(served.request("POST /api/v1/queue/command", &command).await.1, @r#"{"messages":1,"recipients":1,"failed":0,"failures":[],"next":null,"upto":null,"looked":0}"#);
    let summary = Summary::of(&record(1), ARRIVED.plus(std::time::Duration::from_secs(100)));
    insta::assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap());
}

#[tokio::test]
async fn the_socket_is_the_owners_and_a_stale_one_is_replaced() {
    let served = Served::start(Vec::new());
    let path = served.path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(bind(&at(&path)), Err(BindError::InUse(_))));
    served.shutdown.cancel();
    served.task.await.unwrap();
    let nobody = Client::connect(&path).await;
    assert!(matches!(nobody, Err(ClientError::NotReachable(..))));
    assert!(bind(&at(&path)).is_ok(), "what a dead relay left is replaced");
    let file = served.dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&at(&file)), Err(BindError::NotASocket(_))));
    assert!(matches!(bind(&at(Path::new("/proc/nowhere/admin.sock"))), Err(BindError::Io(..))));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_idle_clients() {
    let served = Served::start(Vec::new());
    let mut client = served.client().await;
    client.status().await.unwrap();
    served.shutdown.cancel();
    served.task.await.unwrap();
    assert!(matches!(client.status().await, Err(ClientError::Broken(_))));
}

/// A client that trusts this certificate: the status of one request, or none where nothing is answered.
async fn ask_over_tls(address: std::net::SocketAddr, chain: &str, token: &str) -> Option<u16> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(builder.with_no_client_auth()));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.ok()?;
    let lines = "GET /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let head = format!("{lines}authorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_network_is_served_under_tls_and_no_reload_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let certificate = Some(crate::tls::Certificate { chain, key });
    let address = "127.0.0.1:0".parse().unwrap();
    let (token, hash) = make_token().unwrap();
    let config = Config {
        socket: dir.path().join("admin.sock"),
        http: Some(Network { address, certificate, metrics: Scrape::Token }),
        tokens: vec![Token { name: "ann".into(), hash, role: Role::Read }],
    };
    let around = Surroundings::default();
    let terms = around.terms.clone();
    terms.store(Arc::new(Terms::of(&config).unwrap()));
    let doors = bind(&config).unwrap();
    let address = doors.address().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(doors, Api::new(Arc::new(Fake::default()), around), shutdown.clone()));

    let chain = made.cert.pem();
    assert_eq!(ask_over_tls(address, &chain, &token).await, Some(200));
    assert_eq!(ask_over_tls(address, &chain, "other").await, Some(401));
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "nothing is told in clear");

    terms.store(Arc::new(Terms::of(&Config { http: None, ..config.clone() }).unwrap()));
    assert_eq!(ask_over_tls(address, &chain, &token).await, None, "without a certificate nobody is served");
    terms.store(Arc::new(Terms::of(&Config { tokens: Vec::new(), ..config.clone() }).unwrap()));
    assert_eq!(ask_over_tls(address, &chain, &token).await, Some(401));
    shutdown.cancel();
    task.await.unwrap();
    let missing = crate::tls::Certificate { chain: "/nowhere".into(), key: "/nowhere".into() };
    let http = config.http.map(|http| Network { certificate: Some(missing), ..http });
    assert!(Terms::of(&Config { http, ..Config::default() }).is_err());
}
