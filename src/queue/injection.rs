//! Mail that comes by another way than a client's session, and what came of it. Plain data.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::mail::Mailbox;

/// What is handed in.
#[derive(Clone, Debug)]
pub struct Injection {
    /// None: the null reverse-path.
    pub sender: Option<Mailbox>,
    /// At least one.
    pub recipients: Vec<Mailbox>,
    /// Header section and body; line ends are mended.
    pub content: Bytes,
    /// Where it came from; none: from this machine.
    pub client: Option<IpAddr>,
    /// Who is known to have handed it in.
    pub by: Arc<str>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injected {
    /// In the queue, flushed.
    Taken {
        /// Its queue id.
        id: String,
        /// Recipients that were refused, each with the reply.
        refused: Vec<(String, String)>,
    },
    /// Not taken: the reply that an SMTP client would have got.
    Refused {
        /// With its code and status.
        reply: String,
        /// True where another try makes sense.
        later: bool,
    },
}
