//! AUTH (RFC 4954): the SASL exchanges, up to the question whether the client is who it says.
//!
//! `mechanism` names them, `messages` and `scram` read what clients say. Passwords and tokens live only in the question;
//! nothing here keeps or shows one. Must never let a client in that nobody vouched for: a hook, the relay's credentials,
//! or, for SCRAM and EXTERNAL, the exchange itself.

mod mechanism;
mod messages;
mod scram;

use std::sync::Arc;

pub use mechanism::{AuthMeans, AuthRules, CertificateName, Mechanism};
use messages::{Bearer, Plain, decode, encode, is_name};
pub use scram::ScramVerifier;
use scram::{ClientFirst, Flag, Proof, Scram};

use super::{Asked, Question, Session, State, Vouches};
use crate::hooks::{AuthAttempt, AuthVerdict, Protocol, Subject};
use crate::smtp::{Extension, Reply, Status};

/// Guessing is slow with three tries a connection, and a person's mail program needs one.
const FAILURES_MAX: u32 = 3;

/// What the next line of an exchange is.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The mechanism's first message.
    First(Mechanism),
    /// LOGIN's password, for this name.
    LoginPassword(Arc<str>),
    /// SCRAM's proof.
    Proof(Box<Scram>),
    /// Nothing: the client has seen the server's proof (RFC 4954 section 4).
    Proven(Mechanism, Box<AuthAttempt>),
    /// Nothing: the client has seen why its token is not taken (RFC 7628 section 3.2.3).
    TokenRefused(Reply),
}

/// A client's first message of SCRAM, while its verifier is looked up.
#[derive(Debug)]
pub(super) struct Waiting {
    mechanism: Mechanism,
    first: ClientFirst,
}

const NOT_DECODED: &str = "501 5.5.2 that can't be decoded";

impl Session {
    /// What can be offered now, for `AUTH` at EHLO. Where passwords would go in clear text, nothing.
    pub(super) fn offered_mechanisms(&self) -> Vec<&'static str> {
        if !self.offers(Extension::Auth) || !self.is_secured() {
            return Vec::new();
        }
        Mechanism::ALL.into_iter().filter(|mechanism| self.may_use(*mechanism)).map(Mechanism::name).collect()
    }

    fn is_secured(&self) -> bool {
        self.facts.tls.is_some() || self.config.allow_plaintext_auth
    }

    /// True if the operator wants it and there is something to check it with.
    fn may_use(&self, mechanism: Mechanism) -> bool {
        let wanted = self.config.auth.mechanisms.as_ref().is_none_or(|listed| listed.contains(&mechanism));
        wanted
            && match mechanism {
                Mechanism::Plain | Mechanism::Login => true,
                Mechanism::ScramSha256 => self.means.verifiers,
                Mechanism::ScramSha256Plus => self.means.verifiers && self.exporter().is_some(),
                Mechanism::OauthBearer | Mechanism::Xoauth2 => self.means.tokens,
                Mechanism::External => !self.certified_names().is_empty(),
            }
    }

    fn exporter(&self) -> Option<&Arc<[u8]>> {
        self.facts.tls.as_ref()?.exporter.as_ref()
    }

    /// Names of the client's certificate that EXTERNAL takes; none where it was not verified.
    fn certified_names(&self) -> Vec<Arc<str>> {
        let shown = self.facts.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let Some(certificate) = shown.filter(|certificate| certificate.verified) else { return Vec::new() };
        let subject = std::slice::from_ref(&certificate.subject);
        let names = match self.config.auth.external {
            CertificateName::MailboxOrDnsName if certificate.mailboxes.is_empty() => &certificate.dns_names[..],
            CertificateName::MailboxOrDnsName | CertificateName::Mailbox => &certificate.mailboxes[..],
            CertificateName::DnsName => &certificate.dns_names[..],
            CertificateName::Subject => subject,
        };
        names.iter().filter(|name| is_name(name)).cloned().collect()
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
        if !self.offers(Extension::Auth) {
            return self.refuse("502 5.5.1 AUTH is not offered");
        }
        if self.facts.helo.is_none() || self.facts.protocol == Protocol::Smtp {
            return self.refuse("503 5.5.1 EHLO first");
        }
        if self.facts.identity.is_some() {
            return self.refuse("503 5.5.1 authenticated already");
        }
        if self.transaction.is_some() {
            return self.refuse("503 5.5.1 not within a transaction");
        }
        if !self.is_secured() {
            return self.refuse("538 5.7.11 STARTTLS first");
        }
        if self.is_out_of_turn() {
            return;
        }
        let Some(mechanism) = Mechanism::named(mechanism) else {
            return self.refuse("504 5.5.4 mechanism not known");
        };
        if !self.may_use(mechanism) {
            return self.refuse("504 5.5.4 mechanism not offered");
        }
        match initial {
            // An empty initial response is sent as `=` (RFC 4954 section 4).
            Some("=") => self.first_message(mechanism, b""),
            Some(text) => self.first_message(mechanism, text.as_bytes()),
            None => {
                let prompt = if mechanism == Mechanism::Login { "Username:" } else { "" };
                self.challenge(prompt.as_bytes(), Exchange::First(mechanism));
            }
        }
    }

    fn challenge(&mut self, message: &[u8], next: Exchange) {
        self.say(&format!("334 {}", encode(message)));
        self.state = State::Auth(next);
    }

    /// The client's next line of the exchange.
    pub(super) fn auth_line(&mut self, line: &[u8]) {
        let State::Auth(exchange) = std::mem::replace(&mut self.state, State::Ready) else { return };
        match exchange {
            // Whatever it says: to cancel now must not save a client that guesses from being counted.
            Exchange::TokenRefused(reply) => self.fail(&reply),
            _ if line == b"*" => self.refuse("501 5.7.0 authentication cancelled"),
            Exchange::First(mechanism) => self.first_message(mechanism, line),
            Exchange::LoginPassword(name) => match text(line) {
                Some(secret) if !secret.is_empty() => {
                    let attempt = attempt(Mechanism::Login, name, None, Some(secret.into()));
                    self.put(Mechanism::Login, attempt, Vouches::Credentials);
                }
                _ => self.refuse(NOT_DECODED),
            },
            Exchange::Proof(scram) => self.proof(*scram, line),
            Exchange::Proven(mechanism, attempt) if line.is_empty() || line == b"=" => {
                self.put(mechanism, *attempt, Vouches::Session);
            }
            Exchange::Proven(..) => self.refuse(NOT_DECODED),
        }
    }

    fn first_message(&mut self, mechanism: Mechanism, line: &[u8]) {
        let Some(message) = decode(line) else { return self.refuse(NOT_DECODED) };
        let taken = match mechanism {
            Mechanism::Plain => self.plain(&message),
            Mechanism::Login => self.login_name(&message),
            Mechanism::External => self.external(&message),
            Mechanism::OauthBearer => self.bearer(mechanism, Bearer::read(&message)),
            Mechanism::Xoauth2 => self.bearer(mechanism, Bearer::read_xoauth2(&message)),
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => self.scram(mechanism, message),
        };
        if taken.is_none() {
            self.refuse(NOT_DECODED);
        }
    }

    fn plain(&mut self, message: &[u8]) -> Option<()> {
        let Plain { acts_as, name, secret } = Plain::read(message)?;
        let acts_as = (!acts_as.is_empty() && acts_as != name).then(|| acts_as.into());
        let attempt = attempt(Mechanism::Plain, name.into(), acts_as, Some(secret.into()));
        self.put(Mechanism::Plain, attempt, Vouches::Credentials);
        Some(())
    }

    fn login_name(&mut self, message: &[u8]) -> Option<()> {
        let name = std::str::from_utf8(message).ok().filter(|name| is_name(name))?;
        self.challenge(b"Password:", Exchange::LoginPassword(name.into()));
        Some(())
    }

    /// The message is whom to act as, or empty (RFC 4422 appendix A.1). A certificate may have several names: the one
    /// that the client asks for is the one it has.
    fn external(&mut self, message: &[u8]) -> Option<()> {
        let wanted = std::str::from_utf8(message).ok().filter(|wanted| wanted.is_empty() || is_name(wanted))?;
        let names = self.certified_names();
        let own = names.iter().find(|name| &***name == wanted);
        let name = own.or(names.first())?.clone();
        let acts_as = (own.is_none() && !wanted.is_empty()).then(|| wanted.into());
        self.put(Mechanism::External, attempt(Mechanism::External, name, acts_as, None), Vouches::Session);
        Some(())
    }

    fn bearer(&mut self, mechanism: Mechanism, read: Option<Bearer<'_>>) -> Option<()> {
        let Bearer { name, token, details } = read?;
        let attempt = AuthAttempt { details, ..attempt(mechanism, name.into(), None, Some(token.into())) };
        self.put(mechanism, attempt, Vouches::Hook);
        Some(())
    }

    fn scram(&mut self, mechanism: Mechanism, message: Vec<u8>) -> Option<()> {
        let first = ClientFirst::read(message)?;
        let plus = mechanism == Mechanism::ScramSha256Plus;
        let good = match &first.flag {
            Flag::Unknown => !plus,
            // Somebody on the way took SCRAM-SHA-256-PLUS out of the list (RFC 5802 section 6).
            Flag::Unoffered => !plus && !self.may_use(Mechanism::ScramSha256Plus),
            Flag::Used(binding) => plus && binding == scram::BINDING,
        };
        if good {
            let name = first.name.clone();
            self.ask(Asked::Verifier(Box::new(Waiting { mechanism, first })), Question::Verifier(name));
        } else {
            tracing::info!(name = %first.name, mechanism = mechanism.name(), flag = ?first.flag, "channel binding refused");
            self.fail_with("535 5.7.8 channel binding does not fit");
        }
        Some(())
    }

    /// The verifier is there, of whomever: the exchange goes on either way, so that names can't be told apart.
    pub(super) fn verifier_found(&mut self, waiting: Waiting, verifier: ScramVerifier) {
        let Waiting { mechanism, first } = waiting;
        // What `may_use` said of PLUS decides here too, or rsasl would refuse what was let pass above.
        let exporter = self.exporter().filter(|_| self.may_use(Mechanism::ScramSha256Plus)).cloned();
        match Scram::begin(mechanism, first, verifier, exporter) {
            Some((scram, answer)) => self.challenge(&answer, Exchange::Proof(Box::new(scram))),
            None => self.say("454 4.7.0 can't authenticate now"),
        }
    }

    fn proof(&mut self, mut scram: Scram, line: &[u8]) {
        let proof = decode(line).map_or(Proof::Unreadable, |message| scram.finish(&message));
        let Scram { mechanism, name, acts_as, .. } = scram;
        match proof {
            Proof::Held(answer) => {
                let attempt = attempt(mechanism, name, acts_as, None);
                self.challenge(&answer, Exchange::Proven(mechanism, Box::new(attempt)));
            }
            Proof::Wrong => {
                tracing::info!(%name, mechanism = mechanism.name(), "authentication refused");
                self.fail_with("535 5.7.8 authentication failed");
            }
            Proof::Unreadable => self.refuse(NOT_DECODED),
        }
    }

    fn put(&mut self, mechanism: Mechanism, attempt: AuthAttempt, vouches: Vouches) {
        let question = Question::Auth(self.subject(), attempt, vouches);
        self.ask(Asked::Auth(mechanism), question);
    }

    pub(super) fn authenticated(&mut self, mechanism: Mechanism, mut subject: Subject, verdict: AuthVerdict) {
        self.keep_notes(&mut subject);
        match verdict {
            AuthVerdict::Success(mut identity) => {
                // A plugin can say who it is, not how it came to be known.
                identity.mechanism = mechanism.name().into();
                let facts = self.facts_mut();
                facts.identity = Some(identity);
                facts.may_relay = true;
                self.say("235 2.7.0 authenticated");
            }
            AuthVerdict::Tempfail(reply) => self.deny_with(&reply),
            AuthVerdict::Failure(reply) => self.refuse_identity(mechanism, reply),
            // Nobody vouches for the client.
            AuthVerdict::Proceed => self.refuse_identity(mechanism, invalid()),
        }
    }

    /// Of a token that is not taken the client hears why first; what it answers to that does not matter.
    fn refuse_identity(&mut self, mechanism: Mechanism, reply: Reply) {
        let why: &[u8] = match mechanism {
            Mechanism::OauthBearer => br#"{"status":"invalid_token"}"#,
            Mechanism::Xoauth2 => br#"{"status":"401","schemes":"bearer"}"#,
            _ => return self.fail(&reply),
        };
        self.challenge(why, Exchange::TokenRefused(reply));
    }

    fn fail(&mut self, reply: &Reply) {
        self.say_reply(reply);
        self.count_auth_failure();
    }

    /// Of a proof that does not hold nobody else hears.
    fn fail_with(&mut self, line: &str) {
        self.faults.proofs = self.faults.proofs.saturating_add(1);
        self.say(line);
        self.count_auth_failure();
    }

    fn count_auth_failure(&mut self) {
        self.auth_failures += 1;
        if self.auth_failures >= FAILURES_MAX {
            self.close_with("421 4.7.0 too many failed authentications");
        }
    }
}

fn attempt(mechanism: Mechanism, name: Arc<str>, acts_as: Option<Arc<str>>, secret: Option<Arc<str>>) -> AuthAttempt {
    AuthAttempt { mechanism: mechanism.name().into(), name, acts_as, details: Vec::new(), secret }
}

fn invalid() -> Reply {
    Reply::new(535, Status::new(5, 7, 8), "authentication failed")
}

/// Whatever a client says first and then, in any mechanism, it does not pass for somebody it did not prove to be.
#[doc(hidden)]
pub fn fuzz_sasl(octets: &[u8]) {
    let (first, last) = octets.split_at(octets.iter().position(|b| *b == b'\n').unwrap_or(octets.len()));
    let last = last.strip_prefix(b"\n").unwrap_or(last);
    if let Some(plain) = Plain::read(first) {
        let again = [plain.acts_as, plain.name, plain.secret].join("\0");
        assert!(again.as_bytes() == first && is_name(plain.name) && !plain.secret.is_empty());
    }
    for bearer in [Bearer::read(first), Bearer::read_xoauth2(first)].into_iter().flatten() {
        let graphic = bearer.token.bytes().all(|b| b.is_ascii_graphic());
        assert!(graphic && !bearer.token.is_empty() && (bearer.name.is_empty() || is_name(&bearer.name)));
    }
    assert_eq!(decode(encode(first).as_bytes()).as_deref(), Some(first));
    let verifier =
        ScramVerifier { iterations: 4096, salt: b"salt"[..].into(), stored_key: [1; 32], server_key: [2; 32] };
    for (mechanism, exporter) in
        [(Mechanism::ScramSha256, None), (Mechanism::ScramSha256Plus, Some(Arc::from(&b"exported"[..])))]
    {
        let Some(read) = ClientFirst::read(first.to_vec()) else { return };
        assert!(is_name(&read.name) && read.acts_as.as_deref() != Some(&*read.name));
        if matches!(read.flag, Flag::Used(_)) != exporter.is_some() {
            continue;
        }
        let Some((mut scram, answer)) = Scram::begin(mechanism, read, verifier.clone(), exporter) else { continue };
        assert!(
            answer.starts_with(b"r=") && answer.ends_with(b",s=c2FsdA==,i=4096") && answer.len() < first.len() + 64
        );
        assert!(!matches!(scram.finish(last), Proof::Held(_)), "nobody knows the nonce beforehand");
    }
}

/// Base64 of UTF-8.
fn text(line: &[u8]) -> Option<String> {
    String::from_utf8(decode(line)?).ok()
}
