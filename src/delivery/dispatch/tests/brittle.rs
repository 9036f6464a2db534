//! A store whose settlements fail from a moment on, as after a failed flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::store::{Committed, Pair, Sled, Store, StoreError, Ticket, Write};

pub(super) struct Brittle {
    pub(super) sled: Sled,
    pub(super) broken: Arc<AtomicBool>,
    pub(super) full: Arc<AtomicBool>,
}

impl Store for Brittle {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.sled.get(tree, key)
    }
    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.sled.range(tree, from, to, limit)
    }
    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError> {
        self.sled.apply(tree, writes)
    }
    fn swap(&self, tree: &str, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        self.sled.swap(tree, key, expected, new)
    }
    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_> {
        self.sled.commit(tree, writes)
    }
    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Broken("a fault of this test's making".into()));
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full("a full disk of this test's making".into()));
        }
        self.sled.ride(tree, writes)
    }
    fn applied(&self) -> Ticket {
        self.sled.applied()
    }
    fn flushed(&self) -> Ticket {
        self.sled.flushed()
    }
}
