//! Mail that is handed in over the API, and what came of it.

use std::net::IpAddr;

use bytes::Bytes;

use crate::mail::Mailbox;

/// What is handed in.
#[derive(Clone, Debug)]
pub struct Mail {
    /// None: the null reverse-path.
    pub sender: Option<Mailbox>,
    /// At least one.
    pub recipients: Vec<Mailbox>,
    /// Header section and body.
    pub content: Bytes,
    /// Where it came from; none: the Unix socket.
    pub client: Option<IpAddr>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandedIn {
    /// In the queue, flushed.
    Taken {
        /// Its queue id.
        id: String,
        /// Recipients that were refused, each with the reply.
        refused: Vec<(String, String)>,
    },
    /// Not taken: the reply that an SMTP client would have got.
    Refused {
        /// With code and status.
        reply: String,
        /// True where another try makes sense.
        later: bool,
    },
}
