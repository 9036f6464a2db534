//! Opening the queue: what an earlier run left is counted, what it left half done is cleared away.
//!
//! Nothing in the store is half done: every change was one atomic batch. Spool files may be there that no record
//! names, of drafts and of messages gone; the spool uses them again.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backlog::{Backlog, Place};
use super::keys::Index;
use super::refill::after;
use super::{BodyPlace, Config, Queue, QueueError, Shared, keys, stored};
use crate::mail::{QueueId, QueueIds};
use crate::store::{Spool, Store, StoreError};
use crate::time::Clock;

/// Records read at a time.
const PAGE: usize = 256;

impl Queue {
    /// Opens the queue over an open store, with the spool files in `config.path`.
    ///
    /// # Errors
    /// When the store or the spool folder can't be read, or holds records of a later version of this program.
    pub async fn open(config: Config, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, QueueError> {
        let open = move || {
            let spool = Spool::open(&config.path.join("spool"), config.min_free, Arc::clone(&store))?;
            let backlog = Mutex::new(Backlog::new(config.window, config.hot_bytes));
            let (wake, refilling, ids) = (Notify::new(), Arc::default(), QueueIds::default());
            let shared = Shared {
                config,
                store,
                clock,
                spool,
                ids,
                backlog,
                wake,
                ways: std::sync::OnceLock::new(),
                rules: arc_swap::ArcSwap::default(),
                changing_rules: tokio::sync::Mutex::default(),
                refilling,
            };
            shared.recover()?;
            shared.recover_rules()?;
            Ok::<_, QueueError>(Arc::new(Self { shared: Arc::new(shared) }))
        };
        let queue = tokio::task::spawn_blocking(open).await.unwrap_or(Err(StoreError::Closed.into()))?;
        queue.finish_lifting();
        Ok(queue)
    }
}

impl Shared {
    fn recover(&self) -> Result<(), QueueError> {
        let mut named = HashSet::new();
        let fresh = self.recover_records(b'n', &mut named)?;
        self.recover_records(b'm', &mut named)?;
        let first = |index: Index| self.store.range(keys::TREE, &[index.prefix()], &keys::end(index.prefix()), 1);
        let (due, urgent) = (first(Index::Due)?, first(Index::Urgent)?);
        let mut backlog = self.backlog.lock();
        if fresh > 0 {
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
        let counts = self.backlog.lock().counts();
        // A record that can't be read may name any file: none is used again while there is one.
        let orphans = if counts.damaged == 0 { self.spool.sweep(&named)? } else { 0 };
        tracing::info!(
            messages = counts.messages,
            held = counts.held,
            damaged = counts.damaged,
            orphans,
            "queue opened"
        );
        Ok(())
    }

    /// Counts what earlier runs set aside, by its records.
    fn recover_damaged(&self) -> Result<(), QueueError> {
        for prefix in [&b"xm"[..], b"xn"] {
            let mut from = bytes::Bytes::copy_from_slice(prefix);
            let end = [b'x', keys::end(prefix.last().copied().unwrap_or_default())[0]];
            loop {
                let page = self.store.range(keys::TREE, &from, &end, PAGE)?;
                self.backlog.lock().counts_mut().damaged += page.len() as u64;
                match page.last() {
                    Some((key, _)) if page.len() == PAGE => from = after(key),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Counts records; gives how many there are.
    fn recover_records(&self, prefix: u8, named: &mut HashSet<Arc<str>>) -> Result<u64, QueueError> {
        let mut from = bytes::Bytes::copy_from_slice(&[prefix]);
        let mut count = 0;
        loop {
            let page = self.store.range(keys::TREE, &from, &keys::end(prefix), PAGE)?;
            for (key, value) in &page {
                let Some(id) = keys::id_of(key) else { continue };
                self.ids.start_above(id);
                self.backlog.lock().counts_mut().messages += 1;
                match stored::decode(value) {
                    Ok((record, _)) => {
                        count += 1;
                        let mut backlog = self.backlog.lock();
                        backlog.counts_mut().held += u64::from(record.is_held());
                        backlog.counts_mut().octets += record.size();
                        drop(backlog);
                        if let BodyPlace::File { name, .. } = record.body {
                            named.insert(name);
                        }
                    }
                    // Going on would set aside every message of an upgrade taken back.
                    Err(error @ stored::FormError::Future(_)) => {
                        return Err(QueueError::Damaged(id, error.to_string().into()));
                    }
                    Err(error) => self.set_aside(id, None, &error.to_string(), false),
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => from = after(key),
                _ => return Ok(count),
            }
        }
    }
}
