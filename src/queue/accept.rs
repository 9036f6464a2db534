//! Taking a message in: content to its place, one commit, then straight into the window.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use super::backlog::{Hot, Place};
use super::stored::{self, CHUNK};
use super::{BodyPlace, Incoming, Queue, QueueError, Record, Shared, keys};
use crate::mail::QueueId;
use crate::store::{Content, SpoolFile, StoreError, Waiter, Write};
use crate::time::Timestamp;

/// A message whose content is where it will stay, but for what its record's write carries.
pub(super) struct Prepared {
    pub(super) record: Record,
    pub(super) hot: Hot,
    pub(super) file: Option<Arc<SpoolFile>>,
}

impl Queue {
    /// Takes the message: durable when this returns. Dropped before that, it may or may not be taken.
    ///
    /// # Errors
    /// When it was not taken. Nothing of it will be delivered then, unless the store can't even be told so.
    pub async fn accept(&self, incoming: Incoming) -> Result<QueueId, QueueError> {
        self.has_room()?;
        let shared = Arc::clone(&self.shared);
        let (waiter, answer) = oneshot::channel();
        let Content::Memory(body) = &incoming.body else {
            let prepared = self.shared.prepare(incoming).await?;
            let arriving = shared.commit(prepared, waiter);
            return arriving.ended(answer.await);
        };
        if body.len() <= CHUNK {
            let arriving = shared.commit(self.shared.prepared_inline(incoming), waiter);
            return arriving.ended(answer.await);
        }
        // The thread that has flushed the file goes on to the committer: this task is woken once, at the end of it all.
        let (hand, under_way) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            match shared.prepared_file(incoming) {
                // Where nobody waits any more, it is at its end by that, and counts as taken.
                Ok(prepared) => drop(hand.send(shared.commit(prepared, waiter))),
                Err(error) => drop(waiter.send(Err(error))),
            }
        });
        let answer = answer.await;
        match under_way.await {
            Ok(arriving) => arriving.ended(answer),
            Err(_never_begun) => {
                Err(answer.unwrap_or(Err(StoreError::Closed)).err().unwrap_or(StoreError::Closed).into())
            }
        }
    }
}

/// A message that is being committed. Dropped before it ended, it counts as taken: the commit is on its way.
struct Arriving {
    shared: Arc<Shared>,
    id: QueueId,
    place: Place,
    at: Timestamp,
    size: u64,
    /// None once it ended.
    prepared: Option<Prepared>,
}

impl Arriving {
    /// What the store said of it.
    fn ended(mut self, answer: Result<Result<(), StoreError>, RecvError>) -> Result<QueueId, QueueError> {
        let Some(prepared) = self.prepared.take() else { return Ok(self.id) };
        match answer.unwrap_or(Err(StoreError::Closed)) {
            Ok(()) => self.arrived(prepared),
            Err(error) => {
                self.failed(&prepared);
                return Err(error.into());
            }
        }
        Ok(self.id)
    }

    fn arrived(&self, prepared: Prepared) {
        let Prepared { record, hot, file } = prepared;
        let mut backlog = self.shared.backlog.lock();
        backlog.arrived(self.id);
        let counts = backlog.counts_mut();
        counts.messages += 1;
        counts.octets += self.size;
        counts.held += u64::from(self.place == Place::Held);
        backlog.admit(Arc::new(record), self.place, Some(hot), file, self.at);
        drop(backlog);
        self.shared.wake.notify_one();
    }

    /// Takes back what a batch that failed may have left: it was not acknowledged, and the client comes again.
    fn failed(&self, prepared: &Prepared) {
        self.shared.backlog.lock().arrived(self.id);
        let mut writes = Vec::new();
        removal(&prepared.record, self.place, &mut writes);
        if let Ok(ticket) = self.shared.store.ride(keys::TREE, writes)
            && let Some(file) = &prepared.file
        {
            self.shared.spool.release(file.name(), ticket);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.prepared.is_some() {
            let mut backlog = self.shared.backlog.lock();
            backlog.arrived(self.id);
            backlog.counts_mut().messages += 1;
            backlog.counts_mut().octets += self.size;
            backlog.on_disk(self.id, self.place);
            drop(backlog);
            self.shared.wake.notify_one();
        }
    }
}

impl Shared {
    /// Sends it to the committer, which tells the waiter.
    fn commit(self: &Arc<Self>, mut prepared: Prepared, waiter: Waiter) -> Arriving {
        let at = self.clock.now();
        let id = self.claim_id(&mut prepared.record);
        let (place, writes) = prepared.writes(at);
        let size = prepared.record.size();
        self.spool.room().wrote(size);
        let arriving = Arriving { shared: Arc::clone(self), id, place, at, size, prepared: Some(prepared) };
        self.store.commit_and_tell(keys::TREE, writes, waiter);
        arriving
    }

    /// Puts a large body into a spool file, durable.
    pub(super) async fn prepare(&self, incoming: Incoming) -> Result<Prepared, StoreError> {
        if matches!(&incoming.body, Content::Memory(octets) if octets.len() <= CHUNK) {
            return Ok(self.prepared_inline(incoming));
        }
        let (file, crc) = self.spool.keep(&incoming.body).await?;
        Ok(self.prepared(incoming, Some((file, crc))))
    }

    /// The body of a small one goes where the record goes.
    fn prepared_inline(&self, incoming: Incoming) -> Prepared {
        self.prepared(incoming, None)
    }

    /// As [`Shared::prepare`], of a body in memory. Blocks.
    fn prepared_file(&self, incoming: Incoming) -> Result<Prepared, StoreError> {
        let Content::Memory(octets) = &incoming.body else {
            return Err(StoreError::Damaged("the body is not in memory".into()));
        };
        let kept = self.spool.keep_octets(octets)?;
        Ok(self.prepared(incoming, Some(kept)))
    }

    fn prepared(&self, incoming: Incoming, kept: Option<(Arc<SpoolFile>, u32)>) -> Prepared {
        let Incoming { mut record, head, body } = incoming;
        self.greet(&mut record);
        record.head_size = u32::try_from(head.len()).unwrap_or(u32::MAX);
        record.body_size = body.len();
        record.body = match &kept {
            Some((file, crc)) => BodyPlace::File { name: Arc::clone(file.name()), crc: *crc },
            None => BodyPlace::Inline,
        };
        Prepared { record, hot: Hot { head, body }, file: kept.map(|(file, _)| file) }
    }

    /// Sees to it that the id is of this message alone, and that nobody takes it from disk while it is committed.
    pub(super) fn claim_id(&self, record: &mut Record) -> QueueId {
        let mut backlog = self.backlog.lock();
        while record.id.to_u64() == 0 || !backlog.arrive(record.id) {
            record.id = self.ids.next(self.clock.now());
        }
        record.id
    }
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

/// While it is fresh, its content is in the record's value.
pub(super) fn is_embedded(record: &Record) -> bool {
    u64::from(record.head_size) + inline_size(record) <= CHUNK as u64
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
