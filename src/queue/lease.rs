//! Leases: claims on due recipients, in memory only. Whatever way a lease ends, its recipients are settled or due again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Queue, QueuedRecipient, Record, Shared};

/// A claim on the due recipients of one message. Dropped without `settle`, they are due again.
#[derive(Debug)]
pub struct Lease {
    /// The record as of the lease.
    pub record: Arc<Record>,
    /// Indexes of the recipients leased.
    pub recipients: Vec<u32>,
    /// Changes that operators had made by then.
    changes: u64,
    /// None once settled or split.
    home: Option<Arc<Shared>>,
}

/// Waited after the store failed to say what is due.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Queue {
    /// Claims up to `room` messages that are due, waiting for the first. May be dropped while it waits.
    pub async fn lease(&self, room: usize) -> Vec<Lease> {
        loop {
            // Enrolled before looking: what becomes due in between is not missed.
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let now = self.shared.clock.now();
            let (taken, refill, next, changes) = {
                let mut backlog = self.shared.backlog.lock();
                let taken = backlog.take_ready(room.max(1), now);
                let changes = self.shared.changes.load(Ordering::Acquire);
                (taken, backlog.wants_refill(now), backlog.next_look(now), changes)
            };
            if !taken.is_empty() {
                let home = || Some(Arc::clone(&self.shared));
                let claim = |(record, recipients)| Lease { record, recipients, changes, home: home() };
                return taken.into_iter().map(claim).collect();
            }
            if refill {
                if let Err(error) = self.shared.refill().await {
                    tracing::error!(%error, "the queue can't be read");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
                continue;
            }
            match next {
                Some(at) => {
                    // At least a tick: the timer's clock and the wall clock are not the same.
                    let wait = at.since(now).max(Duration::from_millis(1));
                    let _either = tokio::time::timeout(wait, woken).await;
                }
                None => woken.await,
            }
        }
    }
}

impl Lease {
    /// Parts that are settled each on its own; recipients in no group become due again.
    #[must_use]
    pub fn split(mut self, groups: Vec<Vec<u32>>) -> Vec<Self> {
        let Some(home) = self.home.clone() else { return Vec::new() };
        let part = |group: Vec<u32>| {
            let (mine, rest) = self.recipients.drain(..).partition(|index| group.contains(index));
            self.recipients = rest;
            let (record, changes) = (Arc::clone(&self.record), self.changes);
            Self { record, recipients: mine, changes, home: Some(Arc::clone(&home)) }
        };
        // What is left is given back as `self` is dropped.
        groups.into_iter().map(part).filter(|lease| !lease.recipients.is_empty()).collect()
    }

    /// Whether its recipients are still what they were when they were leased: no operator held, bounced, removed or rerouted them,
    /// or gave them another time. Where nobody asked anything of any message since, it costs nothing.
    pub fn stands(&self) -> bool {
        let Some(home) = self.home.as_ref().filter(|home| home.changes.load(Ordering::Acquire) != self.changes) else {
            return true;
        };
        let backlog = home.backlog.lock();
        backlog.get(self.record.id).is_some_and(|active| {
            let (before, now) = (&self.record, &active.record);
            Arc::ptr_eq(now, before) || now.held == before.held && self.mine(now).eq(self.mine(before))
        })
    }

    fn mine<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a QueuedRecipient> {
        record.recipients.iter().filter(|r| self.recipients.contains(&r.index))
    }

    /// Lets the message be: it stays in the queue as it is, and is due again when all that is overdue was looked at. Nothing is
    /// written. False where that can't be, and nothing was done: it was never put off before, goes before others, or somebody
    /// has another part of it.
    pub fn pass_over(&mut self) -> bool {
        let Some(home) = &self.home else { return false };
        let now = home.clock.now();
        let (passed, refill) = {
            let mut backlog = home.backlog.lock();
            (backlog.pass_over(self.record.id, &self.recipients, now), backlog.wants_refill(now))
        };
        if passed && refill {
            home.wake.notify_one();
        }
        if passed {
            self.disarm();
        }
        passed
    }

    /// The recipients are the caller's to give back.
    pub(super) fn disarm(&mut self) {
        self.home = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(home) = self.home.take()
            && !self.recipients.is_empty()
        {
            home.give_back(self.record.id, &self.recipients);
        }
    }
}

impl Shared {
    /// These recipients are due again.
    pub(super) fn give_back(&self, id: crate::mail::QueueId, recipients: &[u32]) {
        let news = self.backlog.lock().give_back(id, recipients, self.clock.now());
        if news {
            self.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("path", &self.config.path).finish_non_exhaustive()
    }
}
