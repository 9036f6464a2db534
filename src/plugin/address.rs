//! What an operator names to find mail: a mailbox, a domain, or the address of a client.
//!
//! Pure. Local parts are compared without regard to case: who looks for mail rarely knows how it was written.

use crate::hooks::Subject;
use crate::mail::{Domain, Mailbox, Recipient};

/// A mailbox, a domain, or the address of a client.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    local_part: Option<String>,
    domain: String,
}

impl Address {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim().trim_start_matches('<').trim_end_matches('>');
        let (local_part, domain) = match text.rsplit_once('@') {
            Some(("", domain)) => (None, domain),
            Some((local_part, domain)) => (Some(local_part.to_owned()), domain),
            None => (None, text),
        };
        // As the relay keeps domains; what is none is looked for as it is.
        let domain = Domain::parse(domain).map_or_else(|_| domain.to_ascii_lowercase(), |d| d.as_str().to_owned());
        Self { local_part, domain }
    }

    /// What the address has at its end where it is written as a text of JSON.
    pub(crate) fn mark(&self) -> String {
        let text = serde_json::Value::from(self.domain.as_str()).to_string();
        let text = text.trim_matches('"');
        if self.local_part.is_some() { format!("@{text}\"") } else { format!("{text}\"") }
    }

    /// True of a mailbox.
    pub(crate) fn is(&self, address: &str) -> bool {
        let Some((local_part, domain)) = address.rsplit_once('@') else { return false };
        domain == self.domain && self.local_part.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(local_part))
    }

    /// True of a client's IP address.
    pub(crate) fn is_client(&self, client: &str) -> bool {
        self.local_part.is_none() && client == self.domain
    }

    /// True if the running hook is about this address.
    pub(crate) fn covers(&self, subject: &Subject) -> bool {
        let mailbox = |mailbox: &Mailbox| self.is(&mailbox.to_string());
        let recipient = |r: &Recipient| mailbox(&r.mailbox) || mailbox(&r.original);
        let (delivery, transaction) = (subject.delivery.as_deref(), subject.transaction.as_deref());
        let senders = delivery.map(|d| &d.sender).into_iter().chain(transaction.map(|t| &t.sender));
        subject.session.as_ref().is_some_and(|s| self.is_client(&s.client.address))
            || senders.filter_map(|sender| sender.0.as_ref()).any(mailbox)
            || subject.candidate.as_ref().is_some_and(recipient)
            || delivery.is_some_and(|d| d.recipients.iter().any(recipient))
            || transaction.is_some_and(|t| t.recipients.iter().any(recipient))
    }
}
