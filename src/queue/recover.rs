//! Opening the queue: what an earlier run left is counted, what it left half done is cleared away.
//!
//! Nothing in the store is half done: every change was one atomic batch. Spool files may be there that no record
//! names, of drafts and of messages gone; the spool uses them again. A queue of millions opens at once: what is due is known from
//! the indexes, and the counting goes on while mail flows (see [`Census`]).

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backlog::{Backlog, Place};
use super::census::Census;
use super::keys::Index;
use super::quota::{self, Quotas, Usage};
use super::refill::after;
use super::{BodyPlace, Config, Queue, QueueError, Record, Shared, keys, stored};
use crate::mail::{QueueId, QueueIds};
use crate::store::{Spool, Store, StoreError};
use crate::time::Clock;

/// Records read at a time.
const PAGE: usize = 256;

/// So many are counted before the queue opens: a moment's work. The others are counted behind its back.
const AT_ONCE: usize = 8192;

impl Queue {
    /// Opens the queue over an open store, with the spool files in `config.path`.
    ///
    /// # Errors
    /// When the store or the spool folder can't be read, or holds records of a later version of this program.
    pub async fn open(config: Config, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, QueueError> {
        let open = move || {
            let spool = Spool::open(&config.path.join("spool"), config.min_free, Arc::clone(&store))?;
            let mut backlog = Backlog::new(config.window, config.hot_bytes);
            backlog.holdings().usage = Usage::new(quota::kinds(&config.quotas));
            let quotas = arc_swap::ArcSwap::from_pointee(Quotas::new(&config.quotas, &Quotas::default()));
            let (wake, refilling, ids) = (Notify::new(), Arc::default(), QueueIds::default());
            let shared = Shared {
                config,
                store,
                clock,
                spool,
                ids,
                backlog: Mutex::new(backlog),
                quotas,
                wake,
                landed: parking_lot::Condvar::new(),
                changes: std::sync::atomic::AtomicU64::new(0),
                ways: std::sync::OnceLock::new(),
                rules: arc_swap::ArcSwap::default(),
                changing_rules: tokio::sync::Mutex::default(),
                refilling,
                reading: Arc::new(tokio::sync::Semaphore::new(super::content::READERS)),
            };
            let count = shared.recover()?;
            shared.recover_rules()?;
            let shared = Arc::new(shared);
            if let Some(count) = count {
                let shared = Arc::downgrade(&shared);
                // Ends by itself, soon after the queue is dropped.
                let counting = std::thread::Builder::new().name("queue-count".to_owned());
                counting.spawn(move || count.finish(&shared)).map_err(|e| StoreError::Broken(e.to_string().into()))?;
            }
            Ok::<_, QueueError>(Arc::new(Self { shared }))
        };
        let queue = tokio::task::spawn_blocking(open).await.unwrap_or(Err(StoreError::Closed.into()))?;
        queue.finish_lifting();
        Ok(queue)
    }
}

/// The nice value of who counts.
const BEHIND: i32 = 15;

/// How long the count rests where the disk is full: the store looks for space as often.
const REST: Duration = Duration::from_millis(250);

/// Where the reading for the count is, and the spool files that were named so far.
struct Count {
    prefix: u8,
    from: Bytes,
    named: HashSet<Arc<str>>,
    /// A record could not be read: it may name any file.
    blind: bool,
}

impl Count {
    /// On a thread of its own, which comes after all others: mail flows already. Linux counts this by thread.
    fn finish(mut self, shared: &Weak<Shared>) {
        if let Err(error) = rustix::process::setpriority_process(None, BEHIND) {
            tracing::debug!(%error, "the count does not stand back");
        }
        loop {
            // Not held between pages: nothing waits for the count.
            let Some(shared) = shared.upgrade() else { return };
            match shared.count_page(&mut self) {
                Ok(true) => {}
                Ok(false) => {
                    if let Err(error) = shared.counted(self) {
                        tracing::error!(%error, "the spool can't be looked through: space of mail that is gone stays in use");
                    }
                    return;
                }
                // It passes: nothing of the page was counted yet.
                Err(QueueError::Store(StoreError::Full(why))) => {
                    tracing::debug!(%why, "the count waits for space");
                    drop(shared);
                    std::thread::park_timeout(REST);
                }
                Err(error) => return tracing::error!(%error, "the queue can't be counted to its end"),
            }
        }
    }
}

impl Shared {
    /// Looks for what is there and due. Gives what is left to be counted.
    fn recover(&self) -> Result<Option<Count>, QueueError> {
        let mut last = QueueId::from_u64(0);
        for prefix in [b'n', b'm'] {
            last = last.max(self.last_of(prefix)?);
        }
        self.ids.start_above(last);
        let first = |prefix: u8| self.store.range(keys::TREE, &[prefix], &keys::end(prefix), 1);
        let (fresh, due, urgent) = (first(b'n')?, first(Index::Due.prefix())?, first(Index::Urgent.prefix())?);
        let mut backlog = self.backlog.lock();
        backlog.begin_census(Census::new(last));
        if !fresh.is_empty() {
            backlog.on_disk(QueueId::from_u64(0), Place::Fresh);
        }
        if let Some((at, id)) = due.first().and_then(|(key, _)| keys::due_of(key)) {
            backlog.on_disk(id, Place::Due(at));
        }
        if let Some((at, id)) = urgent.first().and_then(|(key, _)| keys::due_of(key)) {
            backlog.on_disk(id, Place::Urgent(at));
        }
        drop(backlog);
        self.recover_damaged()?;
        let mut count = Count { prefix: b'n', from: Bytes::from_static(b"n"), named: HashSet::new(), blind: false };
        for _ in 0..AT_ONCE / PAGE {
            if !self.count_page(&mut count)? {
                self.counted(count)?;
                return Ok(None);
            }
        }
        tracing::info!("queue opened; it is large, and counted while mail flows");
        Ok(Some(count))
    }

    /// The highest id among these records, and whether this program knows their form: later ones have higher ids.
    fn last_of(&self, prefix: u8) -> Result<QueueId, QueueError> {
        let (mut low, mut high) = (0, u64::MAX);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let from = [&[prefix][..], &middle.to_be_bytes()].concat();
            match self.store.range(keys::TREE, &from, &keys::end(prefix), 1)?.first() {
                Some((key, value)) => {
                    let id = keys::id_of(key).unwrap_or(QueueId::from_u64(middle));
                    // Going on would set aside every message of an upgrade taken back.
                    if let Err(error @ stored::FormError::Future(_)) = stored::decode(value) {
                        return Err(QueueError::Damaged(id, error.to_string().into()));
                    }
                    low = id.to_u64().max(middle);
                }
                None => high = middle - 1,
            }
        }
        Ok(QueueId::from_u64(low))
    }

    /// Counts what earlier runs set aside, by its records.
    fn recover_damaged(&self) -> Result<(), QueueError> {
        for prefix in [&b"xm"[..], b"xn"] {
            let mut from = Bytes::copy_from_slice(prefix);
            let end = [b'x', keys::end(prefix.last().copied().unwrap_or_default())[0]];
            loop {
                let page = self.store.range(keys::TREE, &from, &end, PAGE)?;
                self.backlog.lock().holdings().counts.damaged += page.len() as u64;
                match page.last() {
                    Some((key, _)) if page.len() == PAGE => from = after(key),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Counts some more; false: that was all.
    fn count_page(&self, count: &mut Count) -> Result<bool, QueueError> {
        let page = self.store.range(keys::TREE, &count.from, &keys::end(count.prefix), PAGE)?;
        let decoded: Vec<_> = page
            .iter()
            .filter_map(|(key, value)| Some((keys::id_of(key)?, stored::decode(value).map(|(record, _)| record))))
            .collect();
        self.count_records(&decoded, count.prefix == b'n');
        for (id, read) in decoded {
            match read {
                Ok(Record { body: BodyPlace::File { name, .. }, .. }) => drop(count.named.insert(name)),
                Ok(_) => {}
                Err(error) => {
                    count.blind = true;
                    self.set_aside_unread(id, &error)?;
                }
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => count.from = after(key),
            _ if count.prefix == b'm' => return Ok(false),
            _ => {
                self.backlog.lock().census_passed_fresh();
                (count.prefix, count.from) = (b'm', Bytes::from_static(b"m"));
            }
        }
        Ok(true)
    }

    fn count_records(&self, decoded: &[(QueueId, Result<Record, stored::FormError>)], fresh: bool) {
        let mut backlog = self.backlog.lock();
        for (id, read) in decoded {
            backlog.census_comes_to(*id, read.as_ref().ok(), fresh);
        }
    }

    /// A record that can't be read.
    fn set_aside_unread(&self, id: QueueId, error: &stored::FormError) -> Result<(), QueueError> {
        if let stored::FormError::Future(_) = error {
            return Err(QueueError::Damaged(id, error.to_string().into()));
        }
        // It may be gone by now, or be another.
        if let Err(QueueError::Damaged(..)) = self.find(id) {
            self.set_aside(id, None, &error.to_string(), false);
        }
        Ok(())
    }

    /// Everything is counted: spool files that nothing named are free.
    fn counted(&self, count: Count) -> Result<(), QueueError> {
        let counts = {
            let mut backlog = self.backlog.lock();
            backlog.end_census();
            backlog.counts()
        };
        // A record that can't be read may name any file: none is used again while there is one.
        let sound = counts.damaged == 0 && !count.blind;
        let orphans = self.spool.sweep(sound.then_some(&count.named))?;
        tracing::info!(
            messages = counts.messages,
            held = counts.held,
            damaged = counts.damaged,
            orphans,
            "queue opened"
        );
        Ok(())
    }
}
