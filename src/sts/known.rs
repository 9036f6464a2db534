//! What is known of one domain, and when it is to be asked for again. Pure: told what was found out and when.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fetch::Checked;
use super::{Mode, Policy, Trouble, TroubleKind};
use crate::time::Timestamp;

/// The record is looked at this often at most; it is what TTLs of such records are like.
const RECHECK: Duration = Duration::from_secs(300);

/// After a failure, and longer after each more: RFC 8461 section 3.3 asks for five minutes at least.
const RETRY: Duration = Duration::from_secs(300);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// A policy is fetched anew this often, although nothing changed: so an attacker who keeps it from being fetched has to do so
/// for all of its life (RFC 8461 section 10.2).
const REFRESH: Duration = Duration::from_secs(86_400);

/// A policy that is at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// As the record announced it.
    pub id: Arc<str>,
    /// What it says.
    pub policy: Policy,
    /// When it was fetched.
    pub fetched: Timestamp,
}

/// What there is to say of a domain now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its policy, if one is at hand that is still valid.
    pub held: Option<Arc<Held>>,
    /// Why there is none, or no newer one.
    pub trouble: Option<Trouble>,
    /// It is being found out, and takes longer than anybody waits.
    pub pending: bool,
}

/// What is known of one domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    held: Option<Arc<Held>>,
    trouble: Option<Trouble>,
    failures: u32,
    /// The policy at hand is to be fetched again, though it is young.
    news: bool,
    /// Before this, nothing is asked.
    next: Timestamp,
    /// When somebody last wanted to know.
    pub(super) used: Timestamp,
}

impl Held {
    /// When it expires.
    pub fn expires(&self) -> Timestamp {
        self.fetched.plus(self.policy.max_age)
    }

    fn refresh(&self) -> Timestamp {
        self.fetched.plus(REFRESH.min(self.policy.max_age / 2))
    }
}

impl Found {
    /// The policy, unless it is one that ends policies.
    pub fn policy(&self) -> Option<&Policy> {
        self.held.as_ref().map(|held| &held.policy).filter(|policy| policy.mode != Mode::None)
    }

    /// Whether there is a policy is not known.
    pub fn is_unknown(&self) -> bool {
        self.held.is_none() && (self.pending || self.trouble.is_some())
    }
}

impl Known {
    /// From the store. It is asked for again at the first opportunity.
    pub(super) fn restored(held: Held, now: Timestamp) -> Self {
        Self { held: Some(held.into()), used: now, ..Self::default() }
    }

    pub(super) fn found(&self, now: Timestamp, pending: bool) -> Found {
        let held = self.valid(now).cloned();
        let trouble = self.trouble.clone();
        Found { held, trouble, pending }
    }

    pub(super) fn held(&self) -> Option<&Arc<Held>> {
        self.held.as_ref()
    }

    fn valid(&self, now: Timestamp) -> Option<&Arc<Held>> {
        self.held.as_ref().filter(|held| now < held.expires())
    }

    /// It is time to ask.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next <= now
    }

    /// The policy at hand grows old.
    pub(super) fn is_ageing(&self, now: Timestamp) -> bool {
        self.is_due(now) && self.held.as_ref().is_some_and(|held| held.refresh() <= now)
    }

    /// Nobody would miss it.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.valid(now).is_none() && self.is_due(now)
    }

    /// Whatever is known, the next question is to be answered by the policy host.
    pub(super) fn expect_news(&mut self) {
        self.news = true;
    }

    /// The id of a policy that needs not be fetched again.
    pub(super) fn fresh_id(&self, now: Timestamp) -> Option<Arc<str>> {
        self.held.as_ref().filter(|held| !self.news && now < held.refresh()).map(|held| Arc::clone(&held.id))
    }

    /// Worth waiting for: it was never asked for, or the last answer was one.
    pub(super) fn is_promising(&self) -> bool {
        self.failures == 0
    }

    /// Takes in what was found out. True if the policy at hand is another one now.
    pub(super) fn learn(&mut self, checked: Checked, now: Timestamp) -> bool {
        let was = self.held.clone();
        self.news = false;
        // A policy outlives its record, its host and every error of theirs (RFC 8461 section 5.1), but not its time.
        self.held = self.valid(now).cloned();
        match checked {
            Checked::Failed(trouble) => {
                let record = trouble.kind == TroubleKind::Record;
                self.trouble = Some(trouble);
                let wait = RETRY.saturating_mul(1 << self.failures.min(4)).min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                // A name server may be back soon, and costs next to nothing.
                self.next = now.plus(if record { RETRY / 5 } else { wait });
            }
            checked => {
                if let Checked::Fresh { id, policy } = checked {
                    self.held = Some(Arc::new(Held { id, policy, fetched: now }));
                }
                (self.trouble, self.failures) = (None, 0);
                self.next = now.plus(RECHECK);
            }
        }
        self.held != was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000_000 + i64::try_from(secs).unwrap())
    }

    fn fresh(id: &str, max_age: u64) -> Checked {
        let text = format!("version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: {max_age}\n");
        Checked::Fresh { id: id.into(), policy: Policy::parse(text.as_bytes()).unwrap() }
    }

    fn failed(kind: TroubleKind) -> Checked {
        Checked::Failed(Trouble { kind, text: "no".into() })
    }

    fn id(known: &Known, now: Timestamp) -> Option<Arc<str>> {
        known.found(now, false).held.map(|held| held.id.clone())
    }

    #[test]
    fn a_policy_outlives_its_record_and_its_host_but_not_its_time() {
        let mut known = Known::default();
        assert!(known.is_due(at(0)) && known.is_promising());
        assert!(known.learn(fresh("a", 7 * DAY), at(0)));
        assert!(!known.is_due(at(299)) && known.is_due(at(300)));
        assert_eq!(known.fresh_id(at(DAY - 1)).as_deref(), Some("a"));
        assert!(!known.learn(Checked::Same, at(300)) && !known.is_ageing(at(DAY - 1)));
        assert!(known.is_ageing(at(DAY)) && known.fresh_id(at(DAY)).is_none());
        assert!(!known.learn(Checked::Unannounced, at(DAY)));
        assert!(!known.learn(failed(TroubleKind::Fetch), at(2 * DAY)));
        assert_eq!(id(&known, at(7 * DAY - 1)).as_deref(), Some("a"));
        assert_eq!(id(&known, at(7 * DAY)), None);
        assert!(known.found(at(7 * DAY), false).is_unknown());
        assert!(known.learn(failed(TroubleKind::Fetch), at(7 * DAY)), "what has expired is forgotten");
        assert!(known.learn(fresh("b", 60), at(7 * DAY + 1)));
        assert_eq!(id(&known, at(7 * DAY + 2)).as_deref(), Some("b"));
        assert!(known.fresh_id(at(7 * DAY + 31)).is_none(), "one that is short-lived is fetched anew in time");
    }

    #[test]
    fn failures_are_followed_by_ever_longer_waits() {
        let mut known = Known::default();
        let mut now = at(0);
        for wait in [300, 600, 1200, 2400, 3600, 3600] {
            known.learn(failed(TroubleKind::Fetch), now);
            assert!(!known.is_promising() && known.found(now, false).is_unknown());
            let next = now.plus(Duration::from_secs(wait));
            assert!(!known.is_due(next.minus(Duration::from_secs(1))) && known.is_due(next), "{wait}");
            now = next;
        }
        known.learn(failed(TroubleKind::Record), now);
        assert!(known.is_due(now.plus(Duration::from_secs(60))));
        known.learn(Checked::Unannounced, now);
        assert!(known.is_promising() && !known.found(now, false).is_unknown());
        assert!(known.is_over(now.plus(RECHECK)) && !known.is_over(now));
    }
}
