//! The store: ordered trees of bytes behind [`Store`], one committer that covers many writers with one flush, and
//! spool files for bodies too large for a tree.
//!
//! May touch the disk; `sled.rs` is the only file that names sled. Must never let a writer believe in durability
//! before a flush has covered its write, nor go on after a flush failed.

mod content;
mod error;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

pub use content::{Content, SpoolFile, Spooled};
pub use error::StoreError;

/// A change to one key of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Inserts or replaces.
    Put {
        /// Key.
        key: Bytes,
        /// Value.
        value: Bytes,
    },
    /// Removes; a missing key is no error.
    Delete {
        /// Key.
        key: Bytes,
    },
}

/// Key and value, as read.
pub type Pair = (Bytes, Bytes);

/// The answer of a commit.
pub type Committed<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// Ordered trees with atomic batches (a seam: sled here, a replicated engine where one machine is not enough).
///
/// Trees come into being when they are first written. Reads see what was applied, flushed or not.
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// When the engine can't read.
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` pairs with `from <= key < to`, in order.
    ///
    /// # Errors
    /// When the engine can't read.
    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// Applies all writes or none, at once visible, durable with some later flush (within about 100 ms).
    ///
    /// # Errors
    /// When the engine can't write; nothing is applied then.
    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Writes `new` (none: deletes) if the key holds `expected` (none: is absent). True if it did. Not flushed.
    ///
    /// # Errors
    /// When the engine can't write.
    fn swap(&self, tree: &str, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError>;

    /// Applies all writes or none and completes once a flush covers them. Many callers share one flush.
    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_>;
}
