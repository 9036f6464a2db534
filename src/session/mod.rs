//! The session: the server's half of the SMTP dialogue as a machine without I/O.
//!
//! Octets go in through [`Session::receive`], what is to be done comes out of [`Session::poll`], answers come back through
//! [`Session::answer`]. May import `mail`, `smtp` and the types of `hooks`; must never touch a socket, a clock, the queue
//! or tokio.
//!
//! The states and where each is dealt with: `greeting` (banner, HELO, EHLO, STARTTLS), `proxied` (XCLIENT), `sasl` (AUTH), `transaction` (MAIL, RCPT), `data` (DATA up to the answer) and `chunk` (BDAT). Commands that were pipelined (RFC 2920) wait uncut while a
//! question is out; the replies they get are gathered until the client has to be waited for.

mod action;
mod chunk;
mod config;
mod data;
mod faults;
mod greeting;
mod params;
mod proxied;
mod sasl;
mod transaction;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;

pub use action::{Action, Answer, Awaited, Input, MessageAnswer, Question, RelayAccess, Vouches};
pub use config::{Config, LineEnds, RelayRules};
pub use faults::Faults;
#[doc(hidden)]
pub use sasl::fuzz_sasl;
pub use sasl::{AuthMeans, AuthRules, CertificateName, Mechanism, ScramVerifier};

use crate::hooks::{Protocol, SessionFacts, Subject, TransactionFacts};
use crate::smtp::command::{self, Command, CommandError};
use crate::smtp::line::{Cut, Lines};
use crate::smtp::{Extension, Extensions, Reply};

/// RFC 5321 section 4.5.3.1.4 has 512 octets; SIZE, BODY, SMTPUTF8, DSN and AUTH parameters may add more than 1,000
/// (RFC 1870, RFC 6152, RFC 6531, RFC 3461, RFC 4954).
const COMMAND_LINE: usize = 2048;
/// RFC 4954 section 4.
const AUTH_LINE: usize = 12_288;

/// One connection, from the greeting to QUIT.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    facts: Arc<SessionFacts>,
    /// Where the client comes from lets it relay, whoever it is.
    trusted: bool,
    /// What answers can be checked with.
    means: AuthMeans,
    state: State,
    /// Received, not yet cut into commands. Empty while mail data comes.
    lines: Lines,
    /// None while it travels with a question.
    transaction: Option<Arc<TransactionFacts>>,
    /// Of the transaction under way.
    relay_access: RelayAccess,
    /// What came of the message by BDAT so far, between two chunks.
    incoming: Option<Box<data::Incoming>>,
    /// LMTP: the recipients of the transaction by index, once for each RCPT that was taken, a repeated one too: so many answers
    /// the message gets (RFC 2033 section 4.2). At most `max_recipients`.
    lmtp: Vec<u32>,
    /// The listener lets this peer say for whom it speaks.
    may_xclient: bool,
    /// It did.
    proxied: bool,
    /// Replies not yet handed out.
    out: BytesMut,
    /// To be handed out before anything else is done.
    actions: VecDeque<Action>,
    errors: u32,
    auth_failures: u32,
    faults: Faults,
    /// The first error is one too many.
    strict: bool,
    draining: bool,
}

/// What the session waits for.
#[derive(Debug)]
enum State {
    /// Its first poll.
    Start,
    /// Word whether the client spoke before it was greeted.
    Quiet,
    /// An answer.
    Asked(Asked),
    /// A command.
    Ready,
    /// A line of a SASL exchange.
    Auth(sasl::Exchange),
    /// `begin`: MAIL was good.
    Beginning(Box<transaction::Opening>),
    /// Mail data.
    Data(Box<data::Incoming>),
    /// The octets of a chunk.
    Chunk(chunk::Chunk),
    /// `Input::Tls`.
    Handshake,
    /// Nothing: it is over.
    Closed,
}

/// The question that is out.
#[derive(Debug)]
enum Asked {
    Connect,
    /// With what held before, should the new name be refused.
    Helo(Protocol, Option<Arc<str>>),
    /// With a SCRAM exchange that has begun.
    Verifier(Box<sasl::Waiting>),
    Auth(Mechanism),
    Mail,
    Rcpt,
    Message,
}

impl Session {
    /// A connection that has just been accepted; under implicit TLS after its handshake. What the relay's rules say of
    /// the client's address is added to `facts`.
    pub fn new(config: Arc<Config>, mut facts: SessionFacts) -> Self {
        facts.may_relay |= facts.client.address.parse::<IpAddr>().is_ok_and(|ip| config.relay.trusts(ip));
        let may_xclient = config.may_xclient(&facts.client.address);
        Self {
            may_xclient,
            proxied: false,
            incoming: None,
            lmtp: Vec::new(),
            config,
            trusted: facts.may_relay,
            facts: Arc::new(facts),
            means: AuthMeans::default(),
            state: State::Start,
            lines: Lines::default(),
            transaction: None,
            relay_access: RelayAccess::Ruled,
            out: BytesMut::new(),
            actions: VecDeque::new(),
            errors: 0,
            auth_failures: 0,
            faults: Faults::default(),
            strict: false,
            draining: false,
        }
    }

    /// The same, with these means to check who a client is; without any there are only PLAIN and LOGIN.
    pub fn with_means(self, means: AuthMeans) -> Self {
        Self { means, ..self }
    }

    /// What is known of the connection.
    pub fn facts(&self) -> &Arc<SessionFacts> {
        &self.facts
    }

    /// The transaction under way; none also while it travels with a question.
    pub fn transaction(&self) -> Option<&Arc<TransactionFacts>> {
        self.transaction.as_ref()
    }

    /// Takes in what happened. Call `poll` afterwards.
    pub fn receive(&mut self, input: Input<'_>) {
        match (input, &self.state) {
            (Input::Octets(_), State::Closed | State::Handshake) => {}
            (Input::Octets(octets), State::Data(_)) => self.take_data(octets),
            (Input::Octets(octets), State::Chunk(_)) => self.take_chunk(octets),
            (Input::Octets(octets), _) => self.lines.push(octets),
            (Input::Tls(tls), State::Handshake) => self.secured(tls),
            (Input::Listened, State::Quiet) => self.greet(),
            (Input::Tls(_) | Input::Listened, _) => {}
            // The client is not to blame for the time a question takes.
            (Input::TimedOut, State::Asked(_) | State::Closed) => {}
            (Input::TimedOut, State::Handshake) => self.state = State::Closed,
            (Input::TimedOut, _) => self.close_with(&format!("421 4.4.2 {} timed out", self.config.hostname)),
            (Input::End(_), State::Asked(_) | State::Closed) => {}
            (Input::End(line), _) => self.close_with(line),
            (Input::Draining, _) => self.draining = true,
        }
    }

    /// What is to be done next. To be called until it says `Read`, `Ask`, `Begin` or `StartTls`, and again after each
    /// `receive`, `answer` and `begin`. After `Close` it says nothing else.
    pub fn poll(&mut self) -> Action {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return action;
            }
            match self.state {
                State::Start => self.ask_connect(),
                State::Ready | State::Auth(_) => self.next_line(),
                State::Quiet => return Action::Listen,
                State::Data(_) | State::Chunk(_) => self.wait(Awaited::Data),
                State::Beginning(_) => return Action::Begin,
                State::Handshake => return Action::StartTls,
                // Nothing can be done without the answer: to be polled here is an error of the loop.
                State::Asked(_) | State::Closed => return Action::Close,
            }
        }
    }

    /// The answer to the question asked last.
    pub fn answer(&mut self, answer: Answer) {
        if !matches!(self.state, State::Asked(_)) {
            return;
        }
        let State::Asked(asked) = std::mem::replace(&mut self.state, State::Ready) else { return };
        match (asked, answer) {
            (Asked::Connect, Answer::Session(subject, verdict)) => self.connected(subject, verdict),
            (Asked::Helo(protocol, name), Answer::Session(subject, verdict)) => {
                self.greeted(protocol, name, subject, verdict);
            }
            (Asked::Verifier(waiting), Answer::Verifier(verifier)) => self.verifier_found(*waiting, verifier),
            (Asked::Auth(mechanism), Answer::Auth(subject, verdict)) => {
                self.authenticated(mechanism, subject, verdict);
            }
            (Asked::Mail, Answer::Session(subject, verdict)) => self.mail_answered(subject, verdict),
            (Asked::Rcpt, Answer::Session(subject, verdict)) => self.rcpt_answered(subject, verdict),
            (Asked::Message, Answer::Message(answer)) => self.message_answered(answer),
            _ => self.close_with("421 4.3.0 internal error"),
        }
    }

    /// True if the listener offers it and no hook has withheld it. Whether it makes sense now is another question.
    fn offers(&self, extension: Extension) -> bool {
        self.offered().has(extension)
    }

    fn offered(&self) -> Extensions {
        self.config.extensions.without(self.facts.withheld)
    }

    /// Cuts the next line and acts on it, or waits for one.
    fn next_line(&mut self) {
        let in_auth = matches!(self.state, State::Auth(_));
        if self.draining && self.transaction.is_none() && !in_auth {
            return self.close_with(&format!("421 4.3.2 {} is shutting down", self.config.hostname));
        }
        let limit = if in_auth || self.lines.starts_with(b"AUTH ") { AUTH_LINE } else { COMMAND_LINE };
        match self.lines.cut(limit, self.config.line_ends == LineEnds::Normalise) {
            None if self.incoming.is_some() => self.wait(Awaited::NextChunk),
            None => self.wait(Awaited::Command),
            Some(Cut::Line(line)) if in_auth => self.auth_line(&line),
            Some(Cut::Line(line)) => {
                self.heed_line(&line);
                self.command(&line);
            }
            Some(cut) => {
                self.heed_line(b"");
                self.state = State::Ready;
                if !matches!(cut, Cut::TooLong) {
                    self.count_violation();
                }
                self.refuse(match cut {
                    Cut::TooLong if in_auth => "500 5.5.6 line too long",
                    Cut::TooLong => "500 5.5.2 line too long",
                    _ => "500 5.5.2 bare CR or LF in a command",
                });
            }
        }
    }

    fn command(&mut self, line: &[u8]) {
        match command::parse(line) {
            Ok(command) => self.perform(command),
            Err(CommandError::Unknown) => self.refuse("500 5.5.2 command not recognized"),
            Err(CommandError::Http) => {
                self.count_violation();
                self.close_with("421 4.7.0 this is SMTP, not HTTP");
            }
            Err(CommandError::Argument(why)) => self.refuse(&format!("501 5.5.4 {why}")),
            // RFC 3030 section 2 has no way back from here: what follows may be mail or commands.
            Err(CommandError::Chunk) => {
                self.refuse("501 5.5.4 BDAT wants a size, and LAST or nothing");
                self.close();
            }
        }
    }

    fn perform(&mut self, command: Command<'_>) {
        // Pipelining was not offered to this client (RFC 2920 section 3.1: only to those who said EHLO).
        let one_by_one = self.facts.protocol == Protocol::Smtp || !self.offers(Extension::Pipelining);
        // The octets of a chunk are part of its command (RFC 3030 section 4.2), whatever else may not follow.
        let alone = matches!(command, Command::Quit | Command::Bdat { .. });
        if one_by_one && !alone && self.is_out_of_turn() {
            return;
        }
        match command {
            Command::Ehlo(name) => self.helo(Protocol::Esmtp, name),
            Command::Helo(name) => self.helo(Protocol::Smtp, name),
            Command::Lhlo(name) => self.helo(Protocol::Lmtp, name),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Xclient(attributes) => self.xclient(&attributes),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Mail { path, params } => self.mail(path, params),
            Command::Rcpt { path, params } => self.rcpt(path, params),
            Command::Data => self.data(),
            Command::Rset => {
                self.abandon();
                self.say("250 2.0.0 ok");
            }
            Command::Noop => self.say("250 2.0.0 ok"),
            // Says neither yes nor no (RFC 5321 section 7.3).
            Command::Vrfy => self.say("252 2.0.0 send mail and see"),
            Command::Expn => self.refuse("502 5.5.1 EXPN is not offered"),
            Command::Help => self.help(),
            Command::Quit => self.close_with("221 2.0.0 bye"),
        }
    }

    /// RFC 2920 section 3.1: after some commands a client waits for the answer. One that does not is a program that does not
    /// listen, or somebody's words were put behind those of somebody else. True if the session ended for that.
    fn is_out_of_turn(&mut self) -> bool {
        if self.lines.is_empty() || !self.config.strict_pipelining {
            return false;
        }
        tracing::info!("the client did not wait for an answer it had to wait for");
        self.count_violation();
        self.close_with("554 5.5.0 protocol error: wait for the answer");
        true
    }

    fn help(&mut self) {
        let hello = if self.config.lmtp { "LHLO" } else { "EHLO HELO" };
        let bdat = if self.offers(Extension::Chunking) { " BDAT" } else { "" };
        self.say(&format!("214 2.0.0 {hello} STARTTLS AUTH MAIL RCPT DATA{bdat} RSET NOOP VRFY HELP QUIT"));
    }

    /// Nothing can be done without more octets.
    fn wait(&mut self, awaited: Awaited) {
        self.flush();
        self.actions.push_back(Action::Read(awaited));
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            // Not split off: an idle session holds no buffer.
            self.actions.push_back(Action::Send(std::mem::take(&mut self.out).freeze()));
        }
    }

    fn ask(&mut self, asked: Asked, question: Question) {
        self.state = State::Asked(asked);
        self.actions.push_back(Action::Ask(Box::new(question)));
    }

    /// What hooks are shown of the session alone.
    fn subject(&self) -> Subject {
        Subject { session: Some(Arc::clone(&self.facts)), ..Subject::default() }
    }

    /// Hooks may leave notes with the connection.
    fn keep_notes(&mut self, subject: &mut Subject) {
        if let Some(facts) = subject.session.take() {
            self.facts = facts;
        }
    }

    fn facts_mut(&mut self) -> &mut SessionFacts {
        Arc::make_mut(&mut self.facts)
    }

    /// A line of the relay's own: code, status and text as they go out.
    fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A reply that a hook wrote.
    fn say_reply(&mut self, reply: &Reply) {
        let mut wire = Vec::with_capacity(128);
        reply.write(&mut wire);
        self.out.extend_from_slice(&wire);
    }

    /// Says no to a command, and tells the log.
    fn refuse(&mut self, line: &str) {
        tracing::info!(reply = line, "refused");
        self.deny(line);
    }

    /// As `refuse`, where the log has been told more.
    fn deny(&mut self, line: &str) {
        self.say(line);
        if line.starts_with('5') {
            self.count_error();
        }
    }

    fn deny_with(&mut self, reply: &Reply) {
        self.say_reply(reply);
        // 421 says that the connection is closed, whoever says it (RFC 5321 section 3.8).
        if reply.code == 421 {
            self.close();
        } else if reply.is_permanent() {
            self.count_error();
        }
    }

    /// The transaction ends without its message being kept.
    fn abandon(&mut self) {
        self.incoming = None;
        if self.transaction.take().is_some() {
            self.discard();
        }
    }

    fn discard(&mut self) {
        self.end_transaction();
        self.actions.push_back(Action::Discard);
    }

    fn end_transaction(&mut self) {
        let facts = self.facts_mut();
        facts.transactions = facts.transactions.saturating_add(1);
    }

    fn close_with(&mut self, line: &str) {
        self.say(line);
        self.close();
    }

    fn close(&mut self) {
        self.abandon();
        self.flush();
        self.state = State::Closed;
    }
}
