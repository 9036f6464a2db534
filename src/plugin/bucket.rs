//! A kv bucket, one plugin's own or a shared one: values with version and expiry in one tree of the store, an index by
//! expiry in another.
//!
//! An expired value is hidden at once and removed by [`Bucket::sweep`]. Writes are visible at once and durable with
//! some later flush; each is one compare-and-swap, so that two sessions never lose each other's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::{BufMut, Bytes};
use parking_lot::Mutex;

use super::KvQuota;
use crate::store::{Store, StoreError, Write};
use crate::time::Timestamp;

/// How often a lost race is run again: each loss means that somebody else's write got through.
const ROUNDS: usize = 64;

/// Pairs of one look into the store: values may be large.
const PAGE: usize = 64;

/// Numbers stay exact in every guest language.
const NUMBER_MAX: i64 = 1 << 53;

/// Octets before the value: version and expiry.
const HEAD: usize = 16;

/// A value as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// Never the same twice in one bucket.
    pub version: u64,
    /// When it vanishes.
    pub expires: Option<Timestamp>,
    /// The value.
    pub octets: Bytes,
}

impl Value {
    fn decode(raw: &Bytes) -> Option<Self> {
        let version = u64::from_be_bytes(raw.get(..8)?.try_into().ok()?);
        let expires = i64::from_be_bytes(raw.get(8..HEAD)?.try_into().ok()?);
        let expires = (expires != 0).then(|| Timestamp::from_micros(expires));
        Some(Self { version, expires, octets: raw.slice(HEAD..) })
    }

    fn encode(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(HEAD + self.octets.len());
        raw.put_u64(self.version);
        raw.put_i64(self.expires.map_or(0, Timestamp::micros));
        raw.extend_from_slice(&self.octets);
        raw
    }

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

/// Why a bucket did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    /// The operator's quota.
    #[error("the bucket's quota is used up")]
    Quota,
    /// `increment` on something else.
    #[error("the value is no number")]
    NotANumber,
    /// `increment` past 2^53.
    #[error("the number would pass 2^53")]
    TooFar,
    /// Others were faster, again and again.
    #[error("too many sessions write this key at once")]
    Contended,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a bucket holds, shared by all generations that use it.
#[derive(Debug, Default)]
struct Usage {
    bytes: AtomicI64,
    keys: AtomicI64,
    version: AtomicU64,
}

/// The buckets in use, so that a new generation goes on counting where the old one is.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<String, Weak<Usage>>>);

/// One bucket under one generation's quota.
pub(crate) struct Bucket {
    store: Arc<dyn Store>,
    tree: String,
    index: String,
    quota: KvQuota,
    usage: Arc<Usage>,
}

impl Bucket {
    /// Opens a plugin's own bucket. Counts what is there if nobody has yet: blocking.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        buckets: &Buckets,
        plugin: &str,
        quota: KvQuota,
    ) -> Result<Self, StoreError> {
        Self::open_trees(store, buckets, [format!("kv:{plugin}"), format!("kv-expiry:{plugin}")], quota)
    }

    /// Opens a bucket that several plugins share. Blocking, as [`Self::open`].
    pub(crate) fn open_shared(
        store: Arc<dyn Store>,
        buckets: &Buckets,
        name: &str,
        quota: KvQuota,
    ) -> Result<Self, StoreError> {
        Self::open_trees(store, buckets, [format!("kv-shared:{name}"), format!("kv-shared-expiry:{name}")], quota)
    }

    fn open_trees(
        store: Arc<dyn Store>,
        buckets: &Buckets,
        [tree, index]: [String; 2],
        quota: KvQuota,
    ) -> Result<Self, StoreError> {
        // Held while counting: two openers must end with the same counters.
        let mut known = buckets.0.lock();
        let usage = match known.get(&tree).and_then(Weak::upgrade) {
            Some(usage) => usage,
            None => {
                let usage = Arc::new(count(&*store, &tree)?);
                known.retain(|_, usage| usage.strong_count() > 0);
                known.insert(tree.clone(), Arc::downgrade(&usage));
                usage
            }
        };
        Ok(Self { store, tree, index, quota, usage })
    }

    /// What the operator allows it to hold.
    pub(crate) fn quota(&self) -> KvQuota {
        self.quota
    }

    /// Where its values are: two of the same tree are one bucket.
    pub(crate) fn tree(&self) -> &str {
        &self.tree
    }

    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Result<Option<Value>, KvError> {
        let raw = self.store.get(&self.tree, key.as_bytes())?;
        Ok(raw.as_ref().and_then(Value::decode).filter(|value| value.is_live(now)))
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), KvError> {
        let octets = Bytes::copy_from_slice(value);
        self.write(key, now, |_| Ok(Some((octets.clone(), expires)))).map(|_| ())
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), KvError> {
        for _ in 0..ROUNDS {
            let Some(raw) = self.store.get(&self.tree, key.as_bytes())? else { return Ok(()) };
            if self.store.swap(&self.tree, key.as_bytes(), Some(&raw), None)? {
                self.release(key, raw.len());
                return Ok(());
            }
        }
        Err(KvError::Contended)
    }

    pub(crate) fn increment(
        &self,
        key: &str,
        delta: i64,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<i64, KvError> {
        let mut sum = 0;
        self.write(key, now, |live| {
            let (new, expires) = add(live, delta, expires)?;
            sum = new;
            Ok(Some((new.to_string().into(), expires)))
        })?;
        Ok(sum)
    }

    pub(crate) fn compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, KvError> {
        let octets = Bytes::copy_from_slice(value);
        self.write(key, now, |live| Ok((live.map(|v| v.version) == expected).then(|| (octets.clone(), expires))))
    }

    /// Keys that start with `prefix`, after `cursor`; the second is where to go on. A page may be short.
    pub(crate) fn keys(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<String>, Option<String>), KvError> {
        let mut from = match cursor {
            Some(cursor) if cursor.as_bytes() >= prefix.as_bytes() => after(cursor.as_bytes()),
            _ => prefix.as_bytes().to_vec(),
        };
        let to = past(prefix);
        let mut keys = Vec::new();
        loop {
            let take = PAGE.min(limit - keys.len());
            let pairs = self.store.range(&self.tree, &from, &to, take)?;
            let end = pairs.len() < take;
            for (key, raw) in pairs {
                from = after(&key);
                if Value::decode(&raw).is_some_and(|value| value.is_live(now)) {
                    keys.push(String::from_utf8_lossy(&key).into_owned());
                }
            }
            if end || keys.len() >= limit {
                let cursor = if end { None } else { keys.last().cloned() };
                return Ok((keys, cursor));
            }
        }
    }

    /// Removes what has expired; returns how many values. Blocking, for a timer.
    pub(crate) fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut removed = 0;
        let to = now.micros().saturating_add(1).max(0).to_be_bytes();
        loop {
            let due = self.store.range(&self.index, &[], &to, PAGE)?;
            let more = due.len() == PAGE;
            for (entry, _) in &due {
                removed += u64::from(self.expire(entry, now)?);
            }
            let forget = due.into_iter().map(|(key, _)| Write::Delete { key }).collect();
            self.store.apply(&self.index, forget)?;
            if !more {
                return Ok(removed);
            }
        }
    }

    /// Removes the value an index entry is about, unless it was written again.
    fn expire(&self, entry: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let Some(key) = entry.get(8..) else { return Ok(false) };
        let Some(raw) = self.store.get(&self.tree, key)? else { return Ok(false) };
        if Value::decode(&raw).is_some_and(|value| value.is_live(now)) {
            return Ok(false);
        }
        let removed = self.store.swap(&self.tree, key, Some(&raw), None)?;
        if removed {
            self.release(&String::from_utf8_lossy(key), raw.len());
        }
        Ok(removed)
    }

    /// One atomic change; `change` says what is to be written, given what is live, and is asked again after a lost race.
    /// False if it wanted nothing written.
    fn write(
        &self,
        key: &str,
        now: Timestamp,
        mut change: impl FnMut(Option<&Value>) -> Result<Option<(Bytes, Option<Timestamp>)>, KvError>,
    ) -> Result<bool, KvError> {
        for _ in 0..ROUNDS {
            let raw = self.store.get(&self.tree, key.as_bytes())?;
            let old = raw.as_ref().and_then(Value::decode);
            let live = old.as_ref().filter(|value| value.is_live(now));
            let Some((octets, expires)) = change(live)? else { return Ok(false) };
            let new = Value { version: self.next_version(now), expires, octets }.encode();
            let had = raw.as_ref().map(Bytes::len);
            self.reserve(key, had, new.len())?;
            match self.put(key, raw.as_deref(), &new, expires) {
                Ok(true) => return Ok(true),
                Ok(false) => self.give_back(key, had, new.len()),
                Err(error) => {
                    self.give_back(key, had, new.len());
                    return Err(error.into());
                }
            }
        }
        Err(KvError::Contended)
    }

    /// The index first: a value without its entry would never be swept, an entry without a value does no harm.
    fn put(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        if let Some(at) = expires {
            let mut entry = at.micros().to_be_bytes().to_vec();
            entry.extend_from_slice(key.as_bytes());
            self.store.apply(&self.index, vec![Write::Put { key: entry.into(), value: Bytes::new() }])?;
        }
        self.store.swap(&self.tree, key.as_bytes(), expected, Some(new))
    }

    /// Larger than any before, also over restarts: from the clock, unless it stood still.
    fn next_version(&self, now: Timestamp) -> u64 {
        let now = now.micros().max(0).unsigned_abs();
        let version = &self.usage.version;
        version.fetch_max(now, Ordering::Relaxed);
        version.fetch_add(1, Ordering::Relaxed)
    }

    fn reserve(&self, key: &str, had: Option<usize>, new: usize) -> Result<(), KvError> {
        let (bytes, keys) = growth(key, had, new);
        let bytes_now = self.usage.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let keys_now = self.usage.keys.fetch_add(keys, Ordering::Relaxed).saturating_add(keys);
        let over = |now: i64, growth: i64, max: u64| growth > 0 && u64::try_from(now).unwrap_or(0) > max;
        if over(bytes_now, bytes, self.quota.bytes) || over(keys_now, keys, self.quota.keys) {
            self.give_back(key, had, new);
            return Err(KvError::Quota);
        }
        Ok(())
    }

    fn give_back(&self, key: &str, had: Option<usize>, new: usize) {
        let (bytes, keys) = growth(key, had, new);
        self.usage.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.usage.keys.fetch_sub(keys, Ordering::Relaxed);
    }

    fn release(&self, key: &str, raw: usize) {
        self.give_back(key, None, raw);
    }
}

/// A number after something was added to it, and its expiry: the first one stays.
pub(crate) fn add(
    live: Option<&Value>,
    delta: i64,
    expires: Option<Timestamp>,
) -> Result<(i64, Option<Timestamp>), KvError> {
    let (number, expires) = match live {
        None => (0, expires),
        Some(value) => {
            let text = std::str::from_utf8(&value.octets).map_err(|_| KvError::NotANumber)?;
            (text.parse::<i64>().map_err(|_| KvError::NotANumber)?, value.expires)
        }
    };
    let sum = number.checked_add(delta).filter(|sum| sum.abs() <= NUMBER_MAX).ok_or(KvError::TooFar)?;
    Ok((sum, expires))
}

/// Octets and keys that a write adds.
fn growth(key: &str, had: Option<usize>, new: usize) -> (i64, i64) {
    let size = |raw: usize| i64::try_from(key.len() + raw.saturating_sub(HEAD)).unwrap_or(i64::MAX);
    (size(new) - had.map_or(0, size), i64::from(had.is_none()))
}

fn count(store: &dyn Store, tree: &str) -> Result<Usage, StoreError> {
    let usage = Usage::default();
    let mut from = Vec::new();
    loop {
        // Keys are UTF-8, in which 0xff does not occur.
        let pairs = store.range(tree, &from, &[0xff], PAGE)?;
        for (key, raw) in &pairs {
            let size = key.len() + raw.len().saturating_sub(HEAD);
            usage.bytes.fetch_add(i64::try_from(size).unwrap_or(i64::MAX), Ordering::Relaxed);
            usage.keys.fetch_add(1, Ordering::Relaxed);
            let version = Value::decode(raw).map_or(0, |value| value.version);
            usage.version.fetch_max(version.saturating_add(1), Ordering::Relaxed);
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() == PAGE => from = after(last),
            _ => return Ok(usage),
        }
    }
}

/// The smallest key behind `key`.
fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The smallest key behind all that start with `prefix`.
fn past(prefix: &str) -> Vec<u8> {
    let mut to = prefix.as_bytes().to_vec();
    to.push(0xff);
    to
}

#[cfg(test)]
mod tests;
