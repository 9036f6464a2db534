//! The record of decisions: one line of JSON for each answer that a plugin gave, kept for a bounded time in files of
//! bounded size, and looked up by message, session, address or plugin.
//!
//! One for the relay, not one for each generation. A line is made by whoever asked the plugin (`record`); a ledger writes
//! it. Must never make mail wait for a disk, never fail it, and never hold a secret or content.

mod query;
mod record;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

pub use query::{Found, Query};

use super::{DecisionsConfig, HostConfig};
use crate::hooks::Decision;
use crate::ledger::{Info, Keep, Ledger};
use crate::time::Clock;

/// Hears the decisions of a set.
pub(crate) type Listener = Box<dyn Fn(&Decision<'_>) + Send + Sync>;

/// The record. Cheap to clone.
#[derive(Clone)]
pub struct Decisions(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    folder: Mutex<Option<PathBuf>>,
}

/// How the record stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionsInfo {
    /// Decisions are written down.
    pub recording: bool,
    /// Since the start.
    pub written: u64,
    /// Since the start: the disk was slower than they came, or did not take them.
    pub dropped: u64,
    /// Why they are dropped for now.
    pub trouble: Option<String>,
}

impl Decisions {
    /// Nothing is recorded before [`Self::configure`].
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { ledger: Ledger::new("decisions", clock), folder: Mutex::default() }))
    }

    /// As the operator wants it from here on. Does not wait for a disk.
    pub fn configure(&self, host: &HostConfig) {
        let folder = host.path.join("decisions");
        *self.0.folder.lock() = Some(folder.clone());
        let DecisionsConfig { record, keep, bytes } = host.decisions;
        self.0.ledger.configure(record.then_some((folder, Keep { time: keep, bytes })));
    }

    /// What a set of plugins tells its decisions to.
    pub(crate) fn listener(&self) -> Listener {
        let decisions = self.clone();
        Box::new(move |decision| {
            if decisions.0.ledger.is_on() {
                decisions.hear(decision);
            }
        })
    }

    fn hear(&self, decision: &Decision<'_>) {
        self.0.ledger.append(&record::line(decision, self.0.ledger.now()));
    }

    /// Looks decisions up, what is still on its way to the disk included. Blocking.
    ///
    /// # Errors
    /// When the files can't be read, nothing was ever recorded, or there is no such hook.
    pub fn find(&self, query: &Query) -> std::io::Result<Found> {
        let folder = self.0.folder.lock().clone();
        let folder = folder.ok_or_else(|| std::io::Error::other("decisions are not recorded"))?;
        if let Some(hook) = query.hook.as_ref().filter(|hook| !query::is_hook(hook)) {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("there is no hook `{hook}`")));
        }
        self.flush();
        query::search(&folder, query)
    }

    /// Waits until what was heard so far is written, or given up. Blocking.
    pub(crate) fn flush(&self) {
        self.0.ledger.flush();
    }

    /// How it stands.
    pub fn info(&self) -> DecisionsInfo {
        let Info { written, dropped, trouble } = self.0.ledger.info();
        DecisionsInfo { recording: self.0.ledger.is_on(), written, dropped, trouble }
    }

    /// Writes what there is and ends. Blocking, but not for long: a disk that does not answer is not waited for.
    pub fn close(&self) {
        self.0.ledger.close();
    }
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").field("info", &self.info()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
