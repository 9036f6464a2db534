//! Rules and back-offs by tables.

use regex::Regex;
use tokio::time::Instant;

use super::backoff::{Heard, heard};
use super::*;
use crate::mail::Annotations;
use crate::smtp::{Reply, Status};

fn texts(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|text| Arc::from(*text)).collect()
}

fn rule(name: &str, whom: Whom, set: Adjustments) -> Rule {
    Rule { name: name.into(), whom, set }
}

fn connections(n: usize) -> Adjustments {
    Adjustments { connections: Some(n), ..Adjustments::default() }
}

fn to_domain(patterns: &[&str]) -> Whom {
    Whom { domain: texts(patterns), ..Whom::default() }
}

fn to_mx(patterns: &[&str]) -> Whom {
    Whom { mx: texts(patterns), ..Whom::default() }
}

fn shaping() -> Shaping {
    let rules = vec![
        rule("all", Whom::default(), connections(10)),
        rule("google", to_mx(&[".google.com"]), Adjustments { per_second: Some(50), ..connections(30) }),
        rule("below", to_domain(&[".example.net"]), connections(4)),
        rule(
            "one",
            to_domain(&["a.example.net", "b.example.net"]),
            Adjustments { per_hour: Some(100), ..connections(1) },
        ),
        rule("west", Whom { source: texts(&["west"]), ..to_mx(&[".google.com"]) }, connections(7)),
        rule("acme", Whom { tenant: texts(&["acme"]), ..Whom::default() }, connections(2)),
        rule("again", to_domain(&[".example.net"]), Adjustments { recipients: Some(1), ..Adjustments::default() }),
    ];
    Shaping { rules, ..Shaping::default() }
}

#[test]
fn the_most_specific_rule_wins_for_each_setting() {
    let shaping = shaping();
    let google: Vec<Arc<str>> = texts(&["aspmx.l.google.com"]);
    let other = texts(&["mx.example.org"]);
    for (domain, hosts, source, tenant, expected, cause) in [
        (Some("example.org"), &other, None, None, 10, "all"),
        (Some("example.org"), &google, None, None, 30, "google"),
        (Some("example.org"), &google, Some("west"), None, 7, "west"),
        (Some("example.org"), &google, Some("east"), None, 30, "google"),
        (Some("x.example.net"), &google, None, None, 4, "below"),
        (Some("A.Example.net"), &google, None, None, 1, "one"),
        (Some("example.net"), &other, None, None, 10, "all"),
        (Some("example.org"), &other, None, Some("acme"), 2, "acme"),
        (Some("b.example.net"), &other, None, Some("acme"), 1, "one"),
        (None, &other, None, None, 10, "all"),
    ] {
        let place = Place { domain, hosts, source, tenant };
        let found = shaping.effective(&place, &LaneLimits::default(), None);
        assert_eq!((found.limits.connections, &*found.causes["connections"]), (expected, cause), "{place:?}");
    }
    let place = Place { domain: Some("a.example.net"), hosts: &google, ..Place::default() };
    let found = shaping.effective(&place, &LaneLimits { idle: Duration::ZERO, ..LaneLimits::default() }, None);
    let LaneLimits { per_second, per_hour, recipients, .. } = found.limits;
    assert_eq!((per_second, per_hour, recipients), (Some(50), Some(100), 1), "each from another rule");
    let causes = ["per-second", "per-hour", "recipients", "idle", "cool-down"].map(|key| &*found.causes[key]);
    assert_eq!(causes, ["google", "one", "again", "delivery.idle", "default"]);
}

#[test]
fn of_a_lane_and_a_rule_the_stricter_holds() {
    let shaping = shaping();
    let google = texts(&["aspmx.l.google.com"]);
    let place = Place { domain: Some("example.org"), hosts: &google, ..Place::default() };
    let usual = LaneLimits::default();
    let lane = |connections, per_second| LaneLimits { connections, per_second, ..usual };
    for (limits, expected) in [
        (lane(1, None), (1, Some(50), "lanes.x.connections", "google")),
        (lane(100, Some(5)), (30, Some(5), "google", "lanes.x.per-second")),
        (lane(100, Some(500)), (30, Some(50), "google", "google")),
    ] {
        let found = shaping.effective(&place, &usual, Some(("x", &limits)));
        let causes = (&*found.causes["connections"], &*found.causes["per-second"]);
        assert_eq!((found.limits.connections, found.limits.per_second, causes.0, causes.1), expected);
    }
    let fast = lane(100, None);
    let found = Shaping::default().effective(&place, &usual, Some(("fast", &fast)));
    assert_eq!(found.limits.connections, 100, "without a rule, a lane is what it says");
}

#[test]
fn domains_with_rules_of_their_own_are_counted_apart() {
    let shaping = shaping();
    let apart = |domain| shaping.apart(&Place { domain: Some(domain), ..Place::default() });
    assert_eq!(apart("example.org"), Vec::<u16>::new());
    assert_eq!(apart("c.example.net"), apart("d.example.net"));
    assert_ne!(apart("a.example.net"), apart("d.example.net"));
}

#[test]
fn a_rule_may_make_tls_stricter_only() {
    use TlsPolicy::{Encrypt, Off, Opportunistic, Verify};
    for (route, rule, expected) in [
        (Opportunistic, Some(Verify), Verify),
        (Verify, Some(Encrypt), Verify),
        (Off, Some(Encrypt), Encrypt),
        (Encrypt, None, Encrypt),
    ] {
        assert_eq!(stricter(route, rule), expected);
    }
}

#[test]
fn patterns_of_codes_and_statuses() {
    for (text, good) in [
        ("421", true),
        ("45z", true),
        ("4yz", true),
        ("5xx", true),
        ("250", false),
        ("42", false),
        ("4yz1", false),
        ("abc", false),
        ("", false),
    ] {
        assert_eq!(CodePattern::parse(text).is_some(), good, "{text}");
    }
    for (text, good) in [
        ("4.7.28", true),
        ("4.7.*", true),
        ("5.*", true),
        ("4.7", false),
        ("2.0.0", false),
        ("4.7.x", false),
        ("4..1", false),
        ("4.7.1.*", false),
        ("", false),
    ] {
        assert_eq!(StatusPattern::parse(text).is_some(), good, "{text}");
    }
}

fn reply(code: u16, status: Option<(u8, u16, u16)>, text: &str) -> Reply {
    match status {
        Some((class, subject, detail)) => Reply::new(code, Status::new(class, subject, detail), text),
        None => Reply { status: None, ..Reply::new(code, Status::new(4, 0, 0), text) },
    }
}

fn names(backoff: &[Backoff], reply: &Reply) -> Vec<String> {
    let place = Place { domain: Some("example.org"), ..Place::default() };
    heard(backoff, &place, reply).into_iter().map(|at| backoff[at].name.to_string()).collect()
}

#[test]
fn what_is_shipped_knows_complaints_and_leaves_the_rest_alone() {
    let shipped = shipped();
    assert_eq!(shipped.len(), 4, "all patterns compile");
    for (reply, expected) in [
        (
            reply(421, Some((4, 7, 0)), "Too many concurrent SMTP connections; please try again later."),
            "too-many-connections",
        ),
        (reply(421, None, "Too many simultaneous connections (in11)"), "too-many-connections"),
        (reply(421, Some((4, 3, 2)), "too many connections"), "too-many-connections"),
        (reply(450, Some((4, 2, 1)), "The user you are trying to contact is receiving mail at a rate that"), ""),
        (reply(421, Some((4, 7, 28)), "Our system has detected an unusual rate of unsolicited mail"), "rate-limited"),
        (
            reply(
                451,
                Some((4, 7, 651)),
                "The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.",
            ),
            "rate-limited",
        ),
        (reply(452, Some((4, 1, 0)), "Message rate limit exceeded"), "rate-limited"),
        (reply(421, None, "Messages from 192.0.2.1 are throttled"), "rate-limited"),
        (
            reply(550, Some((5, 7, 1)), "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"),
            "blocked",
        ),
        (reply(554, None, "Your IP address has been blacklisted"), "blocked"),
        (reply(450, Some((4, 7, 1)), "Greylisted, try again in 5 minutes"), ""),
        (reply(451, Some((4, 7, 1)), "Greylisting in action, please come back later"), ""),
        (reply(452, Some((4, 2, 2)), "Mailbox full"), ""),
        (reply(452, Some((4, 5, 3)), "Too many recipients"), ""),
        (reply(550, Some((5, 1, 1)), "No such user here"), ""),
        (reply(552, Some((5, 3, 4)), "Message too large"), ""),
        (reply(554, Some((5, 7, 1)), "Message rejected as spam"), ""),
    ] {
        assert_eq!(names(&shipped, &reply).join(" "), expected, "{reply}");
    }
}

#[test]
fn all_that_a_pattern_says_has_to_fit() {
    let complaint = Complaint {
        reply: Some(Regex::new("(?i)slow down").unwrap()),
        code: vec![CodePattern::parse("42z").unwrap()],
        status: vec![StatusPattern::parse("4.7.*").unwrap()],
    };
    let reaction = Reaction::Suspend(Duration::from_secs(60));
    let whom = to_domain(&["example.org"]);
    let backoff = [Backoff { name: "x".into(), whom, complaint, count: 1, within: Duration::ZERO, reaction }];
    for (reply, fits) in [
        (reply(421, Some((4, 7, 1)), "Slow down!"), true),
        (reply(421, Some((4, 71, 1)), "Slow down!"), false),
        (reply(421, None, "Slow down!"), false),
        (reply(451, Some((4, 7, 1)), "Slow down!"), false),
        (reply(421, Some((4, 7, 1)), "Go away"), false),
    ] {
        assert_eq!(!names(&backoff, &reply).is_empty(), fits, "{reply}");
    }
    let elsewhere = Place { domain: Some("example.net"), ..Place::default() };
    assert!(heard(&backoff, &elsewhere, &reply(421, Some((4, 7, 1)), "Slow down!")).is_empty());
}

#[test]
fn complaints_are_counted_within_their_time() {
    let mut backoff = shipped().remove(1);
    (backoff.count, backoff.within) = (3, Duration::from_secs(60));
    let mut counted = Heard::default();
    let now = Instant::now();
    let at = |secs: u64| now + Duration::from_secs(secs);
    let verdicts = [0, 50, 100, 105, 106, 107].map(|secs| counted.count(7, &backoff, at(secs)));
    // At 100 the first is too old; at 105 there are three, and counting begins anew.
    assert_eq!(verdicts, [false, false, false, true, false, false]);
    backoff.count = 1;
    assert!(counted.count(7, &backoff, at(200)));
}

#[test]
fn the_tenant_is_the_annotation_of_that_name_or_the_one_that_is_configured() {
    let mut notes = Annotations::default();
    notes.set("accounts", "1", "customer", "acme").unwrap();
    assert_eq!(shaping().tenant_of(&notes), None);
    let configured = Shaping { tenant: Some(("accounts".into(), "customer".into())), ..shaping() };
    assert_eq!(configured.tenant_of(&notes).as_deref(), Some("acme"));
    notes.set("billing", "1", "tenant", "acme").unwrap();
    assert_eq!(shaping().tenant_of(&notes).as_deref(), Some("acme"));
    notes.set("billing", "1", "tenant", "nobody").unwrap();
    assert_eq!(shaping().tenant_of(&notes), None, "no rule names it");
}
