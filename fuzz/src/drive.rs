//! Plays any octets to a whole session, as its loop would, and holds it to what must always be so. The first octet chooses
//! the settings, the second the size of the pieces; then come the client's octets, and 0xFE in them is a packet's end.

use std::sync::Arc;

use crate::hooks::{AuthVerdict, Endpoint, MessageFacts, SessionFacts, SessionVerdict, Subject, TlsFacts};
use crate::mail::{Domain, QueueId};
use crate::session::{Action, Answer, Config, Input, MessageAnswer, Question, RelayAccess, RelayRules, Session};
use crate::smtp::{Extension, Extensions, Reply, Status};
use crate::time::Timestamp;

const MAX_MESSAGE: u64 = 600;
const MAX_HEADER: usize = 200;

/// Anything may come; whatever it is, the dialogue stays one.
pub fn fuzz_session(octets: &[u8]) {
    let [settings, piece, octets @ ..] = octets else { return };
    let mut drive = Drive::new(*settings);
    drive.go_on();
    for packet in octets.split(|octet| *octet == 0xFE) {
        for piece in packet.chunks(usize::from(*piece).max(1)) {
            drive.session.receive(Input::Octets(piece));
            drive.go_on();
        }
    }
    if settings & 1 != 0 {
        drive.session.receive(Input::Draining);
        drive.go_on();
    }
    drive.session.receive(Input::TimedOut);
    drive.go_on();
}

struct Drive {
    session: Session,
    settings: u8,
    /// Questions, to vary what is answered.
    asked: u32,
    /// Octets of the body since `Open`; none outside.
    body: Option<u64>,
    closed: bool,
}

impl Drive {
    fn new(settings: u8) -> Self {
        let tls = settings & 2 != 0;
        let facts = SessionFacts {
            id: "s".into(),
            listener: "l".into(),
            connected_at: Timestamp::from_secs(0),
            client: Endpoint { address: if settings & 4 != 0 { "192.0.2.1" } else { "198.51.100.7" }.into(), port: 1 },
            server: Endpoint { address: "198.51.100.1".into(), port: 25 },
            client_name: None,
            protocol: Default::default(),
            helo: None,
            tls: tls.then(TlsFacts::default),
            identity: None,
            may_relay: false,
            transactions: 0,
            refused_recipients: 0,
            withheld: Default::default(),
            notes: Default::default(),
        };
        let config = Config {
            hostname: "mx.example.net".into(),
            relay: RelayRules {
                networks: vec!["192.0.2.0/24".parse().unwrap()],
                domains: [Domain::parse("example.net").unwrap()].into(),
            },
            extensions: Extensions::of(&Extension::ALL),
            max_message_size: MAX_MESSAGE,
            max_header_size: MAX_HEADER,
            max_recipients: 3,
            max_transactions: 8,
            max_errors: 12,
            max_hops: 2,
            require_auth: settings & 8 != 0,
            allow_plaintext_auth: settings & 16 != 0,
        };
        Self { session: Session::new(Arc::new(config), facts), settings, asked: 0, body: None, closed: false }
    }

    /// Does what the session says, up to the next octet it wants.
    fn go_on(&mut self) {
        for _ in 0..100_000 {
            match self.session.poll() {
                Action::Read { .. } => return,
                Action::Send(octets) => self.said(&octets),
                Action::Ask(question) => {
                    let answer = self.answer(*question);
                    self.session.answer(answer);
                }
                Action::Begin => {
                    let access = if self.settings & 32 != 0 { RelayAccess::Asked } else { RelayAccess::Ruled };
                    self.session.begin(QueueId::from_u64(1), Timestamp::from_secs(1), access);
                }
                Action::Open => assert!(self.body.replace(0).is_none(), "opened twice"),
                Action::Keep(piece) => {
                    let body = self.body.as_mut().expect("kept and not opened");
                    *body += piece.len() as u64;
                    assert!(*body <= MAX_MESSAGE, "{body} octets were kept");
                }
                Action::Discard => self.body = None,
                Action::StartTls => {
                    self.session.receive(Input::Tls(TlsFacts::default()));
                    let facts = self.session.facts();
                    assert!(facts.identity.is_none() && facts.helo.is_none(), "remembered over STARTTLS");
                }
                Action::Close => {
                    self.closed = true;
                    return;
                }
                #[expect(unreachable_patterns, reason = "what is new to a loop is not done here")]
                _ => {}
            }
        }
        panic!("the session never waits");
    }

    fn said(&self, octets: &[u8]) {
        assert!(!self.closed, "said after the end");
        let text = std::str::from_utf8(octets).expect("replies are UTF-8");
        assert!(text.ends_with("\r\n"), "{text:?}");
        for line in text.split_terminator("\r\n") {
            let (code, rest) = line.split_at_checked(3).expect("a code");
            assert!(code.bytes().all(|b| b.is_ascii_digit()) && rest.starts_with([' ', '-']), "{line:?}");
            assert!(!line.contains(char::is_control) && line.len() <= 510, "{line:?}");
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        self.asked += 1;
        // With bit 6 every third question is refused.
        let refused = self.settings & 64 != 0 && self.asked % 3 == 0;
        let reply = || Reply::new(550, Status::new(5, 7, 1), "no");
        let verdict = if refused { SessionVerdict::Reject(reply()) } else { SessionVerdict::Proceed };
        match question {
            Question::Connect(subject) | Question::Helo(subject) | Question::Mail(subject) => {
                Answer::Session(subject, verdict)
            }
            Question::Rcpt(subject) => {
                let candidate = subject.candidate.as_ref().expect("a candidate");
                let text = candidate.mailbox.to_string();
                assert!(!text.contains(char::is_control), "{text:?}");
                Answer::Session(subject, verdict)
            }
            Question::Auth(subject, attempt) => {
                assert!(!attempt.name.contains(char::is_control), "{:?}", attempt.name);
                Answer::Auth(subject, if refused { AuthVerdict::Failure(reply()) } else { AuthVerdict::Proceed })
            }
            Question::Message(subject) => Answer::Message(self.message(&subject, refused)),
            #[expect(unreachable_patterns, reason = "what is new to a loop is not asked here")]
            _ => Answer::Message(MessageAnswer::Refused(reply())),
        }
    }

    fn message(&mut self, subject: &Subject, refused: bool) -> MessageAnswer {
        let body = self.body.take().expect("a message that was opened");
        let transaction = subject.transaction.as_ref().expect("a transaction");
        assert!((1..=3).contains(&transaction.recipients.len()), "{} recipients", transaction.recipients.len());
        let message: &MessageFacts = subject.message.as_ref().expect("a message");
        let block = message.header.block();
        assert!(block.len() <= MAX_HEADER && (block.is_empty() || block.ends_with(b"\r\n")), "{block:?}");
        assert!(block.len() as u64 + body <= MAX_MESSAGE, "{} and {body} octets", block.len());
        if refused { MessageAnswer::Refused(Reply::new(554, Status::new(5, 7, 1), "no")) } else { MessageAnswer::Queued(QueueId::from_u64(1)) }
    }
}
