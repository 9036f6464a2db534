//! One message for people: envelope, recipients, why they wait, what became of them, header section.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::render::{clean, count, size};
use crate::admin::{MessageView, OutcomeView, PastView, RecipientView};

/// One message in full.
pub(super) fn show(message: &MessageView) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Infallible for a String.
        let _ = writeln!(text, "{label:<12}{}", clean(value));
    };
    line("id", &message.id);
    line("arrived", &message.arrived);
    line("sender", &with(&message.sender, &message.sender_params));
    line("size", &size(message.size));
    if let Some(reason) = &message.held {
        line("held", reason);
    }
    match &message.origin {
        Some(origin) => line("origin", &origin_of(origin)),
        None => line("origin", "this relay"),
    }
    if message.priority != 0 {
        line("priority", &message.priority.to_string());
    }
    if !message.tags.is_empty() {
        line("tags", &message.tags.join(", "));
    }
    for (plugin, key, value) in &message.annotations {
        line("annotation", &format!("{plugin}.{key} = {value}"));
    }
    for recipient in &message.recipients {
        show_recipient(recipient, &mut line);
    }
    text.push('\n');
    for header in message.header.lines() {
        text.push_str(&clean(header));
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn show_recipient(recipient: &RecipientView, line: &mut impl FnMut(&str, &str)) {
    line("recipient", &with(&recipient.address, &recipient.params));
    if let Some(original) = &recipient.original {
        line("", &format!("sent to {original}"));
    }
    let warned = if recipient.warned { ", the sender knows of the delay" } else { "" };
    line("", &format!("due {}, {}{warned}", recipient.due, count(recipient.attempts.into(), "attempt")));
    if !recipient.waits.is_empty() {
        line("", &recipient.waits);
    }
    if !recipient.next_hops.is_empty() {
        line("", &format!("goes to {}", recipient.next_hops.join(", then ")));
    }
    for PastView { at, took_ms, hop, remote, kind, stage, said } in &recipient.history {
        let whose = remote.as_deref().map(|remote| format!(" ({remote})")).unwrap_or_default();
        line("", &format!("tried {at}, {took_ms} ms, {hop}{whose}: {kind} at {stage}: {said}"));
    }
    if let Some(route) = &recipient.route {
        line("", &format!("routed by a plugin: {}", json!(route)));
    }
    if let Some(OutcomeView { kind, stage, reply, error, remote, at }) = &recipient.last {
        let said = reply.as_deref().or(error.as_deref()).unwrap_or("no reply");
        let why =
            error.as_deref().filter(|error| *error != said).map(|error| format!(" ({error})")).unwrap_or_default();
        let whose = remote.as_deref().map(|remote| format!(" from {remote}")).unwrap_or_default();
        line("", &format!("last {at}: {kind} at {stage}{whose}: {said}{why}"));
    }
}

/// `listener=smtp client=192.0.2.1 helo=client.example.org`: what is known of it, in its own words.
fn origin_of(origin: &Value) -> String {
    let known = origin.as_object().into_iter().flatten().filter_map(|(key, value)| match value {
        Value::Null => None,
        Value::String(text) => Some(format!("{key}={text}")),
        // The client: an address with a port.
        Value::Object(endpoint) => Some(format!("{key}={}", endpoint.get("address")?.as_str()?)),
        other => Some(format!("{key}={other}")),
    });
    known.collect::<Vec<_>>().join(" ")
}

fn with(address: &str, params: &[String]) -> String {
    std::iter::once(address).chain(params.iter().map(|param| &**param)).collect::<Vec<_>>().join(" ")
}
