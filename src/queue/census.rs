//! How far the count of what an earlier run left has come, while mail flows already.
//!
//! Each message of an earlier run is counted once: when the count comes to it, or before that, when it comes into view as it was
//! left. Plain data, under the lock of the window; does no I/O. Must never count a message twice, nor pass one over.

use std::collections::HashSet;

use super::backlog::Place;
use crate::mail::QueueId;

/// The count under way.
#[derive(Debug)]
pub(super) struct Census {
    /// Ids above it are of this run, and counted as they arrive.
    last: QueueId,
    /// Everything before it is counted: first the fresh ones, then the others.
    next: Next,
    /// Counted before their turn, or moved since: not to be counted when the count comes to them.
    known: HashSet<QueueId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Fresh(QueueId),
    Waiting(QueueId),
}

impl Census {
    /// Begins a count of messages with ids up to `last`.
    pub(super) fn new(last: QueueId) -> Self {
        Self { last, next: Next::Fresh(QueueId::from_u64(0)), known: HashSet::new() }
    }

    /// A message comes into view, as it was read from that place. True: it is to be counted now.
    pub(super) fn meets(&mut self, id: QueueId, place: Place) -> bool {
        let found = if place == Place::Fresh { Next::Fresh(id) } else { Next::Waiting(id) };
        id <= self.last && self.known.insert(id) && found >= self.next
    }

    /// A message arrives that is counted as it does: with an id of an earlier run, where it comes out of a backup.
    pub(super) fn arrives(&mut self, id: QueueId) {
        if id <= self.last {
            self.known.insert(id);
        }
    }

    /// The count comes to a message. True: it is to be counted.
    pub(super) fn comes_to(&self, id: QueueId) -> bool {
        id <= self.last && !self.known.contains(&id)
    }

    /// All up to and with this one are counted.
    pub(super) fn passed(&mut self, id: QueueId, fresh: bool) {
        let after = QueueId::from_u64(id.to_u64().saturating_add(1));
        self.next = if fresh { Next::Fresh(after) } else { Next::Waiting(after) };
    }

    /// All fresh ones are counted.
    pub(super) fn passed_fresh(&mut self) {
        self.next = Next::Waiting(QueueId::from_u64(0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::time::Timestamp;

    const DUE: Place = Place::Due(Timestamp::from_secs(1));

    /// Whatever comes into view, moves, goes and arrives while the count is under way: it ends with what there is.
    #[test]
    fn every_message_is_counted_once_whatever_happens_meanwhile() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..3000 {
            let mut store: BTreeMap<(bool, u64), ()> = BTreeMap::new();
            for id in 1..=12 {
                if random.bool() {
                    store.insert((random.bool(), id), ());
                }
            }
            let mut census = Census::new(QueueId::from_u64(12));
            let mut count = 0_i64;
            let mut touch = |store: &mut BTreeMap<(bool, u64), ()>, census: &mut Census, count: &mut i64| {
                for _ in 0..random.u8(..4) {
                    let id = random.u64(1..=14);
                    let there = [false, true].into_iter().find(|waiting| store.contains_key(&(*waiting, id)));
                    match there {
                        Some(waiting) => {
                            *count += i64::from(
                                census.meets(QueueId::from_u64(id), if waiting { DUE } else { Place::Fresh }),
                            );
                            match random.u8(..3) {
                                0 => drop(store.remove(&(waiting, id)).map(|()| *count -= 1)),
                                1 => drop(store.remove(&(waiting, id)).map(|()| store.insert((true, id), ()))),
                                _ => {}
                            }
                        }
                        None => {
                            census.arrives(QueueId::from_u64(id));
                            store.insert((random.bool(), id), ());
                            *count += 1;
                        }
                    }
                }
            };
            for waiting in [false, true] {
                let mut from = 0;
                loop {
                    // A page is read, things happen, and then it is counted.
                    let page: Vec<u64> =
                        store.range((waiting, from)..=(waiting, u64::MAX)).take(3).map(|((_, id), ())| *id).collect();
                    touch(&mut store, &mut census, &mut count);
                    count += page.iter().filter(|id| census.comes_to(QueueId::from_u64(**id))).count() as i64;
                    let Some(last) = page.last() else { break };
                    census.passed(QueueId::from_u64(*last), !waiting);
                    from = last + 1;
                    touch(&mut store, &mut census, &mut count);
                }
                if !waiting {
                    census.passed_fresh();
                }
            }
            assert_eq!(count, store.len() as i64, "round {round}");
        }
    }
}
