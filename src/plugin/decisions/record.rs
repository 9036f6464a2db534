//! One decision as a line of JSON, made where it was heard: one buffer, no trees.
//!
//! Pure. Must never hold a secret, a password, or what is in a message; every text of a guest is bounded.

use super::super::edits::Written;
use crate::hooks::{Decision, Hook, Subject};
use crate::ledger::object::{self, Object};
use crate::mail::{Mailbox, QueueId, Recipient, ReversePath};
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

/// The line, with its end.
pub(super) fn line(decision: &Decision<'_>, now: Timestamp) -> Vec<u8> {
    let Decision { hook, subject, binding, word, edits, cost, .. } = *decision;
    let mut octets = Vec::with_capacity(USUAL);
    let mut line = Object::new(&mut octets);
    // Microseconds: exact, and small enough for readers whose numbers are floats.
    line.json("at", now.micros());
    about(&mut line, decision);
    let recipients = recipients(subject);
    if !recipients.is_empty() {
        line.list("recipients", named(recipients), object::shown);
    }
    rest(&mut line, "more_recipients", recipients.len(), RECIPIENTS_MAX);
    line.text("verdict", word);
    // Of a refusal, all there is to know is what the client was told.
    if is_told(hook, word) {
        line.text("told", &(decision.told)());
    } else if !matches!(word, "proceed" | "accept") {
        whole(line.value("whole"), decision);
    }
    if !edits.is_empty() {
        let put = |line: &mut Vec<u8>, edit| object::json(line, Written { edit, most: VALUE_MAX });
        line.list("edits", edits.iter().take(EDITS_MAX), put);
    }
    rest(&mut line, "more_edits", edits.len(), EDITS_MAX);
    if let Some(error) = decision.failure {
        let mut failure = Object::new(line.value("failure"));
        failure.text("kind", error.kind());
        failure.shown("detail", error);
        failure.json("policy", binding.on_failure);
        failure.end();
    }
    line.json("wall_us", micros(cost.wall));
    line.json("cpu_us", micros(cost.cpu));
    line.json("host_calls", cost.host_calls);
    line.end();
    octets.push(b'\n');
    octets
}

/// Which message of whom, and who was asked.
fn about(line: &mut Object<'_>, decision: &Decision<'_>) {
    let Decision { hook, subject, binding, .. } = *decision;
    let session = subject.session.as_deref();
    line.maybe("session", session.map(|s| &*s.id));
    if let Some(id) = queue_id(subject) {
        line.shown("queue_id", id);
    }
    line.text("hook", hook.interface());
    line.text("plugin", &binding.plugin);
    line.text("version", &binding.version);
    line.json("generation", decision.generation);
    line.maybe("digest", Some(&*binding.digest).filter(|digest| !digest.is_empty()));
    line.maybe("client", session.map(|s| &*s.client.address));
    match sender(subject) {
        Some(ReversePath(Some(mailbox))) => line.shown("sender", mailbox),
        // Without angle brackets; the null one is nothing else.
        Some(ReversePath(None)) => line.text("sender", "<>"),
        None => {}
    }
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
fn whole(line: &mut Vec<u8>, decision: &Decision<'_>) {
    let begin = line.len();
    (decision.verdict)(line);
    if decision.hook == Hook::Auth {
        let mut whole: serde_json::Value =
            serde_json::from_slice(line.get(begin..).unwrap_or_default()).unwrap_or_default();
        if let Some(identity) = whole.get_mut("success").and_then(serde_json::Value::as_object_mut) {
            identity.remove("attributes");
        }
        line.truncate(begin);
        object::json(line, whole);
    }
    let octets = line.len() - begin;
    if octets > WHOLE_MAX {
        line.truncate(begin);
        object::json(line, serde_json::json!({ "octets": octets }));
    }
}

/// How many are not named, if any.
fn rest(line: &mut Object<'_>, key: &'static str, all: usize, named: usize) {
    if all > named {
        line.json(key, all - named);
    }
}

/// Whom it is about: at rcpt the candidate alone.
fn recipients(subject: &Subject) -> &[Recipient] {
    if let Some(candidate) = &subject.candidate {
        return std::slice::from_ref(candidate);
    }
    let under_delivery = subject.delivery.as_ref().map(|d| &*d.recipients);
    under_delivery.or(subject.transaction.as_ref().map(|t| t.recipients.as_slice())).unwrap_or_default()
}

/// Each as it came too, if it was rewritten.
fn named(recipients: &[Recipient]) -> impl Iterator<Item = &Mailbox> {
    recipients.iter().take(RECIPIENTS_MAX).flat_map(|recipient| {
        let rewritten = recipient.original != recipient.mailbox;
        [Some(&recipient.mailbox), rewritten.then_some(&recipient.original)].into_iter().flatten()
    })
}
