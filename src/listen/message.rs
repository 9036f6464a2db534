//! The end of mail data: the message hook, the route hook, the trace field, and the queue. Only after the queue has
//! flushed is anything answered with 250 (RFC 5321 section 6.1).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::perform::insufficient_storage;
use super::serve::Serve;
use super::submission::Submission;
use super::trace::received;
use crate::hooks::{
    Assignment, Hook, MessageFacts, MessageVerdict, Outcome, OutcomeKind, RoutingPhase, RoutingVerdict, SessionFacts,
    Stage, Subject, TransactionFacts,
};
use crate::mail::{Param, QueueId, Recipient, Requests};
use crate::pulse::Tally;
use crate::queue::{BodyPlace, Incoming, Origin, OverQuota, QueueError, QueuedRecipient, RecipientState, Record};
use crate::session::MessageAnswer;
use crate::smtp::{Reply, Status};
use crate::store::StoreError;
use crate::time::Timestamp;

/// What the hooks left of a message that is to be kept.
pub(super) struct Decided {
    pub(super) session: Arc<SessionFacts>,
    pub(super) transaction: Arc<TransactionFacts>,
    pub(super) message: Arc<MessageFacts>,
    held: Option<Arc<str>>,
    assigned: HashMap<u32, Assignment>,
}

impl Serve {
    /// From the last octet to the answer.
    pub(crate) async fn take_message(&mut self, mut subject: Subject) -> MessageAnswer {
        let Some(draft) = self.draft.take() else {
            return MessageAnswer::Refused(insufficient_storage());
        };
        match draft.finish().await {
            Ok(body) => {
                if let Some(message) = subject.message.as_mut() {
                    let message = Arc::make_mut(message);
                    message.body = body;
                    message.received_at = self.reception.clock.now();
                }
                if let (Some(transaction), Some(message)) = (&subject.transaction, &mut subject.message) {
                    transaction.authentication.arrived(message);
                    // Only now: a signature may cover what is removed.
                    self.remove_forged_results(message);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "mail data can't be stored");
                return MessageAnswer::Refused(store_reply(&error));
            }
        }
        if self.config.submission
            && let Err(reply) = self.repair(&mut subject)
        {
            return MessageAnswer::Refused(reply);
        }
        match self.decide(subject).await {
            Ok(decided) => self.keep_message(decided).await,
            Err(answer) => answer,
        }
    }

    /// What was submitted is made whole before anybody else looks at it.
    fn repair(&self, subject: &mut Subject) -> Result<(), Reply> {
        let (Some(session), Some(transaction), Some(message)) =
            (&subject.session, &subject.transaction, &mut subject.message)
        else {
            return Ok(());
        };
        if session.identity.is_none() && !session.may_relay {
            return Ok(());
        }
        let (now, senders) = (self.reception.clock.now(), self.rules.senders.as_deref());
        let submission = Submission { session, transaction, hostname: &self.config.hostname, senders, now };
        let edits = submission.repair(&message.header)?;
        if !edits.is_empty() {
            let edited = message.header.edit(&edits).map_err(|error| {
                tracing::error!(%error, "a submitted message can't be repaired");
                local_error()
            })?;
            Arc::make_mut(message).header = edited;
        }
        Ok(())
    }

    /// The message hook, then the route hook.
    async fn decide(&self, subject: Subject) -> Result<Decided, MessageAnswer> {
        let (subject, verdict) = if self.hooks.listens(Hook::Message) {
            self.hooks.message(subject).await
        } else {
            (subject, MessageVerdict::Proceed)
        };
        let id = id_of(&subject);
        let held = match verdict {
            MessageVerdict::Proceed | MessageVerdict::Accept => None,
            MessageVerdict::Quarantine(why) => Some(why),
            MessageVerdict::Discard(why) => {
                tracing::info!(queue_id = %id, %why, record = "reception", outcome = "discarded", "message discarded by a plugin");
                return Err(MessageAnswer::Discarded(id));
            }
            MessageVerdict::Reject(reply) | MessageVerdict::Tempfail(reply) => {
                tracing::info!(queue_id = %id, %reply, record = "reception", outcome = "refused", "message refused by a plugin");
                return Err(MessageAnswer::Refused(reply));
            }
        };
        let (subject, assigned) = self.route(subject).await.map_err(MessageAnswer::Refused)?;
        match (subject.session, subject.transaction, subject.message) {
            (Some(session), Some(transaction), Some(message)) => {
                Ok(Decided { session, transaction, message, held, assigned })
            }
            _ => Err(MessageAnswer::Refused(local_error())),
        }
    }

    async fn route(&self, subject: Subject) -> Result<(Subject, HashMap<u32, Assignment>), Reply> {
        if !self.hooks.listens(Hook::Route) {
            return Ok((subject, HashMap::new()));
        }
        let (subject, verdict) = self.hooks.route(subject, RoutingPhase::Arrival).await;
        let groups = match verdict {
            RoutingVerdict::Proceed => Vec::new(),
            RoutingVerdict::Assign(groups) => groups,
            RoutingVerdict::Reject(reply) | RoutingVerdict::Tempfail(reply) => {
                let id = id_of(&subject);
                tracing::info!(queue_id = %id, %reply, record = "reception", outcome = "refused", "message refused by a plugin");
                return Err(reply);
            }
        };
        let assigned: HashMap<u32, Assignment> = groups
            .into_iter()
            .flat_map(|group| {
                let assignment = group.assignment;
                group.recipients.into_iter().map(move |index| (index, assignment.clone()))
            })
            .collect();
        // When nobody is left the client is told at once: a refusal is better than a bounce.
        let recipients = subject.transaction.as_ref().map_or(&[][..], |t| &t.recipients);
        let refused = |index: u32| match assigned.get(&index) {
            Some(Assignment::Fail(reply)) => Some(reply.clone()),
            _ => None,
        };
        let mut replies = recipients.iter().map(|r| refused(r.index));
        match replies.next() {
            Some(Some(first)) if replies.all(|r| r.is_some()) => {
                let id = id_of(&subject);
                tracing::info!(queue_id = %id, reply = %first, record = "reception", outcome = "refused", "a plugin failed every recipient");
                Err(first)
            }
            _ => Ok((subject, assigned)),
        }
    }

    async fn keep_message(&self, decided: Decided) -> MessageAnswer {
        let id = decided.transaction.id;
        if decided.transaction.recipients.is_empty() {
            tracing::info!(queue_id = %id, record = "reception", outcome = "discarded", "message discarded: a plugin removed every recipient");
            return MessageAnswer::Discarded(id);
        }
        let mut decided = decided;
        let refused = if self.config.lmtp { refused_by_route(&mut decided) } else { Vec::new() };
        let fields = match self.fields_on_top(&decided).await {
            Ok(fields) => fields,
            Err(reply) => return MessageAnswer::Refused(reply),
        };
        let started = decided.transaction.started_at;
        let incoming = incoming(decided, &fields, &self.config, self.reception.clock.now());
        let (size, recipients) = (incoming.head.len() as u64 + incoming.body.len(), incoming.record.recipients.len());
        let (sender, held) = (incoming.record.sender.clone(), incoming.record.held.is_some());
        let (tally, begun) = (self.reception.pulse.tally(), Instant::now());
        match self.reception.queue.accept(incoming).await {
            Ok(id) => {
                tally.accepts.observe(begun.elapsed());
                Tally::count(&tally.accepted);
                Tally::add(&tally.accepted_recipients, recipients as u64);
                Tally::add(&tally.accepted_octets, size);
                let took_ms = millis(self.reception.clock.now().since(started));
                tracing::info!(queue_id = %id, %sender, recipients, size, held, took_ms, record = "reception", outcome = "accepted", "accepted");
                MessageAnswer::Queued(id, refused)
            }
            Err(error) => {
                if let QueueError::OverQuota(over) = &error {
                    tracing::info!(queue_id = %id, %over, record = "reception", outcome = "deferred", "not accepted");
                    return MessageAnswer::Refused(over_quota(over));
                }
                tracing::error!(queue_id = %id, %error, record = "reception", outcome = "failed", "not accepted");
                MessageAnswer::Refused(match &error {
                    QueueError::Store(error) => store_reply(error),
                    _ => local_error(),
                })
            }
        }
    }
}

/// LMTP answers each recipient by itself: those that a plugin failed are told so, in place of a report.
fn refused_by_route(decided: &mut Decided) -> Vec<(u32, Reply)> {
    let failed = |index: u32| match decided.assigned.get(&index) {
        Some(Assignment::Fail(reply)) => Some((index, reply.clone())),
        _ => None,
    };
    let refused: Vec<_> = decided.transaction.recipients.iter().filter_map(|r| failed(r.index)).collect();
    if !refused.is_empty() {
        let transaction = Arc::make_mut(&mut decided.transaction);
        Arc::make_mut(&mut transaction.recipients).retain(|r| !refused.iter().any(|(index, _)| *index == r.index));
    }
    refused
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn id_of(subject: &Subject) -> QueueId {
    subject.transaction.as_ref().map_or(QueueId::from_u64(0), |t| t.id)
}

/// The message as the queue wants it, with the trace field of RFC 5321 section 4.4 on top, and the relay's other fields below.
fn incoming(decided: Decided, fields: &[u8], config: &crate::session::Config, now: Timestamp) -> Incoming {
    let Decided { session, transaction, message, held, assigned } = decided;
    let trace = received(&session, &transaction, &config.hostname, now);
    let block = message.header.block();
    let mut head = BytesMut::with_capacity(trace.len() + fields.len() + block.len() + 2);
    head.put_slice(trace.as_bytes());
    head.put_slice(fields);
    head.put_slice(block);
    if message.separator {
        head.put_slice(b"\r\n");
    }
    let transaction = Arc::unwrap_or_clone(transaction);
    let due = first_due(&transaction.sender_params, now);
    let recipients =
        Arc::unwrap_or_clone(transaction.recipients).into_iter().map(|r| queued(r, &assigned, due, now)).collect();
    let record = Record {
        id: transaction.id,
        arrived: now,
        origin: Some(origin(&session)),
        sender: transaction.sender,
        sender_params: transaction.sender_params,
        body_kind: transaction.body_kind,
        smtputf8: transaction.smtputf8,
        recipients,
        annotations: transaction.annotations,
        tags: transaction.tags,
        held,
        head_size: 0,
        body_size: 0,
        body: BodyPlace::Inline,
    };
    Incoming { record, head: Bytes::from(head), body: message.body.clone() }
}

/// When a message that arrives now is first due: at once, or when the wait that was asked for is over (RFC 4865). One that is to
/// go before others counts as having waited already (RFC 6710 section 5.1).
fn first_due(params: &[Param], now: Timestamp) -> Timestamp {
    const AHEAD: Duration = Duration::from_secs(600);
    let requests = Requests::of(params);
    match (requests.hold, requests.priority) {
        (Some(hold), _) => hold.ends(now),
        (None, Some(priority @ 1..)) => now.minus(AHEAD * u32::from(priority.unsigned_abs())),
        _ => now,
    }
}

fn queued(
    recipient: Recipient,
    assigned: &HashMap<u32, Assignment>,
    due: Timestamp,
    now: Timestamp,
) -> QueuedRecipient {
    let Recipient { index, mailbox, original, params } = recipient;
    let (route, last) = match assigned.get(&index) {
        Some(Assignment::Route(route)) => (Some(route.clone()), None),
        Some(Assignment::Fail(reply)) => (None, Some(refused(index, reply, now))),
        None => (None, None),
    };
    let state = RecipientState { last, ..RecipientState::new(due) };
    QueuedRecipient { index, mailbox, original, params, route, state }
}

/// A recipient that a plugin failed is queued as one whose last outcome is final: delivery reports it and lets it go.
fn refused(recipient: u32, reply: &Reply, at: Timestamp) -> Outcome {
    Outcome {
        recipient,
        kind: OutcomeKind::Permanent,
        stage: Stage::Queue,
        reply: Some(reply.clone()),
        error: None,
        remote: None,
        remote_endpoint: None,
        at,
    }
}

fn origin(session: &SessionFacts) -> Origin {
    Origin {
        session: session.id.clone(),
        listener: session.listener.clone(),
        client: session.client.clone(),
        client_name: session.client_name.clone(),
        helo: session.helo.clone(),
        protocol: session.protocol,
        identity: session.identity.as_ref().map(|identity| identity.name.clone()),
    }
}

fn store_reply(error: &StoreError) -> Reply {
    match error {
        StoreError::Full(_) => insufficient_storage(),
        StoreError::Closed => Reply::new(451, Status::new(4, 3, 2), "Shutting down, try again later"),
        StoreError::Broken(_) | StoreError::Damaged(_) => local_error(),
    }
}

/// It is the sender's own mail that is in the way, and it leaves with time.
pub(super) fn over_quota(over: &OverQuota) -> Reply {
    let text = format!("Too much mail of this {} is waiting here, try again later", over.per.word());
    Reply::new(452, Status::new(4, 3, 1), text)
}

pub(super) fn local_error() -> Reply {
    Reply::new(451, Status::new(4, 3, 0), "Local error in processing, try again later")
}
