//! The banner, HELO and EHLO with what is offered there, and STARTTLS.

use std::fmt::Write;
use std::sync::Arc;

use super::{Action, Asked, Question, Session, State};
use crate::hooks::{Protocol, SessionVerdict, Subject, TlsFacts};
use crate::smtp::Extension;

impl Session {
    pub(super) fn ask_connect(&mut self) {
        let question = Question::Connect(self.subject());
        self.ask(Asked::Connect, question);
    }

    /// A client that talks before the banner is let be: its octets wait like pipelined ones. It could be told only by
    /// reading before anything was said, which costs every honest client a delay.
    pub(super) fn connected(&mut self, mut subject: Subject, verdict: SessionVerdict) {
        self.keep_notes(&mut subject);
        match verdict {
            // `next_line` says 421 in place of the banner.
            SessionVerdict::Proceed | SessionVerdict::Accept if self.draining => {}
            SessionVerdict::Proceed | SessionVerdict::Accept => {
                self.say(&format!("220 {} ESMTP Waypost", self.config.hostname));
            }
            // RFC 5321 section 3.1 would have the server wait for QUIT; a client not wanted gets no such patience.
            SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) | SessionVerdict::Close(reply) => {
                tracing::info!(%reply, "connection refused");
                self.say_reply(&reply);
                self.close();
            }
        }
    }

    pub(super) fn helo(&mut self, protocol: Protocol, name: &str) {
        let facts = self.facts_mut();
        let before = std::mem::replace(&mut facts.protocol, protocol);
        let name_before = facts.helo.replace(name.into());
        let question = Question::Helo(self.subject());
        self.ask(Asked::Helo(before, name_before), question);
    }

    pub(super) fn greeted(
        &mut self,
        protocol: Protocol,
        name: Option<Arc<str>>,
        mut subject: Subject,
        verdict: SessionVerdict,
    ) {
        self.keep_notes(&mut subject);
        let (SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) | SessionVerdict::Close(reply)) = &verdict
        else {
            // RFC 5321 section 4.1.4: EHLO in mid-session is a RSET too.
            self.abandon();
            return match self.facts.protocol {
                Protocol::Smtp => self.say(&format!("250 {}", self.config.hostname)),
                Protocol::Esmtp | Protocol::Lmtp => self.say_extensions(),
            };
        };
        let facts = self.facts_mut();
        let refused = std::mem::replace(&mut facts.helo, name).unwrap_or_default();
        facts.protocol = protocol;
        tracing::info!(name = &*refused, %reply, "greeting refused");
        if matches!(verdict, SessionVerdict::Close(_)) {
            self.say_reply(reply);
            return self.close();
        }
        self.deny_with(reply);
    }

    fn say_extensions(&mut self) {
        let mut text = format!("250-{}\r\n250-PIPELINING\r\n", self.config.hostname);
        // Writing to a String can't fail.
        let _ = write!(text, "250-SIZE {}\r\n", self.config.max_message_size);
        if self.offers(Extension::StartTls) && self.facts.tls.is_none() {
            text.push_str("250-STARTTLS\r\n");
        }
        if self.offers_auth() {
            text.push_str("250-AUTH PLAIN LOGIN\r\n");
        }
        if self.offers(Extension::Dsn) {
            text.push_str("250-DSN\r\n");
        }
        text.push_str("250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SMTPUTF8");
        self.say(&text);
    }

    pub(super) fn start_tls(&mut self) {
        if self.facts.tls.is_some() {
            return self.refuse("503 5.5.1 TLS is on already");
        }
        if !self.offers(Extension::StartTls) {
            return self.refuse("502 5.5.1 STARTTLS is not offered");
        }
        self.abandon();
        self.say("220 2.0.0 go ahead");
        self.flush();
        // What came in clear text after the command is nobody's: it must not be taken for the client's words under
        // TLS (RFC 3207 section 4.2, CVE-2011-0411).
        self.lines.take();
        self.state = State::Handshake;
        self.actions.push_back(Action::StartTls);
    }

    /// RFC 3207 section 4.2: what the client said in clear text is forgotten.
    pub(super) fn secured(&mut self, tls: TlsFacts) {
        let trusted = self.trusted;
        let facts = self.facts_mut();
        facts.tls = Some(tls);
        facts.protocol = Protocol::default();
        facts.helo = None;
        facts.identity = None;
        facts.may_relay = trusted;
        self.state = State::Ready;
    }
}
