//! The store: ordered trees of bytes behind [`Store`], one committer that covers many writers with one flush, and
//! spool files for bodies too large for a tree.
//!
//! May touch the disk; `sled.rs` is the only file that names sled. Must never let a writer believe in durability
//! before a flush has covered its write, nor go on after a flush failed.

mod committer;
mod content;
mod draft;
mod error;
mod journal;
mod overlay;
mod room;
mod slab;
mod sled;
mod spool;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

pub use content::{Content, Spooled};
pub use draft::Draft;
pub use error::StoreError;
pub use room::Room;
pub use sled::Sled;
pub(crate) use spool::Sealed;
pub use spool::{Body, Spool, SpoolFile};

/// A change to one key of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Inserts a key that was never there: the writer knows, since its ids are unique. What is inserted and deleted
    /// soon after costs the engine nothing.
    Insert {
        /// Key.
        key: Bytes,
        /// Value; as for `Put`.
        value: Bytes,
    },
    /// Inserts or replaces.
    Put {
        /// Key.
        key: Bytes,
        /// Value; at most 100 KiB, above that engines are slow to give space back.
        value: Bytes,
    },
    /// Removes; a missing key is no error.
    Delete {
        /// Key.
        key: Bytes,
    },
}

impl Write {
    /// Turns an `Insert` into a `Put`.
    fn forget_new(&mut self) {
        if let Self::Insert { key, value } = self {
            *self = Self::Put { key: std::mem::take(key), value: std::mem::take(value) };
        }
    }
}

/// Key and value, as read.
pub type Pair = (Bytes, Bytes);

/// The answer of a commit.
pub type Committed<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// The place of a [`Store::ride`] or [`Store::commit`] in the order of writes; compare with [`Store::applied`] and
/// [`Store::flushed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Ordered trees with atomic batches (a seam: sled here, a replicated engine where one machine is not enough).
///
/// Trees come into being when they are first used. Reads see what was applied, flushed or not.
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

    /// Applies all writes or none, at once visible, durable with some later flush (within about a second); what is not
    /// flushed yet is lost where a full disk closes the engine. Not for trees that are written by [`Store::commit`] or
    /// [`Store::ride`].
    ///
    /// # Errors
    /// When the engine can't write, or the tree is written by commits; nothing is applied then.
    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Writes `new` (none: deletes) if the key holds `expected` (none: is absent). True if it did. Not flushed.
    /// For the same trees as [`Store::apply`].
    ///
    /// # Errors
    /// When the engine can't write.
    fn swap(&self, tree: &str, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError>;

    /// Applies all writes or none and completes once a flush covers them. Many callers share one flush. The writes
    /// are on their way when this returns; dropping the future does not take them back. Without writes: completes
    /// once everything that rode before is flushed.
    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_>;

    /// As [`Store::commit`], once these bodies, which the writes name, are written and flushed; where that fails, nothing is
    /// applied. An engine with a thread of its own does that there; this one blocks.
    fn commit_with(&self, tree: &'static str, writes: Vec<Write>, bodies: Vec<Body>) -> Committed<'_> {
        match bodies.iter().try_for_each(|body| body.write().and_then(|()| body.flush())) {
            Ok(()) => self.commit(tree, writes),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// Lets the writes ride with the next batch, in the order of calls of `ride` and `commit`: all or none of them,
    /// applied and flushed within about 100 ms, sooner if somebody commits. Cheaper than [`Store::apply`], not at
    /// once visible. What rode on a batch that found the disk full rides again once there is space.
    ///
    /// # Errors
    /// When the store is broken or closed; nothing will be applied then.
    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError>;

    /// Everything up to and with this ticket is visible to reads (or was refused as a whole).
    fn applied(&self) -> Ticket;

    /// Everything up to and with this ticket is covered by a flush (or was refused as a whole).
    fn flushed(&self) -> Ticket;

    /// Whether it can still be written to; a disk without space is no matter of health. Cheap.
    ///
    /// # Errors
    /// [`StoreError::Broken`] where nothing will be written until a restart.
    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
