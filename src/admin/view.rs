//! JSON forms of what is in the queue. Texts came from clients and next hops: whoever shows them on a terminal escapes
//! control characters first. Pure: `now` is passed in.

use serde::{Deserialize, Serialize};

use super::Shown;
use crate::hooks::{Outcome, Route};
use crate::queue::{BodyPlace, Past, QueuedRecipient, Record, hop_text};
use crate::time::Timestamp;

/// Recipients named in a summary; the rest is a number.
const NAMED: usize = 3;

/// A message in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Summary {
    /// Queue id.
    pub id: String,
    /// RFC 3339.
    pub arrived: String,
    /// Seconds since.
    pub age_secs: u64,
    /// Octets, header section and body.
    pub size: u64,
    /// Reverse-path, `<>` for the null one.
    pub sender: String,
    /// The first few still waiting.
    pub recipients: Vec<String>,
    /// How many wait in all.
    pub waiting: usize,
    /// Why it is held, if it is.
    pub held: Option<String>,
    /// Recipients that wait for the end of a suspension.
    #[serde(default)]
    pub suspended: usize,
    /// RFC 3339; when the next recipient is due.
    pub due: Option<String>,
    /// Seconds until then; zero where that has passed.
    pub due_in_secs: Option<u64>,
    /// The most attempts any recipient has behind it.
    pub attempts: u32,
    /// What the last attempt of one of them came to.
    pub last: Option<String>,
}

/// A message in full, but for its body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MessageView {
    /// Queue id.
    pub id: String,
    /// RFC 3339.
    pub arrived: String,
    /// Reverse-path, `<>` for the null one.
    pub sender: String,
    /// Parameters of MAIL, as they came.
    pub sender_params: Vec<String>,
    /// Octets, header section and body.
    pub size: u64,
    /// Why it is held, if it is.
    pub held: Option<String>,
    /// The session it came through; none for messages the relay made.
    #[schema(value_type = Option<Object>)]
    pub origin: Option<serde_json::Value>,
    /// -9 to 9: how soon it goes before others.
    #[serde(default)]
    pub priority: i8,
    /// Labels.
    pub tags: Vec<String>,
    /// What plugins left with it: plugin, key, value.
    #[schema(value_type = Vec<Vec<String>>)]
    pub annotations: Vec<(String, String, String)>,
    /// The spool file of its body, if it has one of its own.
    pub spool_file: Option<String>,
    /// Those not yet settled.
    pub recipients: Vec<RecipientView>,
    /// Header section with trace fields; what is not UTF-8 is replaced.
    pub header: String,
}

/// A recipient not yet settled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecipientView {
    /// Index in the message.
    pub index: u32,
    /// Where it goes.
    pub address: String,
    /// As the client sent it, where that differs.
    pub original: Option<String>,
    /// Parameters of RCPT, as they came.
    pub params: Vec<String>,
    /// RFC 3339.
    pub due: String,
    /// Why nothing is tried now.
    #[serde(default)]
    pub waits: String,
    /// Where it goes, as it is written in the configuration: each hop.
    #[serde(default)]
    pub next_hops: Vec<String>,
    /// Attempts made.
    pub attempts: u32,
    /// A delay notice went to the sender.
    #[serde(default)]
    pub warned: bool,
    /// As a plugin routed it; none: the relay's own table decides at each attempt.
    #[schema(value_type = Option<Object>)]
    pub route: Option<Route>,
    /// What the last attempt came to.
    pub last: Option<OutcomeView>,
    /// The last attempts, the oldest of them first.
    #[serde(default)]
    pub history: Vec<PastView>,
}

/// An attempt made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastView {
    /// RFC 3339.
    pub at: String,
    /// How long it took.
    pub took_ms: u32,
    /// The next hop, as it is written in the configuration.
    pub hop: String,
    /// Its host name, where there was one.
    pub remote: Option<String>,
    /// `temporary`, as a rule.
    pub kind: String,
    /// How far it came.
    pub stage: String,
    /// What the next hop said, or what went wrong below SMTP.
    pub said: String,
}

/// What an attempt came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OutcomeView {
    /// `delivered`, `temporary`, `permanent`, `expired`.
    pub kind: String,
    /// How far it came: `connect`, `rcpt`, `answer`…
    pub stage: String,
    /// What the next hop said.
    pub reply: Option<String>,
    /// What went wrong below SMTP.
    pub error: Option<String>,
    /// Host name of the next hop.
    pub remote: Option<String>,
    /// RFC 3339.
    pub at: String,
}

impl Summary {
    /// Of a record.
    pub fn of(record: &Record, now: Timestamp) -> Self {
        let due = record.due();
        let last = record.recipients.iter().filter_map(|r| r.state.last.as_ref()).max_by_key(|outcome| outcome.at);
        Self {
            id: record.id.to_string(),
            arrived: record.arrived.rfc3339(),
            age_secs: now.since(record.arrived).as_secs(),
            size: record.size(),
            sender: sender(record),
            recipients: record.recipients.iter().take(NAMED).map(|r| r.mailbox.to_string()).collect(),
            waiting: record.recipients.len(),
            held: held(record),
            suspended: record.recipients.iter().filter(|r| r.state.parked.is_some()).count(),
            due: due.map(Timestamp::rfc3339),
            due_in_secs: due.map(|due| due.since(now).as_secs()),
            attempts: record.recipients.iter().map(|r| r.state.attempts).max().unwrap_or(0),
            last: last.map(short),
        }
    }
}

impl MessageView {
    /// Of what the relay knows of it.
    pub fn of(shown: &Shown, now: Timestamp) -> Self {
        let Shown { record, head, .. } = shown;
        let annotations = record.annotations.iter();
        Self {
            id: record.id.to_string(),
            arrived: record.arrived.rfc3339(),
            sender: sender(record),
            sender_params: record.sender_params.iter().map(param).collect(),
            size: record.size(),
            held: record.held.as_deref().map(str::to_owned),
            // An origin is plain texts and numbers.
            origin: record.origin.as_ref().map(|origin| serde_json::to_value(origin).unwrap_or_default()),
            priority: record.priority(),
            tags: record.tags.iter().map(|tag| tag.to_string()).collect(),
            annotations: annotations.map(|(p, k, a)| (p.to_owned(), k.to_owned(), a.value.to_string())).collect(),
            spool_file: match &record.body {
                BodyPlace::Inline => None,
                BodyPlace::File { name, .. } => Some(name.to_string()),
            },
            recipients: record.recipients.iter().map(|r| RecipientView::of(r, shown, now)).collect(),
            header: String::from_utf8_lossy(head).into_owned(),
        }
    }
}

impl RecipientView {
    fn of(recipient: &QueuedRecipient, shown: &Shown, now: Timestamp) -> Self {
        let differs = recipient.original != recipient.mailbox;
        let at = shown.record.recipients.iter().position(|r| r.index == recipient.index);
        let route = at.and_then(|at| shown.routes.get(at));
        Self {
            index: recipient.index,
            address: recipient.mailbox.to_string(),
            original: differs.then(|| recipient.original.to_string()),
            params: recipient.params.iter().map(param).collect(),
            due: recipient.state.due.rfc3339(),
            waits: waits(recipient, shown, now),
            next_hops: route.map(|route| route.hops.iter().map(hop_text).collect()).unwrap_or_default(),
            warned: recipient.state.warned,
            attempts: recipient.state.attempts,
            route: recipient.route.as_deref().cloned(),
            last: recipient.state.last.as_ref().map(OutcomeView::of),
            history: recipient.state.history.iter().map(PastView::of).collect(),
        }
    }
}

impl PastView {
    fn of(past: &Past) -> Self {
        let code = past.code.map(|code| format!("{code} ")).unwrap_or_default();
        let status = past.status.map(|status| format!("{status} ")).unwrap_or_default();
        Self {
            at: past.at.rfc3339(),
            took_ms: past.took_ms,
            hop: past.hop.to_string(),
            remote: past.remote.as_deref().map(str::to_owned),
            kind: word(&past.kind),
            stage: word(&past.stage),
            said: format!("{code}{status}{}", past.text).trim_end().to_owned(),
        }
    }
}

/// Why a recipient is not being tried at this moment.
fn waits(recipient: &QueuedRecipient, shown: &Shown, now: Timestamp) -> String {
    let state = &recipient.state;
    if shown.leased.contains(&recipient.index) {
        return "under delivery".to_owned();
    }
    if let Some(why) = shown.record.held.as_ref().or(state.held.as_ref()) {
        return format!("held: {why}");
    }
    if let Some(number) = state.parked {
        let rule = shown.rules.in_force(now).find(|rule| rule.number == number);
        return match rule {
            Some(rule) => format!("suspended by rule {number}: {}", rule.reason),
            None => format!("was suspended by rule {number}, which is over"),
        };
    }
    if state.is_refused() {
        return "given up: the sender is about to be told".to_owned();
    }
    match state.due.since(now).as_secs() {
        0 => "due: waits for its turn".to_owned(),
        _ if state.attempts == 0 => "not due yet".to_owned(),
        _ => "between attempts".to_owned(),
    }
}

impl OutcomeView {
    fn of(outcome: &Outcome) -> Self {
        Self {
            kind: word(&outcome.kind),
            stage: word(&outcome.stage),
            reply: outcome.reply.as_ref().map(ToString::to_string),
            error: outcome.error.as_deref().map(str::to_owned),
            remote: outcome.remote.as_deref().map(str::to_owned),
            at: outcome.at.rfc3339(),
        }
    }
}

/// Without angle brackets; the null one is nothing else.
fn sender(record: &Record) -> String {
    record.sender.0.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
}

/// Why it is held, if all of it is.
fn held(record: &Record) -> Option<String> {
    let each = || record.recipients.iter().find_map(|r| r.state.held.as_ref());
    record.is_held().then(|| record.held.as_ref().or_else(each).map(ToString::to_string)).flatten()
}

/// `450 4.2.1 not now`; what went wrong below SMTP in parentheses after what senders are told.
pub(super) fn said(outcome: &Outcome) -> String {
    match (&outcome.reply, outcome.error.as_deref()) {
        (Some(reply), Some(error)) => format!("{reply} ({error})"),
        (Some(reply), None) => reply.to_string(),
        (None, Some(error)) => error.to_owned(),
        (None, None) => word(&outcome.kind),
    }
}

/// As [`said`], after who said it.
fn short(outcome: &Outcome) -> String {
    let said = said(outcome);
    match &outcome.remote {
        Some(remote) => format!("{remote}: {said}"),
        None => said,
    }
}

fn param(param: &crate::mail::Param) -> String {
    match &param.value {
        Some(value) => format!("{}={value}", param.keyword),
        None => param.keyword.to_string(),
    }
}

/// The serde name of a unit variant: the one the store, the logs and plugins use too.
fn word(variant: &impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
