//! The notices that an attempt's end calls for, as messages for the queue. Asks the bounce hook before a bounce.

use std::sync::Arc;

use bytes::Bytes;

use super::attempt::Attempt;
use crate::bounce::{self, Action, Frame, Notice, Original, RETURN_LIMIT, Reported};
use crate::hooks::{BounceEdit, BounceVerdict, Hook, Outcome, Subject};
use crate::mail::{Annotations, QueueId, ReversePath};
use crate::queue::{BodyPlace, Incoming, QueuedRecipient, RecipientState, Record};
use crate::time::Timestamp;

/// One notice for each kind of news.
pub(super) async fn due(attempt: &Attempt<'_>, told: Vec<(Action, Outcome)>, now: Timestamp) -> Vec<Incoming> {
    let (head, body) = content(attempt).await;
    let mut notices = Vec::new();
    let mut rest = told;
    while let Some(&(action, _)) = rest.first() {
        let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(other, _)| *other == action);
        rest = others;
        let outcomes: Arc<[Outcome]> = these.into_iter().map(|(_, outcome)| outcome).collect();
        let edit = if action == Action::Failed { ask(attempt, &outcomes).await } else { Some(BounceEdit::default()) };
        let Some(edit) = edit else { continue };
        let id = attempt.dispatcher.queue().next_id();
        let frame = Frame { hostname: &attempt.config.hostname, id, now };
        let record = &*attempt.lease.record;
        let original = Original {
            id: record.id,
            arrived: record.arrived,
            sender: &record.sender,
            sender_params: &record.sender_params,
            smtputf8: record.smtputf8,
            head: &head,
            body: body.as_deref(),
        };
        let reported: Vec<Reported<'_>> = outcomes
            .iter()
            .filter_map(|outcome| {
                let recipient = attempt.recipients.iter().find(|r| r.index == outcome.recipient)?;
                Some(Reported { recipient, outcome })
            })
            .collect();
        if let Some(notice) = bounce::notice(&original, action, &reported, &edit, frame) {
            tracing::info!(queue_id = %record.id, notice = %id, to = %notice.recipient, ?action, "notice made");
            notices.push(incoming(notice, id, now));
        }
    }
    notices
}

/// What the notices may return of the message: the head, and a body that is small enough. If it can't be read, the
/// notice still has to go out.
async fn content(attempt: &Attempt<'_>) -> (Bytes, Option<Bytes>) {
    let (head, body) = match attempt.dispatcher.queue().content(&attempt.lease).await {
        Ok(content) => content,
        Err(error) => {
            tracing::error!(%error, "content can't be read for a notice");
            return (Bytes::new(), None);
        }
    };
    if body.len() > RETURN_LIMIT {
        return (head, None);
    }
    let body = body.read_at(0, usize::try_from(RETURN_LIMIT).unwrap_or(usize::MAX)).await.ok();
    (head, body)
}

/// Asks the bounce hook; none: no bounce.
async fn ask(attempt: &Attempt<'_>, failed: &Arc<[Outcome]>) -> Option<BounceEdit> {
    if !attempt.hooks.listens(Hook::Bounce) {
        return Some(BounceEdit::default());
    }
    let subject = Subject { delivery: Some(attempt.known()), ..Subject::default() };
    let (_, verdict) = attempt.hooks.bounce(subject, Arc::clone(failed)).await;
    match verdict {
        BounceVerdict::Proceed => Some(BounceEdit::default()),
        BounceVerdict::Edit(edit) => Some(edit),
        BounceVerdict::Suppress(why) => {
            tracing::warn!(target: "audit", queue_id = %attempt.lease.record.id, recipients = failed.len(),
                reason = &*why, "bounce suppressed");
            None
        }
    }
}

fn incoming(notice: Notice, id: QueueId, now: Timestamp) -> Incoming {
    let recipient = QueuedRecipient {
        index: 0,
        original: notice.recipient.clone(),
        mailbox: notice.recipient,
        params: Vec::new(),
        route: None,
        state: RecipientState::new(now),
    };
    let record = Record {
        id,
        arrived: now,
        origin: None,
        sender: ReversePath(None),
        sender_params: Vec::new(),
        body_kind: notice.body_kind,
        smtputf8: notice.smtputf8,
        recipients: vec![recipient],
        annotations: Annotations::default(),
        tags: Vec::new(),
        held: None,
        head_size: u32::try_from(notice.head.len()).unwrap_or(u32::MAX),
        body_size: notice.body.len() as u64,
        body: BodyPlace::Inline,
    };
    Incoming { record, head: notice.head, body: crate::store::Content::Memory(notice.body) }
}
