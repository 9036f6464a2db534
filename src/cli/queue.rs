//! `waypost queue`: lists, and one message at a time. What changes the queue is in `queue_change`.

use std::io::Write;

use serde_json::json;

use super::args::Common;
use super::queue_args::Queue;
use super::render::{Elements, age, count, cut, size, table};
use super::{Failure, connect, queue_change, queue_show, queue_summary};
use crate::admin::{Client, FilterForm, Next, Summary};

/// Messages asked for at a time.
const PAGE: usize = 500;

/// One of the subcommands.
pub(super) async fn queue(common: &Common, command: Queue, out: &mut dyn Write) -> Result<(), Failure> {
    let client = &mut connect(common).await?;
    match command {
        Queue::List { filter, limit } => list(client, common, filter.into(), limit, out).await,
        Queue::Count { filter } => {
            let counted = total(client, &filter.into()).await?;
            let text = if common.json { format!("{}\n", json!(counted)) } else { format!("{}\n", counted.show()) };
            Ok(out.write_all(text.as_bytes())?)
        }
        Queue::Summary { filter, by, limit } => {
            queue_summary::summary(client, common, filter.into(), by, limit, out).await
        }
        Queue::Show { id } => {
            let message = client.queue_show(id).await?;
            let text = if common.json { format!("{}\n", json!(message)) } else { queue_show::show(&message) };
            Ok(out.write_all(text.as_bytes())?)
        }
        Queue::Cat { id } => Ok(client.queue_cat(id, |piece| out.write_all(piece)).await?),
        other => queue_change::change(client, common, other, out).await,
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
    usable(&filter)?;
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

/// What is wrong with a filter is wrong usage, and told before anybody is asked.
pub(super) fn usable(filter: &FilterForm) -> Result<(), Failure> {
    filter.filter().map(|_fine| ()).map_err(Failure::Unusable)
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Total {
    pub(super) messages: u64,
    pub(super) recipients: u64,
    pub(super) octets: u64,
    #[serde(skip)]
    pub(super) ids: Vec<String>,
}

impl Total {
    /// `12 messages, 40 recipients, 1.2 MiB`.
    pub(super) fn show(&self) -> String {
        let Self { messages, recipients, octets, .. } = self;
        format!("{}, {}, {}", count(*messages, "message"), count(*recipients, "recipient"), size(*octets))
    }
}

/// Counts, step by step.
pub(super) async fn total(client: &mut Client, filter: &FilterForm) -> Result<Total, Failure> {
    usable(filter)?;
    let (mut total, mut next) = (Total::default(), Next::default());
    loop {
        let counted = client.queue_count(filter.clone(), &next).await?;
        total.messages += counted.messages;
        total.recipients += counted.recipients;
        total.octets += counted.octets;
        if total.ids.is_empty() {
            total.ids = counted.ids;
        }
        next = counted.next;
        if next.next.is_none() {
            return Ok(total);
        }
    }
}

/// A page of messages.
pub(super) fn rows(messages: &[Summary]) -> String {
    const ADDRESS: usize = 40;
    let row = |message: &Summary| {
        let first = message.recipients.first().map(|first| cut(first, ADDRESS)).unwrap_or_default();
        let recipients = if message.waiting > 1 { format!("{first} +{}", message.waiting - 1) } else { first };
        let due = match (&message.held, message.due_in_secs) {
            (Some(_), _) => "held".to_owned(),
            (None, _) if message.suspended > 0 => "suspended".to_owned(),
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
