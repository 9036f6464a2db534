//! `transactions`: the envelope of the test's mail, and its edits.

use super::sessions::{facts, leave, now, whose};
use super::state::{At, State};
use super::{Handle, checked, error, invalid, only_at};
use crate::{BodyKind, ErrorCode, EsmtpParam, HostError, Mailbox, Recipient, Timestamp};

const TAGS_MAX: usize = 16;
const ANNOTATING: [At; 5] = [At::Mail, At::Rcpt, At::Message, At::Route, At::Requeue];

/// One mail transaction.
#[derive(Debug)]
pub struct MailTransaction(pub(super) Handle);

impl MailTransaction {
    facts! {
        /// The same in all tests.
        id -> String = |_| "q-1".to_owned();
        /// When MAIL came.
        started_at -> Timestamp = now;
        /// Reverse-path; none: the null sender.
        sender -> Option<Mailbox> = |s| s.subject.transaction.sender.clone();
        /// Parameters of MAIL.
        sender_params -> Vec<EsmtpParam> = |s| s.subject.transaction.sender_params.clone();
        /// What SIZE said.
        declared_size -> Option<u32> = |s| s.subject.transaction.declared_size;
        /// What BODY said.
        body_kind -> BodyKind = |s| body_kind(&s.subject.transaction.sender_params);
        /// True if the client sent SMTPUTF8.
        smtputf8 -> bool = |s| s.subject.transaction.smtputf8;
        /// Those accepted so far.
        recipients -> Vec<Recipient> = |s| s.subject.transaction.recipients.clone();
    }

    /// Another reverse-path.
    ///
    /// # Errors
    /// `not-here` but at mail and message; what is no address.
    pub fn set_sender(&self, sender: Option<&Mailbox>) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Mail, At::Message])?;
            let sender = sender.map(checked).transpose()?;
            let words = sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string);
            state.subject.transaction.sender = sender;
            state.edit(format!("set-sender {words}"))
        })
    }

    /// One more recipient.
    ///
    /// # Errors
    /// `not-here` but at message; what is no address.
    pub fn add_recipient(&self, mailbox: &Mailbox) -> Result<u32, HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Message])?;
            let mailbox = checked(mailbox)?;
            let transaction = &mut state.subject.transaction;
            let index = transaction.next_index;
            transaction.next_index += 1;
            let recipient =
                Recipient { index, mailbox: mailbox.clone(), original: mailbox.clone(), params: Vec::new() };
            transaction.recipients.push(recipient);
            state.edit(format!("add-recipient {mailbox}"))?;
            Ok(index)
        })
    }

    /// One recipient less.
    ///
    /// # Errors
    /// `not-here` but at message; `not-found`.
    pub fn remove_recipient(&self, index: u32) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Message])?;
            let recipients = &mut state.subject.transaction.recipients;
            let place = recipients.iter().position(|r| r.index == index).ok_or_else(no_recipient)?;
            let gone = recipients.remove(place);
            state.edit(format!("remove-recipient {}", gone.mailbox))
        })
    }

    /// Another address for a recipient.
    ///
    /// # Errors
    /// `not-here` but at rcpt and message; `not-found`, at rcpt for all but the candidate; what is no address.
    pub fn rewrite_recipient(&self, index: u32, mailbox: &Mailbox) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Rcpt, At::Message])?;
            let mailbox = checked(mailbox)?;
            let transaction = &mut state.subject.transaction;
            let among = match state.at {
                At::Rcpt => transaction.candidate.as_mut_slice(),
                _ => transaction.recipients.as_mut_slice(),
            };
            let recipient = among.iter_mut().find(|r| r.index == index).ok_or_else(no_recipient)?;
            let before = std::mem::replace(&mut recipient.mailbox, mailbox.clone());
            state.edit(format!("rewrite-recipient {before} {mailbox}"))
        })
    }

    /// An annotation left with the message.
    ///
    /// # Errors
    /// `denied` for another plugin's, unless the test grants it.
    pub fn annotation(&self, plugin: Option<&str>, key: &str) -> Result<Option<String>, HostError> {
        self.0.asked(|state| annotation(state, plugin, key))
    }

    /// Leaves an annotation.
    ///
    /// # Errors
    /// `not-here` but from mail to route; a key or a value that does not fit.
    pub fn set_annotation(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.0.asked(|state| annotate(state, &ANNOTATING, key, value))
    }

    /// Forgets an annotation.
    ///
    /// # Errors
    /// `not-here` but from mail to route.
    pub fn remove_annotation(&self, key: &str) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &ANNOTATING)?;
            state.subject.transaction.annotations.remove(&(String::new(), key.to_owned()));
            state.edit(format!("remove-annotation {key}"))
        })
    }

    /// Labels the message.
    ///
    /// # Errors
    /// `not-here` but from mail to route; a tag that does not fit, or one too many.
    pub fn add_tag(&self, tag: &str) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &ANNOTATING)?;
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
            if !(1..=32).contains(&tag.len()) || !tag.bytes().all(good) {
                return Err(invalid("a tag has 1 to 32 of a-z, 0-9, -, _ and ."));
            }
            if state.subject.transaction.tags.len() >= TAGS_MAX {
                return Err(error(ErrorCode::Exhausted, "a message has at most 16 tags"));
            }
            state.subject.transaction.tags.push(tag.to_owned());
            state.edit(format!("tag {tag}"))
        })
    }
}

pub(super) fn annotation(state: &State, plugin: Option<&str>, key: &str) -> Result<Option<String>, HostError> {
    let whose = whose(state, plugin)?;
    Ok(state.subject.transaction.annotations.get(&(whose, key.to_owned())).cloned())
}

pub(super) fn annotate(state: &mut State, hooks: &[At], key: &str, value: &str) -> Result<(), HostError> {
    only_at(state, hooks)?;
    leave(&mut state.subject.transaction.annotations, key, value)?;
    state.edit(format!("annotate {key}={value}"))
}

fn body_kind(params: &[EsmtpParam]) -> BodyKind {
    let body = params.iter().find(|param| param.keyword == "BODY").and_then(|param| param.value.as_deref());
    match body.map(str::to_ascii_uppercase).as_deref() {
        Some("8BITMIME") => BodyKind::EightBitMime,
        Some("BINARYMIME") => BodyKind::BinaryMime,
        _ => BodyKind::SevenBit,
    }
}

fn no_recipient() -> HostError {
    error(ErrorCode::NotFound, "no recipient has that index")
}
