//! The relay's two halves of SMTP against each other, without sockets: the delivery client sends, the session takes.
//!
//! What one of them gets wrong a scripted peer may get wrong in the same way; here neither knows what the other expects.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use waypost::delivery::client::OutboundMail;
use waypost::delivery::connection::{Connection, Opening};
use waypost::delivery::connector::{Connecting, Connector, Secured, Stream};
use waypost::delivery::requirement::Requirement;
use waypost::delivery::{Egress, Timeouts};
use waypost::hooks::{Endpoint, OutcomeKind, SessionFacts, SessionVerdict, TlsPolicy};
use waypost::mail::{Annotations, BodyKind, Mailbox, QueueId, Recipient, ReversePath};
use waypost::routing::{Address, Target};
use waypost::session::{
    Action, Answer, Config, Input, LineEnds, MessageAnswer, Question, RelayAccess, RelayRules, Session,
};
use waypost::smtp::{Extension, Extensions, Reply, Status};
use waypost::store::Content;
use waypost::time::Timestamp;

/// Larger than all replies to a group of commands, as a socket's buffer is (RFC 2920 section 3.1).
const PIPE: usize = 1 << 20;

/// A message on its way, and whom it is for.
#[derive(Clone, Debug)]
struct Letter {
    sender: &'static str,
    recipients: Vec<Fate>,
    body: Vec<u8>,
}

/// What the receiving side makes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Refused,
    Deferred,
}

/// What the session handed over, as text where it can be.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    sender: String,
    recipients: Vec<String>,
    eight_bit: bool,
    content: Vec<u8>,
}

impl Letter {
    const HEAD: &'static str = "From: <a@client.test>\r\nSubject: two parties\r\n\r\n";

    fn addresses(&self) -> Vec<String> {
        self.recipients.iter().enumerate().map(|(n, fate)| format!("{fate:?}-{n}@there.test")).collect()
    }

    /// What the session has to keep of it; none where nobody takes it.
    fn kept(&self) -> Option<Kept> {
        let taken = self.addresses().into_iter().filter(|address| address.starts_with("Taken"));
        let recipients: Vec<String> = taken.collect();
        let content = [Self::HEAD.as_bytes(), &self.body].concat();
        let kept = Kept { sender: format!("<{}>", self.sender), recipients, eight_bit: true, content };
        (!kept.recipients.is_empty()).then_some(kept)
    }
}

impl Fate {
    fn outcome(self) -> OutcomeKind {
        match self {
            Self::Taken => OutcomeKind::Delivered,
            Self::Refused => OutcomeKind::Permanent,
            Self::Deferred => OutcomeKind::Temporary,
        }
    }
}

/// Hands out one end of a pipe.
struct Pipe(Mutex<Option<DuplexStream>>);

impl Connector for Pipe {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a Egress) -> Connecting<'a, Box<dyn Stream>> {
        let end = self.0.lock().unwrap().take().expect("one connection");
        Box::pin(async move { Ok(Box::new(end) as Box<dyn Stream>) })
    }

    fn secure<'a>(&'a self, _: Box<dyn Stream>, _: &'a str, _: &'a Requirement) -> Connecting<'a, Secured> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

fn session() -> Session {
    let config = Config {
        hostname: "mx.test".into(),
        relay: RelayRules { networks: vec!["192.0.2.0/24".parse().unwrap()], domains: [].into() },
        extensions: Extensions::of(&[
            Extension::Pipelining,
            Extension::Size,
            Extension::EightBitMime,
            Extension::SmtpUtf8,
            Extension::Dsn,
        ]),
        max_message_size: 1 << 24,
        max_header_size: 1 << 16,
        max_recipients: 100,
        max_transactions: 100,
        max_errors: 1000,
        max_hops: 30,
        max_line_length: 1 << 20,
        line_ends: LineEnds::Reject,
        strict_pipelining: true,
        lmtp: false,
        submission: false,
        xclient_from: Vec::new(),
        max_hold: 0,
        require_auth: false,
        allow_plaintext_auth: false,
        auth: Default::default(),
    };
    let facts = SessionFacts {
        id: "s1".into(),
        listener: "smtp".into(),
        connected_at: Timestamp::from_secs(0),
        client: Endpoint { address: "192.0.2.1".into(), port: 4711 },
        server: Endpoint { address: "192.0.2.25".into(), port: 25 },
        client_name: None,
        protocol: Default::default(),
        helo: None,
        tls: None,
        identity: None,
        may_relay: false,
        transactions: 0,
        refused_recipients: 0,
        withheld: Extensions::NONE,
        notes: Annotations::default(),
    };
    Session::new(Arc::new(config), facts)
}

/// Drives a session to its end, reading and writing `piece` octets at a time; what it kept.
async fn receive(mut stream: DuplexStream, piece: usize) -> Vec<Kept> {
    let (mut session, mut kept, mut body, mut buffer) = (session(), Vec::new(), Vec::new(), vec![0; piece]);
    loop {
        match session.poll() {
            Action::Send(octets) => {
                for part in octets.chunks(piece) {
                    // The client says QUIT and is gone.
                    if stream.write_all(part).await.is_err() {
                        return kept;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Action::Read { .. } => match stream.read(&mut buffer).await.unwrap() {
                0 => return kept,
                read => session.receive(Input::Octets(&buffer[..read])),
            },
            Action::Listen => session.receive(Input::Listened),
            Action::Ask(question) => session.answer(answer(*question, &mut body, &mut kept)),
            Action::Begin => session.begin(QueueId::from_u64(7), Timestamp::from_secs(7), RelayAccess::Ruled),
            Action::Open => body.clear(),
            Action::Keep(octets) => body.extend_from_slice(&octets),
            Action::Discard | Action::Represent => {}
            Action::StartTls => panic!("not offered"),
            Action::Close => return kept,
        }
    }
}

fn answer(question: Question, body: &mut Vec<u8>, kept: &mut Vec<Kept>) -> Answer {
    match question {
        Question::Connect(subject) | Question::Helo(subject) | Question::Mail(subject) => {
            Answer::Session(subject, SessionVerdict::Proceed)
        }
        Question::Rcpt(subject) => {
            let candidate = subject.candidate.as_ref().unwrap().mailbox.to_string();
            let verdict = match candidate.split('-').next() {
                Some("Refused") => SessionVerdict::Reject(Reply::new(550, Status::new(5, 1, 1), "nobody here")),
                Some("Deferred") => SessionVerdict::Tempfail(Reply::new(450, Status::new(4, 2, 1), "not now")),
                _ => SessionVerdict::Proceed,
            };
            Answer::Session(subject, verdict)
        }
        Question::Auth(..) | Question::Verifier(_) => panic!("not offered"),
        Question::Message(subject) => {
            let (transaction, message) = (subject.transaction.unwrap(), subject.message.unwrap());
            let separator: &[u8] = if message.separator { b"\r\n" } else { b"" };
            kept.push(Kept {
                sender: transaction.sender.to_string(),
                recipients: transaction.recipients.iter().map(|r| r.mailbox.to_string()).collect(),
                eight_bit: transaction.body_kind == BodyKind::EightBitMime,
                content: [message.header.block(), separator, body].concat(),
            });
            body.clear();
            Answer::Message(MessageAnswer::Queued(QueueId::from_u64(7), Vec::new()))
        }
    }
}

/// Sends all letters over one connection, each announcing the next one where `announce` says so; the outcomes.
async fn send(pipe: Pipe, letters: &[Letter], announce: bool) -> Vec<Vec<OutcomeKind>> {
    let address = Address::Tcp(SocketAddr::from(([192, 0, 2, 25], 25)));
    let target = Target::new(address, &"mx.test".into(), false);
    let how = Opening {
        hostname: "client.test".into(),
        tls: Requirement::of(TlsPolicy::Opportunistic),
        credential: None,
        source: Egress::default(),
        timeouts: Timeouts::default(),
    };
    let mut connection = Connection::open(&pipe, &target, &how).await.unwrap();
    let parts: Vec<_> = letters.iter().map(parts).collect();
    let mails: Vec<_> = parts.iter().map(mail).collect();
    let mut outcomes = Vec::new();
    for (n, mail) in mails.iter().enumerate() {
        let next = mails.get(n + 1).filter(|_| announce);
        let delivered = connection.send_with_next(mail, next).await;
        outcomes.push(delivered.iter().map(|d| d.kind).collect());
        assert!(connection.is_usable(), "after letter {n}: {delivered:?}");
    }
    connection.quit().await;
    outcomes
}

type Parts = (ReversePath, Vec<Recipient>, Bytes, Content);

fn parts(letter: &Letter) -> Parts {
    let sender = (!letter.sender.is_empty()).then(|| Mailbox::parse(letter.sender, false).unwrap());
    let recipient = |(index, address): (usize, String)| {
        let mailbox = Mailbox::parse(&address, false).unwrap();
        Recipient { index: u32::try_from(index).unwrap(), original: mailbox.clone(), mailbox, params: Vec::new() }
    };
    let recipients = letter.addresses().into_iter().enumerate().map(recipient).collect();
    let body = Content::Memory(letter.body.clone().into());
    (ReversePath(sender), recipients, Bytes::from_static(Letter::HEAD.as_bytes()), body)
}

fn mail((sender, recipients, head, body): &Parts) -> OutboundMail<'_> {
    OutboundMail {
        sender,
        recipients,
        body_kind: BodyKind::EightBitMime,
        terms: Default::default(),
        smtputf8: false,
        size: head.len() as u64 + body.len(),
        params: &[],
        prepended: &[],
        head,
        body,
    }
}

/// Lines that try what is done to dots, in a body that fits one write or does not.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        &b""[..],
        b".",
        b"..",
        b".x",
        b"x.",
        b"QUIT",
        b"RSET",
        b"Gr\xc3\xbc\xc3\x9fe",
        b"\xff\x01\xfe",
        &[b'.'; 997],
    ]);
    let lines = prop::collection::vec(line, 0..12)
        .prop_map(|lines| lines.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect::<Vec<u8>>());
    (lines, prop::sample::select(vec![1, 1, 1, 30])).prop_map(|(lines, times)| lines.repeat(times))
}

fn letter() -> impl Strategy<Value = Letter> {
    let fate = prop::sample::select(vec![Fate::Taken, Fate::Taken, Fate::Refused, Fate::Deferred]);
    let sender = prop::sample::select(vec!["", "a@client.test"]);
    (sender, prop::collection::vec(fate, 1..5), body()).prop_map(|(sender, recipients, body)| Letter {
        sender,
        recipients,
        body,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_client_sends_is_what_the_session_keeps(
        letters in prop::collection::vec(letter(), 1..4),
        announce in any::<bool>(),
        piece in prop::sample::select(vec![1usize, 2, 3, 7, 100, 65536]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (outcomes, kept) = runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            tokio::join!(send(Pipe(Mutex::new(Some(ours))), &letters, announce), receive(theirs, piece))
        });
        let expected: Vec<Vec<_>> =
            letters.iter().map(|letter| letter.recipients.iter().map(|fate| fate.outcome()).collect()).collect();
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(kept, letters.iter().filter_map(Letter::kept).collect::<Vec<_>>());
    }
}
