//! Each fault costs its own verdict, within its budget, and nobody else anything.

use std::time::{Duration, Instant};

use super::*;
use crate::hooks::{FailurePolicy, MessageFacts};
use crate::mail::Header;
use crate::plugin::testing::misbehaving;
use crate::plugin::{Budget, Build, Instances, PluginConfig, PluginSet};
use crate::store::Content;

/// What a single plugin at rcpt costs, and how its failure is counted.
async fn cost(component: &[u8], config: PluginConfig) -> (String, String) {
    let set = Fixture::new().with_config("bad", component, config).build().await;
    let told = rcpt(&set).await;
    let counted = set.list()[0].failures.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    (told, counted)
}

async fn rcpt(set: &PluginSet) -> String {
    match set.rcpt(at_rcpt()).await.1 {
        SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) | SessionVerdict::Close(reply) => {
            reply.to_string()[..9].to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn every_fault_is_one_temporary_refusal() {
    let small = PluginConfig { memory: Some(1 << 20), ..PluginConfig::default() };
    let mut bad_code = saying(2, 250, "all is well");
    let mut bad_status = saying(2, 550, "no");
    (bad_status[10], bad_status[12]) = (1, 2);
    let mut bad_text = saying(2, 550, "no");
    let last = bad_text.len() - 1;
    bad_text[last] = 0xff;
    bad_code.truncate(64);
    let table = [
        (misbehaving("trap"), "trap 1"),
        (misbehaving("spin"), "cpu 1"),
        (misbehaving("grow"), "trap 1"),
        (misbehaving("recurse"), "trap 1"),
        (misbehaving("err"), "guest 1"),
        (misbehaving("wild-pointer"), "trap 1"),
        (misbehaving("half-edit"), "trap 1"),
        (answering(Hook::Rcpt, &bad_code), "invalid 1"),
        (answering(Hook::Rcpt, &bad_status), "invalid 1"),
        (answering(Hook::Rcpt, &saying(9, 550, "no such case")), "trap 1"),
        (answering(Hook::Rcpt, &bad_text), "trap 1"),
    ];
    for (at, (component, kind)) in table.into_iter().enumerate() {
        let began = Instant::now();
        let cost = cost(&component, small.clone()).await;
        assert_eq!(cost, ("451 4.3.0".to_owned(), kind.to_owned()), "row {at}");
        assert!(began.elapsed() < Duration::from_secs(5), "row {at} is bounded");
    }
}

#[tokio::test]
async fn the_policy_decides_what_a_fault_costs() {
    for (on_failure, told) in
        [(FailurePolicy::Tempfail, "451 4.3.0"), (FailurePolicy::Reject, "550 5.3.0"), (FailurePolicy::Skip, "Proceed")]
    {
        let config = PluginConfig { on_failure, ..PluginConfig::default() };
        assert_eq!(cost(&misbehaving("trap"), config).await.0, told);
    }
    let config = PluginConfig { on_failure_at: [(Hook::Rcpt, FailurePolicy::Skip)].into(), ..PluginConfig::default() };
    assert_eq!(cost(&misbehaving("trap"), config).await.0, "Proceed");
}

#[tokio::test]
async fn no_edit_of_a_failed_call_stays() {
    let config = PluginConfig { on_failure: FailurePolicy::Skip, ..PluginConfig::default() };
    let set = Fixture::new().with_config("bad", &misbehaving("half-edit"), config).build().await;
    let (after, verdict) = set.rcpt(at_rcpt()).await;
    assert_eq!(verdict, SessionVerdict::Proceed);
    assert!(after.transaction.unwrap().tags.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_leaves_the_others_fast() {
    let fixture =
        Fixture::new().with("bad", &misbehaving("spin")).with("good", &answering(Hook::Connect, &saying(1, 0, "")));
    let set = Arc::new(fixture.build().await);
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let set = set.clone();
            tokio::spawn(async move { rcpt(&set).await })
        })
        .collect();
    let began = Instant::now();
    let mut calls = 0;
    while spinning.iter().any(|task| !task.is_finished()) {
        assert_eq!(set.connect(subject()).await.1, SessionVerdict::Accept);
        calls += 1;
        tokio::task::yield_now().await;
    }
    for task in spinning {
        assert_eq!(task.await.unwrap(), "451 4.3.0");
    }
    assert!(calls > 10, "{calls} calls in {:?}", began.elapsed());
}

#[tokio::test]
async fn waiting_costs_wall_time_and_is_bounded() {
    let wait = misbehaving("wait");
    let budget = Budget { cpu: Duration::from_secs(3600), wall: Duration::from_millis(50) };
    let config = PluginConfig { budgets: [(Hook::Message, budget)].into(), ..PluginConfig::default() };
    let fixture = Fixture::new().with_config("bad", &wait, config);
    let set = fixture.build().await;
    let message = MessageFacts {
        received_at: Timestamp::from_secs(1),
        header: Header::parse(bytes::Bytes::from_static(b"Subject: x\r\n")),
        separator: true,
        body: spooled(&fixture).await,
    };
    let (_, verdict) = set.message(Subject { message: Some(Arc::new(message)), ..subject() }).await;
    assert!(matches!(verdict, MessageVerdict::Tempfail(reply) if reply.code == 451));
    assert_eq!(set.list()[0].failures, [("wall", 1)].into());
}

/// A body on the disk: each read goes to another thread and back.
async fn spooled(fixture: &Fixture) -> Content {
    let mut draft = fixture.services.spool.draft();
    draft.append(&vec![b'x'; 1 << 20]).await.unwrap();
    let content = draft.finish().await.unwrap();
    assert!(matches!(content, Content::Spooled(_)));
    content
}

#[tokio::test]
async fn a_slot_that_never_comes_free_is_a_failure() {
    let config = PluginConfig {
        concurrency: 1,
        budgets: [(Hook::Rcpt, Budget { cpu: Duration::from_millis(1500), wall: Duration::from_secs(60) })].into(),
        ..PluginConfig::default()
    };
    let set = Arc::new(Fixture::new().with_config("bad", &misbehaving("spin"), config).build().await);
    let (first, second) = (set.clone(), set.clone());
    let (first, second) = tokio::join!(tokio::spawn(async move { rcpt(&first).await }), rcpt(&second));
    assert_eq!((first.unwrap(), second), ("451 4.3.0".to_owned(), "451 4.3.0".to_owned()));
    assert_eq!(set.list()[0].failures, [("busy", 1), ("cpu", 1)].into());
}

#[tokio::test]
async fn a_kept_handle_reaches_no_other_mail() {
    let set = Fixture::new().with("bad", &misbehaving("keep-handle")).build().await;
    assert_eq!(rcpt(&set).await, "Proceed");
    assert_eq!(rcpt(&set).await, "451 4.3.0", "the second call uses the first one's handle");
    assert_eq!(rcpt(&set).await, "Proceed", "a new instance");
    let late = Fixture::new().with("late", &misbehaving("drop-late")).build().await;
    for _ in 0..20 {
        assert_eq!(rcpt(&late).await, "Proceed", "dropping late is harmless");
    }
    assert_eq!(late.list()[0].instances_made, 1);
}

#[tokio::test]
async fn instances_are_used_again_or_not_as_the_operator_says() {
    let component = answering(Hook::Rcpt, &saying(1, 0, ""));
    for (instances, made) in [(Instances::Warm, 1), (Instances::Fresh, 21)] {
        let config = PluginConfig { instances: Some(instances), ..PluginConfig::default() };
        let set = Fixture::new().with_config("p", &component, config).build().await;
        for _ in 0..20 {
            assert_eq!(rcpt(&set).await, "Accept");
        }
        let info = &set.list()[0];
        assert_eq!((info.calls, info.instances_made), (20, made));
        set.sweep(Timestamp::from_secs(0));
        set.sweep(Timestamp::from_secs(0));
        assert_eq!(set.list()[0].instances_idle, 0, "idle ones go");
        assert_eq!(rcpt(&set).await, "Accept");
    }
}

#[tokio::test]
async fn what_is_not_loaded_answers_by_its_policy() {
    let fixture = Fixture::new().with("bad", b"nonsense").with("good", &answering(Hook::Rcpt, &saying(1, 0, "")));
    let refused = fixture.try_build(1, Build::Strict).await.unwrap_err();
    assert_eq!(refused.len(), 1);
    let set = fixture.try_build(1, Build::Lenient).await.unwrap();
    assert!(!set.is_ready() && set.listens(Hook::Bounce));
    assert_eq!(rcpt(&set).await, "451 4.3.0");
    assert!(matches!(set.connect(subject()).await.1, SessionVerdict::Tempfail(reply) if reply.code == 421));
    assert_eq!(set.bounce(at_delivery(), outcomes()).await.1, BounceVerdict::Proceed);
    let states: Vec<_> = set.list().iter().map(|info| info.state).collect();
    assert_eq!(states, ["failed", "serving"]);
}
