//! How a transmission went: outcomes, and what they say about the next hop; and those that no next hop had a part in.
//!
//! Plain values. Every recipient has exactly one outcome.

use std::sync::Arc;
use std::time::Duration;

use super::reach::{Failure, Whose};
use super::transmit::Mail;
use crate::hooks::{Endpoint, NextHop, Outcome, OutcomeKind, Stage, TlsFacts};
use crate::smtp::{Reply, Status};
use crate::time::Timestamp;

/// Who tells the sender of a delivery that was to be reported (RFC 3461 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reporting {
    /// The next hop: it speaks DSN, and NOTIFY went on with the message.
    NextHop,
    /// We do, and say that it was passed on.
    Relayed,
    /// We do, and tell everybody who did not ask for silence that it was passed on (RFC 2852 section 4.1.4).
    Traced,
    /// We do, and say that it was delivered: the journey ends here.
    Delivered,
}

/// How a transmission went.
pub(super) struct Transmitted {
    /// One for each recipient.
    pub(super) outcomes: Vec<Outcome>,
    /// Did the next hop take part?
    pub(super) contact: Contact,
    /// The hop that the outcomes are about.
    pub(super) hop: Option<NextHop>,
    /// Its address and TLS, where there was a connection.
    pub(super) remote: Option<(Endpoint, Option<TlsFacts>)>,
    /// Who reports success.
    pub(super) reporting: Reporting,
    /// From its start to its end.
    pub(super) took: Duration,
    /// What was said, where not everybody was delivered to.
    pub(super) dialogue: Option<Arc<str>>,
    /// Recipients that were too many for this transaction, when others got through; or all of them, when the next hop
    /// hung up on so many.
    pub(super) left: Vec<u32>,
    /// How many it would have taken in the latter case.
    pub(super) most: Option<usize>,
}

impl Transmitted {
    /// What another transaction made of some that were left. `later`: the others, who come next if these got through.
    pub(super) fn join(&mut self, more: Self, later: impl Iterator<Item = u32>) {
        let through = more.outcomes.iter().any(|outcome| outcome.kind == OutcomeKind::Delivered);
        for outcome in more.outcomes {
            if let Some(place) = self.outcomes.iter_mut().find(|one| one.recipient == outcome.recipient) {
                *place = outcome;
            }
        }
        (self.left, self.most) = (more.left, more.most);
        let all = self.outcomes.iter().all(|outcome| outcome.kind == OutcomeKind::Delivered);
        self.dialogue = more.dialogue.or(self.dialogue.take()).filter(|_| !all);
        self.left.extend(later.filter(|_| through || self.most.is_some()));
        // Both say so if either has no DSN: told twice is better than not at all.
        if more.reporting != Reporting::NextHop {
            self.reporting = more.reporting;
        }
    }
}

/// What a transmission says about the next hop as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// It took part in a transaction.
    Reached,
    /// No connection could be opened.
    Unreachable,
    /// Nobody was let in who goes this way: a name, a policy or a credential is at fault. Others may well reach the host.
    Impassable,
    /// The source could not be used: the next hop has no part in it.
    Sourceless,
    /// No connection may be opened for now: the site's rate is used up.
    Early,
    /// Nothing.
    None,
}

/// No hop could be reached: the same outcome for all.
pub(super) fn unreached(failure: &Failure, mail: &Mail<'_>, at: Timestamp) -> Transmitted {
    let kind = if failure.permanent { OutcomeKind::Permanent } else { OutcomeKind::Temporary };
    let outcomes = mail.recipients.iter().map(|recipient| Outcome {
        recipient: recipient.index,
        kind,
        stage: failure.stage,
        reply: failure.reply.clone(),
        error: failure.error.clone(),
        remote: failure.remote.clone(),
        remote_endpoint: None,
        at,
    });
    let contact = match (&failure.source, failure.whose) {
        (Some(_), _) => Contact::Sourceless,
        (None, Whose::Host) if !failure.permanent => Contact::Unreachable,
        (None, Whose::Way) if !failure.permanent => Contact::Impassable,
        (None, Whose::Nobody) => Contact::Early,
        (None, _) => Contact::None,
    };
    Transmitted {
        outcomes: outcomes.collect(),
        contact,
        hop: Some(failure.hop.clone()),
        remote: None,
        reporting: Reporting::Relayed,
        took: Duration::ZERO,
        dialogue: None,
        left: Vec::new(),
        most: None,
    }
}

/// Delivered to a place that is no host.
pub(super) fn ended_here(outcomes: Vec<Outcome>, hop: NextHop) -> Transmitted {
    let (contact, reporting) = (Contact::None, Reporting::Delivered);
    Transmitted {
        outcomes,
        contact,
        hop: Some(hop),
        remote: None,
        reporting,
        took: Duration::ZERO,
        dialogue: None,
        left: Vec::new(),
        most: None,
    }
}

/// The queue can't give the content.
pub(super) fn unreadable(mail: &Mail<'_>, error: &crate::queue::QueueError, at: Timestamp) -> Transmitted {
    tracing::error!(queue_id = %mail.record.id, %error, "content can't be read");
    let reply = Reply::new(451, Status::new(4, 3, 0), "the message can't be read from the queue now");
    let outcomes = local(mail, OutcomeKind::Temporary, Stage::Queue, &reply, at);
    let (contact, reporting) = (Contact::None, Reporting::Relayed);
    Transmitted {
        outcomes,
        contact,
        hop: None,
        remote: None,
        reporting,
        took: Duration::ZERO,
        dialogue: None,
        left: Vec::new(),
        most: None,
    }
}

/// The same outcome for all, made by the relay itself.
pub(super) fn local(mail: &Mail<'_>, kind: OutcomeKind, stage: Stage, reply: &Reply, at: Timestamp) -> Vec<Outcome> {
    mail.recipients.iter().map(|recipient| local_outcome(recipient.index, kind, stage, reply, at)).collect()
}

/// An outcome that no next hop had a part in.
pub(super) fn local_outcome(recipient: u32, kind: OutcomeKind, stage: Stage, reply: &Reply, at: Timestamp) -> Outcome {
    Outcome { recipient, kind, stage, reply: Some(reply.clone()), error: None, remote: None, remote_endpoint: None, at }
}
