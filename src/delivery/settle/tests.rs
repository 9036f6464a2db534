use super::*;
use crate::hooks::{NextHop, Stage};
use crate::mail::{Annotations, BodyKind, Mailbox, Param, QueueId, ReversePath};
use crate::queue::{BodyPlace, RecipientState};
use crate::smtp::Status;

const ARRIVED: Timestamp = Timestamp::from_secs(1_000_000);
const DAY: u64 = 86_400;

fn after(secs: u64) -> Timestamp {
    ARRIVED.plus(Duration::from_secs(secs))
}

fn record(sender: Option<&str>, params: &[(&str, &str)], warned: bool, attempts: u32) -> Record {
    let mailbox = Mailbox::parse("ann@example.net", false).unwrap();
    let params = params.iter().map(|(k, v)| Param { keyword: (*k).into(), value: Some((*v).into()) }).collect();
    let state = RecipientState { attempts, warned, ..RecipientState::new(ARRIVED) };
    Record {
        id: QueueId::from_u64(1),
        arrived: ARRIVED,
        origin: None,
        sender: ReversePath(sender.map(|text| Mailbox::parse(text, false).unwrap())),
        sender_params: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        recipients: vec![QueuedRecipient { index: 3, original: mailbox.clone(), mailbox, params, route: None, state }],
        annotations: Annotations::default(),
        tags: Vec::new(),
        held: None,
        head_size: 0,
        body_size: 0,
        body: BodyPlace::Inline,
    }
}

fn outcome(kind: OutcomeKind) -> Outcome {
    Outcome {
        recipient: 3,
        kind,
        stage: Stage::Rcpt,
        reply: Some(Reply::new(450, Status::new(4, 2, 0), "said")),
        error: None,
        remote: Some("mx.test".into()),
        remote_endpoint: None,
        at: ARRIVED,
    }
}

fn route() -> Arc<Route> {
    Arc::new(Route { hops: vec![NextHop::Mx("other.test".into())], ..Route::default() })
}

/// A settlement in short: what became of the recipient, what is told.
fn settle(record: &Record, now: Timestamp, kind: OutcomeKind, action: Option<ResultAction>) -> (String, String) {
    settle_as(record, now, kind, action, Reporting::Relayed, true)
}

fn settle_as(
    record: &Record,
    now: Timestamp,
    kind: OutcomeKind,
    action: Option<ResultAction>,
    reporting: Reporting,
    may_reroute: bool,
) -> (String, String) {
    let schedule = Schedule { jitter_percent: 0, ..Schedule::default() };
    let recipients: Vec<Recipient> = record.recipients.iter().map(QueuedRecipient::recipient).collect();
    let case = Case {
        record,
        recipients: &recipients,
        schedule: &schedule,
        fresh: None,
        reporting,
        next_hop: "mx.test",
        not_before: None,
        hop: None,
        took: Duration::from_millis(70),
        now,
        random: 0.5,
    };
    let dispositions: Vec<_> = action.map(|action| Disposition { recipient: 3, action }).into_iter().collect();
    let ending = decide(&case, vec![outcome(kind)], &dispositions, &mut || may_reroute);
    assert_eq!(ending.settled.len(), 1, "each recipient gets exactly one new state");
    let settled = &ending.settled[0];
    assert_eq!((settled.recipient, settled.outcome.as_ref().unwrap().recipient), (3, 3));
    let became = match &settled.change {
        Change::Gone => "gone".to_owned(),
        Change::Park { .. } => panic!("an attempt suspends nobody"),
        Change::Retry { at, counted, route, warned } => {
            assert!(counted, "an attempt was made");
            assert_eq!(settled.outcome.as_ref().unwrap().kind, OutcomeKind::Temporary);
            let rerouted = if route.is_some() { " rerouted" } else { "" };
            let warned = if *warned { " warned" } else { "" };
            format!("in {}{rerouted}{warned}", at.since(now).as_secs())
        }
    };
    let told = ending.told.iter().map(|(action, outcome)| match action {
        Action::Failed => format!("{:?} {}", outcome.kind, outcome.reply.as_ref().unwrap()),
        Action::Delayed { until } => format!("delayed until {}", until.since(ARRIVED).as_secs()),
        other => format!("{other:?}"),
    });
    (became, told.collect::<Vec<_>>().join(", "))
}

fn pair(became: &str, told: &str) -> (String, String) {
    (became.to_owned(), told.to_owned())
}

#[test]
fn every_outcome_meets_every_action() {
    use OutcomeKind::{Delivered, Expired, Permanent, Temporary};
    let no = || ResultAction::Bounce(Reply::new(550, Status::new(5, 7, 1), "no"));
    let forget = || ResultAction::Forget("spam trap".into());
    let later = || ResultAction::RetryAfterSeconds(90);
    let other = || ResultAction::Reroute(route());
    let table: [(OutcomeKind, Option<ResultAction>, &str, &str); 20] = [
        (Delivered, None, "gone", ""),
        (Delivered, Some(later()), "gone", ""),
        (Delivered, Some(other()), "gone", ""),
        (Delivered, Some(no()), "gone", ""),
        (Delivered, Some(forget()), "gone", ""),
        (Temporary, None, "in 300", ""),
        (Temporary, Some(ResultAction::Proceed), "in 300", ""),
        (Temporary, Some(later()), "in 90", ""),
        (Temporary, Some(ResultAction::RetryAfterSeconds(0)), "in 1", ""),
        (Temporary, Some(other()), "in 0 rerouted", ""),
        (Temporary, Some(no()), "gone", "Permanent 550 5.7.1 no"),
        (Temporary, Some(forget()), "gone", ""),
        (Permanent, None, "gone", "Permanent 450 4.2.0 said"),
        (Permanent, Some(later()), "in 90", ""),
        (Permanent, Some(other()), "in 0 rerouted", ""),
        (Permanent, Some(no()), "gone", "Permanent 550 5.7.1 no"),
        (Permanent, Some(forget()), "gone", ""),
        (Expired, None, "gone", "Expired 450 4.2.0 said"),
        (Expired, Some(no()), "gone", "Permanent 550 5.7.1 no"),
        (Expired, Some(forget()), "gone", ""),
    ];
    let record = record(Some("sue@example.org"), &[], false, 0);
    for (kind, action, became, told) in table {
        let is = settle(&record, after(10), kind, action.clone());
        assert_eq!(is, pair(became, told), "{kind:?} {action:?}");
    }
}

#[test]
fn a_deferral_is_warned_of_once_and_given_up_in_the_end() {
    let fresh = record(Some("sue@example.org"), &[], false, 9);
    let warned = record(Some("sue@example.org"), &[], true, 9);
    let silent = record(Some("sue@example.org"), &[("NOTIFY", "FAILURE")], false, 9);
    let null = record(None, &[], false, 9);
    let t = OutcomeKind::Temporary;
    assert_eq!(settle(&fresh, after(4 * 3600), t, None), pair("in 14400 warned", "delayed until 432000"));
    assert_eq!(settle(&warned, after(4 * 3600), t, None), pair("in 14400 warned", ""));
    assert_eq!(settle(&silent, after(4 * 3600), t, None), pair("in 14400 warned", ""), "told nobody, but decided");
    assert_eq!(settle(&fresh, after(5 * DAY), t, None), pair("gone", "Expired 450 4.2.0 said"));
    assert_eq!(settle(&null, after(DAY), t, None), pair("gone", ""), "nobody is told");
    assert_eq!(settle(&null, after(4 * 3600), t, None), pair("in 14400", ""));
}

#[test]
fn no_plugin_prolongs_a_message_beyond_its_time() {
    let old = record(Some("sue@example.org"), &[], true, 9);
    let gone = pair("gone", "Expired 450 4.2.0 said");
    let t = OutcomeKind::Temporary;
    assert_eq!(settle(&old, after(5 * DAY), t, Some(ResultAction::RetryAfterSeconds(60))), gone);
    assert_eq!(settle(&old, after(5 * DAY), t, Some(ResultAction::Reroute(route()))), gone);
    let last = settle(&old, after(5 * DAY - 30), t, Some(ResultAction::RetryAfterSeconds(60)));
    assert_eq!(last, pair("in 30 warned", ""), "one last try at the give-up time");
}

#[test]
fn a_circle_of_routes_becomes_a_deferral() {
    let record = record(Some("sue@example.org"), &[], false, 1);
    let action = Some(ResultAction::Reroute(route()));
    let is = settle_as(&record, after(10), OutcomeKind::Permanent, action, Reporting::Relayed, false);
    assert_eq!(is, pair("in 600 rerouted", ""));
}

#[test]
fn success_is_told_to_those_who_asked_if_nobody_else_will() {
    let asked = record(Some("sue@example.org"), &[("NOTIFY", "SUCCESS")], false, 0);
    let not = record(Some("sue@example.org"), &[], false, 0);
    let null = record(None, &[("NOTIFY", "SUCCESS")], false, 0);
    for (record, reporting, told) in [
        (&asked, Reporting::Relayed, "Relayed"),
        (&asked, Reporting::Delivered, "Delivered"),
        (&asked, Reporting::NextHop, ""),
        (&not, Reporting::Relayed, ""),
        (&null, Reporting::Relayed, ""),
    ] {
        let is = settle_as(record, after(1), OutcomeKind::Delivered, None, reporting, true);
        assert_eq!(is, pair("gone", told), "{reporting:?}");
    }
}

#[test]
fn never_means_never() {
    let record = record(Some("sue@example.org"), &[("NOTIFY", "NEVER")], false, 0);
    let t = [OutcomeKind::Delivered, OutcomeKind::Permanent, OutcomeKind::Expired];
    for kind in t {
        assert_eq!(settle(&record, after(5), kind, None), pair("gone", ""));
    }
}

#[test]
fn a_fresh_route_is_stored_with_the_deferral_and_strangers_are_left_alone() {
    let record = record(Some("sue@example.org"), &[], false, 0);
    let recipients: Vec<Recipient> = record.recipients.iter().map(QueuedRecipient::recipient).collect();
    let (schedule, given) = (Schedule::default(), route());
    let case = Case {
        record: &record,
        recipients: &recipients,
        schedule: &schedule,
        fresh: Some(&given),
        reporting: Reporting::Relayed,
        next_hop: "mx.test",
        not_before: None,
        hop: Some(&NextHop::Mx("mx.test".into())),
        took: Duration::from_millis(70),
        now: after(1),
        random: 0.5,
    };
    let stranger = Outcome { recipient: 77, ..outcome(OutcomeKind::Permanent) };
    let ending = decide(&case, vec![stranger, outcome(OutcomeKind::Temporary)], &[], &mut || true);
    assert_eq!(ending.settled.len(), 1);
    assert!(matches!(&ending.settled[0].change, Change::Retry { route: Some(route), .. } if *route == given));
    let past = ending.settled[0].past.clone().unwrap();
    assert_eq!((past.took_ms, &*past.hop, past.code, &*past.text), (70, "mx:mx.test", Some(450), "said"));
    assert!(ending.told.is_empty());
}
