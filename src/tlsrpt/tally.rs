//! What is counted for one domain in one day. Pure, and bounded: who has many broken hosts learns of enough of them.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::session::{Failure, PolicySeen, Session};

/// Policies of one domain in a day: it may change once or twice, and each of its hosts has its own records.
const POLICIES_MAX: usize = 10;

/// Different failures told of one policy. More are counted, but not told apart.
const DETAILS_MAX: usize = 50;

/// Text of a policy that is kept: a large one has dozens of lines.
const TEXT_MAX: usize = 50;

/// Words of a failure that are kept.
const REASON_MAX: usize = 200;

/// Counts of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// By policy, in the order in which they were met.
    pub(super) policies: Vec<PolicyTally>,
}

/// Counts of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicyTally {
    pub(super) policy: PolicySeen,
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) details: Vec<Detail>,
}

/// Failures that are all alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Detail {
    pub(super) failure: Failure,
    pub(super) host: Arc<str>,
    pub(super) address: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) count: u64,
}

impl Tally {
    /// Counts a session.
    pub(super) fn count(&mut self, session: Session) {
        let Session { domain: _, mut policy, host, address, source, failure } = session;
        policy.text.truncate(TEXT_MAX);
        policy.hosts.truncate(TEXT_MAX);
        let at = match self.policies.iter().position(|known| known.policy == policy) {
            Some(at) => at,
            None if self.policies.len() >= POLICIES_MAX => return,
            None => {
                self.policies.push(PolicyTally { policy, successes: 0, failures: 0, details: Vec::new() });
                self.policies.len() - 1
            }
        };
        let Some(tally) = self.policies.get_mut(at) else { return };
        let Some(mut failure) = failure else {
            tally.successes = tally.successes.saturating_add(1);
            return;
        };
        tally.failures = tally.failures.saturating_add(1);
        if let Some(reason) = failure.reason.as_ref().filter(|reason| reason.len() > REASON_MAX) {
            failure.reason = Some(reason.chars().take(REASON_MAX / 4).collect::<String>().into());
        }
        let same = |detail: &&mut Detail| {
            detail.failure == failure && detail.host == host && detail.address == address && detail.source == source
        };
        if let Some(detail) = tally.details.iter_mut().find(same) {
            detail.count = detail.count.saturating_add(1);
        } else if tally.details.len() < DETAILS_MAX {
            tally.details.push(Detail { failure, host, address, source, count: 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::{FailureKind, PolicyKind};
    use super::*;

    fn session(host: &str, failure: Option<FailureKind>) -> Session {
        Session {
            domain: "example.com".into(),
            policy: PolicySeen::none(),
            host: host.into(),
            address: Some([192, 0, 2, 1].into()),
            source: None,
            failure: failure.map(|kind| Failure { kind, reason: None }),
        }
    }

    #[test]
    fn sessions_that_are_alike_are_counted_together() {
        let mut tally = Tally::default();
        (0..3).for_each(|_| tally.count(session("a", None)));
        (0..2).for_each(|_| tally.count(session("a", Some(FailureKind::CertificateExpired))));
        tally.count(session("b", Some(FailureKind::CertificateExpired)));
        tally.count(session("a", Some(FailureKind::StarttlsNotSupported)));
        let sts = PolicySeen { kind: PolicyKind::Sts, text: vec!["mode: enforce".into()], hosts: vec!["a".into()] };
        tally.count(Session { policy: sts, ..session("a", None) });
        let all: Vec<_> = tally.policies.iter().map(|p| (p.successes, p.failures, p.details.len())).collect();
        assert_eq!(all, [(3, 4, 3), (1, 0, 0)]);
        assert_eq!(tally.policies[0].details[0].count, 2);
    }

    #[test]
    fn a_domain_that_breaks_in_every_way_is_bounded() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.count(session(&format!("{number}"), Some(FailureKind::ValidationFailure)));
            let policy = PolicySeen { text: vec![format!("{number}"); 1000], ..PolicySeen::none() };
            let reason = Some("ä".repeat(10_000).into());
            let failure = Some(Failure { kind: FailureKind::ValidationFailure, reason });
            tally.count(Session { policy, failure, ..session("a", None) });
        }
        assert_eq!((tally.policies.len(), tally.policies[0].failures), (POLICIES_MAX, 1000));
        assert_eq!(tally.policies[0].details.len(), DETAILS_MAX);
        assert!(serde_json::to_vec(&tally).unwrap().len() < 100 << 10, "it fits a value of the store");
    }
}
