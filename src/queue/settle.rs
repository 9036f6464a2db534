//! Settling: what became of leased recipients, and the notices about it, in one atomic write.

use std::sync::Arc;

use super::accept::{Durable, Prepared, displace, later_place, may_be_embedded, removal, rewrite};
use super::backlog::{Backlog, Hot, Place};
use super::{
    BodyPlace, Change, Incoming, Lease, Queue, QueueError, QueuedRecipient, Record, Rules, Settled, Shared, keys,
    stored,
};
use crate::mail::{Annotations, QueueId};
use crate::store::{Content, Ticket, Write};
use crate::time::Timestamp;

impl Queue {
    /// Records what became of the recipients of a lease, and enqueues notices, all or nothing. Recipients of the lease
    /// that are not named are due again. Returns once the change is in the order of writes: what comes later sees it,
    /// and it is flushed within [`crate::store::Store::ride`]'s time. Leases of one message settle in any order.
    ///
    /// # Errors
    /// When nothing was recorded: all recipients of the lease are due again.
    pub async fn settle(
        &self,
        mut lease: Lease,
        settled: Vec<Settled>,
        annotations: Option<Annotations>,
        notices: Vec<Incoming>,
    ) -> Result<(), QueueError> {
        let mut prepared = Vec::with_capacity(notices.len());
        for notice in notices {
            prepared.push(self.shared.prepare(notice, Durable::AtOnce).await?);
        }
        for notice in &mut prepared {
            self.shared.claim_id(&mut notice.record);
        }
        // A first deferral moves the content from the fresh value to chunks of its own; see `keys`.
        let moved = self.shared.content_to_move(&lease, &settled).await;
        let done = moved.and_then(|moved| self.shared.record(&mut lease, &settled, annotations, &prepared, moved));
        if let Err(error) = done {
            let mut backlog = self.shared.backlog.lock();
            prepared.iter().for_each(|notice| backlog.arrived(notice.record.id));
            return Err(error);
        }
        self.shared.tidy_sometimes();
        Ok(())
    }
}

impl Shared {
    async fn content_to_move(self: &Arc<Self>, lease: &Lease, settled: &[Settled]) -> Result<Option<Hot>, QueueError> {
        let id = lease.record.id;
        let stays = |index: u32| !settled.iter().any(|s| s.recipient == index && matches!(s.change, Change::Gone));
        let wanted = {
            let backlog = self.backlog.lock();
            backlog
                .get(id)
                .filter(|a| a.place == Place::Fresh && a.hot.is_none() && may_be_embedded(&a.record))
                .is_some_and(|active| {
                    active.record.recipients.iter().any(|r| !lease.recipients.contains(&r.index) || stays(r.index))
                })
        };
        if !wanted {
            return Ok(None);
        }
        match self.content_of(id).await {
            Ok((head, body)) => Ok(Some(Hot { head, body })),
            Err(QueueError::Unknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One write for everything, and memory after it.
    fn record(
        &self,
        lease: &mut Lease,
        settled: &[Settled],
        annotations: Option<Annotations>,
        notices: &[Prepared],
        moved: Option<Hot>,
    ) -> Result<(), QueueError> {
        let (id, now) = (lease.record.id, self.clock.now());
        let mut writes = Vec::with_capacity(4);
        let mut places = Vec::with_capacity(notices.len());
        for notice in notices {
            let (place, more) = notice.writes(now);
            places.push(place);
            writes.extend(more);
        }
        let mut backlog = self.backlog.lock();
        // A message that an operator removed meanwhile has nothing to record; what its attempt said is still told.
        let before = backlog.get(id).map(|a| (Arc::clone(&a.record), a.place, a.hot.clone().or(moved)));
        // Under the lock: whoever lifts a suspension meets all that was parked for it before, and here no more is.
        let end = End { lease, settled, rules: &self.rules.load(), now };
        let after = match &before {
            Some((record, place, hot)) => end.changed(record, *place, hot.as_ref(), annotations, &mut writes)?,
            None => None,
        };
        let ticket = if writes.is_empty() { None } else { Some(self.store.ride(keys::TREE, writes)?) };
        lease.disarm();
        let mut news = !notices.is_empty();
        if let Some((record, _, _)) = before {
            news |= self.remember(&mut backlog, &record, after, ticket, &lease.recipients, now);
        }
        if let Some(ticket) = ticket {
            notices
                .iter()
                .zip(places)
                .for_each(|(notice, place)| self.notify(&mut backlog, notice, place, ticket, now));
        }
        drop(backlog);
        if news {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// What was written of a message, in memory too; true if there is news for those who lease.
    fn remember(
        &self,
        backlog: &mut Backlog,
        record: &Record,
        after: Option<(Arc<Record>, Place)>,
        ticket: Option<Ticket>,
        recipients: &[u32],
        now: Timestamp,
    ) -> bool {
        let (id, mut news) = (record.id, false);
        match (ticket, after) {
            (Some(ticket), Some((after, place))) => {
                backlog.holdings().turned(record, &after);
                let record = after;
                backlog.written(id, ticket, Some((Arc::clone(&record), place)), self.store.applied());
                backlog.give_back_as(id, recipients, record, place, now, &mut news);
            }
            (Some(ticket), None) => {
                backlog.written(id, ticket, None, self.store.applied());
                backlog.holdings().lost(record);
                let left = backlog.leave(id);
                news |= left.is_some() && backlog.wants_refill(now);
                // Before the handle is dropped: it stays open for the next message.
                if let BodyPlace::File { name, .. } = &record.body {
                    self.spool.release(name, ticket);
                }
                drop(left);
            }
            (None, _) => news |= backlog.give_back(id, recipients, now),
        }
        news
    }

    /// A notice that rides with the settlement. Only what is in memory can be tried before the write is applied.
    fn notify(&self, backlog: &mut Backlog, notice: &Prepared, place: Place, ticket: Ticket, now: Timestamp) {
        let record = Arc::new(notice.record.clone());
        let id = record.id;
        backlog.arrived(id);
        backlog.holdings().gained(Some(&record));
        backlog.written(id, ticket, Some((Arc::clone(&record), place)), self.store.applied());
        if backlog.would_keep(&notice.hot) {
            backlog.admit(record, place, Some(notice.hot.clone()), notice.file.clone(), now);
        } else {
            backlog.on_disk(id, place);
        }
    }

    /// Gives spool files back in the background, when there are any.
    pub(super) fn tidy_sometimes(&self) {
        if self.spool.is_untidy()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let spool = self.spool.clone();
            // Nobody waits for it: what it does can as well be done by the next draft.
            let _background = runtime.spawn_blocking(move || spool.tidy());
        }
    }
}

/// The end of a lease.
struct End<'a> {
    lease: &'a Lease,
    settled: &'a [Settled],
    rules: &'a Rules,
    now: Timestamp,
}

impl End<'_> {
    /// What was settled of the recipients leased, but for those that were to wait for a suspension that is over by now: they are
    /// due again.
    fn mine(&self) -> impl Iterator<Item = &Settled> {
        let over = |change: &Change| matches!(change, Change::Park { rule, .. } if !self.rules.has(*rule, self.now));
        self.settled.iter().filter(move |s| self.lease.recipients.contains(&s.recipient) && !over(&s.change))
    }

    /// The record after a settlement and the writes that make it so. None: nobody is left.
    fn changed(
        &self,
        before: &Arc<Record>,
        place: Place,
        hot: Option<&Hot>,
        annotations: Option<Annotations>,
        writes: &mut Vec<Write>,
    ) -> Result<Option<(Arc<Record>, Place)>, QueueError> {
        let gone = |index: u32| self.mine().any(|s| s.recipient == index && matches!(s.change, Change::Gone));
        if before.recipients.iter().all(|r| gone(r.index)) {
            removal(before, place, writes);
            return Ok(None);
        }
        let mut record = Record::clone(before);
        let annotated = annotations.is_some();
        if let Some(annotations) = annotations {
            record.annotations = annotations;
        }
        record.recipients.retain(|r| !gone(r.index));
        let recipients = record.recipients.len();
        // The common case costs no look at each.
        let as_leased = Arc::ptr_eq(before, &self.lease.record);
        for settled in self.mine() {
            if let Some(recipient) = record.recipients.iter_mut().find(|r| r.index == settled.recipient) {
                let asked = !as_leased && was_asked(recipient, &self.lease.record);
                apply(recipient, settled, recipients, asked);
            }
        }
        if self.mine().next().is_none() && !annotated {
            return Ok(Some((Arc::new(record), place)));
        }
        let next = move_to(&record, place, hot, writes)?;
        Ok(Some((Arc::new(record), next)))
    }
}

/// Whether an operator said, while the recipient was leased, when it is due or which way it goes: nobody else changes either then.
fn was_asked(recipient: &QueuedRecipient, leased: &Record) -> bool {
    let way = |r: &QueuedRecipient| (r.state.due, r.route.clone(), r.state.reroute);
    leased.recipients.iter().find(|r| r.index == recipient.index).is_some_and(|before| way(before) != way(recipient))
}

/// Writes that bring a changed record to where it belongs now.
pub(super) fn move_to(
    record: &Record,
    place: Place,
    hot: Option<&Hot>,
    writes: &mut Vec<Write>,
) -> Result<Place, QueueError> {
    let next = later_place(record);
    if next != place {
        displace(record.id, place, writes);
    }
    if place == Place::Fresh && may_be_embedded(record) {
        let missing = || QueueError::Damaged(record.id, "its content is not at hand".into());
        let hot = hot.ok_or_else(missing)?;
        match (&hot.body, &record.body) {
            (Content::Memory(body), BodyPlace::Inline) => stored::chunks(record.id, &hot.head, body, writes),
            _ => stored::chunks(record.id, &hot.head, &[], writes),
        }
    }
    rewrite(record, next, writes);
    Ok(next)
}

/// `asked`: an operator said meanwhile when it is due, or which way it goes; that holds.
fn apply(recipient: &mut QueuedRecipient, settled: &Settled, recipients: usize, asked: bool) {
    let state = &mut recipient.state;
    // An operator had it bounced while the attempt was under way: that holds, and it is due already.
    let refused = state.is_refused();
    if settled.outcome.is_some() && !refused {
        state.last.clone_from(&settled.outcome);
    }
    if let Change::Park { at, rule } = settled.change
        && !refused
        && !asked
    {
        (state.due, state.parked) = (at, Some(rule));
    }
    if let Change::Retry { at, counted, route, warned } = &settled.change {
        if !refused && !asked {
            state.due = *at;
        }
        state.attempts = state.attempts.saturating_add(u32::from(*counted));
        if let Some(past) = &settled.past {
            state.remember(past.clone(), recipients);
        }
        state.warned |= *warned;
        state.parked = None;
        if asked {
            return;
        }
        if let Some(route) = route {
            recipient.route = Some(Arc::clone(route));
        }
        // The route hook was asked, or the attempt would not have been made.
        state.reroute &= !(*counted || route.is_some());
    }
}

impl super::backlog::Backlog {
    fn give_back_as(
        &mut self,
        id: QueueId,
        recipients: &[u32],
        record: Arc<Record>,
        place: Place,
        now: Timestamp,
        news: &mut bool,
    ) {
        // In this order: while they are leased the message can't leave the window.
        *news |= self.replace(id, record, place, now);
        *news |= self.give_back(id, recipients, now);
    }
}
