//! The banner, HELO and EHLO with what is offered there, and STARTTLS.

use std::sync::Arc;

use super::{Action, Asked, Question, Session, State};
use crate::hooks::{Protocol, SessionVerdict, Subject, TlsFacts};
use crate::smtp::Extension;

impl Session {
    pub(super) fn ask_connect(&mut self) {
        let question = Question::Connect(self.subject());
        self.ask(Asked::Connect, question);
    }

    pub(super) fn connected(&mut self, mut subject: Subject, verdict: SessionVerdict) {
        self.keep_notes(&mut subject);
        match verdict {
            // `next_line` says 421 in place of the banner.
            SessionVerdict::Proceed | SessionVerdict::Accept if self.draining => {}
            SessionVerdict::Proceed | SessionVerdict::Accept => self.state = State::Quiet,
            // RFC 5321 section 3.1 would have the server wait for QUIT; a client not wanted gets no such patience.
            SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) | SessionVerdict::Close(reply) => {
                tracing::info!(%reply, "connection refused");
                self.say_reply(&reply);
                self.close();
            }
        }
    }

    /// Nobody speaks before the banner but who does not listen (RFC 5321 section 4.3.1).
    pub(super) fn greet(&mut self) {
        self.state = State::Ready;
        if !self.is_out_of_turn() {
            let protocol = if self.config.lmtp { "LMTP" } else { "ESMTP" };
            self.say(&format!("220 {} {protocol} Waypost", self.config.hostname));
        }
    }

    pub(super) fn helo(&mut self, protocol: Protocol, name: &str) {
        // RFC 2033 section 4.1: neither understands the other's greeting.
        match (protocol, self.config.lmtp) {
            (Protocol::Lmtp, false) => return self.refuse("500 5.5.1 this is SMTP: say EHLO"),
            (Protocol::Smtp | Protocol::Esmtp, true) => return self.refuse("500 5.5.1 this is LMTP: say LHLO"),
            _ => {}
        }
        if self.is_out_of_turn() {
            return;
        }
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

    /// RFC 5321 section 4.1.1.1: a line for each extension that makes sense for this client now.
    fn say_extensions(&mut self) {
        let lines = self.offered().iter().filter_map(|extension| self.announced(extension));
        let mut text = format!("250-{}", self.config.hostname);
        let mut last = None;
        for line in lines {
            if let Some(before) = last.replace(line) {
                text.push_str("\r\n250-");
                text.push_str(&before);
            }
        }
        match last {
            Some(last) => text.push_str(&format!("\r\n250 {last}")),
            None => text = format!("250 {}", self.config.hostname),
        }
        self.say(&text);
    }

    /// What is said of an extension; none where it is of no use to this client.
    fn announced(&self, extension: Extension) -> Option<String> {
        let keyword = || extension.keyword().to_owned();
        match extension {
            Extension::Size => Some(format!("SIZE {}", self.config.max_message_size)),
            Extension::StartTls => self.facts.tls.is_none().then(keyword),
            Extension::Auth => {
                let mechanisms = self.offered_mechanisms();
                (!mechanisms.is_empty()).then(|| format!("AUTH {}", mechanisms.join(" ")))
            }
            Extension::BinaryMime => self.offers(Extension::Chunking).then(keyword),
            // RFC 8689 section 3: only where it is on already.
            Extension::RequireTls => self.facts.tls.is_some().then(keyword),
            Extension::Limits => {
                let (mails, recipients) = (self.config.max_transactions, self.config.max_recipients);
                Some(format!("LIMITS MAILMAX={mails} RCPTMAX={recipients}"))
            }
            Extension::MtPriority | Extension::DeliverBy => self.is_submitter().then(keyword),
            // RFC 4865 section 3: how long, and until when; the latter as of the beginning of the connection.
            Extension::FutureRelease => self.is_submitter().then(|| {
                let until = self.facts.connected_at.plus(std::time::Duration::from_secs(self.config.max_hold));
                format!("FUTURERELEASE {} {}", self.config.max_hold, until.rfc3339_seconds())
            }),
            Extension::Xclient => self.may_xclient.then(|| format!("XCLIENT {}", super::proxied::ATTRIBUTES)),
            _ => Some(keyword()),
        }
    }

    /// One of ours: it may ask for more than a stranger.
    pub(super) fn is_submitter(&self) -> bool {
        self.facts.identity.is_some() || self.facts.may_relay
    }

    pub(super) fn start_tls(&mut self) {
        if self.facts.tls.is_some() {
            return self.refuse("503 5.5.1 TLS is on already");
        }
        // What came in clear text after the command is nobody's: it must not be taken for the client's words under TLS (RFC
        // 3207 section 4.2, CVE-2011-0411). An honest client sends nothing, so the session ends with it.
        if !self.lines.is_empty() {
            tracing::warn!("clear text behind STARTTLS");
            self.count_violation();
            return self.close_with("554 5.5.0 protocol error: nothing may follow STARTTLS");
        }
        if !self.offers(Extension::StartTls) {
            return self.refuse("502 5.5.1 STARTTLS is not offered");
        }
        self.abandon();
        self.say("220 2.0.0 go ahead");
        self.flush();
        self.state = State::Handshake;
        self.actions.push_back(Action::StartTls);
    }

    /// RFC 3207 section 4.2: what the client said in clear text is forgotten.
    pub(super) fn secured(&mut self, tls: TlsFacts) {
        let (trusted, tls) = (self.trusted, self.own_tls(tls));
        let facts = self.facts_mut();
        facts.tls = Some(tls);
        facts.protocol = Protocol::default();
        facts.helo = None;
        facts.identity = None;
        facts.may_relay = trusted;
        self.state = State::Ready;
    }
}
