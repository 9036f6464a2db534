//! What operators ask of messages: retry, reschedule, reroute, hold, release, bounce, drop.
//!
//! Each touches only the recipients that the filter takes. Recipients that are leased are left to their attempt, and
//! what was asked holds for what it leaves of them. Steps are bounded, as those of `scan` are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::accept::{may_be_embedded, removal};
use super::backlog::{Hot, Place};
use super::scan::Reach;
use super::settle::move_to;
use super::{BodyPlace, Command, Filter, Queue, QueueError, Record, Shared, keys};
use crate::hooks::{NextHop, Outcome, OutcomeKind, Route, Stage};
use crate::mail::{Domain, QueueId};
use crate::smtp::{Reply, Status};
use crate::store::StoreError;
use crate::time::Timestamp;

/// Messages changed before the store is waited for, so that what waits to be written stays small.
const PAGE: usize = 256;

/// Failures told of one by one.
const FAILURES: usize = 20;

/// What a step of a command came to.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// Messages changed.
    pub messages: u64,
    /// Recipients changed.
    pub recipients: u64,
    /// Messages looked at.
    pub looked: u64,
    /// Messages that could not be changed.
    pub failed: u64,
    /// Some of them, and why.
    pub failures: Vec<(QueueId, String)>,
    /// Where the next step begins; none: this was the last.
    pub next: Option<QueueId>,
    /// What arrives later is not for it.
    pub upto: Option<QueueId>,
}

impl Queue {
    /// Does as asked with every recipient that the filter takes; gives how many messages were changed. A message
    /// removed while it is under way is not tried again.
    ///
    /// # Errors
    /// When the store fails; some messages may be changed then.
    pub async fn command(&self, filter: &Filter, command: Command) -> Result<u64, QueueError> {
        let mut reach = Reach { after: None, upto: Some(self.next_id()), look: usize::MAX, find: PAGE };
        let mut messages = 0;
        loop {
            let changed = self.command_step(filter, reach, &command).await?;
            messages += changed.messages;
            match changed.next {
                Some(next) => reach.after = Some(next),
                None => return Ok(messages),
            }
        }
    }

    /// One step of a command: at most as many messages as `reach` says, and not more than some hundred.
    ///
    /// # Errors
    /// When the store fails; some messages may be changed then.
    pub async fn command_step(
        &self,
        filter: &Filter,
        mut reach: Reach,
        command: &Command,
    ) -> Result<Changed, QueueError> {
        if reach.after.is_none() {
            self.shared.barrier().await?;
        }
        reach.find = reach.find.min(PAGE);
        reach.upto.get_or_insert_with(|| self.next_id());
        let (shared, filter, command) = (Arc::clone(&self.shared), filter.clone(), command.clone());
        let work = tokio::task::spawn_blocking(move || shared.command_step(&filter, reach, &command));
        let changed = work.await.unwrap_or(Err(StoreError::Closed.into()))?;
        if changed.messages > 0 {
            self.shared.barrier().await?;
        }
        Ok(changed)
    }
}

impl Shared {
    fn command_step(&self, filter: &Filter, reach: Reach, command: &Command) -> Result<Changed, QueueError> {
        let stepped = self.step(filter, reach)?;
        let mut changed =
            Changed { looked: stepped.looked, next: stepped.next, upto: stepped.upto, ..Changed::default() };
        for found in stepped.found {
            let id = found.record.id;
            match self.command_one(filter, id, command) {
                Ok(0) => {}
                Ok(recipients) => {
                    changed.messages += 1;
                    changed.recipients += recipients;
                }
                Err(QueueError::Store(error @ (StoreError::Broken(_) | StoreError::Closed | StoreError::Full(_)))) => {
                    self.wake.notify_one();
                    return Err(error.into());
                }
                // One that can't be read is no reason to leave the others.
                Err(error) => {
                    changed.failed += 1;
                    if changed.failures.len() < FAILURES {
                        changed.failures.push((id, error.to_string()));
                    }
                }
            }
        }
        self.wake.notify_one();
        Ok(changed)
    }

    /// How many recipients were changed.
    fn command_one(&self, filter: &Filter, id: QueueId, command: &Command) -> Result<u64, QueueError> {
        // From the reading to the writing, so that what changes in between is known under the lock.
        let _reading = Reading::begin(self);
        loop {
            let Some((record, place)) = self.find(id)? else { return Ok(0) };
            let Some(found) = self.taken(filter, record) else { return Ok(0) };
            let next = after_command(&found.record, &found.recipients, command, self.clock.now());
            let Some(next) = next else { return Ok(0) };
            let changed = next.changed(&found.record);
            if self.put(&found.record, place, next)? {
                return Ok(changed);
            }
        }
    }

    /// Writes what becomes of a record; false: it is not what it was, and nothing was written.
    fn put(&self, record: &Arc<Record>, place: Place, next: Next) -> Result<bool, QueueError> {
        let (id, now) = (record.id, self.clock.now());
        // Read before the lock; whether it is still what it was is checked under it.
        let hot = match &next {
            Next::Record(_) if place == Place::Fresh && may_be_embedded(record) => {
                self.content_at_hand(record, place)?
            }
            _ => None,
        };
        // What the store shows already may still be arriving: changed before it is there, it would be delivered as it was.
        let mut backlog = self.once_arrived(id);
        match backlog.current(id) {
            Some(None) => return Ok(false),
            Some(Some((_, at))) if at != place => return Ok(false),
            Some(Some((current, _))) if !Arc::ptr_eq(&current, record) && *current != **record => return Ok(false),
            _ => {}
        }
        backlog.meet(id, Some(record), place);
        let mut writes = Vec::new();
        match next {
            Next::Gone => {
                removal(record, place, &mut writes);
                let ticket = self.store.ride(keys::TREE, writes)?;
                backlog.written(id, ticket, None, self.store.applied());
                backlog.leave(id);
                backlog.holdings().lost(record);
                if let BodyPlace::File { name, .. } = &record.body {
                    self.spool.release(name, ticket);
                }
            }
            Next::Record(next) => {
                let to = move_to(&next, place, hot.as_ref(), &mut writes)?;
                let ticket = self.store.ride(keys::TREE, writes)?;
                backlog.holdings().turned(record, &next);
                let next: Arc<Record> = Arc::new(*next);
                backlog.written(id, ticket, Some((Arc::clone(&next), to)), self.store.applied());
                backlog.replace(id, next, to, now);
            }
        }
        self.changes.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    fn content_at_hand(&self, record: &Record, place: Place) -> Result<Option<Hot>, QueueError> {
        if let Some(hot) = self.backlog.lock().get(record.id).and_then(|active| active.hot.clone()) {
            return Ok(Some(hot));
        }
        match self.read_content(record, place) {
            Ok((head, body)) => Ok(Some(Hot { head, body })),
            // It was moved meanwhile, which is seen under the lock.
            Err(StoreError::Damaged(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// While it is there, nothing is forgotten that is known better than the disk knows it.
struct Reading<'a>(&'a Shared);

impl<'a> Reading<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.backlog.lock().begin_read();
        Self(shared)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.backlog.lock().end_read();
    }
}

/// What becomes of a record.
enum Next {
    Gone,
    Record(Box<Record>),
}

impl Next {
    /// How many recipients are not what they were.
    fn changed(&self, before: &Record) -> u64 {
        let Self::Record(next) = self else { return before.recipients.len() as u64 };
        if next.held != before.held {
            return before.recipients.len() as u64;
        }
        let same = |r: &&super::QueuedRecipient| next.recipients.contains(r);
        (before.recipients.len() - before.recipients.iter().filter(same).count()) as u64
    }
}

/// None: the command changes nothing.
fn after_command(record: &Record, selected: &[u32], command: &Command, now: Timestamp) -> Option<Next> {
    let mut next = record.clone();
    let whole = selected.len() == record.recipients.len();
    match command {
        Command::Remove if whole => return Some(Next::Gone),
        Command::Remove => next.recipients.retain(|r| !selected.contains(&r.index)),
        Command::Hold(why) if whole => {
            next.held = Some(Arc::clone(why));
            next.recipients.iter_mut().for_each(|r| r.state.held = None);
        }
        Command::Hold(why) => each(&mut next, selected, |state, _| state.held = Some(Arc::clone(why))),
        Command::Release => {
            let held: Vec<u32> = selected.iter().copied().filter(|index| is_held(record, *index)).collect();
            // Where none of them is, nothing is taken apart.
            if !held.is_empty() {
                free(&mut next, &held);
                each(&mut next, &held, |state, _| due_now(state, now));
            }
        }
        Command::Bounce(why) => {
            free(&mut next, selected);
            each(&mut next, selected, |state, index| {
                state.last = Some(refusal(index, why, now));
                (state.reroute, state.parked) = (false, None);
                due_now(state, now);
            });
        }
        Command::Retry { reroute: false } => {
            let free: Vec<u32> = selected.iter().copied().filter(|index| !is_held(record, *index)).collect();
            each(&mut next, &free, |state, _| due_now(state, now));
        }
        Command::Retry { reroute: true } => reroute(&mut next, selected, None, now),
        Command::Reroute(route) => reroute(&mut next, selected, Some(route), now),
        Command::Reschedule { at, spread } => each(&mut next, selected, |state, _| {
            state.due = at.plus(spread.mul_f64(fastrand::f64()));
            state.parked = None;
        }),
    }
    (next != *record).then(|| Next::Record(Box::new(next)))
}

fn is_held(record: &Record, index: u32) -> bool {
    record.held.is_some() || record.recipients.iter().any(|r| r.index == index && r.state.held.is_some())
}

fn each(record: &mut Record, selected: &[u32], mut change: impl FnMut(&mut super::RecipientState, u32)) {
    for recipient in record.recipients.iter_mut().filter(|r| selected.contains(&r.index)) {
        change(&mut recipient.state, recipient.index);
    }
}

fn due_now(state: &mut super::RecipientState, now: Timestamp) {
    state.due = state.due.min(now);
}

/// These are held no more; where the message was held as a whole, the others stay so one by one.
fn free(record: &mut Record, selected: &[u32]) {
    let whole = record.held.take();
    for recipient in &mut record.recipients {
        if selected.contains(&recipient.index) {
            recipient.state.held = None;
        } else if let Some(why) = &whole {
            recipient.state.held = Some(Arc::clone(why));
        }
    }
}

/// An MX hop without a domain means the recipient's.
fn own(route: &Arc<Route>, domain: &Domain) -> Arc<Route> {
    let is_open = |hop: &NextHop| matches!(hop, NextHop::Mx(of) if of.is_empty());
    if !route.hops.iter().any(is_open) {
        return Arc::clone(route);
    }
    let mut route = Route::clone(route);
    route.hops.iter_mut().filter(|hop| is_open(hop)).for_each(|hop| *hop = NextHop::Mx(domain.as_str().into()));
    Arc::new(route)
}

/// None: the route hook is asked.
fn reroute(record: &mut Record, selected: &[u32], to: Option<&Arc<Route>>, now: Timestamp) {
    for recipient in record.recipients.iter_mut().filter(|r| selected.contains(&r.index)) {
        recipient.state.last.take_if(|last| last.kind == OutcomeKind::Permanent && last.stage == Stage::Queue);
        recipient.route = to.map(|route| own(route, &recipient.mailbox.domain));
        recipient.state.reroute = to.is_none();
        due_now(&mut recipient.state, now);
    }
}

/// The outcome of recipients that an operator gives up: as if a plugin had refused them, so that the sender is told.
pub(super) fn refusal(recipient: u32, why: &str, at: Timestamp) -> Outcome {
    let plain: String = why.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(400).collect();
    let reply = Reply::new(554, Status::new(5, 3, 0), plain);
    let (kind, stage) = (OutcomeKind::Permanent, Stage::Queue);
    Outcome { recipient, kind, stage, reply: Some(reply), error: None, remote: None, remote_endpoint: None, at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queue::tests::{START, record};

    fn after(record: &Record, selected: &[u32], command: &Command) -> Option<Record> {
        match after_command(record, selected, command, START)? {
            Next::Gone => None,
            Next::Record(next) => Some(*next),
        }
    }

    #[test]
    fn only_the_selected_recipients_are_touched() {
        let two = record(1, &["a@x.test", "b@y.test"]);
        let held = after(&two, &[1], &Command::Hold("why".into())).unwrap();
        assert_eq!((held.held.clone(), held.recipients[0].state.held.clone()), (None, None));
        assert_eq!(held.recipients[1].state.held.as_deref(), Some("why"));
        assert!(!held.is_held() && held.due() == Some(START));
        let whole = after(&two, &[0, 1], &Command::Hold("all".into())).unwrap();
        let released = after(&whole, &[0], &Command::Release).unwrap();
        assert_eq!((released.held.clone(), released.recipients[0].state.held.clone()), (None, None));
        assert_eq!(released.recipients[1].state.held.as_deref(), Some("all"));
        let dropped = after(&two, &[0], &Command::Remove).unwrap();
        assert_eq!(dropped.recipients.iter().map(|r| r.index).collect::<Vec<_>>(), [1]);
        let bounced = after(&whole, &[1], &Command::Bounce("spam \u{7}é".into())).unwrap();
        assert!(bounced.recipients[1].state.is_refused() && !bounced.recipients[0].state.is_refused());
        assert_eq!(bounced.recipients[0].state.held.as_deref(), Some("all"), "the other stays held");
        let reply = bounced.recipients[1].state.last.clone().unwrap().reply.unwrap();
        assert_eq!(reply.to_string(), "554 5.3.0 spam ??");
    }

    #[test]
    fn a_new_time_is_spread_and_never_before() {
        let one = record(1, &["a@x.test"]);
        let (at, spread) = (START.plus(Duration::from_secs(60)), Duration::from_secs(3600));
        for _ in 0..100 {
            let next = after(&one, &[0], &Command::Reschedule { at, spread }).unwrap();
            let due = next.recipients[0].state.due;
            assert!(due >= at && due <= at.plus(spread));
        }
    }

    #[test]
    fn what_changes_nothing_is_not_written() {
        let mut one = record(1, &["a@x.test"]);
        let later = START.plus(Duration::from_secs(600));
        one.recipients[0].state.due = later;
        assert!(after(&one, &[0], &Command::Release).is_none(), "it is not held, and waits its time");
        let held = after(&one, &[0], &Command::Hold("why".into())).unwrap();
        assert!(after(&held, &[0], &Command::Retry { reroute: false }).is_none(), "what is held stays held");
        assert_eq!(after(&held, &[0], &Command::Release).unwrap().due(), Some(START));
        one.recipients[0].state.due = START;
        assert!(after(&one, &[0], &Command::Retry { reroute: false }).is_none());
        assert!(after(&one, &[0], &Command::Release).is_none());
    }
}
