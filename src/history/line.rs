//! One settlement as a line of JSON. Pure.

use serde::Serialize;

use crate::hooks::{Outcome, Stage};
use crate::ledger::object::{self, Object};
use crate::queue::{Change, Past, QueuedRecipient, Record, Settled};
use crate::time::Timestamp;

/// Octets of a text that somebody else wrote.
const TEXT: usize = 500;

/// Octets of most lines: one allocation is enough for them.
const USUAL: usize = 640;

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
        let mut left =
            self.settled.iter().filter(gone).filter_map(|settled| self.one(settled)).take(RECIPIENTS).peekable();
        left.peek()?;
        let mut octets = Vec::with_capacity(USUAL);
        let mut line = Object::new(&mut octets);
        // Microseconds: quick to write, exact, and small enough for readers whose numbers are floats.
        line.json("at", self.now.micros());
        self.message(&mut line);
        line.maybe("hop", Some(self.hop).filter(|hop| !hop.is_empty()));
        line.json("took_ms", u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX));
        line.list("recipients", left, |line, (recipient, outcome)| one(line, recipient, outcome));
        if let Some(dialogue) = self.dialogue {
            line.list("dialogue", dialogue.lines(), object::text);
        }
        line.end();
        octets.push(b'\n');
        Some(octets)
    }

    fn message(&self, line: &mut Object<'_>) {
        let record = self.record;
        line.shown("queue_id", record.id);
        line.json("arrived", record.arrived.micros());
        match &record.sender.0 {
            Some(mailbox) => line.shown("sender", mailbox),
            None => line.text("sender", "<>"),
        }
        line.json("size", record.size());
        if let Some(origin) = &record.origin {
            line.text("session", &origin.session);
            line.text("listener", &origin.listener);
            line.text("client", &origin.client.address);
            line.maybe("identity", origin.identity.as_deref());
        }
        if !record.tags.is_empty() {
            line.list("tags", record.tags.iter(), |line, tag| object::text(line, tag));
        }
        for wanted in ["tenant", "campaign"] {
            let noted = record.annotations.iter().find(|(_, key, _)| *key == wanted);
            line.maybe(wanted, noted.map(|(_, _, note)| &*note.value));
        }
    }

    fn one<'b>(&'b self, settled: &'b Settled) -> Option<(&'b QueuedRecipient, &'b Outcome)> {
        let recipient = self.record.recipients.iter().find(|r| r.index == settled.recipient)?;
        Some((recipient, settled.outcome.as_ref()?))
    }
}

fn one(line: &mut Vec<u8>, recipient: &QueuedRecipient, outcome: &Outcome) {
    let mut one = Object::new(line);
    one.shown("address", &recipient.mailbox);
    if recipient.original != recipient.mailbox {
        one.shown("original", &recipient.original);
    }
    one.json("became", outcome.kind);
    one.json("stage", outcome.stage);
    if let Some(reply) = &outcome.reply {
        one.text("reply", cut(&reply.to_string()));
    }
    one.maybe("error", outcome.error.as_deref().map(cut));
    one.maybe("remote", outcome.remote.as_deref());
    one.json("attempts", recipient.state.attempts);
    if !recipient.state.history.is_empty() {
        one.list("before", recipient.state.history.iter().map(Before::of), object::json);
    }
    one.end();
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
