//! The window: which messages are in memory, ready or leased, and what is known of the rest on disk.
//!
//! A bounded window over an unbounded backlog: memory holds what is being tried, the due index on disk holds the rest,
//! and it is read only when there is room and something in it is due. Plain data under one lock: does no I/O.
//! Must never have a message in the window twice, nor take from disk what an unapplied write has already changed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::census::Census;
use super::holdings::Holdings;
use super::keys::Index;
use super::ready::Ready;
use super::rounds::{Entry, Rounds, is_ahead};
use super::{Counts, Record};
use crate::mail::QueueId;
use crate::store::{Content, SpoolFile, Ticket};
use crate::time::Timestamp;

/// As often the index is read from its beginning, though nothing that is not known should be there: a message overlooked would
/// wait for a restart.
const WHOLE_EVERY: Duration = Duration::from_secs(60);

/// The part of the window that a refill leaves free: less than has to be free for one, or it would not end.
const ARRIVALS: usize = 8;

/// Descriptors that messages in the window may hold open, so that they don't eat up the process's share.
const OPEN_FILES: usize = 256;

/// Where the store keeps a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not tried yet, due since it arrived.
    Fresh,
    /// In the due index.
    Due(Timestamp),
    /// In the due index of those that go before others.
    Urgent(Timestamp),
    /// In no index.
    Held,
}

impl Place {
    pub(super) const fn of(index: Index, at: Timestamp) -> Self {
        match index {
            Index::Due => Self::Due(at),
            Index::Urgent => Self::Urgent(at),
        }
    }

    /// Its entry in an index of due times.
    pub(super) const fn timed(self) -> Option<(Index, Timestamp)> {
        match self {
            Self::Due(at) => Some((Index::Due, at)),
            Self::Urgent(at) => Some((Index::Urgent, at)),
            Self::Fresh | Self::Held => None,
        }
    }
}

/// A message in the window.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) record: Arc<Record>,
    pub(super) place: Place,
    /// Recipients that are leased.
    pub(super) leased: Vec<u32>,
    pub(super) hot: Option<Hot>,
    /// Kept open, so that it can be used again without opening it.
    file: Option<Arc<SpoolFile>>,
    /// In the ready list.
    queued: bool,
}

/// Content still in memory.
#[derive(Clone, Debug)]
pub(super) struct Hot {
    pub(super) head: Bytes,
    pub(super) body: Content,
}

/// What was written last of a message, until reads see it.
type Unapplied = (Ticket, Option<(Arc<Record>, Place)>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    window: usize,
    hot_limit: u64,
    hot: u64,
    open_files: usize,
    active: HashMap<QueueId, Active>,
    ready: Ready,
    /// Being committed; not to be taken from disk.
    arriving: HashSet<QueueId>,
    unapplied: HashMap<QueueId, Unapplied>,
    unapplied_order: VecDeque<(Ticket, QueueId)>,
    /// No entry of the due index outside the window is earlier, but for those passed over.
    next_due: Option<Timestamp>,
    rounds: Rounds,
    /// The same of those that go before others.
    next_urgent: Option<Timestamp>,
    /// No fresh message outside the window has a lower id; none: there is none.
    fresh_from: Option<QueueId>,
    /// When the indexes were last read from their beginning.
    looked_whole: Option<Timestamp>,
    /// So many read the disk: nothing may be forgotten that is known better.
    readers: usize,
    holdings: Holdings,
    /// While what an earlier run left is being counted.
    census: Option<Census>,
}

/// What a refill is to look for.
pub(super) struct Search {
    pub(super) fresh_from: Option<QueueId>,
    pub(super) next_urgent: Option<Timestamp>,
    pub(super) due: Option<Due>,
}

/// What a search for what is due begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// What is due longest.
    pub(super) overdue: Entry,
    /// What became due lately, which comes first.
    pub(super) lately: Entry,
}

impl Backlog {
    pub(super) fn new(window: usize, hot_limit: u64) -> Self {
        Self { window: window.max(1), hot_limit, ..Self::default() }
    }

    pub(super) fn holdings(&mut self) -> &mut Holdings {
        &mut self.holdings
    }

    pub(super) fn counts(&self) -> Counts {
        self.holdings.counts
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Active> {
        self.active.get(&id)
    }

    /// A message starts to be committed. False: the id is in use.
    pub(super) fn arrive(&mut self, id: QueueId) -> bool {
        let free = !self.active.contains_key(&id) && !self.unapplied.contains_key(&id) && self.arriving.insert(id);
        if let (true, Some(census)) = (free, &mut self.census) {
            census.arrives(id);
        }
        free
    }

    /// What an earlier run left is counted from here on.
    pub(super) fn begin_census(&mut self, census: Census) {
        self.census = Some(census);
        self.holdings.counts.counting = true;
    }

    /// The count comes to a message of an earlier run; none: its record can't be read.
    pub(super) fn census_comes_to(&mut self, id: QueueId, record: Option<&Record>, fresh: bool) {
        let Some(census) = &mut self.census else { return };
        let counts = census.comes_to(id);
        census.passed(id, fresh);
        if counts {
            self.holdings.gained(record);
        }
    }

    pub(super) fn census_passed_fresh(&mut self) {
        self.census.as_mut().map(Census::passed_fresh);
    }

    pub(super) fn end_census(&mut self) {
        self.census = None;
        self.holdings.counts.counting = false;
    }

    /// A message was read from there, as it was left: to be called before anything is changed in it. None: its record can't be
    /// read.
    pub(super) fn meet(&mut self, id: QueueId, record: Option<&Record>, place: Place) {
        if self.census.as_mut().is_some_and(|census| census.meets(id, place)) {
            self.holdings.gained(record);
        }
    }

    pub(super) fn arrived(&mut self, id: QueueId) {
        self.arriving.remove(&id);
    }

    /// Whether it is still being committed: what was read of it may be older than what becomes of it.
    pub(super) fn is_arriving(&self, id: QueueId) -> bool {
        self.arriving.contains(&id)
    }

    /// Takes a message into the window and the ready list, or remembers that it is on disk. True for the former.
    pub(super) fn admit(
        &mut self,
        record: Arc<Record>,
        place: Place,
        hot: Option<Hot>,
        file: Option<Arc<SpoolFile>>,
        now: Timestamp,
    ) -> bool {
        let id = record.id;
        let due = match place {
            Place::Fresh => true,
            Place::Due(at) | Place::Urgent(at) => at <= now,
            Place::Held => false,
        };
        if !due || self.active.len() >= self.window || self.active.contains_key(&id) {
            self.on_disk(id, place);
            return false;
        }
        let hot = hot.filter(|hot| self.hot.saturating_add(hot.octets()) <= self.hot_limit);
        self.hot += hot.as_ref().map_or(0, Hot::octets);
        let file = file.filter(|_| self.open_files < OPEN_FILES);
        self.open_files += usize::from(file.is_some());
        self.ready.push(id, record.priority());
        self.active.insert(id, Active { record, place, leased: Vec::new(), hot, file, queued: true });
        true
    }

    /// Whether content of this size would be kept in memory now.
    pub(super) fn would_keep(&self, hot: &Hot) -> bool {
        self.active.len() < self.window && self.hot.saturating_add(hot.octets()) <= self.hot_limit
    }

    /// A message is, or will soon be, on disk only. True where that is earlier than anything known.
    pub(super) fn on_disk(&mut self, id: QueueId, place: Place) -> bool {
        match place {
            Place::Fresh => {
                let news = self.fresh_from.is_none_or(|from| id < from);
                self.fresh_from = Some(self.fresh_from.map_or(id, |from| from.min(id)));
                news
            }
            Place::Due(at) => {
                self.rounds.outside((at, id));
                sooner(&mut self.next_due, at)
            }
            Place::Urgent(at) => sooner(&mut self.next_urgent, at),
            Place::Held => false,
        }
    }

    /// Leases what is ready: records and the indexes of their due recipients.
    pub(super) fn take_ready(&mut self, room: usize, now: Timestamp) -> Vec<(Arc<Record>, Vec<u32>)> {
        let mut taken = Vec::with_capacity(room.min(self.ready.len()));
        while taken.len() < room
            && let Some(id) = self.ready.pop()
        {
            let Some(active) = self.active.get_mut(&id) else { continue };
            active.queued = false;
            let due = active.due(now);
            if due.is_empty() {
                self.settle_down(id, now);
                continue;
            }
            if active.leased.is_empty() {
                self.holdings.counts.leased += 1;
            }
            active.leased.extend_from_slice(&due);
            taken.push((Arc::clone(&active.record), due));
        }
        taken
    }

    /// These recipients are no longer leased. True where somebody should look for work.
    pub(super) fn give_back(&mut self, id: QueueId, recipients: &[u32], now: Timestamp) -> bool {
        let Some(active) = self.active.get_mut(&id) else { return false };
        let had = !active.leased.is_empty();
        active.leased.retain(|leased| !recipients.contains(leased));
        if had && active.leased.is_empty() {
            self.holdings.counts.leased = self.holdings.counts.leased.saturating_sub(1);
        }
        self.settle_down(id, now)
    }

    /// Puts a message where it belongs after a change: ready, leased still, or out of the window. True where somebody
    /// should look for work.
    fn settle_down(&mut self, id: QueueId, now: Timestamp) -> bool {
        let Some(active) = self.active.get_mut(&id) else { return false };
        if !active.due(now).is_empty() {
            if !active.queued {
                active.queued = true;
                self.ready.push(id, active.record.priority());
            }
            return true;
        }
        if !active.leased.is_empty() {
            return false;
        }
        let place = active.place;
        self.leave(id);
        self.on_disk(id, place) || self.wants_refill(now)
    }

    /// The message was rewritten: here is what it is now.
    pub(super) fn replace(&mut self, id: QueueId, record: Arc<Record>, place: Place, now: Timestamp) -> bool {
        match self.active.get_mut(&id) {
            Some(active) => {
                (active.record, active.place) = (record, place);
                self.settle_down(id, now)
            }
            None => self.on_disk(id, place),
        }
    }

    /// Lets a message of which these recipients are leased be as it is: nobody has a turn for it. False where that can't be:
    /// somebody else has a part of it, or it is in no index that is searched in rounds.
    pub(super) fn pass_over(&mut self, id: QueueId, recipients: &[u32], now: Timestamp) -> bool {
        let Some(active) = self.active.get(&id) else { return false };
        let alone = active.leased.iter().all(|leased| recipients.contains(leased));
        if !alone || !matches!(active.place, Place::Due(_)) {
            return false;
        }
        self.leave(id);
        self.rounds.pass_over(now);
        true
    }

    /// Takes a message out of the window.
    pub(super) fn leave(&mut self, id: QueueId) -> Option<Active> {
        let active = self.active.remove(&id)?;
        self.hot = self.hot.saturating_sub(active.hot.as_ref().map_or(0, Hot::octets));
        self.open_files = self.open_files.saturating_sub(usize::from(active.file.is_some()));
        if !active.leased.is_empty() {
            self.holdings.counts.leased = self.holdings.counts.leased.saturating_sub(1);
        }
        Some(active)
    }

    /// A write to a message has this ticket; none: it is gone. `applied` is how far reads see.
    pub(super) fn written(&mut self, id: QueueId, ticket: Ticket, now: Option<(Arc<Record>, Place)>, applied: Ticket) {
        self.unapplied.insert(id, (ticket, now));
        self.unapplied_order.push_back((ticket, id));
        self.forget(applied);
    }

    /// What the store shows by now need not be remembered.
    pub(super) fn forget(&mut self, applied: Ticket) {
        while let Some((ticket, id)) = self.unapplied_order.front().copied()
            && ticket <= applied
            && self.readers == 0
        {
            self.unapplied_order.pop_front();
            if self.unapplied.get(&id).is_some_and(|(last, _)| *last == ticket) {
                self.unapplied.remove(&id);
            }
        }
    }

    /// Whether its id can't be given to a message that arrives: it is here, or left so recently that the store may still show it.
    pub(super) fn remembers(&self, id: QueueId) -> bool {
        self.active.contains_key(&id) || self.unapplied.contains_key(&id)
    }

    /// What memory knows better than the disk: none: nothing; some of none: the message is gone.
    pub(super) fn current(&self, id: QueueId) -> Option<Option<(Arc<Record>, Place)>> {
        if let Some(active) = self.active.get(&id) {
            return Some(Some((Arc::clone(&active.record), active.place)));
        }
        self.unapplied.get(&id).map(|(_, now)| now.clone())
    }

    /// Whether what was read from disk of this message, by a read that saw `applied`, is of no use.
    pub(super) fn knows_better(&self, id: QueueId, applied: Ticket) -> bool {
        self.active.contains_key(&id)
            || self.arriving.contains(&id)
            || self.unapplied.get(&id).is_some_and(|(ticket, _)| *ticket > applied)
    }

    /// Whether there is room, and something on disk for it. A quarter of the window has to be free, so that a refill
    /// brings many at a time.
    pub(super) fn wants_refill(&self, now: Timestamp) -> bool {
        let free = self.room();
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let work = self.fresh_from.is_some() || due(self.rounds.when(self.next_due, now)) || due(self.next_urgent);
        work && free > 0 && free.saturating_mul(4) >= self.window
    }

    /// Messages in memory.
    pub(super) fn in_window(&self) -> usize {
        self.active.len()
    }

    /// Messages that the window still takes.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.in_window())
    }

    /// Those of the disk that it takes: some places are left for what arrives, which else would have to wait behind all that
    /// is on disk.
    pub(super) fn room_for_old(&self) -> usize {
        self.room().saturating_sub(self.window / ARRIVALS).max(1)
    }

    /// When to look again if nothing happens before.
    pub(super) fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        // One that has passed waits for room in the window.
        let later = |at: Option<Timestamp>| at.filter(|at| *at > now);
        [later(self.rounds.when(self.next_due, now)), later(self.next_urgent)].into_iter().flatten().min()
    }

    /// Begins a refill: what it looks for is taken out here and put back by [`Self::on_disk`] as far as it is left.
    pub(super) fn begin_search(&mut self, now: Timestamp) -> Search {
        let next_urgent = self.next_urgent.take_if(|due| *due <= now);
        self.begin_read();
        let whole = self.looked_whole.is_none_or(|at| now.since(at) >= WHOLE_EVERY || is_ahead(at, now));
        if whole {
            self.looked_whole = Some(now);
        }
        // What is due earlier is in the window: with many next hops that answer slowly, thousands of messages, each time.
        let next_urgent = next_urgent.map(|at| if whole { Timestamp::default() } else { at });
        let due = self.begin_due(now, whole);
        Search { fresh_from: self.fresh_from.take(), next_urgent, due }
    }

    fn begin_due(&mut self, now: Timestamp, whole: bool) -> Option<Due> {
        self.rounds.when(self.next_due, now).filter(|at| *at <= now)?;
        let anew = self.rounds.begins_anew(self.next_due, now);
        let next = self.next_due.take_if(|due| *due <= now);
        let from = if anew || whole && self.rounds.is_over() { Some(Timestamp::default()) } else { next };
        let (overdue, lately) = self.rounds.search(from?, now);
        Some(Due { overdue, lately })
    }

    /// What a search among those due brought, and the first that it left outside, of all and of what became due lately.
    pub(super) fn searched(&mut self, brought: usize, overdue: Option<Entry>, lately: Option<Entry>) {
        self.rounds.searched(brought, overdue, lately);
        overdue.map(|(at, id)| self.on_disk(id, Place::Due(at)));
    }

    /// Somebody reads the disk, and will say what becomes of what is found.
    pub(super) fn begin_read(&mut self) {
        self.readers += 1;
    }

    pub(super) fn end_read(&mut self) {
        self.readers = self.readers.saturating_sub(1);
    }
}

/// Takes an earlier time; true if it was.
fn sooner(next: &mut Option<Timestamp>, at: Timestamp) -> bool {
    let news = next.is_none_or(|next| at < next);
    if news {
        *next = Some(at);
    }
    news
}

impl Active {
    /// Recipients to be leased now.
    fn due(&self, now: Timestamp) -> Vec<u32> {
        if self.record.held.is_some() {
            return Vec::new();
        }
        let free = |index: &u32| !self.leased.contains(index);
        let due = self.record.recipients.iter().filter(|r| r.state.due <= now && r.state.held.is_none());
        due.map(|r| r.index).filter(free).collect()
    }
}

impl Hot {
    fn octets(&self) -> u64 {
        let body = if let Content::Memory(octets) = &self.body { octets.len() } else { 0 };
        (self.head.len() + body) as u64
    }
}
