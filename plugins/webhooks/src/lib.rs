//! Tells a service over HTTP what becomes of mail.
//!
//! This file gathers events and tells them; their form is in `event`, what could not be told waits in `spool`. It never
//! changes what becomes of a mail: each hook answers that it has no opinion, whatever the service does. Must never fail a hook
//! but for settings that can't be read, nor write addresses to the log.

mod event;
mod settings;
mod spool;

use waypost_plugin::http::Request;
use waypost_plugin::{
    BounceVerdict, Cached, Delivery, Lifecycle, Mailbox, MessageVerdict, OnBounce, OnDeliveryResult, OnMessage,
    Outcome, OutcomeKind, RecipientDisposition, RecipientOutcome, Reply, Settings as _, Stage, config, context, log,
    metrics, system,
};

use event::{Batch, Event, VERSION};
use settings::{Kind, Settings};

/// The plugin.
#[derive(Debug)]
pub struct Webhooks;

static SETTINGS: Cached<Settings> = Cached::new();

/// Octets of an answer that are read: nothing in it is looked at.
const ANSWER_MAX: usize = 16 << 10;

/// Events of one request: a kv value, which may have to hold them, has 64 KiB.
const EVENTS_MAX: usize = 25;

impl Lifecycle for Webhooks {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnMessage for Webhooks {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        if settings.tells(Kind::Accepted) {
            tell(accepted(settings), settings);
        }
        Ok(MessageVerdict::Proceed)
    }
}

impl OnDeliveryResult for Webhooks {
    fn on_delivery_result(outcomes: Vec<RecipientOutcome>) -> Outcome<Vec<RecipientDisposition>> {
        let settings = SETTINGS.get()?;
        let kind = |outcome: &RecipientOutcome| match outcome.kind {
            OutcomeKind::Delivered => Kind::Delivered,
            OutcomeKind::Temporary => Kind::Deferred,
            OutcomeKind::Permanent => Kind::Rejected,
            OutcomeKind::Expired => Kind::Expired,
        };
        tell(of_queue(&outcomes, kind, settings), settings);
        Ok(Vec::new())
    }
}

impl OnBounce for Webhooks {
    fn on_bounce(failed: Vec<RecipientOutcome>) -> Outcome<BounceVerdict> {
        let settings = SETTINGS.get()?;
        tell(of_queue(&failed, |_| Kind::Bounced, settings), settings);
        Ok(BounceVerdict::Proceed)
    }
}

/// One event for each recipient; none of mail that is not to be told of.
fn accepted(settings: &Settings) -> Vec<Event> {
    let (Ok(transaction), Ok(message)) = (context::current_transaction(), context::current_message()) else {
        return Vec::new();
    };
    let sender = transaction.sender();
    if !settings.covers(domain(sender.as_ref())) {
        return Vec::new();
    }
    let (queue_id, now) = (transaction.id(), system::now().seconds);
    let client = context::current_session().ok().map(|session| session.client().address);
    let message_id = message.text("Message-ID");
    let event = |recipient: waypost_plugin::Recipient| Event {
        id: event::id(&queue_id, recipient.index, Kind::Accepted, 0),
        event: Some(Kind::Accepted),
        time: now,
        queue_id: queue_id.clone(),
        sender: written(sender.as_ref()),
        recipient: recipient.mailbox.to_string(),
        original_recipient: recipient.original.to_string(),
        size: message.size(),
        client: client.clone(),
        message_id: message_id.clone(),
        ..Event::default()
    };
    transaction.recipients().into_iter().map(event).collect()
}

fn of_queue(
    outcomes: &[RecipientOutcome],
    kind: impl Fn(&RecipientOutcome) -> Kind,
    settings: &Settings,
) -> Vec<Event> {
    let Ok(delivery) = context::current_delivery() else { return Vec::new() };
    if !settings.covers(domain(delivery.sender().as_ref())) {
        return Vec::new();
    }
    let now = system::now().seconds;
    let told = outcomes.iter().filter(|outcome| settings.tells(kind(outcome)));
    told.map(|outcome| of_outcome(outcome, kind(outcome), &delivery, now)).collect()
}

fn of_outcome(outcome: &RecipientOutcome, kind: Kind, delivery: &Delivery, now: i64) -> Event {
    let recipients = delivery.recipients();
    let recipient = recipients.iter().find(|recipient| recipient.index == outcome.recipient);
    // Made before this one: the first is told as 1.
    let attempt = delivery.attempt().saturating_add(1);
    let queue_id = delivery.queue_id();
    let error = outcome.details.iter().find(|(key, _)| key == "error").map(|(_, value)| value.clone());
    Event {
        id: event::id(&queue_id, outcome.recipient, kind, attempt),
        event: Some(kind),
        time: now,
        queue_id,
        sender: written(delivery.sender().as_ref()),
        recipient: recipient.map(|recipient| recipient.mailbox.to_string()).unwrap_or_default(),
        original_recipient: recipient.map(|recipient| recipient.original.to_string()).unwrap_or_default(),
        size: delivery.message_size(),
        attempt: Some(attempt),
        stage: Some(stage(outcome.stage)),
        reply: outcome.reply.as_ref().map(said),
        remote: outcome.remote_name.clone(),
        error,
        ..Event::default()
    }
}

fn domain(sender: Option<&Mailbox>) -> &str {
    sender.map(|sender| sender.domain.as_str()).unwrap_or_default()
}

fn written(sender: Option<&Mailbox>) -> String {
    sender.map(ToString::to_string).unwrap_or_default()
}

fn said(reply: &Reply) -> String {
    let status = reply.status.as_ref().map(|s| format!("{}.{}.{} ", s.kind, s.subject, s.detail));
    let text: String = reply.lines.join(" ").chars().take(500).collect();
    format!("{} {}{text}", reply.code, status.unwrap_or_default())
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Queue => "queue",
        Stage::Resolve => "resolve",
        Stage::Connect => "connect",
        Stage::Greeting => "greeting",
        Stage::Helo => "helo",
        Stage::Tls => "tls",
        Stage::Auth => "auth",
        Stage::Mail => "mail",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
        Stage::Answer => "answer",
        Stage::Done => "done",
    }
}

/// Tells the events, or keeps them; and when the service is there, the oldest of those that wait.
fn tell(events: Vec<Event>, settings: &Settings) {
    if events.is_empty() {
        return;
    }
    let mut paused = spool::is_paused(settings);
    for some in events.chunks(EVENTS_MAX) {
        let body = serde_json::to_vec(&Batch { version: VERSION, events: some.to_vec() }).unwrap_or_default();
        if !paused {
            match post(&body, settings) {
                Ok(()) => {
                    count("told", some.len());
                    continue;
                }
                Err(why) => {
                    log::write(log::Level::Warn, &format!("the service was not told: {why}"), &[]);
                    spool::pause(settings);
                    paused = true;
                }
            }
        }
        keep(&body, some.len(), settings);
    }
    if !paused && let Some((key, body)) = spool::oldest(settings) {
        match post(&body, settings) {
            Ok(()) => {
                spool::forget(&key);
                count("told-later", 1);
            }
            Err(_) => spool::pause(settings),
        }
    }
}

fn keep(body: &[u8], events: usize, settings: &Settings) {
    match spool::keep(body, settings) {
        Ok(()) => count("kept", events),
        Err(why) => {
            count("lost", events);
            if settings.spool_keys > 0 {
                log::write(log::Level::Warn, &format!("events are lost: {why}"), &[]);
            }
        }
    }
}

fn post(body: &[u8], settings: &Settings) -> Result<(), String> {
    let mut request = Request::post(&settings.url, body.to_vec())
        .header("Content-Type", "application/json")
        .timeout_millis(settings.timeout_millis)
        .answer_max(ANSWER_MAX);
    if settings.sign {
        let signature = event::signature(&config::secret("signing-key")?, system::now().seconds, body)?;
        request = request.header("Waypost-Signature", &signature);
    }
    if settings.send_token {
        request = request.bearer(&config::secret("token")?);
    }
    let response = request.send()?;
    if response.is_success() { Ok(()) } else { Err(format!("its status is {}", response.status)) }
}

fn count(result: &str, events: usize) {
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    // A metric that can't be kept is no reason to fail.
    let _ = metrics::add("events", events, &[("result".to_owned(), result.to_owned())]);
}

waypost_plugin::export!(Webhooks: lifecycle, on_message, on_delivery_result, on_bounce);

#[cfg(test)]
mod tests;
