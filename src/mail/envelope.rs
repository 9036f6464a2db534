//! The envelope of one mail transaction (RFC 5321 section 2.3.1): recipients and ESMTP parameters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Mailbox;

/// One ESMTP parameter of MAIL or RCPT (RFC 5321 section 4.1.2), kept verbatim but for the keyword's case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// In upper case.
    pub keyword: Arc<str>,
    /// What followed `=`.
    pub value: Option<Arc<str>>,
}

/// What the body may hold (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyKind {
    /// `BODY=7BIT`, or no BODY parameter.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=BINARYMIME`.
    BinaryMime,
}

/// One forward-path with its parameters: the unit of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Never reused within a transaction.
    pub index: u32,
    /// Where the mail goes.
    pub mailbox: Mailbox,
    /// As the client sent it, before any rewriting.
    pub original: Mailbox,
    /// NOTIFY, ORCPT and whatever else RCPT carried.
    pub params: Vec<Param>,
}

impl Recipient {
    /// The value of a parameter, by its upper-case keyword.
    pub fn param(&self, keyword: &str) -> Option<&str> {
        param(&self.params, keyword)
    }
}

/// The value of a parameter in a list, by its upper-case keyword.
pub(crate) fn param<'a>(params: &'a [Param], keyword: &str) -> Option<&'a str> {
    params.iter().find(|p| &*p.keyword == keyword)?.value.as_deref()
}
