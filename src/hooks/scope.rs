//! Scope: about whose mail a plugin is asked. Judged before any of its code runs.
//!
//! Pure. A condition that is not given holds for everybody; one about a fact that the hook does not know yet (the sender
//! at connect) does not keep the plugin from being asked.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Subject;
use crate::mail::Mailbox;

/// Conditions; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scope {
    /// Names of listeners; empty: all.
    pub listeners: Vec<Arc<str>>,
    /// Of clients; empty: all.
    pub networks: Vec<IpNet>,
    /// Authenticated clients only, or others only.
    pub authenticated: Option<bool>,
    /// Of the reverse-path; empty: all. The null reverse-path is of no domain.
    pub senders: Vec<DomainPattern>,
    /// Of recipients; empty: all. Where there are several recipients, one is enough.
    pub recipients: Vec<DomainPattern>,
}

/// `example.org`, `.example.org` (all below it), or `*`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", from = "String")]
pub enum DomainPattern {
    /// Any domain.
    Any,
    /// This one, in lower case.
    Exact(Arc<str>),
    /// Those below this one; begins with a dot.
    Below(Arc<str>),
}

impl From<String> for DomainPattern {
    fn from(text: String) -> Self {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "*" => Self::Any,
            below if below.starts_with('.') => Self::Below(below.into()),
            exact => Self::Exact(exact.into()),
        }
    }
}

impl From<DomainPattern> for String {
    fn from(pattern: DomainPattern) -> Self {
        match pattern {
            DomainPattern::Any => "*".to_owned(),
            DomainPattern::Exact(text) | DomainPattern::Below(text) => text.to_string(),
        }
    }
}

impl DomainPattern {
    fn covers(&self, mailbox: &Mailbox) -> bool {
        let domain = mailbox.domain.as_str();
        match self {
            Self::Any => true,
            Self::Exact(exact) => domain.eq_ignore_ascii_case(exact),
            Self::Below(below) => {
                let at = domain.len().checked_sub(below.len());
                at.and_then(|at| domain.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(below))
            }
        }
    }
}

impl Scope {
    /// True if a plugin of this scope is to be asked.
    pub fn covers(&self, subject: &Subject) -> bool {
        *self == Self::default() || (self.covers_session(subject) && self.covers_envelope(subject))
    }

    fn covers_session(&self, subject: &Subject) -> bool {
        // The delivery hooks know no session: what is asked about clients holds for nobody there.
        let Some(session) = &subject.session else {
            return self.listeners.is_empty() && self.networks.is_empty() && self.authenticated.is_none();
        };
        let address: Option<IpAddr> = session.client.address.parse().ok();
        (self.listeners.is_empty() || self.listeners.contains(&session.listener))
            && (self.networks.is_empty() || address.is_some_and(|a| self.networks.iter().any(|n| n.contains(&a))))
            && self.authenticated.is_none_or(|wanted| wanted == session.identity.is_some())
    }

    fn covers_envelope(&self, subject: &Subject) -> bool {
        let any = |patterns: &[DomainPattern], mailbox: &Mailbox| patterns.iter().any(|p| p.covers(mailbox));
        let sender = subject.delivery.as_ref().map(|d| &d.sender);
        let sender = sender.or(subject.transaction.as_ref().map(|t| &t.sender));
        if !self.senders.is_empty()
            && let Some(sender) = sender
            && !sender.0.as_ref().is_some_and(|mailbox| any(&self.senders, mailbox))
        {
            return false;
        }
        if self.recipients.is_empty() {
            return true;
        }
        if let Some(candidate) = &subject.candidate {
            return any(&self.recipients, &candidate.mailbox);
        }
        let known = match (&subject.delivery, &subject.transaction) {
            (Some(delivery), _) => &*delivery.recipients,
            (None, Some(transaction)) => &*transaction.recipients,
            (None, None) => return true,
        };
        // At MAIL there are none yet.
        known.is_empty() || known.iter().any(|r| any(&self.recipients, &r.mailbox))
    }
}
