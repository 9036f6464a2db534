//! `deliveries`: an attempt that a test describes, and the edits that hold for it alone.

use super::mail::check_header;
use super::sessions::facts;
use super::state::{At, State};
use super::transactions::{annotate, annotation};
use super::{Handle, checked, only_at};
use crate::{HostError, Mailbox, NextHop, PastAttempt, Recipient, RecipientOutcome, Route, Timestamp};

/// One attempt for one route group of one queued message.
#[derive(Debug)]
pub struct Delivery(pub(super) Handle);

impl Delivery {
    facts! {
        /// The same in all tests.
        queue_id -> String = |_| "q-1".to_owned();
        /// Attempts made before this one.
        attempt -> u32 = |s| s.subject.delivery.attempt;
        /// When the relay took the message.
        queued_at -> Timestamp = |s| Timestamp { seconds: s.subject.delivery.queued_at, nanoseconds: 0 };
        /// When it will be given up.
        expires_at -> Timestamp = |s| Timestamp { seconds: s.subject.delivery.expires_at, nanoseconds: 0 };
        /// Reverse-path; none: the null sender.
        sender -> Option<Mailbox> = |s| s.subject.transaction.sender.clone();
        /// The recipients of this attempt.
        recipients -> Vec<Recipient> = |s| s.subject.transaction.recipients.clone();
        /// Octets of header section and body.
        message_size -> u32 = size;
        /// How they are routed.
        route -> Route = |s| s.subject.delivery.route.clone();
        /// The hop of that route in question.
        hop -> NextHop = |s| s.subject.delivery.hop.clone();
        /// Outcomes of the previous attempt.
        previous -> Vec<RecipientOutcome> = |s| s.subject.delivery.previous.clone();
        /// The attempts before this one.
        history -> Vec<PastAttempt> = |s| s.subject.delivery.history.clone();
    }

    /// Return path for this attempt only.
    ///
    /// # Errors
    /// `not-here` but at delivery-attempt; what is no address.
    pub fn set_sender(&self, sender: Option<&Mailbox>) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::DeliveryAttempt])?;
            let sender = sender.map(checked).transpose()?;
            let words = sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string);
            state.edit(format!("set-sender {words}"))
        })
    }

    /// Extra header for this attempt only.
    ///
    /// # Errors
    /// `not-here` but at delivery-attempt; a name or a value that does not fit.
    pub fn prepend_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::DeliveryAttempt])?;
            check_header(name, value)?;
            state.edit(format!("prepend-header {name}: {value}"))
        })
    }

    /// As on `MailTransaction`.
    ///
    /// # Errors
    /// `denied` for another plugin's, unless the test grants it.
    pub fn annotation(&self, plugin: Option<&str>, key: &str) -> Result<Option<String>, HostError> {
        self.0.asked(|state| annotation(state, plugin, key))
    }

    /// As on `MailTransaction`.
    ///
    /// # Errors
    /// `not-here` at bounce; a key or a value that does not fit.
    pub fn set_annotation(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.0.asked(|state| annotate(state, &[At::DeliveryAttempt, At::DeliveryResult], key, value))
    }
}

fn size(state: &State) -> u32 {
    state.subject.delivery.size.unwrap_or_else(|| state.subject.mail.size())
}
