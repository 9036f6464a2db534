//! Which keys sign a message: by the domain of its From field, by date, one of each algorithm. Pure.

use std::sync::Arc;

use super::config::is_below;
use super::key::Algorithm;
use super::keys::{Keys, Loaded};
use super::{KeyConfig, SigningError};
use crate::mail::Domain;
use crate::time::Timestamp;

/// The keys that sign a message of this author now; none where no key is for it.
///
/// # Errors
/// [`SigningError::NoKeyInForce`]: a domain has keys, but none for this day. That is a slip of whoever rotates them, not a
/// wish to send unsigned.
pub(super) fn keys<'a>(
    keys: &'a Keys,
    author: Option<&Domain>,
    now: Timestamp,
) -> Result<Vec<&'a Arc<Loaded>>, SigningError> {
    let policy = &keys.config().policy;
    let own = author.and_then(|author| domain_of(keys, author));
    let mut domains: Vec<&Domain> = own.or(policy.fallback.as_ref()).into_iter().collect();
    if let Some(also) = policy.also.as_ref().filter(|also| !domains.contains(also)) {
        domains.push(also);
    }
    let mut chosen = Vec::new();
    for domain in domains {
        let found: Vec<_> = Algorithm::ALL.iter().filter_map(|a| newest(keys, domain, *a, now)).collect();
        if found.is_empty() {
            return Err(SigningError::NoKeyInForce(domain.as_str().into()));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// The domain that signs for this one: itself, or the nearest one above it that signs for its subdomains.
fn domain_of<'a>(keys: &'a Keys, author: &Domain) -> Option<&'a Domain> {
    let all = || keys.dkim.iter().map(|key| &key.config);
    let exact = all().find(|key| key.domain == *author);
    let above = || {
        let above = all().filter(|key| key.subdomains && is_below(author, &key.domain));
        above.max_by_key(|key| key.domain.as_str().len())
    };
    exact.or_else(above).map(|key| &key.domain)
}

/// Of the keys in force, the one that came last: so a new one takes over on its day, and the old one may still be there.
fn newest<'a>(keys: &'a Keys, domain: &Domain, algorithm: Algorithm, now: Timestamp) -> Option<&'a Arc<Loaded>> {
    let fits = |loaded: &&Arc<Loaded>| loaded.config.domain == *domain && loaded.key.algorithm() == algorithm;
    keys.dkim.iter().filter(fits).filter(|loaded| loaded.config.is_in_force(now)).max_by_key(|l| l.config.from)
}

impl KeyConfig {
    /// True from its first day to its last.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}
