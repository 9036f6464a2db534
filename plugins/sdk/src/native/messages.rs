//! `messages`: the test's message as it stood when the hook was entered, and the edits of it.

use std::cell::{Cell, RefCell};

use super::mail::{Field, check_header, check_value};
use super::sessions::{facts, now};
use super::state::{At, HeaderEdit, State};
use super::{Handle, error, only_at};
use crate::{ErrorCode, HeaderField, HostError, Timestamp};

/// Octets of one read.
const READ_MAX: u32 = 256 * 1024;
/// Writers in one call.
const WRITERS_MAX: u32 = 4;

/// A message whose last octet has come.
#[derive(Debug)]
pub struct Message(pub(super) Handle);

/// Sequential reading.
#[derive(Debug)]
pub struct BodyReader {
    handle: Handle,
    raw: bool,
    at: Cell<usize>,
}

/// A new body on its way.
#[derive(Debug)]
pub struct BodyWriter {
    handle: Handle,
    octets: RefCell<Vec<u8>>,
}

impl Message {
    facts! {
        /// When its last octet came.
        received_at -> Timestamp = now;
        /// Header section, separator and body.
        size -> u32 = |s| s.subject.mail.size();
        /// Octets of the body.
        body_size -> u32 = |s| small(s.subject.mail.body.len());
        /// All header fields, top to bottom.
        headers -> Vec<HeaderField> = |s| fields(s, |_| true);
    }

    /// Those of that name, whatever its case.
    pub fn headers_named(&self, name: &str) -> Vec<HeaderField> {
        self.0.read(|state| fields(state, |field| field.name.eq_ignore_ascii_case(name)))
    }

    /// First field of that name, unfolded and RFC 2047-decoded.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.read(|state| {
            let mut fields = state.subject.mail.fields.iter();
            fields.find(|field| field.name.eq_ignore_ascii_case(name)).map(Field::decoded)
        })
    }

    /// Octets after the colon.
    ///
    /// # Errors
    /// `not-found`.
    pub fn raw_header(&self, index: u32) -> Result<Vec<u8>, HostError> {
        self.0.asked(|state| Ok(field(state, index)?.raw.clone().into_bytes()))
    }

    /// A new field above all others.
    ///
    /// # Errors
    /// `not-here` but at message; a name or a value that does not fit.
    pub fn prepend_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.edit(format!("prepend-header {name}: {value}"), |_| {
            check_header(name, value)?;
            Ok(HeaderEdit::Prepend(name.to_owned(), value.to_owned()))
        })
    }

    /// A new field below all others.
    ///
    /// # Errors
    /// `not-here` but at message; a name or a value that does not fit.
    pub fn append_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.edit(format!("append-header {name}: {value}"), |_| {
            check_header(name, value)?;
            Ok(HeaderEdit::Append(name.to_owned(), value.to_owned()))
        })
    }

    /// Another value for a field.
    ///
    /// # Errors
    /// `not-here` but at message; `not-found`; a value that does not fit.
    pub fn replace_header(&self, index: u32, value: &str) -> Result<(), HostError> {
        let name = self.0.asked(|state| Ok(field(state, index)?.name.clone()))?;
        self.edit(format!("replace-header {name}: {value}"), |_| {
            check_value(value)?;
            Ok(HeaderEdit::Replace(index, value.to_owned()))
        })
    }

    /// One field less.
    ///
    /// # Errors
    /// `not-here` but at message; `not-found`.
    pub fn remove_header(&self, index: u32) -> Result<(), HostError> {
        let name = self.0.asked(|state| Ok(field(state, index)?.name.clone()))?;
        self.edit(format!("remove-header {name}"), |_| Ok(HeaderEdit::Remove(index)))
    }

    /// Random access to the body.
    ///
    /// # Errors
    /// None but for a handle of an earlier call.
    pub fn read_body(&self, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        self.0.asked(|state| Ok(part(&state.subject.mail.body, offset as usize, max)))
    }

    /// A reader of the body.
    ///
    /// # Errors
    /// None but for a handle of an earlier call.
    pub fn open_body(&self) -> Result<BodyReader, HostError> {
        self.0.asked(|_| Ok(BodyReader { handle: self.0, raw: false, at: Cell::new(0) }))
    }

    /// A reader of header section, separator and body.
    ///
    /// # Errors
    /// None but for a handle of an earlier call.
    pub fn open_raw(&self) -> Result<BodyReader, HostError> {
        self.0.asked(|_| Ok(BodyReader { handle: self.0, raw: true, at: Cell::new(0) }))
    }

    /// A writer of a new body.
    ///
    /// # Errors
    /// `not-here` but at message; `exhausted` after the fourth.
    pub fn new_body(&self) -> Result<BodyWriter, HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Message])?;
            if state.call.writers >= WRITERS_MAX {
                return Err(error(ErrorCode::Exhausted, "a call has at most four writers"));
            }
            state.call.writers += 1;
            Ok(BodyWriter { handle: self.0, octets: RefCell::default() })
        })
    }

    /// Takes effect when the hook returns ok. The last one wins.
    ///
    /// # Errors
    /// `not-here` but at message.
    pub fn replace_body(&self, body: BodyWriter) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Message])?;
            state.call.body = Some(body.octets.into_inner());
            state.edit("replace-body".to_owned())
        })
    }

    fn edit(&self, words: String, make: impl FnOnce(&State) -> Result<HeaderEdit, HostError>) -> Result<(), HostError> {
        self.0.asked(|state| {
            only_at(state, &[At::Message])?;
            let edit = make(state)?;
            state.call.header_edits.push(edit);
            state.edit(words)
        })
    }
}

impl BodyReader {
    /// The next octets.
    ///
    /// # Errors
    /// None but for a handle of an earlier call.
    pub fn read(&self, max: u32) -> Result<Vec<u8>, HostError> {
        self.handle.asked(|state| {
            let octets = part(&self.whole(state), self.at.get(), max);
            self.at.set(self.at.get() + octets.len());
            Ok(octets)
        })
    }

    /// Passes over octets.
    ///
    /// # Errors
    /// None but for a handle of an earlier call.
    pub fn skip(&self, count: u32) -> Result<u32, HostError> {
        self.handle.asked(|state| {
            let left = self.whole(state).len().saturating_sub(self.at.get());
            let passed = left.min(count as usize);
            self.at.set(self.at.get() + passed);
            Ok(small(passed))
        })
    }

    fn whole(&self, state: &State) -> Vec<u8> {
        if self.raw { state.subject.mail.octets() } else { state.subject.mail.body.clone() }
    }
}

impl BodyWriter {
    /// Appends octets.
    ///
    /// # Errors
    /// `too-large` past the message-size limit.
    pub fn write(&self, bytes: &[u8]) -> Result<(), HostError> {
        self.handle.asked(|state| self.append(state, bytes))
    }

    /// Appends a text.
    ///
    /// # Errors
    /// `too-large` past the message-size limit.
    pub fn write_text(&self, text: &str) -> Result<(), HostError> {
        self.write(text.as_bytes())
    }

    /// Appends octets of the body as it stood when the hook was entered.
    ///
    /// # Errors
    /// `too-large` past the message-size limit.
    pub fn copy(&self, offset: u32, count: u32) -> Result<(), HostError> {
        self.handle.asked(|state| {
            let rest = state.subject.mail.body.get(offset as usize..).unwrap_or_default();
            self.append(state, rest.get(..count as usize).unwrap_or(rest))
        })
    }

    /// Octets so far.
    pub fn written(&self) -> u32 {
        self.handle.read(|_| small(self.octets.borrow().len()))
    }

    fn append(&self, state: &State, octets: &[u8]) -> Result<(), HostError> {
        let mut whole = self.octets.borrow_mut();
        if whole.len() + octets.len() > state.services.message_max {
            return Err(error(ErrorCode::TooLarge, "the body would pass the message-size limit"));
        }
        whole.extend_from_slice(octets);
        Ok(())
    }
}

fn part(octets: &[u8], offset: usize, max: u32) -> Vec<u8> {
    let rest = octets.get(offset..).unwrap_or_default();
    rest.get(..max.min(READ_MAX) as usize).unwrap_or(rest).to_vec()
}

fn fields(state: &State, wanted: impl Fn(&Field) -> bool) -> Vec<HeaderField> {
    let mail = &state.subject.mail;
    let numbered = mail.fields.iter().enumerate().filter(|(_, field)| wanted(field));
    let of = |(index, field): (usize, &Field)| HeaderField {
        index: small(index),
        name: field.name.clone(),
        value: field.unfolded(),
    };
    numbered.map(of).collect()
}

fn field(state: &State, index: u32) -> Result<&Field, HostError> {
    let found = state.subject.mail.fields.get(index as usize);
    found.ok_or_else(|| error(ErrorCode::NotFound, "no field has that index"))
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
