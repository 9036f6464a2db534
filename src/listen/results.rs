//! Authentication-Results of the relay's own (RFC 8601), where a listener is told to: what came under this host's name is
//! removed, and what was found out about a stranger's message is written on top.
//!
//! Must never refuse a message: what can't be found out is a result too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::serve::Serve;
use crate::hooks::{MessageFacts, SenderAuthentication, SessionFacts, TransactionFacts};
use crate::mail::{AUTHENTICATION_RESULTS, Header, HeaderEdit, results_of};

/// Finds out who sent a message, in bounded time: the value of its field.
pub type SenderResults = dyn Fn(Inquiry) -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync;

/// What there is to find out about.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// Who says so: the field begins with it.
    pub host: Arc<str>,
    /// Who the client is.
    pub session: Arc<SessionFacts>,
    /// What it sent.
    pub about: Arc<SenderAuthentication>,
}

impl Serve {
    /// RFC 8601 section 5: whoever the client is, it can't have results of this host.
    pub(super) fn remove_forged_results(&self, message: &mut Arc<MessageFacts>) {
        if !self.results {
            return;
        }
        let forged = results_of(&message.header, &self.config.hostname);
        if forged.is_empty() {
            return;
        }
        let count = forged.len();
        let edits: Vec<_> = forged.into_iter().map(|index| HeaderEdit::Remove { index }).collect();
        match message.header.edit(&edits) {
            Ok(header) => {
                Arc::make_mut(message).header = header;
                tracing::info!(count, "removed Authentication-Results that claim to be of this host");
            }
            Err(error) => tracing::error!(%error, "Authentication-Results can't be removed"),
        }
    }

    /// What was found out about a stranger's message, as the value of a field, where somebody is to read it: in a field of
    /// the relay's own, or in an ARC set.
    pub(super) async fn results(
        &self,
        session: &Arc<SessionFacts>,
        transaction: &TransactionFacts,
        message: &MessageFacts,
    ) -> Option<String> {
        let is_known = session.identity.is_some() || session.may_relay;
        let wanted = self.reception.signing.seals(&session.listener) || self.writes_results(message);
        let find = self.reception.results.as_ref().filter(|_| wanted && !is_known)?;
        let (session, about) = (session.clone(), transaction.authentication.clone());
        Some(find(Inquiry { host: self.config.hostname.clone(), session, about }).await)
    }

    /// Not where a plugin has added a field.
    fn writes_results(&self, message: &MessageFacts) -> bool {
        self.results && results_of(&message.header, &self.config.hostname).is_empty()
    }

    /// The field; empty where none is to be written.
    pub(super) fn results_field(&self, results: &str, message: &MessageFacts) -> Bytes {
        if !self.writes_results(message) {
            return Bytes::new();
        }
        let field = HeaderEdit::Prepend { name: AUTHENTICATION_RESULTS.into(), value: results.into() };
        match Header::default().edit(&[field]) {
            Ok(field) => field.block().clone(),
            Err(error) => {
                tracing::error!(%error, "no Authentication-Results added");
                Bytes::new()
            }
        }
    }
}
