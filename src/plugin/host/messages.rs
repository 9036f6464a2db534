//! `messages`: header fields, body, and the edits of both. Reading shows the message as the hook found it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mail_parser::parsers::MessageStream;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::super::convert;
use super::super::new_body::NewBody;
use super::super::state::{Message, ReadAt, Reader, Row, State, Writer, dead, dead_trap, error};
use super::wit::messages::{HeaderField, Host, HostBodyReader, HostBodyWriter, HostMessage};
use super::wit::types::{ErrorCode, HostError, Timestamp};
use crate::hooks::{Edit, Hook, MessageFacts};
use crate::mail::{BodyKind, Field, HeaderEdit};
use crate::store::StoreError;

/// Octets of one read: large enough to spare calls, small enough for a guest's heap.
const READ_MAX: u32 = 256 * 1024;

impl State {
    fn message(&mut self, handle: &Resource<Message>) -> Option<&Arc<MessageFacts>> {
        self.rows.at(handle)?;
        self.entered_message()
    }

    /// The message as the hook found it. Header edits are not made on the view of a call; a replaced body is.
    fn entered_message(&self) -> Option<&Arc<MessageFacts>> {
        self.entered.as_ref().or(self.subject.message.as_ref())
    }

    fn of_message<T>(&mut self, handle: &Resource<Message>, read: impl FnOnce(&MessageFacts) -> T) -> Result<T> {
        self.message(handle).map(|facts| read(facts)).ok_or_else(dead_trap)
    }

    fn edit_header(&mut self, handle: &Resource<Message>, edit: HeaderEdit) -> Result<(), HostError> {
        let fields = self.message(handle).ok_or_else(dead)?.header.len();
        self.only_at(&[Hook::Message])?;
        if let HeaderEdit::Replace { index, .. } | HeaderEdit::Remove { index } = &edit
            && *index >= fields
        {
            return Err(error(ErrorCode::NotFound, "no field has that index"));
        }
        self.edit(Edit::Header(edit))
    }

    /// The body is not made of lines (RFC 3030 section 3).
    fn is_binary(&self) -> bool {
        self.subject.transaction.as_ref().is_some_and(|t| t.body_kind == BodyKind::BinaryMime)
    }

    fn open(&mut self, handle: &Resource<Message>, raw: bool) -> Result<Resource<Reader>, HostError> {
        let message = self.message(handle).ok_or_else(dead)?;
        let head = if raw { head_of(message) } else { Bytes::new() };
        let reader = ReadAt { head, body: message.body.clone(), at: 0 };
        self.rows.push(Row::Reader(reader))
    }

    fn reader(&mut self, handle: &Resource<Reader>) -> Option<&mut ReadAt> {
        match self.rows.at(handle)? {
            Row::Reader(reader) => Some(reader),
            _ => None,
        }
    }

    /// Takes the body out for as long as it is written to, if `more` octets still fit.
    fn take_body(&mut self, handle: &Resource<Writer>, more: u64) -> Result<NewBody, HostError> {
        let limit = self.shared.message_max;
        let Some(Row::Writer(slot)) = self.rows.at(handle) else { return Err(dead()) };
        let body = slot.take().ok_or_else(|| error(ErrorCode::Unavailable, "an earlier write failed"))?;
        if body.len().saturating_add(more) > limit {
            *slot = Some(body);
            return Err(error(ErrorCode::TooLarge, "the body would pass the message-size limit"));
        }
        Ok(body)
    }

    /// Puts a body back after a write that went well; one that did not is gone.
    fn put_body(
        &mut self,
        handle: &Resource<Writer>,
        body: NewBody,
        written: Result<(), StoreError>,
    ) -> Result<(), HostError> {
        written.map_err(|e| unavailable(&e))?;
        if let Some(Row::Writer(slot)) = self.rows.at(handle) {
            *slot = Some(body);
        }
        Ok(())
    }

    async fn append(&mut self, handle: &Resource<Writer>, octets: &[u8]) -> Result<(), HostError> {
        let mut body = self.take_body(handle, octets.len() as u64)?;
        let written = body.append(octets).await;
        self.put_body(handle, body, written)
    }
}

/// Header section and separator.
fn head_of(message: &MessageFacts) -> Bytes {
    if !message.separator {
        return message.header.block().clone();
    }
    let mut head = BytesMut::from(&message.header.block()[..]);
    head.extend_from_slice(b"\r\n");
    head.freeze()
}

fn unavailable(why: &impl std::fmt::Display) -> HostError {
    tracing::warn!(target: "plugin", %why, "the store failed a plugin");
    error(ErrorCode::Unavailable, "the store can't be read or written now")
}

fn header_field(field: &Field<'_>) -> HeaderField {
    HeaderField { index: convert::small(field.index), name: field.name.to_owned(), value: field.unfolded() }
}

/// RFC 2047, with the charsets that mail-parser knows.
fn decoded(field: &Field<'_>) -> String {
    let mut line = field.unfolded().into_bytes();
    line.push(b'\n');
    MessageStream::new(&line).parse_unstructured().into_text().map(|text| text.trim().to_owned()).unwrap_or_default()
}

impl Host for State {}

impl HostBodyReader for State {
    async fn read(&mut self, this: Resource<Reader>, max: u32) -> Result<Result<Vec<u8>, HostError>> {
        self.charge()?;
        let Some(reader) = self.reader(&this) else { return Ok(Err(dead())) };
        let max = max.min(READ_MAX) as usize;
        let head_len = reader.head.len() as u64;
        let octets = if reader.at < head_len {
            let start = usize::try_from(reader.at).unwrap_or(usize::MAX);
            let end = start.saturating_add(max).min(reader.head.len());
            reader.head.get(start..end).map(Bytes::copy_from_slice).unwrap_or_default()
        } else {
            match reader.body.clone().read_at(reader.at - head_len, max).await {
                Ok(octets) => octets,
                Err(error) => return Ok(Err(unavailable(&error))),
            }
        };
        if let Some(reader) = self.reader(&this) {
            reader.at = reader.at.saturating_add(octets.len() as u64);
        }
        Ok(Ok(octets.into()))
    }

    fn skip(&mut self, this: Resource<Reader>, count: u32) -> Result<Result<u32, HostError>> {
        let Some(reader) = self.reader(&this) else { return Ok(Err(dead())) };
        let left = (reader.head.len() as u64).saturating_add(reader.body.len()).saturating_sub(reader.at);
        let passed = left.min(u64::from(count));
        reader.at = reader.at.saturating_add(passed);
        Ok(Ok(convert::small_u64(passed)))
    }

    fn drop(&mut self, this: Resource<Reader>) -> Result<()> {
        self.rows.drop(&this);
        Ok(())
    }
}

impl HostBodyWriter for State {
    async fn write(&mut self, this: Resource<Writer>, bytes: Vec<u8>) -> Result<Result<(), HostError>> {
        self.charge()?;
        Ok(self.append(&this, &bytes).await)
    }

    async fn write_text(&mut self, this: Resource<Writer>, text: String) -> Result<Result<(), HostError>> {
        self.charge()?;
        Ok(self.append(&this, text.as_bytes()).await)
    }

    async fn copy(&mut self, this: Resource<Writer>, offset: u32, count: u32) -> Result<Result<(), HostError>> {
        self.charge()?;
        let Some(message) = self.entered_message() else { return Ok(Err(dead())) };
        let from = message.body.clone();
        let offset = u64::from(offset);
        let count = u64::from(count).min(from.len().saturating_sub(offset));
        let mut body = match self.take_body(&this, count) {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let written = if count == 0 { Ok(()) } else { body.copy(&from, offset, count).await };
        Ok(self.put_body(&this, body, written))
    }

    fn written(&mut self, this: Resource<Writer>) -> Result<u32> {
        match self.rows.at(&this) {
            Some(Row::Writer(body)) => Ok(convert::small_u64(body.as_ref().map_or(0, NewBody::len))),
            _ => Err(dead_trap()),
        }
    }

    fn drop(&mut self, this: Resource<Writer>) -> Result<()> {
        self.rows.drop(&this);
        Ok(())
    }
}

impl HostMessage for State {
    fn received_at(&mut self, this: Resource<Message>) -> Result<Timestamp> {
        self.of_message(&this, |m| convert::timestamp(m.received_at))
    }

    fn size(&mut self, this: Resource<Message>) -> Result<u32> {
        self.of_message(&this, |m| convert::small_u64(m.size()))
    }

    fn body_size(&mut self, this: Resource<Message>) -> Result<u32> {
        self.of_message(&this, |m| convert::small_u64(m.body.len()))
    }

    fn headers(&mut self, this: Resource<Message>) -> Result<Vec<HeaderField>> {
        self.charge()?;
        self.of_message(&this, |m| m.header.fields().map(|f| header_field(&f)).collect())
    }

    fn headers_named(&mut self, this: Resource<Message>, name: String) -> Result<Vec<HeaderField>> {
        self.charge()?;
        self.of_message(&this, |m| m.header.fields().filter(|f| f.is_named(&name)).map(|f| header_field(&f)).collect())
    }

    fn text(&mut self, this: Resource<Message>, name: String) -> Result<Option<String>> {
        self.charge()?;
        self.of_message(&this, |m| m.header.fields().find(|f| f.is_named(&name)).map(|f| decoded(&f)))
    }

    fn raw_header(&mut self, this: Resource<Message>, index: u32) -> Result<Result<Vec<u8>, HostError>> {
        self.charge()?;
        let Some(message) = self.message(&this) else { return Ok(Err(dead())) };
        let field = message.header.field(index);
        Ok(field.map(|f| f.raw.to_vec()).ok_or_else(|| error(ErrorCode::NotFound, "no field has that index")))
    }

    fn prepend_header(
        &mut self,
        this: Resource<Message>,
        name: String,
        value: String,
    ) -> Result<Result<(), HostError>> {
        Ok(self.edit_header(&this, HeaderEdit::Prepend { name: name.into(), value: value.into() }))
    }

    fn append_header(&mut self, this: Resource<Message>, name: String, value: String) -> Result<Result<(), HostError>> {
        Ok(self.edit_header(&this, HeaderEdit::Append { name: name.into(), value: value.into() }))
    }

    fn replace_header(&mut self, this: Resource<Message>, index: u32, value: String) -> Result<Result<(), HostError>> {
        Ok(self.edit_header(&this, HeaderEdit::Replace { index, value: value.into() }))
    }

    fn remove_header(&mut self, this: Resource<Message>, index: u32) -> Result<Result<(), HostError>> {
        Ok(self.edit_header(&this, HeaderEdit::Remove { index }))
    }

    async fn read_body(
        &mut self,
        this: Resource<Message>,
        offset: u32,
        max: u32,
    ) -> Result<Result<Vec<u8>, HostError>> {
        self.charge()?;
        let Some(message) = self.message(&this) else { return Ok(Err(dead())) };
        let body = message.body.clone();
        let read = body.read_at(u64::from(offset), max.min(READ_MAX) as usize).await;
        Ok(read.map(Vec::from).map_err(|e| unavailable(&e)))
    }

    fn open_body(&mut self, this: Resource<Message>) -> Result<Result<Resource<Reader>, HostError>> {
        Ok(self.open(&this, false))
    }

    fn open_raw(&mut self, this: Resource<Message>) -> Result<Result<Resource<Reader>, HostError>> {
        Ok(self.open(&this, true))
    }

    fn new_body(&mut self, this: Resource<Message>) -> Result<Result<Resource<Writer>, HostError>> {
        if self.message(&this).is_none() {
            return Ok(Err(dead()));
        }
        if let Err(error) = self.only_at(&[Hook::Message]).and_then(|()| self.room_for_a_writer()) {
            return Ok(Err(error));
        }
        let draft = self.shared.services.spool.draft();
        Ok(self.rows.push(Row::Writer(Some(NewBody::new(draft)))))
    }

    async fn replace_body(&mut self, this: Resource<Message>, body: Resource<Writer>) -> Result<Result<(), HostError>> {
        self.charge()?;
        if self.message(&this).is_none() {
            return Ok(Err(dead()));
        }
        if let Err(error) = self.only_at(&[Hook::Message]) {
            return Ok(Err(error));
        }
        let new = match self.take_body(&body, 0) {
            Ok(new) => new,
            Err(error) => return Ok(Err(error)),
        };
        self.rows.drop(&body);
        if let Some(fault) = new.fault().filter(|_| !self.is_binary()) {
            return Ok(Err(error(ErrorCode::InvalidArgument, fault)));
        }
        let eight_bit = new.is_eight_bit();
        let content = match new.finish().await {
            Ok(content) => content,
            Err(error) => return Ok(Err(unavailable(&error))),
        };
        if self.entered.is_none() {
            self.entered = self.subject.message.clone();
        }
        Ok(self.edit(Edit::ReplaceBody { body: content, eight_bit }))
    }

    fn drop(&mut self, this: Resource<Message>) -> Result<()> {
        self.rows.drop(&this);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Header;

    #[test]
    fn encoded_words_are_read_and_nonsense_is_kept() {
        let text = |value: &str| {
            let header = Header::parse(format!("Subject:{value}\r\n").into());
            decoded(&header.field(0).unwrap())
        };
        assert_eq!(text(" =?utf-8?q?J=C3=BCrgen?=\r\n =?utf-8?b?SGVsbG8=?="), "JürgenHello");
        assert_eq!(text(" plain  text "), "plain  text");
        assert_eq!(text(" =?utf-8?b?*?= =?x"), "=?utf-8?b?*?= =?x");
        assert_eq!(text(""), "");
    }
}
