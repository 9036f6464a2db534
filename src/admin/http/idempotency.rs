//! What was answered to a request that carries a key: the same request with the same key is answered the same for a day, and
//! not done again.
//!
//! An answer is committed to the store before it is given. A crash between the flush of the message and that commit makes one
//! duplicate possible, never a loss. Keys are kept as hashes, each with the token's name in it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::store::{Store, StoreError, Write};
use crate::time::Timestamp;

const TREE: &str = "idempotency";
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Between looks for what is over.
const SWEEP: Duration = Duration::from_secs(600);
/// Removed at a time.
const PAGE: usize = 1000;

type Hash = [u8; 32];

/// What is known.
#[derive(Default)]
pub(super) struct Idempotency {
    store: Option<Arc<dyn Store>>,
    under_way: Mutex<HashSet<Hash>>,
    swept: Mutex<Option<Timestamp>>,
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idempotency")
    }
}

/// What a key means.
pub(super) enum Known {
    /// It is new: done under this claim.
    New(Claim),
    /// It was answered so.
    Answered(String),
    /// Somebody else is at it.
    UnderWay,
    /// It was used for another request.
    Other,
}

/// A key that nobody else works on until this is dropped.
pub(super) struct Claim {
    of: Arc<Idempotency>,
    key: Hash,
    digest: Hash,
}

impl Idempotency {
    pub(super) fn new(store: Option<Arc<dyn Store>>) -> Arc<Self> {
        Arc::new(Self { store, ..Self::default() })
    }

    /// Looks a key up. `what` is all of the request that matters.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) async fn look(
        self: &Arc<Self>,
        by: &str,
        key: &str,
        what: &[&[u8]],
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        let (key, digest) = (hash(&[by.as_bytes(), key.as_bytes()]), hash(what));
        if !self.under_way.lock().insert(key) {
            return Ok(Known::UnderWay);
        }
        let claim = Claim { of: self.clone(), key, digest };
        let Some(store) = self.store.clone() else { return Ok(Known::New(claim)) };
        let read = tokio::task::spawn_blocking(move || store.get(TREE, &key)).await;
        let found = read.unwrap_or(Err(StoreError::Closed))?;
        Ok(match found.as_deref().and_then(read_entry) {
            Some(entry) if entry.until <= now.secs() => Known::New(claim),
            Some(entry) if entry.digest == digest => Known::Answered(entry.answer.to_owned()),
            Some(_) => Known::Other,
            None => Known::New(claim),
        })
    }

    async fn sweep(&self, store: &Arc<dyn Store>, now: Timestamp) {
        {
            let mut swept = self.swept.lock();
            if swept.is_some_and(|at| now.since(at) < SWEEP) {
                return;
            }
            *swept = Some(now);
        }
        let mut from = Vec::new();
        loop {
            let (reader, begin) = (store.clone(), from.clone());
            let page = tokio::task::spawn_blocking(move || reader.range(TREE, &begin, &[0xff; 33], PAGE)).await;
            let Ok(Ok(page)) = page else { return };
            let Some((last, _)) = page.last() else { return };
            from = [&last[..], &[0]].concat();
            let over = page.iter().filter(|(_, value)| read_entry(value).is_none_or(|e| e.until <= now.secs()));
            let writes: Vec<_> = over.map(|(key, _)| Write::Delete { key: key.clone() }).collect();
            if !writes.is_empty() && store.ride(TREE, writes).is_err() {
                return;
            }
        }
    }
}

impl Claim {
    /// Remembers the answer; durable when this returns.
    ///
    /// # Errors
    /// When it can't be stored.
    pub(super) async fn answered(self, answer: &str, now: Timestamp) -> Result<(), StoreError> {
        let Some(store) = &self.of.store else { return Ok(()) };
        let until = now.plus(LIFE).secs().to_be_bytes();
        let value = Bytes::from([&until[..], &self.digest, answer.as_bytes()].concat());
        store.commit(TREE, vec![Write::Put { key: Bytes::copy_from_slice(&self.key), value }]).await?;
        self.of.sweep(store, now).await;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.of.under_way.lock().remove(&self.key);
    }
}

struct Entry<'a> {
    until: i64,
    digest: Hash,
    answer: &'a str,
}

fn read_entry(value: &[u8]) -> Option<Entry<'_>> {
    let (until, rest) = value.split_first_chunk::<8>()?;
    let (digest, answer) = rest.split_first_chunk::<32>()?;
    Some(Entry { until: i64::from_be_bytes(*until), digest: *digest, answer: std::str::from_utf8(answer).ok()? })
}

/// Of parts, each with its length, so that no two lists of them are alike.
fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
