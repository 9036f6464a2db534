//! The order of writes: what waits for the committer thread, who is told, and how far it has come.
//!
//! Plain data behind one lock; knows no engine. Must never tell a writer of success before the engine's flush.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Body, StoreError, Ticket, Write};

/// How long a rider may wait for a durable commit to ride with, before it gets a flush of its own.
const RIDE_WITHIN: Duration = Duration::from_millis(100);

/// Who waits for a commit.
pub(super) type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// Some writes that belong together.
pub(super) struct Item {
    pub(super) tree: &'static str,
    pub(super) writes: Vec<Write>,
    /// What the writes name, to be written and flushed before them.
    pub(super) bodies: Vec<Body>,
    /// None: a rider.
    pub(super) waiter: Option<Waiter>,
}

/// What the committer takes at a time.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// The last ticket in it.
    pub(super) upto: u64,
}

/// What the committer is to do next.
pub(super) enum Work {
    /// Write this; empty where the committer was only woken up.
    Write(Batch),
    /// The store is closing and nothing waits any more.
    Stop,
}

#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    last: u64,
    durable: bool,
    /// Since when something waits.
    since: Option<Instant>,
    /// The thread sleeps, but not for long: a rider need not wake it.
    lingering: bool,
    closing: bool,
}

/// The line before the committer.
#[derive(Default)]
pub(super) struct Line {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    applied: AtomicU64,
    flushed: AtomicU64,
}

impl Item {
    /// Tells who waits that nothing comes of it, and leaves nothing to be written.
    pub(super) fn refuse(&mut self, error: &StoreError) {
        self.writes.clear();
        self.bodies.clear();
        if let Some(waiter) = self.waiter.take() {
            // A caller that went away does not want to know.
            let _gone = waiter.send(Err(error.clone()));
        }
    }
}

impl Line {
    /// Lines up; durable ones are taken at once, riders within [`RIDE_WITHIN`].
    pub(super) fn push(&self, item: Item) -> Result<Ticket, StoreError> {
        let mut waiting = self.waiting.lock();
        if waiting.closing {
            return Err(StoreError::Closed);
        }
        let durable = item.waiter.is_some();
        // Only where the thread may sleep without end does a rider have to wake it.
        let wake = durable && !waiting.durable || waiting.since.is_none() && !waiting.lingering;
        waiting.durable |= durable;
        waiting.since.get_or_insert_with(Instant::now);
        waiting.items.push(item);
        waiting.last += 1;
        let ticket = Ticket(waiting.last);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
        Ok(ticket)
    }

    /// The committer is to look up, though nobody lines up.
    pub(super) fn wake_up(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.since.is_none() {
            waiting.since = Some(Instant::now());
            drop(waiting);
            self.wake.notify_one();
        }
    }

    /// Blocks until there is work: everything that waits, never waiting for more.
    pub(super) fn next(&self) -> Work {
        let mut waiting = self.waiting.lock();
        loop {
            let ripe = waiting.since.map(|since| since + RIDE_WITHIN);
            match ripe {
                Some(at) if !waiting.durable && !waiting.closing && at > Instant::now() => {
                    self.wake.wait_until(&mut waiting, at);
                }
                Some(_) => {
                    waiting.lingering = false;
                    waiting.since = None;
                    waiting.durable = false;
                    let room = waiting.items.len();
                    let items = std::mem::replace(&mut waiting.items, Vec::with_capacity(room));
                    return Work::Write(Batch { items, upto: waiting.last });
                }
                None if waiting.closing => return Work::Stop,
                // Mail seldom comes alone: what was accepted is settled soon, and that is to cost no wake-up.
                None if !waiting.lingering => {
                    waiting.lingering = true;
                    self.wake.wait_for(&mut waiting, RIDE_WITHIN);
                }
                None => {
                    waiting.lingering = false;
                    self.wake.wait(&mut waiting);
                }
            }
        }
    }

    /// Puts back the riders of a batch that found the disk full, in front of everything.
    pub(super) fn put_back(&self, riders: Vec<Item>) {
        let mut waiting = self.waiting.lock();
        if !riders.is_empty() {
            let later = std::mem::replace(&mut waiting.items, riders);
            waiting.items.extend(later);
        }
        waiting.since = Some(Instant::now());
    }

    /// Sleeps until `within` is over or the store is closing; true in the latter case.
    pub(super) fn pause(&self, within: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        let until = Instant::now() + within;
        while !waiting.closing && !self.wake.wait_until(&mut waiting, until).timed_out() {}
        waiting.closing
    }

    /// Takes those who wait for an answer, and leaves the riders.
    pub(super) fn take_waiters(&self) -> Vec<Waiter> {
        let mut waiting = self.waiting.lock();
        let (durable, riders) = std::mem::take(&mut waiting.items).into_iter().partition(|i| i.waiter.is_some());
        waiting.items = riders;
        waiting.durable = false;
        let durable: Vec<Item> = durable;
        durable.into_iter().filter_map(|item| item.waiter).collect()
    }

    /// Nothing is taken any more; what waits is still written.
    pub(super) fn close(&self) {
        self.waiting.lock().closing = true;
        self.wake.notify_all();
    }

    pub(super) fn mark_applied(&self, upto: u64) {
        self.applied.store(upto, Ordering::Release);
    }

    pub(super) fn mark_flushed(&self, upto: u64) {
        self.flushed.store(upto, Ordering::Release);
    }

    pub(super) fn applied(&self) -> Ticket {
        Ticket(self.applied.load(Ordering::Acquire))
    }

    pub(super) fn flushed(&self) -> Ticket {
        Ticket(self.flushed.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rider() -> Item {
        Item { tree: "t", writes: Vec::new(), bodies: Vec::new(), waiter: None }
    }

    #[test]
    fn a_commit_takes_everything_that_waits_with_it() {
        let line = Line::default();
        assert_eq!(line.push(rider()).unwrap(), Ticket(1));
        let (waiter, _answer) = oneshot::channel();
        assert_eq!(line.push(Item { waiter: Some(waiter), ..rider() }).unwrap(), Ticket(2));
        let Work::Write(batch) = line.next() else { panic!("nothing to write") };
        assert_eq!((batch.items.len(), batch.upto), (2, 2));
    }

    #[test]
    fn a_lone_rider_is_taken_after_a_while_and_closing_takes_it_at_once() {
        let line = Line::default();
        let began = Instant::now();
        line.push(rider()).unwrap();
        assert!(matches!(line.next(), Work::Write(batch) if batch.items.len() == 1));
        assert!(began.elapsed() >= RIDE_WITHIN);
        line.push(rider()).unwrap();
        line.close();
        assert!(matches!(line.next(), Work::Write(batch) if batch.upto == 2));
        assert!(matches!(line.next(), Work::Stop));
        assert!(matches!(line.push(rider()), Err(StoreError::Closed)));
    }

    #[test]
    fn riders_put_back_come_first_and_waiters_are_told_alone() {
        let line = Line::default();
        line.push(Item { tree: "old", ..rider() }).unwrap();
        let Work::Write(batch) = line.next() else { panic!("nothing to write") };
        line.push(Item { tree: "new", ..rider() }).unwrap();
        line.put_back(batch.items);
        let (waiter, _answer) = oneshot::channel();
        line.push(Item { waiter: Some(waiter), ..rider() }).unwrap();
        assert_eq!(line.take_waiters().len(), 1);
        let Work::Write(batch) = line.next() else { panic!("nothing to write") };
        let trees: Vec<_> = batch.items.iter().map(|i| i.tree).collect();
        assert_eq!(trees, ["old", "new"]);
    }
}
