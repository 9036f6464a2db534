//! The first form of a record, before recipients were held one by one and attempts remembered: still read, no longer
//! written. Must never change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hooks::{Outcome, Route};
use crate::mail::{Annotations, BodyKind, Mailbox, Param, QueueId, ReversePath};
use crate::queue::{BodyPlace, Origin, QueuedRecipient, RecipientState};
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: QueueId,
    arrived: Timestamp,
    origin: Option<Origin>,
    sender: ReversePath,
    sender_params: Vec<Param>,
    body_kind: BodyKind,
    smtputf8: bool,
    recipients: Vec<Recipient>,
    annotations: Annotations,
    tags: Vec<Arc<str>>,
    held: Option<Arc<str>>,
    head_size: u32,
    body_size: u64,
    body: BodyPlace,
}

#[derive(Serialize, Deserialize)]
struct Recipient {
    index: u32,
    mailbox: Mailbox,
    original: Mailbox,
    params: Vec<Param>,
    route: Option<Arc<Route>>,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    due: Timestamp,
    attempts: u32,
    warned: bool,
    reroute: bool,
    last: Option<Outcome>,
}

impl From<Record> for crate::queue::Record {
    fn from(old: Record) -> Self {
        Self {
            id: old.id,
            arrived: old.arrived,
            origin: old.origin,
            sender: old.sender,
            sender_params: old.sender_params,
            body_kind: old.body_kind,
            smtputf8: old.smtputf8,
            recipients: old.recipients.into_iter().map(Recipient::now).collect(),
            annotations: old.annotations,
            tags: old.tags,
            held: old.held,
            head_size: old.head_size,
            body_size: old.body_size,
            body: old.body,
        }
    }
}

impl Recipient {
    fn now(self) -> QueuedRecipient {
        let Self { index, mailbox, original, params, route, state } = self;
        let State { due, attempts, warned, reroute, last } = state;
        let state = RecipientState { due, attempts, warned, reroute, last, ..RecipientState::default() };
        QueuedRecipient { index, mailbox, original, params, route, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::record;

    #[test]
    fn what_an_older_version_stored_is_read() {
        let now = record(7, &["a@example.net", "b@example.org"]);
        let recipients = now.recipients.iter().cloned().map(|r| Recipient {
            index: r.index,
            mailbox: r.mailbox,
            original: r.original,
            params: r.params,
            route: r.route,
            state: State { due: r.state.due, attempts: 3, warned: true, reroute: false, last: r.state.last },
        });
        let old = Record {
            id: now.id,
            arrived: now.arrived,
            origin: now.origin.clone(),
            sender: now.sender.clone(),
            sender_params: now.sender_params.clone(),
            body_kind: now.body_kind,
            smtputf8: now.smtputf8,
            recipients: recipients.collect(),
            annotations: now.annotations.clone(),
            tags: now.tags.clone(),
            held: Some("why".into()),
            head_size: 4,
            body_size: 4,
            body: BodyPlace::Inline,
        };
        let value = super::super::encode_as(1, &old, b"head", b"body");
        let (read, blob) = super::super::decode(&value).unwrap();
        assert_eq!(&blob[..], b"headbody");
        let mut wanted = now;
        (wanted.held, wanted.head_size, wanted.body_size) = (Some("why".into()), 4, 4);
        wanted.recipients.iter_mut().for_each(|r| (r.state.attempts, r.state.warned) = (3, true));
        assert_eq!(read, wanted);
    }
}
