//! Counting, reasons, and who hears what.

use std::time::Duration;

use serde_json::json;

use super::*;

fn about(client: &str, address: &str) -> Event {
    let (client, addresses) = (client.parse().ok(), vec![address.to_owned()]);
    Event { client, addresses, data: json!({ "to": address }), ..Event::default() }
}

#[tokio::test]
async fn a_listener_hears_what_it_wants_and_nobody_else_costs_anything() {
    let pulse = Pulse::default();
    pulse.tell(Kind::Session, || panic!("nobody watches"));
    let watch = Watch { kinds: vec![Kind::Delivery], address: Some("example.net".into()), ..Watch::default() };
    let mut listener = pulse.watch(watch).unwrap();
    pulse.tell(Kind::Session, || panic!("nobody watches sessions"));
    pulse.tell(Kind::Delivery, || about("192.0.2.1", "ann@example.org"));
    pulse.tell(Kind::Delivery, || about("192.0.2.1", "Bob@Example.NET"));
    let heard = listener.hear().await;
    assert!(
        matches!(&heard, Heard::Event(Kind::Delivery, 2, event) if event.data["to"] == "Bob@Example.NET"),
        "{heard:?}"
    );
    drop(listener);
    assert!(!pulse.is_watched(Kind::Delivery));
    pulse.tell(Kind::Delivery, || panic!("nobody watches any more"));
}

#[tokio::test]
async fn who_is_slow_is_told_how_much_was_lost() {
    let pulse = Pulse::default();
    let client = Watch { client: "192.0.2.1".parse().ok(), ..Watch::default() };
    let (mut slow, mut other) = (pulse.watch(client).unwrap(), pulse.watch(Watch::default()).unwrap());
    for _ in 0..1030 {
        pulse.tell(Kind::Session, || about("192.0.2.1", ""));
        assert!(matches!(other.hear().await, Heard::Event(..)));
    }
    pulse.tell(Kind::Session, || about("192.0.2.2", ""));
    assert_eq!(slow.hear().await, Heard::Lost(6));
    assert!(matches!(slow.hear().await, Heard::Event(_, 1, _)));
}

#[test]
fn so_many_may_watch_and_a_place_comes_free() {
    let pulse = Pulse::default();
    let mut all: Vec<_> = std::iter::from_fn(|| pulse.watch(Watch::default())).collect();
    assert_eq!(all.len(), 32);
    all.pop();
    assert!(pulse.watch(Watch::default()).is_some() && pulse.is_watched(Kind::Audit));
}

#[test]
fn totals_and_durations_add_up() {
    let pulse = Pulse::default();
    let tally = pulse.tally();
    Tally::count(&tally.accepted);
    tally.refuse(Refused::Permanent, 2);
    tally.refuse(Refused::Authentication, 1);
    assert_eq!(tally.totals(), Totals { accepted: 1, refused: 3, ..Totals::default() });
    assert_eq!(tally.refused(Refused::Permanent), 2);
    for ms in [1, 2, 200, 3_600_000] {
        tally.attempts.observe(Duration::from_millis(ms));
    }
    let observed = tally.attempts.observed();
    assert_eq!((observed.count, observed.sum), (4, 3600.203));
    let full: Vec<_> = observed.buckets.iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(full, [&(0.001, 1), &(0.0025, 1), &(0.25, 1), &(f64::INFINITY, 1)]);
}

#[test]
fn reasons_that_differ_by_ids_are_one_and_old_ones_are_forgotten() {
    let pulse = Pulse::default();
    for (reason, minute) in [
        ("450 4.2.1 ann@example.org greylisted", 1),
        ("450 4.2.1 bob@example.net greylisted", 2),
        ("421 busy 4c7Hq12345xyz", 2),
        ("450 4.2.1 eve@example.net greylisted", 11),
    ] {
        pulse.deferred_because(reason, minute);
    }
    let top = pulse.deferral_reasons(20, 11);
    assert_eq!(top, [("450 4.2.1 … greylisted".to_owned(), 2), ("421 busy …".to_owned(), 1)]);
    (0..500).for_each(|n| pulse.deferred_because(&format!("reason {n}"), 12));
    let top = pulse.deferral_reasons(1, 12);
    assert_eq!(top, [("other reasons".to_owned(), 300)]);
    assert!(pulse.deferral_reasons(20, 40).is_empty());
}
