//! The record of decisions: one line of JSON for each answer that a plugin gave, kept for a bounded time in files of
//! bounded size, and looked up by message, session, address or plugin.
//!
//! One for the relay, not one for each generation. A line is made by whoever asked the plugin (`record`) and copied into
//! a buffer, which one thread writes (`writer`, `segments`). Must never make mail wait for a disk, never fail it, and
//! never hold a secret or content.

mod query;
mod record;
mod segments;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

pub use query::{Found, Query};

use super::{DecisionsConfig, HostConfig};
use crate::hooks::Decision;
use crate::time::Clock;
use writer::Shared;

/// Hears the decisions of a set.
pub(crate) type Listener = Box<dyn Fn(&Decision<'_>) + Send + Sync>;

/// The record. Cheap to clone.
#[derive(Clone)]
pub struct Decisions(Arc<Inner>);

struct Inner {
    on: AtomicBool,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    folder: Option<PathBuf>,
    config: Option<DecisionsConfig>,
    thread: Option<JoinHandle<()>>,
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
        let (on, shared) = (AtomicBool::new(false), Arc::default());
        Self(Arc::new(Inner { on, clock, shared, writing: Mutex::default() }))
    }

    /// As the operator wants it from here on. Does not wait for a disk.
    pub fn configure(&self, host: &HostConfig) {
        let mut writing = self.0.writing.lock();
        let folder = host.path.join("decisions");
        let same = writing.folder.as_ref() == Some(&folder) && writing.config == Some(host.decisions);
        writing.folder = Some(folder.clone());
        writing.config = Some(host.decisions);
        if same {
            return;
        }
        if !host.decisions.record {
            self.0.on.store(false, Ordering::Relaxed);
            self.0.shared.settle_in(None);
            return;
        }
        if writing.thread.is_none() {
            let (shared, clock) = (self.0.shared.clone(), self.0.clock.clone());
            let started = std::thread::Builder::new().name("decisions".to_owned()).spawn(move || shared.run(&clock));
            match started {
                Ok(thread) => writing.thread = Some(thread),
                Err(error) => {
                    tracing::error!(target: "plugin", %error, "no thread for the record of decisions: there is none");
                    return;
                }
            }
        }
        self.0.shared.settle_in(Some((folder, host.decisions)));
        self.0.on.store(true, Ordering::Relaxed);
    }

    /// What a set of plugins tells its decisions to.
    pub(crate) fn listener(&self) -> Listener {
        let decisions = self.clone();
        Box::new(move |decision| {
            if decisions.0.on.load(Ordering::Relaxed) {
                decisions.hear(decision);
            }
        })
    }

    fn hear(&self, decision: &Decision<'_>) {
        self.0.shared.append(&record::line(decision, self.0.clock.now()));
    }

    /// Looks decisions up, what is still on its way to the disk included. Blocking.
    ///
    /// # Errors
    /// When the files can't be read, nothing was ever recorded, or there is no such hook.
    pub fn find(&self, query: &Query) -> std::io::Result<Found> {
        let folder = self.0.writing.lock().folder.clone();
        let folder = folder.ok_or_else(|| std::io::Error::other("decisions are not recorded"))?;
        if let Some(hook) = query.hook.as_ref().filter(|hook| !query::is_hook(hook)) {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("there is no hook `{hook}`")));
        }
        self.flush();
        query::search(&folder, query)
    }

    /// Waits until what was heard so far is written, or given up. Blocking.
    pub(crate) fn flush(&self) {
        let running = self.0.writing.lock().thread.is_some();
        if running {
            self.0.shared.flush();
        }
    }

    /// How it stands.
    pub fn info(&self) -> DecisionsInfo {
        self.0.shared.info(self.0.on.load(Ordering::Relaxed))
    }

    /// Writes what there is and ends. Blocking, but not for long: a disk that does not answer is not waited for.
    pub fn close(&self) {
        self.0.on.store(false, Ordering::Relaxed);
        let thread = self.0.writing.lock().thread.take();
        if let Some(thread) = thread
            && (self.0.shared.stop() || thread.is_finished())
        {
            // One that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(thread) = self.writing.get_mut().thread.take()
            && self.shared.stop()
        {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").field("info", &self.info()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
