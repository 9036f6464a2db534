//! `waypost queue`: list, show, and the commands that change what is queued.

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Value, json};

use super::args::{Common, Queue, Which};
use super::render::{Elements, age, clean, count, cut, size, table};
use super::{Failure, connect};
use crate::admin::{Client, CommandForm, FilterForm, MessageView, OutcomeView, RecipientView, Summary};

/// Messages asked for at a time.
const PAGE: usize = 500;

/// One of the subcommands.
pub(super) async fn queue(common: &Common, command: Queue, out: &mut dyn Write) -> Result<(), Failure> {
    let mut client = connect(common).await?;
    match command {
        Queue::List { filter, limit } => list(&mut client, common, filter.into(), limit, out).await,
        Queue::Show { id } => {
            let message = client.queue_show(id).await?;
            let text = if common.json { format!("{}\n", json!(message)) } else { show(&message) };
            Ok(out.write_all(text.as_bytes())?)
        }
        Queue::Retry { which, reroute } => {
            change(&mut client, common, which, CommandForm::Retry { reroute }, "due now", out).await
        }
        Queue::Hold { which, reason } => {
            change(&mut client, common, which, CommandForm::Hold { reason }, "held", out).await
        }
        Queue::Release { which } => change(&mut client, common, which, CommandForm::Release, "released", out).await,
        Queue::Remove { which } => change(&mut client, common, which, CommandForm::Remove, "removed", out).await,
    }
}

/// Page by page, so that a queue of millions needs little memory at either end.
async fn list(
    client: &mut Client,
    common: &Common,
    filter: FilterForm,
    limit: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (mut after, mut shown) = (None, 0);
    let mut elements = common.json.then(|| Elements::start(out)).transpose()?;
    loop {
        let room = limit.map_or(PAGE, |limit| limit.saturating_sub(shown).min(PAGE));
        if room == 0 {
            break;
        }
        let page = client.queue_list(filter.clone(), after, room).await?;
        match &mut elements {
            Some(elements) => page.messages.iter().try_for_each(|message| elements.add(&json!(message), out))?,
            None if page.messages.is_empty() => {}
            None => write!(out, "{}", rows(&page.messages))?,
        }
        shown += page.messages.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match elements {
        Some(elements) => elements.end(out)?,
        None => writeln!(out, "{}", count(shown as u64, "message"))?,
    }
    Ok(())
}

async fn change(
    client: &mut Client,
    common: &Common,
    which: Which,
    command: CommandForm,
    done: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let changed = client.queue_command(which.filter.into(), which.all, command).await?;
    if common.json {
        writeln!(out, "{}", json!({ "changed": changed }))?;
    } else if changed > 0 {
        writeln!(out, "{} {done}", count(changed, "message"))?;
    }
    // Nothing to do is fine for `--all`; whoever names messages expects them to be there.
    if changed == 0 && !which.all { Err(Failure::refused("waypost: no message in the queue fits")) } else { Ok(()) }
}

/// A page of messages.
pub(super) fn rows(messages: &[Summary]) -> String {
    const ADDRESS: usize = 40;
    let row = |message: &Summary| {
        let first = message.recipients.first().map(|first| cut(first, ADDRESS)).unwrap_or_default();
        let recipients = if message.waiting > 1 { format!("{first} +{}", message.waiting - 1) } else { first };
        let due = match (&message.held, message.due_in_secs) {
            (Some(_), _) => "held".to_owned(),
            (None, Some(0)) => "now".to_owned(),
            (None, Some(secs)) => format!("in {}", age(secs)),
            (None, None) => "-".to_owned(),
        };
        let last = message.held.as_ref().or(message.last.as_ref());
        vec![
            message.id.clone(),
            age(message.age_secs),
            size(message.size),
            message.attempts.to_string(),
            due,
            cut(&message.sender, ADDRESS),
            recipients,
            last.cloned().unwrap_or_default(),
        ]
    };
    let heads = ["ID", "AGE", "SIZE", "TRIES", "DUE", "SENDER", "RECIPIENTS", "LAST"];
    table(&heads, &messages.iter().map(row).collect::<Vec<_>>())
}

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
    line("", &format!("due {}, {}", recipient.due, count(recipient.attempts.into(), "attempt")));
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
