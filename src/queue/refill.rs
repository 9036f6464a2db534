//! Refilling the window from disk: what is due by the index, and fresh messages that found no room.
//!
//! Reads pages, off the async workers, and only as much as there is room for: a million queued messages cost a refill
//! nothing. A search begins after everything written before it is applied, so that it sees all of it.

use std::sync::Arc;

use bytes::Bytes;

use super::backlog::{Hot, Place};
use super::{QueueError, Shared, keys, stored};
use crate::mail::QueueId;
use crate::store::{Content, StoreError, Ticket, Write};
use crate::time::Timestamp;

/// Entries read at a time.
const PAGE: usize = 128;

impl Shared {
    /// Fills the window as far as there is something due.
    pub(super) async fn refill(self: &Arc<Self>) -> Result<(), QueueError> {
        let _one_at_a_time = self.refilling.lock().await;
        if !self.backlog.lock().wants_refill(self.clock.now()) {
            return Ok(());
        }
        self.barrier().await?;
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || shared.search()).await.unwrap_or(Err(StoreError::Closed))?;
        Ok(())
    }

    fn search(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (search, seen) = {
            let mut backlog = self.backlog.lock();
            // In this order: what is changed from here on has a higher ticket than `seen`.
            let seen = self.store.applied();
            (backlog.begin_search(now), seen)
        };
        // Neither kind may keep the other from the window.
        let share = if search.fresh_from.is_some() { search.room.div_ceil(2) } else { search.room };
        let mut left = share;
        let found = search.next_due.map_or(Ok(None), |_due| self.search_due(now, seen, &mut left));
        let next_due = self.put_back(found, search.next_due.map(Place::Due));
        let mut left = search.room - (share - left);
        let found = search.fresh_from.map_or(Ok(None), |from| self.search_fresh(from, now, seen, &mut left));
        let fresh = self.put_back(found, search.fresh_from.map(|_| Place::Fresh));
        self.backlog.lock().end_search();
        next_due.and(fresh)
    }

    /// Remembers what a search left on disk; after a failure everything that it was to look for.
    fn put_back(
        &self,
        found: Result<Option<(QueueId, Place)>, StoreError>,
        wanted: Option<Place>,
    ) -> Result<(), StoreError> {
        let mut backlog = self.backlog.lock();
        match found {
            Ok(left) => {
                left.map(|(id, place)| backlog.on_disk(id, place));
                Ok(())
            }
            Err(error) => {
                wanted.map(|place| backlog.on_disk(QueueId::from_u64(0), place));
                Err(error)
            }
        }
    }

    /// Takes what is due; gives the earliest entry that stays outside.
    fn search_due(
        &self,
        now: Timestamp,
        seen: Ticket,
        left: &mut usize,
    ) -> Result<Option<(QueueId, Place)>, StoreError> {
        let mut from = Bytes::from_static(b"d");
        loop {
            let page = self.store.range(keys::TREE, &from, &keys::end(b'd'), PAGE)?;
            let more = page.len() == PAGE;
            for (key, _) in &page {
                let Some((at, id)) = keys::due_of(key) else { continue };
                if self.backlog.lock().knows_better(id, seen) {
                    continue;
                }
                if *left == 0 || at > now {
                    return Ok(Some((id, Place::Due(at))));
                }
                *left -= usize::from(self.load_waiting(id, at, now, seen)?);
            }
            match page.last() {
                Some((key, _)) if more => from = after(key),
                _ => return Ok(None),
            }
        }
    }

    fn load_waiting(&self, id: QueueId, at: Timestamp, now: Timestamp, seen: Ticket) -> Result<bool, StoreError> {
        let Some(value) = self.store.get(keys::TREE, &keys::waiting(id))? else {
            if !self.backlog.lock().knows_better(id, seen) {
                // An entry without a record is what is left of one set aside when it could not be read.
                self.store.ride(keys::TREE, vec![Write::Delete { key: keys::due(at, id) }])?;
            }
            return Ok(false);
        };
        match stored::decode(&value) {
            Ok((record, _)) => {
                let mut backlog = self.backlog.lock();
                let useful = !backlog.knows_better(id, seen);
                Ok(useful && backlog.admit(Arc::new(record), Place::Due(at), None, None, now))
            }
            Err(error) => {
                self.set_aside(id, Some(at), &error.to_string(), false);
                Ok(false)
            }
        }
    }

    /// Takes fresh messages in the order of arrival; gives the first that stays outside.
    fn search_fresh(
        &self,
        from: QueueId,
        now: Timestamp,
        seen: Ticket,
        left: &mut usize,
    ) -> Result<Option<(QueueId, Place)>, StoreError> {
        let mut from = keys::fresh(from);
        loop {
            let limit = PAGE.min(*left + 1);
            let page = self.store.range(keys::TREE, &from, &keys::end(b'n'), limit)?;
            for (key, value) in &page {
                let Some(id) = keys::id_of(key) else { continue };
                if self.backlog.lock().knows_better(id, seen) {
                    continue;
                }
                if *left == 0 {
                    return Ok(Some((id, Place::Fresh)));
                }
                *left -= usize::from(self.load_fresh(id, value, now, seen));
            }
            match page.last() {
                Some((key, _)) if page.len() == limit => from = after(key),
                _ => return Ok(None),
            }
        }
    }

    fn load_fresh(&self, id: QueueId, value: &Bytes, now: Timestamp, seen: Ticket) -> bool {
        let (record, blob) = match stored::decode(value) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.set_aside(id, None, &error.to_string(), false);
                return false;
            }
        };
        // The content came with the record: as good as if it had just been accepted.
        let head = record.head_size as usize;
        let whole = record.body == super::BodyPlace::Inline && blob.len() as u64 == record.size() && !blob.is_empty();
        let hot = whole.then(|| Hot { head: blob.slice(..head), body: Content::Memory(blob.slice(head..)) });
        let mut backlog = self.backlog.lock();
        !backlog.knows_better(id, seen) && backlog.admit(Arc::new(record), Place::Fresh, hot, None, now)
    }
}

/// The first key after this one.
pub(super) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}
