//! The stored form of a queued message: versioned, checksummed, the same on every machine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hooks::{Endpoint, Outcome, Protocol, Route};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// When the next recipient is due; none for a message without recipients.
    pub fn due(&self) -> Option<Timestamp> {
        self.recipients.iter().map(|r| r.state.due).min()
    }

    /// Octets of the content.
    pub fn size(&self) -> u64 {
        u64::from(self.head_size) + self.body_size
    }
}
