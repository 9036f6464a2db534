//! Going through the queue by arrival, a bounded step at a time: what lists, counts and commands look at.
//!
//! A step reads pages off the async workers and takes the window's lock for one look at a time, so that a million queued
//! messages cost delivery nothing while somebody goes through them. Must never miss a message that moves meanwhile from
//! the fresh ones to those that were tried: those are read after the fresh ones of the same ids, and none moves back.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::refill::after;
use super::{Filter, Queue, QueueError, QueuedRecipient, Record, Shared, Sight, Ways, keys, stored};
use crate::hooks::{NextHop, Route};
use crate::mail::QueueId;
use crate::store::{Pair, StoreError};

/// Records read at a time: with their content, four megabytes at most.
const PAGE: usize = 128;

/// Recipients of the messages that a step has found, at most: records of many are large.
const RECIPIENTS: usize = 20_000;

/// Where a step begins and how far it goes.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Above this id; none: from the first message on.
    pub after: Option<QueueId>,
    /// Up to and with this id; none: what is there now.
    pub upto: Option<QueueId>,
    /// Messages looked at, at most.
    pub look: usize,
    /// Messages found, at most.
    pub find: usize,
}

/// A message that a filter takes, in part or whole.
#[derive(Clone, Debug)]
pub struct Found {
    /// As it is now.
    pub record: Arc<Record>,
    /// The recipients that the filter takes: at least one.
    pub recipients: Vec<u32>,
}

/// What a step came to.
#[derive(Clone, Debug, Default)]
pub struct Stepped {
    /// By arrival.
    pub found: Vec<Found>,
    /// Messages looked at.
    pub looked: u64,
    /// `after` of the next step; none: this was the last.
    pub next: Option<QueueId>,
    /// `upto` of the next step: what arrives later is not for it.
    pub upto: Option<QueueId>,
}

impl Queue {
    /// One step through the queue.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn look(&self, filter: &Filter, mut reach: Reach) -> Result<Stepped, QueueError> {
        if reach.after.is_none() {
            self.shared.barrier().await?;
        }
        reach.upto.get_or_insert_with(|| self.next_id());
        let (shared, filter) = (Arc::clone(&self.shared), filter.clone());
        let work = tokio::task::spawn_blocking(move || shared.step(&filter, reach));
        work.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    /// Messages that the filter takes, by arrival, after a given one. Reads the disk: not for async workers where the
    /// queue is long.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn list(&self, filter: &Filter, after: Option<QueueId>, limit: usize) -> Result<Vec<Arc<Record>>, QueueError> {
        let mut reach = Reach { after, upto: None, look: usize::MAX, find: limit };
        let mut listed = Vec::new();
        loop {
            let stepped = self.shared.step(filter, reach)?;
            listed.extend(stepped.found.into_iter().map(|found| found.record));
            (reach.after, reach.find) = (stepped.next, limit.saturating_sub(listed.len()));
            if reach.after.is_none() || reach.find == 0 {
                return Ok(listed);
            }
        }
    }

    /// Says where recipients go that no plugin routed, for filters by next hop. The first one to say so is believed.
    pub fn route_by(&self, ways: Arc<Ways>) {
        // Said once, by whoever puts the relay together.
        let _ = self.shared.ways.set(ways);
    }

    /// As it was said.
    pub fn ways(&self) -> Arc<Ways> {
        self.shared.ways.get().map_or_else(|| Arc::new(by_mx) as Arc<Ways>, Arc::clone)
    }

    /// Recipients of a message that are under delivery.
    pub fn leased(&self, id: QueueId) -> Vec<u32> {
        self.shared.backlog.lock().get(id).map(|active| active.leased.clone()).unwrap_or_default()
    }
}

impl Shared {
    /// Blocks.
    pub(super) fn step(&self, filter: &Filter, reach: Reach) -> Result<Stepped, QueueError> {
        if let Some(ids) = filter.only_ids() {
            return self.step_by_ids(filter, &ids, reach);
        }
        let mut stepped = Stepped { upto: reach.upto, ..Stepped::default() };
        let (mut walk, mut recipients) = (Walk::new(self, reach.after), 0);
        while let Some((id, entry)) = walk.next()? {
            if reach.upto.is_some_and(|upto| id > upto) {
                return Ok(stepped);
            }
            stepped.looked += 1;
            if let Some(found) = entry.and_then(|record| self.taken(filter, record)) {
                recipients += found.record.recipients.len();
                stepped.found.push(found);
            }
            let full = stepped.found.len() >= reach.find || recipients >= RECIPIENTS;
            if full || stepped.looked >= reach.look as u64 {
                stepped.next = Some(id);
                return Ok(stepped);
            }
        }
        Ok(stepped)
    }

    fn step_by_ids(&self, filter: &Filter, ids: &[QueueId], reach: Reach) -> Result<Stepped, QueueError> {
        let mut stepped = Stepped { upto: reach.upto, ..Stepped::default() };
        for id in ids.iter().filter(|id| Some(**id) > reach.after) {
            stepped.looked += 1;
            if let Some((record, _)) = self.find(*id)? {
                stepped.found.extend(self.taken(filter, record));
            }
            if stepped.found.len() >= reach.find {
                stepped.next = Some(*id);
                break;
            }
        }
        Ok(stepped)
    }

    pub(super) fn taken(&self, filter: &Filter, record: Arc<Record>) -> Option<Found> {
        let recipients = filter.select(self.sight(&record));
        (!recipients.is_empty()).then_some(Found { record, recipients })
    }

    pub(super) fn sight<'a>(&'a self, record: &'a Record) -> Sight<'a> {
        Sight { record, now: self.clock.now(), ways: self.ways.get().map_or(&by_mx, |ways| &**ways) }
    }
}

/// Where mail goes in a relay without a table of routes.
fn by_mx(recipient: &QueuedRecipient) -> Arc<Route> {
    Arc::new(Route { hops: vec![NextHop::Mx(recipient.mailbox.domain.as_str().into())], ..Route::default() })
}

/// What is known of a message that a walk came to; none: it is gone, or damaged and left to the refill.
type Entry = Option<Arc<Record>>;

/// All messages, by id.
struct Walk<'a> {
    shared: &'a Shared,
    fresh: Reader,
    waiting: Reader,
    last: Option<QueueId>,
}

impl<'a> Walk<'a> {
    fn new(shared: &'a Shared, after: Option<QueueId>) -> Self {
        Self { shared, fresh: Reader::new(b'n', after), waiting: Reader::new(b'm', after), last: after }
    }

    fn next(&mut self) -> Result<Option<(QueueId, Entry)>, StoreError> {
        loop {
            self.fresh.fill(self.shared, None)?;
            // Not beyond what is known of the fresh ones.
            let bound = self.fresh.covers();
            self.waiting.fill(self.shared, bound)?;
            let (fresh, waiting) = (self.fresh.peek(), self.waiting.peek());
            let reader = match (fresh, waiting) {
                (None, None) => return Ok(None),
                (Some(a), Some(b)) if b <= a => &mut self.waiting,
                (Some(_), _) => &mut self.fresh,
                (None, Some(_)) => &mut self.waiting,
            };
            let Some((id, value)) = reader.buffer.pop_front() else { return Ok(None) };
            // The same message in both places: it moved between two reads.
            if Some(id) <= self.last {
                continue;
            }
            self.last = Some(id);
            let current = self.shared.backlog.lock().current(id);
            let entry = match current {
                Some(current) => current.map(|(record, _)| record),
                None => stored::decode(&value).ok().map(|(record, _)| Arc::new(record)),
            };
            return Ok(Some((id, entry)));
        }
    }
}

/// Records with one prefix, in pages.
struct Reader {
    prefix: u8,
    /// None: all is read.
    from: Option<Bytes>,
    buffer: VecDeque<(QueueId, Bytes)>,
    /// The last id read.
    last: Option<QueueId>,
}

impl Reader {
    fn new(prefix: u8, after_id: Option<QueueId>) -> Self {
        let from = after_id.map_or_else(|| Bytes::copy_from_slice(&[prefix]), |id| after(&key(prefix, id)));
        Self { prefix, from: Some(from), buffer: VecDeque::new(), last: None }
    }

    /// Ids up to this one are in the buffer or behind it; none: all are.
    fn covers(&self) -> Option<QueueId> {
        self.from.as_ref().and(self.last)
    }

    /// Reads on where the buffer is empty; up to and with an id, if there is one.
    fn fill(&mut self, shared: &Shared, upto: Option<QueueId>) -> Result<(), StoreError> {
        let Some(from) = self.from.clone().filter(|_| self.buffer.is_empty()) else { return Ok(()) };
        let end = match upto {
            Some(id) => after(&key(self.prefix, id)),
            None => Bytes::copy_from_slice(&keys::end(self.prefix)),
        };
        if from >= end {
            return Ok(());
        }
        let page = shared.store.range(keys::TREE, &from, &end, PAGE)?;
        self.from = match page.last() {
            Some((key, _)) if page.len() == PAGE => Some(after(key)),
            // The rest is read once more is known of the others.
            _ => upto.map(|_| end),
        };
        let named = |(key, value): Pair| Some((keys::id_of(&key)?, value));
        self.buffer.extend(page.into_iter().filter_map(named));
        self.last = self.buffer.back().map(|(id, _)| *id).or(self.last);
        Ok(())
    }

    fn peek(&self) -> Option<QueueId> {
        self.buffer.front().map(|(id, _)| *id)
    }
}

fn key(prefix: u8, id: QueueId) -> Bytes {
    if prefix == b'n' { keys::fresh(id) } else { keys::waiting(id) }
}
