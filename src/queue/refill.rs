//! Refilling the window from disk: what is due by the index, and fresh messages that found no room.
//!
//! Reads pages, off the async workers, and only as much as there is room for: a million queued messages cost a refill
//! nothing. A search begins after everything written before it is applied, so that it sees all of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backlog::{Hot, Place, Search};
use super::keys::Index;
use super::{QueueError, Shared, keys, stored};
use crate::mail::QueueId;
use crate::store::{Content, StoreError, Ticket, Write};
use crate::time::Timestamp;

/// Entries read at a time.
const PAGE: usize = 128;

/// What became due within this time has half of the room to itself. After a restart, or an hour without a network, all
/// that is in the queue may be due: new mail that was put off for a moment would come after it.
const RECENT: Duration = Duration::from_secs(30);

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
        let others = search.fresh_from.is_some() || search.next_due.is_some();
        let share = if others { (room - room / 4).max(1) } else { room };
        let mut left = share;
        // What is due earlier is in the window: with many next hops that answer slowly, thousands of messages, each time.
        let begin = |at: Timestamp| if search.whole { Timestamp::from_micros(0) } else { at };
        if let Some(at) = search.next_urgent {
            self.search_timed((Index::Urgent, begin(at)), now, seen, &mut left)?;
        }
        let room = room - (share - left);
        let share = if search.fresh_from.is_some() { room.div_ceil(2) } else { room };
        let mut left = share;
        if let Some(at) = search.next_due {
            self.search_timed((Index::Due, begin(at)), now, seen, &mut left)?;
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
            search.next_due.map(|at| backlog.on_disk(QueueId::from_u64(0), Place::Due(at)));
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

    /// Takes what is due from that time on: what became due lately for half of the room, and what is due longest. Notes the
    /// earliest that stays outside.
    fn search_timed(
        &self,
        (index, begin): (Index, Timestamp),
        now: Timestamp,
        seen: Ticket,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        let lately = now.minus(RECENT);
        if begin < lately {
            let mut half = left.div_ceil(2);
            let others = *left - half;
            // What stays outside of these is later than what the next search leaves outside, or is taken by it.
            self.search_due((index, lately), now, seen, &mut half)?;
            *left = others + half;
        }
        let outside = self.search_due((index, begin), now, seen, left)?;
        outside.map(|(id, place)| self.backlog.lock().on_disk(id, place));
        Ok(())
    }

    /// Takes what is due from that time on; gives the earliest entry that stays outside.
    fn search_due(
        &self,
        (index, begin): (Index, Timestamp),
        now: Timestamp,
        seen: Ticket,
        left: &mut usize,
    ) -> Result<Option<(QueueId, Place)>, StoreError> {
        let mut from = keys::due(index, begin, QueueId::from_u64(0));
        loop {
            let page = self.store.range(keys::TREE, &from, &keys::end(index.prefix()), PAGE)?;
            let more = page.len() == PAGE;
            for (key, _) in &page {
                let Some((at, id)) = keys::due_of(key) else { continue };
                let Some(comes_in) = self.comes_in(id, seen, *left) else { continue };
                if !comes_in || at > now {
                    return Ok(Some((id, Place::of(index, at))));
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
