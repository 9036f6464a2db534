//! `sessions`: the client connection.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::super::convert;
use super::super::state::{Session, State, dead, dead_trap};
use super::wit::sessions::{Host, HostSmtpSession, Protocol};
use super::wit::types::{Endpoint, HostError, Identity, Timestamp, TlsInfo};
use super::{check_key, whose};
use crate::hooks::{Edit, Hook, SessionFacts};
use crate::smtp::Extension;

impl State {
    fn session(&mut self, handle: &Resource<Session>) -> Option<&Arc<SessionFacts>> {
        self.rows.at(handle)?;
        self.subject.session.as_ref()
    }

    fn of_session<T>(&mut self, handle: &Resource<Session>, read: impl FnOnce(&SessionFacts) -> T) -> Result<T> {
        self.session(handle).map(|facts| read(facts)).ok_or_else(dead_trap)
    }
}

impl Host for State {}

impl HostSmtpSession for State {
    fn id(&mut self, this: Resource<Session>) -> Result<String> {
        self.of_session(&this, |s| s.id.to_string())
    }

    fn listener(&mut self, this: Resource<Session>) -> Result<String> {
        self.of_session(&this, |s| s.listener.to_string())
    }

    fn connected_at(&mut self, this: Resource<Session>) -> Result<Timestamp> {
        self.of_session(&this, |s| convert::timestamp(s.connected_at))
    }

    fn client(&mut self, this: Resource<Session>) -> Result<Endpoint> {
        self.of_session(&this, |s| convert::endpoint(&s.client))
    }

    fn server(&mut self, this: Resource<Session>) -> Result<Endpoint> {
        self.of_session(&this, |s| convert::endpoint(&s.server))
    }

    fn client_name(&mut self, this: Resource<Session>) -> Result<Option<String>> {
        self.of_session(&this, |s| convert::text(&s.client_name))
    }

    fn protocol(&mut self, this: Resource<Session>) -> Result<Protocol> {
        self.of_session(&this, |s| match s.protocol {
            crate::hooks::Protocol::Smtp => Protocol::Smtp,
            crate::hooks::Protocol::Esmtp => Protocol::Esmtp,
            crate::hooks::Protocol::Lmtp => Protocol::Lmtp,
        })
    }

    fn helo(&mut self, this: Resource<Session>) -> Result<Option<String>> {
        self.of_session(&this, |s| convert::text(&s.helo))
    }

    fn tls(&mut self, this: Resource<Session>) -> Result<Option<TlsInfo>> {
        self.of_session(&this, |s| s.tls.as_ref().map(convert::tls_info))
    }

    fn identity(&mut self, this: Resource<Session>) -> Result<Option<Identity>> {
        self.of_session(&this, |s| s.identity.as_ref().map(convert::identity))
    }

    fn may_relay(&mut self, this: Resource<Session>) -> Result<bool> {
        self.of_session(&this, |s| s.may_relay)
    }

    fn transactions_so_far(&mut self, this: Resource<Session>) -> Result<u32> {
        self.of_session(&this, |s| convert::small(s.transactions))
    }

    fn refused_recipients_so_far(&mut self, this: Resource<Session>) -> Result<u32> {
        self.of_session(&this, |s| convert::small(s.refused_recipients))
    }

    fn note(
        &mut self,
        this: Resource<Session>,
        plugin: Option<String>,
        key: String,
    ) -> Result<Result<Option<String>, HostError>> {
        let name = match whose(self, plugin) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let Some(session) = self.session(&this) else { return Ok(Err(dead())) };
        Ok(Ok(session.notes.get(&name, &key).map(|note| note.value.to_string())))
    }

    fn set_note(&mut self, this: Resource<Session>, key: String, value: String) -> Result<Result<(), HostError>> {
        if self.session(&this).is_none() {
            return Ok(Err(dead()));
        }
        Ok(check_key(&key).and_then(|()| self.edit(Edit::Note { key: key.into(), value: value.into() })))
    }

    fn withhold_extension(&mut self, this: Resource<Session>, keyword: String) -> Result<Result<(), HostError>> {
        if self.session(&this).is_none() {
            return Ok(Err(dead()));
        }
        let known = || Extension::named(&keyword).ok_or_else(|| convert::invalid("there is no such extension here"));
        let allowed = self.only_at(&[Hook::Connect, Hook::Helo]);
        Ok(allowed.and_then(|()| known()).and_then(|extension| self.edit(Edit::Withhold(extension))))
    }

    fn drop(&mut self, this: Resource<Session>) -> Result<()> {
        self.rows.drop(&this);
        Ok(())
    }
}
