//! The client side of SMTP and LMTP (RFC 5321, RFC 2033), as machines that do no I/O: replies go in, commands come out.
//!
//! [`Opener`] leads a connection from the greeting to the point where mail can be sent; [`Transaction`] sends one
//! message and knows what became of each recipient. May import `mail`, `smtp`, `hooks` and the rules of
//! [`super::outcome`]; must never read time, touch a socket, or let anything from an envelope out of its command line.

mod capabilities;
mod envelope;
mod opener;
mod scram;
mod transaction;

use std::sync::Arc;

use bytes::Bytes;

pub use capabilities::Capabilities;
pub use opener::{Next, OpenError, Opener, TlsUse};
pub use transaction::{Transaction, Wanted};

use crate::mail::{BodyKind, Header, HeaderEdit, Param, Recipient, Requests, ReversePath};
use crate::store::Content;
use crate::time::Timestamp;

/// A message on its way out: what one transaction sends.
#[derive(Clone, Copy, Debug)]
pub struct OutboundMail<'a> {
    /// Reverse-path.
    pub sender: &'a ReversePath,
    /// Whom it is for; results come in this order.
    pub recipients: &'a [Recipient],
    /// As declared when it was received.
    pub body_kind: BodyKind,
    /// As declared when it was received.
    pub smtputf8: bool,
    /// Octets of head and body, for the SIZE extension.
    pub size: u64,
    /// Parameters of MAIL; of them RET and ENVID are passed on.
    pub params: &'a [Param],
    /// Fields on top of the content, in order, for this attempt only.
    pub prepended: &'a [(Arc<str>, Arc<str>)],
    /// Trace field, header section and the empty line.
    pub head: &'a Bytes,
    /// What follows.
    pub body: &'a Content,
    /// What the sender asked of every relay on the way.
    pub terms: Terms,
}

/// How safe the connection at hand is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cover {
    /// Anybody on the way can read along.
    #[default]
    Plain,
    /// It is under TLS, with whom nobody knows.
    Encrypted,
    /// It is under TLS, and the certificate was found to be the host's.
    Verified,
}

/// What the sender asked of every relay, and what of it the connection at hand can keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// As the parameters of MAIL said.
    pub requests: Requests,
    /// How safe the connection is.
    pub cover: Cover,
    /// Nobody is told if the message comes back: it came with the null reverse-path.
    pub untold: bool,
    /// When the message arrived.
    pub arrived: Timestamp,
    /// The time of this attempt.
    pub now: Timestamp,
}

impl OutboundMail<'_> {
    /// The fields on top, in their wire form. They were checked when they were set; one that does not fit a header
    /// section all the same is left out.
    pub fn prepended(&self) -> Vec<u8> {
        let mut top = Vec::new();
        for (name, value) in self.prepended {
            let edit = HeaderEdit::Append { name: Arc::clone(name), value: Arc::clone(value) };
            if let Ok(field) = Header::default().edit(&[edit]) {
                top.extend_from_slice(field.block());
            }
        }
        top
    }

    /// It goes as one chunk (RFC 3030): octets that are no lines would not survive DATA.
    pub fn is_binary(&self) -> bool {
        self.body_kind == BodyKind::BinaryMime
    }

    fn wire_size(&self) -> u64 {
        // Without folding: RFC 1870 section 5 takes an estimate for good enough.
        let prepended: usize = self.prepended.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        self.size + prepended as u64
    }
}

#[cfg(test)]
mod tests;
