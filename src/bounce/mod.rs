//! Notices: who must be told what about which recipients, and the report they get (RFC 3461, RFC 3464).
//!
//! Pure: returns messages, sends nothing. The null reverse-path never gets one. May import `mail`, `smtp`, `hooks`
//! types and `time`; never `queue`.

mod fields;
mod report;
mod text;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::hooks::{BounceEdit, Outcome};
use crate::mail::{BodyKind, Mailbox, Param, QueueId, Recipient, ReversePath};
use crate::time::Timestamp;

/// Unless the operator says otherwise, bodies up to this size are returned whole, larger ones as a header section: enough for a sender to know the
/// message again, and no lever for making the relay send large mail to a forged reverse-path.
pub const RETURN_LIMIT: u64 = 64 * 1024;

/// What a notice says became of its recipients (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet delivered; tried until then.
    Delayed {
        /// The give-up time.
        until: Timestamp,
    },
    /// In its mailbox.
    Delivered,
    /// Handed to a host that sends no reports.
    Relayed,
    /// Handed on, and the sender of a message that had to be there in time is to know (RFC 2852 section 4.1.4).
    Traced,
}

/// The message that a notice is about.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its queue id.
    pub id: QueueId,
    /// When the relay took it.
    pub arrived: Timestamp,
    /// Who is told.
    pub sender: &'a ReversePath,
    /// RET, ENVID and REQUIRETLS.
    pub sender_params: &'a [Param],
    /// It was sent with SMTPUTF8, so its sender can take reports in UTF-8 (RFC 6533).
    pub smtputf8: bool,
    /// Header section and the empty line.
    pub head: &'a [u8],
    /// The whole body, if it was at hand and small enough to be returned.
    pub body: Option<&'a [u8]>,
}

/// What is said of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Who.
    pub recipient: &'a Recipient,
    /// The outcome that is reported.
    pub outcome: &'a Outcome,
}

/// Who sends the notice, and when.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The relay's host name: Reporting-MTA and the sender's domain.
    pub hostname: &'a str,
    /// Queue id that the notice will have; goes into its Message-ID.
    pub id: QueueId,
    /// This moment.
    pub now: Timestamp,
}

/// A finished message, to be sent with the null reverse-path (RFC 3461 section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Who gets it.
    pub recipient: Mailbox,
    /// It needs SMTPUTF8 onward.
    pub smtputf8: bool,
    /// What its body holds.
    pub body_kind: BodyKind,
    /// Header section and the empty line.
    pub head: Bytes,
    /// The body.
    pub body: Bytes,
}

/// True if a sender wants to hear of this: NOTIFY (RFC 3461 section 4.1), and failures and delays where it said nothing.
pub fn is_wanted(recipient: &Recipient, action: Action) -> bool {
    let Some(notify) = recipient.param("NOTIFY") else {
        return matches!(action, Action::Failed | Action::Delayed { .. } | Action::Traced);
    };
    let has = |keyword: &str| notify.split(',').any(|word| word.trim().eq_ignore_ascii_case(keyword));
    match action {
        Action::Failed => has("FAILURE"),
        Action::Delayed { .. } => has("DELAY"),
        Action::Delivered | Action::Relayed => has("SUCCESS"),
        Action::Traced => !has("NEVER"),
    }
}

/// The notice due for these recipients, if the sender has an address and wants to hear of any of them.
pub fn notice(
    original: &Original<'_>,
    action: Action,
    reported: &[Reported<'_>],
    edit: &BounceEdit,
    frame: Frame<'_>,
) -> Option<Notice> {
    // RFC 5321 section 4.5.5, RFC 3461 section 6.1: a report about a report would never end. A redirection does not
    // change that: the null reverse-path itself is what says that nobody is to be told.
    let sender = original.sender.0.as_ref()?;
    let wanted: Vec<Reported<'_>> = reported.iter().copied().filter(|r| is_wanted(r.recipient, action)).collect();
    if wanted.is_empty() {
        return None;
    }
    let to = edit.redirect_to.as_ref().unwrap_or(sender);
    Some(report::build(original, action, &wanted, edit, to, frame))
}

/// The same for the postmaster, who is told of what senders wanted to hear and of what nobody else can be told: the report
/// of a report goes to no sender, so it can't begin a circle as long as the postmaster's own mail is left out.
pub fn copy(
    original: &Original<'_>,
    action: Action,
    reported: &[Reported<'_>],
    to: &Mailbox,
    frame: Frame<'_>,
) -> Option<Notice> {
    if reported.is_empty() || reported.iter().any(|r| r.recipient.mailbox == *to) {
        return None;
    }
    let preface = match &original.sender.0 {
        Some(sender) => format!("For the postmaster: this is a copy of what <{sender}> is told."),
        None => {
            "For the postmaster: this message has no sender who could be told. It may be a report itself.".to_owned()
        }
    };
    let edit = BounceEdit { preface: Some(preface.into()), return_headers_only: true, redirect_to: Some(to.clone()) };
    Some(report::build(original, action, reported, &edit, to, frame))
}

/// The value of a parameter in a list, by its upper-case keyword.
fn param<'a>(params: &'a [Param], keyword: &str) -> Option<&'a str> {
    params.iter().find(|p| &*p.keyword == keyword)?.value.as_deref()
}
