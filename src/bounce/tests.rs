use std::sync::Arc;

use super::*;
use crate::hooks::{OutcomeKind, Stage};
use crate::smtp::{Reply, Status};

const HEAD: &[u8] = b"Received: from client.test\r\n\tby relay.test with ESMTP id 0\r\nSubject: hello\r\n\
    From: <sue@example.org>\r\n\r\n";
const BODY: &[u8] = b"Hello Ann,\r\n.dots and all\r\n";

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, true).unwrap()
}

fn recipient(address: &str, params: &[(&str, &str)]) -> Recipient {
    let params = params.iter().map(|(k, v)| Param { keyword: (*k).into(), value: Some((*v).into()) }).collect();
    Recipient { index: 0, mailbox: mailbox(address), original: mailbox(address), params }
}

fn outcome(kind: OutcomeKind, stage: Stage, reply: Option<Reply>) -> Outcome {
    Outcome {
        recipient: 0,
        kind,
        stage,
        reply,
        error: None,
        remote: Some("mx.example.net".into()),
        remote_endpoint: None,
        at: at(300),
    }
}

fn refused() -> Outcome {
    let text = "The email account that you tried to reach does not exist, please check it for typing errors";
    outcome(OutcomeKind::Permanent, Stage::Rcpt, Some(Reply::new(550, Status::new(5, 1, 1), text)))
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_473_060 + secs)
}

fn sender() -> ReversePath {
    ReversePath(Some(mailbox("sue@example.org")))
}

fn original(sender: &ReversePath) -> Original<'_> {
    Original {
        id: QueueId::from_u64(1_795_473_060_000_000 << 10),
        arrived: at(0),
        sender,
        sender_params: &[],
        smtputf8: false,
        head: HEAD,
        body: Some(BODY),
    }
}

fn frame() -> Frame<'static> {
    Frame { hostname: "relay.test", id: QueueId::from_u64(1_795_473_360_000_000 << 10), now: at(300) }
}

fn make(original: &Original<'_>, action: Action, reported: &[Reported<'_>]) -> Option<Notice> {
    notice(original, action, reported, &BounceEdit::default(), frame())
}

fn show(notice: &Notice) -> String {
    let text = [&notice.head[..], &notice.body[..]].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(text.lines().all(|line| line.len() <= 998), "{text}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "every line ends in CRLF");
    text.replace("\r\n", "\n")
}

#[test]
fn the_null_reverse_path_never_gets_one() {
    let null = ReversePath(None);
    let recipient = recipient("ann@example.net", &[("NOTIFY", "SUCCESS,FAILURE,DELAY")]);
    let outcome = refused();
    let reported = [Reported { recipient: &recipient, outcome: &outcome }];
    let redirect = BounceEdit { redirect_to: Some(mailbox("boss@example.org")), ..BounceEdit::default() };
    for action in [Action::Failed, Action::Delayed { until: at(9) }, Action::Delivered, Action::Relayed] {
        assert_eq!(make(&original(&null), action, &reported), None);
        assert_eq!(notice(&original(&null), action, &reported, &redirect, frame()), None);
    }
}

#[test]
fn notify_says_who_wants_to_hear_of_what() {
    type Case<'a> = (&'a [(&'a str, &'a str)], [bool; 5]);
    let cases: [Case<'_>; 6] = [
        (&[], [true, true, false, false, true]),
        (&[("NOTIFY", "NEVER")], [false; 5]),
        (&[("NOTIFY", "FAILURE")], [true, false, false, false, true]),
        (&[("NOTIFY", "DELAY")], [false, true, false, false, true]),
        (&[("NOTIFY", "success,failure")], [true, false, true, true, true]),
        (&[("ORCPT", "rfc822;x@y")], [true, true, false, false, true]),
    ];
    let delayed = Action::Delayed { until: at(9) };
    let actions = [Action::Failed, delayed, Action::Delivered, Action::Relayed, Action::Traced];
    for (params, wanted) in cases {
        let recipient = recipient("ann@example.net", params);
        assert_eq!(actions.map(|action| is_wanted(&recipient, action)), wanted, "{params:?}");
    }
}

#[test]
fn only_those_who_asked_are_in_the_report() {
    let (ann, bob) = (recipient("ann@example.net", &[]), recipient("bob@example.net", &[("NOTIFY", "NEVER")]));
    let outcome = refused();
    let reported = [Reported { recipient: &ann, outcome: &outcome }, Reported { recipient: &bob, outcome: &outcome }];
    let sender = sender();
    let text = show(&make(&original(&sender), Action::Failed, &reported).unwrap());
    assert!(text.contains("ann@example.net") && !text.contains("bob@example.net"), "{text}");
    assert_eq!(make(&original(&sender), Action::Failed, &reported[1..]), None);
}

#[test]
fn a_failure_reads_well() {
    let ann = recipient("ann@example.net", &[("ORCPT", "rfc822;annie+2Bwork@example.net")]);
    let mut bob = recipient("bob@example.net", &[]);
    bob.original = mailbox("robert@example.org");
    let (said, mut local) = (refused(), refused());
    local.stage = Stage::Queue;
    local.remote = None;
    local.reply = Some(Reply::new(550, Status::new(5, 7, 1), "this domain takes no mail"));
    let reported = [Reported { recipient: &ann, outcome: &said }, Reported { recipient: &bob, outcome: &local }];
    let sender = sender();
    let params = [Param { keyword: "ENVID".into(), value: Some("QQ+3D314159".into()) }];
    let original = Original { sender_params: &params, ..original(&sender) };
    let notice = make(&original, Action::Failed, &reported).unwrap();
    assert_eq!((notice.smtputf8, notice.body_kind), (false, BodyKind::SevenBit));
    insta::assert_snapshot!("failed", show(&notice));
}

#[test]
fn a_give_up_tells_how_long_it_was_tried() {
    let ann = recipient("ann@example.net", &[]);
    let mut expired = outcome(OutcomeKind::Expired, Stage::Connect, None);
    expired.error = Some("connection refused".into());
    let reported = [Reported { recipient: &ann, outcome: &expired }];
    let sender = sender();
    let late = Frame { now: at(5 * 86_400), ..frame() };
    let notice = notice(&original(&sender), Action::Failed, &reported, &BounceEdit::default(), late).unwrap();
    insta::assert_snapshot!("expired", show(&notice));
}

#[test]
fn a_delay_says_until_when_it_is_tried_and_returns_the_headers() {
    let ann = recipient("ann@example.net", &[]);
    let reply = Reply::new(451, Status::new(4, 7, 1), "greylisted, try again later");
    let deferred = outcome(OutcomeKind::Temporary, Stage::Rcpt, Some(reply));
    let reported = [Reported { recipient: &ann, outcome: &deferred }];
    let sender = sender();
    let notice = make(&original(&sender), Action::Delayed { until: at(432_000) }, &reported).unwrap();
    insta::assert_snapshot!("delayed", show(&notice));
}

#[test]
fn a_delivery_that_was_to_be_reported_is() {
    let ann = recipient("ann@example.net", &[("NOTIFY", "SUCCESS")]);
    let done = outcome(OutcomeKind::Delivered, Stage::Done, Some(Reply::new(250, Status::new(2, 0, 0), "queued as 7")));
    let reported = [Reported { recipient: &ann, outcome: &done }];
    let sender = sender();
    insta::assert_snapshot!("relayed", show(&make(&original(&sender), Action::Relayed, &reported).unwrap()));
    let text = show(&make(&original(&sender), Action::Delivered, &reported).unwrap());
    assert!(text.contains("Action: delivered\nStatus: 2.0.0\n"), "{text}");
}

#[test]
fn utf8_addresses_get_the_global_forms_only_where_the_sender_takes_them() {
    let ann = recipient("änn@example.net", &[]);
    let mut outcome = refused();
    outcome.reply = Some(Reply::new(550, Status::new(5, 1, 1), "keine Änn hier"));
    let reported = [Reported { recipient: &ann, outcome: &outcome }];
    let sender = sender();
    let head = "Subject: grüße\r\n\r\n".as_bytes();
    let utf8 = Original { smtputf8: true, head, ..original(&sender) };
    let notice = make(&utf8, Action::Failed, &reported).unwrap();
    assert_eq!((notice.smtputf8, notice.body_kind), (true, BodyKind::EightBitMime));
    insta::assert_snapshot!("global", show(&notice));

    let notice = make(&original(&sender), Action::Failed, &reported).unwrap();
    assert!(!notice.smtputf8);
    let text = show(&notice);
    assert!(text.contains("Final-Recipient: utf-8; \\x{E4}nn@example.net\n"), "{text}");
    assert!(text.contains("Content-Type: message/delivery-status\n"), "{text}");
    assert!(text.contains("Diagnostic-Code: smtp; 550 5.1.1 keine ?nn hier\n"), "{text}");
}

#[test]
fn what_comes_back_is_as_little_as_was_asked_for() {
    let ann = recipient("ann@example.net", &[]);
    let outcome = refused();
    let reported = [Reported { recipient: &ann, outcome: &outcome }];
    let sender = sender();
    let ret = |value: &str| [Param { keyword: "RET".into(), value: Some(value.into()) }];
    let (hdrs, full) = (ret("HDRS"), ret("full"));
    let require_tls = [Param { keyword: "REQUIRETLS".into(), value: None }];
    let both = [full.clone(), require_tls.clone()].concat();
    let plain = original(&sender);
    let cases = [
        (plain, "message/rfc822"),
        (Original { sender_params: &require_tls, ..plain }, "text/rfc822-headers"),
        (Original { sender_params: &both, ..plain }, "text/rfc822-headers"),
        (Original { sender_params: &full, ..plain }, "message/rfc822"),
        (Original { sender_params: &hdrs, ..plain }, "text/rfc822-headers"),
        (Original { body: None, ..plain }, "text/rfc822-headers"),
        (Original { body: Some(b"bare\nline feed\r\n"), ..plain }, "text/rfc822-headers"),
        (Original { head: b"Subject: a\0b\r\nX: y\r\n\r\n", ..plain }, "text/rfc822-headers"),
    ];
    for (original, media_type) in cases {
        let text = show(&make(&original, Action::Failed, &reported).unwrap());
        assert!(text.contains(&format!("Content-Type: {media_type}\n")), "{media_type}: {text}");
        assert_eq!(text.contains("Hello Ann"), media_type == "message/rfc822", "{text}");
        assert!(!text.contains('\0'));
    }
}

#[test]
fn what_went_wrong_in_the_relay_itself_is_not_told() {
    let ann = recipient("ann@example.net", &[]);
    let mut outcome = refused();
    outcome.error = Some("no destination is called attic".into());
    let sender = sender();
    for (stage, told) in [(Stage::Queue, false), (Stage::Connect, true)] {
        outcome.stage = stage;
        let reported = [Reported { recipient: &ann, outcome: &outcome }];
        let text = show(&make(&original(&sender), Action::Failed, &reported).unwrap());
        assert_eq!(text.contains("attic"), told, "{text}");
    }
}

#[test]
fn a_plugins_edit_is_applied() {
    let ann = recipient("ann@example.net", &[]);
    let outcome = refused();
    let reported = [Reported { recipient: &ann, outcome: &outcome }];
    let sender = sender();
    let edit = BounceEdit {
        preface: Some(Arc::from("Questions? Call extension 7.\nWe are here from nine to five.")),
        return_headers_only: true,
        redirect_to: Some(mailbox("postmaster@example.org")),
    };
    let notice = notice(&original(&sender), Action::Failed, &reported, &edit, frame()).unwrap();
    assert_eq!(notice.recipient, mailbox("postmaster@example.org"));
    let text = show(&notice);
    assert!(text.contains("\nTo: <postmaster@example.org>\n"), "{text}");
    assert!(text.contains("\n\nQuestions? Call extension 7.\nWe are here from nine to five.\n\nThis is"), "{text}");
    assert!(text.contains("text/rfc822-headers") && !text.contains("Hello Ann"), "{text}");
}

#[test]
fn the_postmaster_hears_of_everything_but_its_own_mail() {
    let (ann, boss) = (recipient("ann@example.net", &[("NOTIFY", "NEVER")]), mailbox("boss@example.org"));
    let own = recipient("boss@example.org", &[]);
    let outcome = refused();
    for sender in [sender(), ReversePath(None)] {
        let reported = [Reported { recipient: &ann, outcome: &outcome }];
        let copy = |reported: &[Reported<'_>]| copy(&original(&sender), Action::Failed, reported, &boss, frame());
        let text = show(&copy(&reported).unwrap());
        let told =
            if sender.0.is_some() { "a copy of what <sue@example.org>" } else { "has no sender who could be told" };
        assert!(text.contains("\nTo: <boss@example.org>\n") && text.replace('\n', " ").contains(told), "{text}");
        assert!(text.contains("text/rfc822-headers") && !text.contains("Hello Ann"), "{text}");
        assert_eq!(copy(&[Reported { recipient: &own, outcome: &outcome }, reported[0]]), None);
        assert_eq!(copy(&[]), None);
    }
}

#[test]
fn the_next_hop_is_named_with_its_address() {
    let ann = recipient("ann@example.net", &[]);
    let mut outcome = refused();
    let endpoint = |address: &str| crate::hooks::Endpoint { address: address.into(), port: 25 };
    let cases = [
        (Some("mx.example.net"), Some("192.0.2.7"), Some("dns; mx.example.net ([192.0.2.7])")),
        (Some("mx.example.net"), Some("2001:db8::7"), Some("dns; mx.example.net ([IPv6:2001:db8::7])")),
        (Some("mx.example.net"), None, Some("dns; mx.example.net")),
        (Some("192.0.2.7"), Some("192.0.2.7"), Some("dns; [192.0.2.7]")),
        (Some("2001:db8::7"), None, Some("dns; [IPv6:2001:db8::7]")),
        (Some("[192.0.2.7]"), Some("192.0.2.7"), Some("dns; [192.0.2.7]")),
        (Some("/run/lmtp"), Some("unix:/run/lmtp"), None),
        (None, None, None),
    ];
    for (host, address, shown) in cases {
        outcome.remote = host.map(Arc::from);
        outcome.remote_endpoint = address.map(endpoint);
        let sender = sender();
        let reported = [Reported { recipient: &ann, outcome: &outcome }];
        let text = show(&make(&original(&sender), Action::Failed, &reported).unwrap());
        let found = text.lines().find_map(|line| line.strip_prefix("Remote-MTA: "));
        assert_eq!(found, shown, "{host:?} {address:?}");
    }
}

#[test]
fn a_report_points_to_the_message_it_is_about() {
    let ann = recipient("ann@example.net", &[]);
    let outcome = refused();
    let reported = [Reported { recipient: &ann, outcome: &outcome }];
    let sender = sender();
    for (id, told) in [("<a.b@c>", true), ("a@b", false), ("<a b@c>", false), ("<a@b> <c@d>", false), ("<a>", false)] {
        let head = format!("Message-ID: {id}\r\n\r\n");
        let text =
            show(&make(&Original { head: head.as_bytes(), ..original(&sender) }, Action::Failed, &reported).unwrap());
        assert_eq!(text.contains(&format!("\nReferences: {id}\n")), told, "{text}");
    }
}
