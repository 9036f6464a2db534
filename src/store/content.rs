//! A body, wherever it is: in memory or in a spool file. Cheap to clone, read by position, never loaded whole.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::SpoolFile;

/// Octets in memory or in a spool file.
#[derive(Clone, Debug)]
pub enum Content {
    /// Small, or still at hand.
    Memory(Bytes),
    /// A part of a file.
    Spooled(Spooled),
}

/// A part of an open file. The file stays readable while any clone lives, even after its name is gone.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// The open file; kept by whatever must know when the last reader has gone.
    pub file: Arc<SpoolFile>,
    /// Where the content starts in it.
    pub offset: u64,
    /// Octets.
    pub len: u64,
}

impl Default for Content {
    fn default() -> Self {
        Self::Memory(Bytes::new())
    }
}

impl Content {
    /// Octets.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled(spooled) => spooled.len,
        }
    }

    /// True for no octets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `max` octets from `offset`; fewer only at the end, none past it.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn read_at(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(max).min(bytes.len())))
            }
            Self::Spooled(spooled) => {
                let spooled = spooled.clone();
                tokio::task::spawn_blocking(move || spooled.read_at(offset, max)).await.map_err(io::Error::other)?
            }
        }
    }
}

impl Spooled {
    /// It is all that its file holds.
    pub(crate) fn is_whole(&self) -> bool {
        self.offset == 0 && self.file.sealed().is_some_and(|sealed| sealed.len == self.len)
    }

    /// As [`Content::read_at`], blocking.
    ///
    /// # Errors
    /// When the file can't be read or is shorter than it should be.
    pub fn read_at(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let left = self.len.saturating_sub(offset);
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(max);
        let mut buffer = vec![0; take];
        self.file.read_exact_at(&mut buffer, self.offset.saturating_add(offset))?;
        Ok(buffer.into())
    }
}
