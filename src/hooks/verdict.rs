//! Verdicts of the session's hooks. Each hook has its own type: what can't be said at a station has no variant there.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Identity;
use crate::smtp::Reply;

/// Verdict of connect, helo, mail and rcpt. Replies were checked: the code fits the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionVerdict {
    /// No opinion; the relay's own default applies.
    Proceed,
    /// In favour.
    Accept,
    /// Permanent refusal.
    Reject(Reply),
    /// Temporary refusal.
    Tempfail(Reply),
    /// Send the reply, then close the connection.
    Close(Reply),
}

/// Verdict of the message hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageVerdict {
    /// No opinion.
    Proceed,
    /// In favour.
    Accept,
    /// Permanent refusal.
    Reject(Reply),
    /// Temporary refusal.
    Tempfail(Reply),
    /// Answer 250, keep nothing; the text goes to the audit log.
    Discard(Arc<str>),
    /// Answer 250, store held; the text is the reason shown to the operator.
    Quarantine(Arc<str>),
}

/// What a client offers to prove who it is (RFC 4954).
#[derive(Clone)]
pub struct AuthAttempt {
    /// The registered name of a SASL mechanism.
    pub mechanism: Arc<str>,
    /// Authentication identity; empty where a token says it.
    pub name: Arc<str>,
    /// Authorization identity, where it differs.
    pub acts_as: Option<Arc<str>>,
    /// What else the mechanism says: OAUTHBEARER's `host` and `port`.
    pub details: Vec<(Arc<str>, Arc<str>)>,
    /// The password or the token. None where the exchange has proved the name already.
    pub secret: Option<Arc<str>>,
}

impl fmt::Debug for AuthAttempt {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthAttempt")
            .field("mechanism", &self.mechanism)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Verdict of the auth hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthVerdict {
    /// Nobody's; the relay's own credentials decide.
    Proceed,
    /// This is who it is.
    Success(Identity),
    /// No.
    Failure(Reply),
    /// Can't tell now.
    Tempfail(Reply),
}
