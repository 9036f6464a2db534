//! From the greeting to the point where mail can be sent: EHLO or HELO or LHLO, STARTTLS, AUTH.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Capabilities;
use super::scram::Scram;
use crate::delivery::Credential;
use crate::delivery::egress::SourceFault;
use crate::delivery::outcome::classify;
use crate::delivery::requirement::Refusal;
use crate::hooks::{OutcomeKind, Stage};
use crate::smtp::{Reply, Status};
use crate::tls::Fault;

/// When STARTTLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsUse {
    /// Never.
    Never,
    /// If it is offered.
    IfOffered,
    /// Always; without it there is no mail.
    Must,
}

/// Why there is no connection to send mail over. `reply` is the server's own unless `error` is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage:?}: {}", error.as_deref().unwrap_or("refused"))]
pub struct OpenError {
    /// How far it came.
    pub stage: Stage,
    /// What is said of it.
    pub reply: Option<Reply>,
    /// What went wrong below SMTP.
    pub error: Option<Arc<str>>,
    /// It will be the same next time.
    pub permanent: bool,
    /// Another target may do better.
    pub try_next_target: bool,
    /// The source that the connection was to be made from is at fault, not the host.
    pub ours: bool,
    /// What the TLS handshake failed by, if it did; also where plain text was tried after it.
    pub fault: Option<Fault>,
}

impl OpenError {
    /// By a reply of the server. Other targets may do better, whatever it said (RFC 5321 section 5.1).
    pub fn of_reply(stage: Stage, reply: Reply) -> Self {
        let permanent = classify(stage, &reply) == OutcomeKind::Permanent;
        Self { stage, reply: Some(reply), error: None, permanent, try_next_target: true, ours: false, fault: None }
    }

    /// By I/O.
    pub fn of_error(stage: Stage, error: &std::io::Error) -> Self {
        let reply = crate::delivery::outcome::words(stage, error);
        Self { ours: SourceFault::is(error), ..Self::local(stage, reply, &error.to_string()) }
    }

    pub(crate) fn local(stage: Stage, reply: Reply, error: &str) -> Self {
        Self {
            stage,
            reply: Some(reply),
            error: Some(error.into()),
            permanent: false,
            try_next_target: true,
            ours: false,
            fault: None,
        }
    }

    /// By a requirement that this target can't meet.
    pub(crate) fn refused(refusal: Refusal, because: &str) -> Self {
        Self { permanent: refusal.is_permanent(), ..Self::local(Stage::Tls, refusal.reply(), because) }
    }
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Write what is in `out`, then read a reply.
    Reply,
    /// Make the TLS handshake, then call [`Opener::secured`].
    Handshake,
    /// Mail can be sent.
    Ready,
    /// Close the connection.
    Failed(OpenError),
}

/// The machine. It begins by waiting for the greeting.
#[derive(Debug)]
pub struct Opener {
    hostname: Arc<str>,
    lmtp: bool,
    tls: TlsUse,
    secured: bool,
    credential: Option<Credential>,
    /// The operator said that this hop is spoken to in plain text.
    plain_secret: bool,
    state: State,
    capabilities: Capabilities,
    scram: Option<Scram>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// AUTH PLAIN without initial response.
    AuthPlain,
    AuthName,
    AuthSecret,
    /// SCRAM: the server's challenge, and its own proof.
    AuthChallenge,
    AuthProof,
    /// The answer to the last of AUTH.
    AuthEnd,
    Ready,
}

/// RFC 5321 section 4.5.3.1.4: 512 octets with CRLF. A longer AUTH sends its response on a line of its own (RFC 4954
/// section 4, which lets that be much longer).
const COMMAND_MAX: usize = 510;

impl Opener {
    /// For one connection. `secured`: TLS stands already (implicit TLS, RFC 8314 section 3.3).
    pub fn new(hostname: Arc<str>, lmtp: bool, tls: TlsUse, secured: bool, credential: Option<Credential>) -> Self {
        let plain_secret = tls == TlsUse::Never;
        let capabilities = Capabilities::default();
        let state = State::Greeting;
        Self { hostname, lmtp, tls, secured, credential, plain_secret, state, capabilities, scram: None }
    }

    /// The same, after a handshake failed and the policy lets plain text do: STARTTLS is not tried again. The
    /// credential is still not sent in the clear.
    pub fn plain_again(hostname: Arc<str>, lmtp: bool, credential: Option<Credential>) -> Self {
        Self { plain_secret: false, ..Self::new(hostname, lmtp, TlsUse::Never, false, credential) }
    }

    /// What the server offered last.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What is being waited for.
    pub fn stage(&self) -> Stage {
        match self.state {
            State::Greeting => Stage::Greeting,
            State::Ehlo | State::Helo => Stage::Helo,
            State::StartTls => Stage::Tls,
            State::AuthPlain
            | State::AuthName
            | State::AuthSecret
            | State::AuthChallenge
            | State::AuthProof
            | State::AuthEnd => Stage::Auth,
            State::Ready => Stage::Mail,
        }
    }

    /// The next reply; what is to be sent is appended to `out`.
    pub fn reply(&mut self, reply: Reply, out: &mut Vec<u8>) -> Next {
        // RFC 5321 section 3.8: the server closes the connection after 421, at any place.
        if reply.code == 421 {
            return self.refused(reply);
        }
        match self.state {
            State::Greeting if reply.code / 100 == 2 => self.hello(out),
            State::Ehlo if reply.is_positive() => {
                self.capabilities = Capabilities::of_ehlo(&reply);
                self.protect(out)
            }
            // RFC 5321 section 3.2: a server without EHLO answers 500 or 502; others say 5yz of other kinds.
            State::Ehlo if reply.is_permanent() && !self.lmtp => self.ask(State::Helo, &["HELO ", &self.host()], out),
            State::Helo if reply.is_positive() => {
                self.capabilities = Capabilities::default();
                self.protect(out)
            }
            State::StartTls if reply.code == 220 => Next::Handshake,
            // RFC 3207 section 4.1: the session goes on in plain text, if that will do.
            State::StartTls if self.tls == TlsUse::IfOffered => self.authenticate(out),
            State::AuthPlain if reply.code == 334 => self.ask(State::AuthEnd, &[&self.plain()], out),
            State::AuthName if reply.code == 334 => self.ask(State::AuthSecret, &[&self.encoded(|c| &c.name)], out),
            State::AuthSecret if reply.code == 334 => self.ask(State::AuthEnd, &[&self.encoded(|c| &c.secret)], out),
            State::AuthChallenge if reply.code == 334 => self.answer_challenge(&reply, out),
            State::AuthProof if reply.code == 334 => self.check_proof(&reply, out),
            State::AuthEnd if reply.is_positive() => self.ready(),
            _ => self.refused(reply),
        }
    }

    /// TLS stands. What the server said before counts no more (RFC 3207 section 4.2).
    pub fn secured(&mut self, out: &mut Vec<u8>) -> Next {
        self.secured = true;
        self.capabilities = Capabilities::default();
        self.hello(out)
    }

    fn hello(&mut self, out: &mut Vec<u8>) -> Next {
        let verb = if self.lmtp { "LHLO " } else { "EHLO " };
        self.ask(State::Ehlo, &[verb, &self.host()], out)
    }

    fn protect(&mut self, out: &mut Vec<u8>) -> Next {
        if self.secured || self.tls == TlsUse::Never {
            return self.authenticate(out);
        }
        if self.capabilities.starttls {
            return self.ask(State::StartTls, &["STARTTLS"], out);
        }
        if self.tls == TlsUse::IfOffered {
            return self.authenticate(out);
        }
        self.unfit(Stage::Tls, Status::new(4, 7, 4), "the next hop offers no STARTTLS, and TLS is required")
    }

    fn authenticate(&mut self, out: &mut Vec<u8>) -> Next {
        let Some(_) = self.credential else { return self.ready() };
        if !self.secured && !self.plain_secret {
            return self.unfit(Stage::Auth, Status::new(4, 7, 11), "no password is sent without TLS");
        }
        if self.capabilities.auth_scram
            && let Some(scram) = self.credential.as_ref().and_then(|c| Scram::new(c, nonce()?))
        {
            let first = scram.first();
            self.scram = Some(scram);
            return self.ask(State::AuthChallenge, &["AUTH SCRAM-SHA-256 ", &first], out);
        }
        if self.capabilities.auth_plain {
            let plain = self.plain();
            if plain.len() + "AUTH PLAIN ".len() <= COMMAND_MAX {
                return self.ask(State::AuthEnd, &["AUTH PLAIN ", &plain], out);
            }
            return self.ask(State::AuthPlain, &["AUTH PLAIN"], out);
        }
        if self.capabilities.auth_login {
            return self.ask(State::AuthName, &["AUTH LOGIN"], out);
        }
        self.unfit(Stage::Auth, Status::new(4, 7, 4), "the next hop offers none of AUTH SCRAM-SHA-256, PLAIN, LOGIN")
    }

    fn answer_challenge(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        let challenge = reply.lines.first().map(|line| line.trim()).unwrap_or_default();
        match self.scram.as_mut().and_then(|scram| scram.answer(challenge)) {
            Some(answer) => self.ask(State::AuthProof, &[&answer], out),
            None => self.unfit(Stage::Auth, Status::new(4, 7, 0), "the next hop's challenge makes no sense"),
        }
    }

    /// RFC 5802 section 3: a server that can't prove that it knows the account is another one than we believe.
    fn check_proof(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        let last = reply.lines.first().map(|line| line.trim()).unwrap_or_default();
        if self.scram.as_ref().is_some_and(|scram| scram.is_proof(last)) {
            return self.ask(State::AuthEnd, &[], out);
        }
        self.unfit(Stage::Auth, Status::new(4, 7, 0), "the next hop does not know the account it took")
    }

    fn ready(&mut self) -> Next {
        self.state = State::Ready;
        self.credential = None;
        Next::Ready
    }

    fn ask(&mut self, state: State, words: &[&str], out: &mut Vec<u8>) -> Next {
        self.state = state;
        words.iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
        out.extend_from_slice(b"\r\n");
        Next::Reply
    }

    fn refused(&self, reply: Reply) -> Next {
        Next::Failed(OpenError::of_reply(self.stage(), reply))
    }

    fn unfit(&self, stage: Stage, status: Status, text: &'static str) -> Next {
        Next::Failed(OpenError::local(stage, Reply::new(451, status, text), text))
    }

    fn host(&self) -> String {
        self.hostname.to_string()
    }

    /// RFC 4616: authorization identity (none), authentication identity, password.
    fn plain(&self) -> String {
        let credential = self.credential.as_ref();
        STANDARD.encode(credential.map(|c| format!("\0{}\0{}", c.name, c.secret)).unwrap_or_default())
    }

    fn encoded(&self, of: fn(&Credential) -> &Arc<str>) -> String {
        STANDARD.encode(self.credential.as_ref().map(|c| of(c).as_bytes()).unwrap_or_default())
    }
}

/// Printable and without commas, as RFC 5802 section 7 wants it.
fn nonce() -> Option<String> {
    let mut octets = [0; 18];
    getrandom::getrandom(&mut octets).ok()?;
    Some(STANDARD.encode(octets))
}
