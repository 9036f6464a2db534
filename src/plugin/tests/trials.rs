//! Breakers, shadows and canaries, with real components.

use std::time::Duration;

use super::*;
use crate::hooks::{FailurePolicy, MessageFacts};
use crate::mail::Header;
use crate::plugin::testing::misbehaving;
use crate::plugin::trial::lot;
use crate::plugin::{
    BreakerConfig, Build, Candidate, Event, Events, Grants, HookTally, KvQuota, PluginConfig, PluginSet, Promotion,
    TrialMode, TrialReport,
};
use crate::store::Content;

/// A subject for rcpt, with the recipient's local part and the session's id from a number.
fn recipient(number: u32) -> Subject {
    let mut subject = at_rcpt();
    let candidate = subject.candidate.as_mut().unwrap();
    candidate.mailbox = mailbox(&format!("r{number}"), "example.net");
    Arc::make_mut(subject.session.as_mut().unwrap()).id = format!("session-{number}").into();
    subject
}

fn breaker(failures: u32, pause: Duration) -> Option<BreakerConfig> {
    Some(BreakerConfig { failures, window: Duration::from_secs(30), pause, pause_max: Duration::from_secs(60) })
}

/// A plugin that proceeds, and a candidate beside it.
fn beside(candidate: &[u8], mode: TrialMode, promote: Option<Promotion>, config: PluginConfig) -> Fixture {
    let mut fixture = Fixture::new().with_config("p", &answering(Hook::Rcpt, &saying(0, 0, "")), config);
    let path = fixture.path("candidate");
    std::fs::write(&path, candidate).unwrap();
    let config = fixture.config.plugins.get_mut("p").unwrap();
    config.candidate = Some(Candidate { path, sha256: None, mode, config: None, promote });
    fixture
}

/// Nobody waits for a shadow; this does.
async fn settled(set: &PluginSet) -> TrialReport {
    loop {
        let report = set.trial("p").unwrap();
        if report.waiting == 0 {
            return report;
        }
        tokio::task::yield_now().await;
    }
}

fn word(verdict: &SessionVerdict) -> &'static str {
    crate::hooks::Verdict::word(verdict)
}

#[tokio::test(start_paused = true)]
async fn a_breaker_leaves_a_failing_plugin_alone_and_tries_it_again() {
    let config = PluginConfig { breaker: breaker(2, Duration::from_secs(10)), ..PluginConfig::default() };
    let mut fixture = Fixture::new().with_config("bad", &misbehaving("third"), config);
    let (events, mut heard) = Events::channel();
    fixture.services.events = events;
    let set = fixture.try_build(7, Build::Strict).await.unwrap();
    let mut said = Vec::new();
    for number in 0..9 {
        said.push(word(&set.rcpt(recipient(number)).await.1));
    }
    let expected = "proceed proceed tempfail proceed proceed tempfail tempfail tempfail tempfail";
    assert_eq!(said.join(" "), expected);
    let info = &set.list()[0];
    assert_eq!((info.calls, info.state), (6, "tripped"), "the last three were not made");
    assert_eq!(info.failures, [("trap", 2), ("tripped", 3)].into());
    let breaker = info.breaker.as_ref().unwrap();
    assert_eq!((breaker.state, breaker.trips), ("open", 1));
    assert!(breaker.cause.as_ref().unwrap().contains("trapped"), "{breaker:?}");
    assert_eq!(heard.try_recv(), Ok(Event::Tripped { generation: 7, plugin: "bad".into() }));

    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(word(&set.rcpt(recipient(9)).await.1), "proceed", "a new instance, whose first calls are good");
    let info = &set.list()[0];
    assert_eq!((info.calls, info.state, info.breaker.as_ref().unwrap().state), (7, "serving", "closed"));
    assert!(heard.try_recv().is_err(), "told once");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_doubles_the_wait_and_the_policy_answers_meanwhile() {
    let config = PluginConfig {
        breaker: breaker(1, Duration::from_secs(10)),
        on_failure: FailurePolicy::Skip,
        ..PluginConfig::default()
    };
    let set = Fixture::new().with_config("bad", &misbehaving("trap"), config).build().await;
    let ask = async || word(&set.rcpt(recipient(0)).await.1);
    assert_eq!((ask().await, ask().await), ("proceed", "proceed"));
    assert_eq!(set.list()[0].calls, 1);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!((ask().await, ask().await), ("proceed", "proceed"));
    assert_eq!(set.list()[0].calls, 2, "the probe, and nobody else");
    tokio::time::advance(Duration::from_secs(15)).await;
    ask().await;
    assert_eq!(set.list()[0].calls, 2, "twice the pause, less a fifth at most");
    tokio::time::advance(Duration::from_secs(5)).await;
    ask().await;
    assert_eq!(set.list()[0].calls, 3);
    assert_eq!(set.list()[0].breaker.as_ref().unwrap().trips, 1);
}

#[tokio::test]
async fn without_a_breaker_every_call_is_made() {
    let config = PluginConfig { breaker: None, ..PluginConfig::default() };
    let set = Fixture::new().with_config("bad", &misbehaving("trap"), config).build().await;
    for _ in 0..20 {
        assert_eq!(word(&set.rcpt(recipient(0)).await.1), "tempfail");
    }
    let info = &set.list()[0];
    assert_eq!((info.calls, info.failures.clone(), info.breaker.clone()), (20, [("trap", 20)].into(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_counts_exactly_what_differs_and_changes_nothing() {
    let config = PluginConfig { breaker: None, ..PluginConfig::default() };
    let set = Arc::new(beside(&misbehaving("choosy"), TrialMode::Shadow, None, config).build().await);
    let ask = |from: u32| {
        let set = set.clone();
        tokio::spawn(async move {
            for number in (from..3000).step_by(3) {
                let (after, verdict) = set.rcpt(recipient(number)).await;
                assert_eq!(verdict, SessionVerdict::Proceed);
                assert!(after.transaction.unwrap().tags.is_empty());
            }
        })
    };
    for task in [ask(0), ask(1), ask(2)] {
        task.await.unwrap();
    }
    let report = settled(&set).await;
    // Of each ten: one rejected, one accepted, one tagged, one trap.
    let expected = HookTally { hook: "on-rcpt", same: 1800, verdict: 600, edits: 300, failed: 300, skipped: 0 };
    assert_eq!(report.hooks, [expected]);
    let info = &set.list()[0];
    assert_eq!((info.calls, info.failures.len()), (3000, 0));
    let candidate = info.candidate.as_ref().unwrap();
    assert_eq!((candidate.calls, candidate.same, candidate.different, candidate.skipped), (3000, 1800, 900, 0));
    assert_eq!(candidate.failures, [("trap", 300)].into());
    assert_eq!(report.differences.len(), 200, "the last ones are kept");
    for difference in &report.differences {
        let number = difference.recipients[0].strip_prefix('r').unwrap().strip_suffix("@example.net").unwrap();
        let kind = match number.as_bytes().last().unwrap() {
            b'7' | b'5' => "verdict",
            b'3' => "edits",
            b'9' => "failed",
            _ => "none",
        };
        assert_eq!(difference.kind, kind, "{difference:?}");
        assert_eq!(difference.live.verdict, "proceed");
        assert_eq!(kind == "failed", difference.candidate.failure.is_some());
        assert_eq!(difference.session, Some(format!("session-{number}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_loops_is_left_alone_and_nobody_waits_for_it() {
    let config = PluginConfig { breaker: breaker(3, Duration::from_secs(3600)), ..PluginConfig::default() };
    let mut fixture = beside(&misbehaving("spin"), TrialMode::Shadow, None, config);
    let (events, mut heard) = Events::channel();
    fixture.services.events = events;
    let set = fixture.build().await;
    for number in 0..50 {
        assert_eq!(set.rcpt(recipient(number)).await.1, SessionVerdict::Proceed);
    }
    let report = settled(&set).await;
    let tally = &report.hooks[0];
    assert_eq!((tally.failed + tally.skipped, report.candidate.state), (50, "tripped"));
    assert!((3..=3 + 4).contains(&tally.failed), "those under way when it opened, at most: {tally:?}");
    assert_eq!(set.list()[0].state, "serving");
    assert!(heard.try_recv().is_err(), "nothing has to be taken back for a candidate");
}

#[tokio::test]
async fn a_canary_gets_its_share_and_keeps_its_sessions() {
    let reject = answering(Hook::Rcpt, &saying(2, 550, "candidate"));
    let set = beside(&reject, TrialMode::Canary { share: 20 }, None, PluginConfig::default()).build().await;
    let mut taken = 0;
    for number in 0..2000 {
        let first = set.rcpt(recipient(number)).await.1;
        assert_eq!(first, set.rcpt(recipient(number)).await.1, "sticky");
        taken += u32::from(word(&first) == "reject");
    }
    assert!((320..=480).contains(&taken), "{taken} of 2000, not a fifth");
    let info = &set.list()[0];
    let candidate = info.candidate.as_ref().unwrap();
    assert_eq!((u64::from(2 * taken), 4000 - u64::from(2 * taken)), (candidate.calls, info.calls));
    assert_eq!((candidate.mode, candidate.share, candidate.same, candidate.different), ("canary", Some(20), 0, 0));
}

#[tokio::test]
async fn a_canary_that_fails_is_what_the_policy_says_and_then_left_out() {
    let config = PluginConfig {
        breaker: breaker(2, Duration::from_secs(3600)),
        on_failure: FailurePolicy::Reject,
        ..PluginConfig::default()
    };
    let set = beside(&misbehaving("trap"), TrialMode::Canary { share: 100 }, None, config).build().await;
    let mut said = Vec::new();
    for number in 0..4 {
        said.push(word(&set.rcpt(recipient(number)).await.1));
    }
    assert_eq!(said, ["reject", "reject", "proceed", "proceed"]);
    let info = &set.list()[0];
    assert_eq!((info.calls, info.state, info.candidate.as_ref().unwrap().state), (2, "serving", "tripped"));
}

#[tokio::test]
async fn a_candidate_ripens_once_by_its_rule() {
    let rule = |calls, divergence| Some(Promotion { calls, divergence });
    // Two of ten are decided otherwise, one edits otherwise, one fails: the longest run without a failure is nine.
    let table = [
        (misbehaving("choosy"), rule(9, 1000), true),
        (misbehaving("choosy"), rule(10, 1000), false),
        (misbehaving("choosy"), rule(9, 300), false),
        (answering(Hook::Rcpt, &saying(0, 0, "")), rule(100, 0), true),
        (answering(Hook::Rcpt, &saying(0, 0, "")), rule(101, 0), false),
        (answering(Hook::Rcpt, &saying(1, 0, "")), rule(100, 999), false),
        (answering(Hook::Rcpt, &saying(1, 0, "")), rule(100, 1000), true),
    ];
    for (row, (candidate, promote, ripe)) in table.into_iter().enumerate() {
        let config = PluginConfig { breaker: None, ..PluginConfig::default() };
        let mut fixture = beside(&candidate, TrialMode::Shadow, promote, config);
        let (events, mut heard) = Events::channel();
        fixture.services.events = events;
        let set = fixture.try_build(3, Build::Strict).await.unwrap();
        for number in 0..100 {
            set.rcpt(recipient(number)).await;
            settled(&set).await;
        }
        let told = heard.try_recv();
        let expected = ripe.then(|| Event::Ripe { generation: 3, plugin: "p".into() });
        assert_eq!(told.ok(), expected, "row {row}");
        assert!(heard.try_recv().is_err(), "row {row}: once");
    }
}

#[tokio::test]
async fn a_canary_ripens_by_its_calls() {
    let accept = answering(Hook::Rcpt, &saying(1, 0, ""));
    let promote = Some(Promotion { calls: 50, divergence: 0 });
    let mut fixture = beside(&accept, TrialMode::Canary { share: 100 }, promote, PluginConfig::default());
    let (events, mut heard) = Events::channel();
    fixture.services.events = events;
    let set = fixture.build().await;
    for number in 0..49 {
        set.rcpt(recipient(number)).await;
    }
    assert!(heard.try_recv().is_err());
    set.rcpt(recipient(49)).await;
    assert_eq!(heard.try_recv(), Ok(Event::Ripe { generation: 1, plugin: "p".into() }));
}

#[tokio::test]
async fn a_candidate_that_can_not_be_loaded_is_named_and_costs_nobody_else() {
    let fixture = beside(b"nonsense", TrialMode::Shadow, None, PluginConfig::default());
    let refused = fixture.try_build(1, Build::Strict).await.unwrap_err();
    let said = refused.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("plugins.p.candidate: this is no WebAssembly component"), "{said}");
    let set = fixture.try_build(1, Build::Lenient).await.unwrap();
    assert_eq!(set.rcpt(recipient(0)).await.1, SessionVerdict::Proceed);
    assert!(set.is_ready());
    let info = &set.list()[0];
    let candidate = info.candidate.as_ref().unwrap();
    assert_eq!((info.state, candidate.state, candidate.mode), ("serving", "failed", "shadow"));
    assert!(set.trial("p").unwrap_err().contains("plugins.p.candidate"));
    assert!(set.trial("q").unwrap_err().contains("no plugin q"));
}

#[tokio::test]
async fn a_candidate_with_another_hook_is_tried_at_those_that_both_have() {
    let mail = answering(Hook::Mail, &saying(2, 550, "no"));
    let fixture = beside(&mail, TrialMode::Canary { share: 100 }, None, PluginConfig::default());
    let set = fixture.build().await;
    assert!(!set.listens(Hook::Mail));
    assert_eq!(set.rcpt(recipient(0)).await.1, SessionVerdict::Proceed);
    let warnings = set.list()[0].warnings.join("\n");
    assert!(warnings.contains("only the candidate has on-mail"), "{warnings}");
    assert!(warnings.contains("only the version that serves has on-rcpt"), "{warnings}");
}

#[tokio::test]
async fn who_may_open_the_relay_is_known_before_anybody_is_asked() {
    let relay = |relay| PluginConfig { grants: Grants { relay, ..Grants::default() }, ..PluginConfig::default() };
    let accept = |hook| answering(hook, &saying(1, 0, ""));
    let set = Fixture::new().with_config("p", &accept(Hook::Rcpt), relay(false)).build().await;
    assert!(!set.may_authorize());
    let stranger = || Subject { unauthorized: true, ..at_rcpt() };
    assert_eq!(set.rcpt(stranger()).await.1, SessionVerdict::Proceed);
    let set = Fixture::new().with_config("p", &accept(Hook::Rcpt), relay(true)).build().await;
    assert!(set.may_authorize());
    assert_eq!(set.rcpt(stranger()).await.1, SessionVerdict::Accept);
    let elsewhere = Fixture::new().with_config("p", &accept(Hook::Mail), relay(true)).build().await;
    assert!(!elsewhere.may_authorize(), "granted, and not bound to rcpt");
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted() {
    let config = PluginConfig { breaker: None, ..PluginConfig::default() };
    let proceed = answering(Hook::Rcpt, &saying(0, 0, ""));
    let set = beside(&proceed, TrialMode::Shadow, None, config.clone()).build().await;
    // Nothing here waits, so that no shadow is asked before all is said.
    for number in 0..5000 {
        set.rcpt(recipient(number)).await;
    }
    let report = settled(&set).await;
    let tally = &report.hooks[0];
    assert_eq!((tally.same + tally.skipped, tally.skipped), (5000, 5000 - 4096));

    let proceed = answering(Hook::Message, &saying(0, 0, ""));
    let mut fixture = Fixture::new().with_config("p", &proceed, config);
    let path = fixture.path("p");
    let candidate = Candidate { path, sha256: None, mode: TrialMode::Shadow, config: None, promote: None };
    fixture.config.plugins.get_mut("p").unwrap().candidate = Some(candidate);
    let set = fixture.build().await;
    let message = Arc::new(MessageFacts {
        received_at: Timestamp::from_secs(1),
        header: Header::parse(bytes::Bytes::from_static(b"Subject: x\r\n")),
        separator: true,
        body: Content::Memory(vec![b'x'; 1 << 20].into()),
    });
    for _ in 0..100 {
        set.message(Subject { message: Some(message.clone()), ..subject() }).await;
    }
    let report = settled(&set).await;
    let tally = &report.hooks[0];
    assert_eq!((tally.same, tally.skipped), (63, 37), "64 MiB, less the header sections");
}

#[test]
fn the_lot_is_that_of_the_session_or_of_the_message() {
    let at_rcpt = recipient(7);
    let session = Subject { session: at_rcpt.session.clone(), ..Subject::default() };
    assert_eq!(lot(&at_rcpt), lot(&session), "whatever else is known");
    let lots: std::collections::BTreeSet<u8> = (0..2000).map(|number| lot(&recipient(number))).collect();
    assert_eq!((lots.first(), lots.last(), lots.len()), (Some(&0), Some(&99), 100));
    let requeued = Subject { session: None, ..at_rcpt };
    let other = Subject { candidate: None, ..requeued.clone() };
    assert_eq!(lot(&requeued), lot(&other));
    assert_eq!(lot(&at_delivery()), lot(&at_delivery()));
}

#[tokio::test]
async fn a_shadow_keeps_its_own_count() {
    let kv = Some(KvQuota { bytes: 1000, keys: 10 });
    let config = PluginConfig { grants: Grants { kv, ..Grants::default() }, ..PluginConfig::default() };
    let count = misbehaving("count");
    let mut fixture = Fixture::new().with_config("p", &count, config);
    let path = fixture.path("p");
    let candidate = Candidate { path, sha256: None, mode: TrialMode::Shadow, config: None, promote: None };
    fixture.config.plugins.get_mut("p").unwrap().candidate = Some(candidate);
    let set = fixture.build().await;
    let mut said = Vec::new();
    for number in 0..3 {
        said.push(word(&set.rcpt(recipient(number)).await.1));
        let report = settled(&set).await;
        // It begins with what is there, so that it counts the first recipient twice: proof that it may write.
        assert_eq!((report.hooks[0].same, report.hooks[0].verdict), [(1, 0), (1, 1), (2, 1)][number as usize]);
    }
    assert_eq!(said, ["proceed", "proceed", "reject"], "the third, as if nobody else counted");
}
