//! Plays the transcripts below `tests/dialogues` to a session, without sockets. Their language is described in
//! `tests/dialogues/README.md`.

use std::collections::VecDeque;

use super::super::{Action, Answer, Input, MessageAnswer, Question, RelayAccess, Session};
use super::{session, tls};
use crate::hooks::{AuthVerdict, Identity, SessionVerdict, Subject};
use crate::mail::QueueId;
use crate::smtp::{Reply, Status};
use crate::time::Timestamp;

#[path = "../../../tests/it/transcripts/script.rs"]
pub(super) mod script;

use script::{Script, escape, is_wanted, unescape, way};

#[test]
fn transcripts_hold() {
    let scripts = Script::all();
    let mut wrong = Vec::new();
    for script in scripts.iter().filter(|script| !script.is_set("real")) {
        // Cutting the client's octets anywhere changes nothing, but where the standard makes packets matter.
        for piece in script.pieces() {
            // All that is wrong is shown at once; what it is was said where it was noticed.
            if std::panic::catch_unwind(|| play(script, *piece)).is_err() {
                wrong.push(format!("{} in pieces of {piece}", script.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(scripts.len() >= 40, "{} transcripts only", scripts.len());
}

fn play(script: &Script, piece: usize) {
    let settings: Vec<&str> = script.settings.iter().map(|setting| &**setting).collect();
    let mut player = Player::new(&settings, piece);
    for step in &script.steps {
        let at = format!("{}.smtp:{} (pieces of {piece})", script.name, step.line);
        player.step(&step.word, &step.rest, &at);
    }
    player.finish(&script.name);
}

pub(super) struct Player {
    session: Session,
    pub(super) piece: usize,
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
            // What arrives is seen where the real program is played to.
            "sink" => return,
            _ => {}
        }
        if !std::mem::replace(&mut self.started, true) {
            self.pump();
        }
        match (word, rest) {
            ("S", wanted) => {
                let reply = self.replies.pop_front().unwrap_or_else(|| panic!("{at}: no reply, wanted {wanted}"));
                assert!(is_wanted(&reply, wanted), "{at}: the reply is {reply}, wanted {wanted}");
            }
            ("reply", code) => loop {
                let line = self.replies.pop_front().unwrap_or_else(|| panic!("{at}: no reply, wanted {code}"));
                assert!(line.starts_with(code), "{at}: the reply is {line}, wanted {code}");
                if line.as_bytes().get(3) != Some(&b'-') {
                    break;
                }
            },
            ("act" | "ask", wanted) => loop {
                let act = self.acts.pop_front().unwrap_or_else(|| panic!("{at}: did not happen: {wanted}"));
                if is_wanted(&act, wanted) {
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
        assert!(self.replies.is_empty(), "{at}: said more: {:?}", self.replies);
        for line in way(to) {
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
                Action::Represent => self.act("represent"),
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
                for recipient in subject.transaction.unwrap().recipients.iter() {
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
