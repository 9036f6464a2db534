//! Content of a leased message: from memory while it is hot, else read and verified.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::accept::{inline_size, may_be_embedded};
use super::backlog::Place;
use super::{BodyPlace, Lease, Queue, QueueError, Record, Shared, keys, stored};
use crate::mail::QueueId;
use crate::store::{Content, Sealed, StoreError, Write};
use crate::time::Timestamp;

/// Messages read from the disk at a time. Each takes a thread of its own, and what a thread leaves in the allocator stays with
/// it: with hundreds of them that was more memory than all else.
pub(super) const READERS: usize = 16;

/// Pages of chunks: a head of 256 KiB and a small body in one read.
const CHUNKS_AT_ONCE: usize = 16;

impl Queue {
    /// Trace, header section and empty line; body. What does not verify is set aside, and the lease with it.
    ///
    /// # Errors
    /// [`QueueError::Damaged`], [`QueueError::Unknown`] when an operator removed the message meanwhile, or the store's.
    pub async fn content(&self, lease: &Lease) -> Result<(Bytes, Content), QueueError> {
        self.shared.content_of(lease.record.id).await
    }
}

impl Shared {
    /// Content of a message in the window.
    pub(super) async fn content_of(self: &Arc<Self>, id: QueueId) -> Result<(Bytes, Content), QueueError> {
        let mut first = true;
        loop {
            if let Some(hot) = self.backlog.lock().get(id).ok_or(QueueError::Unknown(id))?.hot.as_ref() {
                return Ok((hot.head.clone(), hot.body.clone()));
            }
            // Never closed.
            let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(|_| StoreError::Closed)?;
            let (wanted, place) = {
                let backlog = self.backlog.lock();
                let active = backlog.get(id).ok_or(QueueError::Unknown(id))?;
                (Arc::clone(&active.record), active.place)
            };
            let (shared, body) = (Arc::clone(self), wanted.body.clone());
            let read = tokio::task::spawn_blocking(move || {
                // Kept to the end, whether or not somebody still waits.
                let _turn = turn;
                shared.read_content(&wanted, place)
            });
            let read = read.await;
            match read.unwrap_or(Err(StoreError::Closed)) {
                // Asked after it was opened: let go of before, its place may hold another's body; later, that waits for the reader.
                Ok(_) if self.backlog.lock().get(id).is_none_or(|active| active.record.body != body) => {
                    return Err(QueueError::Unknown(id));
                }
                Ok(content) => return Ok(content),
                // The write that moved it may not be applied yet: let it be, and look where it is then.
                Err(StoreError::Damaged(_)) if first => self.barrier().await?,
                Err(StoreError::Damaged(why)) => return Err(self.set_aside_active(id, &why)),
                Err(error) => return Err(error.into()),
            }
            first = false;
        }
    }

    /// Blocks.
    pub(super) fn read_content(&self, record: &Record, place: Place) -> Result<(Bytes, Content), StoreError> {
        let head_size = record.head_size as usize;
        let inline = usize::try_from(inline_size(record)).unwrap_or(usize::MAX);
        let blob = self.read_blob(record, place)?;
        if blob.len() != head_size.saturating_add(inline) {
            return Err(StoreError::Damaged("head or body is not whole".into()));
        }
        let head = blob.slice(..head_size);
        let body = match &record.body {
            BodyPlace::Inline => Content::Memory(blob.slice(head_size..)),
            BodyPlace::File { name, crc } => self.spool.read(name, Sealed { len: record.body_size, crc: *crc })?,
        };
        Ok((head, body))
    }

    /// What the store has of the content.
    pub(super) fn read_blob(&self, record: &Record, place: Place) -> Result<Bytes, StoreError> {
        let damaged = |error: stored::FormError| StoreError::Damaged(error.to_string().into());
        if place == Place::Fresh && may_be_embedded(record) {
            let value = self.store.get(keys::TREE, &keys::fresh(record.id))?;
            let value = value.ok_or_else(|| StoreError::Damaged("its value is missing".into()))?;
            let (_, blob) = stored::decode(&value).map_err(damaged)?;
            if !blob.is_empty() {
                return Ok(blob);
            }
        }
        let mut blob = BytesMut::new();
        let mut from = 0;
        loop {
            let page = self.chunks_from(record.id, from)?;
            for (_, value) in &page {
                blob.extend_from_slice(&stored::open_chunk(value).map_err(damaged)?);
            }
            if page.len() < CHUNKS_AT_ONCE {
                return Ok(blob.freeze());
            }
            from += CHUNKS_AT_ONCE as u32;
        }
    }

    fn chunks_from(&self, id: QueueId, from: u32) -> Result<Vec<crate::store::Pair>, StoreError> {
        self.store.range(keys::TREE, &keys::chunk(id, from), &keys::chunk(id, u32::MAX), CHUNKS_AT_ONCE)
    }

    fn set_aside_active(&self, id: QueueId, why: &Arc<str>) -> QueueError {
        let active = self.backlog.lock().leave(id);
        if let Some(active) = active {
            self.backlog.lock().holdings().unreadable(&active.record);
            if let BodyPlace::File { name, .. } = &active.record.body {
                self.spool.set_aside(name);
            }
            self.set_aside(id, active.place.timed(), why, active.record.is_held());
        }
        QueueError::Damaged(id, Arc::clone(why))
    }

    /// Moves everything that the store has of a message out of the way: never delivered, never dropped, counted.
    pub(super) fn set_aside(&self, id: QueueId, due: Option<(keys::Index, Timestamp)>, why: &str, held: bool) {
        tracing::error!(%id, why, "a damaged message is set aside");
        let mut writes = Vec::new();
        let mut names = vec![keys::fresh(id), keys::waiting(id)];
        let mut from = 0;
        while let Ok(page) = self.chunks_from(id, from) {
            from += CHUNKS_AT_ONCE as u32;
            let more = page.len() == CHUNKS_AT_ONCE;
            names.extend(page.into_iter().map(|(key, _)| key));
            if !more {
                break;
            }
        }
        for key in names {
            if let Ok(Some(value)) = self.store.get(keys::TREE, &key) {
                writes.push(Write::Put { key: keys::damaged(&key), value });
                writes.push(Write::Delete { key });
            }
        }
        writes.extend(due.map(|(index, at)| Write::Delete { key: keys::due(index, at, id) }));
        let mut backlog = self.backlog.lock();
        if backlog.current(id).is_some_and(|known| known.is_none()) {
            // Somebody else came upon it at the same time.
            return;
        }
        backlog.meet(id, None, due.map_or(Place::Fresh, |(index, at)| Place::of(index, at)));
        match self.store.ride(keys::TREE, writes) {
            Ok(ticket) => backlog.written(id, ticket, None, self.store.applied()),
            Err(error) => tracing::error!(%id, %error, "it stays where it is"),
        }
        let counts = &mut backlog.holdings().counts;
        counts.messages = counts.messages.saturating_sub(1);
        counts.held = counts.held.saturating_sub(u64::from(held));
        counts.damaged += 1;
    }
}
