//! What operators ask of messages: retry, hold, release, remove.

use std::sync::Arc;

use super::accept::{is_embedded, removal};
use super::backlog::{Hot, Place};
use super::settle::move_to;
use super::{BodyPlace, Command, Filter, Queue, QueueError, Record, Shared, keys};
use crate::mail::QueueId;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Messages dealt with between two looks at the disk.
const PAGE: usize = 256;

impl Queue {
    /// Does as asked with every message that the filter takes; gives how many were changed. Recipients that are leased
    /// are left to their attempt; a message removed meanwhile is not tried again.
    ///
    /// # Errors
    /// When the store fails; some messages may be changed then.
    pub async fn command(&self, filter: &Filter, command: Command) -> Result<u64, QueueError> {
        self.shared.barrier().await?;
        let (shared, filter) = (Arc::clone(&self.shared), filter.clone());
        let work = tokio::task::spawn_blocking(move || shared.command_all(&filter, &command));
        let changed = work.await.unwrap_or(Err(StoreError::Closed.into()))?;
        self.shared.barrier().await?;
        Ok(changed)
    }
}

impl Shared {
    fn command_all(&self, filter: &Filter, command: &Command) -> Result<u64, QueueError> {
        let (mut after, mut changed) = (None, 0);
        loop {
            let page = self.page(filter, after, PAGE)?;
            for (record, _) in &page {
                changed += u64::from(self.command_one(record.id, command)?);
            }
            match page.last() {
                Some((record, _)) if page.len() == PAGE => after = Some(record.id),
                _ => break,
            }
        }
        self.wake.notify_one();
        Ok(changed)
    }

    fn command_one(&self, id: QueueId, command: &Command) -> Result<bool, QueueError> {
        let now = self.clock.now();
        loop {
            let Some((record, place)) = self.find(id)? else { return Ok(false) };
            let Some(next) = after_command(&record, place, command, now) else { return Ok(false) };
            // Read before the lock; whether it is still what it was is checked under it.
            let hot = if place == Place::Fresh && is_embedded(&record) && !matches!(command, Command::Remove) {
                self.content_at_hand(&record, place)?
            } else {
                None
            };
            let mut backlog = self.backlog.lock();
            let same = |now: Option<&Arc<Record>>| now.is_none_or(|now| Arc::ptr_eq(now, &record) || **now == *record);
            let current = backlog.current(id);
            if !same(current.as_ref().and_then(|c| c.as_ref()).map(|(record, _)| record)) || current == Some(None) {
                continue;
            }
            let mut writes = Vec::new();
            match next {
                Next::Gone => {
                    removal(&record, place, &mut writes);
                    let ticket = self.store.ride(keys::TREE, writes)?;
                    backlog.written(id, ticket, None, self.store.applied());
                    backlog.leave(id);
                    backlog.counts_mut().messages -= 1;
                    backlog.counts_mut().held -= u64::from(record.held.is_some());
                    if let BodyPlace::File { name, .. } = &record.body {
                        self.spool.release(name, ticket);
                    }
                }
                Next::Record(next) => {
                    let to = move_to(&next, place, hot.as_ref(), &mut writes)?;
                    let ticket = self.store.ride(keys::TREE, writes)?;
                    let counts = backlog.counts_mut();
                    counts.held = counts.held + u64::from(next.held.is_some()) - u64::from(record.held.is_some());
                    let next: Arc<Record> = Arc::new(*next);
                    backlog.written(id, ticket, Some((Arc::clone(&next), to)), self.store.applied());
                    backlog.replace(id, next, to, now);
                }
            }
            return Ok(true);
        }
    }

    fn content_at_hand(&self, record: &Record, place: Place) -> Result<Option<Hot>, QueueError> {
        if let Some(hot) = self.backlog.lock().get(record.id).and_then(|active| active.hot.clone()) {
            return Ok(Some(hot));
        }
        let (head, body) = self.read_content(record, place)?;
        Ok(Some(Hot { head, body }))
    }
}

/// What becomes of a record.
enum Next {
    Gone,
    Record(Box<Record>),
}

/// None: the command changes nothing.
fn after_command(record: &Record, place: Place, command: &Command, now: Timestamp) -> Option<Next> {
    let mut next = record.clone();
    let due_now = |next: &mut Record| next.recipients.iter_mut().for_each(|r| r.state.due = r.state.due.min(now));
    match command {
        Command::Remove => return Some(Next::Gone),
        Command::Hold(why) => next.held = Some(Arc::clone(why)),
        Command::Release => {
            next.held.take()?;
            due_now(&mut next);
        }
        Command::Retry { reroute } => {
            if record.held.is_some() || (place == Place::Fresh && !reroute) {
                return None;
            }
            due_now(&mut next);
            for recipient in &mut next.recipients {
                recipient.state.reroute |= reroute;
                if *reroute {
                    recipient.route = None;
                }
            }
        }
    }
    Some(Next::Record(Box::new(next)))
}
