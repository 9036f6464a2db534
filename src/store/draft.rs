//! A draft: content that comes in and that no record names yet. In memory while it is small and all drafts together
//! are, in a spool file from then on.
//!
//! Dropped unfinished it leaves nothing behind. Never flushes: a draft that is accepted is flushed by the spool.

use std::sync::Arc;

use bytes::Bytes;

use super::spool::{Inner, Sealed, SpoolFile, blocking};
use super::{Content, Spooled, StoreError};

/// A draft in memory grows up to this.
const IN_MEMORY: usize = 256 * 1024;

/// All drafts together: beyond it each goes to its file at once.
const ALL_IN_MEMORY: u64 = 64 * 1024 * 1024;

/// What a draft on disk collects before it writes.
const WRITE_AT_LEAST: usize = 128 * 1024;

/// Once it has this much, there is room for a good deal more.
const ROOMY_AT: usize = 16 * 1024;

/// Content that comes in.
pub struct Draft {
    home: Arc<Inner>,
    /// Not yet in the file.
    memory: Vec<u8>,
    /// Octets of `memory` that are counted against the budget of all drafts.
    counted: u64,
    file: Option<Arc<SpoolFile>>,
    /// Octets in the file.
    written: u64,
    hasher: crc32fast::Hasher,
    /// Where it goes when it grows.
    large: bool,
    /// It is the queue's own: the floor of free space is for others.
    past_floor: bool,
}

impl Draft {
    pub(super) fn new(home: Arc<Inner>) -> Self {
        let hasher = crc32fast::Hasher::new();
        let memory = Vec::new();
        Self { home, memory, counted: 0, file: None, written: 0, hasher, large: false, past_floor: false }
    }

    /// To a file from the first octet.
    pub(super) fn on_disk(mut self) -> Self {
        self.large = true;
        self
    }

    /// Not to be refused for want of space while there is some.
    pub(super) fn past_floor(mut self) -> Self {
        self.past_floor = true;
        self
    }

    /// Octets so far.
    pub fn len(&self) -> u64 {
        self.written + self.memory.len() as u64
    }

    /// True for no octets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds octets.
    ///
    /// # Errors
    /// When they can't be written; [`StoreError::Full`] below the floor of free space.
    pub async fn append(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let len = self.memory.len() + octets.len();
        if len > self.memory.capacity() && len >= ROOMY_AT {
            // Much more is likely to come: not to be copied over and over as it grows.
            self.memory.reserve_exact(WRITE_AT_LEAST.max(2 * len) - self.memory.len());
        }
        self.memory.extend_from_slice(octets);
        self.count(octets.len() as u64);
        let over = self.memory.len() > IN_MEMORY || self.home.room.pending() > ALL_IN_MEMORY;
        self.large |= over;
        if self.large && self.memory.len() >= WRITE_AT_LEAST {
            self.write_out().await?;
        }
        Ok(())
    }

    /// Adds a part of other content, and shows it to `see` on its way.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub async fn copy(
        &mut self,
        from: &Content,
        mut offset: u64,
        len: u64,
        mut see: impl FnMut(&[u8]) + Send,
    ) -> Result<(), StoreError> {
        let end = offset.saturating_add(len).min(from.len());
        while offset < end {
            let take = usize::try_from(end - offset).unwrap_or(usize::MAX).min(WRITE_AT_LEAST);
            let part = from.read_at(offset, take).await.map_err(|e| super::sled::failure(&e))?;
            if part.is_empty() {
                return Err(StoreError::Damaged("content is shorter than it says".into()));
            }
            see(&part);
            self.append(&part).await?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// The content as it is now.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn finish(mut self) -> Result<Content, StoreError> {
        if self.large {
            self.write_out().await?;
        }
        match self.file.take() {
            Some(file) => {
                let (offset, len) = (0, self.written);
                file.seal(Sealed { len, crc: std::mem::take(&mut self.hasher).finalize() });
                Ok(Content::Spooled(Spooled { file, offset, len }))
            }
            None => Ok(Content::Memory(Bytes::from(std::mem::take(&mut self.memory)))),
        }
    }

    async fn write_out(&mut self) -> Result<(), StoreError> {
        if !self.past_floor {
            self.home.room.check()?;
        }
        let octets = std::mem::take(&mut self.memory);
        let (home, at, mut hasher) = (Arc::clone(&self.home), self.written, self.hasher.clone());
        let file = self.file.take();
        let written = blocking(move || {
            let file = file.map_or_else(|| Inner::take(&home), Ok)?;
            file.write_at(&octets, at)?;
            hasher.update(&octets);
            Ok((file, octets, hasher))
        });
        let (file, mut octets, hasher) = written.await?;
        self.written += octets.len() as u64;
        octets.clear();
        (self.file, self.memory, self.hasher) = (Some(file), octets, hasher);
        self.uncount();
        Ok(())
    }

    fn count(&mut self, octets: u64) {
        self.counted += octets;
        self.home.room.await_octets(octets);
    }

    fn uncount(&mut self) {
        self.home.room.forget_octets(std::mem::take(&mut self.counted));
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.uncount();
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("len", &self.len()).field("file", &self.file).finish_non_exhaustive()
    }
}
