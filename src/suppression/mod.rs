//! The suppression list: addresses and domains that nothing is sent to, for one tenant or for all, with reason and expiry.
//!
//! Kept in the store and, whole, in memory: a look costs nothing where the list is empty, and a few hash look-ups where it
//! is not. May import `mail`, `smtp`, `store`, `time`. Must never grow without bound, nor have mail wait for a disk.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::mail::{Domain, Mailbox};
use crate::smtp::Status;
use crate::store::{Store, StoreError, Write};
use crate::time::{Clock, Timestamp};

const TREE: &str = "suppression";

/// Entries, in memory: some 150 MB at the very most.
const MOST: usize = 1_000_000;

/// Entries read at a time.
const PAGE: usize = 512;

/// Between the tenant and the pattern of a key; in neither.
const BETWEEN: u8 = 0;

/// `[suppression]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What becomes of a suppressed recipient.
    pub then: Then,
    /// Addresses are added after certain failures.
    pub auto: bool,
    /// After replies with these enhanced statuses.
    pub statuses: Vec<Status>,
    /// For so long.
    pub keep: Duration,
}

/// What becomes of a suppressed recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// It fails; the sender is told.
    #[default]
    Fail,
    /// It is forgotten; the audit log tells.
    Drop,
}

impl Default for Config {
    /// Nothing is added by itself: who is never written to again should be decided by people.
    fn default() -> Self {
        let statuses = vec![Status::new(5, 1, 1), Status::new(5, 1, 6), Status::new(5, 1, 10)];
        Self { then: Then::Fail, auto: false, statuses, keep: Duration::from_secs(90 * 86_400) }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// An address, or a domain.
    pub pattern: Arc<str>,
    /// Whose mail it is about; none: everybody's.
    pub tenant: Option<Arc<str>>,
    /// Why.
    pub reason: Arc<str>,
    /// Who added it: an operator, or `auto`.
    pub by: Arc<str>,
    /// When.
    pub added: Timestamp,
    /// Until when; none: for good.
    pub until: Option<Timestamp>,
}

/// The list. Cheap to clone.
#[derive(Clone)]
pub struct Suppression(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: ArcSwap<Config>,
    entries: RwLock<HashMap<Box<[u8]>, Arc<Entry>>>,
}

/// Why the list did not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SuppressionError {
    /// Neither an address nor a domain.
    #[error("{0:?} is neither an address nor a domain")]
    Pattern(String),
    /// A tenant that can't be one.
    #[error("{0:?} is no name of a tenant")]
    Tenant(String),
    /// Too many.
    #[error("there are {MOST} entries already: remove some first")]
    Full,
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Suppression {
    /// Reads the list. Blocking.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (mut entries, mut from) = (HashMap::new(), Bytes::new());
        loop {
            let page = store.range(TREE, &from, &[0xff; 4], PAGE)?;
            for (key, value) in &page {
                match serde_json::from_slice::<Entry>(value) {
                    Ok(entry) if entries.len() < MOST => {
                        entries.insert(Box::from(&key[..]), Arc::new(entry));
                    }
                    Ok(_) => tracing::error!("more than {MOST} entries are suppressed: the rest is not heeded"),
                    Err(error) => tracing::error!(?key, %error, "an entry of the suppression list can't be read"),
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => from = [key, &[0][..]].concat().into(),
                _ => break,
            }
        }
        let (config, entries) = (ArcSwap::default(), RwLock::new(entries));
        let list = Self(Arc::new(Inner { store, clock, config, entries }));
        list.sweep();
        Ok(list)
    }

    /// As the operator wants it from here on.
    pub fn configure(&self, config: &Config) {
        self.0.config.store(Arc::new(config.clone()));
    }

    /// The settings.
    pub fn config(&self) -> Arc<Config> {
        self.0.config.load_full()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.entries.read().len()
    }

    /// True if nobody is suppressed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry that keeps a tenant's mail from an address, if there is one.
    pub fn check(&self, tenant: Option<&str>, to: &Mailbox) -> Option<Arc<Entry>> {
        let entries = self.0.entries.read();
        if entries.is_empty() {
            return None;
        }
        let now = self.0.clock.now();
        let address = to.to_string().to_ascii_lowercase();
        let patterns = [&*address, to.domain.as_str()];
        let keys = patterns.into_iter().flat_map(|pattern| [tenant, None].map(|tenant| key(tenant, pattern)));
        keys.into_iter().find_map(|key| entries.get(&*key).filter(|entry| entry.holds(now)).map(Arc::clone))
    }

    /// Adds an entry, in place of one that is the same but for reason and time; durable when this returns.
    ///
    /// # Errors
    /// When there is no room, or the store fails.
    pub async fn add(&self, entry: Entry) -> Result<(), SuppressionError> {
        let (key, value) = self.insert(entry)?;
        Ok(self.0.store.commit(TREE, vec![Write::Put { key, value }]).await?)
    }

    /// Removes an entry; false: there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(&self, tenant: Option<&str>, pattern: &str) -> Result<bool, SuppressionError> {
        let key = key(tenant, &normal(pattern)?);
        let there = self.0.entries.write().remove(&*key).is_some();
        self.0.store.commit(TREE, vec![Write::Delete { key: Bytes::from(key) }]).await?;
        Ok(there)
    }

    /// Entries whose pattern contains a text, of one tenant or of all, in order, after a given one; at most so many.
    pub fn list(&self, tenant: Option<&str>, contains: &str, limit: usize) -> Vec<Arc<Entry>> {
        let now = self.0.clock.now();
        let contains = contains.to_ascii_lowercase();
        let fits = |entry: &&Arc<Entry>| {
            entry.holds(now)
                && entry.pattern.contains(&contains)
                && tenant.is_none_or(|t| entry.tenant.as_deref() == Some(t))
        };
        let mut found: Vec<Arc<Entry>> = self.0.entries.read().values().filter(fits).map(Arc::clone).collect();
        found.sort_by(|a, b| (&a.pattern, &a.tenant).cmp(&(&b.pattern, &b.tenant)));
        found.truncate(limit);
        found
    }

    /// Adds an address after a failure, where the settings say so. Does not wait for the disk.
    pub fn learn(&self, tenant: Option<&str>, to: &Mailbox, status: Option<Status>, said: &str) {
        let config = self.0.config.load();
        if !config.auto || !status.is_some_and(|status| config.statuses.contains(&status)) {
            return;
        }
        let now = self.0.clock.now();
        let reason: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        let entry = Entry {
            pattern: to.to_string().to_ascii_lowercase().into(),
            tenant: tenant.map(Into::into),
            reason: reason.into(),
            by: "auto".into(),
            added: now,
            until: Some(now.plus(config.keep)),
        };
        let done =
            self.insert(entry).and_then(|(key, value)| Ok(self.0.store.ride(TREE, vec![Write::Put { key, value }])?));
        match done {
            Ok(_) => tracing::info!(recipient = %to, tenant, reason = said, "suppressed from now on"),
            Err(error) => tracing::warn!(recipient = %to, %error, "can't be suppressed"),
        }
    }

    /// Forgets what has expired. Does not wait for the disk.
    pub fn sweep(&self) {
        let now = self.0.clock.now();
        let mut gone = Vec::new();
        self.0.entries.write().retain(|key, entry| {
            let holds = entry.holds(now);
            if !holds {
                gone.push(Write::Delete { key: Bytes::copy_from_slice(key) });
            }
            holds
        });
        for writes in gone.chunks(PAGE) {
            if let Err(error) = self.0.store.ride(TREE, writes.to_vec()) {
                tracing::warn!(%error, "what is suppressed no more can't be forgotten");
            }
        }
    }

    fn insert(&self, mut entry: Entry) -> Result<(Bytes, Bytes), SuppressionError> {
        entry.pattern = normal(&entry.pattern)?.into();
        if let Some(tenant) =
            entry.tenant.as_ref().filter(|tenant| tenant.is_empty() || tenant.bytes().any(|b| b < b' '))
        {
            return Err(SuppressionError::Tenant(tenant.to_string()));
        }
        let key = key(entry.tenant.as_deref(), &entry.pattern);
        // Plain data, which JSON always has room for.
        let value = serde_json::to_vec(&entry).unwrap_or_default();
        let mut entries = self.0.entries.write();
        if entries.len() >= MOST && !entries.contains_key(&*key) {
            return Err(SuppressionError::Full);
        }
        entries.insert(Box::from(&*key), Arc::new(entry));
        Ok((key.into(), value.into()))
    }
}

impl Entry {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// An address or a domain as the list keeps it.
fn normal(pattern: &str) -> Result<String, SuppressionError> {
    let bad = || SuppressionError::Pattern(pattern.to_owned());
    if let Some(domain) = pattern.strip_prefix('@') {
        return Domain::parse(domain).map(|domain| domain.as_str().to_owned()).map_err(|_| bad());
    }
    if pattern.contains('@') {
        let mailbox = Mailbox::parse(pattern, true).map_err(|_| bad())?;
        return Ok(mailbox.to_string().to_ascii_lowercase());
    }
    let domain = Domain::parse(pattern).ok().filter(|domain| !domain.as_str().is_empty());
    domain.map(|domain| domain.as_str().to_owned()).ok_or_else(bad)
}

fn key(tenant: Option<&str>, pattern: &str) -> Vec<u8> {
    let mut key = tenant.unwrap_or_default().as_bytes().to_vec();
    key.push(BETWEEN);
    key.extend_from_slice(pattern.as_bytes());
    key
}

impl std::fmt::Debug for Suppression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suppression").field("entries", &self.len()).finish_non_exhaustive()
    }
}
