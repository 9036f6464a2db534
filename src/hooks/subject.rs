//! What a running hook is about. Cheap to clone: everything large is shared, and changed by copy on write.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DeliveryFacts, SenderAuthentication};
use crate::mail::{Annotations, BodyKind, Header, Mailbox, Param, QueueId, Recipient, ReversePath};
use crate::smtp::Extensions;
use crate::store::Content;
use crate::time::Timestamp;

/// The facts at hand. Which of them are there depends on the hook; see [`super::Hooks`].
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Connect to message, and route at arrival.
    pub session: Option<Arc<SessionFacts>>,
    /// Mail to route.
    pub transaction: Option<Arc<TransactionFacts>>,
    /// Rcpt: not yet among the transaction's recipients.
    pub candidate: Option<Recipient>,
    /// Message and route.
    pub message: Option<Arc<MessageFacts>>,
    /// The delivery hooks.
    pub delivery: Option<Arc<DeliveryFacts>>,
    /// Rcpt: the relay's own rule refuses the candidate, and only a plugin that was granted it can accept.
    pub unauthorized: bool,
}

impl Subject {
    /// The message or transaction it is about.
    pub fn queue_id(&self) -> Option<QueueId> {
        self.transaction.as_ref().map(|t| t.id).or_else(|| self.delivery.as_ref().map(|d| d.id))
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// An IP address (IPv4-mapped ones as IPv4), or `unix:` and a path.
    pub address: Arc<str>,
    /// Zero for `unix:`.
    pub port: u16,
}

impl Endpoint {
    /// Of a TCP address.
    pub fn of(address: std::net::SocketAddr) -> Self {
        Self { address: address.ip().to_canonical().to_string().into(), port: address.port() }
    }
}

/// Which protocol the client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// It said HELO, or nothing yet.
    #[default]
    Smtp,
    /// It said EHLO.
    Esmtp,
    /// It said LHLO.
    Lmtp,
}

/// What protects a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub protocol: Arc<str>,
    /// `TLS13_AES_256_GCM_SHA384`.
    pub cipher: Arc<str>,
    /// Server Name Indication.
    pub server_name: Option<Arc<str>>,
    /// The certificate that the client showed, at a listener that asks for one.
    #[serde(default)]
    pub client: Option<Arc<ClientCertificate>>,
    /// How the next hop proved who it is, where that was asked for: `dane` (RFC 7672), `certificate`.
    #[serde(default)]
    pub proof: Option<Arc<str>>,
    /// Channel binding `tls-exporter` (RFC 9266), 32 octets; only of connections to this relay. Never recorded.
    #[serde(skip, default)]
    pub exporter: Option<Arc<[u8]>>,
}

/// What a client showed at the handshake, in proof of who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// It verified against the authorities of the configuration.
    pub verified: bool,
    /// Distinguished name of the subject, as RFC 4514 writes it.
    pub subject: Arc<str>,
    /// DNS names of subjectAltName.
    pub dns_names: Vec<Arc<str>>,
    /// Mail addresses of subjectAltName.
    pub mailboxes: Vec<Arc<str>>,
    /// SHA-256 of the certificate.
    pub sha256: [u8; 32],
}

/// Who an authenticated client is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The registered name, such as `PLAIN`.
    pub mechanism: Arc<str>,
    /// Authentication identity.
    pub name: Arc<str>,
    /// Authorization identity, where it differs.
    pub acts_as: Option<Arc<str>>,
    /// What the back end knows beside.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
}

/// One client connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionFacts {
    /// Stable for the connection; in every log line.
    pub id: Arc<str>,
    /// Name of the listener in the configuration.
    pub listener: Arc<str>,
    /// When it was accepted.
    pub connected_at: Timestamp,
    /// The other end.
    pub client: Endpoint,
    /// This end.
    pub server: Endpoint,
    /// Forward-confirmed reverse name of the client.
    pub client_name: Option<Arc<str>>,
    /// As of the last HELO, EHLO or LHLO.
    pub protocol: Protocol,
    /// Its argument.
    pub helo: Option<Arc<str>>,
    /// Since STARTTLS, or from the start.
    pub tls: Option<TlsFacts>,
    /// Since AUTH.
    pub identity: Option<Identity>,
    /// The relay's own rules let this client relay anywhere.
    pub may_relay: bool,
    /// Transactions ended so far.
    pub transactions: u32,
    /// Recipients refused so far.
    pub refused_recipients: u32,
    /// Extensions that the hooks connect and helo had taken out of what is offered.
    #[serde(default)]
    pub withheld: Extensions,
    /// Notes of plugins, with the connection's life.
    pub notes: Annotations,
}

/// One mail transaction, from MAIL on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransactionFacts {
    /// Becomes the queue id.
    #[serde(with = "crate::mail::queue_id_text")]
    pub id: QueueId,
    /// When MAIL came.
    pub started_at: Timestamp,
    /// Reverse-path.
    pub sender: ReversePath,
    /// SPF, DKIM, DMARC and ARC of what the client sent, as far as somebody asked.
    #[serde(skip, default)]
    pub authentication: Arc<SenderAuthentication>,
    /// Parameters of MAIL.
    pub sender_params: Vec<Param>,
    /// `SIZE=`.
    pub declared_size: Option<u64>,
    /// `BODY=`.
    pub body_kind: BodyKind,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// Accepted so far; shared, since an edit of anything else is made on a copy of all this.
    pub recipients: Arc<Vec<Recipient>>,
    /// The index the next recipient gets.
    pub next_index: u32,
    /// What plugins left with the message.
    pub annotations: Annotations,
    /// Labels for logs and metrics.
    pub tags: Vec<Arc<str>>,
}

/// A message as it stands after the edits so far.
#[derive(Clone, Debug)]
pub struct MessageFacts {
    /// When its last octet came.
    pub received_at: Timestamp,
    /// Header section, without the relay's own trace field.
    pub header: Header,
    /// True if an empty line ends the header section; a message may lack one and its body.
    pub separator: bool,
    /// After the empty line.
    pub body: Content,
}

impl MessageFacts {
    /// Octets of header section, empty line and body.
    pub fn size(&self) -> u64 {
        self.header.block().len() as u64 + if self.separator { 2 } else { 0 } + self.body.len()
    }
}

impl TransactionFacts {
    /// Recipient by index.
    pub fn recipient(&self, index: u32) -> Option<&Recipient> {
        self.recipients.iter().find(|r| r.index == index)
    }

    /// The mailbox, for recipients that are rewritten.
    pub fn recipient_mailbox_mut(&mut self, index: u32) -> Option<&mut Mailbox> {
        Arc::make_mut(&mut self.recipients).iter_mut().find(|r| r.index == index).map(|r| &mut r.mailbox)
    }
}
