//! sled behind the [`Store`] seam, with one thread that commits and one that carries. The only room that names sled.
//!
//! What is committed goes to the journal, with one flush for all who wait, and is kept in memory over the database; the
//! carrier brings what is still there half a second later into sled. So a message that is delivered at once never
//! costs sled anything, and what has to wait is where it can be searched.
//!
//! What has to be known of sled 0.34.7, and what is done about it:
//! - Its `flush` on Linux writes and then calls `sync_file_range`, which flushes neither the file's metadata nor the
//!   disk's cache. So an own descriptor of the database file gets an `fdatasync` after each flush: the commit point.
//! - `flush_async` hangs when many tasks use it; only the carrier thread flushes.
//! - What is above a quarter of a segment in its log - a large value, or a page of a few values that are not - becomes a
//!   file of its own, in `blobs`, which it never flushes: [`Blobs`] does, before anything in it counts as carried.
//! - After a failed write its error is sticky, and what was to be written is lost. A full disk therefore closes the
//!   database and opens it again once there is space. Before that, the database file is flushed and its clean pages
//!   are thrown out of the page cache, so that what is recovered is what the disk holds, not what the kernel wished
//!   it held. Any other error is final until a restart.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::committer::{Batch, Item, Line, Work};
use super::{Body, Committed, Pair, Store, StoreError, Ticket, Write};
use blobs::Blobs;
use carrier::{Carrier, Ending};
use engine::Engine;

mod blobs;
mod carrier;
mod engine;

/// sled's default. Smaller ones cost more flush calls; larger ones more space for a handful of messages.
const SEGMENT: usize = 512 * 1024;

/// Space that must be there before a database closed by a full disk is opened again: recovery needs some segments.
const REOPEN_SPACE: u64 = 16 * SEGMENT as u64;

/// How often that is looked at.
const REOPEN_EVERY: Duration = Duration::from_millis(250);

/// How long another may hold the database's lock before it is said to be in use.
const LOCKED_FOR: Duration = Duration::from_secs(1);

/// How long closing may take: carrying down what memory holds on a slow disk. It is in the journal anyway.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// A sled database.
pub struct Sled {
    shared: Arc<Shared>,
    threads: Mutex<Vec<(JoinHandle<()>, Arc<Ending>)>>,
}

struct Shared {
    path: PathBuf,
    cache: u64,
    line: Line,
    carrier: Carrier,
    state: RwLock<State>,
}

enum State {
    Open(Box<Engine>),
    /// Closed by a full disk; the file is kept so that its flush errors are seen here.
    Full(Arc<str>, Arc<File>),
    Broken(Arc<str>),
}

impl Sled {
    /// Opens or makes the database in the folder `path`, with `cache` octets of page cache. Blocks.
    ///
    /// # Errors
    /// When the folder can't be used, is in use by another process, or what is in it can't be read.
    pub fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        let engine = Engine::open_patiently(path, cache)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            cache,
            line: Line::default(),
            carrier: Carrier::default(),
            state: RwLock::new(State::Open(Box::new(engine))),
        });
        let (committer, carrier) = (Arc::clone(&shared), Arc::clone(&shared));
        let thread = |name: &str, life: Box<dyn FnOnce() + Send>| {
            let ending = Arc::new(Ending::default());
            let told = Told(Arc::clone(&ending));
            let builder = std::thread::Builder::new().name(name.to_owned());
            let run = move || {
                let _told = told;
                life();
            };
            Ok::<_, io::Error>((builder.spawn(run)?, ending))
        };
        // The committer comes first: what fails to start leaves none behind that waits for the other.
        let threads = thread("store-commit", Box::new(move || committer.run())).and_then(|commit| {
            let carry = thread("store-carry", Box::new(move || carrier.carry()));
            carry.map(|carry| vec![commit, carry])
        });
        Ok(Self { shared, threads: Mutex::new(threads.map_err(|e| failure(&e))?) })
    }
}

impl Drop for Sled {
    /// Writes and flushes what waits, and carries all of it into the database. A disk that does not answer keeps its
    /// threads, but not the caller.
    fn drop(&mut self) {
        self.shared.line.close();
        let until = Instant::now() + CLOSE_WITHIN;
        for (thread, ending) in std::mem::take(&mut *self.threads.lock()) {
            if !ending.comes_before(until) {
                tracing::error!("the store does not close: its journal is read at the next start");
                return;
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
            // Joined in order: the carrier stops once nothing is committed any more.
            self.shared.carrier.close();
        }
    }
}

impl Store for Sled {
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.shared.with(|engine| engine.get(tree, key))
    }

    fn range(&self, tree: &str, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.shared.with(|engine| engine.range(tree, from, to, limit))
    }

    fn apply(&self, tree: &str, writes: Vec<Write>) -> Result<(), StoreError> {
        self.shared.direct(tree, |engine| engine.apply_directly(tree, &writes))
    }

    fn swap(&self, tree: &str, key: &[u8], expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        self.shared.direct(tree, |engine| engine.swap(tree, key, expected, new))
    }

    fn commit(&self, tree: &'static str, writes: Vec<Write>) -> Committed<'_> {
        self.commit_with(tree, writes, Vec::new())
    }

    fn commit_with(&self, tree: &'static str, writes: Vec<Write>, bodies: Vec<Body>) -> Committed<'_> {
        let (waiter, answer) = oneshot::channel();
        let item = Item { tree, writes, bodies, waiter: Some(waiter) };
        let pushed = self.shared.usable().and_then(|()| self.shared.line.push(item).map(|_ticket| ()));
        Box::pin(async move {
            pushed?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn ride(&self, tree: &'static str, writes: Vec<Write>) -> Result<Ticket, StoreError> {
        self.health()?;
        self.shared.line.push(Item { tree, writes, bodies: Vec::new(), waiter: None })
    }

    fn applied(&self) -> Ticket {
        self.shared.line.applied()
    }

    fn flushed(&self) -> Ticket {
        self.shared.line.flushed()
    }

    fn health(&self) -> Result<(), StoreError> {
        match &*self.shared.state.read() {
            State::Broken(why) => Err(StoreError::Broken(Arc::clone(why))),
            State::Open(_) | State::Full(..) => Ok(()),
        }
    }
}

impl Shared {
    fn usable(&self) -> Result<(), StoreError> {
        match &*self.state.read() {
            State::Open(_) => Ok(()),
            State::Full(why, _) => Err(StoreError::Full(Arc::clone(why))),
            State::Broken(why) => Err(StoreError::Broken(Arc::clone(why))),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = match &*self.state.read() {
            State::Open(engine) => act(engine),
            State::Full(why, _) => return Err(StoreError::Full(Arc::clone(why))),
            State::Broken(why) => return Err(StoreError::Broken(Arc::clone(why))),
        };
        result.map_err(|error| self.fail(error))
    }

    /// A write past the journal. One to a tree that is committed to is a caller's mistake, and harms nobody else.
    fn direct<T>(&self, tree: &str, act: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let allowed = self.with(|engine| Ok(!engine.is_journaled(tree)))?;
        if !allowed {
            return Err(StoreError::Damaged(format!("tree {tree} is written through the journal").into()));
        }
        self.with(act)
    }

    /// Leaves the open state for good, or until there is space.
    fn fail(&self, error: StoreError) -> StoreError {
        let mut state = self.state.write();
        let State::Open(engine) = &*state else { return error };
        tracing::error!(%error, "the store stops");
        let next = match &error {
            StoreError::Full(why) => State::Full(Arc::clone(why), engine.file()),
            other => State::Broken(other.to_string().into()),
        };
        let closed = std::mem::replace(&mut *state, next);
        drop(state);
        // Closing may take a while: nobody is kept from the news by it.
        drop(closed);
        // Writers that wait in the line are answered by the committer, which has to be awake for that.
        self.line.wake_up();
        error
    }

    fn run(&self) {
        let _end = End(self);
        while let Work::Write(mut batch) = self.line.next() {
            let upto = batch.upto;
            match self.write(&mut batch) {
                Ok(()) => {
                    self.line.mark_flushed(upto);
                    batch.items.into_iter().filter_map(|item| item.waiter).for_each(|waiter| {
                        // A caller that went away does not want to know.
                        let _gone = waiter.send(Ok(()));
                    });
                }
                Err(error) => {
                    self.refuse(batch, &error);
                    if !matches!(error, StoreError::Full(_)) || !self.reopen() {
                        break;
                    }
                }
            }
        }
    }

    fn write(&self, batch: &mut Batch) -> Result<(), StoreError> {
        self.usable()?;
        Body::write_all(&mut batch.items);
        let held = self.with(|engine| engine.commit(&mut batch.items))?;
        self.line.mark_applied(batch.upto);
        self.carrier.make_room(held);
        Ok(())
    }

    /// The carrier's life: at intervals, and when much has gathered, brings the journal's content into the database.
    fn carry(&self) {
        let _end = Carried(self);
        loop {
            let closing = self.carrier.wait();
            // A failure has closed the engine: what was to be carried is in the journal, and comes back with it.
            let failed = self.with(Engine::carry);
            self.carrier.carried();
            if closing || matches!(failed, Err(StoreError::Broken(_))) {
                return;
            }
        }
    }

    /// The whole batch failed: those who wait are told, riders stay for better times.
    fn refuse(&self, batch: Batch, error: &StoreError) {
        let (durable, mut riders): (Vec<_>, Vec<_>) = batch.items.into_iter().partition(|item| item.waiter.is_some());
        // They may be in the journal after all, and from there in the database: no longer known to be new.
        riders.iter_mut().flat_map(|rider| &mut rider.writes).for_each(Write::forget_new);
        self.line.put_back(riders);
        // What was applied and not flushed is as if it had not been.
        self.line.mark_applied(self.line.flushed().0);
        for waiter in durable.into_iter().filter_map(|item| item.waiter).chain(self.line.take_waiters()) {
            let _gone = waiter.send(Err(error.clone()));
        }
    }

    /// Waits for space and opens the database again. False where that can't be, or the store is closing.
    fn reopen(&self) -> bool {
        loop {
            if self.line.pause(REOPEN_EVERY) {
                return false;
            }
            let why = self.usable().err().unwrap_or(StoreError::Closed);
            self.line.take_waiters().into_iter().for_each(|waiter| {
                let _gone = waiter.send(Err(why.clone()));
            });
            let file = match &*self.state.read() {
                State::Full(_, file) => Arc::clone(file),
                State::Open(_) => return true,
                State::Broken(_) => return false,
            };
            let free = rustix::fs::statvfs(&self.path).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
            if free < REOPEN_SPACE || settle_pages(&file).is_err() || Blobs::forget_pages(&self.path).is_err() {
                continue;
            }
            match Engine::open(&self.path, self.cache) {
                Ok(engine) => {
                    tracing::info!("there is space again: the store goes on");
                    *self.state.write() = State::Open(Box::new(engine));
                    return true;
                }
                Err(error) => tracing::warn!(%error, "the store can't be opened again yet"),
            }
        }
    }
}

/// However the committer ends, by a panic of the engine too: nobody waits for it for ever.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.line.close();
        let why = self.0.usable().err().unwrap_or(StoreError::Closed);
        for waiter in self.0.line.take_waiters() {
            let _gone = waiter.send(Err(why.clone()));
        }
    }
}

/// However the carrier ends: the committer does not wait for it any more, and where it panicked the store is at its end.
struct Carried<'a>(&'a Shared);

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        self.0.carrier.close();
        if std::thread::panicking() {
            self.0.fail(StoreError::Broken("the engine panicked".into()));
        }
    }
}

/// Tells whoever closes the store that a thread is over; the last thing that it does.
struct Told(Arc<Ending>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// Writes what is dirty and forgets what is clean, so that the next read comes from the disk.
fn settle_pages(file: &File) -> io::Result<()> {
    file.sync_all()?;
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// An I/O error as the callers know it.
pub(super) fn failure(error: &io::Error) -> StoreError {
    let text: Arc<str> = error.to_string().into();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        _ => StoreError::Broken(text),
    }
}

#[cfg(test)]
mod tests;
