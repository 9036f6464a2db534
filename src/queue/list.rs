//! Looking into the queue: listings by filter and page, single messages.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::backlog::Place;
use super::refill::after;
use super::{Filter, Queue, QueueError, Record, Shared, keys, stored};
use crate::mail::{Mailbox, QueueId};
use crate::store::{Content, Pair, StoreError};

/// Records read at a time.
const PAGE: usize = 128;

/// How often a message that is being shown may be moved meanwhile.
const MOVES: u32 = 5;

impl Queue {
    /// Messages that the filter takes, by arrival, after a given one. Reads the disk: not for async workers where the
    /// queue is long.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn list(&self, filter: &Filter, after: Option<QueueId>, limit: usize) -> Result<Vec<Arc<Record>>, QueueError> {
        let page = self.shared.page(filter, after, limit)?;
        Ok(page.into_iter().map(|(record, _)| record).collect())
    }

    /// One message: its record and its trace, header section and empty line.
    ///
    /// # Errors
    /// When the store can't be read, or what it holds of the message is damaged.
    pub async fn show(&self, id: QueueId) -> Result<Option<(Arc<Record>, Bytes)>, QueueError> {
        let mut moved = 0;
        loop {
            let shared = Arc::clone(&self.shared);
            let shown = tokio::task::spawn_blocking(move || shared.show(id)).await;
            match shown.unwrap_or(Err(StoreError::Closed.into())) {
                // The write that moved it may not be applied yet: let it be, and look where it is then.
                Err(QueueError::Store(StoreError::Damaged(_))) if moved < MOVES => self.shared.barrier().await?,
                done => return done,
            }
            moved += 1;
        }
    }
}

impl Queue {
    /// One message with all of its content, of which no reading is under way: for rehearsals and tools.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn whole(&self, id: QueueId) -> Result<Option<(Arc<Record>, Bytes, Content)>, QueueError> {
        self.shared.barrier().await?;
        let shared = Arc::clone(&self.shared);
        let read = move || {
            let Some((record, place)) = shared.find(id)? else { return Ok(None) };
            let hot = shared.backlog.lock().get(id).and_then(|active| active.hot.clone());
            let (head, body) = match hot {
                Some(hot) => (hot.head, hot.body),
                None => shared.read_content(&record, place)?,
            };
            Ok(Some((record, head, body)))
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed.into()))
    }
}

impl Shared {
    /// Blocks.
    fn show(&self, id: QueueId) -> Result<Option<(Arc<Record>, Bytes)>, QueueError> {
        let Some((record, place)) = self.find(id)? else { return Ok(None) };
        let hot = self.backlog.lock().get(id).and_then(|active| active.hot.as_ref().map(|hot| hot.head.clone()));
        if let Some(head) = hot {
            return Ok(Some((record, head)));
        }
        let (blob, size) = (self.read_blob(&record, place)?, record.head_size as usize);
        if blob.len() < size {
            return Err(StoreError::Damaged("the head is not whole".into()).into());
        }
        Ok(Some((record, blob.slice(..size))))
    }

    /// A message, wherever it is.
    pub(super) fn find(&self, id: QueueId) -> Result<Option<(Arc<Record>, Place)>, QueueError> {
        if let Some(current) = self.backlog.lock().current(id) {
            return Ok(current);
        }
        let damaged = |error: stored::FormError| QueueError::Damaged(id, error.to_string().into());
        if let Some(value) = self.store.get(keys::TREE, &keys::fresh(id))? {
            return stored::decode(&value).map(|(record, _)| Some((Arc::new(record), Place::Fresh))).map_err(damaged);
        }
        let Some(value) = self.store.get(keys::TREE, &keys::waiting(id))? else { return Ok(None) };
        let (record, _) = stored::decode(&value).map_err(damaged)?;
        let place = super::accept::later_place(&record);
        Ok(Some((Arc::new(record), place)))
    }

    /// As [`Queue::list`], with where each is stored. Damaged ones are left to the refill, which sets them aside.
    pub(super) fn page(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<(Arc<Record>, Place)>, QueueError> {
        let mut found = Vec::new();
        if !filter.ids.is_empty() {
            let mut ids: Vec<QueueId> = filter.ids.iter().copied().filter(|id| Some(*id) > after).collect();
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                found.extend(self.find(id)?.filter(|(record, _)| filter.takes(record)));
            }
            found.truncate(limit);
            return Ok(found);
        }
        let mut fresh = Reader::new(self, b'n', after);
        let mut waiting = Reader::new(self, b'm', after);
        while found.len() < limit {
            let reader = match (fresh.peek()?, waiting.peek()?) {
                (None, None) => break,
                (Some(a), Some(b)) if b < a => &mut waiting,
                (Some(_), _) => &mut fresh,
                (None, Some(_)) => &mut waiting,
            };
            let Some((id, value)) = reader.buffer.pop_front() else { break };
            let current = self.backlog.lock().current(id);
            let entry = current.unwrap_or_else(|| {
                let record = stored::decode(&value).ok()?.0;
                let place = if reader.prefix == b'n' { Place::Fresh } else { super::accept::later_place(&record) };
                Some((Arc::new(record), place))
            });
            // The same message in both places: it moved between two reads.
            let again = |record: &Record| found.last().is_some_and(|(last, _): &(Arc<Record>, _)| last.id == record.id);
            let entry = entry.filter(|(record, _)| filter.takes(record) && !again(record));
            found.extend(entry);
        }
        Ok(found)
    }
}

/// Records with one prefix, in pages.
struct Reader<'a> {
    shared: &'a Shared,
    prefix: u8,
    from: Option<Bytes>,
    buffer: VecDeque<(QueueId, Bytes)>,
}

impl<'a> Reader<'a> {
    fn new(shared: &'a Shared, prefix: u8, after_id: Option<QueueId>) -> Self {
        let key = |id| if prefix == b'n' { keys::fresh(id) } else { keys::waiting(id) };
        let from = after_id.map_or_else(|| Bytes::copy_from_slice(&[prefix]), |id| after(&key(id)));
        Self { shared, prefix, from: Some(from), buffer: VecDeque::new() }
    }

    fn peek(&mut self) -> Result<Option<QueueId>, StoreError> {
        if self.buffer.is_empty()
            && let Some(from) = self.from.take()
        {
            let page = self.shared.store.range(keys::TREE, &from, &keys::end(self.prefix), PAGE)?;
            self.from = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| after(key));
            let named = |(key, value): Pair| Some((keys::id_of(&key)?, value));
            self.buffer.extend(page.into_iter().filter_map(named));
        }
        Ok(self.buffer.front().map(|(id, _)| *id))
    }
}

impl Filter {
    /// Whether it takes a message.
    pub fn takes(&self, record: &Record) -> bool {
        let contains = |part: &Option<String>, mailbox: Option<&Mailbox>| {
            part.as_ref()
                .is_none_or(|part| mailbox.map(ToString::to_string).unwrap_or_default().contains(part.as_str()))
        };
        let any = |takes: &dyn Fn(&Mailbox) -> bool| record.recipients.iter().any(|r| takes(&r.mailbox));
        (self.ids.is_empty() || self.ids.contains(&record.id))
            && contains(&self.sender, record.sender.0.as_ref())
            && (self.recipient.is_none() || any(&|mailbox| contains(&self.recipient, Some(mailbox))))
            && self.domain.as_ref().is_none_or(|d| any(&|mailbox| mailbox.domain.as_str().eq_ignore_ascii_case(d)))
            && self.held.is_none_or(|held| held == record.held.is_some())
    }
}
