//! Commands by filter, and rules in force, over the real store.

use super::*;
use crate::hooks::NextHop;

async fn do_it(bench: &Bench, filter: &str, command: Command) -> u64 {
    bench.queue.command(&Filter::parse(filter).unwrap(), command).await.unwrap()
}

fn by_id(bench: &Bench, id: QueueId) -> Arc<Record> {
    bench.queue.list(&Filter::ids([id]), None, 1).unwrap().pop().unwrap()
}

/// What of it is due now, without waiting for more.
async fn due(bench: &Bench) -> Vec<(QueueId, Vec<u32>)> {
    let leases = tokio::time::timeout(Duration::from_millis(200), bench.queue.lease(10)).await.unwrap_or_default();
    leases.iter().map(|lease| (lease.record.id, lease.recipients.clone())).collect()
}

#[tokio::test]
async fn a_command_touches_only_the_recipients_that_fit() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let id = bench.accept(&["a@x.test", "b@y.test"], b"body").await;
    assert_eq!(do_it(&bench, "domain = y.test", Command::Hold("odd".into())).await, 1);
    assert_eq!(bench.queue.counts().held, 0, "some of it goes on");
    assert_eq!(due(&bench).await, [(id, vec![0])]);
    assert_eq!(do_it(&bench, "domain = x.test", Command::Hold("too".into())).await, 1);
    assert_eq!((bench.queue.counts().held, due(&bench).await), (1, Vec::new()), "now all of it is");
    assert_eq!(do_it(&bench, "reason = odd", Command::Release).await, 1);
    assert_eq!((bench.queue.counts().held, due(&bench).await), (0, vec![(id, vec![1])]));
    assert_eq!(do_it(&bench, "domain = y.test", Command::Remove).await, 1);
    assert_eq!((bench.queue.counts().messages, bench.queue.counts().held), (1, 1));
    assert_eq!(do_it(&bench, "all", Command::Remove).await, 1);
    assert_eq!(bench.queue.counts(), Counts::default());
    assert_eq!(do_it(&bench, "all", Command::Remove).await, 0);
}

#[tokio::test]
async fn what_is_bounced_while_it_is_tried_ends_after_the_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let id = bench.accept(&["a@x.test", "b@x.test"], b"body").await;
    let lease = bench.one().await;
    assert_eq!(do_it(&bench, "recipient = a@x.test", Command::Bounce("spam".into())).await, 1);
    bench.queue.settle(lease, vec![retry(0, later(300)), retry(1, later(300))], None, Vec::new()).await.unwrap();
    let record = by_id(&bench, id);
    assert!(record.recipients[0].state.is_refused() && !record.recipients[1].state.is_refused());
    assert_eq!(due(&bench).await, [(id, vec![0])], "at once, and without the other");
}

#[tokio::test]
async fn what_is_asked_of_recipients_while_they_are_tried_holds_for_what_is_left_of_them() {
    let route = |name: &str| Arc::new(Route { hops: vec![NextHop::Named(name.into())], ..Route::default() });
    let at = later(7200);
    let reschedule = Command::Reschedule { at, spread: Duration::ZERO };
    let tried = Change::Retry { at: later(300), counted: true, route: Some(route("old")), warned: true };
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let rule = bench.queue.add_rule(RuleKind::Suspend, Filter::contains("tag", "x"), "".into(), None, "".into()).await;
    let parked = Change::Park { at: later(86_400), rule: rule.unwrap().number };
    for (command, change, due, way, reroute) in [
        (Command::Retry { reroute: true }, &tried, START, None, true),
        (Command::Reroute(route("new")), &tried, START, Some(route("new")), false),
        (reschedule.clone(), &tried, at, None, false),
        (reschedule, &parked, at, None, false),
    ] {
        let id = bench.accept(&["a@x.test", "b@x.test"], b"body").await;
        let lease = bench.one().await;
        assert_eq!(do_it(&bench, &format!("id = {id} and recipient = a@x.test"), command.clone()).await, 1);
        let settled = |recipient| Settled { recipient, change: change.clone(), outcome: None, past: None };
        bench.queue.settle(lease, vec![settled(0), settled(1)], None, Vec::new()).await.unwrap();
        let record = by_id(&bench, id);
        let (asked, other) = (&record.recipients[0], &record.recipients[1]);
        assert_eq!((asked.state.due, &asked.route, asked.state.reroute), (due, &way, reroute), "{command:?}");
        assert_eq!((asked.state.parked, other.state.reroute), (None, false));
        match change {
            Change::Park { at, rule } => assert_eq!((other.state.due, other.state.parked), (*at, Some(*rule))),
            _ => {
                assert_eq!((asked.state.attempts, asked.state.warned), (1, true));
                assert_eq!((other.state.due, &other.route), (later(300), &Some(route("old"))));
            }
        }
        do_it(&bench, "all", Command::Remove).await;
    }
}

#[tokio::test]
async fn a_lease_stands_until_an_operator_changes_what_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let hop = Arc::new(Route { hops: vec![NextHop::Named("new".into())], ..Route::default() });
    for command in [
        Command::Hold("why".into()),
        Command::Bounce("why".into()),
        Command::Remove,
        Command::Reroute(hop),
        Command::Retry { reroute: true },
        Command::Reschedule { at: later(7200), spread: Duration::ZERO },
    ] {
        let id = bench.accept(&["a@x.test", "b@x.test"], b"body").await;
        let [one, other] = <[Lease; 2]>::try_from(bench.one().await.split(vec![vec![0], vec![1]])).unwrap();
        assert!(one.stands() && other.stands());
        assert_eq!(do_it(&bench, &format!("id = {id} and recipient = a@x.test"), command.clone()).await, 1);
        assert!(!one.stands() && other.stands(), "{command:?}");
        assert_eq!(do_it(&bench, &format!("id = {id}"), Command::Remove).await, 1);
        assert!(!other.stands());
    }
    bench.accept(&["a@x.test"], b"body").await;
    let lease = bench.one().await;
    do_it(&bench, "all", Command::Hold("all of it".into())).await;
    assert!(!lease.stands());
}

#[tokio::test]
async fn content_goes_along_where_a_fresh_message_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    for size in SIZES {
        let id = bench.accept(&["a@x.test"], &octets(size)).await;
        let at = START.plus(Duration::from_secs(3600));
        let moved = do_it(&bench, &format!("id = {id}"), Command::Reschedule { at, spread: Duration::ZERO }).await;
        assert_eq!((moved, by_id(&bench, id).due()), (1, Some(at)));
        let (_, _, body) = bench.queue.whole(id).await.unwrap().unwrap();
        assert!(body.read_at(0, size + 1).await.unwrap() == octets(size), "{size}");
    }
    assert_eq!(due(&bench).await, []);
    bench.clock.advance(Duration::from_secs(3601));
    assert_eq!(due(&bench).await.len(), SIZES.len());
}

#[tokio::test]
async fn a_walk_meets_fresh_and_tried_messages_once_in_order_and_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Config { window: 1000, ..config(folder.path()) }).await;
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(bench.accept(&["a@x.test"], b"x").await);
    }
    for lease in bench.some(300).await {
        if lease.record.id.to_u64() % 3 == 0 {
            let settled = vec![retry(0, later(600))];
            bench.queue.settle(lease, settled, None, Vec::new()).await.unwrap();
        }
    }
    let (mut seen, mut reach) = (Vec::new(), Reach { after: None, upto: None, look: 7, find: 100 });
    loop {
        let stepped = bench.queue.look(&Filter::default(), reach).await.unwrap();
        assert!(stepped.looked <= 7);
        seen.extend(stepped.found.iter().map(|found| found.record.id));
        (reach.after, reach.upto) = (stepped.next, stepped.upto);
        if reach.after.is_none() {
            break;
        }
        // It is not chased after.
        bench.accept(&["late@x.test"], b"x").await;
    }
    assert!(seen == ids, "{} of {}", seen.len(), ids.len());
}

#[tokio::test]
async fn rules_take_new_mail_and_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    {
        let bench = bench(path).await;
        let add = async |kind, text: &str, until| {
            let filter = Filter::parse(text).unwrap();
            bench.queue.add_rule(kind, filter, "why".into(), until, "uid 0".into()).await.unwrap().number
        };
        assert_eq!(add(RuleKind::Hold, "domain = held.test", None).await, 1);
        assert_eq!(add(RuleKind::Bounce, "domain = spam.test", Some(later(100))).await, 2);
        assert_eq!(add(RuleKind::Suspend, "next-hop = mx:down.test", None).await, 3);
        let id = bench.accept(&["a@held.test", "b@spam.test", "c@x.test"], b"x").await;
        let record = by_id(&bench, id);
        assert_eq!(record.recipients[0].state.held.as_deref(), Some("why"));
        assert!(record.recipients[1].state.is_refused());
        assert_eq!(due(&bench).await, [(id, vec![1, 2])]);
        let whole = bench.accept(&["a@held.test"], b"x").await;
        assert_eq!((by_id(&bench, whole).held.as_deref(), bench.queue.counts().held), (Some("why"), 1));
        bench.queue.close().await;
    }
    let bench = bench(path).await;
    assert_eq!(bench.queue.rules().in_force(START).count(), 3);
    bench.clock.advance(Duration::from_secs(101));
    let id = bench.accept(&["b@spam.test", "a@down.test"], b"x").await;
    let record = by_id(&bench, id);
    assert!(!record.recipients[0].state.is_refused(), "its time is over");
    let suspended = bench.queue.suspended(&record, &[0, 1]);
    assert_eq!(suspended.iter().map(|(index, rule)| (*index, rule.number)).collect::<Vec<_>>(), [(1, 3)]);
    assert!(bench.queue.lift_rule(99).await.unwrap().is_none());
    let next = bench.queue.add_rule(RuleKind::Hold, Filter::default(), "".into(), None, "".into()).await.unwrap();
    assert_eq!(next.number, 4, "numbers are not used again");
    assert_eq!(bench.queue.rules().in_force(bench.clock.now()).count(), 3);
}

#[tokio::test]
async fn a_queue_that_has_enough_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { messages: Some(2), octets: Some(10_000), held: None };
    let bench = bench_with(Config { bounds, ..config(folder.path()) }).await;
    bench.accept(&["a@x.test"], &octets(5000)).await;
    assert_eq!((bench.queue.has_room().is_ok(), bench.queue.counts().octets), (true, 5014));
    let id = bench.accept(&["a@x.test"], &octets(5000)).await;
    let full = bench.queue.has_room().unwrap_err();
    assert!(matches!(&full, StoreError::Full(why) if &**why == "the queue has 2 messages, its most"), "{full}");
    assert!(bench.queue.accept(bench.incoming(&["a@x.test"], b"x")).await.is_err());
    do_it(&bench, &format!("id = {id}"), Command::Remove).await;
    assert!(bench.queue.has_room().is_ok() && bench.queue.counts().octets == 5014);
    bench.accept(&["a@x.test"], &octets(9000)).await;
    do_it(&bench, "size < 6K", Command::Remove).await;
    assert_eq!(bench.queue.counts(), Counts { messages: 1, octets: 9014, ..Counts::default() });
    bench.accept(&["a@x.test"], &octets(0)).await;
    let lease = bench.some(5).await;
    for lease in lease {
        let settled = all_gone(&lease);
        bench.queue.settle(lease, settled, None, Vec::new()).await.unwrap();
    }
    assert_eq!(bench.queue.counts(), Counts::default());
}

#[tokio::test]
async fn what_waits_for_a_suspension_is_due_once_it_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let filter = Filter::parse("domain = x.test").unwrap();
    let rule = bench.queue.add_rule(RuleKind::Suspend, filter, "".into(), None, "".into()).await.unwrap();
    let id = bench.accept(&["a@x.test"], b"x").await;
    let lease = bench.one().await;
    let change = Change::Park { at: later(86_400), rule: rule.number };
    let parked = vec![Settled { recipient: 0, change, outcome: None, past: None }];
    bench.queue.settle(lease, parked, None, Vec::new()).await.unwrap();
    assert_eq!((due(&bench).await, by_id(&bench, id).recipients[0].state.attempts), (Vec::new(), 0));
    assert_eq!(bench.queue.list(&Filter::parse("suspended").unwrap(), None, 5).unwrap().len(), 1);
    bench.queue.lift_rule(rule.number).await.unwrap().unwrap();
    assert!(bench.queue.suspended(&by_id(&bench, id), &[0]).is_empty());
    while !bench.queue.rules().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.clock.advance(Duration::from_secs(11));
    assert_eq!(due(&bench).await, [(id, vec![0])]);
}

#[tokio::test]
async fn what_is_to_wait_for_a_suspension_that_is_over_by_then_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path()).await;
    let rule = bench.queue.add_rule(RuleKind::Suspend, Filter::default(), "".into(), None, "".into()).await.unwrap();
    let id = bench.accept(&["a@x.test"], b"x").await;
    let lease = bench.one().await;
    bench.queue.lift_rule(rule.number).await.unwrap().unwrap();
    while !bench.queue.rules().is_empty() {
        tokio::task::yield_now().await;
    }
    let change = Change::Park { at: later(86_400), rule: rule.number };
    let parked = vec![Settled { recipient: 0, change, outcome: None, past: None }];
    bench.queue.settle(lease, parked, None, Vec::new()).await.unwrap();
    assert_eq!(by_id(&bench, id).recipients[0].state.parked, None);
    assert_eq!(due(&bench).await, [(id, vec![0])]);
}
