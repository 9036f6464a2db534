//! What can go wrong in the store, told apart by what the caller can do.

use std::sync::Arc;

/// A store failure. `Full` passes when space returns; `Broken` does not pass before a restart.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No space, or below the floor of free space.
    #[error("the spool is full: {0}")]
    Full(Arc<str>),
    /// The engine or the disk failed; after a failed flush nothing more is acknowledged.
    #[error("the store failed: {0}")]
    Broken(Arc<str>),
    /// What was read does not verify.
    #[error("stored data is damaged: {0}")]
    Damaged(Arc<str>),
    /// The relay is shutting down.
    #[error("the store is closed")]
    Closed,
}
