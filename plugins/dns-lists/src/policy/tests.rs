//! Verdicts, names and texts, by tables.

use waypost_plugin::Settings as _;

use super::*;

fn settings(document: &str) -> Settings {
    Settings::read(document).unwrap().settings
}

fn found(hits: &[(&str, i32)], failed: &[&str]) -> Found {
    let hits = hits.iter().map(|(list, weight)| Hit {
        list: (*list).to_owned(),
        weight: *weight,
        what: "192.0.2.1".to_owned(),
        code: "127.0.0.2".to_owned(),
    });
    Found { what: "192.0.2.1".to_owned(), hits: hits.collect(), failed: failed.iter().map(|&f| f.to_owned()).collect() }
}

#[test]
fn scores_are_held_against_thresholds() {
    let all = settings(r#"{"lists": [{"zone": "a.example"}], "reject-at": 5, "tempfail-at": 3, "mark-at": 1}"#);
    let patient =
        settings(r#"{"lists": [{"zone": "a.example"}], "reject-at": 5, "mark-at": 1, "on-error": "tempfail"}"#);
    for (settings, allowed, blocked, verdict, score) in [
        (&all, found(&[], &[]), found(&[], &[]), Verdict::Pass, 0),
        (&all, found(&[], &[]), found(&[("a", 1)], &[]), Verdict::Mark, 1),
        (&all, found(&[], &[]), found(&[("a", 1), ("b", 2)], &[]), Verdict::Tempfail, 3),
        (&all, found(&[], &[]), found(&[("a", 1), ("b", 5)], &[]), Verdict::Reject, 6),
        (&all, found(&[], &[]), found(&[("a", 5), ("b", -3)], &[]), Verdict::Mark, 2),
        (&all, found(&[("w", 1)], &[]), found(&[("a", 9)], &[]), Verdict::Allow, 0),
        (&all, found(&[], &["w"]), found(&[("a", 1)], &["b"]), Verdict::Mark, 1),
        (&patient, found(&[], &[]), found(&[("a", 1)], &["b"]), Verdict::Unsure, 1),
        (&patient, found(&[], &["w"]), found(&[], &[]), Verdict::Unsure, 0),
        (&patient, found(&[], &[]), found(&[("a", 5)], &["b"]), Verdict::Reject, 5),
    ] {
        let judgement = judge(&[allowed], &[blocked], settings);
        assert_eq!((judgement.verdict, judgement.score), (verdict, score), "{judgement:?}");
    }
}

#[test]
fn the_heaviest_listing_speaks() {
    let settings = settings(r#"{"lists": [{"zone": "a.example"}]}"#);
    let judgement = judge(&[], &[found(&[("a", 1), ("b", 7), ("c", 7)], &[])], &settings);
    assert_eq!(decisive(&judgement, &settings).map(|(hit, _)| hit.list.as_str()), Some("b"));
}

#[test]
fn names_in_lists() {
    for (domain, expected) in [
        ("Mail.Example.org", Some("mail.example.org.d.example")),
        ("example.org.", Some("example.org.d.example")),
        ("localhost", None),
        ("[192.0.2.1]", None),
        ("192.0.2.1", None),
        ("", None),
        ("a b.example", None),
    ] {
        assert_eq!(domain_name(domain, "d.example").as_deref(), expected, "{domain}");
    }
    assert_eq!(domain_name(&"a.".repeat(125), "d.example"), None);
    assert_eq!(address_name("192.0.2.99".parse().unwrap(), "z.example"), "99.2.0.192.z.example");
    assert_eq!(address_name("::ffff:192.0.2.99".parse().unwrap(), "z.example"), "99.2.0.192.z.example");
    let six = address_name("2001:db8:1:2:3:4:567:89ab".parse().unwrap(), "z.example");
    assert_eq!(six, "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.z.example");
}

#[test]
fn texts_are_filled_and_kept_harmless() {
    let hit = Hit { list: "zen".to_owned(), weight: 1, what: "bad.example".to_owned(), code: "127.0.0.2".to_owned() };
    let text = filled("{ip}: {what} is in {list} ({code}): {txt}", &hit, "192.0.2.1", "see {ip}");
    assert_eq!(text, "192.0.2.1: bad.example is in zen (127.0.0.2): see {ip}");
    assert_eq!(filled("{txt}", &hit, "", ""), "no reason is given");
    assert_eq!(tidy(" a\r\n250 ok\u{e9} "), "a??250 ok?");
    assert_eq!(tidy(&"x".repeat(1000)).len(), 200);
}

#[test]
fn notes_are_read_back() {
    let found = found(&[("a", 3)], &["b"]);
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Found>(&text).unwrap(), found);
}
