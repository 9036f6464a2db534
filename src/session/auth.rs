//! AUTH (RFC 4954): the SASL exchanges PLAIN (RFC 4616) and LOGIN, up to the question whether the secret is right.
//!
//! Secrets live only in the question; nothing here keeps or shows one.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Asked, Question, Session, State};
use crate::hooks::{AuthAttempt, AuthVerdict, Protocol, Subject};
use crate::smtp::Extension;

/// Guessing is slow with three tries a connection, and a person's mail program needs one.
const FAILURES_MAX: u32 = 3;

/// What the next line of an exchange is.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN's message.
    Plain,
    /// LOGIN's user name.
    LoginName,
    /// LOGIN's password, for this name.
    LoginPassword(Arc<str>),
}

const NOT_DECODED: &str = "501 5.5.2 that can't be decoded";

impl Session {
    /// Where passwords would go in clear text, AUTH is not even offered.
    pub(super) fn offers_auth(&self) -> bool {
        self.offers(Extension::Auth) && (self.facts.tls.is_some() || self.config.allow_plaintext_auth)
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
        if !self.offers_auth() {
            return self.refuse("538 5.7.11 STARTTLS first");
        }
        if self.is_out_of_turn() {
            return;
        }
        // An empty initial response is sent as `=` (RFC 4954 section 4).
        let initial = initial.map(|text| if text == "=" { "" } else { text });
        match (mechanism.to_ascii_uppercase().as_str(), initial) {
            ("PLAIN", Some(text)) => self.plain(text.as_bytes()),
            ("PLAIN", None) => self.challenge("334 ", Exchange::Plain),
            ("LOGIN", Some(text)) => self.login_name(text.as_bytes()),
            ("LOGIN", None) => self.challenge("334 VXNlcm5hbWU6", Exchange::LoginName),
            _ => self.refuse("504 5.5.4 mechanism not known"),
        }
    }

    fn challenge(&mut self, line: &str, next: Exchange) {
        self.say(line);
        self.state = State::Auth(next);
    }

    /// The client's next line of the exchange.
    pub(super) fn auth_line(&mut self, line: &[u8]) {
        let State::Auth(exchange) = std::mem::replace(&mut self.state, State::Ready) else { return };
        if line == b"*" {
            return self.refuse("501 5.7.0 authentication cancelled");
        }
        match exchange {
            Exchange::Plain => self.plain(line),
            Exchange::LoginName => self.login_name(line),
            Exchange::LoginPassword(name) => match decode(line) {
                Some(secret) if !secret.is_empty() => self.ask_auth("LOGIN", name, None, secret.into()),
                _ => self.refuse(NOT_DECODED),
            },
        }
    }

    /// `[authzid] NUL authcid NUL passwd`.
    fn plain(&mut self, message: &[u8]) {
        let Some(message) = decode(message) else { return self.refuse(NOT_DECODED) };
        let mut parts = message.split('\0');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(acts_as), Some(name), Some(secret), None)
                if is_name(name) && !secret.is_empty() && (acts_as.is_empty() || is_name(acts_as)) =>
            {
                let acts_as = (!acts_as.is_empty() && acts_as != name).then(|| acts_as.into());
                self.ask_auth("PLAIN", name.into(), acts_as, secret.into());
            }
            _ => self.refuse(NOT_DECODED),
        }
    }

    fn login_name(&mut self, name: &[u8]) {
        match decode(name) {
            Some(name) if is_name(&name) => self.challenge("334 UGFzc3dvcmQ6", Exchange::LoginPassword(name.into())),
            _ => self.refuse(NOT_DECODED),
        }
    }

    fn ask_auth(&mut self, mechanism: &str, name: Arc<str>, acts_as: Option<Arc<str>>, secret: Arc<str>) {
        let attempt = AuthAttempt { mechanism: mechanism.into(), name, acts_as, secret };
        let question = Question::Auth(self.subject(), attempt);
        self.ask(Asked::Auth, question);
    }

    pub(super) fn authenticated(&mut self, mut subject: Subject, verdict: AuthVerdict) {
        self.keep_notes(&mut subject);
        match verdict {
            AuthVerdict::Success(identity) => {
                let facts = self.facts_mut();
                facts.identity = Some(identity);
                facts.may_relay = true;
                self.say("235 2.7.0 authenticated");
            }
            AuthVerdict::Tempfail(reply) => self.say_reply(&reply),
            AuthVerdict::Failure(reply) => {
                self.say_reply(&reply);
                self.count_auth_failure();
            }
            // Nobody vouches for the client.
            AuthVerdict::Proceed => {
                self.say("535 5.7.8 authentication failed");
                self.count_auth_failure();
            }
        }
    }

    fn count_auth_failure(&mut self) {
        self.auth_failures += 1;
        if self.auth_failures >= FAILURES_MAX {
            self.close_with("421 4.7.0 too many failed authentications");
        }
    }
}

/// Base64 of UTF-8.
fn decode(text: &[u8]) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// Names get into logs and fields.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control)
}
