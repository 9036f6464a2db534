//! The stored form of a queued message: versioned, checksummed, the same on every machine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hooks::{Endpoint, Outcome, OutcomeKind, Past, Protocol, Route, Stage};
use crate::mail::{Annotations, BodyKind, Mailbox, Param, QueueId, Requests, ReversePath};
use crate::time::Timestamp;

/// Everything about a queued message but its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: QueueId,
    /// When the relay took it.
    pub arrived: Timestamp,
    /// Where it came from; none for messages that the relay made.
    pub origin: Option<Origin>,
    /// Reverse-path.
    pub sender: ReversePath,
    /// Parameters of MAIL: RET, ENVID and others, verbatim.
    pub sender_params: Vec<Param>,
    /// What the body may hold.
    pub body_kind: BodyKind,
    /// It needs SMTPUTF8 onward.
    pub smtputf8: bool,
    /// Those not yet settled.
    pub recipients: Vec<QueuedRecipient>,
    /// What plugins left with it.
    pub annotations: Annotations,
    /// Labels.
    pub tags: Vec<Arc<str>>,
    /// Why it is held, if it is.
    pub held: Option<Arc<str>>,
    /// Octets of trace, header section and empty line.
    pub head_size: u32,
    /// Octets of the body.
    pub body_size: u64,
    /// Where head and body are.
    pub body: BodyPlace,
}

/// Where the content of a message is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyPlace {
    /// Head and body in the store.
    #[default]
    Inline,
    /// Head in the store, body in a spool file.
    File {
        /// Name of the file below the spool folder.
        name: Arc<str>,
        /// CRC-32 of the body.
        crc: u32,
    },
}

/// The session a message came through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Session id.
    pub session: Arc<str>,
    /// Listener.
    pub listener: Arc<str>,
    /// Client.
    pub client: Endpoint,
    /// Its confirmed name.
    pub client_name: Option<Arc<str>>,
    /// What it called itself.
    pub helo: Option<Arc<str>>,
    /// Protocol.
    pub protocol: Protocol,
    /// Authenticated as.
    pub identity: Option<Arc<str>>,
}

/// One recipient not yet settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRecipient {
    /// Index, unique within the message.
    pub index: u32,
    /// Where it goes.
    pub mailbox: Mailbox,
    /// As the client sent it.
    pub original: Mailbox,
    /// NOTIFY, ORCPT and others, verbatim.
    pub params: Vec<Param>,
    /// As a plugin routed it; none: by the relay's own table.
    pub route: Option<Arc<Route>>,
    /// When and how it stands.
    pub state: RecipientState,
}

/// How a recipient stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientState {
    /// When it is due.
    pub due: Timestamp,
    /// Attempts made.
    pub attempts: u32,
    /// A delay warning went out.
    pub warned: bool,
    /// The route hook is to be asked again.
    pub reroute: bool,
    /// Outcome of the last attempt.
    pub last: Option<Outcome>,
    /// Why this recipient is held, where others of the message are not.
    pub held: Option<Arc<str>>,
    /// The suspension whose end it waits for: its number.
    pub parked: Option<u32>,
    /// The last attempts, the oldest of them first; bounded.
    pub history: Vec<Past>,
}

/// Attempts remembered of a recipient.
const PAST: usize = 10;

/// Attempts remembered of all recipients of a message: its record is written at each attempt, and stays small.
const PAST_IN_ALL: usize = 200;

impl RecipientState {
    /// Never tried, and due then.
    pub fn new(due: Timestamp) -> Self {
        Self { due, ..Self::default() }
    }

    /// Remembers an attempt, of a message with so many recipients.
    pub(super) fn remember(&mut self, past: Past, recipients: usize) {
        let most = (PAST_IN_ALL / recipients.max(1)).clamp(1, PAST);
        let over = (self.history.len() + 1).saturating_sub(most);
        self.history.drain(..over);
        self.history.push(past);
    }

    /// True for a recipient that ends without an attempt when it is due: a plugin refused it before it was queued, or an
    /// operator had it bounced. Once tried or deferred, the last outcome is never a permanent one; and an operator who
    /// wants the route hook asked again wants it forgotten.
    pub fn is_refused(&self) -> bool {
        let refused = |last: &Outcome| last.kind == OutcomeKind::Permanent && last.stage == Stage::Queue;
        !self.reroute && self.last.as_ref().is_some_and(refused)
    }
}

impl QueuedRecipient {
    /// The recipient without its state.
    pub fn recipient(&self) -> crate::mail::Recipient {
        crate::mail::Recipient {
            index: self.index,
            mailbox: self.mailbox.clone(),
            original: self.original.clone(),
            params: self.params.clone(),
        }
    }
}

impl Record {
    /// When its time in the queue begins: when it arrived, or when the wait that its sender asked for was over.
    pub fn started(&self) -> Timestamp {
        let hold = Requests::of(&self.sender_params).hold;
        hold.map_or(self.arrived, |hold| hold.ends(self.arrived))
    }

    /// When the next recipient is due; none where there is none, or all of them are held.
    pub fn due(&self) -> Option<Timestamp> {
        let free = self.recipients.iter().filter(|r| r.state.held.is_none() && self.held.is_none());
        free.map(|r| r.state.due).min()
    }

    /// True if none of it is tried until it is released.
    pub fn is_held(&self) -> bool {
        self.held.is_some() || (!self.recipients.is_empty() && self.recipients.iter().all(|r| r.state.held.is_some()))
    }

    /// How long it may stay in the queue, where a plugin said so: the annotation `expires-after`, such as `2h`.
    pub fn expires_after(&self) -> Option<std::time::Duration> {
        let note = self.annotations.iter().find(|(_, key, _)| *key == "expires-after");
        note.and_then(|(_, _, note)| super::duration(&note.value)).map(std::time::Duration::from_secs)
    }

    /// Octets of the content.
    pub fn size(&self) -> u64 {
        u64::from(self.head_size) + self.body_size
    }
}
