//! The whole way from the queue to a next hop and back, over loopback.

mod brittle;
mod knobs;
mod lanes;
mod rig;
mod sink;
mod sites;
mod tls;
mod warm_up;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rig::{Rig, Script, to};
use sink::{Sink, Taken};

use crate::delivery::config::tests::{config, named};
use crate::delivery::transmitted::local_outcome;
use crate::delivery::{Config, Destination, LaneLimits};
use crate::hooks::{
    Assignment, AttemptVerdict, BounceVerdict, Disposition, Outcome, OutcomeKind, ResultAction, RouteGroup,
    RoutingVerdict, Stage,
};
use crate::mail::{Mailbox, ReversePath};
use crate::queue::{Change, Command, Filter, Settled};
use crate::smtp::{Reply, Status};
use crate::time::Clock;

fn usual(_: usize, _: &str) -> Option<&'static str> {
    None
}

fn limited(limits: LaneLimits) -> Config {
    Config { limits, ..config() }
}

async fn take(sink: &mut Sink) -> Taken {
    tokio::time::timeout(Duration::from_secs(20), sink.taken.recv()).await.expect("in time").unwrap()
}

#[tokio::test]
async fn a_message_goes_to_its_next_hop_and_leaves_the_queue() {
    let mut sink = Sink::start(usual).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    let taken = take(&mut sink).await;
    assert_eq!((&*taken.sender, &*taken.recipients), ("sue@example.org", &["ann@example.net".to_owned()][..]));
    assert_eq!(taken.content, "Subject: hello\n\n.dot\nbye\n");
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn many_messages_share_few_connections_and_each_arrives_once() {
    let mut sink = Sink::start(usual).await;
    let limits = LaneLimits { connections: 3, messages_per_connection: 40, ..LaneLimits::default() };
    let mut rig = Rig::new(limited(limits), to(sink.address), Script::default()).await;
    for n in 0..200 {
        rig.accept(&format!("s{n}@example.org"), &["ann@example.net"]).await;
    }
    rig.run();
    let mut senders = Vec::new();
    for _ in 0..200 {
        senders.push(take(&mut sink).await.sender);
    }
    rig.empty().await;
    rig.stop().await;
    senders.sort();
    senders.dedup();
    assert_eq!(senders.len(), 200);
    assert!(sink.taken.try_recv().is_err(), "nothing twice");
    let connections = sink.connections();
    assert!((5..=8).contains(&connections), "{connections} connections for 200 messages, 40 on each");
}

#[tokio::test]
async fn an_old_connection_gets_no_more_messages() {
    for (connection_age, connections) in [(Duration::ZERO, 3), (Duration::from_secs(300), 1)] {
        let mut sink = Sink::start(usual).await;
        let limits = LaneLimits { connections: 1, idle: Duration::from_secs(60), ..LaneLimits::default() };
        let config = Config { connection_age, ..limited(limits) };
        let mut rig = Rig::new(config, to(sink.address), Script::default()).await;
        rig.run();
        for _ in 0..3 {
            rig.accept("sue@example.org", &["ann@example.net"]).await;
            take(&mut sink).await;
            rig.empty().await;
        }
        rig.stop().await;
        assert_eq!(sink.connections(), connections, "{connection_age:?}");
    }
}

#[tokio::test]
async fn recipients_of_one_next_hop_share_transactions_up_to_the_limit() {
    let mut sink = Sink::start(usual).await;
    let limits = LaneLimits { recipients: 2, ..LaneLimits::default() };
    let mut rig = Rig::new(limited(limits), to(sink.address), Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["a@example.net", "b@example.com", "c@example.net"]).await;
    let mut sizes = vec![take(&mut sink).await.recipients.len(), take(&mut sink).await.recipients.len()];
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
    rig.empty().await;
    rig.stop().await;
}

fn picky(_: usize, line: &str) -> Option<&'static str> {
    if line.starts_with("RCPT TO:<no@") {
        return Some("550 5.1.1 no such user\r\n");
    }
    line.starts_with("RCPT TO:<later@").then_some("451 4.7.1 greylisted\r\n")
}

#[tokio::test]
async fn each_recipient_has_an_outcome_of_its_own() {
    let mut sink = Sink::start(picky).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["later@example.net", "no@example.net", "yes@example.net"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["yes@example.net"]);
    let bounce = take(&mut sink).await;
    assert_eq!((&*bounce.sender, &*bounce.recipients), ("", &["sue@example.org".to_owned()][..]));
    assert!(bounce.content.contains("Final-Recipient: rfc822; no@example.net\nAction: failed\nStatus: 5.1.1\n"));
    assert!(!bounce.content.contains("later@example.net"));
    let record = rig.tried(id, 1).await;
    assert_eq!(record.recipients.len(), 1, "only the deferred one is left");
    let state = &record.recipients[0].state;
    assert_eq!(state.due, rig.clock.now().plus(Duration::from_secs(300)));
    assert_eq!(state.last.as_ref().unwrap().reply.as_ref().unwrap().to_string(), "451 4.7.1 greylisted");
    rig.stop().await;
}

#[tokio::test]
async fn the_null_reverse_path_is_never_told() {
    let sink = Sink::start(picky).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    rig.accept("", &["no@example.net"]).await;
    rig.empty().await;
    rig.stop().await;
    assert_eq!(sink.connections(), 1, "one attempt, nothing else");
}

#[tokio::test]
async fn a_recipient_that_a_plugin_failed_is_reported_and_never_sent() {
    let mut sink = Sink::start(usual).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    let refuse = |record: &mut crate::queue::Record| {
        let reply = Reply::new(550, Status::new(5, 1, 2), "we have moved");
        record.recipients[0].state.last = Some(Outcome {
            recipient: 0,
            kind: OutcomeKind::Permanent,
            stage: Stage::Queue,
            reply: Some(reply),
            error: None,
            remote: None,
            remote_endpoint: None,
            at: record.arrived,
        });
    };
    // With another recipient, and alone.
    rig.accept_with("sue@example.org", &["moved@example.net", "yes@example.net"], refuse).await;
    rig.accept_with("sue@example.org", &["moved@example.net"], refuse).await;
    rig.empty().await;
    rig.stop().await;
    let mut taken = Vec::new();
    while let Ok(message) = sink.taken.try_recv() {
        taken.push(message);
    }
    let to: Vec<_> = taken.iter().filter(|m| !m.sender.is_empty()).flat_map(|m| m.recipients.clone()).collect();
    assert_eq!(to, ["yes@example.net"]);
    let reports: Vec<_> = taken.iter().filter(|m| m.sender.is_empty()).collect();
    assert_eq!(reports.len(), 2);
    assert!(
        reports
            .iter()
            .all(|m| m.content.contains("Final-Recipient: rfc822; moved@example.net\nAction: failed\nStatus: 5.1.2\n"))
    );
}

#[tokio::test]
async fn a_dead_next_hop_is_left_alone_for_a_while() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut rig = Rig::new(config(), to(address), Script::default()).await;
    rig.run();
    let first = rig.accept("sue@example.org", &["ann@example.net"]).await;
    let record = rig.tried(first, 1).await;
    let last = record.recipients[0].state.last.clone().unwrap();
    assert_eq!((last.kind, last.stage), (OutcomeKind::Temporary, Stage::Connect));
    let second = rig.accept("sue@example.org", &["bob@example.net"]).await;
    let record = rig.tried(second, 1).await;
    let last = record.recipients[0].state.last.clone().unwrap();
    assert_eq!(last.reply.unwrap().to_string(), "450 4.4.1 the next hop could not be reached a moment ago");
    let cause = last.error.unwrap();
    assert!(cause.starts_with("451 4.4.1 the next hop can't be reached ("), "the true cause stays in sight: {cause}");
    // Unless somebody says that it is worth another look.
    rig.dispatcher.look_again();
    let third = rig.accept("sue@example.org", &["cas@example.net"]).await;
    let record = rig.tried(third, 1).await;
    let reply = record.recipients[0].state.last.clone().unwrap().reply.unwrap().to_string();
    assert!(reply.starts_with("451 4.4.1 the next hop can't be reached"), "it was tried: {reply}");
    rig.stop().await;
}

fn one_at_a_time(connection: usize, line: &str) -> Option<&'static str> {
    (connection > 0 && line.is_empty()).then_some("421 4.3.2 too many connections\r\n")
}

#[tokio::test]
async fn a_next_hop_that_lets_no_more_connections_in_gets_all_over_those_it_has() {
    let mut sink = Sink::start(one_at_a_time).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    rig.accept("first@example.org", &["ann@example.net"]).await;
    take(&mut sink).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(rig.accept("sue@example.org", &["ann@example.net"]).await);
    }
    for _ in 0..50 {
        assert_eq!(take(&mut sink).await.connection, 0);
    }
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn the_next_hop_of_a_route_is_tried_when_the_first_is_dead() {
    let mut sink = Sink::start(usual).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let mut route = to(dead);
    route.hops.push(crate::hooks::NextHop::Named("what".into()));
    route.hops.extend(to(sink.address).hops);
    let mut rig = Rig::new(config(), route, Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["ann@example.net"]);
    rig.empty().await;
    rig.stop().await;
}

/// Answers one message a connection, then closes it without a word.
fn short_lived(_: usize, line: &str) -> Option<&'static str> {
    static SEEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let again = line.starts_with("MAIL") && SEEN.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
    again.then_some("close")
}

#[tokio::test]
async fn a_connection_that_was_closed_under_us_costs_no_attempt() {
    let mut sink = Sink::start(short_lived).await;
    let limits = LaneLimits { connections: 1, ..LaneLimits::default() };
    let mut rig = Rig::new(limited(limits), to(sink.address), Script::default()).await;
    rig.accept("one@example.org", &["ann@example.net"]).await;
    rig.accept("two@example.org", &["ann@example.net"]).await;
    rig.run();
    let (one, two) = (take(&mut sink).await, take(&mut sink).await);
    assert_eq!((&*one.sender, &*two.sender), ("one@example.org", "two@example.org"));
    assert_eq!((one.connection, two.connection), (0, 1));
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn named_destinations_are_followed_and_unknown_ones_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.destinations.insert("hole".into(), Destination::Discard);
    config.destinations.insert("mail".into(), Destination::Maildir { path: folder.path().join("{local}") });
    let mut rig = Rig::new(config, named("mail"), Script::default()).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    rig.empty().await;
    let files: Vec<_> = std::fs::read_dir(folder.path().join("ann/new")).unwrap().collect();
    assert_eq!(files.len(), 1);

    rig.table.store(Arc::new(crate::routing::Table { default: Some(Arc::new(named("hole"))), ..Default::default() }));
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    rig.empty().await;

    rig.table.store(Arc::new(crate::routing::Table { default: Some(Arc::new(named("what"))), ..Default::default() }));
    let id = rig.accept("sue@example.org", &["ann@example.net"]).await;
    let record = rig.tried(id, 1).await;
    let last = record.recipients[0].state.last.clone().unwrap();
    assert_eq!(last.reply.unwrap().to_string(), "451 4.3.5 the relay does not know the way now");
    assert_eq!(last.error.as_deref(), Some("no destination is called what"));
    rig.stop().await;
}

#[tokio::test]
async fn the_attempt_hook_edits_this_attempt_only() {
    let mut sink = Sink::start(usual).await;
    let script = Script {
        attempt: Some(|subject| {
            let facts = Arc::make_mut(subject.delivery.as_mut().unwrap());
            assert_eq!((facts.attempts, facts.recipients.len()), (0, 1));
            facts.sender = ReversePath(Some(Mailbox::parse("verp-1@example.org", false).unwrap()));
            facts.prepended = [("X-Way".into(), "north".into())].into();
            Arc::make_mut(&mut facts.annotations).set("p", "1", "k", "v").unwrap();
            AttemptVerdict::Proceed
        }),
        result: Some(|subject, outcomes| {
            let facts = subject.delivery.as_ref().unwrap();
            assert!(facts.remote.is_some() && facts.annotations.get("p", "k").is_some());
            assert_eq!(outcomes[0].kind, OutcomeKind::Delivered);
            vec![]
        }),
        ..Script::default()
    };
    let mut rig = Rig::new(config(), to(sink.address), script).await;
    rig.run();
    rig.accept("sue@example.org", &["ann@example.net"]).await;
    let taken = take(&mut sink).await;
    assert_eq!(taken.sender, "verp-1@example.org");
    assert_eq!(taken.content, "X-Way: north\nSubject: hello\n\n.dot\nbye\n");
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn the_attempt_hook_holds_reroutes_and_fails() {
    let mut sink = Sink::start(usual).await;
    let script = Script {
        attempt: Some(|subject| {
            let facts = subject.delivery.as_mut().unwrap();
            match &*facts.recipients[0].mailbox.local_part {
                "hold" => {
                    Arc::make_mut(&mut Arc::make_mut(facts).annotations).set("p", "1", "k", "v").unwrap();
                    AttemptVerdict::HoldSeconds(90)
                }
                "away" => AttemptVerdict::Reroute(Arc::new(named("hole"))),
                "fail" => AttemptVerdict::Fail(Reply::new(550, Status::new(5, 7, 1), "never")),
                _ => AttemptVerdict::Proceed,
            }
        }),
        bounce: Some(|_, failed| {
            assert_eq!(failed[0].reply.as_ref().unwrap().to_string(), "550 5.7.1 never");
            BounceVerdict::Proceed
        }),
        ..Script::default()
    };
    let mut config = config();
    config.limits.recipients = 1;
    config.destinations.insert("hole".into(), Destination::Discard);
    let mut rig = Rig::new(config, to(sink.address), script).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["hold@example.net", "fail@example.net", "away@example.net"]).await;
    assert_eq!(take(&mut sink).await.recipients, ["sue@example.org"], "the bounce");
    // One that is sent from a route to itself goes round a few times and is then deferred as any other.
    rig.until(|rig| rig.record(id).is_some_and(|r| r.recipients.iter().all(|r| r.state.due > rig.clock.now()))).await;
    let record = rig.record(id).unwrap();
    let states: Vec<_> = record.recipients.iter().map(|r| (&*r.mailbox.local_part, r.state.attempts)).collect();
    assert_eq!(states, [("hold", 0), ("away", 1)]);
    assert_eq!(record.recipients[0].state.due, rig.clock.now().plus(Duration::from_secs(90)));
    assert!(record.annotations.get("p", "k").is_some(), "stored though no attempt was made");
    assert_eq!(record.recipients[1].route.as_deref(), Some(&named("hole")));
    rig.stop().await;
}

#[tokio::test]
async fn the_result_hook_has_the_last_word_and_a_bounce_can_be_suppressed() {
    let sink = Sink::start(picky).await;
    let script = Script {
        result: Some(|_, outcomes| {
            let on = |outcome: &crate::hooks::Outcome| Disposition {
                recipient: outcome.recipient,
                action: match outcome.kind {
                    OutcomeKind::Temporary => ResultAction::RetryAfterSeconds(7),
                    _ => ResultAction::Proceed,
                },
            };
            outcomes.iter().map(on).collect()
        }),
        bounce: Some(|subject, failed| {
            assert!(subject.delivery.is_some());
            assert_eq!(failed.len(), 1);
            BounceVerdict::Suppress("backscatter".into())
        }),
        ..Script::default()
    };
    let mut rig = Rig::new(config(), to(sink.address), script).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["later@example.net", "no@example.net"]).await;
    let record = rig.tried(id, 1).await;
    assert_eq!(record.recipients.len(), 1);
    assert_eq!(record.recipients[0].state.due, rig.clock.now().plus(Duration::from_secs(7)));
    assert_eq!(rig.queue.counts().messages, 1, "no bounce");
    rig.stop().await;
}

#[tokio::test]
async fn a_route_is_asked_for_again_when_an_operator_wants_it() {
    let mut sink = Sink::start(picky).await;
    let script = Script {
        route: Some(|subject| {
            let transaction = subject.transaction.as_ref().unwrap();
            assert_eq!(&**subject.message.as_ref().unwrap().header.block(), b"Subject: hello\r\n");
            let index = transaction.recipients[0].index;
            RoutingVerdict::Assign(vec![RouteGroup {
                recipients: vec![index],
                assignment: Assignment::Fail(Reply::new(550, Status::new(5, 1, 2), "moved away")),
            }])
        }),
        ..Script::default()
    };
    let mut rig = Rig::new(config(), to(sink.address), script).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["later@example.net"]).await;
    rig.tried(id, 1).await;
    let filter = Filter::ids([id]);
    rig.queue.command(&filter, Command::Retry { reroute: true }).await.unwrap();
    let bounce = take(&mut sink).await;
    assert!(bounce.content.contains("The reason: 550 5.1.2 moved away"), "{}", bounce.content);
    rig.empty().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_fault_loses_nothing_and_is_not_met_in_a_tight_loop() {
    static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let sink = Sink::start(usual).await;
    let script = Script {
        attempt: Some(|_| {
            ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            panic!("a fault of this test's making")
        }),
        ..Script::default()
    };
    let mut rig = Rig::new(config(), to(sink.address), script).await;
    rig.run();
    let id = rig.accept("sue@example.org", &["ann@example.net"]).await;
    let record = rig.tried(id, 1).await;
    assert!(record.recipients[0].state.due > rig.clock.now());
    assert_eq!(ASKED.load(std::sync::atomic::Ordering::SeqCst), 1);
    rig.stop().await;
}

#[tokio::test]
async fn mail_is_not_sent_over_and_over_when_outcomes_can_not_be_stored() {
    let mut sink = Sink::start(usual).await;
    let limits = LaneLimits { connections: 1, ..LaneLimits::default() };
    let mut rig = Rig::new(limited(limits), to(sink.address), Script::default()).await;
    for _ in 0..10 {
        rig.accept("sue@example.org", &["ann@example.net"]).await;
    }
    rig.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    rig.run();
    take(&mut sink).await;
    rig.until(|rig| rig.dispatcher.is_paused() && rig.queue.counts().leased == 0).await;
    rig.stop().await;
    assert_eq!(rig.queue.counts().messages, 10, "nothing is lost");
    // The one that was to follow over the same connection may have been on its way.
    let more = std::iter::from_fn(|| sink.taken.try_recv().ok()).count();
    assert!(more <= 1, "{more} sent after the first outcome could not be stored");
}

#[tokio::test]
async fn what_is_not_sent_at_shutdown_stays_due() {
    let sink = Sink::start(usual).await;
    let limits = LaneLimits { connections: 1, per_second: Some(1), ..LaneLimits::default() };
    let mut rig = Rig::new(limited(limits), to(sink.address), Script::default()).await;
    for _ in 0..8 {
        rig.accept("sue@example.org", &["ann@example.net"]).await;
    }
    rig.run();
    rig.until(|rig| rig.queue.counts().messages < 8).await;
    rig.stop().await;
    let counts = rig.queue.counts();
    assert!(counts.messages >= 6 && counts.leased == 0, "{counts:?}");
}

#[tokio::test]
async fn recipients_refused_at_arrival_end_without_an_attempt_and_apart_from_the_others() {
    let mut sink = Sink::start(usual).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    rig.run();
    let id = rig
        .accept_with(
            "sue@example.org",
            &["a@example.net", "no@example.net", "quiet@example.net", "b@example.net"],
            |r| {
                let reply = Reply::new(550, Status::new(5, 7, 1), "not by this relay");
                for index in [1, 2] {
                    let refused = local_outcome(index, OutcomeKind::Permanent, Stage::Queue, &reply, r.arrived);
                    r.recipients[index as usize].state.last = Some(refused);
                }
                r.recipients[2]
                    .params
                    .push(crate::mail::Param { keyword: "NOTIFY".into(), value: Some("NEVER".into()) });
            },
        )
        .await;
    let (first, second) = (take(&mut sink).await, take(&mut sink).await);
    let (mail, bounce) = if first.sender.is_empty() { (second, first) } else { (first, second) };
    assert_eq!(mail.recipients, ["a@example.net", "b@example.net"]);
    assert_eq!((&*bounce.sender, &*bounce.recipients), ("", &["sue@example.org".to_owned()][..]));
    assert!(bounce.content.contains("Final-Recipient: rfc822; no@example.net\nAction: failed\nStatus: 5.7.1\n"));
    assert!(!bounce.content.contains("quiet@") && !bounce.content.contains("Final-Recipient: rfc822; a@"));
    rig.empty().await;
    assert!(rig.record(id).is_none());
    rig.stop().await;
    assert!(sink.taken.try_recv().is_err(), "nothing else");
}

#[tokio::test]
async fn attempts_that_fail_together_on_a_full_disk_make_one_short_pause() {
    let mut sink = Sink::start(usual).await;
    let mut rig = Rig::new(config(), to(sink.address), Script::default()).await;
    for n in 0..20 {
        rig.accept(&format!("s{n}@example.org"), &["ann@example.net"]).await;
    }
    rig.full.store(true, Ordering::SeqCst);
    let before = tokio::time::Instant::now();
    let dispatcher = Arc::clone(&rig.dispatcher);
    for lease in rig.queue.lease(20).await {
        let gone = Settled { recipient: 0, change: Change::Gone, outcome: None, past: None };
        dispatcher.settle(lease, vec![gone], None, Vec::new()).await;
    }
    assert!(dispatcher.is_paused());
    rig.full.store(false, Ordering::SeqCst);
    rig.run();
    for _ in 0..20 {
        take(&mut sink).await;
    }
    assert!(before.elapsed() < Duration::from_secs(15), "one pause, not one for each");
    rig.empty().await;
    rig.stop().await;
}
