//! MAIL and RCPT: order, parameters, counts, and who may relay where - all before any hook is asked.

use std::sync::Arc;

use super::params::{MailParams, Terms, check_mail, check_rcpt};
use super::{Asked, Question, RelayAccess, Session, State};
use crate::hooks::{SenderAuthentication, SessionVerdict, Subject, TransactionFacts};
use crate::mail::{AddressError, Annotations, Domain, Mailbox, Param, QueueId, Recipient, ReversePath};
use crate::smtp::{Path, Reply};
use crate::time::Timestamp;

/// What a stranger is told who wants to send to strangers.
const DENIED: &str = "550 5.7.1 relay access denied";

/// A MAIL command that was good, before its transaction has a name.
#[derive(Debug)]
pub(super) struct Opening {
    sender: ReversePath,
    params: Vec<Param>,
    checked: MailParams,
}

impl Session {
    pub(super) fn mail(&mut self, path: Path<'_>, params: Vec<Param>) {
        if self.facts.helo.is_none() {
            return self.refuse("503 5.5.1 EHLO or HELO first");
        }
        if self.transaction.is_some() {
            return self.refuse("503 5.5.1 one transaction at a time");
        }
        if self.config.require_auth && self.facts.identity.is_none() {
            return self.refuse("530 5.7.0 authentication required");
        }
        if self.facts.transactions >= self.config.max_transactions {
            return self.close_with("421 4.7.0 too many transactions");
        }
        let terms = Terms {
            offered: self.offered(),
            config: &self.config,
            submitter: self.is_submitter(),
            tls: self.facts.tls.is_some(),
            since: self.facts.connected_at,
        };
        let checked = match check_mail(&params, &terms) {
            Ok(checked) => checked,
            Err(line) => return self.refuse(line),
        };
        let sender = match parse_sender(path, checked.smtputf8) {
            Ok(sender) => sender,
            Err(error) => return self.refuse(&address_refused(&error, "501 5.1.7")),
        };
        if self.config.submission && sender.0.as_ref().is_some_and(|mailbox| !is_whole(&mailbox.domain)) {
            return self.refuse("501 5.1.8 the sender's domain has to be a whole name");
        }
        self.state = State::Beginning(Box::new(Opening { sender, params, checked }));
    }

    /// The transaction that `Action::Begin` announced has this name and begins now. To be called before the next poll.
    pub fn begin(&mut self, id: QueueId, now: Timestamp, relay_access: RelayAccess) {
        if !matches!(self.state, State::Beginning(_)) {
            return;
        }
        let State::Beginning(opening) = std::mem::replace(&mut self.state, State::Ready) else { return };
        let Opening { sender, params, checked } = *opening;
        self.relay_access = relay_access;
        self.lmtp.clear();
        self.transaction = Some(Arc::new(TransactionFacts {
            id,
            started_at: now,
            authentication: SenderAuthentication::of(sender.clone()),
            sender,
            sender_params: params,
            declared_size: checked.size,
            body_kind: checked.body_kind,
            smtputf8: checked.smtputf8,
            recipients: Arc::default(),
            next_index: 0,
            annotations: Annotations::default(),
            tags: Vec::new(),
        }));
        let question = Question::Mail(self.transaction_subject());
        self.ask(Asked::Mail, question);
    }

    /// The transaction travels with the question, so that edits need no copy of it.
    pub(super) fn transaction_subject(&mut self) -> Subject {
        Subject { transaction: self.transaction.take(), ..self.subject() }
    }

    pub(super) fn mail_answered(&mut self, mut subject: Subject, verdict: SessionVerdict) {
        self.keep_notes(&mut subject);
        match verdict {
            SessionVerdict::Proceed | SessionVerdict::Accept => match subject.transaction {
                Some(transaction) => {
                    self.transaction = Some(transaction);
                    self.say("250 2.1.0 sender ok");
                }
                None => self.lost(),
            },
            SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) => {
                log_sender(&subject, &reply);
                self.discard();
                self.deny_with(&reply);
            }
            SessionVerdict::Close(reply) => {
                log_sender(&subject, &reply);
                self.discard();
                self.say_reply(&reply);
                self.close();
            }
        }
    }

    pub(super) fn rcpt(&mut self, path: Path<'_>, params: Vec<Param>) {
        let Some(transaction) = &self.transaction else { return self.refuse("503 5.5.1 MAIL first") };
        if self.incoming.is_some() {
            return self.refuse("503 5.5.1 BDAT was begun");
        }
        let Path::Mailbox(text) = path else { return self.refuse_recipient("", "501 5.1.3 no null forward-path") };
        let original = match Mailbox::parse(text, transaction.smtputf8) {
            Ok(mailbox) => mailbox,
            Err(error) => return self.refuse_recipient(text, &address_refused(&error, "501 5.1.3")),
        };
        if let Err(line) = check_rcpt(&params, self.offered()) {
            return self.refuse_recipient(text, line);
        }
        if self.config.submission && !original.is_bare_postmaster() && !is_whole(&original.domain) {
            return self.refuse_recipient(text, "501 5.1.2 the recipient's domain has to be a whole name");
        }
        let unauthorized = !self.may_send_to(&original);
        if unauthorized && self.relay_access == RelayAccess::Ruled {
            return self.refuse_recipient(text, DENIED);
        }
        let known = |r: &Recipient| r.original == original || r.mailbox == original;
        let (again, taken) =
            (transaction.recipients.iter().find(|r| known(r)).map(|r| r.index), transaction.recipients.len());
        // With LMTP a repeated one costs an answer more.
        let full = taken.max(self.lmtp.len()) >= self.config.max_recipients;
        if let Some(index) = again
            && !(full && self.config.lmtp)
        {
            self.owe_answer(index);
            return self.say("250 2.1.5 recipient ok, once");
        }
        if full {
            return self.refuse_recipient(text, "452 4.5.3 too many recipients");
        }
        let index = transaction.next_index;
        let candidate = Recipient { index, mailbox: self.addressed(&original), original, params };
        let subject = Subject { candidate: Some(candidate), unauthorized, ..self.transaction_subject() };
        self.ask(Asked::Rcpt, Question::Rcpt(subject));
    }

    /// A relay is closed (RFC 5321 section 7.8) but for whom it knows and where it was told to. Postmaster without a
    /// domain is always taken (RFC 5321 section 4.5.1).
    fn may_send_to(&self, mailbox: &Mailbox) -> bool {
        self.facts.may_relay || mailbox.is_bare_postmaster() || self.config.relay.takes(&mailbox.domain)
    }

    /// Postmaster without a domain is this relay's, and routed like mail for its own name.
    fn addressed(&self, mailbox: &Mailbox) -> Mailbox {
        match Domain::parse(&self.config.hostname) {
            Ok(domain) if mailbox.is_bare_postmaster() => Mailbox::new("postmaster", domain),
            _ => mailbox.clone(),
        }
    }

    pub(super) fn rcpt_answered(&mut self, mut subject: Subject, verdict: SessionVerdict) {
        self.keep_notes(&mut subject);
        let (Some(mut transaction), Some(candidate)) = (subject.transaction, subject.candidate) else {
            return self.lost();
        };
        if subject.unauthorized && verdict == SessionVerdict::Proceed {
            // Nobody who may has said otherwise: the rule stands.
            self.transaction = Some(transaction);
            return self.refuse_recipient(&candidate.original.to_string(), DENIED);
        }
        let refused = match verdict {
            SessionVerdict::Proceed | SessionVerdict::Accept => {
                let facts = Arc::make_mut(&mut transaction);
                facts.next_index = facts.next_index.max(candidate.index.saturating_add(1));
                self.owe_answer(candidate.index);
                Arc::make_mut(&mut facts.recipients).push(candidate);
                self.say("250 2.1.5 recipient ok");
                None
            }
            SessionVerdict::Reject(reply) | SessionVerdict::Tempfail(reply) => Some((candidate, reply, false)),
            SessionVerdict::Close(reply) => Some((candidate, reply, true)),
        };
        if let Some((candidate, reply, _)) = &refused {
            let (id, sender) = (transaction.id, &transaction.sender);
            tracing::info!(queue_id = %id, %sender, recipient = %candidate.original, %reply, "recipient refused");
        }
        self.transaction = Some(transaction);
        if let Some((_, reply, close)) = refused {
            self.recipient_refused(&reply, close);
        }
    }

    fn owe_answer(&mut self, index: u32) {
        if self.config.lmtp {
            self.lmtp.push(index);
        }
    }

    fn recipient_refused(&mut self, reply: &Reply, close: bool) {
        self.count_refused();
        if close {
            self.say_reply(reply);
            return self.close();
        }
        self.deny_with(reply);
    }

    /// What the client wrote may hold anything: the log gets it quoted.
    fn refuse_recipient(&mut self, recipient: &str, line: &str) {
        if let Some(transaction) = &self.transaction {
            tracing::info!(sender = %transaction.sender, recipient, reply = line, "recipient refused");
        }
        self.count_refused();
        self.deny(line);
    }

    fn count_refused(&mut self) {
        let facts = self.facts_mut();
        facts.refused_recipients = facts.refused_recipients.saturating_add(1);
    }

    /// An answer came without the transaction that went with its question.
    pub(super) fn lost(&mut self) {
        self.discard();
        self.refuse("451 4.3.0 internal error");
    }
}

/// RFC 6409 section 4.2: a name of one label is short for something that only the sender's network knows.
fn is_whole(domain: &Domain) -> bool {
    domain.is_literal() || domain.as_str().contains('.')
}

fn log_sender(subject: &Subject, reply: &Reply) {
    if let Some(transaction) = &subject.transaction {
        tracing::info!(sender = %transaction.sender, %reply, "sender refused");
    }
}

fn parse_sender(path: Path<'_>, smtputf8: bool) -> Result<ReversePath, AddressError> {
    let Path::Mailbox(text) = path else { return Ok(ReversePath(None)) };
    let mailbox = Mailbox::parse(text, smtputf8)?;
    if mailbox.is_bare_postmaster() {
        return Err(AddressError::Syntax("a reverse-path has a domain"));
    }
    Ok(ReversePath(Some(mailbox)))
}

/// RFC 6531 section 3.7.4.2 for addresses that are not ASCII, else the code given.
fn address_refused(error: &AddressError, code: &str) -> String {
    match error {
        AddressError::NotAscii => format!("553 5.6.7 {error}"),
        AddressError::Syntax(_) | AddressError::TooLong(_) => format!("{code} {error}"),
    }
}
