//! `transactions`: the envelope and what plugins leave with it.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::super::convert;
use super::super::state::{State, Transaction, dead, dead_trap, error};
use super::wit::transactions::{BodyKind, EsmtpParam, Host, HostMailTransaction, Mailbox, Recipient, Timestamp};
use super::wit::types::{ErrorCode, HostError};
use super::{check_key, whose};
use crate::hooks::{Edit, Hook, TransactionFacts};
use crate::mail::ReversePath;

/// Tags of one message, by all plugins.
const TAGS_MAX: usize = 16;

impl State {
    fn transaction(&mut self, handle: &Resource<Transaction>) -> Option<&Arc<TransactionFacts>> {
        self.rows.at(handle)?;
        self.subject.transaction.as_ref()
    }

    fn of_transaction<T>(
        &mut self,
        handle: &Resource<Transaction>,
        read: impl FnOnce(&TransactionFacts) -> T,
    ) -> Result<T> {
        self.transaction(handle).map(|facts| read(facts)).ok_or_else(dead_trap)
    }

    /// Makes an edit through a live handle at one of the hooks that allow it.
    fn edit_envelope(
        &mut self,
        handle: &Resource<Transaction>,
        hooks: &[Hook],
        make: impl FnOnce(&TransactionFacts) -> Result<Edit, HostError>,
    ) -> Result<(), HostError> {
        let edit = make(self.transaction(handle).ok_or_else(dead)?);
        self.only_at(hooks)?;
        self.edit(edit?)
    }
}

impl Host for State {}

impl HostMailTransaction for State {
    fn id(&mut self, this: Resource<Transaction>) -> Result<String> {
        self.of_transaction(&this, |t| t.id.to_string())
    }

    fn started_at(&mut self, this: Resource<Transaction>) -> Result<Timestamp> {
        self.of_transaction(&this, |t| convert::timestamp(t.started_at))
    }

    fn sender(&mut self, this: Resource<Transaction>) -> Result<Option<Mailbox>> {
        self.of_transaction(&this, |t| convert::sender(&t.sender))
    }

    fn sender_params(&mut self, this: Resource<Transaction>) -> Result<Vec<EsmtpParam>> {
        self.charge()?;
        self.of_transaction(&this, |t| convert::params(&t.sender_params))
    }

    fn declared_size(&mut self, this: Resource<Transaction>) -> Result<Option<u32>> {
        self.of_transaction(&this, |t| t.declared_size.and_then(|size| i32::try_from(size).ok()).map(i32::unsigned_abs))
    }

    fn body_kind(&mut self, this: Resource<Transaction>) -> Result<BodyKind> {
        self.of_transaction(&this, |t| match t.body_kind {
            crate::mail::BodyKind::SevenBit => BodyKind::SevenBit,
            crate::mail::BodyKind::EightBitMime => BodyKind::EightBitMime,
            crate::mail::BodyKind::BinaryMime => BodyKind::BinaryMime,
        })
    }

    fn smtputf8(&mut self, this: Resource<Transaction>) -> Result<bool> {
        self.of_transaction(&this, |t| t.smtputf8)
    }

    fn recipients(&mut self, this: Resource<Transaction>) -> Result<Vec<Recipient>> {
        self.charge()?;
        self.of_transaction(&this, |t| t.recipients.iter().map(convert::recipient).collect())
    }

    fn set_sender(&mut self, this: Resource<Transaction>, sender: Option<Mailbox>) -> Result<Result<(), HostError>> {
        Ok(self.edit_envelope(&this, &[Hook::Mail, Hook::Message], |t| {
            let sender = sender.map(|s| convert::to_mailbox(&s, t.smtputf8)).transpose().map_err(convert::invalid)?;
            Ok(Edit::SetSender(ReversePath(sender)))
        }))
    }

    fn add_recipient(&mut self, this: Resource<Transaction>, mailbox: Mailbox) -> Result<Result<u32, HostError>> {
        let mut given = 0;
        let done = self.edit_envelope(&this, &[Hook::Message], |t| {
            given = t.next_index;
            let mailbox = convert::to_mailbox(&mailbox, t.smtputf8).map_err(convert::invalid)?;
            Ok(Edit::AddRecipient { index: given, mailbox })
        });
        Ok(done.map(|()| given))
    }

    fn remove_recipient(&mut self, this: Resource<Transaction>, index: u32) -> Result<Result<(), HostError>> {
        Ok(self.edit_envelope(&this, &[Hook::Message], |_| Ok(Edit::RemoveRecipient { index })))
    }

    fn rewrite_recipient(
        &mut self,
        this: Resource<Transaction>,
        index: u32,
        mailbox: Mailbox,
    ) -> Result<Result<(), HostError>> {
        Ok(self.edit_envelope(&this, &[Hook::Rcpt, Hook::Message], |t| {
            let mailbox = convert::to_mailbox(&mailbox, t.smtputf8).map_err(convert::invalid)?;
            Ok(Edit::RewriteRecipient { index, mailbox })
        }))
    }

    fn annotation(
        &mut self,
        this: Resource<Transaction>,
        plugin: Option<String>,
        key: String,
    ) -> Result<Result<Option<String>, HostError>> {
        let name = match whose(self, plugin) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let Some(facts) = self.transaction(&this) else { return Ok(Err(dead())) };
        Ok(Ok(facts.annotations.get(&name, &key).map(|note| note.value.to_string())))
    }

    fn set_annotation(
        &mut self,
        this: Resource<Transaction>,
        key: String,
        value: String,
    ) -> Result<Result<(), HostError>> {
        Ok(self.edit_envelope(&this, &ANNOTATING, |_| {
            check_key(&key)?;
            Ok(Edit::Annotate { key: key.into(), value: Some(value.into()) })
        }))
    }

    fn remove_annotation(&mut self, this: Resource<Transaction>, key: String) -> Result<Result<(), HostError>> {
        Ok(self.edit_envelope(&this, &ANNOTATING, |_| Ok(Edit::Annotate { key: key.into(), value: None })))
    }

    fn add_tag(&mut self, this: Resource<Transaction>, tag: String) -> Result<Result<(), HostError>> {
        Ok(self.edit_envelope(&this, &ANNOTATING, |t| {
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
            if !(1..=32).contains(&tag.len()) || !tag.bytes().all(good) {
                return Err(error(ErrorCode::InvalidArgument, "a tag has 1 to 32 of a-z, 0-9, -, _ and ."));
            }
            if t.tags.len() >= TAGS_MAX {
                return Err(error(ErrorCode::Exhausted, "a message has at most 16 tags"));
            }
            Ok(Edit::Tag(tag.into()))
        }))
    }

    fn drop(&mut self, this: Resource<Transaction>) -> Result<()> {
        self.rows.drop(&this);
        Ok(())
    }
}

const ANNOTATING: [Hook; 4] = [Hook::Mail, Hook::Rcpt, Hook::Message, Hook::Route];
