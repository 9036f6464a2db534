//! `deliveries`: an attempt, and the edits that hold for it alone.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::super::convert;
use super::super::state::{Delivery, State, dead, dead_trap, error};
use super::wit::deliveries::{
    Host, HostDelivery, Mailbox, NextHop, PastAttempt, Recipient, RecipientOutcome, Route, Timestamp,
};
use super::wit::types::{ErrorCode, HostError};
use super::{check_key, whose};
use crate::hooks::{DeliveryFacts, Edit, Hook};
use crate::mail::{HeaderEdit, ReversePath};

/// Fields put on top of one attempt by all plugins.
const PREPENDED_MAX: usize = 64;

impl State {
    fn delivery(&mut self, handle: &Resource<Delivery>) -> Option<&Arc<DeliveryFacts>> {
        self.rows.at(handle)?;
        self.subject.delivery.as_ref()
    }

    fn of_delivery<T>(&mut self, handle: &Resource<Delivery>, read: impl FnOnce(&DeliveryFacts) -> T) -> Result<T> {
        self.delivery(handle).map(|facts| read(facts)).ok_or_else(dead_trap)
    }

    fn edit_attempt(
        &mut self,
        handle: &Resource<Delivery>,
        hooks: &[Hook],
        make: impl FnOnce(&DeliveryFacts) -> Result<Edit, HostError>,
    ) -> Result<(), HostError> {
        let edit = make(self.delivery(handle).ok_or_else(dead)?);
        self.only_at(hooks)?;
        self.edit(edit?)
    }
}

impl Host for State {}

impl HostDelivery for State {
    fn queue_id(&mut self, this: Resource<Delivery>) -> Result<String> {
        self.of_delivery(&this, |d| d.id.to_string())
    }

    fn attempt(&mut self, this: Resource<Delivery>) -> Result<u32> {
        self.of_delivery(&this, |d| convert::small(d.attempts))
    }

    fn queued_at(&mut self, this: Resource<Delivery>) -> Result<Timestamp> {
        self.of_delivery(&this, |d| convert::timestamp(d.arrived))
    }

    fn expires_at(&mut self, this: Resource<Delivery>) -> Result<Timestamp> {
        self.of_delivery(&this, |d| convert::timestamp(d.expires))
    }

    fn sender(&mut self, this: Resource<Delivery>) -> Result<Option<Mailbox>> {
        self.of_delivery(&this, |d| convert::sender(&d.sender))
    }

    fn recipients(&mut self, this: Resource<Delivery>) -> Result<Vec<Recipient>> {
        self.charge()?;
        self.of_delivery(&this, |d| d.recipients.iter().map(convert::recipient).collect())
    }

    fn message_size(&mut self, this: Resource<Delivery>) -> Result<u32> {
        self.of_delivery(&this, |d| convert::small_u64(d.message_size))
    }

    fn route(&mut self, this: Resource<Delivery>) -> Result<Route> {
        self.of_delivery(&this, |d| convert::route(&d.route))
    }

    fn hop(&mut self, this: Resource<Delivery>) -> Result<NextHop> {
        self.of_delivery(&this, |d| convert::next_hop(&d.hop))
    }

    fn previous(&mut self, this: Resource<Delivery>) -> Result<Vec<RecipientOutcome>> {
        self.charge()?;
        self.of_delivery(&this, |d| d.previous.iter().map(|o| convert::outcome(o, None)).collect())
    }

    fn history(&mut self, this: Resource<Delivery>) -> Result<Vec<PastAttempt>> {
        self.charge()?;
        self.of_delivery(&this, |d| d.history.iter().map(|(index, past)| convert::past(*index, past)).collect())
    }

    fn set_sender(&mut self, this: Resource<Delivery>, sender: Option<Mailbox>) -> Result<Result<(), HostError>> {
        Ok(self.edit_attempt(&this, &[Hook::DeliveryAttempt], |d| {
            // Whether the message may carry UTF-8 addresses shows in those it has.
            let utf8 = d.recipients.iter().any(|r| !r.mailbox.local_part.is_ascii())
                || d.sender.0.as_ref().is_some_and(|s| !s.local_part.is_ascii());
            let sender = sender.map(|s| convert::to_mailbox(&s, utf8)).transpose().map_err(convert::invalid)?;
            Ok(Edit::SetSender(ReversePath(sender)))
        }))
    }

    fn prepend_header(
        &mut self,
        this: Resource<Delivery>,
        name: String,
        value: String,
    ) -> Result<Result<(), HostError>> {
        Ok(self.edit_attempt(&this, &[Hook::DeliveryAttempt], |d| {
            if d.prepended.len() >= PREPENDED_MAX {
                return Err(error(ErrorCode::Exhausted, "an attempt has at most 64 extra fields"));
            }
            let (name, value): (Arc<str>, Arc<str>) = (name.into(), value.into());
            let edit = HeaderEdit::Prepend { name: name.clone(), value: value.clone() };
            edit.check().map_err(|e| convert::invalid(e.to_string()))?;
            Ok(Edit::PrependForAttempt { name, value })
        }))
    }

    fn annotation(
        &mut self,
        this: Resource<Delivery>,
        plugin: Option<String>,
        key: String,
    ) -> Result<Result<Option<String>, HostError>> {
        let name = match whose(self, plugin) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let Some(facts) = self.delivery(&this) else { return Ok(Err(dead())) };
        Ok(Ok(facts.annotations.get(&name, &key).map(|note| note.value.to_string())))
    }

    fn set_annotation(
        &mut self,
        this: Resource<Delivery>,
        key: String,
        value: String,
    ) -> Result<Result<(), HostError>> {
        Ok(self.edit_attempt(&this, &[Hook::DeliveryAttempt, Hook::DeliveryResult], |_| {
            check_key(&key)?;
            Ok(Edit::Annotate { key: key.into(), value: Some(value.into()) })
        }))
    }

    fn drop(&mut self, this: Resource<Delivery>) -> Result<()> {
        self.rows.drop(&this);
        Ok(())
    }
}
