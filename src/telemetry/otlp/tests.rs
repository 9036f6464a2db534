//! Logged records become spans that belong together, within bounds.

use std::time::Duration;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;

use super::*;

fn config(sample_percent: u8, queue: usize) -> Config {
    let endpoint = Endpoint { tls: false, host: "127.0.0.1".into(), port: 4318, path: "/v1/traces".into() };
    let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    Config { endpoint, headers: None, sample_percent, batch: 512, queue, interval, timeout, service: "waypost".into() }
}

fn logged(spans: &Spans, log: impl FnOnce()) -> Vec<Span> {
    let layer = Layer::new(spans.clone()).with_filter(filter_fn(Layer::wants));
    tracing::subscriber::with_default(Registry::default().with(layer), log);
    spans.take()
}

fn a_message(queue_id: &str) {
    let session = tracing::info_span!("session", session = "s1", client = "192.0.2.1", listener = "smtp");
    session.in_scope(|| {
        tracing::debug!(record = "decision", hook = "on-connect", plugin = "p", verdict = "proceed", wall_us = 5_u64);
        tracing::debug!(
            record = "decision",
            hook = "on-rcpt",
            plugin = "p",
            queue_id,
            verdict = "proceed",
            wall_us = 5_u64
        );
        tracing::info!("not a record");
        tracing::info!(
            record = "reception",
            outcome = "accepted",
            queue_id,
            size = 12_u64,
            took_ms = 7_u64,
            "accepted"
        );
    });
    let attempt = tracing::info_span!("attempt", queue_id, next_hop = "mx:x.test");
    attempt.in_scope(|| {
        tracing::debug!(
            record = "decision",
            hook = "on-delivery-result",
            plugin = "p",
            queue_id,
            verdict = "proceed",
            wall_us = 5_u64
        );
        tracing::info!(
            record = "attempt",
            outcome = "deferred",
            queue_id,
            remote = "mx.x.test",
            reply = "450 later",
            "deferred"
        );
        tracing::info!(record = "bounce", queue_id, notice = "n1", to = "a@x.test", action = "Failed", "notice made");
    });
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
}

#[test]
fn spans_of_a_message_belong_together() {
    let spans = Spans::new(&config(100, 100), "relay.test");
    let made = logged(&spans, || a_message("q1"));
    assert_eq!(made.len(), 7, "{made:#?}");
    let (session, reception, attempt) =
        (named(&made, "SMTP session"), named(&made, "SMTP reception"), named(&made, "SMTP delivery"));
    assert_eq!((reception.parent, reception.links.first().map(|link| link.id)), (None, Some(session.id)));
    assert_ne!(session.trace, reception.trace);
    assert_eq!((attempt.trace, attempt.parent), (reception.trace, Some(reception.id)));
    assert_eq!(attempt.links, [Context { trace: reception.trace, id: reception.id }]);
    assert_eq!(named(&made, "on-connect p").parent, Some(session.id));
    assert_eq!(named(&made, "on-rcpt p").parent, Some(reception.id));
    assert_eq!(named(&made, "on-delivery-result p").parent, Some(attempt.id));
    let notice = named(&made, "notice");
    assert_eq!(notice.links.first().map(|link| link.id), Some(attempt.id));
    assert_ne!(notice.trace, attempt.trace);
    assert_eq!(reception.end - reception.start, 7_000_000);
    assert_eq!((attempt.failed.as_deref(), attempt.events.len()), (Some("deferred"), 1));
    assert!(attempt.attributes.contains(&("server.address".into(), Value::Text("mx.x.test".into()))));
    assert!(session.attributes.contains(&("client.address".into(), Value::Text("192.0.2.1".into()))));
}

#[test]
fn ids_last_over_restarts_and_are_those_of_one_relay() {
    let one = Spans::new(&config(100, 100), "relay.test");
    let again = Spans::new(&config(100, 100), "relay.test");
    let other = Spans::new(&config(100, 100), "other.test");
    assert_eq!(one.reception("q1"), again.reception("q1"));
    assert_ne!(one.reception("q1"), other.reception("q1"));
    assert_ne!(one.reception("q1"), one.reception("q2"));
}

#[test]
fn a_trace_is_told_whole_or_not_at_all() {
    let spans = Spans::new(&config(25, 100_000), "relay.test");
    let made = logged(&spans, || (0..2000).for_each(|at| a_message(&format!("q{at}"))));
    let mut all = made;
    loop {
        let more = spans.take();
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    let receptions: Vec<_> = all.iter().filter(|span| span.name == "SMTP reception").collect();
    assert!((350..650).contains(&receptions.len()), "{}", receptions.len());
    for reception in receptions {
        let whole = all.iter().filter(|span| span.trace == reception.trace).count();
        assert_eq!(whole, 4, "reception, its decision, attempt, its decision");
    }
    let none = Spans::new(&config(0, 100), "relay.test");
    assert!(logged(&none, || (0..100).for_each(|at| a_message(&format!("q{at}")))).is_empty());
}

#[test]
fn what_does_not_fit_is_counted() {
    let spans = Spans::new(&config(100, 10), "relay.test");
    let made = logged(&spans, || (0..10).for_each(|at| a_message(&format!("q{at}"))));
    assert_eq!((made.len(), spans.counts()), (10, (0, 60)));
}

#[test]
fn values_and_events_have_a_bound() {
    let spans = Spans::new(&config(100, 10), "relay.test");
    let long = "é".repeat(10_000);
    let made = logged(&spans, || {
        let attempt = tracing::info_span!("attempt", queue_id = "q", next_hop = "h");
        attempt.in_scope(|| {
            for _ in 0..1000 {
                tracing::info!(record = "attempt", outcome = "failed", reply = long, "failed");
            }
        });
    });
    assert_eq!(made[0].events.len(), 64);
    let Value::Text(text) = &made[0].events[0].attributes[0].1 else { panic!("a text") };
    assert!(text.len() <= 1024 && text.starts_with('é'));
}
