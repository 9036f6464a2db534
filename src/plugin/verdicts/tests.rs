//! What guests may say, and what they may not.

use super::*;
use wit::routing::HostTarget;

fn said(code: u16, status: Option<(u8, u16, u16)>, lines: &[&str]) -> wit::types::Reply {
    let status = status.map(|(kind, subject, detail)| wit::types::EnhancedStatus { kind, subject, detail });
    wit::types::Reply { code, status, lines: lines.iter().map(|l| (*l).to_owned()).collect() }
}

#[test]
fn codes_fit_their_verdict() {
    let fits = |code, class| reply(said(code, None, &["x"]), class).is_ok();
    let table: Vec<_> = [0, 199, 250, 354, 399, 421, 460, 499, 550, 599, 600, 65_535]
        .into_iter()
        .filter(|code| fits(*code, Class::Either))
        .collect();
    assert_eq!(table, [421, 550]);
    assert!(fits(421, Class::Transient) && !fits(550, Class::Transient));
    assert!(fits(550, Class::Permanent) && !fits(421, Class::Permanent));
    assert!(reply(said(550, Some((4, 7, 1)), &[]), Class::Permanent).is_err(), "status of another class");
    assert!(reply(said(550, Some((5, 1000, 1)), &[]), Class::Permanent).is_err());
    assert!(reply(said(550, None, &["x"; 17]), Class::Permanent).is_err());
}

#[test]
fn a_reply_has_words_a_status_and_no_controls() {
    let made = reply(said(450, None, &["a\r\n250 ok\u{1b}[m"]), Class::Transient).unwrap();
    assert_eq!(made.to_string(), "450 4.7.1 a  250 ok [m");
    let made = reply(said(550, Some((5, 1, 1)), &[]), Class::Permanent).unwrap();
    assert_eq!(made.to_string(), "550 5.1.1 Refused");
    let long = "é".repeat(1000);
    assert_eq!(reply(said(550, None, &[&long]), Class::Permanent).unwrap().lines[0].len(), LINE_MAX);
}

fn way(hops: Vec<wit::routing::NextHop>) -> wit::routing::Route {
    wit::routing::Route {
        hops,
        tls: wit::routing::TlsPolicy::Inherit,
        source: None,
        credential: None,
        lane: None,
        retry_schedule: None,
        expires_after_seconds: None,
        options: Vec::new(),
    }
}

#[test]
fn hops_are_names_addresses_or_sockets() {
    use wit::routing::NextHop as Said;
    let target = |host: &str, port| HostTarget { host: host.to_owned(), port };
    let good = [
        (Said::Mx("EXAMPLE.com".into()), NextHop::Mx("example.com".into())),
        (Said::Smtp(target("2001:DB8::1", 25)), NextHop::Smtp { host: "2001:db8::1".into(), port: 25 }),
        (Said::Lmtp(target("unix:/run/lmtp", 9)), NextHop::Lmtp { host: "unix:/run/lmtp".into(), port: 0 }),
        (Said::Named("archive".into()), NextHop::Named("archive".into())),
    ];
    for (said, made) in good {
        assert_eq!(next_hop(said).as_ref(), Ok(&made));
    }
    let bad = [
        Said::Mx(String::new()),
        Said::Mx("a b".into()),
        Said::Smtp(target("unix:/run/smtp", 25)),
        Said::Smtp(target("mx.example", 0)),
        Said::Smtp(target("[192.0.2.1]", 25)),
        Said::Lmtp(target("unix:run/lmtp", 0)),
        Said::Named("../etc".into()),
    ];
    for said in bad {
        assert!(next_hop(said.clone()).is_err(), "{said:?}");
    }
}

#[test]
fn routes_have_hops_and_no_unknown_options() {
    let hop = || wit::routing::NextHop::Named("a".into());
    assert!(route(way(vec![hop()])).is_ok());
    assert!(route(way(vec![])).is_err());
    assert!(route(way((0..17).map(|_| hop()).collect())).is_err());
    assert!(route(wit::routing::Route { options: vec![("x".into(), "y".into())], ..way(vec![hop()]) }).is_err());
    assert!(route(wit::routing::Route { expires_after_seconds: Some(0), ..way(vec![hop()]) }).is_err());
    assert!(route(wit::routing::Route { lane: Some("a b".into()), ..way(vec![hop()]) }).is_err());
}

#[test]
fn recipients_are_those_asked_about_each_once() {
    let group = |recipients: &[u32]| wit::routing::RouteGroup {
        recipients: recipients.into(),
        assignment: wit::routing::Assignment::Fail(said(550, None, &[])),
    };
    let groups = |groups: &[&[u32]]| route_groups(groups.iter().map(|g| group(g)).collect(), &[3, 5]).is_ok();
    assert!(groups(&[&[3], &[5]]) && groups(&[&[5]]) && groups(&[]));
    assert!(!groups(&[&[4]]) && !groups(&[&[3, 3]]) && !groups(&[&[3], &[3]]));
    let on = |recipient| wit::deliveries::RecipientDisposition {
        recipient,
        action: wit::deliveries::ResultAction::RetryAfterSeconds(60),
    };
    assert!(dispositions(vec![on(3)], [3, 5].into_iter()).is_ok());
    assert!(dispositions(vec![on(4)], [3, 5].into_iter()).is_err());
    assert!(dispositions(vec![on(3), on(3)], [3, 5].into_iter()).is_err());
}

#[test]
fn times_identities_and_prefaces_are_bounded() {
    assert!(seconds(0).is_err() && seconds(SECONDS_MAX + 1).is_err() && seconds(1).is_ok());
    let who = |name: &str, attributes: usize| wit::types::Identity {
        mechanism: "PLAIN".into(),
        name: name.into(),
        acts_as: None,
        attributes: vec![("tenant".into(), "a\nb".into()); attributes],
    };
    assert!(identity(who("", 0)).is_err() && identity(who("a", ATTRIBUTES_MAX + 1)).is_err());
    assert_eq!(&*identity(who("a", 1)).unwrap().attributes[0].1, "a b");
    assert_eq!(preface("a\r\nb\u{7}\n"), "a\nb \n");
    assert!(preface(&"x\n".repeat(10_000)).len() <= PREFACE_MAX + 1);
}
