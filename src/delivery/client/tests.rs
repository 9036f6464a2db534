//! The machines in tables: replies in, commands and results out.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::delivery::Credential;
use crate::hooks::OutcomeKind;
use crate::mail::{Mailbox, Requests};
use crate::smtp::{Reply, ReplyReader};
use crate::time::Timestamp;

fn replies(wire: &str) -> Vec<Reply> {
    let text = wire.lines().map(|line| format!("{}\r\n", line.trim())).collect::<String>();
    let (mut reader, mut left, mut all) = (ReplyReader::default(), text.as_bytes(), Vec::new());
    while let Some(reply) = reader.push(&mut left).unwrap() {
        all.push(reply);
    }
    all
}

// --- Opener ---

fn credential() -> Option<Credential> {
    Some(Credential { name: "ann".into(), secret: "pw".into() })
}

/// Plays a session: `wire` holds the server's replies in order. What the client sends, a word for each event, joined.
fn open(mut opener: Opener, wire: &str) -> String {
    let mut said = Vec::new();
    for reply in replies(wire) {
        let mut out = Vec::new();
        let mut next = opener.reply(reply, &mut out);
        if next == Next::Handshake {
            said.push("<tls>".to_owned());
            next = opener.secured(&mut out);
        }
        if !out.is_empty() {
            said.push(String::from_utf8(out).unwrap().trim_end().to_owned());
        }
        match next {
            Next::Reply => {}
            Next::Ready => said.push("<ready>".to_owned()),
            Next::Failed(e) => said.push(format!("<{:?} {} {}>", e.stage, e.permanent, e.reply.unwrap().code)),
            Next::Handshake => panic!("two handshakes"),
        }
    }
    said.join(" | ")
}

#[test]
fn a_session_opens_as_far_as_the_server_lets_it() {
    let table: &[(TlsUse, bool, &str, &str)] = &[
        (TlsUse::IfOffered, false, "220 hi\n250-mx\n250 PIPELINING", "EHLO us | <ready>"),
        (TlsUse::IfOffered, true, "220 hi\n250-mx\n250 PIPELINING", "LHLO us | <ready>"),
        (TlsUse::IfOffered, false, "220 hi\n502 what\n250 mx", "EHLO us | HELO us | <ready>"),
        (TlsUse::IfOffered, false, "220 hi\n550 no\n550 no", "EHLO us | HELO us | <Helo true 550>"),
        (TlsUse::IfOffered, true, "220 hi\n500 what", "LHLO us | <Helo true 500>"),
        (TlsUse::IfOffered, false, "220 hi\n450 later", "EHLO us | <Helo false 450>"),
        (TlsUse::IfOffered, false, "554 go away", "<Greeting false 554>"),
        (TlsUse::IfOffered, false, "521 no mail here", "<Greeting true 521>"),
        (TlsUse::IfOffered, false, "421 busy", "<Greeting false 421>"),
        (TlsUse::IfOffered, false, "220 hi\n421 busy", "EHLO us | <Helo false 421>"),
        // TLS: used, not offered, refused.
        (
            TlsUse::IfOffered,
            false,
            "220 hi\n250-mx\n250 STARTTLS\n220 go\n250 mx",
            "EHLO us | STARTTLS | <tls> | EHLO us | <ready>",
        ),
        (TlsUse::IfOffered, false, "220 hi\n250-mx\n250 STARTTLS\n454 no", "EHLO us | STARTTLS | <ready>"),
        (TlsUse::Must, false, "220 hi\n250-mx\n250 STARTTLS\n454 no", "EHLO us | STARTTLS | <Tls false 454>"),
        (TlsUse::Must, false, "220 hi\n250-mx\n250 STARTTLS\n554 no", "EHLO us | STARTTLS | <Tls false 554>"),
        (TlsUse::Must, false, "220 hi\n250 mx", "EHLO us | <Tls false 451>"),
        (TlsUse::Must, false, "220 hi\n500 what\n250 mx", "EHLO us | HELO us | <Tls false 451>"),
        (TlsUse::Never, false, "220 hi\n250-mx\n250 STARTTLS", "EHLO us | <ready>"),
    ];
    for (tls, lmtp, wire, want) in table {
        assert_eq!(open(Opener::new("us".into(), *lmtp, *tls, false, None), wire), *want, "{wire:?}");
    }
}

#[test]
fn who_we_are_is_said_only_under_tls_or_where_the_operator_wants_it() {
    let plain = "AGFubgBwdw==";
    let table: &[(TlsUse, bool, &str, String)] = &[
        (
            TlsUse::Must,
            true,
            "220 hi\n250-mx\n250 AUTH LOGIN PLAIN\n235 ok",
            format!("EHLO us | AUTH PLAIN {plain} | <ready>"),
        ),
        (
            TlsUse::Must,
            true,
            "220 hi\n250-mx\n250 AUTH LOGIN\n334 VXNlcm5hbWU6\n334 UGFzc3dvcmQ6\n235 ok",
            "EHLO us | AUTH LOGIN | YW5u | cHc= | <ready>".to_owned(),
        ),
        (
            TlsUse::Must,
            true,
            "220 hi\n250-mx\n250 AUTH PLAIN\n535 5.7.8 no",
            format!("EHLO us | AUTH PLAIN {plain} | <Auth false 535>"),
        ),
        (TlsUse::Must, true, "220 hi\n250-mx\n250 AUTH GSSAPI", "EHLO us | <Auth false 451>".to_owned()),
        (TlsUse::IfOffered, false, "220 hi\n250-mx\n250 AUTH PLAIN", "EHLO us | <Auth false 451>".to_owned()),
        (
            TlsUse::Never,
            false,
            "220 hi\n250-mx\n250 AUTH PLAIN\n235 ok",
            format!("EHLO us | AUTH PLAIN {plain} | <ready>"),
        ),
    ];
    for (tls, secured, wire, want) in table {
        assert_eq!(open(Opener::new("us".into(), false, *tls, *secured, credential()), wire), *want, "{wire:?}");
    }
    let again = Opener::plain_again("us".into(), false, credential());
    assert_eq!(open(again, "220 hi\n250-mx\n250 AUTH PLAIN"), "EHLO us | <Auth false 451>");
}

#[test]
fn a_long_secret_goes_on_a_line_of_its_own() {
    let credential = Credential { name: "ann".into(), secret: "x".repeat(600).into() };
    let opener = Opener::new("us".into(), false, TlsUse::Must, true, Some(credential));
    let said = open(opener, "220 hi\n250-mx\n250 AUTH PLAIN\n334 \n235 ok");
    assert!(said.starts_with("EHLO us | AUTH PLAIN | AGFubgB4") && said.ends_with("<ready>"), "{said}");
}

// --- Transaction ---

struct Letter {
    sender: ReversePath,
    recipients: Vec<Recipient>,
    params: Vec<Param>,
    head: Bytes,
    body: Content,
    body_kind: BodyKind,
    smtputf8: bool,
}

fn param(keyword: &str, value: &str) -> Param {
    Param { keyword: keyword.into(), value: Some(value.into()) }
}

fn letter(recipients: &[&str]) -> Letter {
    let recipient = |(index, text): (u32, &&str)| {
        let mailbox = Mailbox::parse(text, true).unwrap();
        let params = vec![param("NOTIFY", "NEVER"), param("ORCPT", "rfc822;o@x"), param("XFOO", "1")];
        Recipient { index, original: mailbox.clone(), mailbox, params }
    };
    Letter {
        sender: ReversePath(Some(Mailbox::parse("s@example.org", false).unwrap())),
        recipients: (0..).zip(recipients).map(recipient).collect(),
        params: vec![param("RET", "HDRS"), param("ENVID", "e+3D1"), param("BODY", "8BITMIME"), param("SIZE", "9")],
        head: Bytes::from_static(b"Subject: x\r\n\r\n"),
        body: Content::Memory(Bytes::from_static(b"hello\r\n")),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
    }
}

impl Letter {
    fn mail(&self) -> OutboundMail<'_> {
        OutboundMail {
            sender: &self.sender,
            recipients: &self.recipients,
            body_kind: self.body_kind,
            terms: Default::default(),
            smtputf8: self.smtputf8,
            size: self.head.len() as u64 + self.body.len(),
            params: &self.params,
            prepended: &[],
            head: &self.head,
            body: &self.body,
        }
    }
}

struct Played {
    said: String,
    results: String,
    broken: bool,
    open: bool,
}

const NOTHING: Capabilities = Capabilities {
    pipelining: false,
    eight_bit_mime: false,
    smtputf8: false,
    starttls: false,
    dsn: false,
    size: false,
    size_limit: None,
    auth_plain: false,
    auth_login: false,
    auth_scram: false,
    mail_max: None,
    rcpt_max: None,
    rcpt_domain_max: None,
    binary: false,
    chunking: false,
    binary_mime: false,
    require_tls: false,
    mt_priority: false,
    deliver_by: false,
};
const PIPELINING: Capabilities = Capabilities { pipelining: true, ..NOTHING };

fn play(mut transaction: Transaction, wire: &str) -> Played {
    let mut server = replies(wire).into_iter();
    let mut said = Vec::new();
    loop {
        match transaction.advance() {
            Wanted::Send(octets) => {
                said.push(String::from_utf8(octets.to_vec()).unwrap().trim_end().replace("\r\n", " "))
            }
            Wanted::Reply(_) => match server.next() {
                Some(reply) => transaction.reply(reply),
                None => transaction.lost(&std::io::ErrorKind::UnexpectedEof.into()),
            },
            Wanted::Content => {
                said.push("<content>".to_owned());
                transaction.content_sent();
            }
            Wanted::Nothing => break,
        }
    }
    assert_eq!(server.next(), None, "a reply was not read: {wire:?}");
    let (broken, open) = (transaction.is_broken(), transaction.is_open());
    let results = transaction.finish();
    let result = |d: &crate::delivery::outcome::Delivered| {
        let kind = match d.kind {
            OutcomeKind::Delivered => '+',
            OutcomeKind::Temporary => '~',
            _ => '-',
        };
        let status = d.reply.as_ref().and_then(|r| r.status).map(|s| format!(" {s}")).unwrap_or_default();
        let local = if d.error.is_some() { " local" } else { "" };
        format!("{kind}{:?} {}{status}{local}", d.stage, d.reply.as_ref().unwrap().code)
    };
    let results = results.iter().map(result).collect::<Vec<_>>().join(", ");
    Played { said: said.join(" | "), results, broken, open }
}

fn send(peer: Capabilities, lmtp: bool, recipients: &[&str], wire: &str) -> Played {
    let letter = letter(recipients);
    play(Transaction::new(&letter.mail(), &peer, lmtp, false), wire)
}

const ONE: &str = "MAIL FROM:<s@example.org> | RCPT TO:<a@x.example>";

#[test]
fn one_command_at_a_time_without_pipelining() {
    let table: &[(&str, String, &str, bool, bool)] = &[
        ("250 ok\n250 ok\n354 go\n250 2.0.0 got", format!("{ONE} | DATA | <content>"), "+Done 250 2.0.0", false, false),
        (
            "250 ok\n250 ok\n354 go\n451 4.3.0 no",
            format!("{ONE} | DATA | <content>"),
            "~Answer 451 4.3.0",
            false,
            false,
        ),
        ("250 ok\n250 ok\n354 go\n554 no", format!("{ONE} | DATA | <content>"), "-Answer 554", false, false),
        ("250 ok\n250 ok\n354 go", format!("{ONE} | DATA | <content>"), "~Answer 451 4.4.2 local", true, true),
        (
            "250 ok\n250 ok\n354 go\n354 what",
            format!("{ONE} | DATA | <content>"),
            "~Answer 451 4.4.2 local",
            true,
            true,
        ),
        ("250 ok\n250 ok\n451 no", format!("{ONE} | DATA"), "~Data 451", false, true),
        ("250 ok\n250 ok\n554 no", format!("{ONE} | DATA"), "-Data 554", false, true),
        ("250 ok\n250 ok\n250 what", format!("{ONE} | DATA"), "~Data 451 4.4.2 local", true, true),
        ("250 ok\n250 ok", format!("{ONE} | DATA"), "~Data 451 4.4.2 local", true, true),
        ("250 ok\n550 5.1.1 no", ONE.to_owned(), "-Rcpt 550 5.1.1", false, true),
        ("250 ok\n552 5.5.3 full", ONE.to_owned(), "~Rcpt 552 5.5.3", false, true),
        ("250 ok\n421 bye", ONE.to_owned(), "~Rcpt 421", true, true),
        ("250 ok\n354 what", ONE.to_owned(), "~Rcpt 451 4.4.2 local", true, true),
        ("550 5.7.1 no", "MAIL FROM:<s@example.org>".to_owned(), "-Mail 550 5.7.1", false, false),
        ("451 no", "MAIL FROM:<s@example.org>".to_owned(), "~Mail 451", false, false),
        ("", "MAIL FROM:<s@example.org>".to_owned(), "~Mail 451 4.4.2 local", true, false),
    ];
    for (wire, said, results, broken, open) in table {
        let played = send(NOTHING, false, &["a@x.example"], wire);
        let got = (played.said.as_str(), played.results.as_str(), played.broken, played.open);
        assert_eq!(got, (said.as_str(), *results, *broken, *open), "{wire:?}");
    }
}

#[test]
fn binary_content_goes_as_a_chunk_or_not_at_all() {
    let binary = Capabilities { chunking: true, binary_mime: true, binary: true, ..NOTHING };
    let letter = Letter { body_kind: BodyKind::BinaryMime, ..letter(&["a@x.example"]) };
    let played = play(Transaction::new(&letter.mail(), &binary, false, false), "250 ok\n250 ok\n250 2.0.0 got");
    let said = "MAIL FROM:<s@example.org> BODY=BINARYMIME | RCPT TO:<a@x.example> | <content>";
    assert_eq!((played.said.as_str(), played.results.as_str()), (said, "+Done 250 2.0.0"));
    let played = play(Transaction::new(&letter.mail(), &binary, false, false), "250 ok\n550 5.1.1 no");
    assert_eq!((played.results.as_str(), played.open), ("-Rcpt 550 5.1.1", true));
    let played = play(Transaction::new(&letter.mail(), &NOTHING, false, false), "");
    assert_eq!((played.said.as_str(), played.results.as_str()), ("", "-Mail 554 5.6.3 local"));
}

#[test]
fn what_was_asked_of_every_relay_is_asked_of_the_next_or_refused() {
    let asked = |keyword: &str, value: Option<&str>| Param { keyword: keyword.into(), value: value.map(Into::into) };
    let params = [asked("REQUIRETLS", None), asked("MT-PRIORITY", Some("3")), asked("BY", Some("100;R"))];
    let letter = letter(&["a@x.example"]);
    let terms = |cover| Terms {
        requests: Requests::of(&params),
        cover,
        untold: false,
        arrived: Timestamp::from_secs(10),
        now: Timestamp::from_secs(40),
    };
    let mail = |cover| OutboundMail { terms: terms(cover), ..letter.mail() };
    let able = Capabilities { require_tls: true, mt_priority: true, deliver_by: true, ..NOTHING };
    let send = |peer: Capabilities, lmtp, cover, wire| play(Transaction::new(&mail(cover), &peer, lmtp, false), wire);
    let said = "MAIL FROM:<s@example.org> REQUIRETLS MT-PRIORITY=3 BY=70;R";
    assert_eq!(send(able, false, Cover::Verified, "451 no").said, said);
    let plain = "MAIL FROM:<s@example.org>";
    assert_eq!(send(NOTHING, true, Cover::Plain, "451 no").said, plain, "what LMTP takes has arrived");
    for (peer, cover, refused) in [
        (able, Cover::Plain, "-Mail 550 5.7.30 local"),
        (able, Cover::Encrypted, "-Mail 550 5.7.30 local"),
        (Capabilities { require_tls: false, ..able }, Cover::Verified, "-Mail 550 5.7.30 local"),
        (Capabilities { deliver_by: false, ..able }, Cover::Verified, "-Mail 550 5.3.3 local"),
    ] {
        assert_eq!(send(peer, false, cover, "").results, refused);
    }
    let no_hurry = Capabilities { mt_priority: false, ..able };
    assert!(!send(no_hurry, false, Cover::Verified, "451 no").said.contains("PRIORITY"));
}

#[test]
fn the_null_reverse_path_asks_for_tls_where_it_is_offered_and_is_not_refused_for_want_of_it() {
    let params = [Param { keyword: "REQUIRETLS".into(), value: None }];
    let letter = letter(&["a@x.example"]);
    let able = Capabilities { require_tls: true, ..NOTHING };
    for (peer, cover, said) in [
        (able, Cover::Verified, "MAIL FROM:<> REQUIRETLS"),
        (able, Cover::Encrypted, "MAIL FROM:<> REQUIRETLS"),
        (able, Cover::Plain, "MAIL FROM:<>"),
        (NOTHING, Cover::Verified, "MAIL FROM:<>"),
        (NOTHING, Cover::Plain, "MAIL FROM:<>"),
    ] {
        let terms = Terms { requests: Requests::of(&params), cover, untold: true, ..Terms::default() };
        let mail = OutboundMail { sender: &ReversePath(None), terms, ..letter.mail() };
        assert_eq!(play(Transaction::new(&mail, &peer, false, false), "451 no").said, said, "{cover:?}");
    }
}

#[test]
fn each_recipient_has_a_result_of_its_own() {
    let all = ["a@x.example", "b@x.example", "c@x.example"];
    let rcpts = "RCPT TO:<a@x.example> | RCPT TO:<b@x.example> | RCPT TO:<c@x.example>";
    let played = send(NOTHING, false, &all, "250 ok\n250 ok\n550 5.1.1 no\n450 4.2.1 later\n354 go\n250 got");
    assert_eq!(played.said, format!("MAIL FROM:<s@example.org> | {rcpts} | DATA | <content>"));
    assert_eq!(played.results, "+Done 250, -Rcpt 550 5.1.1, ~Rcpt 450 4.2.1");
    // Too many: no more are tried, and who was taken gets the mail.
    let played = send(NOTHING, false, &all, "250 ok\n250 ok\n452 4.5.3 enough\n354 go\n250 got");
    assert_eq!(
        played.said,
        "MAIL FROM:<s@example.org> | RCPT TO:<a@x.example> | RCPT TO:<b@x.example> | DATA | <content>"
    );
    assert_eq!(played.results, "+Done 250, ~Rcpt 452 4.5.3, ~Rcpt 452 4.5.3");
    // 421 in the middle: nobody has it.
    let played = send(NOTHING, false, &all, "250 ok\n250 ok\n421 bye");
    assert_eq!((played.results.as_str(), played.broken), ("~Rcpt 421, ~Rcpt 421, ~Rcpt 421", true));
}

#[test]
fn one_group_with_pipelining() {
    let all = ["a@x.example", "b@x.example"];
    let group = "MAIL FROM:<s@example.org> RCPT TO:<a@x.example> RCPT TO:<b@x.example> DATA";
    let table: &[(&str, &str, &str, bool, bool)] = &[
        ("250 ok\n250 ok\n250 ok\n354 go\n250 got", " | <content>", "+Done 250, +Done 250", false, false),
        ("250 ok\n550 no\n250 ok\n354 go\n250 got", " | <content>", "-Rcpt 550, +Done 250", false, false),
        ("250 ok\n550 no\n450 no\n503 no valid", "", "-Rcpt 550, ~Rcpt 450", false, true),
        ("250 ok\n550 no\n550 no\n354 go\n554 none", " | .", "-Rcpt 550, -Rcpt 550", false, false),
        ("550 no\n503 no\n503 no\n503 no", "", "-Mail 550, -Mail 550", false, false),
        ("550 no\n503 no\n503 no\n354 go\n250 what", " | .", "-Mail 550, -Mail 550", false, false),
        ("250 ok\n421 bye", "", "~Rcpt 421, ~Rcpt 421", true, true),
        ("250 ok\n250 ok\n250 ok\n451 no", "", "~Data 451, ~Data 451", false, true),
        ("250 ok\n250 ok", "", "~Rcpt 451 4.4.2 local, ~Rcpt 451 4.4.2 local", true, true),
    ];
    for (wire, more, results, broken, open) in table {
        let played = send(PIPELINING, false, &all, wire);
        let got = (played.said, played.results.as_str(), played.broken, played.open);
        assert_eq!(got, (format!("{group}{more}"), *results, *broken, *open), "{wire:?}");
    }
}

#[test]
fn many_recipients_go_in_several_groups() {
    let names: Vec<String> = (0..250).map(|n| format!("r{n}@x.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let played = send(PIPELINING, false, &names, &format!("{}354 go\n250 got", "250 ok\n".repeat(251)));
    let groups: Vec<usize> = played.said.split(" | ").map(|group| group.matches(':').count()).collect();
    assert_eq!(groups, [100, 100, 51, 0]);
    assert!(played.results.split(", ").all(|r| r == "+Done 250"));
    // Enough in the first group: the other groups are not sent.
    let wire = format!("{}{}354 go\n250 got", "250 ok\n".repeat(61), "452 4.5.3 enough\n".repeat(39));
    let played = send(PIPELINING, false, &names, &wire);
    assert!(played.said.ends_with("RCPT TO:<r98@x.example> | DATA | <content>"), "{}", played.said);
    assert_eq!((played.results.matches('+').count(), played.results.matches('~').count()), (60, 190));
    // All refused in the first group, and MAIL refused: nothing more is sent either.
    let played = send(PIPELINING, false, &names, &format!("550 no\n{}", "503 no\n".repeat(99)));
    assert_eq!(played.results.matches("-Mail 550").count(), 250);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let all = ["a@x.example", "b@x.example", "c@x.example"];
    let ok = "250 ok\n250 ok\n550 no\n250 ok\n354 go\n";
    let played = send(PIPELINING, true, &all, &format!("{ok}250 got\n452 4.2.2 full"));
    assert_eq!(played.results, "+Done 250, -Rcpt 550, ~Answer 452 4.2.2");
    assert!(!played.broken && !played.open);
    let played = send(PIPELINING, true, &all, &format!("{ok}250 got"));
    assert_eq!(played.results, "+Done 250, -Rcpt 550, ~Answer 451 4.4.2 local");
    let played = send(PIPELINING, true, &all, "250 ok\n550 no\n550 no\n550 no\n354 go");
    assert_eq!((played.results.as_str(), played.broken), ("-Rcpt 550, -Rcpt 550, -Rcpt 550", true));
}

#[test]
fn what_a_next_hop_says_of_its_limits_is_heeded() {
    let all = letter(&["a@x.example", "b@y.example", "c@x.example", "d@y.example"]);
    let done = "250 ok\n250 ok\n250 ok\n354 go\n250 got";
    let told = "~Rcpt 452 4.5.3 local";
    for (peer, said, results, left) in [
        (
            Capabilities { rcpt_max: Some(2), ..NOTHING },
            "RCPT TO:<a@x.example> | RCPT TO:<b@y.example> | DATA",
            format!("+Done 250, +Done 250, {told}, {told}"),
            vec![2, 3],
        ),
        (
            Capabilities { rcpt_domain_max: Some(1), ..NOTHING },
            "RCPT TO:<a@x.example> | RCPT TO:<c@x.example> | DATA",
            format!("+Done 250, {told}, +Done 250, {told}"),
            vec![1, 3],
        ),
    ] {
        let transaction = Transaction::new(&all.mail(), &peer, false, false);
        assert_eq!(transaction.left(), left);
        let played = play(transaction, done);
        assert_eq!(
            (played.said.as_str(), played.results),
            (&*format!("MAIL FROM:<s@example.org> | {said} | <content>"), results)
        );
    }
}

#[test]
fn a_refusal_that_comes_too_soon_is_one() {
    let mut transaction = Transaction::new(&letter(&["a@x.example"]).mail(), &NOTHING, false, false);
    transaction.cut_short(replies("552 5.3.4 too big").remove(0));
    assert!(transaction.is_broken() && transaction.advance() == Wanted::Nothing);
    let results = transaction.finish();
    assert_eq!((results[0].kind, results[0].reply.as_ref().map(|r| r.code)), (OutcomeKind::Permanent, Some(552)));
}

#[test]
fn parameters_are_given_where_they_are_understood() {
    let all = Capabilities { eight_bit_mime: true, smtputf8: true, dsn: true, size: true, ..PIPELINING };
    let table: &[(Capabilities, BodyKind, bool, &str)] = &[
        (NOTHING, BodyKind::SevenBit, false, "MAIL FROM:<s@example.org> | RCPT TO:<a@x.example>"),
        (
            Capabilities { pipelining: false, ..all },
            BodyKind::EightBitMime,
            true,
            "MAIL FROM:<s@example.org> SIZE=21 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e+3D1 | \
             RCPT TO:<a@x.example> NOTIFY=NEVER ORCPT=rfc822;o@x",
        ),
        (
            Capabilities { size: true, ..NOTHING },
            BodyKind::SevenBit,
            false,
            "MAIL FROM:<s@example.org> SIZE=21 | RCPT TO:<a@x.example>",
        ),
    ];
    for (peer, body_kind, smtputf8, want) in table {
        let letter = Letter { body_kind: *body_kind, smtputf8: *smtputf8, ..letter(&["a@x.example"]) };
        let played = play(Transaction::new(&letter.mail(), peer, false, false), "250 ok\n550 no");
        assert_eq!(played.said, *want);
    }
    let null = Letter { sender: ReversePath(None), ..letter(&["a@x.example"]) };
    let played = play(Transaction::new(&null.mail(), &NOTHING, false, true), "250 ok\n550 no");
    assert_eq!((played.said.as_str(), played.results.as_str()), ("RSET | MAIL FROM:<>", "-Mail 550"));
}

#[test]
fn what_can_not_be_sent_is_not_tried() {
    let utf8 = Capabilities { smtputf8: true, ..NOTHING };
    let small = Capabilities { size: true, size_limit: Some(20), ..NOTHING };
    let all = ["a@x.example", "é@x.example"];
    let table: &[(Capabilities, Letter, &str, &str)] = &[
        (small, letter(&all), "", "-Mail 552 5.3.4 local, -Mail 552 5.3.4 local"),
        (
            NOTHING,
            Letter { body_kind: BodyKind::EightBitMime, ..letter(&["a@x.example"]) },
            "",
            "-Mail 554 5.6.3 local",
        ),
        (NOTHING, Letter { body_kind: BodyKind::BinaryMime, ..letter(&["a@x.example"]) }, "", "-Mail 554 5.6.3 local"),
        (NOTHING, letter(&["é@x.example"]), "", "-Rcpt 553 5.6.7 local"),
        (NOTHING, letter(&all), "250 ok\n250 ok\n354 go\n250 got", "+Done 250, -Rcpt 553 5.6.7 local"),
        (utf8, letter(&all), "250 ok\n250 ok\n250 ok\n354 go\n250 got", "+Done 250, +Done 250"),
        (
            NOTHING,
            Letter { smtputf8: true, ..letter(&["a@x.example"]) },
            "250 ok\n250 ok\n354 go\n250 got",
            "+Done 250",
        ),
        (
            NOTHING,
            Letter { smtputf8: true, head: Bytes::from("Subject: é\r\n\r\n"), ..letter(&["a@x.example"]) },
            "",
            "-Mail 554 5.6.7 local",
        ),
        (
            NOTHING,
            Letter { head: Bytes::from("Subject: é\r\n\r\n"), ..letter(&["a@x.example"]) },
            "250 ok\n250 ok\n354 go\n250 got",
            "+Done 250",
        ),
    ];
    for (peer, letter, wire, want) in table {
        let played = play(Transaction::new(&letter.mail(), peer, false, false), wire);
        assert_eq!((played.results.as_str(), played.broken), (*want, false));
    }
}

#[test]
fn nothing_in_an_envelope_becomes_a_command() {
    let mut letter = letter(&["a@x.example", "b@x.example"]);
    let domain = letter.recipients[0].mailbox.domain.clone();
    letter.recipients[0].mailbox = Mailbox::new("a>\r\nQUIT\r\n", domain.clone());
    letter.recipients[1].params = vec![param("NOTIFY", "NEVER\r\nQUIT"), param("ORCPT", "rfc822;a b")];
    let dsn = Capabilities { dsn: true, ..NOTHING };
    let played = play(Transaction::new(&letter.mail(), &dsn, false, false), "250 ok\n550 no");
    assert!(played.said.ends_with(" | RCPT TO:<b@x.example>"), "{}", played.said);
    assert_eq!(played.results, "-Rcpt 553 5.1.3 local, -Rcpt 550");
    letter.sender = ReversePath(Some(Mailbox::new("s\n", domain)));
    let played = play(Transaction::new(&letter.mail(), &dsn, false, false), "");
    assert_eq!(played.results, "-Mail 553 5.1.7 local, -Mail 553 5.1.7 local");
}

#[test]
fn a_group_sent_ahead_is_answered_later() {
    let letter = letter(&["a@x.example"]);
    let mut ahead = Transaction::new(&letter.mail(), &PIPELINING, false, false);
    assert!(ahead.is_same(&Transaction::new(&letter.mail(), &PIPELINING, false, false)));
    assert!(!ahead.is_same(&Transaction::new(&self::letter(&["b@x.example"]).mail(), &PIPELINING, false, false)));
    assert_eq!(ahead.send_ahead(), Some(&b"MAIL FROM:<s@example.org>\r\nRCPT TO:<a@x.example>\r\nDATA\r\n"[..]));
    let played = play(ahead, "250 ok\n250 ok\n354 go\n250 got");
    assert_eq!((played.said.as_str(), played.results.as_str()), ("<content>", "+Done 250"));
    assert_eq!(Transaction::new(&letter.mail(), &NOTHING, false, false).send_ahead(), None);
}

#[test]
fn fields_on_top_are_folded_and_can_not_break_out() {
    let fields: [(Arc<str>, Arc<str>); 3] = [
        ("X-One".into(), "1".into()),
        ("X-Long".into(), "word ".repeat(30).trim().into()),
        ("X-Bad".into(), "a\r\nBcc: b".into()),
    ];
    let letter = letter(&["a@x.example"]);
    let mail = OutboundMail { prepended: &fields, ..letter.mail() };
    let top = String::from_utf8(mail.prepended()).unwrap();
    assert!(top.starts_with("X-One: 1\r\nX-Long: word") && top.ends_with("word\r\n"), "{top}");
    assert!(top.lines().all(|line| line.len() <= 78) && !top.contains("Bcc"), "{top}");
}
