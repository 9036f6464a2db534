//! The header section of a message: its fields by position, and the edits that plugins may make.
//!
//! Octets are kept exactly as they came; an edit touches its own field and nothing else. The section is held in
//! memory whole, so it is bounded while it is received ([`super::HeaderSplitter`]). Nothing here interprets a value.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use super::fold::push_folded;
use super::splitter::{Line, classify};

/// A header section: every line ended by CRLF, without the empty line that separates it from the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    block: Bytes,
    fields: Arc<[FieldSpan]>,
}

/// Where one field lies in the block. Four octets a place: a section of 1 MiB may have 200,000 fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldSpan {
    pub(super) start: u32,
    /// Octets of the name.
    pub(super) name: u32,
    /// After the colon.
    pub(super) value: u32,
    /// After the CRLF that ends the field.
    pub(super) end: u32,
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
    /// All of its octets, from its name to its final CRLF.
    pub octets: &'a [u8],
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

/// A name must leave room for its colon in a line that no reader cuts (RFC 5322 section 2.1.1).
const NAME_MAX: usize = 78;
const VALUE_MAX: usize = 64 * 1024;

impl Header {
    /// Finds the fields of a section. Lines that belong to no field stay in the block and can't be addressed; a
    /// section that came through [`super::HeaderSplitter`] has none.
    pub fn parse(block: Bytes) -> Self {
        let mut fields: Vec<FieldSpan> = Vec::new();
        let mut start = 0;
        while let Some(rest) = block.get(start..).filter(|rest| !rest.is_empty()) {
            let end = start + line_length(rest);
            let line = block.get(start..end).unwrap_or_default();
            let Ok(until) = u32::try_from(end) else { break };
            match classify(line) {
                Line::Field { name, value } => {
                    let start = start as u32;
                    fields.push(FieldSpan { start, name, value: start + value, end: until });
                }
                Line::Continuation => {
                    if let Some(last) = fields.last_mut().filter(|last| last.end as usize == start) {
                        last.end = until;
                    }
                }
                Line::Blank | Line::Other => {}
            }
            start = end;
        }
        Self { block, fields: fields.into() }
    }

    pub(super) fn from_spans(block: Bytes, fields: Vec<FieldSpan>) -> Self {
        Self { block, fields: fields.into() }
    }

    /// The section's octets.
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// How many fields there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.fields.len()).unwrap_or(u32::MAX)
    }

    /// True without a field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// All fields, from the top.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().zip(0..).map(|(span, index)| self.view(span, index))
    }

    /// The field at a place.
    pub fn field(&self, index: u32) -> Option<Field<'_>> {
        self.fields.get(index as usize).map(|span| self.view(span, index))
    }

    /// The first field of a name.
    pub fn first(&self, name: &str) -> Option<Field<'_>> {
        self.fields().find(|field| field.is_named(name))
    }

    fn view(&self, span: &FieldSpan, index: u32) -> Field<'_> {
        let octets = |from: u32, to: u32| self.block.get(from as usize..to as usize).unwrap_or_default();
        let name = std::str::from_utf8(octets(span.start, span.start + span.name)).unwrap_or_default();
        let raw = octets(span.value, span.end);
        Field { index, name, raw: raw.strip_suffix(b"\r\n").unwrap_or(raw), octets: octets(span.start, span.end) }
    }

    /// The section with all edits made: in their order where two prepend or append, the later one where two change
    /// the same field.
    ///
    /// # Errors
    /// [`HeaderError`]; nothing was changed then.
    pub fn edit(&self, edits: &[HeaderEdit]) -> Result<Self, HeaderError> {
        for edit in edits {
            edit.check()?;
            if edit.index().is_some_and(|index| index >= self.len()) {
                return Err(HeaderError::Index);
            }
        }
        let mut block = Vec::with_capacity(self.block.len() + 128 * edits.len());
        for edit in edits.iter().rev() {
            if let HeaderEdit::Prepend { name, value } = edit {
                push_folded(&mut block, name, value);
            }
        }
        self.push_changed(&mut block, edits);
        for edit in edits {
            if let HeaderEdit::Append { name, value } = edit {
                push_folded(&mut block, name, value);
            }
        }
        Ok(Self::parse(block.into()))
    }

    /// The block with fields replaced and removed.
    fn push_changed(&self, out: &mut Vec<u8>, edits: &[HeaderEdit]) {
        let mut changes: Vec<(u32, &HeaderEdit)> = edits.iter().filter_map(|e| Some((e.index()?, e))).collect();
        changes.sort_by_key(|(index, _)| *index);
        let mut kept = 0;
        let mut changes = changes.into_iter().peekable();
        while let Some((index, change)) = changes.next() {
            if changes.peek().is_some_and(|(next, _)| *next == index) {
                continue;
            }
            let Some(span) = self.fields.get(index as usize) else { continue };
            out.extend_from_slice(self.block.get(kept..span.start as usize).unwrap_or_default());
            if let HeaderEdit::Replace { value, .. } = change {
                push_folded(out, self.view(span, index).name, value);
            }
            kept = span.end as usize;
        }
        out.extend_from_slice(self.block.get(kept..).unwrap_or_default());
    }
}

/// Octets up to and with the next CRLF, or all there are.
fn line_length(octets: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = octets.get(from..).and_then(|rest| memchr(b'\n', rest)) {
        let end = from + at;
        if end > 0 && octets.get(end - 1) == Some(&b'\r') {
            return end + 1;
        }
        from = end + 1;
    }
    octets.len()
}

impl Field<'_> {
    /// The value on one line, trimmed; what is no UTF-8 becomes U+FFFD.
    pub fn unfolded(&self) -> String {
        let text = String::from_utf8_lossy(self.raw);
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        // Unfolding removes the CRLF and nothing else (RFC 5322 section 2.2.3).
        if memchr(b'\n', text.as_bytes()).is_some() { text.replace("\r\n", "") } else { text.to_owned() }
    }

    /// Field names have no case.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl HeaderEdit {
    /// Name and value are such that no edit can break out of its field. The index is checked by [`Header::edit`].
    ///
    /// # Errors
    /// [`HeaderError::Name`] and [`HeaderError::Value`].
    pub fn check(&self) -> Result<(), HeaderError> {
        let (name, value) = match self {
            Self::Prepend { name, value } | Self::Append { name, value } => (Some(name), Some(value)),
            Self::Replace { value, .. } => (None, Some(value)),
            Self::Remove { .. } => (None, None),
        };
        let is_name = |name: &str| {
            (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| matches!(b, 33..=126) && b != b':')
        };
        let is_value = |value: &str| value.len() <= VALUE_MAX && !value.chars().any(|c| c.is_control() && c != '\t');
        if name.is_some_and(|name| !is_name(name)) {
            return Err(HeaderError::Name);
        }
        if value.is_some_and(|value| !is_value(value)) {
            return Err(HeaderError::Value);
        }
        Ok(())
    }

    fn index(&self) -> Option<u32> {
        match self {
            Self::Replace { index, .. } | Self::Remove { index } => Some(*index),
            Self::Prepend { .. } | Self::Append { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
