//! Refilling the window from disk: what is due by the index, and fresh messages that found no room.
//!
//! Reads pages, off the async workers, and only as much as there is room for: a million queued messages cost a refill
//! nothing. A search begins after everything written before it is applied, so that it sees all of it.

use std::sync::Arc;

use bytes::Bytes;

use super::backlog::{Due, Hot, Place, Search};
use super::keys::Index;
use super::rounds::Entry;
use super::{QueueError, Shared, keys, stored};
use crate::mail::QueueId;
use crate::store::{Content, StoreError, Ticket, Write};
use crate::time::Timestamp;

/// Entries read at a time.
const PAGE: usize = 128;

impl Shared {
    /// Fills the window as far as there is something due. Goes on by itself if the caller stops waiting.
    pub(super) async fn refill(self: &Arc<Self>) -> Result<(), QueueError> {
        let one_at_a_time = Arc::clone(&self.refilling).lock_owned().await;
        let now = self.clock.now();
        let search = {
            let mut backlog = self.backlog.lock();
            if !backlog.wants_refill(now) {
                return Ok(());
            }
            backlog.begin_search(now)
        };
        let shared = Arc::clone(self);
        let work = tokio::spawn(async move {
            // In this order: what was said to be on disk before the search began was written before the barrier, and
            // is seen; what is said to be there from then on is for the next search.
            let reached = shared.barrier().await;
            let work = tokio::task::spawn_blocking(move || {
                let done = reached.and_then(|()| shared.search(&search, now));
                shared.end_search(&search, done.is_err());
                // Whoever asks meanwhile is told that there is nothing to look for.
                shared.wake.notify_one();
                done
            });
            let done = work.await;
            drop(one_at_a_time);
            done.unwrap_or(Err(StoreError::Closed))
        });
        Ok(work.await.unwrap_or(Err(StoreError::Closed))?)
    }

    fn search(&self, search: &Search, now: Timestamp) -> Result<(), StoreError> {
        let (room, seen) = {
            let backlog = self.backlog.lock();
            (backlog.room_for_old(), self.store.applied())
        };
        // No kind may keep the others from the window: those that go before others get three quarters, and of the rest
        // each of the other two a half at least.
        let others = search.fresh_from.is_some() || search.due.is_some();
        let share = if others { (room - room / 4).max(1) } else { room };
        let mut left = share;
        if let Some(at) = search.next_urgent {
            let outside = self.search_due((Index::Urgent, (at, QueueId::from_u64(0))), now, seen, &mut left)?;
            outside.map(|(at, id)| self.backlog.lock().on_disk(id, Place::Urgent(at)));
        }
        let room = room - (share - left);
        let share = if search.fresh_from.is_some() { room.div_ceil(2) } else { room };
        let mut left = share;
        if let Some(due) = search.due {
            self.search_overdue(due, now, seen, &mut left)?;
        }
        let mut left = room - (share - left);
        if let Some(from) = search.fresh_from {
            let outside = self.search_fresh(from, now, seen, &mut left)?;
            outside.map(|(id, place)| self.backlog.lock().on_disk(id, place));
        }
        Ok(())
    }

    /// After a failure everything is still to be looked for.
    fn end_search(&self, search: &Search, failed: bool) {
        let mut backlog = self.backlog.lock();
        backlog.end_read();
        if failed {
            search.due.map(|due| backlog.on_disk(QueueId::from_u64(0), Place::Due(due.overdue.0)));
            search.next_urgent.map(|at| backlog.on_disk(QueueId::from_u64(0), Place::Urgent(at)));
            search.fresh_from.map(|from| backlog.on_disk(from, Place::Fresh));
        }
    }

    /// What to do with an entry found: none: it is known already; true: it may come in.
    fn comes_in(&self, id: QueueId, seen: Ticket, left: usize) -> Option<bool> {
        let backlog = self.backlog.lock();
        // Mail that arrived meanwhile may have taken the room.
        (!backlog.knows_better(id, seen)).then(|| left > 0 && backlog.room() > 0)
    }

    /// Takes what became due lately for half of the room, and what is due longest.
    fn search_overdue(&self, due: Due, now: Timestamp, seen: Ticket, left: &mut usize) -> Result<(), StoreError> {
        let (all, mut lately) = (*left, None);
        if due.overdue < due.lately {
            let mut half = left.div_ceil(2);
            let others = *left - half;
            lately = self.search_due((Index::Due, due.lately), now, seen, &mut half)?;
            *left = others + half;
        }
        // What stays outside of this is earlier than what stayed outside before, or that was taken by now.
        let overdue = self.search_due((Index::Due, due.overdue), now, seen, left)?;
        self.backlog.lock().searched(all - *left, overdue, lately);
        Ok(())
    }

    /// Takes what is due from that entry on; gives the earliest that stays outside.
    fn search_due(
        &self,
        (index, begin): (Index, Entry),
        now: Timestamp,
        seen: Ticket,
        left: &mut usize,
    ) -> Result<Option<Entry>, StoreError> {
        let mut from = keys::due(index, begin.0, begin.1);
        loop {
            let page = self.store.range(keys::TREE, &from, &keys::end(index.prefix()), PAGE)?;
            let more = page.len() == PAGE;
            for (key, _) in &page {
                let Some((at, id)) = keys::due_of(key) else { continue };
                let Some(comes_in) = self.comes_in(id, seen, *left) else { continue };
                if !comes_in || at > now {
                    return Ok(Some((at, id)));
                }
                *left -= usize::from(self.load_waiting(id, (index, at), now, seen)?);
            }
            match page.last() {
                Some((key, _)) if more => from = after(key),
                _ => return Ok(None),
            }
        }
    }

    fn load_waiting(
        &self,
        id: QueueId,
        (index, at): (Index, Timestamp),
        now: Timestamp,
        seen: Ticket,
    ) -> Result<bool, StoreError> {
        let Some(value) = self.store.get(keys::TREE, &keys::waiting(id))? else {
            if !self.backlog.lock().knows_better(id, seen) {
                // An entry without a record is what is left of one set aside when it could not be read.
                self.store.ride(keys::TREE, vec![Write::Delete { key: keys::due(index, at, id) }])?;
            }
            return Ok(false);
        };
        match stored::decode(&value) {
            Ok((record, _)) => {
                let mut backlog = self.backlog.lock();
                let useful = !backlog.knows_better(id, seen);
                if useful {
                    backlog.meet(id, Some(&record), Place::of(index, at));
                }
                Ok(useful && backlog.admit(Arc::new(record), Place::of(index, at), None, None, now))
            }
            Err(error) => {
                self.set_aside(id, Some((index, at)), &error.to_string(), false);
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
                let Some(comes_in) = self.comes_in(id, seen, *left) else { continue };
                if !comes_in {
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
        if backlog.knows_better(id, seen) {
            return false;
        }
        backlog.meet(id, Some(&record), Place::Fresh);
        backlog.admit(Arc::new(record), Place::Fresh, hot, None, now)
    }
}

/// The first key after this one.
pub(super) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}
