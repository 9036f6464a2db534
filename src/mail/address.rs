//! Mailboxes and paths (RFC 5321 section 4.1.2, RFC 6531 section 3.3), normalised as they are parsed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A domain as the relay keeps it: lower-case A-labels, or an address literal in brackets.
/// Empty only for a bare `postmaster` (RFC 5321 section 4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Domain(Arc<str>);

/// An envelope address. `local_part` is unquoted and keeps its case; it is rendered quoted where it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mailbox {
    /// Unquoted; UTF-8 only where SMTPUTF8 was negotiated.
    pub local_part: Arc<str>,
    /// Where it lives.
    pub domain: Domain,
}

/// The argument of MAIL: a mailbox, or the null reverse-path `<>` (RFC 5321 section 4.5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReversePath(pub Option<Mailbox>);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the grammar of RFC 5321 section 4.1.2.
    #[error("{0}")]
    Syntax(&'static str),
    /// Not ASCII, and the sender did not ask for SMTPUTF8 (RFC 6531 section 3.7.1).
    #[error("a non-ASCII address needs SMTPUTF8")]
    NotAscii,
    /// Longer than RFC 5321 section 4.5.3.1 allows.
    #[error("{0} is too long")]
    TooLong(&'static str),
}
