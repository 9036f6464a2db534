//! What the delivery hooks are about: attempts, outcomes, dispositions, bounces.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Endpoint, NextHop, Route, TlsFacts};
use crate::mail::{Annotations, Mailbox, QueueId, Recipient, ReversePath};
use crate::smtp::{Reply, Status};
use crate::time::Timestamp;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// No attempt was made: expired, or a plugin said so.
    Queue,
    /// Looking up the next hop.
    Resolve,
    /// Opening the connection.
    Connect,
    /// Waiting for 220.
    Greeting,
    /// EHLO, HELO, LHLO.
    Helo,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// From DATA up to the final dot.
    Data,
    /// The final dot was sent, the answer is missing or a refusal.
    Answer,
    /// Answered.
    Done,
}

/// What became of one recipient in one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// The next hop has it.
    Delivered,
    /// Try again.
    Temporary,
    /// Never.
    Permanent,
    /// Temporary until the give-up time came.
    Expired,
}

/// One recipient's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Index of the recipient.
    pub recipient: u32,
    /// What became of it.
    pub kind: OutcomeKind,
    /// How far it came.
    pub stage: Stage,
    /// What the next hop said; for local failures, what the relay says of them.
    pub reply: Option<Reply>,
    /// For the log and the report: what went wrong below SMTP.
    pub error: Option<Arc<str>>,
    /// Host name of the next hop's MTA, for the report's Remote-MTA.
    pub remote: Option<Arc<str>>,
    /// Its address.
    pub remote_endpoint: Option<Endpoint>,
    /// When this was known.
    pub at: Timestamp,
}

/// An attempt made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When its outcome was known.
    pub at: Timestamp,
    /// From its start, in milliseconds.
    pub took_ms: u32,
    /// The next hop, as it is written in the configuration.
    pub hop: Arc<str>,
    /// Host name of the next hop's MTA, where there was one.
    pub remote: Option<Arc<str>>,
    /// What it came to.
    pub kind: OutcomeKind,
    /// How far it came.
    pub stage: Stage,
    /// The reply's code.
    pub code: Option<u16>,
    /// Its enhanced status.
    pub status: Option<Status>,
    /// Its text, or what went wrong below SMTP; cut.
    pub text: Arc<str>,
}

/// Octets of a text that is remembered.
const PAST_TEXT: usize = 200;

impl Past {
    /// What is remembered of an outcome.
    pub fn of(outcome: &Outcome, hop: Arc<str>, took: Duration) -> Self {
        let reply = outcome.reply.as_ref();
        let said = reply.map(|reply| reply.lines.join(" ")).unwrap_or_default();
        let text = match outcome.error.as_deref() {
            Some(error) if said.is_empty() => error.to_owned(),
            Some(error) => format!("{said} ({error})"),
            None => said,
        };
        Self {
            at: outcome.at,
            took_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            hop,
            remote: outcome.remote.clone(),
            kind: outcome.kind,
            stage: outcome.stage,
            code: reply.map(|reply| reply.code),
            status: reply.and_then(|reply| reply.status),
            text: cut(&text, PAST_TEXT).into(),
        }
    }
}

/// At most so many octets, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// The delivery a hook is about: some recipients of one message on their way to one next hop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryFacts {
    /// The message.
    #[serde(with = "crate::mail::queue_id_text")]
    pub id: QueueId,
    /// When the relay took it.
    pub arrived: Timestamp,
    /// Attempts made before this one.
    pub attempts: u32,
    /// When it will be given up.
    pub expires: Timestamp,
    /// Reverse-path; as set for this attempt.
    pub sender: ReversePath,
    /// The recipients of this attempt.
    pub recipients: Arc<[Recipient]>,
    /// Octets, header and body.
    pub message_size: u64,
    /// How they are routed.
    pub route: Arc<Route>,
    /// The hop of that route in question.
    pub hop: NextHop,
    /// Outcomes of the attempt before.
    pub previous: Arc<[Outcome]>,
    /// The attempts before, with the index of the recipient each was for.
    #[serde(default)]
    pub history: Arc<[(u32, Past)]>,
    /// Where the connection went, once it did.
    pub remote: Option<Endpoint>,
    /// TLS of that connection.
    pub tls: Option<TlsFacts>,
    /// The message's annotations.
    pub annotations: Arc<Annotations>,
    /// Set by plugins for this attempt only: fields on top of the content, in order.
    pub prepended: Arc<[(Arc<str>, Arc<str>)]>,
}

/// Verdict of the delivery-attempt hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptVerdict {
    /// Go on.
    Proceed,
    /// Not now, and not counted as an attempt.
    HoldSeconds(u32),
    /// Another way.
    Reroute(Arc<Route>),
    /// Give up for all recipients of this attempt.
    Fail(Reply),
}

/// What is to become of a recipient after an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultAction {
    /// The relay's default for this outcome.
    Proceed,
    /// Try again then.
    RetryAfterSeconds(u32),
    /// Try again at once, another way.
    Reroute(Arc<Route>),
    /// Give up, with a bounce.
    Bounce(Reply),
    /// Give up, without one; the text goes to the audit log.
    Forget(Arc<str>),
}

impl ResultAction {
    /// In one word, as in the contract.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::RetryAfterSeconds(_) => "retry-after-seconds",
            Self::Reroute(_) => "reroute",
            Self::Bounce(_) => "bounce",
            Self::Forget(_) => "forget",
        }
    }
}

/// One recipient's action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disposition {
    /// Index of the recipient.
    pub recipient: u32,
    /// What is to become of it.
    pub action: ResultAction,
}

/// Changes to a bounce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BounceEdit {
    /// Text put in front of the standard explanation.
    pub preface: Option<Arc<str>>,
    /// Return the header section only, whatever RET said.
    pub return_headers_only: bool,
    /// Where the bounce goes, if not to the sender.
    pub redirect_to: Option<Mailbox>,
}

/// Verdict of the bounce hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BounceVerdict {
    /// As it is.
    Proceed,
    /// With changes.
    Edit(BounceEdit),
    /// No bounce; the text goes to the audit log.
    Suppress(Arc<str>),
}
