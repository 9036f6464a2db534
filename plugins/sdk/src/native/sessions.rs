//! `sessions`: the client connection that a test describes.

use super::state::{Notes, State};
use super::{Handle, check_key, error};
use crate::{Endpoint, ErrorCode, HostError, Identity, Protocol, Timestamp, TlsInfo};

/// Octets that a plugin may leave with one connection, or with one message.
const NOTES_MAX: usize = 16 * 1024;

/// One client connection.
#[derive(Debug)]
pub struct SmtpSession(pub(super) Handle);

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident -> $type:ty = $read:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> $type {
            let read: fn(&State) -> $type = $read;
            self.0.read(read)
        }
    )*};
}
pub(super) use facts;

impl SmtpSession {
    facts! {
        /// The same in all tests.
        id -> String = |_| "s-1".to_owned();
        /// `test` unless the test says otherwise.
        listener -> String = |s| s.subject.session.listener.clone();
        /// When the test began.
        connected_at -> Timestamp = now;
        /// The client's end.
        client -> Endpoint = |s| s.subject.session.client.clone();
        /// The relay's end.
        server -> Endpoint = |_| Endpoint { address: "192.0.2.25".to_owned(), port: 25 };
        /// Forward-confirmed reverse name.
        client_name -> Option<String> = |s| s.subject.session.client_name.clone();
        /// Which protocol the client speaks.
        protocol -> Protocol = |s| s.subject.session.protocol;
        /// Argument of HELO, EHLO or LHLO.
        helo -> Option<String> = |s| s.subject.session.helo.clone();
        /// What protects the connection.
        tls -> Option<TlsInfo> = |s| s.subject.session.tls.clone();
        /// Who the client proved to be.
        identity -> Option<Identity> = |s| s.subject.session.identity.clone();
        /// True if the client may relay anywhere.
        may_relay -> bool = |s| s.subject.session.may_relay;
        /// Transactions that have ended.
        transactions_so_far -> u32 = |s| s.subject.session.transactions;
        /// Recipients that were refused.
        refused_recipients_so_far -> u32 = |s| s.subject.session.refused_recipients;
    }

    /// A note left with the connection.
    ///
    /// # Errors
    /// `denied` for another plugin's, unless the test grants it.
    pub fn note(&self, plugin: Option<&str>, key: &str) -> Result<Option<String>, HostError> {
        self.0.asked(|state| {
            let whose = whose(state, plugin)?;
            Ok(state.subject.session.notes.get(&(whose, key.to_owned())).cloned())
        })
    }

    /// Leaves a note.
    ///
    /// # Errors
    /// A key or a value that does not fit.
    pub fn set_note(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.0.asked(|state| {
            leave(&mut state.subject.session.notes, key, value)?;
            state.edit(format!("note {key}={value}"))
        })
    }

    /// Takes an extension out of what the client is offered.
    ///
    /// # Errors
    /// `not-here` at other hooks than connect and helo.
    pub fn withhold_extension(&self, keyword: &str) -> Result<(), HostError> {
        self.0.asked(|state| state.edit(format!("withhold-extension {}", keyword.to_ascii_uppercase())))
    }
}

pub(super) fn now(state: &State) -> Timestamp {
    Timestamp { seconds: state.services.clock, nanoseconds: 0 }
}

/// The plugin whose notes are meant: the empty name is this one.
pub(super) fn whose(state: &State, plugin: Option<&str>) -> Result<String, HostError> {
    match plugin {
        None => Ok(String::new()),
        Some(name) if state.services.notes_of.contains(name) => Ok(name.to_owned()),
        Some(name) => Err(error(ErrorCode::Denied, &format!("add `notes-of = [\"{name}\"]` to its grants"))),
    }
}

/// Leaves a note or an annotation of the plugin's own.
pub(super) fn leave(notes: &mut Notes, key: &str, value: &str) -> Result<(), HostError> {
    check_key(key)?;
    let others = notes.iter().filter(|((whose, of), _)| whose.is_empty() && of != key);
    let size: usize = others.map(|((_, key), value)| key.len() + value.len()).sum();
    if size + key.len() + value.len() > NOTES_MAX {
        return Err(error(ErrorCode::Exhausted, "a plugin may leave 16 KiB"));
    }
    notes.insert((String::new(), key.to_owned()), value.to_owned());
    Ok(())
}
