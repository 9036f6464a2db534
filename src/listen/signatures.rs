//! What goes on top of a message below its trace field: what was found out about it, and signatures.
//!
//! Last of all, once nobody changes the message any more. Must never have a stranger's mail signed by a key of `[dkim]`.

use bytes::{BufMut, Bytes, BytesMut};

use super::message::{Decided, local_error};
use super::serve::Serve;
use crate::signing::{Author, Chain, Letter, OnFailure, SigningError};
use crate::smtp::{Reply, Status};

impl Serve {
    /// Authentication-Results, an ARC set, DKIM signatures: each where it belongs. RFC 8601 section 4.1 has results above what
    /// they are about.
    ///
    /// # Errors
    /// The answer to a client whose message could not be signed, and must be.
    pub(super) async fn fields_on_top(&self, decided: &Decided) -> Result<Bytes, Reply> {
        let Decided { session, transaction, message, .. } = decided;
        let mut fields = BytesMut::new();
        if let Some(results) = self.results(session, transaction, message).await {
            fields.put(self.results_field(&results, message));
            fields.put(self.seal(decided, results).await);
        }
        fields.put(self.sign(decided).await?);
        Ok(fields.freeze())
    }

    async fn sign(&self, decided: &Decided) -> Result<Bytes, Reply> {
        let session = &decided.session;
        let authenticated = session.identity.is_some();
        // Neither of both is a stranger, whatever a plugin lets it send: its mail is not ours.
        if !authenticated && !session.may_relay {
            return Ok(Bytes::new());
        }
        let by = Author::Client { listener: session.listener.clone(), authenticated };
        let signing = &self.reception.signing;
        let error = match signing.sign(self.letter(decided, by)).await {
            Ok(fields) => return Ok(fields),
            Err(error) => error,
        };
        let queue_id = decided.transaction.id;
        match signing.on_failure() {
            OnFailure::Unsigned => {
                tracing::warn!(%queue_id, %error, "a message goes on unsigned");
                Ok(Bytes::new())
            }
            OnFailure::Tempfail => {
                tracing::error!(%queue_id, %error, "a message can't be signed, and is not taken");
                Err(match error {
                    SigningError::Unreadable(_) => local_error(),
                    _ => Reply::new(451, Status::new(4, 7, 5), "The message can't be signed now, try again later"),
                })
            }
        }
    }

    /// A set that is missing costs a forwarded message some trust, and nothing else.
    async fn seal(&self, decided: &Decided, results: String) -> Bytes {
        let signing = &self.reception.signing;
        if !signing.seals(&decided.session.listener) {
            return Bytes::new();
        }
        let found = decided.transaction.authentication.signatures.get();
        let chain = found.map_or(Chain::Unknown, |found| found.arc.status.into());
        signing.seal(self.letter(decided, Author::Relay), results, chain).await.unwrap_or_else(|error| {
            tracing::warn!(queue_id = %decided.transaction.id, %error, "a message gets no ARC set");
            Bytes::new()
        })
    }

    fn letter(&self, decided: &Decided, by: Author) -> Letter {
        let message = &decided.message;
        let now = self.reception.clock.now();
        Letter { header: message.header.clone(), body: message.body.clone(), by, now }
    }
}
