//! One attempt: some recipients of one message, one next hop. Prepare (give-up time, attempt hook), send, finish
//! (result hook, settlement). One snapshot of configuration and hooks holds from the first step to the last, and
//! whatever happens on the way, the lease is settled or dropped.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Config;
use super::counted::Ended;
use super::dispatch::Dispatcher;
use super::give_up;
use super::job::Job;
use super::lane::Lane;
use super::limits::Reach;
use super::manners;
use super::settle::{self, Case, Ending};
use super::transmit::{self, Line, Mail};
use super::transmitted::{Contact, Reporting, Transmitted, local_outcome};
use super::trials::Turn;
use super::warmth::Counted;
use crate::history::Finished;
use crate::hooks::{
    AttemptVerdict, DeliveryFacts, Disposition, Hook, Hooks, NextHop, Outcome, OutcomeKind, Route, Stage, Subject,
};
use crate::mail::Recipient;
use crate::pulse::Tally;
use crate::queue::{Change, Lease, Record, Schedule, Settled, hop_text};
use crate::smtp::{Reply, Status};
use crate::store::Content;
use crate::time::Timestamp;

/// What the worker does after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next job.
    Next,
    /// Leave: the next hop lets no more connections in, and others are open.
    Leave,
}

/// An attempt under way. It lives in a box: each function that it is moved through would have room for it, all the while.
pub(super) struct Attempt<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) config: Arc<Config>,
    pub(super) hooks: Arc<Arc<dyn Hooks>>,
    pub(super) lease: Lease,
    pub(super) route: Arc<Route>,
    pub(super) fresh: bool,
    pub(super) recipients: Arc<[Recipient]>,
    /// Built once a hook needs them.
    pub(super) facts: Option<Arc<DeliveryFacts>>,
    pub(super) next_hop: Arc<str>,
    /// Head and body, if they were read ahead.
    content: Option<(Bytes, Content)>,
    /// The next hop is left alone until then.
    not_before: Option<Timestamp>,
    /// Held until it is over.
    turn: Option<Turn>,
    /// What was counted for it, where its source is in warm-up.
    pub(super) counted: Option<Box<Counted>>,
    /// The hop of the route that the outcomes are about, how long that took, and what was said.
    hop: Option<NextHop>,
    took: Duration,
    dialogue: Option<Arc<str>>,
    span: tracing::Span,
}

impl<'a> Attempt<'a> {
    /// With the snapshots of this moment.
    pub(super) fn new(dispatcher: &'a Dispatcher, job: Job, next_hop: Arc<str>) -> Box<Self> {
        let Job { lease, route, fresh, asked, turn, counted } = job;
        let span = tracing::info_span!("attempt", queue_id = %lease.record.id, next_hop = &*next_hop);
        let recipients = leased(&lease);
        let (config, hooks) = (dispatcher.config(), dispatcher.hooks());
        let (content, not_before, hop, took, dialogue, facts) = (None, None, None, Duration::ZERO, None, asked);
        Box::new(Self {
            dispatcher,
            config,
            hooks,
            lease,
            route,
            fresh,
            recipients,
            facts,
            next_hop,
            content,
            not_before,
            turn,
            counted,
            hop,
            took,
            dialogue,
            span,
        })
    }

    /// First step: give-up time, rest of the next hop, attempt hook. None: the recipients are settled already, or due
    /// again.
    pub(super) async fn prepare(self: Box<Self>, lane: &Lane, connected: bool) -> Option<Box<Self>> {
        let span = self.span.clone();
        self.prepare_inside(lane, connected).instrument(span).await
    }

    async fn prepare_inside(mut self: Box<Self>, lane: &Lane, connected: bool) -> Option<Box<Self>> {
        if self.dispatcher.is_paused() {
            return None;
        }
        // Since it was handed to the lane. Due again, they are looked at anew.
        let (queue, lease) = (self.dispatcher.queue(), &self.lease);
        if !lease.stands() || !queue.suspended(&lease.record, &lease.recipients).is_empty() {
            return None;
        }
        let now = self.dispatcher.clock().now();
        if let Some(outcomes) = self.expired(now) {
            Box::pin(self.conclude(outcomes, Vec::new(), Reporting::Relayed)).await;
            return None;
        }
        if !connected && let Some((left, trouble)) = lane.rest(Instant::now()) {
            let reply = Reply::new(450, Status::new(4, 4, 1), "the next hop could not be reached a moment ago");
            let mut outcomes = self.all(OutcomeKind::Temporary, Stage::Connect, &reply, now);
            self.not_before = Some(now.plus(manners::spread(left, fastrand::f64())));
            outcomes.iter_mut().for_each(|outcome| outcome.error.clone_from(&trouble));
            Box::pin(self.conclude(outcomes, Vec::new(), Reporting::Relayed)).await;
            return None;
        }
        if !self.may_leave() {
            Box::pin(self.postpone(now, None)).await;
            return None;
        }
        for unknown in self.config.unknown(&self.route) {
            tracing::warn!(next_hop = &*lane.name, "{unknown}: its mail goes as that of everybody");
        }
        if self.facts.is_none() && self.hooks.listens(Hook::DeliveryAttempt) {
            match self.ask().await {
                AttemptVerdict::Proceed => {}
                verdict => {
                    Box::pin(self.turned_away(verdict, now)).await;
                    return None;
                }
            }
        }
        Some(self)
    }

    /// Second step: sends it. `next`, whose content is at hand, follows over the same connection.
    pub(super) async fn send(
        &self,
        lane: &Arc<Lane>,
        next: Option<&Self>,
        slot: &mut Option<Box<Line>>,
    ) -> Transmitted {
        let next = next.map(Attempt::mail);
        let begun = Instant::now();
        let mail = self.mail();
        let sent = transmit::transmit(self.dispatcher, lane, &mail, next.as_ref(), slot);
        let mut done = sent.instrument(self.span.clone()).await;
        done.took = begun.elapsed();
        done
    }

    /// Third step: result hook, settlement.
    pub(super) async fn finish(
        self: Box<Self>,
        dispatcher: &Arc<Dispatcher>,
        lane: &Arc<Lane>,
        done: Transmitted,
    ) -> After {
        let span = self.span.clone();
        self.finish_inside(dispatcher, lane, done).instrument(span).await
    }

    async fn finish_inside(
        mut self: Box<Self>,
        dispatcher: &Arc<Dispatcher>,
        lane: &Arc<Lane>,
        done: Transmitted,
    ) -> After {
        match done.contact {
            Contact::Reached => {
                let served = manners::reached(lane, &self.config.shaping.backoff, &done.outcomes, Instant::now());
                dispatcher.spawn_workers(served);
            }
            Contact::Unreachable => {
                let (now, trouble) = (Instant::now(), done.outcomes.first().and_then(trouble));
                manners::hear(lane, &self.config.shaping.backoff, &done.outcomes, now);
                if lane.refused(now, trouble) == Reach::Enough {
                    lane.give_back(self.into_job());
                    return After::Leave;
                }
            }
            Contact::Impassable => {
                // What it says to a credential may be about how it is worked.
                manners::hear(lane, &self.config.shaping.backoff, &done.outcomes, Instant::now());
                lane.shut(Instant::now(), done.outcomes.first().and_then(trouble));
            }
            Contact::Early => {
                lane.give_back(self.into_job());
                return After::Leave;
            }
            // Another source may do better, and the next one to pick knows of it. Those of other hops are picked by nobody.
            Contact::Sourceless => {
                let (sources, now) = (dispatcher.sources(), dispatcher.clock().now());
                let trouble = lane.key.source.as_ref().and_then(|source| sources.lock().trouble(source, now));
                if trouble.is_some() {
                    self.postpone(now, None).await;
                    return After::Next;
                }
            }
            Contact::None => {}
        }
        if let (Some(pulse), Some((_, tls))) = (dispatcher.pulse(), &done.remote) {
            Tally::count(if tls.is_some() { &pulse.tally().tls_out } else { &pulse.tally().plain_out });
        }
        let dispositions = self.tell(&done).await;
        (self.took, self.hop, self.dialogue) = (done.took, done.hop, done.dialogue);
        self.conclude(done.outcomes, dispositions, done.reporting).await;
        After::Next
    }

    /// Gets the content before it is needed. What can't be read is told of when it is sent.
    pub(super) async fn load(&mut self) {
        if self.content.is_none() {
            self.content = self.dispatcher.queue().content(&self.lease).await.ok();
        }
    }

    fn mail(&self) -> Mail<'_> {
        let record = &*self.lease.record;
        let (sender, prepended) = match &self.facts {
            Some(facts) => (&facts.sender, &*facts.prepended),
            None => (&record.sender, &[][..]),
        };
        Mail {
            config: &self.config,
            lease: &self.lease,
            record,
            recipients: &self.recipients,
            sender,
            prepended,
            route: &self.route,
            content: self.content.as_ref(),
        }
    }

    /// Asks the attempt hook.
    async fn ask(&mut self) -> AttemptVerdict {
        let facts = self.facts.take().unwrap_or_else(|| self.known());
        let subject = Subject { delivery: Some(facts), ..Subject::default() };
        let (subject, verdict) = self.hooks.delivery_attempt(subject).await;
        self.keep(subject);
        verdict
    }

    /// Asks the result hook.
    async fn tell(&mut self, done: &Transmitted) -> Vec<Disposition> {
        if !self.hooks.listens(Hook::DeliveryResult) {
            return Vec::new();
        }
        let mut facts = self.facts.take().unwrap_or_else(|| self.known());
        let known = Arc::make_mut(&mut facts);
        if let Some(hop) = &done.hop {
            known.hop = hop.clone();
        }
        if let Some((remote, tls)) = &done.remote {
            known.remote = Some(remote.clone());
            known.tls.clone_from(tls);
        }
        let subject = Subject { delivery: Some(facts), ..Subject::default() };
        let (subject, dispositions) = self.hooks.delivery_result(subject, done.outcomes.as_slice().into()).await;
        self.keep(subject);
        dispositions
    }

    fn keep(&mut self, subject: Subject) {
        if let Some(facts) = subject.delivery {
            self.facts = Some(facts);
        }
    }

    /// The attempt hook said no. No attempt was made, so only giving up is final.
    async fn turned_away(self: Box<Self>, verdict: AttemptVerdict, now: Timestamp) {
        let expired = self.expires() <= now;
        match verdict {
            AttemptVerdict::HoldSeconds(secs) if !expired => {
                let at = now.plus(Duration::from_secs(secs.max(1).into())).min(self.expires());
                tracing::info!(secs, "held back by a plugin");
                self.postpone(at, None).await;
            }
            AttemptVerdict::Reroute(route) if self.dispatcher.may_reroute(self.lease.record.id, now) => {
                tracing::info!("rerouted by a plugin");
                self.postpone(now, Some(route)).await;
            }
            AttemptVerdict::Fail(reply) => {
                let outcomes = self.all(OutcomeKind::Permanent, Stage::Queue, &reply, now);
                self.conclude(outcomes, Vec::new(), Reporting::Relayed).await;
            }
            // Held back beyond the give-up time, or sent from one route to the next in a circle.
            AttemptVerdict::HoldSeconds(_) | AttemptVerdict::Reroute(_) | AttemptVerdict::Proceed => {
                let reply = Reply::new(451, Status::new(4, 3, 5), "a rule of this relay holds the message back");
                let outcomes = self.all(OutcomeKind::Temporary, Stage::Queue, &reply, now);
                self.conclude(outcomes, Vec::new(), Reporting::Relayed).await;
            }
        }
    }

    /// There is nothing to make the attempt from before `at`.
    pub(super) async fn put_off(mut self: Box<Self>, at: Timestamp, why: Arc<str>) {
        let now = self.dispatcher.clock().now();
        if let Some(outcomes) = self.expired(now) {
            return self.conclude(outcomes, Vec::new(), Reporting::Relayed).await;
        }
        self.not_before = Some(at.plus(manners::spread(Duration::ZERO, fastrand::f64())));
        let reply = Reply::new(451, Status::new(4, 3, 2), "the relay has no source to send from now");
        let mut outcomes = self.all(OutcomeKind::Temporary, Stage::Queue, &reply, now);
        outcomes.iter_mut().for_each(|outcome| outcome.error = Some(Arc::clone(&why)));
        self.conclude(outcomes, Vec::new(), Reporting::Relayed).await;
    }

    /// Settles all recipients for another time, without an attempt.
    async fn postpone(self: Box<Self>, at: Timestamp, route: Option<Arc<Route>>) {
        let route = route.or_else(|| self.fresh.then(|| Arc::clone(&self.route)));
        let settled = self.recipients.iter().map(|recipient| {
            let warned = self.lease.record.recipients.iter().any(|r| r.index == recipient.index && r.state.warned);
            let change = Change::Retry { at, counted: false, route: route.clone(), warned };
            Settled { recipient: recipient.index, change, outcome: None, past: None }
        });
        let settled = settled.collect();
        let annotations = self.annotations();
        self.dispatcher.settle(self.lease, settled, annotations, Vec::new()).await;
    }

    /// Decides what becomes of each recipient, makes the notices, settles.
    pub(super) async fn conclude(
        mut self: Box<Self>,
        outcomes: Vec<Outcome>,
        dispositions: Vec<Disposition>,
        reporting: Reporting,
    ) {
        let now = self.dispatcher.clock().now();
        let id = self.lease.record.id;
        // Else it has not left its source.
        if outcomes.iter().any(|outcome| outcome.stage != Stage::Queue) {
            self.counted.take().into_iter().for_each(|counted| counted.keep());
        }
        let ending = {
            let schedule = self.schedule();
            let case = Case {
                record: &self.lease.record,
                recipients: &self.recipients,
                schedule: &schedule,
                fresh: self.fresh.then_some(&self.route),
                reporting,
                next_hop: &self.next_hop,
                not_before: self.not_before,
                hop: self.hop.as_ref().or(self.route.hops.first()),
                took: self.took,
                now,
                random: fastrand::f64(),
            };
            settle::decide(&case, outcomes, &dispositions, &mut || self.dispatcher.may_reroute(id, now))
        };
        let Ending { settled, told, untold } = ending;
        let notices = super::notices::due(&self, told, untold, now).await;
        let annotations = self.annotations();
        let line = self.line(&settled, now);
        self.learn(&settled);
        if let Some(pulse) = self.dispatcher.pulse() {
            let took = self.hop.is_some().then_some(self.took);
            let (record, recipients, next_hop) = (&*self.lease.record, &*self.recipients, &*self.next_hop);
            Ended { record, recipients, next_hop, took, now }.count(pulse, &settled);
            Tally::add(&pulse.tally().notices, notices.len() as u64);
        }
        let dispatcher = self.dispatcher;
        if dispatcher.settle(self.lease, settled, annotations, notices).await
            && let (Some(history), Some(line)) = (dispatcher.history(), line)
        {
            history.tell(&line);
        }
    }

    /// Addresses that failed for good may be suppressed from now on.
    fn learn(&self, settled: &[Settled]) {
        let Some(list) = self.dispatcher.suppression().filter(|list| list.config().auto) else { return };
        let tenant = super::suppressed::tenant(&self.lease.record.annotations);
        for outcome in settled.iter().filter_map(|settled| settled.outcome.as_ref()) {
            let theirs = outcome.kind == OutcomeKind::Permanent && outcome.stage != Stage::Queue;
            let recipient = self.recipients.iter().find(|r| r.index == outcome.recipient);
            if let (true, Some(recipient), Some(reply)) = (theirs, recipient, &outcome.reply) {
                list.learn(tenant, &recipient.mailbox, reply.status, &reply.to_string());
            }
        }
    }

    /// What the history is told of those that leave the queue, if there is one.
    fn line(&self, settled: &[Settled], now: Timestamp) -> Option<Vec<u8>> {
        self.dispatcher.history().filter(|history| history.is_on())?;
        let hop = self.hop.as_ref().map(hop_text).unwrap_or_default();
        let (record, dialogue) = (&*self.lease.record, self.dialogue.as_deref());
        Finished { record, settled, hop: &hop, took: self.took, dialogue, now }.line()
    }

    /// An outcome without an attempt, for those whose time was up before they could be tried again.
    fn expired(&self, now: Timestamp) -> Option<Vec<Outcome>> {
        give_up::is_over(&self.config, &self.route, &self.lease, now).then(|| self.expiries(now))
    }

    /// Outcomes of those whose time is up.
    pub(super) fn expiries(&self, now: Timestamp) -> Vec<Outcome> {
        let record = &*self.lease.record;
        let outcomes = self.recipients.iter().map(|recipient| {
            let last = record.recipients.iter().find(|r| r.index == recipient.index).and_then(|r| r.state.last.clone());
            let reply = Reply::new(451, Status::new(4, 4, 7), "the give-up time has come");
            let fallback = || local_outcome(recipient.index, OutcomeKind::Expired, Stage::Queue, &reply, now);
            // The report shows what the next hop said last.
            last.map_or_else(fallback, |last| Outcome { kind: OutcomeKind::Expired, ..last })
        });
        outcomes.collect()
    }

    /// The route's schedule, hurried where somebody asked for it.
    fn schedule(&self) -> Cow<'_, Schedule> {
        give_up::schedule(&self.config, &self.route, &self.lease.record)
    }

    pub(super) fn expires(&self) -> Timestamp {
        let record = &*self.lease.record;
        self.schedule().expires(record.started(), record.sender.is_null())
    }

    /// The same outcome for all recipients.
    pub(super) fn all(&self, kind: OutcomeKind, stage: Stage, reply: &Reply, at: Timestamp) -> Vec<Outcome> {
        self.recipients.iter().map(|recipient| local_outcome(recipient.index, kind, stage, reply, at)).collect()
    }

    /// What the hooks are told of the attempt.
    pub(super) fn known(&self) -> Arc<DeliveryFacts> {
        if let Some(facts) = &self.facts {
            return Arc::clone(facts);
        }
        let record = &*self.lease.record;
        let states = || record.recipients.iter().filter(|r| self.lease.recipients.contains(&r.index));
        let nowhere = || crate::hooks::NextHop::Named("".into());
        Arc::new(DeliveryFacts {
            id: record.id,
            arrived: record.arrived,
            attempts: states().map(|r| r.state.attempts).max().unwrap_or(0),
            expires: self.expires(),
            sender: record.sender.clone(),
            recipients: Arc::clone(&self.recipients),
            message_size: record.size(),
            route: Arc::clone(&self.route),
            hop: self.route.hops.first().cloned().unwrap_or_else(nowhere),
            previous: states().filter_map(|r| r.state.last.clone()).collect(),
            history: states().flat_map(|r| r.state.history.iter().map(|past| (r.index, past.clone()))).collect(),
            remote: None,
            tls: None,
            annotations: Arc::new(record.annotations.clone()),
            prepended: Arc::default(),
        })
    }

    /// The annotations, if plugins changed them.
    fn annotations(&self) -> Option<crate::mail::Annotations> {
        let now = &*self.facts.as_ref()?.annotations;
        (*now != self.lease.record.annotations).then(|| now.clone())
    }

    /// As it was, but for what the attempt hook left.
    pub(super) fn into_job(self: Box<Self>) -> Job {
        let Self { lease, route, fresh, facts: asked, turn, counted, .. } = *self;
        Job { lease, route, fresh, asked, turn, counted }
    }
}

/// What went wrong, for those who get no attempt because of it.
fn trouble(outcome: &Outcome) -> Option<Arc<str>> {
    match (&outcome.reply, &outcome.error) {
        (Some(reply), Some(error)) => Some(format!("{reply} ({error})").into()),
        (Some(reply), None) => Some(reply.to_string().into()),
        (None, error) => error.clone(),
    }
}

/// The leased recipients of a record.
fn leased(lease: &Lease) -> Arc<[Recipient]> {
    let Record { recipients, .. } = &*lease.record;
    recipients.iter().filter(|r| lease.recipients.contains(&r.index)).map(|r| r.recipient()).collect()
}
