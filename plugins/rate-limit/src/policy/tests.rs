//! Keys, windows and thresholds, by tables.

use waypost_plugin::Settings as _;

use super::*;

fn settings(limit: &str) -> Settings {
    Settings::read(&format!(r#"{{"limits": [{{"name": "l", "max": 100, "per": "1h", {limit}}}]}}"#)).unwrap().settings
}

fn facts() -> Facts {
    Facts {
        address: "192.0.2.77".parse().ok(),
        listener: "smtp".to_owned(),
        account: Some("ann".to_owned()),
        may_relay: false,
        sender: Some(Mailbox { local_part: "Ann".to_owned(), domain: "example.org".to_owned() }),
        recipient: Some(Mailbox { local_part: "Bob".to_owned(), domain: "example.com".to_owned() }),
    }
}

#[test]
fn keys_tell_apart_what_the_operator_wants() {
    for (limit, expected) in [
        (r#""by": ["client"]"#, Some("192.0.2.77")),
        (r#""by": ["network"]"#, Some("192.0.2.0/24")),
        (r#""by": ["sender"]"#, Some("ann@example.org")),
        (r#""by": ["sender-domain", "recipient-domain"]"#, Some("example.org example.com")),
        (r#""by": ["account"]"#, Some("ann")),
        (r#""by": ["recipient"]"#, Some("bob@example.com")),
        (r#""by": ["listener", "client"]"#, Some("smtp 192.0.2.77")),
        (r#""by": ["everybody"]"#, Some("everybody")),
        (r#""by": ["client"], "for": "authenticated""#, Some("192.0.2.77")),
        (r#""by": ["client"], "for": "unauthenticated""#, None),
    ] {
        let settings = settings(limit);
        assert_eq!(key(&settings.limits[0], &facts(), &settings).as_deref(), expected, "{limit}");
    }
    let settings = settings(r#""by": ["account", "client"]"#);
    assert_eq!(key(&settings.limits[0], &Facts { account: None, ..facts() }, &settings), None);
    assert_eq!(key(&settings.limits[0], &Facts { address: None, ..facts() }, &settings), None);
}

#[test]
fn each_limit_counts_at_one_station() {
    for (limit, expected) in [
        (r#""by": ["client"], "count": "connections""#, Station::Connect),
        (r#""by": ["client"]"#, Station::Mail),
        (r#""by": ["client", "recipient-domain"]"#, Station::Rcpt),
        (r#""by": ["client"], "count": "recipients""#, Station::Rcpt),
    ] {
        let settings = settings(limit);
        let at: Vec<_> = [Station::Connect, Station::Mail, Station::Rcpt]
            .into_iter()
            .filter(|station| counts_at(&settings.limits[0], *station))
            .collect();
        assert_eq!(at, [expected], "{limit}");
    }
}

#[test]
fn periods_follow_one_another() {
    for (now, period, expected) in
        [(0, 3600, (0, 3600)), (3599, 3600, (0, 1)), (3600, 3600, (3600, 3600)), (-1, 60, (-60, 1))]
    {
        assert_eq!(window(now, period), expected);
    }
}

#[test]
fn a_threshold_is_passed_once() {
    let settings = settings(r#""by": ["client"], "warn-at": 80"#);
    let limit = &settings.limits[0];
    for (used, cost, of, expected) in [
        (79, 1, 100, false),
        (80, 1, 100, true),
        (81, 1, 100, false),
        (81, 5, 100, true),
        (1, 1, 1, true),
        (2, 1, 3, false),
        (3, 1, 3, true),
    ] {
        assert_eq!(crosses(limit, used, cost, of), expected, "{used} of {of}");
    }
}

#[test]
fn long_keys_stay_apart() {
    let settings = settings(r#""by": ["client"]"#);
    let limit = &settings.limits[0];
    let (one, other) = (format!("{}1", "\u{fc}".repeat(300)), format!("{}2", "\u{fc}".repeat(300)));
    assert_ne!(counter(limit, &one), counter(limit, &other));
    assert!(counter(limit, &one).len() < 512);
    assert_eq!(counter(limit, "192.0.2.1"), "l:192.0.2.1");
}

#[test]
fn what_was_counted_is_known_within_its_transaction() {
    let mut counted = Counted::read(None, "A1");
    assert!(!counted.has("l:x"));
    counted.add("l:x");
    let note = counted.text().to_owned();
    assert!(Counted::read(Some(note.clone()), "A1").has("l:x"));
    assert!(!Counted::read(Some(note.clone()), "A1").has("l:y"));
    assert!(!Counted::read(Some(note), "A2").has("l:x"));
    for n in 0..10_000 {
        counted.add(&n.to_string());
    }
    assert!(counted.text().len() < 13 * 1024);
}

#[test]
fn replies_say_how_long() {
    let settings = settings(r#""by": ["client"], "text": "451 4.7.1 {key}: wait {wait} s""#);
    let reply = refusal(&settings.limits[0], "192.0.2.1", 0);
    assert_eq!((reply.code, reply.lines), (451, vec!["192.0.2.1: wait 1 s".to_owned()]));
}
