//! The history of messages that left the queue: a line of JSON for each settlement, with the envelope, what became of each
//! recipient, the attempts before, and what was said to the next hop; kept for a bounded time and looked up.
//!
//! A ledger writes it. Must never make mail wait for a disk, never fail it, and never hold a secret or content.

mod line;
mod query;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use line::Finished;
pub use query::{Found, Query};

use crate::ledger::{Info, Keep, Ledger};
use crate::time::Clock;

/// `[history]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Written at all.
    pub record: bool,
    /// Where.
    pub path: PathBuf,
    /// What is older is removed.
    pub keep: Duration,
    /// Octets of all of it; the oldest goes first.
    pub bytes: u64,
}

/// The history. Cheap to clone.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    folder: Mutex<Option<PathBuf>>,
}

impl History {
    /// Nothing is written before [`Self::configure`].
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { ledger: Ledger::new("history", clock), folder: Mutex::default() }))
    }

    /// As the operator wants it from here on. Does not wait for a disk.
    pub fn configure(&self, config: &Config) {
        *self.0.folder.lock() = Some(config.path.clone());
        let keep = Keep { time: config.keep, bytes: config.bytes };
        self.0.ledger.configure(config.record.then(|| (config.path.clone(), keep)));
    }

    /// Whether anything is written. Cheap.
    pub fn is_on(&self) -> bool {
        self.0.ledger.is_on()
    }

    /// Takes the line of a settlement that was recorded.
    pub fn tell(&self, line: &[u8]) {
        self.0.ledger.append(line);
    }

    /// Looks messages up, what is still on its way to the disk included. Blocking.
    ///
    /// # Errors
    /// When the files can't be read, or nothing was ever recorded.
    pub fn find(&self, query: &Query) -> std::io::Result<Found> {
        let folder = self.0.folder.lock().clone();
        let folder = folder.ok_or_else(|| std::io::Error::other("no history is recorded"))?;
        self.0.ledger.flush();
        query::search(&folder, query)
    }

    /// How many lines were written and dropped since the start, and why they are dropped for now.
    pub fn info(&self) -> (u64, u64, Option<String>) {
        let Info { written, dropped, trouble } = self.0.ledger.info();
        (written, dropped, trouble)
    }

    /// Writes what there is and ends. Blocking, but not for long.
    pub fn close(&self) {
        self.0.ledger.close();
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("info", &self.info()).finish_non_exhaustive()
    }
}
