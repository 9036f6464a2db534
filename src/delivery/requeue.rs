//! Recipients whose route is to be asked for again: the route hook gets the message as the queue has it. And those that
//! it refused when the message arrived, or that an operator gave up.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use super::attempt::Attempt;
use super::dispatch::Dispatcher;
use super::job::Job;
use super::transmitted::{Reporting, local_outcome};
use crate::hooks::{
    Assignment, Hook, MessageFacts, Outcome, OutcomeKind, Route, RoutingPhase, RoutingVerdict, SenderAuthentication,
    Stage, Subject, TransactionFacts,
};
use crate::mail::Header;
use crate::queue::{Lease, QueuedRecipient, Record};
use crate::smtp::{Reply, Status};
use crate::store::Content;

/// Ends recipients that a plugin refused at arrival, or that an operator had bounced, with the outcome they came with.
pub(super) async fn end_refused(dispatcher: &Arc<Dispatcher>, lease: Lease) {
    let leased = lease.record.recipients.iter().filter(|r| lease.recipients.contains(&r.index));
    let outcomes = leased.filter_map(|r| r.state.last.clone().map(|last| Outcome { recipient: r.index, ..last }));
    let outcomes = outcomes.collect();
    conclude(dispatcher, lease, outcomes).await;
}

/// Asks for routes, and hands the recipients over: flagged ones by the answer, others as they were.
pub(super) async fn reroute(dispatcher: &Arc<Dispatcher>, lease: Lease) {
    let record = Arc::clone(&lease.record);
    let flagged: Vec<u32> = record
        .recipients
        .iter()
        .filter(|r| r.state.reroute && lease.recipients.contains(&r.index))
        .map(|r| r.index)
        .collect();
    let others = lease.recipients.iter().copied().filter(|index| !flagged.contains(index)).collect();
    let mut asked = None;
    for part in lease.split(vec![flagged.clone(), others]) {
        if part.recipients.iter().any(|index| flagged.contains(index)) {
            asked = Some(part);
        } else {
            let routes = record.recipients.iter().filter(|r| part.recipients.contains(&r.index));
            let routes = routes.map(|r| (r.index, dispatcher.route_of(r))).collect();
            dispatcher.hand_over_all(part, routes, false).await;
        }
    }
    if let Some(part) = asked {
        ask(dispatcher, part).await;
    }
}

async fn ask(dispatcher: &Arc<Dispatcher>, lease: Lease) {
    let hooks = dispatcher.hooks();
    let verdict = if hooks.listens(Hook::Route) {
        let content = match dispatcher.queue().content(&lease).await {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(queue_id = %lease.record.id, %error, "content can't be read for routing");
                let reply = Reply::new(451, Status::new(4, 3, 0), "the message can't be read from the queue now");
                return refuse(dispatcher, lease, OutcomeKind::Temporary, |_| Some(reply.clone())).await;
            }
        };
        hooks.route(subject(&lease, content), RoutingPhase::Requeue).await.1
    } else {
        RoutingVerdict::Proceed
    };
    match verdict {
        RoutingVerdict::Proceed => assign(dispatcher, lease, &[]).await,
        RoutingVerdict::Assign(groups) => assign(dispatcher, lease, &groups).await,
        RoutingVerdict::Reject(reply) => {
            refuse(dispatcher, lease, OutcomeKind::Permanent, |_| Some(reply.clone())).await;
        }
        RoutingVerdict::Tempfail(reply) => {
            refuse(dispatcher, lease, OutcomeKind::Temporary, |_| Some(reply.clone())).await;
        }
    }
}

/// Parts by assignment: a plugin's routes are stored with the recipients, the relay's own are not.
async fn assign(dispatcher: &Arc<Dispatcher>, lease: Lease, groups: &[crate::hooks::RouteGroup]) {
    let record = Arc::clone(&lease.record);
    let assigned = |index: u32| groups.iter().find(|g| g.recipients.contains(&index)).map(|g| &g.assignment);
    let (mut routed, mut own, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for recipient in record.recipients.iter().filter(|r| lease.recipients.contains(&r.index)) {
        match assigned(recipient.index) {
            Some(Assignment::Route(route)) => routed.push((recipient.index, Arc::clone(route))),
            Some(Assignment::Fail(_)) => failed.push(recipient.index),
            None => own.push((recipient.index, dispatcher.route_of(recipient))),
        }
    }
    let indexes = |routes: &[(u32, Arc<Route>)]| routes.iter().map(|(index, _)| *index).collect::<Vec<u32>>();
    for part in lease.split(vec![indexes(&routed), indexes(&own), failed]) {
        let is_of = |routes: &[(u32, Arc<Route>)]| routes.iter().any(|(index, _)| part.recipients.contains(index));
        if is_of(&routed) {
            dispatcher.hand_over_all(part, std::mem::take(&mut routed), true).await;
        } else if is_of(&own) {
            dispatcher.hand_over_all(part, std::mem::take(&mut own), false).await;
        } else {
            let reply = |index: u32| match assigned(index) {
                Some(Assignment::Fail(reply)) => Some(reply.clone()),
                _ => None,
            };
            refuse(dispatcher, part, OutcomeKind::Permanent, reply).await;
        }
    }
}

/// Ends recipients without an attempt.
async fn refuse(
    dispatcher: &Arc<Dispatcher>,
    lease: Lease,
    kind: OutcomeKind,
    reply: impl Fn(u32) -> Option<Reply> + Send,
) {
    let now = dispatcher.clock().now();
    let fallback = Reply::new(451, Status::new(4, 3, 5), "there is no route for this recipient now");
    let outcomes: Vec<Outcome> = lease
        .recipients
        .iter()
        .map(|&index| local_outcome(index, kind, Stage::Queue, reply(index).as_ref().unwrap_or(&fallback), now))
        .collect();
    conclude(dispatcher, lease, outcomes).await;
}

async fn conclude(dispatcher: &Dispatcher, lease: Lease, outcomes: Vec<Outcome>) {
    let job = Job::new(lease, Arc::default(), false);
    Attempt::new(dispatcher, job, "nowhere".into()).conclude(outcomes, Vec::new(), Reporting::Relayed).await;
}

fn subject(lease: &Lease, (head, body): (Bytes, Content)) -> Subject {
    let record = &*lease.record;
    let leased = record.recipients.iter().filter(|r| lease.recipients.contains(&r.index));
    let transaction = TransactionFacts {
        id: record.id,
        started_at: record.arrived,
        sender: record.sender.clone(),
        authentication: SenderAuthentication::of(record.sender.clone()),
        sender_params: record.sender_params.clone(),
        declared_size: None,
        body_kind: record.body_kind,
        smtputf8: record.smtputf8,
        recipients: Arc::new(leased.map(QueuedRecipient::recipient).collect()),
        next_index: record.recipients.iter().map(|r| r.index.saturating_add(1)).max().unwrap_or(0),
        annotations: record.annotations.clone(),
        tags: record.tags.clone(),
    };
    Subject {
        transaction: Some(Arc::new(transaction)),
        message: Some(Arc::new(message(record, head, body))),
        ..Subject::default()
    }
}

fn message(record: &Record, head: Bytes, body: Content) -> MessageFacts {
    let (section, separator) = match head.strip_suffix(b"\r\n") {
        // The empty line that ends a header section, or all of an empty one.
        Some(section) if section.is_empty() || section.ends_with(b"\r\n") => (head.slice(..section.len()), true),
        _ => (head, false),
    };
    // Messages of the relay's own making have no trace field of it.
    let section = if record.origin.is_some() { without_trace(section) } else { section };
    MessageFacts { received_at: record.arrived, header: Header::parse(section), separator, body }
}

/// Hooks see a header section without the relay's own trace field, the first one.
fn without_trace(section: Bytes) -> Bytes {
    if !section.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:")) {
        return section;
    }
    let ends = memmem::find_iter(&section, b"\r\n").map(|at| at + 2);
    let folded = |end: usize| matches!(section.get(end), Some(b' ' | b'\t'));
    let end = ends.into_iter().find(|end| !folded(*end)).unwrap_or(section.len());
    section.slice(end..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_received_field_is_hidden() {
        for (section, rest) in [
            ("Received: a\r\n\tb\r\n c\r\nReceived: d\r\n", "Received: d\r\n"),
            ("received: a\r\n", ""),
            ("Subject: a\r\nReceived: d\r\n", "Subject: a\r\nReceived: d\r\n"),
            ("", ""),
        ] {
            assert_eq!(without_trace(Bytes::from_static(section.as_bytes())), rest.as_bytes());
        }
    }
}
