//! A bucket as a trial sees it: what it writes stays here, in memory, and goes with it; what it did not write is read
//! from the bucket below.
//!
//! Must never write to that bucket.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::KvQuota;
use super::bucket::{self, Bucket, KvError, Value};
use crate::time::Timestamp;

/// However much the operator grants the bucket, a trial may not hold more in memory.
const BYTES_MAX: u64 = 16 << 20;
/// Keys, each with some hundred octets of its own in the map.
const KEYS_MAX: u64 = 100_000;

/// How often a full overlay is looked through for what has expired.
const TIDY: Duration = Duration::from_secs(1);

/// Versions of an overlay's own: no clock gives them to a bucket's values.
const VERSIONS: u64 = 1 << 63;

/// An overlay over one bucket.
pub(crate) struct Scratch {
    below: Arc<Bucket>,
    quota: KvQuota,
    over: Mutex<Over>,
}

#[derive(Default)]
struct Over {
    /// None: deleted here, whatever is below.
    values: BTreeMap<String, Option<Value>>,
    bytes: u64,
    versions: u64,
    tidied: Timestamp,
}

impl Over {
    fn size(key: &str, value: Option<&Value>) -> u64 {
        (key.len() + value.map_or(0, |value| value.octets.len())) as u64
    }

    fn put(&mut self, key: &str, value: Option<Value>) {
        self.bytes += Self::size(key, value.as_ref());
        if let Some(old) = self.values.insert(key.to_owned(), value) {
            self.bytes = self.bytes.saturating_sub(Self::size(key, old.as_ref()));
        }
    }

    fn fits(&self, key: &str, value: Option<&Value>, quota: KvQuota) -> bool {
        let had = self.values.get(key);
        let bytes = self.bytes - had.map_or(0, |old| Self::size(key, old.as_ref()));
        let keys = self.values.len() as u64 + u64::from(had.is_none());
        bytes + Self::size(key, value) <= quota.bytes && keys <= quota.keys
    }
}

impl Scratch {
    pub(crate) fn over(below: Arc<Bucket>) -> Self {
        let granted = below.quota();
        let quota = KvQuota { bytes: granted.bytes.min(BYTES_MAX), keys: granted.keys.min(KEYS_MAX) };
        Self { below, quota, over: Mutex::default() }
    }

    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Result<Option<Value>, KvError> {
        self.see(&self.over.lock(), key, now)
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), KvError> {
        let octets = Bytes::copy_from_slice(value);
        self.write(key, now, |_| Ok(Some((octets, expires)))).map(|_| ())
    }

    pub(crate) fn delete(&self, key: &str, now: Timestamp) -> Result<(), KvError> {
        let mut over = self.over.lock();
        if self.see(&over, key, now)?.is_some() {
            self.put(&mut over, key, None, now)?;
        }
        Ok(())
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
            let (new, expires) = bucket::add(live, delta, expires)?;
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
        self.write(key, now, |live| Ok((live.map(|v| v.version) == expected).then_some((octets, expires))))
    }

    /// As [`Bucket::keys`]: a page of the bucket below, with what was written here in between.
    pub(crate) fn keys(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<String>, Option<String>), KvError> {
        let over = self.over.lock();
        let (below, mut next) = self.below.keys(prefix, cursor, limit, now)?;
        let mut keys: Vec<String> = below.into_iter().filter(|key| !over.values.contains_key(key)).collect();
        let from = match cursor {
            Some(cursor) if cursor >= prefix => Bound::Excluded(cursor),
            _ => Bound::Included(prefix),
        };
        let here = over.values.range::<str, _>((from, Bound::Unbounded));
        let here = here.take_while(|(key, _)| key.starts_with(prefix) && next.as_ref().is_none_or(|next| *key <= next));
        keys.extend(here.filter(|(_, v)| v.as_ref().is_some_and(|v| v.is_live(now))).map(|(key, _)| key.clone()));
        keys.sort_unstable();
        if keys.len() > limit {
            keys.truncate(limit);
            next = keys.last().cloned();
        }
        Ok((keys, next))
    }

    /// What is live: here, or else below.
    fn see(&self, over: &Over, key: &str, now: Timestamp) -> Result<Option<Value>, KvError> {
        match over.values.get(key) {
            // One that was written here and has expired would have replaced the one below, too.
            Some(here) => Ok(here.clone().filter(|value| value.is_live(now))),
            None => self.below.get(key, now),
        }
    }

    fn write(
        &self,
        key: &str,
        now: Timestamp,
        change: impl FnOnce(Option<&Value>) -> Result<Option<(Bytes, Option<Timestamp>)>, KvError>,
    ) -> Result<bool, KvError> {
        let mut over = self.over.lock();
        let live = self.see(&over, key, now)?;
        let Some((octets, expires)) = change(live.as_ref())? else { return Ok(false) };
        over.versions += 1;
        let version = VERSIONS | over.versions;
        self.put(&mut over, key, Some(Value { version, expires, octets }), now)?;
        Ok(true)
    }

    fn put(&self, over: &mut Over, key: &str, value: Option<Value>, now: Timestamp) -> Result<(), KvError> {
        if !over.fits(key, value.as_ref(), self.quota) && now.since(over.tidied) >= TIDY {
            over.tidied = now;
            self.tidy(over, now)?;
        }
        if !over.fits(key, value.as_ref(), self.quota) {
            return Err(KvError::Quota);
        }
        over.put(key, value);
        Ok(())
    }

    /// Forgets what hides nothing below and is not live.
    fn tidy(&self, over: &mut Over, now: Timestamp) -> Result<(), KvError> {
        let dead = |value: &Option<Value>| value.as_ref().is_none_or(|value| !value.is_live(now));
        let dead: Vec<String> = over.values.iter().filter(|(_, v)| dead(v)).map(|(key, _)| key.clone()).collect();
        for key in dead {
            if self.below.get(&key, now)?.is_none()
                && let Some(old) = over.values.remove(&key)
            {
                over.bytes = over.bytes.saturating_sub(Over::size(&key, old.as_ref()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::bucket::Buckets;
    use crate::plugin::testing::MemoryStore;

    const NOW: Timestamp = Timestamp::from_secs(1_795_473_060);

    fn pair(quota: KvQuota) -> (Arc<Bucket>, Scratch) {
        let store = Arc::new(MemoryStore::default());
        let below = Arc::new(Bucket::open(store, &Buckets::default(), "p", quota).unwrap());
        (below.clone(), Scratch::over(below))
    }

    fn text(value: Option<Value>) -> Option<String> {
        value.map(|value| String::from_utf8(value.octets.into()).unwrap())
    }

    #[test]
    fn what_is_written_stays_above_and_what_is_not_shows_through() {
        let (below, scratch) = pair(KvQuota { bytes: 1 << 20, keys: 1000 });
        below.set("a", b"1", None, NOW).unwrap();
        below.set("n", b"5", None, NOW).unwrap();
        assert_eq!(text(scratch.get("a", NOW).unwrap()), Some("1".into()));
        scratch.set("a", b"2", None, NOW).unwrap();
        scratch.set("b", b"3", Some(NOW.plus(TIDY)), NOW).unwrap();
        assert_eq!(scratch.increment("n", 2, None, NOW).unwrap(), 7);
        assert_eq!(scratch.increment("n", 2, None, NOW).unwrap(), 9);
        assert_eq!(text(scratch.get("a", NOW).unwrap()), Some("2".into()));
        assert_eq!(scratch.get("b", NOW.plus(TIDY)).unwrap(), None, "expired");
        scratch.delete("a", NOW).unwrap();
        assert_eq!(scratch.get("a", NOW).unwrap(), None);
        assert_eq!(text(below.get("a", NOW).unwrap()), Some("1".into()));
        assert_eq!(text(below.get("n", NOW).unwrap()), Some("5".into()));
        assert_eq!(below.get("b", NOW).unwrap(), None);
        below.set("c", b"later", None, NOW).unwrap();
        assert_eq!(text(scratch.get("c", NOW).unwrap()), Some("later".into()));
    }

    #[test]
    fn compare_and_set_sees_both_layers() {
        let (below, scratch) = pair(KvQuota { bytes: 1 << 20, keys: 1000 });
        below.set("k", b"1", None, NOW).unwrap();
        let seen = scratch.get("k", NOW).unwrap().unwrap().version;
        assert!(!scratch.compare_and_set("k", None, b"2", None, NOW).unwrap());
        assert!(scratch.compare_and_set("k", Some(seen), b"2", None, NOW).unwrap());
        assert!(!scratch.compare_and_set("k", Some(seen), b"3", None, NOW).unwrap());
        scratch.delete("k", NOW).unwrap();
        assert!(scratch.compare_and_set("k", None, b"4", None, NOW).unwrap());
        assert_eq!(below.get("k", NOW).unwrap().unwrap().version, seen);
    }

    #[test]
    fn keys_of_both_layers_come_in_order_and_in_pages() {
        let (below, scratch) = pair(KvQuota { bytes: 1 << 20, keys: 1000 });
        for n in (0..60).step_by(2) {
            below.set(&format!("p/{n:02}"), b"", None, NOW).unwrap();
        }
        for n in (1..60).step_by(2) {
            scratch.set(&format!("p/{n:02}"), b"", None, NOW).unwrap();
        }
        scratch.delete("p/10", NOW).unwrap();
        scratch.set("q", b"", None, NOW).unwrap();
        for limit in [1, 7, 29, 1000] {
            let (mut seen, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let (mut keys, next) = scratch.keys("p/", cursor.as_deref(), limit, NOW).unwrap();
                assert!(keys.len() <= limit);
                seen.append(&mut keys);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            let expected: Vec<_> = (0..60).filter(|n| *n != 10).map(|n| format!("p/{n:02}")).collect();
            assert_eq!(seen, expected, "{limit} at a time");
        }
    }

    #[test]
    fn it_is_bounded_and_makes_room_of_what_expired() {
        let (below, scratch) = pair(KvQuota { bytes: 10, keys: 2 });
        let at = NOW.plus(Duration::from_secs(10));
        scratch.set("a", b"1", Some(at), NOW).unwrap();
        assert!(matches!(scratch.set("b", b"12345678", None, NOW), Err(KvError::Quota)), "octets");
        scratch.set("b", b"1", None, NOW).unwrap();
        assert!(matches!(scratch.set("c", b"", None, NOW), Err(KvError::Quota)), "keys");
        scratch.set("c", b"", None, at).unwrap();
        assert_eq!(text(scratch.get("b", at).unwrap()), Some("1".into()));
        assert_eq!(below.get("c", at).unwrap(), None);
    }
}
