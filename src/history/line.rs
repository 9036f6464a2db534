//! One settlement as a line of JSON. Pure.

use serde::Serialize;

use crate::hooks::{Outcome, OutcomeKind, Stage};
use crate::queue::{Change, Past, QueuedRecipient, Record, Settled};
use crate::time::Timestamp;

/// Octets of a text that somebody else wrote.
const TEXT: usize = 500;

/// Recipients of one line.
const RECIPIENTS: usize = 1000;

/// What is known of recipients that leave the queue.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The message as it was.
    pub record: &'a Record,
    /// What became of its recipients; those that stay are passed over.
    pub settled: &'a [Settled],
    /// The hop of the last attempt, as it is written in the configuration; empty where there was none.
    pub hop: &'a str,
    /// How long that took.
    pub took: std::time::Duration,
    /// Commands and replies, where they are worth keeping.
    pub dialogue: Option<&'a str>,
    /// When.
    pub now: Timestamp,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Microseconds, as below: quick to write, exact, and small enough for readers whose numbers are floats.
    at: i64,
    queue_id: String,
    arrived: i64,
    sender: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [std::sync::Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    hop: &'a str,
    took_ms: u64,
    recipients: Vec<One<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialogue: Option<Vec<&'a str>>,
}

#[derive(Serialize)]
struct One<'a> {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    became: OutcomeKind,
    stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<&'a str>,
    attempts: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<Before<'a>>,
}

/// An attempt before the last one.
#[derive(Serialize)]
struct Before<'a> {
    at: String,
    hop: &'a str,
    stage: Stage,
    said: String,
}

impl Finished<'_> {
    /// The line with its end; none: nobody leaves the queue.
    pub fn line(&self) -> Option<Vec<u8>> {
        let gone = |settled: &&Settled| matches!(settled.change, Change::Gone) && settled.outcome.is_some();
        let recipients: Vec<One<'_>> =
            self.settled.iter().filter(gone).take(RECIPIENTS).filter_map(|s| self.one(s)).collect();
        if recipients.is_empty() {
            return None;
        }
        let record = self.record;
        let origin = record.origin.as_ref();
        let noted = |wanted: &str| {
            record.annotations.iter().find(|(_, key, _)| *key == wanted).map(|(_, _, note)| &*note.value)
        };
        let line = Line {
            at: self.now.micros(),
            queue_id: record.id.to_string(),
            arrived: record.arrived.micros(),
            sender: record.sender.0.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string),
            size: record.size(),
            session: origin.map(|origin| &*origin.session),
            listener: origin.map(|origin| &*origin.listener),
            client: origin.map(|origin| &*origin.client.address),
            identity: origin.and_then(|origin| origin.identity.as_deref()),
            tags: &record.tags,
            tenant: noted("tenant"),
            campaign: noted("campaign"),
            hop: self.hop,
            took_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            recipients,
            dialogue: self.dialogue.map(|dialogue| dialogue.lines().collect()),
        };
        let mut out = Vec::with_capacity(512);
        serde_json::to_writer(&mut out, &line).ok()?;
        out.push(b'\n');
        Some(out)
    }

    fn one<'b>(&'b self, settled: &'b Settled) -> Option<One<'b>> {
        let recipient: &QueuedRecipient = self.record.recipients.iter().find(|r| r.index == settled.recipient)?;
        let Outcome { kind, stage, reply, error, remote, .. } = settled.outcome.as_ref()?;
        let differs = recipient.original != recipient.mailbox;
        Some(One {
            address: recipient.mailbox.to_string(),
            original: differs.then(|| recipient.original.to_string()),
            became: *kind,
            stage: *stage,
            reply: reply.as_ref().map(|reply| cut(&reply.to_string()).to_owned()),
            error: error.as_deref().map(cut),
            remote: remote.as_deref(),
            attempts: recipient.state.attempts,
            before: recipient.state.history.iter().map(Before::of).collect(),
        })
    }
}

impl<'a> Before<'a> {
    fn of(past: &'a Past) -> Self {
        let code = past.code.map(|code| format!("{code} ")).unwrap_or_default();
        Self { at: past.at.rfc3339(), hop: &past.hop, stage: past.stage, said: format!("{code}{}", past.text) }
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
