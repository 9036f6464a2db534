//! One decision as a line of JSON, made where it was heard: one buffer, no trees.
//!
//! Pure. Must never hold a secret, a password, or what is in a message; every text of a guest is bounded.

use std::fmt::Display;

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::super::edits::Written;
use crate::hooks::{Decision, Edit, FailurePolicy, Hook, Subject};
use crate::mail::{QueueId, Recipient, ReversePath};
use crate::time::Timestamp;

/// Octets of most lines: one allocation is enough for them.
const USUAL: usize = 640;

/// Octets of a value of an edit.
const VALUE_MAX: usize = 200;

/// Edits of one call that are named; the rest is a number.
const EDITS_MAX: usize = 32;

/// Recipients that are named; the rest is a number.
const RECIPIENTS_MAX: usize = 10;

/// Octets of a verdict in full: routes of many recipients may have more, and then their length must do.
const WHOLE_MAX: usize = 4096;

#[derive(serde::Serialize)]
struct Line<'a> {
    /// Microseconds: exact, and small enough for readers whose numbers are floats.
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_id: Option<Text<QueueId>>,
    hook: &'static str,
    plugin: &'a str,
    version: &'a str,
    generation: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<Sender<'a>>,
    #[serde(skip_serializing_if = "Recipients::is_empty")]
    recipients: Recipients<'a>,
    #[serde(skip_serializing_if = "is_none")]
    more_recipients: usize,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Edits::is_empty")]
    edits: Edits<'a>,
    #[serde(skip_serializing_if = "is_none")]
    more_edits: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure<'a>>,
    wall_us: u64,
    cpu_us: u64,
    host_calls: u32,
}

#[derive(serde::Serialize)]
struct Failure<'a> {
    kind: &'static str,
    detail: Text<&'a crate::hooks::CallError>,
    policy: FailurePolicy,
}

/// The line, with its end.
pub(super) fn line(decision: &Decision<'_>, now: Timestamp) -> Vec<u8> {
    let Decision { hook, subject, binding, word, edits, cost, .. } = *decision;
    let session = subject.session.as_deref();
    let recipients = Recipients::of(subject);
    let trivial = matches!(word, "proceed" | "accept");
    let told = is_told(hook, word).then(|| (decision.told)());
    let line = Line {
        at: now.micros(),
        session: session.map(|s| &*s.id),
        queue_id: queue_id(subject).map(Text),
        hook: hook.interface(),
        plugin: &binding.plugin,
        version: &binding.version,
        generation: decision.generation,
        digest: &decision.binding.digest,
        client: session.map(|s| &*s.client.address),
        sender: sender(subject).map(Sender),
        more_recipients: recipients.all().saturating_sub(RECIPIENTS_MAX),
        recipients,
        verdict: word,
        // Of a refusal, all there is to know is what the client was told.
        whole: (!trivial && told.is_none()).then(|| whole(decision)),
        told,
        edits: Edits(edits.get(..EDITS_MAX).unwrap_or(edits)),
        more_edits: edits.len().saturating_sub(EDITS_MAX),
        failure: decision.failure.map(|error| Failure {
            kind: error.kind(),
            detail: Text(error),
            policy: binding.on_failure,
        }),
        wall_us: micros(cost.wall),
        cpu_us: micros(cost.cpu),
        host_calls: cost.host_calls,
    };
    let mut octets = Vec::with_capacity(USUAL);
    // Texts and numbers into memory: there is nothing that could fail, and half a line would be skipped when read.
    let _ = serde_json::to_writer(&mut octets, &line);
    octets.push(b'\n');
    octets
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// True where the verdict is a reply to a client.
fn is_told(hook: Hook, word: &str) -> bool {
    let waits = !matches!(hook, Hook::DeliveryAttempt | Hook::DeliveryResult | Hook::Bounce);
    waits && matches!(word, "reject" | "tempfail" | "close" | "failure")
}

pub(super) fn queue_id(subject: &Subject) -> Option<QueueId> {
    let under_delivery = subject.delivery.as_ref().map(|d| d.id);
    under_delivery.or_else(|| subject.transaction.as_ref().map(|t| t.id))
}

fn sender(subject: &Subject) -> Option<&ReversePath> {
    let under_delivery = subject.delivery.as_ref().map(|d| &d.sender);
    under_delivery.or_else(|| subject.transaction.as_ref().map(|t| &t.sender))
}

/// The verdict, without what a back end said of somebody's identity.
fn whole(decision: &Decision<'_>) -> serde_json::Value {
    let mut whole = (decision.verdict)();
    if let Some(identity) = whole.get_mut("success").and_then(serde_json::Value::as_object_mut) {
        identity.remove("attributes");
    }
    let octets = serde_json::to_string(&whole).map_or(0, |text| text.len());
    if octets > WHOLE_MAX { serde_json::json!({ "octets": octets }) } else { whole }
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Written as it is displayed.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Without angle brackets; the null one is nothing else.
struct Sender<'a>(&'a ReversePath);

impl Serialize for Sender<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.0 {
            Some(mailbox) => serializer.collect_str(mailbox),
            None => serializer.serialize_str("<>"),
        }
    }
}

/// Whom it is about: at rcpt the candidate alone, as it came too if it was rewritten.
struct Recipients<'a>(&'a [Recipient]);

impl<'a> Recipients<'a> {
    fn of(subject: &'a Subject) -> Self {
        if let Some(candidate) = &subject.candidate {
            return Self(std::slice::from_ref(candidate));
        }
        let under_delivery = subject.delivery.as_ref().map(|d| &*d.recipients);
        Self(under_delivery.or(subject.transaction.as_ref().map(|t| &*t.recipients)).unwrap_or_default())
    }

    fn all(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Recipients<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for recipient in self.0.iter().take(RECIPIENTS_MAX) {
            seq.serialize_element(&Text(&recipient.mailbox))?;
            if recipient.original != recipient.mailbox {
                seq.serialize_element(&Text(&recipient.original))?;
            }
        }
        seq.end()
    }
}

struct Edits<'a>(&'a [Edit]);

impl Edits<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Edits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|edit| Written { edit, most: VALUE_MAX }))
    }
}
