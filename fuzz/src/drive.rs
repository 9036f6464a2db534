//! Plays any octets to a whole session, as its loop would, and holds it to what must always be so. The first two octets
//! choose the settings, the third the size of the pieces; then come the client's octets, and 0xFE in them is a packet's end.

use std::sync::Arc;

use crate::hooks::{AuthVerdict, Endpoint, MessageFacts, SessionFacts, SessionVerdict, Subject, TlsFacts};
use crate::mail::{Domain, QueueId};
use crate::session::{
    Action, Answer, AuthMeans, Config, Input, LineEnds, MessageAnswer, Question, RelayAccess, RelayRules, ScramVerifier,
    Session,
};
use crate::smtp::{Extensions, Reply, Status, extension};
use crate::time::Timestamp;

const MAX_MESSAGE: u64 = 600;
const MAX_HEADER: usize = 200;

/// Anything may come; whatever it is, the dialogue stays one.
pub fn fuzz_session(octets: &[u8]) {
    let [settings, modes, piece, octets @ ..] = octets else { return };
    let mut drive = Drive::new(*settings, *modes);
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

/// A message in chunks (RFC 3030): the first octet is the size of the pieces, the second that of the chunks, the rest is the
/// body. What is taken is what was sent, and what has nothing wrong with it is taken.
pub fn fuzz_chunks(octets: &[u8]) {
    let [piece, chunk, body @ ..] = octets else { return };
    let content = [CHUNKED, body].concat();
    let chunks: Vec<&[u8]> = content.chunks(usize::from(*chunk).max(1)).collect();
    let mut sent = ENVELOPE.to_vec();
    for (at, chunk) in chunks.iter().enumerate() {
        let last = if at + 1 == chunks.len() { " LAST" } else { "" };
        sent.extend_from_slice(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
        sent.extend_from_slice(chunk);
    }
    let taken = take(&sent, *piece);
    hold(&taken, &content);
}

/// A message by DATA, as an honest client sends it: the first octet is the size of the pieces, the rest is the body.
pub fn fuzz_data(octets: &[u8]) {
    let [piece, body @ ..] = octets else { return };
    let content = [CHUNKED, body, b"\r\n"].concat();
    let mut sent = [ENVELOPE, b"DATA\r\n"].concat();
    let mut at_start = true;
    for (at, octet) in content.iter().enumerate() {
        if at_start && *octet == b'.' {
            sent.push(b'.');
        }
        sent.push(*octet);
        at_start = *octet == b'\n' && at > 0 && content[at - 1] == b'\r';
    }
    sent.extend_from_slice(b".\r\n");
    let taken = take(&sent, *piece);
    hold(&taken, &content);
}

const ENVELOPE: &[u8] = b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.net>\r\n";
const CHUNKED: &[u8] = b"A: b\r\n\r\n";

/// What a session takes of these octets.
fn take(sent: &[u8], piece: u8) -> Vec<Vec<u8>> {
    let mut drive = Drive::new(0, 0);
    drive.go_on();
    for piece in sent.chunks(usize::from(piece).max(1)) {
        drive.session.receive(Input::Octets(piece));
        drive.go_on();
    }
    drive.taken
}

/// One message at most, whole, and the one that was sent; it is taken unless something in it is against the rules.
fn hold(taken: &[Vec<u8>], content: &[u8]) {
    assert!(taken.len() <= 1, "{taken:?}");
    if let Some(one) = taken.first() {
        assert_eq!(one, content);
    }
    let pairs = content.windows(2).filter(|two| two == b"\r\n").count();
    let ends = content.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count();
    let is_bare = ends != 2 * pairs || content.contains(&0);
    let long = content.split(|octet| *octet == b'\n').any(|line| line.len() > 90);
    if is_bare {
        assert!(taken.is_empty(), "taken with a bare CR, LF or NUL");
    } else if !long && content.len() <= 500 {
        assert_eq!(taken.len(), 1, "refused for nothing");
    }
}

struct Drive {
    session: Session,
    settings: u8,
    /// Questions, to vary what is answered.
    asked: u32,
    /// The body since `Open`; none outside.
    body: Option<Vec<u8>>,
    /// Messages that were asked about.
    taken: Vec<Vec<u8>>,
    closed: bool,
}

impl Drive {
    fn new(settings: u8, modes: u8) -> Self {
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
            extensions: Extensions::of(&extension::ALL),
            max_message_size: MAX_MESSAGE,
            max_header_size: MAX_HEADER,
            max_recipients: 3,
            max_transactions: 8,
            max_errors: 12,
            max_hops: 2,
            max_line_length: 100,
            line_ends: if modes & 1 != 0 { LineEnds::Normalise } else { LineEnds::Reject },
            strict_pipelining: modes & 2 != 0,
            lmtp: modes & 4 != 0,
            submission: modes & 64 != 0,
            xclient_from: if modes & 8 != 0 { vec!["198.51.100.0/24".parse().unwrap()] } else { Vec::new() },
            max_hold: 60,
            require_auth: settings & 8 != 0,
            allow_plaintext_auth: settings & 16 != 0,
            auth: Default::default(),
        };
        let means = AuthMeans { verifiers: modes & 16 != 0, tokens: modes & 32 != 0 };
        Self { session: Session::new(Arc::new(config), facts).with_means(means), settings, asked: 0, body: None, taken: Vec::new(), closed: false }
    }

    /// Does what the session says, up to the next octet it wants.
    fn go_on(&mut self) {
        for _ in 0..100_000 {
            match self.session.poll() {
                Action::Read { .. } => return,
                Action::Represent => {}
                Action::Listen => self.session.receive(Input::Listened),
                Action::Send(octets) => self.said(&octets),
                Action::Ask(question) => {
                    let answer = self.answer(*question);
                    self.session.answer(answer);
                }
                Action::Begin => {
                    let access = if self.settings & 32 != 0 { RelayAccess::Asked } else { RelayAccess::Ruled };
                    self.session.begin(QueueId::from_u64(1), Timestamp::from_secs(1), access);
                }
                Action::Open => assert!(self.body.replace(Vec::new()).is_none(), "opened twice"),
                Action::Keep(piece) => {
                    let body = self.body.as_mut().expect("kept and not opened");
                    body.extend_from_slice(&piece);
                    assert!(body.len() as u64 <= MAX_MESSAGE, "{} octets were kept", body.len());
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
            Question::Verifier(_) => Answer::Verifier(ScramVerifier {
                iterations: 4096,
                salt: b"salt"[..].into(),
                stored_key: [1; 32],
                server_key: [2; 32],
            }),
            Question::Auth(subject, attempt, _) => {
                assert!(!attempt.name.contains(char::is_control), "{:?}", attempt.name);
                Answer::Auth(subject, if refused { AuthVerdict::Failure(reply()) } else { AuthVerdict::Proceed })
            }
            Question::Message(subject) => Answer::Message(self.message(&subject, refused)),
        }
    }

    fn message(&mut self, subject: &Subject, refused: bool) -> MessageAnswer {
        let body = self.body.take().expect("a message that was opened");
        let transaction = subject.transaction.as_ref().expect("a transaction");
        assert!((1..=3).contains(&transaction.recipients.len()), "{} recipients", transaction.recipients.len());
        let message: &MessageFacts = subject.message.as_ref().expect("a message");
        let block = message.header.block();
        assert!(block.len() <= MAX_HEADER && (block.is_empty() || block.ends_with(b"\r\n")), "{block:?}");
        assert!((block.len() + body.len()) as u64 <= MAX_MESSAGE, "{} and {} octets", block.len(), body.len());
        let separator: &[u8] = if message.separator { b"\r\n" } else { b"" };
        self.taken.push([&block[..], separator, &body].concat());
        if refused { MessageAnswer::Refused(Reply::new(554, Status::new(5, 7, 1), "no")) } else { MessageAnswer::Queued(QueueId::from_u64(1), Vec::new()) }
    }
}
