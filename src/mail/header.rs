//! The header section of a message: its fields by position, and the edits that plugins may make.
//!
//! Octets are kept exactly as they came; an edit touches its own field and nothing else. The section is held in
//! memory whole, so it is bounded while it is received.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A header section: every line ended by CRLF, without the empty line that separates it from the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    block: Bytes,
    fields: Arc<[FieldSpan]>,
}

impl Header {
    /// The section's octets.
    pub fn block(&self) -> &Bytes {
        &self.block
    }
}

/// Where one field lies in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldSpan {
    name: Range<usize>,
    /// After the colon, up to and with the CRLF that ends the field.
    value: Range<usize>,
}

/// One field, as seen in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its place, counted from zero at the top.
    pub index: u32,
    /// Field name, as received.
    pub name: &'a str,
    /// Octets after the colon, folding kept, without the final CRLF.
    pub raw: &'a [u8],
}

/// One edit. `index` counts fields of the section as it was before any edit of the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// A new field above all others.
    Prepend {
        /// Field name.
        name: Arc<str>,
        /// Unfolded value, without controls but tab.
        value: Arc<str>,
    },
    /// A new field below all others.
    Append {
        /// Field name.
        name: Arc<str>,
        /// Unfolded value, without controls but tab.
        value: Arc<str>,
    },
    /// Another value for a field.
    Replace {
        /// Which.
        index: u32,
        /// Unfolded value, without controls but tab.
        value: Arc<str>,
    },
    /// No such field any more.
    Remove {
        /// Which.
        index: u32,
    },
}

/// Why a section or an edit is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The section is larger than the limit it was received under.
    #[error("the header section is too large")]
    TooLarge,
    /// RFC 5322 section 2.2: printable ASCII but colon.
    #[error("a field name is 1 to 78 printable ASCII characters without a colon")]
    Name,
    /// A control character, or more than 64 KiB.
    #[error("a field value has no control characters but tab, and at most 64 KiB")]
    Value,
    /// There is no such field.
    #[error("no field has that index")]
    Index,
}

/// Cuts a stream of content into header section and body while it is received.
#[derive(Debug)]
pub struct HeaderSplitter {
    limit: usize,
}
