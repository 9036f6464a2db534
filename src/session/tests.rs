//! The session as a whole: its transcripts, what it hands to its loop, and its properties under any octets.

mod dialogues;
mod sasl;
mod smuggling;

use std::sync::Arc;

use super::{
    Action, Answer, AuthMeans, AuthRules, Awaited, Config, Input, LineEnds, Mechanism, MessageAnswer, Question,
    RelayAccess, RelayRules, Session,
};
use crate::hooks::{
    AuthVerdict, ClientCertificate, Endpoint, Protocol, SessionFacts, SessionVerdict, Subject, TlsFacts,
};
use crate::mail::{Annotations, Domain, QueueId};
use crate::smtp::{Extension, Extensions};
use crate::time::Timestamp;

fn tls() -> TlsFacts {
    TlsFacts {
        protocol: "TLSv1.3".into(),
        cipher: "TLS13_AES_256_GCM_SHA384".into(),
        server_name: None,
        ..TlsFacts::default()
    }
}

/// What the sessions of these tests offer.
const OFFERED: [Extension; 14] = [
    Extension::Pipelining,
    Extension::Size,
    Extension::StartTls,
    Extension::Auth,
    Extension::Dsn,
    Extension::EnhancedStatusCodes,
    Extension::EightBitMime,
    Extension::SmtpUtf8,
    Extension::Chunking,
    Extension::RequireTls,
    Extension::Limits,
    Extension::MtPriority,
    Extension::DeliverBy,
    Extension::FutureRelease,
];

/// A session with small limits, changed by `set:` lines.
fn session(settings: &[&str]) -> Session {
    let (mut config, mut facts, mut means) = (config(), facts(), AuthMeans::default());
    for setting in settings {
        match setting.split_once('=').unwrap_or((setting, "")) {
            ("packets-matter" | "relay-asked" | "pure" | "greet-delay", _) => {}
            ("tls", _) => facts.tls = Some(tls()),
            ("client", address) => facts.client.address = address.into(),
            ("no-extensions", _) => {
                for extension in [Extension::StartTls, Extension::Auth, Extension::Dsn] {
                    config.extensions.set(extension, false);
                }
            }
            ("no-pipelining", _) => config.extensions.set(Extension::Pipelining, false),
            ("binarymime", _) => config.extensions.set(Extension::BinaryMime, true),
            ("submission", _) => config.submission = true,
            ("lmtp", _) => config.lmtp = true,
            ("normalise", _) => config.line_ends = LineEnds::Normalise,
            ("lenient", _) => config.strict_pipelining = false,
            ("xclient", _) => {
                config.xclient_from = vec!["198.51.100.0/24".parse().unwrap()];
                config.extensions.set(Extension::Xclient, true);
            }
            ("max-line", n) => config.max_line_length = n.parse().unwrap(),
            ("require-auth", _) => config.require_auth = true,
            ("plaintext-auth", _) => config.allow_plaintext_auth = true,
            ("max-transactions", n) => config.max_transactions = n.parse().unwrap(),
            ("max-errors", n) => config.max_errors = n.parse().unwrap(),
            ("verifiers", _) => means.verifiers = true,
            ("tokens", _) => means.tokens = true,
            ("mechanisms", names) => {
                config.auth.mechanisms = Some(names.split(' ').map(|name| Mechanism::named(name).unwrap()).collect());
            }
            ("exporter", octets) => tls_of(&mut facts).exporter = Some(octets.as_bytes().into()),
            ("certificate", names) => tls_of(&mut facts).client = Some(Arc::new(certificate(names, true))),
            ("unverified-certificate", names) => {
                tls_of(&mut facts).client = Some(Arc::new(certificate(names, false)));
            }
            other => panic!("what is {other:?}?"),
        }
    }
    Session::new(Arc::new(config), facts).with_means(means)
}

fn config() -> Config {
    Config {
        hostname: "mx.example.net".into(),
        relay: RelayRules {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            domains: ["example.net", ".example.org"].map(|text| Domain::parse_pattern(text).unwrap()).into(),
        },
        extensions: Extensions::of(&OFFERED),
        max_message_size: 65536,
        max_header_size: 1024,
        max_recipients: 100,
        max_transactions: 5,
        max_errors: 6,
        max_hops: 5,
        max_line_length: 2000,
        line_ends: LineEnds::Reject,
        strict_pipelining: true,
        lmtp: false,
        submission: false,
        xclient_from: Vec::new(),
        max_hold: 3600,
        require_auth: false,
        allow_plaintext_auth: false,
        auth: AuthRules::default(),
    }
}

fn facts() -> SessionFacts {
    SessionFacts {
        id: "s1".into(),
        listener: "test".into(),
        connected_at: Timestamp::from_secs(0),
        client: Endpoint { address: "198.51.100.7".into(), port: 4711 },
        server: Endpoint { address: "198.51.100.1".into(), port: 25 },
        client_name: None,
        protocol: Protocol::Smtp,
        helo: None,
        tls: None,
        identity: None,
        may_relay: false,
        transactions: 0,
        refused_recipients: 0,
        withheld: Default::default(),
        notes: Annotations::default(),
    }
}

fn tls_of(facts: &mut SessionFacts) -> &mut TlsFacts {
    facts.tls.get_or_insert_with(tls)
}

/// A certificate with these names, those with an at sign as mailboxes.
fn certificate(names: &str, verified: bool) -> ClientCertificate {
    let (mailboxes, dns_names) = names.split(' ').map(Arc::from).partition(|name: &Arc<str>| name.contains('@'));
    ClientCertificate { verified, subject: "CN=ann".into(), dns_names, mailboxes, sha256: [7; 32] }
}

/// Polls up to the next question, `Begin`, `Read` or `Close`, answering nothing.
fn actions(session: &mut Session) -> Vec<Action> {
    let mut all = Vec::new();
    loop {
        let action = session.poll();
        if matches!(action, Action::Listen) {
            session.receive(Input::Listened);
            continue;
        }
        let last = matches!(action, Action::Read { .. } | Action::Ask(_) | Action::Begin | Action::Close);
        all.push(action);
        if last {
            return all;
        }
    }
}

/// As `actions`, in favour of everything, up to the next `Read`.
fn proceed(session: &mut Session) -> Vec<Action> {
    let mut all = Vec::new();
    loop {
        let mut some = actions(session);
        match some.pop().unwrap() {
            Action::Begin => session.begin(QueueId::from_u64(7), Timestamp::from_secs(7), RelayAccess::Ruled),
            Action::Ask(question) => session.answer(match *question {
                Question::Connect(s) | Question::Helo(s) | Question::Mail(s) | Question::Rcpt(s) => {
                    Answer::Session(s, SessionVerdict::Proceed)
                }
                Question::Verifier(_) => Answer::Verifier(sasl::pencil()),
                Question::Auth(subject, ..) => Answer::Auth(subject, AuthVerdict::Proceed),
                Question::Message(_) => Answer::Message(MessageAnswer::Queued(QueueId::from_u64(7), Vec::new())),
            }),
            last => {
                all.extend(some);
                all.push(last);
                return all;
            }
        }
        all.extend(some);
    }
}

#[test]
fn replies_are_gathered_and_data_comes_in_large_pieces() {
    let mut session = session(&["lenient", "client=192.0.2.1"]);
    let banner = proceed(&mut session);
    assert!(matches!(&banner[..], [Action::Send(_), Action::Read(Awaited::Command)]), "{banner:?}");
    session.receive(Input::Octets(b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n"));
    let opened = proceed(&mut session);
    assert!(matches!(&opened[..], [Action::Open, Action::Send(_), Action::Read(Awaited::Data)]), "{opened:?}");
    let transaction = session.transaction().unwrap();
    assert_eq!((transaction.id, transaction.started_at), (QueueId::from_u64(7), Timestamp::from_secs(7)));
    let body = "line\r\n..dot\r\n".repeat(20);
    session.receive(Input::Octets(format!("A: 1\r\n\r\n{body}.\r\nNOOP\r\nQUIT\r\n").as_bytes()));
    let taken = proceed(&mut session);
    let [Action::Keep(kept), Action::Send(replies), Action::Close] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(kept, &body.replace("..", "."));
    assert_eq!(replies.iter().filter(|b| **b == b'\n').count(), 3);
}

#[test]
fn between_chunks_a_message_is_under_way() {
    let mut session = session(&["client=192.0.2.1"]);
    let awaited = |session: &mut Session| match proceed(session).pop() {
        Some(Action::Read(awaited)) => awaited,
        other => panic!("{other:?}"),
    };
    assert_eq!(awaited(&mut session), Awaited::Command);
    for (octets, wanted) in [
        ("EHLO a\r\n", Awaited::Command),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", Awaited::Command),
        ("BDAT 2\r\nx", Awaited::Data),
        ("x", Awaited::NextChunk),
        ("NOOP\r\n", Awaited::NextChunk),
        ("BDAT 1\r\nx", Awaited::NextChunk),
        ("BDAT 0 LAST\r\n", Awaited::Command),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx", Awaited::NextChunk),
        ("RSET\r\n", Awaited::Command),
    ] {
        session.receive(Input::Octets(octets.as_bytes()));
        assert_eq!(awaited(&mut session), wanted, "{octets:?}");
    }
}

#[test]
fn what_happened_is_counted() {
    let mut session = session(&["lenient"]);
    session.receive(Input::Octets(
        b"HELO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<\xff>\r\nRCPT TO:<>\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n",
    ));
    proceed(&mut session);
    let facts = session.facts();
    assert_eq!((facts.transactions, facts.refused_recipients), (2, 2), "a line that is no UTF-8 is no RCPT");
}

#[test]
fn a_loop_in_error_gets_no_further() {
    let mut session = session(&[]);
    let asked = actions(&mut session);
    assert!(matches!(&asked[..], [Action::Ask(_)]));
    assert!(matches!(session.poll(), Action::Close), "polled without an answer");
    session.answer(Answer::Message(MessageAnswer::Queued(QueueId::from_u64(1), Vec::new())));
    let closed = actions(&mut session);
    assert!(
        matches!(&closed[..], [Action::Send(reply), Action::Close] if reply.starts_with(b"421 4.3.0 ")),
        "{closed:?}"
    );
    session.begin(QueueId::from_u64(1), Timestamp::from_secs(1), RelayAccess::Ruled);
    session.answer(Answer::Session(Subject::default(), SessionVerdict::Proceed));
    session.receive(Input::Octets(b"NOOP\r\n"));
    session.receive(Input::Tls(tls()));
    session.receive(Input::TimedOut);
    assert!(matches!(session.poll(), Action::Close));
}

mod properties {
    use super::dialogues::Player;

    /// Everything a session says and does for these octets, pushed in pieces of `size`.
    fn run(octets: &[u8], size: usize) -> (Vec<String>, Vec<String>) {
        let mut player =
            Player::new(&["lenient", "client=192.0.2.1", "max-errors=1000", "max-transactions=1000"], size);
        player.pump();
        player.send(octets);
        (player.replies.into(), player.acts.into())
    }

    proptest::proptest! {
        /// Whatever comes in whatever pieces: no panic, and the same dialogue.
        #[test]
        fn pieces_do_not_matter(parts in proptest::collection::vec(proptest::sample::select(vec![
            "EHLO a\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "RSET\r\n", "NOOP\n\r\n", "\r\n", "\n", "\r", ".", "x",
            "A: b\r\n", ".\r\n", "\r\n.\r\n", "HELO", " ", "VRFY x\r\n", "RCPT TO:<c@d>\r\nDATA\r\nA: b\r\n\r\ntext\r\n.\r\n",
        ]), 0..40), size in 1usize..20) {
            let octets = format!("EHLO a\r\nMAIL FROM:<a@b>\r\n{}", parts.concat()).into_bytes();
            let whole = run(&octets, usize::MAX);
            // Text in one packet with a refused DATA closes the connection, and does so in no smaller pieces.
            proptest::prop_assume!(!whole.1.contains(&"close".to_owned()));
            proptest::prop_assert_eq!(whole, run(&octets, size));
        }

        #[test]
        fn any_octets_at_all(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..500)) {
            run(&octets, 7);
        }
    }
}
