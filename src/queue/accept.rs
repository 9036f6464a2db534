//! Taking a message in: content to its place, one commit, then straight into the window.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::backlog::{Backlog, Hot, Place};
use super::quota::{Marks, OverQuota, Share};
use super::stored::{self, CHUNK, INLINE};
use super::{BodyPlace, Incoming, Queue, QueueError, Record, Shared, keys};
use crate::mail::QueueId;
use crate::store::{Body, Content, SpoolFile, StoreError, Write};
use crate::time::Timestamp;

/// A message whose content is where it will stay, but for what its record's write carries.
pub(super) struct Prepared {
    pub(super) record: Record,
    pub(super) hot: Hot,
    pub(super) file: Option<Arc<SpoolFile>>,
    /// What the commit of the record has to write first.
    pub(super) body: Option<Body>,
}

impl Queue {
    /// Takes the message: durable when this returns. Dropped before that, it may or may not be taken.
    ///
    /// # Errors
    /// When it was not taken. Nothing of it will be delivered then, unless the store can't even be told so.
    pub async fn accept(&self, incoming: Incoming) -> Result<QueueId, QueueError> {
        self.has_room()?;
        let reserved = self.shared.reserve(&incoming)?;
        let mut prepared = self.shared.prepare(incoming, Durable::WithCommit).await?;
        let now = self.shared.clock.now();
        let id = self.shared.claim_id(&mut prepared.record);
        let (place, writes) = prepared.writes(now);
        self.shared.spool.room().wrote(prepared.record.size());
        let bodies = prepared.body.take().into_iter().collect();
        let committed = self.shared.store.commit_with(keys::TREE, writes, bodies);
        let (size, file) = (prepared.record.size(), prepared.file.clone());
        let mut arriving = Arriving { shared: &self.shared, id, place, size, file, reserved, over: false };
        let result = committed.await;
        arriving.over = true;
        match result {
            Ok(()) => arriving.arrived(prepared, now),
            Err(error) => {
                arriving.failed(&prepared.record);
                return Err(error.into());
            }
        }
        Ok(id)
    }
}

/// When a large body becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// With the commit of its record, which takes it along.
    WithCommit,
    /// At once: the record rides with another write.
    AtOnce,
}

/// A message that is being committed. Dropped with its future, it counts as taken: the commit is on its way.
struct Arriving<'a> {
    shared: &'a Shared,
    id: QueueId,
    place: Place,
    size: u64,
    file: Option<Arc<SpoolFile>>,
    reserved: Reserved<'a>,
    over: bool,
}

/// A share of the quotas for a message that is not there yet. Given back when dropped, unless it was kept.
struct Reserved<'a> {
    shared: &'a Shared,
    shares: Vec<Share>,
    octets: u64,
}

impl Arriving<'_> {
    fn arrived(&mut self, prepared: Prepared, now: Timestamp) {
        let Prepared { record, hot, file, body: _ } = prepared;
        self.reserved.keep();
        let mut backlog = self.shared.backlog.lock();
        backlog.arrived(self.id);
        backlog.holdings().arrived(self.size, self.place == Place::Held);
        if backlog.remembers(self.id) {
            // Nobody changes what is still arriving. Were somebody to, this would be older than what became of it.
            tracing::error!(queue_id = %self.id, "a message was changed before it was there: it stays as it was changed");
        } else {
            backlog.admit(Arc::new(record), self.place, Some(hot), file, now);
        }
        drop(backlog);
        self.shared.landed.notify_all();
        self.shared.wake.notify_one();
    }

    /// Takes back what a batch that failed may have left: it was not acknowledged, and the client comes again.
    fn failed(&self, record: &Record) {
        let mut writes = Vec::new();
        removal(record, self.place, &mut writes);
        let mut backlog = self.shared.backlog.lock();
        backlog.arrived(self.id);
        let ticket = self.shared.store.ride(keys::TREE, writes).ok();
        if let Some(ticket) = ticket {
            // Whoever has read it already is not to write it anew.
            backlog.written(self.id, ticket, None, self.shared.store.applied());
        }
        drop(backlog);
        self.shared.landed.notify_all();
        if let (Some(ticket), Some(file)) = (ticket, &self.file) {
            self.shared.spool.release(file.name(), ticket);
        }
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.reserved.keep();
            let mut backlog = self.shared.backlog.lock();
            backlog.arrived(self.id);
            backlog.holdings().arrived(self.size, self.place == Place::Held);
            backlog.on_disk(self.id, self.place);
            drop(backlog);
            self.shared.landed.notify_all();
            self.shared.wake.notify_one();
        }
    }
}

impl Reserved<'_> {
    fn keep(&mut self) {
        self.shares.clear();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.shares.is_empty() {
            self.shared.backlog.lock().holdings().usage.give_back(&self.shares, self.octets);
        }
    }
}

impl Shared {
    /// The message's share of the quotas, from here on.
    fn reserve(&self, incoming: &Incoming) -> Result<Reserved<'_>, OverQuota> {
        let octets = u64::from(head_size(&incoming.head)) + incoming.body.len();
        let mut reserved = Reserved { shared: self, shares: Vec::new(), octets };
        // What was told apart once is counted to the end, whether a quota still asks for it or not.
        if self.config.quotas.is_empty() {
            return Ok(reserved);
        }
        let marks = Marks::of(&incoming.record);
        let mut backlog = self.backlog.lock();
        let usage = &mut backlog.holdings().usage;
        usage.admits(&self.quotas.load(), &marks)?;
        reserved.shares = usage.shares(&marks);
        usage.take(&reserved.shares, octets);
        Ok(reserved)
    }

    /// Gives a large body its place in the spool.
    pub(super) async fn prepare(&self, incoming: Incoming, durable: Durable) -> Result<Prepared, StoreError> {
        let Incoming { mut record, head, body } = incoming;
        self.greet(&mut record);
        record.head_size = head_size(&head);
        record.body_size = body.len();
        let small = matches!(&body, Content::Memory(octets) if octets.len() <= INLINE);
        record.body = BodyPlace::Inline;
        let (mut file, mut unwritten) = (None, None);
        if !small {
            let placed = match &body {
                Content::Memory(octets) if durable == Durable::WithCommit => self.spool.place(octets)?,
                _ => None,
            };
            let (kept, crc) = match placed {
                Some((placed, crc, body)) => {
                    unwritten = Some(body);
                    (placed, crc)
                }
                None => self.spool.keep(&body).await?,
            };
            record.body = BodyPlace::File { name: Arc::clone(kept.name()), crc };
            file = Some(kept);
        }
        Ok(Prepared { record, hot: Hot { head, body }, file, body: unwritten })
    }

    /// Sees to it that the id is of this message alone, and that nobody takes it from disk while it is committed.
    pub(super) fn claim_id(&self, record: &mut Record) -> QueueId {
        let mut backlog = self.backlog.lock();
        while record.id.to_u64() == 0 || !backlog.arrive(record.id) {
            record.id = self.ids.next(self.clock.now());
        }
        record.id
    }

    /// The window, once this message is no longer being committed. Blocks until then, which is no longer than a flush: a commit
    /// has an answer, and who went away without waiting for it has said so.
    pub(super) fn once_arrived(&self, id: QueueId) -> MutexGuard<'_, Backlog> {
        let mut backlog = self.backlog.lock();
        while backlog.is_arriving(id) {
            self.landed.wait(&mut backlog);
        }
        backlog
    }
}

fn head_size(head: &Bytes) -> u32 {
    u32::try_from(head.len()).unwrap_or(u32::MAX)
}

impl Prepared {
    /// Where the message goes, and how it gets there.
    pub(super) fn writes(&self, now: Timestamp) -> (Place, Vec<Write>) {
        let Hot { head, body } = &self.hot;
        let empty = Bytes::new();
        let inline = match body {
            Content::Memory(octets) if self.file.is_none() => octets,
            _ => &empty,
        };
        let place = place_of(&self.record, now);
        let mut writes = Vec::with_capacity(3);
        if place != Place::Fresh {
            rewrite(&self.record, place, &mut writes);
            stored::chunks(self.record.id, head, inline, &mut writes);
        } else if is_embedded(&self.record) {
            let value = stored::encode(&self.record, head, inline);
            writes.push(Write::Insert { key: keys::fresh(self.record.id), value });
        } else {
            let value = stored::encode(&self.record, &[], &[]);
            writes.push(Write::Insert { key: keys::fresh(self.record.id), value });
            stored::chunks(self.record.id, head, inline, &mut writes);
        }
        (place, writes)
    }
}

/// Where a message belongs that was never tried.
fn place_of(record: &Record, now: Timestamp) -> Place {
    match record.due() {
        _ if record.is_held() => Place::Held,
        // Fresh ones are taken in order of arrival, whatever their priority.
        Some(at) if record.priority() > 0 => Place::Urgent(at),
        Some(at) if at > now => Place::Due(at),
        _ => Place::Fresh,
    }
}

/// Where a message belongs that has been tried, or that somebody changed.
pub(super) fn later_place(record: &Record) -> Place {
    match record.due() {
        Some(at) if record.priority() > 0 => Place::Urgent(at),
        Some(at) => Place::Due(at),
        None => Place::Held,
    }
}

/// The octets of the body that are in the store.
pub(super) fn inline_size(record: &Record) -> u64 {
    if record.body == BodyPlace::Inline { record.body_size } else { 0 }
}

/// While it is fresh, its content is in the record's value: so it is written.
fn is_embedded(record: &Record) -> bool {
    stored_size(record) <= CHUNK as u64
}

/// The same for what is read: earlier programs wrote larger ones so. Whether it is shows in the value.
pub(super) fn may_be_embedded(record: &Record) -> bool {
    stored_size(record) <= INLINE as u64
}

fn stored_size(record: &Record) -> u64 {
    u64::from(record.head_size) + inline_size(record)
}

/// Writes the record into its place; the content stays where it is.
pub(super) fn rewrite(record: &Record, place: Place, writes: &mut Vec<Write>) {
    writes.push(Write::Put { key: keys::waiting(record.id), value: stored::encode(record, &[], &[]) });
    if let Some((index, at)) = place.timed() {
        writes.push(Write::Put { key: keys::due(index, at, record.id), value: Bytes::new() });
    }
}

/// Removes the message and its content from the store.
pub(super) fn removal(record: &Record, place: Place, writes: &mut Vec<Write>) {
    displace(record.id, place, writes);
    if place != Place::Fresh {
        writes.push(Write::Delete { key: keys::waiting(record.id) });
    }
    if place != Place::Fresh || !is_embedded(record) {
        let chunks = 0..stored::chunk_count(record, inline_size(record));
        writes.extend(chunks.map(|number| Write::Delete { key: keys::chunk(record.id, number) }));
    }
}

/// Removes what only this place has: the fresh value, or the due entry.
pub(super) fn displace(id: QueueId, place: Place, writes: &mut Vec<Write>) {
    match place.timed() {
        Some((index, at)) => writes.push(Write::Delete { key: keys::due(index, at, id) }),
        None if place == Place::Fresh => writes.push(Write::Delete { key: keys::fresh(id) }),
        None => {}
    }
}
