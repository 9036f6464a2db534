//! Suspensions, suppression, retry rules, give-up times of messages, and what the history is told.

use super::*;
use crate::delivery::attempt::Attempt;
use crate::delivery::job::{Job, LaneKey};
use crate::delivery::lane::Lane;
use crate::history::{self, History, Query};
use crate::mail::Param;
use crate::queue::{CodePattern, Pace, Record, RetryRule, RuleKind, Schedule, Then};
use crate::store::Sled;
use crate::suppression::{self, Entry, Suppression};

const DAY: Duration = Duration::from_secs(86_400);

async fn suspend(rig: &Rig, filter: &str) -> u32 {
    let filter = Filter::parse(filter).unwrap();
    rig.queue.add_rule(RuleKind::Suspend, filter, "why".into(), None, "uid 0".into()).await.unwrap().number
}

#[tokio::test]
async fn what_is_suspended_waits_without_an_attempt_and_is_given_up_in_time() {
    let mut sink = Sink::start(usual).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    suspend(&rig, "domain = example.net").await;
    rig.run();
    let id = rig.accept("sue@example.org", &["ann@example.net", "bob@example.com"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["bob@example.com"]);
    rig.until(|rig| rig.record(id).is_some_and(|r| r.recipients.len() == 1 && r.recipients[0].state.parked == Some(1)))
        .await;
    let state = rig.record(id).unwrap().recipients[0].state.clone();
    let expires = config().schedule.expires(rig.clock.now(), false);
    assert_eq!((state.attempts, state.due, state.last), (0, expires, None));
    // Held back from the start, and too old: it is given up all the same, and never tried.
    rig.accept_with("tom@example.org", &["ann@example.net"], |record| record.arrived = record.arrived.minus(DAY * 6))
        .await;
    let report = take(&mut sink).await;
    assert_eq!(report.recipients, ["tom@example.org"]);
    assert!(report.content.contains("ann@example.net"), "{}", report.content);
    rig.queue.lift_rule(1).await.unwrap().unwrap();
    rig.until(|rig| rig.record(id).is_some_and(|r| r.recipients[0].state.parked.is_none())).await;
    rig.clock.advance(Duration::from_secs(11));
    rig.queue.command(&Filter::default(), Command::Retry { reroute: false }).await.unwrap();
    assert_eq!(take(&mut sink).await.recipients, ["ann@example.net"]);
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn what_an_operator_changed_while_it_waited_in_a_lane_is_not_sent_as_it_was() {
    let rig = Rig::new(config(), to(([127, 0, 0, 1], 9).into()), Script::default()).await;
    rig.accept("sue@example.org", &["ann@example.net", "bob@example.net"]).await;
    let lease = rig.queue.lease(1).await.pop().unwrap();
    let route = rig.dispatcher.route_of(&lease.record.recipients[0]);
    let lane = Lane::new(LaneKey { route: Arc::clone(&route), source: None, tenant: None });
    let filter = Filter::parse("recipient = ann@example.net").unwrap();
    rig.queue.command(&filter, Command::Hold("why".into())).await.unwrap();
    for (lease, is_sent) in lease.split(vec![vec![0], vec![1]]).into_iter().zip([false, true]) {
        let attempt = Attempt::new(&rig.dispatcher, Job::new(lease, Arc::clone(&route), false), "there".into());
        assert_eq!(attempt.prepare(&lane, true).await.is_some(), is_sent);
    }
}

#[tokio::test]
async fn rules_change_what_a_failure_means() {
    let mut sink = Sink::start(|_, line| match line {
        "RCPT TO:<never@example.net>" => Some("450 4.1.1 user unknown\r\n"),
        "RCPT TO:<later@example.net>" => Some("550 5.7.1 blocked for now\r\n"),
        _ => None,
    })
    .await;
    let code = |text| vec![CodePattern::parse(text).unwrap()];
    let pace = Pace { first: Some(Duration::from_secs(7200)), give_up_attempts: Some(2), ..Pace::default() };
    let rules = [
        RetryRule { codes: code("4xx"), then: Then::Fail, ..RetryRule::default() },
        RetryRule { codes: code("55x"), then: Then::Retry(pace), ..RetryRule::default() },
    ];
    let schedule = Schedule { rules: rules.into(), jitter_percent: 0, ..Schedule::default() };
    let mut rig = Rig::new(Config { schedule, ..config() }, to(sink.address), Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["never@example.net"]).await;
    let report = take(&mut sink).await;
    assert!(report.content.contains("user unknown") && report.recipients == ["sue@example.org"], "{}", report.content);
    let id = rig.accept("sue@example.org", &["later@example.net"]).await;
    let record = rig.tried(id, 1).await;
    assert_eq!(record.recipients[0].state.due, rig.clock.now().plus(Duration::from_secs(7200)));
    let past = &record.recipients[0].state.history[0];
    assert_eq!((past.code, &*past.text), (Some(550), "blocked for now"));
    assert_eq!(&*past.hop, format!("smtp://{}", sink.address));
    rig.clock.advance(Duration::from_secs(7200));
    rig.queue.command(&Filter::default(), Command::Retry { reroute: false }).await.unwrap();
    let report = take(&mut sink).await;
    assert!(report.content.contains("blocked for now"), "the second attempt was the last: {}", report.content);
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_message_may_have_a_give_up_time_of_its_own() {
    let mut sink = Sink::start(|_, line| line.starts_with("RCPT TO:<ann@").then_some("450 4.2.0 not now\r\n")).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    let short = |record: &mut Record| {
        record.annotations.set("policy", "1", "expires-after", "1h").unwrap();
        record.arrived = record.arrived.minus(Duration::from_secs(3601));
    };
    rig.accept_with("sue@example.org", &["ann@example.net"], short).await;
    let report = take(&mut sink).await;
    assert_eq!(report.recipients, ["sue@example.org"], "after its one attempt");
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn what_finds_no_turn_is_given_up_in_time_too() {
    fn by(record: &mut Record, value: &str) {
        record.sender_params = vec![Param { keyword: "BY".into(), value: Some(value.into()) }];
    }
    fn short(record: &mut Record) {
        record.annotations.set("policy", "1", "expires-after", "1h").unwrap();
        record.arrived = record.arrived.minus(Duration::from_secs(3700));
    }
    type Edit = fn(&mut Record);
    let table: [(Edit, bool); 6] = [
        (|_| {}, false),
        (short, false),
        (|record| (short(record), record.recipients[0].state.attempts = 1).0, true),
        (|record| (by(record, "30;R"), record.arrived = record.arrived.minus(Duration::from_secs(30))).0, true),
        (|record| by(record, "30;R"), false),
        (|record| (by(record, "30;N"), record.arrived = record.arrived.minus(Duration::from_secs(30))).0, false),
    ];
    for (case, (edit, over)) in table.into_iter().enumerate() {
        let rig = Rig::new(config(), named("hole"), Script::default()).await;
        let id = rig.accept_with("sue@example.org", &["ann@example.net"], edit).await;
        let lease = rig.queue.lease(1).await.pop().unwrap();
        let job = Job::new(lease, Arc::new(named("hole")), false);
        assert_eq!(rig.dispatcher.is_over(&job), over, "{case}");
        rig.dispatcher.send_back(job, Duration::from_secs(600)).await;
        rig.until(|rig| rig.record(id).is_none() == over).await;
        let Some(record) = rig.record(id) else { continue };
        let wait = record.recipients[0].state.due.since(rig.clock.now()).as_secs();
        let hurried = record.sender_params.first().is_some_and(|by| by.value.as_deref() == Some("30;R"));
        assert_eq!(wait, if hurried { 30 } else { wait.max(600) }, "{case}");
    }
}

#[tokio::test]
async fn who_is_suppressed_is_not_tried_and_failures_are_learned_from() {
    let mut sink =
        Sink::start(|_, line| line.starts_with("RCPT TO:<gone@").then_some("550 5.1.1 no such user\r\n")).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
    let list = Suppression::open(store, Arc::<crate::time::Manual>::clone(&rig.clock)).unwrap();
    list.configure(&suppression::Config { auto: true, ..suppression::Config::default() });
    let (pattern, reason, by) = ("example.com".into(), "asked".into(), "uid 0".into());
    let (added, until) = (rig.clock.now(), None);
    list.add(Entry { pattern, tenant: Some("acme".into()), reason, by, added, until }).await.unwrap();
    rig.dispatcher.heed(list.clone());
    let history = History::new(Arc::<crate::time::Manual>::clone(&rig.clock));
    let path = folder.path().join("history");
    history.configure(&history::Config { record: true, path, keep: DAY, bytes: 1 << 20 });
    rig.dispatcher.record_in(history.clone());
    rig.run();
    rig.accept_with("sue@example.org", &["eve@example.com"], |record| {
        record.annotations.set("billing", "1", "tenant", "acme").unwrap();
    })
    .await;
    let report = take(&mut sink).await;
    assert!(report.content.contains("5.7.1") && !report.content.contains("asked"), "{}", report.content);
    rig.accept("sue@example.org", &["eve@example.com"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["eve@example.com"], "others may write there");
    rig.accept("sue@example.org", &["gone@example.net"]).await;
    assert!(take(&mut sink).await.content.contains("no such user"));
    rig.until(|_| list.len() == 2).await;
    list.configure(&suppression::Config { then: suppression::Then::Drop, ..suppression::Config::default() });
    rig.accept("sue@example.org", &["gone@example.net"]).await;
    rig.empty().await;
    assert!(sink.taken.try_recv().is_err(), "dropped without a word");
    let failed = || history.find(&Query { failed: true, ..Query::default() }).unwrap().messages;
    rig.until(|_| failed().len() == 3).await;
    let failed = failed();
    let asked = failed.iter().find(|message| message.get("dialogue").is_some()).unwrap();
    let lines: Vec<&str> = asked["dialogue"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    assert!(
        lines.contains(&"C: RCPT TO:<gone@example.net>") && lines.contains(&"S: 550 5.1.1 no such user"),
        "{lines:?}"
    );
    rig.stop().await;
}
