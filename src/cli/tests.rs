//! Help and output as snapshots, and commands against a relay that answers from a list, over a real socket.

use std::sync::Arc;

use bytes::Bytes;
use clap::{CommandFactory as _, Parser as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admin::{
    self, BanStatus, CertificateStatus, Control, DecisionsStatus, ListenerStatus, LoadStatus, MessageView, OutcomeView,
    Pending, RecipientView, RecordingStatus, ReloadReport, Status, StoreStatus, Summary, TracesStatus, WhyForm,
};
use crate::hooks::Route;
use crate::mail::QueueId;
use crate::queue::{Changed, Counts, Filter, Found, QuotaStatus, Reach, Record, Rule, RuleKind, Rules, Stepped, Ways};
use crate::store::{Content, Draft};
use crate::time::Timestamp;

mod walk;

/// Every command's help, as wide as a usual terminal.
#[test]
fn help() {
    let mut shown = String::new();
    let mut commands = vec![Cli::command().term_width(100)];
    commands[0].build();
    while let Some(mut command) = commands.pop() {
        shown += &format!("{}\n----\n", command.render_help());
        let below: Vec<_> = command.get_subcommands().cloned().collect();
        commands.extend(below.into_iter().rev());
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let wrong: [&[&str]; 12] = [
        &["waypost"],
        &["waypost", "dance"],
        &["waypost", "queue", "remove"],
        &["waypost", "queue", "retry", "--reroute"],
        &["waypost", "queue", "remove", "--all", "--sender", "x"],
        &["waypost", "queue", "show", "rubbish"],
        &["waypost", "queue", "reschedule", "held"],
        &["waypost", "check", "--print", "--json"],
        &["waypost", "password", "a:b"],
        &["waypost", "plugin", "try", "p", "file"],
        &["waypost", "plugin", "try", "p", "file", "--canary", "101"],
        &["waypost", "plugin", "try", "p", "file", "--shadow", "--settings", "[]"],
    ];
    for args in wrong {
        assert_eq!(Cli::try_parse_from(args).map(|_| ()).map_err(|e| e.exit_code()), Err(2), "{args:?}");
    }
    let right: [&[&str]; 4] = [
        &["waypost", "queue", "remove", "--all"],
        &["waypost", "queue", "remove", "--held", "--domain", "example.net"],
        &["waypost", "queue", "list"],
        &["waypost", "--json", "status", "--socket", "x"],
    ];
    for args in right {
        assert!(Cli::try_parse_from(args).is_ok(), "{args:?}");
    }
}

fn summary(id: u64) -> Summary {
    Summary {
        id: QueueId::from_u64(id).to_string(),
        arrived: "2026-11-23T22:31:00.000Z".into(),
        age_secs: 11_400,
        size: 4296,
        sender: "ann@example.org".into(),
        recipients: vec!["bob@example.net".into()],
        waiting: 1,
        held: None,
        suspended: 0,
        due: Some("2026-11-23T22:37:00.000Z".into()),
        due_in_secs: Some(260),
        attempts: 2,
        last: Some("mx.example.net: 450 4.2.1 not now".into()),
    }
}

#[test]
fn a_list_of_messages() {
    let bounce = Summary { sender: "<>".into(), due_in_secs: Some(0), attempts: 0, last: None, ..summary(2) };
    let long = "a-very-long-local-part-that-somebody-chose@example.net".to_owned();
    let held = Summary {
        recipients: vec![long],
        waiting: 12,
        held: Some("looks odd \u{1b}[31m".into()),
        size: 20 << 20,
        age_secs: 59,
        ..summary(3)
    };
    insta::assert_snapshot!(queue::rows(&[summary(1), bounce, held, Summary { suspended: 1, ..summary(4) }]));
}

#[test]
fn a_message_in_full() {
    let last = OutcomeView {
        kind: "temporary".into(),
        stage: "rcpt".into(),
        reply: Some("450 4.2.1 not now".into()),
        error: Some("timed out".into()),
        remote: Some("mx.example.net".into()),
        at: "2026-11-23T22:32:00.000Z".into(),
    };
    let message = MessageView {
        id: QueueId::from_u64(7).to_string(),
        arrived: "2026-11-23T22:31:00.000Z".into(),
        sender: "ann@example.org".into(),
        sender_params: vec!["RET=HDRS".into()],
        size: 4296,
        held: Some("looks odd".into()),
        origin: Some(json!({"listener": "smtp", "client": {"address": "192.0.2.1", "port": 4000},
            "client_name": null, "helo": "client.example.org"})),
        priority: 4,
        tags: vec!["bulk".into(), "slow".into()],
        annotations: vec![("greylist".into(), "greylist".into(), "passed after 5 s".into())],
        spool_file: None,
        recipients: vec![
            RecipientView {
                index: 0,
                address: "bob@example.net".into(),
                original: Some("robert@example.net".into()),
                params: vec!["NOTIFY=NEVER".into()],
                due: "2026-11-23T22:37:00.000Z".into(),
                waits: "between attempts".into(),
                next_hops: vec!["smtp://a.example:25".into(), "mx:example.net".into()],
                attempts: 1,
                warned: true,
                route: None,
                last: Some(last),
                history: vec![admin::PastView {
                    at: "2026-11-23T22:32:00.000Z".into(),
                    took_ms: 70,
                    hop: "smtp://a.example:25".into(),
                    remote: Some("a.example".into()),
                    kind: "temporary".into(),
                    stage: "rcpt".into(),
                    said: "450 4.2.1 not now".into(),
                }],
            },
            RecipientView {
                address: "eve@example.net".into(),
                due: "2026-11-23T22:31:00.000Z".into(),
                route: Some(crate::hooks::Route::default()),
                ..RecipientView::default()
            },
        ],
        header: "Received: from x\r\n\tby y\r\nSubject: \u{1b}[2J\r\n\r\n".into(),
    };
    insta::assert_snapshot!(queue_show::show(&message));
}

fn relay_status() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        uptime_secs: 273_600,
        generation: 3,
        listeners: vec![ListenerStatus {
            name: "smtp".into(),
            address: "127.0.0.1:2525".into(),
            tls: "starttls".into(),
            connections: 1,
        }],
        load: LoadStatus { connections: 1, connections_most: 1000, ..LoadStatus::default() },
        certificates: vec![
            CertificateStatus {
                door: "smtp".into(),
                file: "chain.pem".into(),
                subject: "CN=mx.example.org".into(),
                names: vec!["mx.example.org".into(), "*.example.net".into()],
                not_after: "2027-01-01T00:00:00Z".into(),
                days_left: 35,
            },
            CertificateStatus {
                door: "admin".into(),
                file: "admin.pem".into(),
                subject: "CN=relay".into(),
                names: Vec::new(),
                not_after: "2026-11-26T00:00:00Z".into(),
                days_left: -2,
            },
        ],
        quotas: vec![QuotaStatus { name: "tenants".into(), per: "tenant".into(), values: 3, refused: 2 }],
        queue: Counts { messages: 5, leased: 2, held: 1, ..Counts::default() },
        store: StoreStatus { path: "waypost-data/spool".into(), free: Some(12 << 30), refusing: None },
        plugins: vec![
            json!({"name": "greylist", "version": "0.1.0", "state": "serving", "hooks": ["on-rcpt"], "order": 0, "calls": 12, "reason": null, "warnings": ["no such knob"]}),
            json!({"name": "header-policy", "version": "0.1.0", "state": "failed", "reason": "no such file", "hooks": [], "order": 10}),
        ],
        decisions: DecisionsStatus { recording: true, written: 12, ..DecisionsStatus::default() },
        traces: Some(TracesStatus { sent: 7, lost: 1 }),
    }
}

#[test]
fn the_status_of_a_relay() {
    insta::assert_snapshot!(status::show(&relay_status()));
    let decisions = DecisionsStatus { dropped: 7, trouble: Some("no space".into()), ..DecisionsStatus::default() };
    let full = StoreStatus { refusing: Some("12 MiB free, 256 MiB wanted".into()), free: None, ..relay_status().store };
    let queue = Counts { damaged: 1, counting: true, ..relay_status().queue };
    let shed = [("ban".to_owned(), 12), ("limits.per-client".to_owned(), 1), ("store".to_owned(), 0)].into();
    let load = LoadStatus { stressed: true, banned: 2, shed, ..relay_status().load };
    insta::assert_snapshot!(status::show(&Status {
        store: full,
        load,
        queue,
        plugins: Vec::new(),
        decisions,
        ..relay_status()
    }));
}

#[test]
fn bans_are_shown() {
    let ban = |network: &str, left_secs, rule: &str| BanStatus {
        network: network.parse().unwrap(),
        left_secs,
        rule: rule.to_owned(),
    };
    let bans = [ban("2001:db8::/48", 90_000, "operator"), ban("192.0.2.1/32", 59, "limits.ban.errors")];
    insta::assert_snapshot!(ban::show(&bans, 7), @"
    NETWORK        LEFT   RULE
    2001:db8::/48  1d 1h  operator
    192.0.2.1/32   59s    limits.ban.errors
    7 bans, 5 not shown
    ");
    assert_eq!(ban::show(&[], 0), "0 bans\n");
}

#[test]
fn a_component_from_outside() {
    let inspection = json!({"sha256": "00ff", "size": 4096, "foreign_exports": [], "hooks": ["on-rcpt", "on-message"], "name": null});
    insta::assert_snapshot!(plugin::show_one(&inspection));
}

struct Fake(usize);

fn ready<'a, T: Send + 'a>(answer: Result<T, Vec<String>>) -> Pending<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Control for Fake {
    fn status(&self) -> Pending<'_, Status> {
        ready(Ok(relay_status()))
    }

    fn reload(&self, _: admin::Peer, _: admin::Weakening) -> Pending<'_, ReloadReport> {
        if self.0 == 0 {
            return ready(Err(vec![
                "waypost.toml:3: smtp.x: no such key".into(),
                "plugin greylist: no such file".into(),
            ]));
        }
        let changes = vec!["plugin greylist: 00ff to 11ee".to_owned()];
        let (needs_restart, weakenings) =
            (vec!["queue.path".into()], vec!["plugin greylist: no longer mandatory".into()]);
        ready(Ok(ReloadReport { generation: 4, changes, needs_restart, weakenings }))
    }

    fn queue_look(&self, _: Filter, reach: Reach) -> Pending<'_, Stepped> {
        let first = reach.after.map_or(1, |after| after.to_u64() + 1);
        let records = (first..=self.0 as u64).take(reach.find.min(700)).map(admin::record_for_tests);
        let found: Vec<_> = records.map(|record| Found { record, recipients: vec![0, 1] }).collect();
        let last = found.last().map(|found| found.record.id).filter(|last| last.to_u64() < self.0 as u64);
        ready(Ok(Stepped { looked: found.len() as u64, found, next: last, upto: reach.upto }))
    }

    fn queue_show(&self, _: QueueId) -> Pending<'_, Option<admin::Shown>> {
        ready(Ok(None))
    }

    fn queue_content(&self, _: QueueId) -> Pending<'_, Option<(Bytes, Content)>> {
        let (head, body) = (Bytes::from_static(b"Subject: \xff\r\n\r\n"), vec![b'x'; 100_000]);
        ready(Ok(Some((head, Content::Memory(body.into())))))
    }

    fn queue_whole(&self, _: QueueId) -> Pending<'_, Option<(Arc<Record>, Bytes, Content)>> {
        ready(Ok(None))
    }

    fn queue_draft(&self) -> Option<Draft> {
        None
    }

    fn queue_import(&self, _: admin::Peer, _: crate::queue::Incoming) -> Pending<'_, bool> {
        ready(Ok(true))
    }

    fn queue_command(&self, _: admin::Peer, _: Filter, reach: Reach, _: crate::queue::Command) -> Pending<'_, Changed> {
        let left = (self.0 as u64).saturating_sub(reach.after.map_or(0, QueueId::to_u64));
        let messages = left.min(1000);
        let next = (left > messages).then(|| QueueId::from_u64(self.0 as u64 - left + messages));
        let failures = if self.0 == 5000 && next.is_none() {
            vec![(QueueId::from_u64(9), "damaged".to_owned())]
        } else {
            Vec::new()
        };
        let failed = failures.len() as u64;
        ready(Ok(Changed {
            messages,
            recipients: messages,
            looked: messages,
            failed,
            failures,
            next,
            upto: reach.upto,
        }))
    }

    fn queue_rule(
        &self,
        by: admin::Peer,
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

    fn queue_rule_lift(&self, _: admin::Peer, _: u32) -> Pending<'_, Option<Arc<Rule>>> {
        ready(Ok(None))
    }

    fn read_route(&self, text: String) -> Pending<'_, Arc<Route>> {
        ready(Err(vec![format!("{text:?} is no route")]))
    }

    fn ways(&self) -> Arc<Ways> {
        Arc::new(|_| Arc::default())
    }

    fn explain(&self, about: admin::ExplainForm) -> Pending<'_, serde_json::Value> {
        ready(Ok(serde_json::json!({ "domain": about.domain, "live": true })))
    }

    fn sts(&self, about: admin::StsForm) -> Pending<'_, serde_json::Value> {
        ready(match &*about.domain {
            "there.test" => {
                let trouble = json!({"kind": "fetch", "text": "https://mta-sts.there.test: timed out\u{1b}[2J"});
                let policy = json!({"id": "20261124", "mode": "enforce", "mx": ["mx.there.test", "*.backup.test"],
                    "max-age": 604_800, "fetched": "2026-11-23T22:31:00Z", "expires": "2026-11-30T22:31:00Z"});
                let trouble = about.refresh.then_some(trouble);
                Ok(json!({"domain": about.domain, "policy": policy, "trouble": trouble, "pending": false}))
            }
            other => Err(vec![format!("{other:?} is no domain")]),
        })
    }

    fn destinations(&self) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(Vec::new()))
    }

    fn bans(&self) -> Pending<'_, (Vec<BanStatus>, u64)> {
        ready(Ok((Vec::new(), 0)))
    }

    fn ban(&self, _: admin::Peer, _: ipnet::IpNet, _: u64) -> Pending<'_, ()> {
        ready(Ok(()))
    }

    fn lift_ban(&self, _: admin::Peer, network: ipnet::IpNet) -> Pending<'_, ()> {
        ready(Err(vec![format!("{network} is not banned")]))
    }

    fn plugins(&self) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(relay_status().plugins))
    }

    fn plugin_metrics(&self, plugin: Option<String>) -> Pending<'_, Vec<serde_json::Value>> {
        let labels = json!({"hook": "on-rcpt", "result": "\u{1b}deferred"});
        let counters = json!([{"name": "seen", "labels": labels, "value": 12}]);
        let histograms = json!([{"name": "score", "labels": {}, "count": 4, "sum": 10.0, "buckets": []}]);
        let counted = json!({"plugin": "greylist", "counters": counters, "histograms": histograms});
        ready(Ok(if plugin.is_some() { Vec::new() } else { vec![counted] }))
    }
    fn plugin_trial(&self, name: String) -> Pending<'_, (serde_json::Value, Vec<serde_json::Value>)> {
        if name != "greylist" {
            return ready(Err(vec![format!("there is no plugin {name}")]));
        }
        let breaker = json!({"state": "closed", "since": null, "next_probe": null, "trips": 0, "cause": null});
        let candidate = json!({
            "version": "0.2.0", "mode": "shadow", "share": null, "state": "on-trial", "calls": 12, "failures": {},
            "same": 10, "different": 2, "skipped": 0, "breaker": breaker,
        });
        let hooks = json!([{"hook": "on-rcpt", "same": 10, "verdict": 1, "edits": 1, "failed": 0, "skipped": 0}]);
        let said = |verdict: serde_json::Value, edits: serde_json::Value| json!({"verdict": verdict, "told": "", "edits": edits, "failure": null});
        let difference = |kind: &str, live, candidate| {
            json!({
                "at": "2026-11-23T22:31:00.000Z", "hook": "on-rcpt", "kind": kind, "session": "s1", "queue_id": null,
                "sender": "a@there.example", "recipients": ["b@here.example\u{1b}[2J"], "live": live, "candidate": candidate,
            })
        };
        let differences = vec![
            difference("verdict", said(json!("proceed"), json!([])), said(json!("accept"), json!([]))),
            difference("edits", said(json!("proceed"), json!([])), said(json!("proceed"), json!([{"tag": "odd"}]))),
        ];
        let trial = json!({"plugin": "greylist", "version": "0.1.0", "generation": 3, "candidate": candidate, "waiting": 1, "hooks": hooks});
        ready(Ok((trial, differences)))
    }

    fn plugin_status(&self) -> Pending<'_, (Vec<serde_json::Value>, admin::SetStatus)> {
        let (since, reason) = ("2026-11-23T22:31:00.000Z".into(), "roll-back to 2".into());
        let set = admin::SetStatus { generation: 4, since, reason, by: "uid 0".into(), kept: vec![4, 3, 2] };
        let mut plugins = relay_status().plugins;
        plugins[0]["override"] = "roll-back to 2 by uid 0, since 2026-11-23T22:31:00.000Z".into();
        ready(Ok((plugins, set)))
    }

    fn plugin_generations(&self) -> Pending<'_, Vec<serde_json::Value>> {
        let generation = |number: u64, serving: bool, taken_back: Option<&str>| {
            json!({"generation": number, "since": "2026-11-23T22:31:00.000Z", "reason": "reload", "by": "uid 0",
                "serving": serving, "complete": true, "taken_back": taken_back, "plugins": {"greylist": "00ff"}})
        };
        ready(Ok(vec![
            generation(4, true, None),
            generation(3, false, Some("roll-back to 2")),
            generation(2, false, None),
        ]))
    }

    fn plugin_audit(&self, _: usize) -> Pending<'_, Vec<serde_json::Value>> {
        ready(Ok(vec![json!({"at": "2026-11-23T22:31:00.000Z", "what": "reload", "by": "uid 0", "generation": 4,
            "weakenings": ["plugin greylist: no longer mandatory"]})]))
    }

    fn plugin_change(
        &self,
        _: admin::Peer,
        change: admin::PluginChange,
        _: admin::Weakening,
    ) -> Pending<'_, ReloadReport> {
        ready(Ok(ReloadReport { generation: 5, changes: vec![format!("{change:?}")], ..ReloadReport::default() }))
    }

    fn record(&self, plugin: String, calls: u32, _: Option<String>) -> Pending<'_, RecordingStatus> {
        ready(Ok(RecordingStatus { path: format!("/r/{plugin}.jsonl"), wanted: calls, ..RecordingStatus::default() }))
    }

    fn stop_recording(&self, plugin: String) -> Pending<'_, RecordingStatus> {
        ready(Err(vec![format!("{plugin} is not being recorded")]))
    }

    fn inject(&self, _: crate::queue::Injection) -> Pending<'_, crate::queue::Injected> {
        ready(Ok(crate::queue::Injected::Refused { reply: "550 5.0.0 no".into(), later: false }))
    }

    fn suppress(&self, by: admin::Peer, what: admin::SuppressForm) -> Pending<'_, Vec<serde_json::Value>> {
        let entry =
            json!({"pattern": "ann@x.test", "tenant": null, "reason": "why", "by": by.to_string(), "until": null});
        ready(Ok(if matches!(what, admin::SuppressForm::Check { .. }) { Vec::new() } else { vec![entry] }))
    }

    fn history(&self, _: admin::HistoryForm) -> Pending<'_, (Vec<serde_json::Value>, bool)> {
        let before =
            json!([{"at": "2026-11-23T22:32:00.000Z", "hop": "mx:x.test", "stage": "rcpt", "said": "450 later"}]);
        let one = json!({"address": "bob@x.test", "became": "permanent", "stage": "rcpt", "reply": "550 5.1.1 no", "before": before});
        let dialogue = json!(["C: RCPT TO:<bob@x.test>", "S: 550 5.1.1 no\u{1b}[2J"]);
        let message = json!({"queue_id": "0000000000001", "sender": "ann@example.org", "hop": "mx:x.test", "recipients": [one],
            "dialogue": dialogue, "time": "2026-11-23T22:37:00.000Z"});
        ready(Ok((if self.0 == 0 { Vec::new() } else { vec![message] }, true)))
    }

    fn why(&self, which: WhyForm) -> Pending<'_, (Vec<serde_json::Value>, bool)> {
        ready(Ok((decisions(), which.limit == 1)))
    }
}

/// Runs a command line against a relay with so many messages: what it printed, and the failure.
async fn run(messages: usize, args: &[&str]) -> (String, Option<Failure>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let shutdown = CancellationToken::new();
    let server = {
        let doors = admin::bind(&admin::Config { socket: path.clone(), ..admin::Config::default() }).unwrap();
        let api = admin::Api::new(Arc::new(Fake(messages)), admin::Surroundings::default());
        tokio::spawn(admin::serve(doors, api, shutdown.clone()))
    };
    let socket = path.to_str().unwrap();
    let cli = Cli::try_parse_from(["waypost", "--socket", socket].iter().chain(args)).unwrap();
    let mut out = Vec::new();
    let done = match cli.command {
        Command::Status => status::status(&cli.common, &mut out).await,
        Command::Reload(weaken) => reload::reload(&cli.common, weaken.allow_weaken, &mut out).await,
        Command::Queue(command) => queue::queue(&cli.common, command, &mut out).await,
        Command::Suppress(command) => suppress::suppress(&cli.common, command, &mut out).await,
        Command::History(which) => history::history(&cli.common, which, &mut out).await,
        Command::Sts(asked) => sts::sts(&cli.common, asked, &mut out).await,
        Command::Why(which) => why::why(&cli.common, which, &mut out).await,
        Command::Plugin(command) => plugin::plugin(&cli.common, command, &mut out).await,
        Command::Ban(command) => ban::ban(&cli.common, command, &mut out).await,
        Command::Explain(about) => explain::explain(&cli.common, about, &mut out).await,
        Command::Destinations => explain::destinations(&cli.common, &mut out).await,
        Command::Top(how) => top::top(&cli.common, how, &mut out).await,
        Command::Backup { folder } => backup::backup(&cli.common, &folder, &mut out).await,
        Command::Restore { folder } => backup::restore(&cli.common, &folder, &mut out).await,
        other => panic!("{other:?} asks no relay"),
    };
    shutdown.cancel();
    server.await.unwrap();
    (String::from_utf8(out).unwrap(), done.err())
}

#[tokio::test]
async fn what_plugins_counted_is_a_table_or_json() {
    let (shown, _) = run(0, &["plugin", "metrics"]).await;
    insta::assert_snapshot!(shown, @r"
    PLUGIN    METRIC  LABELS                         VALUE
    greylist  seen    hook=on-rcpt result=�deferred  12
    greylist  score                                  4 of mean 2.500
    ");
    assert_eq!(run(0, &["plugin", "metrics", "greylist"]).await.0, "nothing counted\n");
    let (json, _) = run(0, &["plugin", "metrics", "--json"]).await;
    let counted: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(counted[0]["counters"][0]["value"], 12);
}

#[tokio::test]
async fn the_policy_of_a_domain_is_shown_or_json() {
    insta::assert_snapshot!(run(0, &["sts", "there.test"]).await.0, @r"
    domain:  there.test
    id:      20261124
    mode:    enforce
    mx:      mx.there.test
    mx:      *.backup.test
    max age: 7d
    fetched: 2026-11-23T22:31:00Z
    expires: 2026-11-30T22:31:00Z
    ");
    let (shown, _) = run(0, &["sts", "there.test", "--refresh"]).await;
    let trouble = "trouble: https://mta-sts.there.test: timed out\u{fffd}[2J (the last look failed)\n";
    assert!(shown.ends_with(trouble), "{shown}");
    let (json, _) = run(0, &["sts", "there.test", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["policy"]["mx"][1], "*.backup.test");
    assert_eq!(run(0, &["sts", "no domain"]).await.1.unwrap().code(), 1);
}

#[tokio::test]
async fn long_queues_are_listed_whole_unless_limited() {
    let (listed, failure) = run(1203, &["queue", "list", "--json"]).await;
    let messages: Vec<Summary> = serde_json::from_str(&listed).unwrap();
    assert!(failure.is_none() && messages.len() == 1203);
    assert_eq!(listed.lines().count(), 1205, "an element a line");
    let (listed, _) = run(1203, &["queue", "list", "--limit", "7"]).await;
    assert!(listed.ends_with("\n7 messages\n"), "{listed}");
    assert_eq!(run(0, &["queue", "list"]).await.0, "0 messages\n");
    assert_eq!(run(0, &["queue", "list", "--json"]).await.0, "[\n]\n");
}

#[tokio::test]
async fn commands_say_how_many_messages_they_changed() {
    assert_eq!(run(3, &["queue", "hold", "--sender", "ann"]).await.0, "3 messages held\n");
    let all = run(1, &["queue", "drop", "--all", "--json", "--yes"]).await.0;
    assert_eq!(all, "{\"changed\":1,\"recipients\":1,\"failed\":0}\n");
    let (printed, failure) = run(0, &["queue", "retry", "0000000000001"]).await;
    assert_eq!((printed.as_str(), failure.map(|f| f.code())), ("", Some(1)));
    assert!(run(0, &["queue", "remove", "--all", "--yes"]).await.1.is_none());
    assert_eq!(run(2500, &["queue", "hold", "age", "=", "2h"]).await.0, "2500 messages held\n", "step by step");
    let (printed, failure) = run(5000, &["queue", "release", "held"]).await;
    assert_eq!(printed, "5000 messages released\n");
    assert_eq!(failure.unwrap().to_string(), "waypost: 1 message could not be changed\n0000000000009: damaged");
}

#[tokio::test]
async fn what_cant_be_taken_back_is_counted_and_has_to_be_meant() {
    for verb in ["drop", "bounce", "remove"] {
        let (printed, failure) = run(3, &["queue", verb, "domain = example.net"]).await;
        let failure = failure.unwrap().to_string();
        let word = if verb == "bounce" { "bounced" } else { "dropped" };
        assert_eq!(
            failure,
            format!("waypost: 3 messages, 6 recipients, 12.5 KiB would be {word}: say --yes if that is meant")
        );
        assert_eq!(printed, "");
    }
    assert_eq!(run(1, &["queue", "drop", "0000000000001"]).await.0, "1 message removed\n", "an id is meant");
    let dry = run(7, &["queue", "bounce", "held", "--dry-run"]).await.0;
    insta::assert_snapshot!(dry, @"
    7 messages, 14 recipients, 29.3 KiB would be bounced
      0000000000001
      0000000000002
      0000000000003
      0000000000004
      0000000000005
      and 2 more
    ");
    assert_eq!(run(1203, &["queue", "count", "size > 1M"]).await.0, "1203 messages, 2406 recipients, 4.9 MiB\n");
    let rule = run(1, &["queue", "suspend", "domain = x.test", "--for", "2h", "--reason", "down"]).await.0;
    assert_eq!(rule, "rule 7: suspended for 2h: domain = x.test\n");
    let bounced = run(1, &["queue", "bounce", "tag = spam", "--yes", "--coming"]).await.0;
    assert_eq!(bounced, "rule 7: in force for mail to come until it is resumed: tag = spam\n1 message to be bounced\n");
    let wrong = run(1, &["queue", "list", "domian = x"]).await.1.unwrap();
    assert_eq!(wrong.code(), 2);
    assert!(wrong.to_string().contains("at column 1") && wrong.to_string().contains("did you mean domain?"), "{wrong}");
}

#[tokio::test]
async fn who_is_suppressed_is_listed_and_changed() {
    assert_eq!(run(1, &["suppress", "add", "ann@x.test", "--for", "90d"]).await.0, "ann@x.test is suppressed\n");
    assert_eq!(run(1, &["suppress", "remove", "ann@x.test"]).await.0, "ann@x.test is suppressed no more\n");
    let listed = run(1, &["suppress", "list"]).await.0;
    assert!(listed.starts_with("ADDRESS") && listed.contains("ann@x.test  -       -      uid "), "{listed}");
    assert_eq!(run(1, &["suppress", "check", "bob@x.test"]).await.1.unwrap().code(), 1);
}

#[tokio::test]
async fn what_became_of_a_message_is_told() {
    insta::assert_snapshot!(run(1, &["history", "--failed"]).await.0, @"
    2026-11-23T22:37:00.000Z 0000000000001 from ann@example.org by mx:x.test
      before 2026-11-23T22:32:00.000Z, mx:x.test, at rcpt: 450 later
      bob@x.test: permanent: 550 5.1.1 no
        C: RCPT TO:<bob@x.test>
        S: 550 5.1.1 no�[2J
    there are more: say --limit, or be more exact
    ");
    assert_eq!(run(0, &["history", "0000000000001"]).await.1.unwrap().code(), 1);
}

#[tokio::test]
async fn a_reload_reports_what_changed_or_every_reason_against_it() {
    insta::assert_snapshot!(run(1, &["reload"]).await.0, @"
    generation 4 serves
      plugin greylist: 00ff to 11ee
      weaker: plugin greylist: no longer mandatory
      needs a restart: queue.path
    ");
    let failure = run(0, &["reload"]).await.1.unwrap();
    assert_eq!(failure.code(), 1);
    insta::assert_snapshot!(failure.to_string(), @"
    waypost.toml:3: smtp.x: no such key
    plugin greylist: no such file
    ");
    let failure = run(0, &["queue", "show", "0000000000001"]).await.1.unwrap();
    assert_eq!(failure.to_string(), "no message 0000000000001 in the queue");
    let plugins: Vec<serde_json::Value> = serde_json::from_str(&run(0, &["plugin", "list", "--json"]).await.0).unwrap();
    assert_eq!(plugins.len(), 2);
}

#[tokio::test]
async fn a_trial_is_counts_and_the_last_differences() {
    insta::assert_snapshot!(run(0, &["plugin", "trial", "greylist"]).await.0, @r#"
    greylist 0.1.0, candidate 0.2.0, shadow: 12 calls, 0 failed, 10 same, 2 different, 0 skipped
    1 not compared yet

    HOOK     SAME  OTHER VERDICT  OTHER EDITS  FAILED  SKIPPED
    on-rcpt  10    1              1            0       0

    2026-11-23T22:31:00.000Z  on-rcpt  verdict  session s1  queue id -  a@there.example -> b@here.example�[2J
      live       proceed
      candidate  accept

    2026-11-23T22:31:00.000Z  on-rcpt  edits  session s1  queue id -  a@there.example -> b@here.example�[2J
      live       proceed
      candidate  proceed; edits: {"tag":"odd"}
    "#);
    let trial: serde_json::Value =
        serde_json::from_str(&run(0, &["plugin", "trial", "greylist", "--json"]).await.0).unwrap();
    assert_eq!((&trial["waiting"], trial["differences"].as_array().unwrap().len()), (&json!(1), 2));
    let failure = run(0, &["plugin", "trial", "none"]).await.1.unwrap();
    assert_eq!((failure.code(), failure.to_string().as_str()), (1, "there is no plugin none"));
}

#[tokio::test]
async fn what_serves_is_shown_and_changed() {
    insta::assert_snapshot!(run(1, &["plugin", "status"]).await.0);
    insta::assert_snapshot!(run(1, &["plugin", "generations"]).await.0, @r"
    GENERATION  SINCE                     STATE       MADE BY           PLUGINS
    4           2026-11-23T22:31:00.000Z  serving     reload, by uid 0  greylist
    3           2026-11-23T22:31:00.000Z  taken back  reload, by uid 0  greylist
    2           2026-11-23T22:31:00.000Z  kept        reload, by uid 0  greylist
    ");
    insta::assert_snapshot!(run(1, &["plugin", "audit"]).await.0, @r"
    2026-11-23T22:31:00.000Z  reload by uid 0, generation 4
      weaker: plugin greylist: no longer mandatory
    ");
    insta::assert_snapshot!(run(1, &["plugin", "rollback", "2"]).await.0, @r"
    generation 5 serves
      Rollback { generation: Some(2) }
    ");
    let status: serde_json::Value = serde_json::from_str(&run(1, &["plugin", "status", "--json"]).await.0).unwrap();
    assert_eq!((status["generation"].as_u64(), status["plugins"].as_array().map(Vec::len)), (Some(4), Some(2)));
    assert!(run(1, &["plugin", "status", "nobody"]).await.1.is_some());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let tried = run(1, &["plugin", "try", "greylist", file, "--canary", "5", "--settings", "{\"a\":1}"]).await.0;
    assert!(tried.contains("share: Some(5)") && tried.contains("Cargo.toml"), "{tried}");
    let listed: Vec<serde_json::Value> =
        serde_json::from_str(&run(1, &["plugin", "generations", "--json"]).await.0).unwrap();
    assert_eq!(listed.len(), 3);
}

fn decisions() -> Vec<serde_json::Value> {
    let of = |extra: serde_json::Value| {
        let mut decision = json!({"session": "1j0v8up7it400", "hook": "on-rcpt", "plugin": "greylist", "version": "0.1.0",
            "generation": 3, "client": "192.0.2.1", "verdict": "proceed", "wall_us": 12, "cpu_us": 11,
            "host_calls": 0, "time": "2026-11-23T22:31:00.123Z"});
        decision.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        decision
    };
    let failure = json!({"kind": "trap", "detail": "trapped: \u{1b}[31munreachable", "policy": "tempfail"});
    // As the relay answers: the newest first.
    vec![
        of(json!({"queue_id": "1j0v8up7ite00", "sender": "a@client.test", "verdict": "tempfail", "failure": failure,
            "told": "451 4.3.0 Local error in processing, try again later", "recipients": ["c@there.test"]})),
        of(json!({"queue_id": "1j0v8up7ite00", "sender": "a@client.test", "recipients": ["b@there.test"],
            "host_calls": 2, "edits": [{"edit": "annotate", "key": "k", "value": "v"}], "more_edits": 4})),
        of(json!({"hook": "on-connect", "verdict": "accept"})),
    ]
}

#[tokio::test]
async fn why_tells_what_was_decided_in_order_of_time() {
    insta::assert_snapshot!(run(1, &["why"]).await.0);
    assert!(run(1, &["why", "--limit", "1"]).await.0.contains("there are more"));
    let (printed, _) = run(1, &["why", "b@there.test", "--json"]).await;
    let printed: Vec<serde_json::Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!((printed.len(), &printed[0]["hook"]), (3, &json!("on-connect")));
}

#[tokio::test]
async fn a_recording_says_where_it_is() {
    let (printed, _) = run(1, &["plugin", "record", "greylist", "--calls", "7"]).await;
    assert_eq!(printed, "/r/greylist.jsonl\n0 of 7 calls recorded, 0 left out\n");
    let failure = run(1, &["plugin", "record", "greylist", "--stop"]).await.1.unwrap();
    assert_eq!((failure.code(), failure.to_string().as_str()), (1, "greylist is not being recorded"));
}

#[test]
fn what_a_replay_finds_is_shown() {
    let part = |what, expected, got| crate::plugin::Part { what, expected, got };
    let difference = crate::plugin::Difference {
        call: 2,
        hook: "on-rcpt",
        parts: vec![part("verdict", json!("proceed"), json!({"reject": {"code": 550, "lines": ["no\u{1b}[2J"]}}))],
        log: Some(part("log", json!([]), json!(["seen"]))),
    };
    let replay = crate::plugin::Replay { calls: 3, differences: vec![difference] };
    insta::assert_snapshot!(replay::show(&replay));
}

#[test]
fn what_is_asked_for_is_told_apart() {
    let form = |words: &[&str]| {
        let cli = Cli::try_parse_from(["waypost", "why"].iter().chain(words)).map_err(|e| e.exit_code())?;
        let Command::Why(why) = cli.command else { panic!("why") };
        Ok::<_, i32>(WhyForm::from(why))
    };
    for (about, is_address) in
        [("1j0v8up7ite00", false), ("a@b.test", true), ("b.test", true), ("2001:db8::1", true), ("@localhost", true)]
    {
        let form = form(&[about]).unwrap();
        assert_eq!((form.id.is_some(), form.address.is_some()), (!is_address, is_address), "{about}");
    }
    let asked = form(&["--since", "2h", "--hook", "rcpt", "--failed"]).unwrap();
    assert_eq!((asked.since_secs, asked.hook.as_deref(), asked.failed), (Some(7200), Some("rcpt"), true));
    for wrong in [["--since", "2"], ["--since", "h"], ["--limit", "x"]] {
        assert_eq!(form(&wrong), Err(2), "{wrong:?}");
    }
}

#[test]
fn no_relay_is_its_own_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let mut out = Vec::new();
    let args = ["waypost", "status", "--socket", path.to_str().unwrap()];
    let failure = perform(Cli::try_parse_from(args).unwrap(), &mut out).unwrap_err();
    assert_eq!(failure.code(), 3);
    assert!(failure.to_string().contains("--socket PATH"), "{failure}");
    let args = ["waypost", "status", "--config", "/nowhere/waypost.toml"];
    assert_eq!(perform(Cli::try_parse_from(args).unwrap(), &mut out).unwrap_err().code(), 1);
}

#[test]
fn a_bad_configuration_is_reported_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    std::fs::write(&path, "hostnme = 'x'\n[smtp]\nmax-errors = 'many'\n").unwrap();
    let config = path.to_str().unwrap();
    let mut out = Vec::new();
    let failure =
        perform(Cli::try_parse_from(["waypost", "check", "--config", config]).unwrap(), &mut out).unwrap_err();
    assert_eq!((failure.code(), failure.to_string().lines().count()), (1, 3));
    assert!(out.is_empty());
    let failure = perform(Cli::try_parse_from(["waypost", "check", "--json", "--config", config]).unwrap(), &mut out);
    assert_eq!(failure.unwrap_err().code(), 1);
    let printed: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((printed["ok"].as_bool(), printed["errors"].as_array().map(Vec::len)), (Some(false), Some(3)));
    assert_eq!(printed["errors"][2]["key"], "smtp.max-errors");
}

#[test]
fn a_good_configuration_is_printed() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/configs/smarthost.toml");
    let mut out = Vec::new();
    perform(Cli::try_parse_from(["waypost", "check", "--print", "--config", config]).unwrap(), &mut out).unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert!(printed.contains("smtp.provider.example") && !printed.contains("put the password here"), "{printed}");
}
