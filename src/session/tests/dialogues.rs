//! Plays the transcripts below `tests/dialogues` to a session, without sockets. Their language is described in
//! `tests/dialogues/README.md`.

use std::collections::VecDeque;
use std::path::Path;

use super::super::{Action, Answer, Input, MessageAnswer, Question, RelayAccess, Session};
use super::{session, tls};
use crate::hooks::{AuthVerdict, Identity, SessionVerdict, Subject};
use crate::mail::QueueId;
use crate::smtp::{Reply, Status};
use crate::time::Timestamp;

#[test]
fn transcripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "smtp") {
            let script = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            play(&name, &script, usize::MAX);
            // Cutting the client's octets anywhere changes nothing, but where the standard makes packets matter.
            if !script.lines().any(|line| line == "set: packets-matter") {
                play(&name, &script, 1);
                play(&name, &script, 3);
            }
            played += 1;
        }
    }
    assert!(played >= 40, "{played} transcripts only");
}

fn play(name: &str, script: &str, piece: usize) {
    let mut player: Option<Player> = None;
    let mut settings = Vec::new();
    for (number, line) in script.lines().enumerate() {
        let at = format!("{name}.smtp:{} (pieces of {piece})", number + 1);
        let Some((word, rest)) = line.split_once(": ").filter(|_| !line.starts_with('#')) else {
            assert!(line.is_empty() || line.starts_with('#'), "{at}: what is {line:?}?");
            continue;
        };
        if word == "set" {
            settings.push(rest);
            continue;
        }
        player.get_or_insert_with(|| Player::new(&settings, piece)).step(word, rest, &at);
    }
    player.unwrap().finish(name);
}

pub(super) struct Player {
    session: Session,
    piece: usize,
    pub(super) replies: VecDeque<String>,
    pub(super) acts: VecDeque<String>,
    answers: Vec<(String, String)>,
    body: Vec<u8>,
    started: bool,
    closed: bool,
    relay_access: RelayAccess,
}

impl Player {
    pub(super) fn new(settings: &[&str], piece: usize) -> Self {
        Self {
            session: session(settings),
            piece,
            replies: VecDeque::new(),
            acts: VecDeque::new(),
            answers: Vec::new(),
            body: Vec::new(),
            started: false,
            closed: false,
            relay_access: if settings.contains(&"relay-asked") { RelayAccess::Asked } else { RelayAccess::Ruled },
        }
    }

    /// The hook's answer, in place of `proceed`.
    pub(super) fn will_say(&mut self, hook: &str, answer: &str) {
        self.answers.push((hook.into(), answer.into()));
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.session.facts().identity.as_ref()
    }

    fn step(&mut self, word: &str, rest: &str, at: &str) {
        match word {
            "answer" => {
                let (hook, answer) = rest.split_once(' ').unwrap();
                return self.answers.push((hook.into(), answer.into()));
            }
            "in" if rest == "draining" && !self.started => return self.session.receive(Input::Draining),
            "early" => return self.session.receive(Input::Octets(&unescape(rest))),
            _ => {}
        }
        if !std::mem::replace(&mut self.started, true) {
            self.pump();
        }
        match (word, rest) {
            ("S", wanted) => {
                let reply = self.replies.pop_front().unwrap_or_else(|| panic!("{at}: no reply, wanted {wanted}"));
                let same = wanted.strip_suffix('…').map_or(reply == wanted, |prefix| reply.starts_with(prefix));
                assert!(same, "{at}: the reply is {reply}, wanted {wanted}");
            }
            ("act" | "ask", wanted) => loop {
                let act = self.acts.pop_front().unwrap_or_else(|| panic!("{at}: did not happen: {wanted}"));
                if act == wanted || wanted.strip_suffix('…').is_some_and(|prefix| act.starts_with(prefix)) {
                    break;
                }
            },
            ("no-act", unwanted) => {
                assert!(!self.acts.iter().any(|act| act.starts_with(unwanted)), "{at}: {:?}", self.acts);
            }
            ("C", line) => self.send(&[&unescape(line)[..], b"\r\n"].concat()),
            ("R", octets) => self.send(&unescape(octets)),
            ("in", "tls") => self.tell(Input::Tls(tls())),
            ("in", "timeout") => self.tell(Input::TimedOut),
            ("in", "draining") => self.tell(Input::Draining),
            ("go", to) => self.go(to, at),
            _ => panic!("{at}: what is {word}?"),
        }
    }

    /// The way to a point that a transcript is not about.
    fn go(&mut self, to: &str, at: &str) {
        self.replies.clear();
        let lhlo = ["LHLO client.example", "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@example.net>", "DATA"];
        let way: &[&str] = match to {
            "lhlo" => &lhlo[..1],
            "lmtp-rcpt" => &lhlo[..3],
            "ehlo" => &["EHLO client.example"],
            "mail" => &["EHLO client.example", "MAIL FROM:<ann@client.example>"],
            "rcpt" => &["EHLO client.example", "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@example.net>"],
            "data" => &["EHLO client.example", "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@example.net>", "DATA"],
            _ => panic!("{at}: where is {to}?"),
        };
        for line in way {
            self.send(format!("{line}\r\n").as_bytes());
            assert!(self.replies.iter().all(|reply| reply.starts_with(['2', '3'])), "{at}: {:?}", self.replies);
            self.replies.clear();
        }
    }

    pub(super) fn send(&mut self, octets: &[u8]) {
        for piece in octets.chunks(self.piece.min(octets.len().max(1))) {
            if !self.closed {
                self.session.receive(Input::Octets(piece));
                self.pump();
            }
        }
    }

    fn tell(&mut self, input: Input<'_>) {
        self.session.receive(input);
        self.pump();
    }

    pub(super) fn pump(&mut self) {
        loop {
            match self.session.poll() {
                Action::Read { .. } => return,
                Action::Send(octets) => {
                    let text = String::from_utf8(octets.to_vec()).unwrap();
                    assert!(text.ends_with("\r\n") && !text.contains("\r\n\r\n"), "{text:?}");
                    self.replies.extend(text.split_terminator("\r\n").map(Into::into));
                }
                Action::Ask(question) => self.answer(*question),
                Action::Listen => self.session.receive(Input::Listened),
                Action::Begin => {
                    self.session.begin(QueueId::from_u64(1), Timestamp::from_secs(1), self.relay_access);
                }
                Action::Open => self.act("open"),
                Action::Keep(piece) => self.body.extend_from_slice(&piece),
                Action::Discard => {
                    self.body.clear();
                    self.act("discard");
                }
                Action::StartTls => return self.act("starttls"),
                Action::Close => {
                    if !std::mem::replace(&mut self.closed, true) {
                        self.act("close");
                    }
                    return;
                }
            }
        }
    }

    fn act(&mut self, what: &str) {
        self.acts.push_back(what.into());
    }

    fn answer(&mut self, question: Question) {
        let hook = match question {
            Question::Connect(subject) => self.answer_session("connect", String::new(), subject),
            Question::Helo(subject) => {
                let facts = subject.session.as_ref().unwrap();
                let about = format!("{} {:?}", facts.helo.as_deref().unwrap(), facts.protocol);
                self.answer_session("helo", about, subject)
            }
            Question::Mail(subject) => {
                let about = subject.transaction.as_ref().unwrap().sender.to_string();
                self.answer_session("mail", about, subject)
            }
            Question::Rcpt(subject) => {
                let about = subject.candidate.as_ref().unwrap().mailbox.to_string();
                self.answer_session("rcpt", about, subject)
            }
            Question::Verifier(name) => {
                self.act(&format!("verifier {name}"));
                Answer::Verifier(super::sasl::pencil())
            }
            Question::Auth(subject, attempt, _) => {
                let acts_as = attempt.acts_as.as_deref().unwrap_or("-");
                let secret = attempt.secret.as_deref().unwrap_or("-");
                self.act(&format!("auth {} {} {acts_as} {secret}", attempt.mechanism, attempt.name));
                Answer::Auth(subject, self.auth_verdict())
            }
            Question::Message(subject) => {
                let message = subject.message.unwrap();
                self.act("message");
                self.act(&format!("header {}", escape(message.header.block())));
                self.act(&format!("separator {}", message.separator));
                let body = std::mem::take(&mut self.body);
                self.act(&format!("body {}", escape(&body)));
                for recipient in &subject.transaction.unwrap().recipients {
                    self.act(&format!("recipient {} {}", recipient.index, recipient.mailbox));
                }
                Answer::Message(self.message_answer())
            }
        };
        self.session.answer(hook);
    }

    fn canned(&mut self, hook: &str) -> Option<String> {
        let at = self.answers.iter().position(|(of, _)| of == hook)?;
        Some(self.answers.remove(at).1)
    }

    fn answer_session(&mut self, hook: &str, about: String, mut subject: Subject) -> Answer {
        self.act(format!("{hook} {about}").trim_end());
        let canned = self.canned(hook).unwrap_or_else(|| "proceed".into());
        let (verdict, text) = canned.split_once(' ').unwrap_or((&canned, ""));
        let verdict = match verdict {
            "proceed" => SessionVerdict::Proceed,
            "accept" => SessionVerdict::Accept,
            "reject" => SessionVerdict::Reject(reply(text)),
            "tempfail" => SessionVerdict::Tempfail(reply(text)),
            "close" => SessionVerdict::Close(reply(text)),
            "rewrite" => {
                subject.candidate.as_mut().unwrap().mailbox = crate::mail::Mailbox::parse(text, false).unwrap();
                SessionVerdict::Proceed
            }
            "lose" => {
                subject.transaction = None;
                SessionVerdict::Proceed
            }
            other => panic!("what is {other}?"),
        };
        Answer::Session(subject, verdict)
    }

    fn auth_verdict(&mut self) -> AuthVerdict {
        let canned = self.canned("auth").unwrap_or_else(|| "proceed".into());
        let (verdict, text) = canned.split_once(' ').unwrap_or((&canned, ""));
        match verdict {
            "proceed" => AuthVerdict::Proceed,
            "success" => AuthVerdict::Success(Identity {
                mechanism: "PLAIN".into(),
                name: text.into(),
                acts_as: None,
                attributes: vec![],
            }),
            "failure" => AuthVerdict::Failure(reply(text)),
            "tempfail" => AuthVerdict::Tempfail(reply(text)),
            other => panic!("what is {other}?"),
        }
    }

    fn message_answer(&mut self) -> MessageAnswer {
        let canned = self.canned("message").unwrap_or_else(|| "queue".into());
        let (answer, text) = canned.split_once(' ').unwrap_or((&canned, ""));
        match answer {
            "queue" => MessageAnswer::Queued(QueueId::from_u64(1), Vec::new()),
            "queue-but" => {
                let (index, text) = text.split_once(' ').unwrap();
                MessageAnswer::Queued(QueueId::from_u64(1), vec![(index.parse().unwrap(), reply(text))])
            }
            "discard" => MessageAnswer::Discarded(QueueId::from_u64(1)),
            "refuse" => MessageAnswer::Refused(reply(text)),
            "close" => MessageAnswer::RefusedClosing(reply(text)),
            other => panic!("what is {other}?"),
        }
    }

    fn finish(self, name: &str) {
        assert!(self.replies.is_empty(), "{name}: said more: {:?}", self.replies);
        assert!(self.answers.is_empty(), "{name}: never asked: {:?}", self.answers);
    }
}

fn reply(text: &str) -> Reply {
    let (code, rest) = text.split_once(' ').unwrap();
    let (status, rest) = Status::take(rest).unwrap();
    Reply::new(code.parse().unwrap(), status, rest)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('r')) => octets.push(b'\r'),
            ('\\', Some('n')) => octets.push(b'\n'),
            ('\\', Some('t')) => octets.push(b'\t'),
            ('\\', Some('\\')) => octets.push(b'\\'),
            ('\\', Some('x')) => {
                let hex: String = chars.by_ref().take(2).collect();
                octets.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            // `\*n*text*` is `text`, n times.
            ('\\', Some('*')) => {
                let rest: String = chars.by_ref().collect();
                let mut parts = rest.splitn(3, '*');
                let times: usize = parts.next().unwrap().parse().unwrap();
                octets.extend_from_slice(&unescape(parts.next().unwrap()).repeat(times));
                octets.extend_from_slice(&unescape(parts.next().unwrap()));
                return octets;
            }
            ('\\', other) => panic!("what is \\{other:?}?"),
            (c, _) => octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    octets
}

fn escape(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace('\t', "\\t")
}
