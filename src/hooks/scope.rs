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
    /// Authenticated clients only, or others only: as of now, so that before AUTH, and at the auth hook, nobody is.
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
        // Of a client on a Unix socket there is none: no network is its own.
        let address = session.client.address.parse().ok().map(|address: IpAddr| address.to_canonical());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hooks::fixtures::{mailbox, subject};
    use crate::hooks::{DeliveryFacts, Identity, NextHop, Route};
    use crate::mail::{Annotations, QueueId, Recipient, ReversePath};
    use crate::time::Timestamp;

    fn patterns(texts: &[&str]) -> Vec<DomainPattern> {
        texts.iter().map(|text| DomainPattern::from((*text).to_owned())).collect()
    }

    #[test]
    fn domains_fit_exactly_below_or_any() {
        let table = [
            ("example.org", "example.org", true),
            ("example.org", "EXAMPLE.org", true),
            ("Example.ORG", "example.org", true),
            ("example.org", "a.example.org", false),
            ("example.org", "badexample.org", false),
            (".example.org", "a.example.org", true),
            (".example.org", "a.b.EXAMPLE.org", true),
            (".example.org", "example.org", false),
            (".example.org", "badexample.org", false),
            (".example.org", "a.example.org.net", false),
            ("*", "example.org", true),
            ("*", "[192.0.2.1]", true),
        ];
        for (pattern, domain, fits) in table {
            let pattern = DomainPattern::from(pattern.to_owned());
            assert_eq!(pattern.covers(&mailbox("x", domain)), fits, "{pattern:?} {domain}");
        }
    }

    /// A subject with changes.
    fn with(change: impl FnOnce(&mut Subject)) -> Subject {
        let mut changed = subject();
        change(&mut changed);
        changed
    }

    fn from(address: &str) -> Subject {
        with(|s| Arc::make_mut(s.session.as_mut().unwrap()).client.address = address.into())
    }

    fn of(sender: Option<&str>) -> Subject {
        let sender = ReversePath(sender.map(|domain| mailbox("x", domain)));
        with(|s| Arc::make_mut(s.transaction.as_mut().unwrap()).sender = sender)
    }

    fn to(domains: &[&str]) -> Subject {
        with(|s| {
            let recipient = |(index, domain): (usize, &&str)| Recipient {
                index: index as u32,
                mailbox: mailbox("x", domain),
                original: mailbox("x", "as.written"),
                params: Vec::new(),
            };
            let recipients = Arc::new(domains.iter().enumerate().map(recipient).collect());
            Arc::make_mut(s.transaction.as_mut().unwrap()).recipients = recipients;
        })
    }

    fn candidate(domain: &str) -> Subject {
        let mailbox = mailbox("x", domain);
        let candidate = Recipient { index: 2, original: mailbox.clone(), mailbox, params: Vec::new() };
        Subject { candidate: Some(candidate), ..to(&["accepted.before"]) }
    }

    fn delivery() -> Subject {
        let transaction = to(&["there.example"]).transaction.unwrap();
        let facts = DeliveryFacts {
            id: QueueId::from_u64(7),
            arrived: Timestamp::from_secs(0),
            attempts: 0,
            expires: Timestamp::from_secs(1),
            sender: ReversePath(Some(mailbox("x", "example.org"))),
            recipients: transaction.recipients.as_slice().into(),
            message_size: 1,
            route: Arc::new(Route::default()),
            hop: NextHop::Mx("there.example".into()),
            previous: Arc::new([]),
            history: Arc::new([]),
            remote: None,
            tls: None,
            annotations: Arc::new(Annotations::default()),
            prepended: Arc::new([]),
        };
        Subject { delivery: Some(Arc::new(facts)), ..Subject::default() }
    }

    /// Connect, helo and auth: nothing but the session.
    fn session_only() -> Subject {
        Subject { session: subject().session, ..Subject::default() }
    }

    fn authenticated() -> Subject {
        with(|s| {
            let identity =
                Identity { mechanism: "PLAIN".into(), name: "ann".into(), acts_as: None, attributes: Vec::new() };
            Arc::make_mut(s.session.as_mut().unwrap()).identity = Some(identity);
        })
    }

    fn senders(texts: &[&str]) -> Scope {
        Scope { senders: patterns(texts), ..Scope::default() }
    }

    fn recipients(texts: &[&str]) -> Scope {
        Scope { recipients: patterns(texts), ..Scope::default() }
    }

    fn networks(texts: &[&str]) -> Scope {
        Scope { networks: texts.iter().map(|text| text.parse().unwrap()).collect(), ..Scope::default() }
    }

    #[test]
    fn conditions_about_clients() {
        let listeners = |name: &str| Scope { listeners: vec![name.into()], ..Scope::default() };
        let auth = |wanted| Scope { authenticated: Some(wanted), ..Scope::default() };
        let both = Scope { networks: networks(&["192.0.2.0/24"]).networks, ..listeners("submission") };
        let table = [
            (Scope::default(), from("unix:/run/x"), true),
            (Scope::default(), delivery(), true),
            (listeners("mx"), subject(), true),
            (listeners("submission"), subject(), false),
            (networks(&["192.0.2.0/24"]), from("192.0.2.9"), true),
            (networks(&["192.0.2.0/24"]), from("192.0.3.9"), false),
            (networks(&["192.0.2.0/24"]), from("::ffff:192.0.2.9"), true),
            (networks(&["192.0.2.0/24", "2001:db8::/32"]), from("2001:db8::1"), true),
            (networks(&["0.0.0.0/0"]), from("2001:db8::1"), false),
            (networks(&["0.0.0.0/0", "::/0"]), from("unix:/run/x"), false),
            (auth(true), authenticated(), true),
            (auth(false), authenticated(), false),
            (auth(true), subject(), false),
            (auth(false), subject(), true),
            (auth(true), session_only(), false),
            (auth(false), session_only(), true),
            (both, subject(), false),
            // At the delivery hooks there is no client.
            (listeners("mx"), delivery(), false),
            (networks(&["0.0.0.0/0"]), delivery(), false),
            (auth(false), delivery(), false),
        ];
        for (row, (scope, subject, covered)) in table.into_iter().enumerate() {
            assert_eq!(scope.covers(&subject), covered, "row {row}: {scope:?}");
        }
    }

    #[test]
    fn conditions_about_the_envelope() {
        let table = [
            (senders(&["example.org"]), of(Some("example.org")), true),
            (senders(&["example.org"]), of(Some("other.example")), false),
            (senders(&["other.example", ".example.org"]), of(Some("a.example.org")), true),
            (senders(&["*"]), of(Some("example.org")), true),
            (senders(&["*"]), of(None), false),
            (senders(&["example.org"]), of(None), false),
            (senders(&[]), of(None), true),
            // Not known yet.
            (senders(&["example.org"]), session_only(), true),
            (recipients(&["example.org"]), session_only(), true),
            (recipients(&["example.org"]), to(&[]), true),
            // One recipient of several is enough; as they are now, not as they were written.
            (recipients(&["b.example"]), to(&["a.example", "b.example"]), true),
            (recipients(&["b.example"]), to(&["a.example", "c.example"]), false),
            (recipients(&["as.written"]), to(&["a.example"]), false),
            // At RCPT the candidate counts, not those before it.
            (recipients(&["b.example"]), candidate("b.example"), true),
            (recipients(&["accepted.before"]), candidate("b.example"), false),
            (recipients(&["there.example"]), delivery(), true),
            (recipients(&["example.org"]), delivery(), false),
            (senders(&["example.org"]), delivery(), true),
            (senders(&["there.example"]), delivery(), false),
        ];
        for (row, (scope, subject, covered)) in table.into_iter().enumerate() {
            assert_eq!(scope.covers(&subject), covered, "row {row}: {scope:?}");
        }
        let both = Scope { senders: patterns(&["example.org"]), ..recipients(&["b.example"]) };
        assert!(!both.covers(&to(&["a.example"])), "all that are given must hold");
    }
}
