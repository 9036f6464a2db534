//! Decisions and names, by tables.

use waypost_plugin::Settings as _;

use super::*;

fn settings(document: &str) -> Settings {
    Settings::read(document).unwrap().settings
}

fn findings(dmarc: Status, wish: Wish, spf: Status) -> Findings {
    Findings {
        dmarc,
        from_domain: "example.org".to_owned(),
        wish,
        spf,
        sealer: None,
        address: "192.0.2.1".parse().ok(),
        client_name: Some("Mail.lists.example".to_owned()),
    }
}

#[test]
fn what_the_domain_asks_for_is_done() {
    let usual = settings("{}");
    let strict =
        settings(r#"{"on-none": "quarantine", "spf-fail": "reject", "temperror": "proceed", "bad-from": "mark"}"#);
    for (settings, dmarc, wish, spf, action, reason) in [
        (&usual, Status::Pass, Wish::Reject, Status::Fail, Action::Proceed, Reason::Passed),
        (&usual, Status::Fail, Wish::Reject, Status::Pass, Action::Reject, Reason::Dmarc),
        (&usual, Status::Fail, Wish::Quarantine, Status::Open, Action::Quarantine, Reason::Dmarc),
        (&usual, Status::Fail, Wish::None, Status::Open, Action::Mark, Reason::Dmarc),
        (&usual, Status::Open, Wish::None, Status::Fail, Action::Proceed, Reason::Passed),
        (&usual, Status::Unsure, Wish::None, Status::Open, Action::Tempfail, Reason::Unsure),
        (&strict, Status::Fail, Wish::None, Status::Open, Action::Quarantine, Reason::Dmarc),
        (&strict, Status::Fail, Wish::None, Status::Fail, Action::Reject, Reason::Spf),
        (&strict, Status::Open, Wish::None, Status::Fail, Action::Reject, Reason::Spf),
        (&strict, Status::Pass, Wish::None, Status::Fail, Action::Proceed, Reason::Passed),
        (&strict, Status::Fail, Wish::Reject, Status::Fail, Action::Reject, Reason::Dmarc),
        (&strict, Status::Unsure, Wish::None, Status::Unsure, Action::Proceed, Reason::Unsure),
    ] {
        let decision = decide(&findings(dmarc, wish, spf), settings);
        assert_eq!((decision.action, decision.reason), (action, reason), "{dmarc:?} {wish:?} {spf:?}");
    }
}

#[test]
fn a_from_field_without_one_domain() {
    let nobody = Findings { from_domain: String::new(), ..findings(Status::Open, Wish::None, Status::Pass) };
    assert_eq!(decide(&nobody, &settings("{}")), Decision::new(Action::Reject, Reason::BadFrom));
    assert_eq!(decide(&nobody, &settings(r#"{"bad-from": "proceed"}"#)).action, Action::Proceed);
}

#[test]
fn exceptions_let_in_and_mark() {
    let fails = findings(Status::Fail, Wish::Reject, Status::Open);
    let sealed = Findings { sealer: Some("Lists.example".to_owned()), ..fails.clone() };
    for (document, findings, exception) in [
        (r#"{"trusted-sealers": ["lists.example"]}"#, &sealed, Some("arc")),
        (r#"{"trusted-sealers": ["lists.example"]}"#, &fails, None),
        (r#"{"allow-networks": ["192.0.2.0/24"]}"#, &fails, Some("network")),
        (r#"{"allow-client-names": [".lists.example"]}"#, &fails, Some("client-name")),
        (r#"{"allow-domains": ["example.org"]}"#, &fails, Some("domain")),
        (r#"{"allow-domains": [".example.org"]}"#, &fails, None),
    ] {
        let decision = decide(findings, &settings(document));
        assert_eq!(decision.exception, exception, "{document}");
        assert_eq!(decision.action, if exception.is_some() { Action::Mark } else { Action::Reject });
    }
    // A star is any domain, and nobody's address is no domain.
    let nobody = Findings { from_domain: String::new(), ..findings(Status::Open, Wish::None, Status::Pass) };
    assert_eq!(decide(&nobody, &settings(r#"{"allow-domains": ["*"]}"#)).action, Action::Reject);
}

#[test]
fn servers_are_told_by_their_name() {
    for (value, expected) in [
        ("mx.example.com; spf=pass", Some("mx.example.com")),
        (" MX.Example.COM 1; none", Some("mx.example.com")),
        ("mx.example.com.;none", Some("mx.example.com")),
        ("mx.example.com(comment); none", Some("mx.example.com")),
        ("(a (nested\\)) one) (and more) mx.example.com; none", Some("mx.example.com")),
        (r#""mx.ex\ample.com" ; none"#, Some("mx.example.com")),
        ("", None),
        ("; none", None),
        ("(never closed", None),
        ("\"never closed", None),
        ("(\\", None),
    ] {
        assert_eq!(authserv_id(value).as_deref(), expected, "{value}");
    }
}
