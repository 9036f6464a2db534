//! Why a hop has no targets, as a reply. What only the operator can mend, and what may pass, is temporary.

use super::ResolveError;
use crate::smtp::{Reply, Status};

/// Why a hop has no targets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reply}")]
pub struct TargetError {
    /// It never will have.
    pub permanent: bool,
    /// What is said of it.
    pub reply: Reply,
    /// What only the operator's log may say.
    pub cause: Option<std::sync::Arc<str>>,
}

impl TargetError {
    fn new(permanent: bool, code: u16, status: Status, text: String) -> Self {
        Self { permanent, reply: Reply::new(code, status, text), cause: None }
    }

    /// RFC 3463 section 3.2: X.1.2, bad destination system address.
    pub(super) fn no_such_domain(domain: &str) -> Self {
        Self::new(true, 550, Status::new(5, 1, 2), format!("the domain {domain} does not exist"))
    }

    /// RFC 7505 section 4.
    pub(super) fn null_mx(domain: &str) -> Self {
        Self::new(true, 556, Status::new(5, 1, 10), format!("{domain} does not accept mail"))
    }

    /// RFC 3463 section 3.5: X.4.3, directory server failure.
    pub(super) fn look_up(host: &str, error: &ResolveError) -> Self {
        let (text, cause) = match error {
            ResolveError::Temporary(fault) => (fault.bland().to_owned(), Some(fault.text.clone())),
            ResolveError::NoSuchName | ResolveError::NoData => (error.to_string(), None),
        };
        Self { cause, ..Self::new(false, 451, Status::new(4, 4, 3), format!("{host}: {text}")) }
    }

    /// RFC 3463 section 3.5: X.4.6, routing loop detected.
    pub(super) fn loops_back(domain: &str) -> Self {
        Self::new(true, 554, Status::new(5, 4, 6), format!("mail for {domain} loops back to this host"))
    }

    /// RFC 3463 section 3.5: X.4.4, unable to route.
    pub(super) fn no_address(domain: &str) -> Self {
        Self::new(true, 550, Status::new(5, 4, 4), format!("no host for {domain} has an address"))
    }

    /// The same for one whose addresses no mail may go to: nobody can be reached there, now or later.
    pub(super) fn no_usable_address(domain: &str) -> Self {
        Self::new(true, 550, Status::new(5, 4, 4), format!("no host for {domain} has an address that mail can go to"))
    }

    /// That all hosts are left out is the operator's own doing, so the mail waits.
    pub(super) fn all_skipped(domain: &str) -> Self {
        Self::new(false, 451, Status::new(4, 4, 4), format!("no host for {domain} is tried now"))
    }

    pub(super) fn mendable(self) -> Self {
        let text = self.reply.lines.first().map(ToString::to_string).unwrap_or_default();
        if self.permanent { Self::new(false, 451, Status::new(4, 4, 4), text) } else { self }
    }

    /// The operator's to mend, so the mail waits.
    pub(super) fn not_configured(name: &str) -> Self {
        Self::new(false, 451, Status::new(4, 3, 5), format!("no destination is named {name}"))
    }
}
