//! Ledgers: lines that are appended by one thread and kept for a bounded time in files of bounded size: the record of
//! decisions, the history of messages.
//!
//! A line is copied into a buffer (`writer`) and written to segments (`segments`), which are removed by age and size. May
//! touch the disk, on its own thread. Must never make a caller wait for a disk, nor fail because of one.

pub(crate) mod object;
pub(crate) mod segments;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::time::Clock;
pub(crate) use writer::Shared;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// What is older is removed.
    pub(crate) time: Duration,
    /// Octets of all of it; the oldest go first.
    pub(crate) bytes: u64,
}

/// How a ledger stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// Lines since the start.
    pub(crate) written: u64,
    /// Since the start: the disk was slower than they came, or did not take them.
    pub(crate) dropped: u64,
    /// Why they are dropped for now.
    pub(crate) trouble: Option<String>,
}

/// A ledger: off until it is told where to write.
pub(crate) struct Ledger {
    name: &'static str,
    on: AtomicBool,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    at: Option<(PathBuf, Keep)>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// `name` is what it writes, for the log.
    pub(crate) fn new(name: &'static str, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared::new(name));
        Self { name, on: AtomicBool::new(false), clock, shared, writing: Mutex::default() }
    }

    /// Where and how much from here on; none: nothing. Does not wait for a disk.
    pub(crate) fn configure(&self, at: Option<(PathBuf, Keep)>) {
        let mut writing = self.writing.lock();
        if writing.at == at {
            return;
        }
        writing.at.clone_from(&at);
        if at.is_none() {
            self.on.store(false, Ordering::Relaxed);
            self.shared.settle_in(None);
            return;
        }
        if writing.thread.is_none() {
            let (shared, clock) = (self.shared.clone(), self.clock.clone());
            let started = std::thread::Builder::new().name(self.name.to_owned()).spawn(move || shared.run(&clock));
            match started {
                Ok(thread) => writing.thread = Some(thread),
                Err(error) => {
                    tracing::error!(what = self.name, %error, "no thread to write it down: it is not recorded");
                    return;
                }
            }
        }
        self.shared.settle_in(at);
        self.on.store(true, Ordering::Relaxed);
    }

    /// Whether anything is written. Cheap: to be asked before a line is made.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> crate::time::Timestamp {
        self.clock.now()
    }

    /// Takes a line, its end included, or counts it as dropped.
    pub(crate) fn append(&self, line: &[u8]) {
        self.shared.append(line);
    }

    /// Waits until what was appended so far is written, or given up. Blocking.
    pub(crate) fn flush(&self) {
        let running = self.writing.lock().thread.is_some();
        if running {
            self.shared.flush();
        }
    }

    pub(crate) fn info(&self) -> Info {
        self.shared.info()
    }

    /// Writes what there is and ends. Blocking, but not for long: a disk that does not answer is not waited for.
    pub(crate) fn close(&self) {
        self.on.store(false, Ordering::Relaxed);
        let thread = self.writing.lock().thread.take();
        if let Some(thread) = thread
            && (self.shared.stop() || thread.is_finished())
        {
            // One that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(thread) = self.writing.get_mut().thread.take()
            && self.shared.stop()
        {
            let _ = thread.join();
        }
    }
}
