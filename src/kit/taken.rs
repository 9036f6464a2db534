//! Messages that a rehearsed relay has taken, read back from its queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::event::{hop_text, split};
use crate::mail::{Field, Header};
use crate::queue::{Command, Filter, Queue, Record};
use crate::store::Content;

/// More than a case ever sends.
const MOST: usize = 10_000;

/// Octets of a body read at a time.
const CHUNK: usize = 256 << 10;

/// A message as it stands in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Empty for the null sender.
    pub sender: String,
    pub recipients: Vec<String>,
    /// `Name: value`, unfolded, the relay's trace field among them.
    pub headers: Vec<String>,
    pub body: String,
    pub held: Option<String>,
    /// Those of the plugin.
    pub annotations: BTreeMap<String, String>,
    pub tags: Vec<String>,
    /// Hops of the first recipient's route.
    pub route: Vec<String>,
}

impl Taken {
    /// In one line, without its content.
    pub(crate) fn line(&self) -> String {
        let mut text = format!("from <{}> to {}", self.sender, self.recipients.join(", "));
        if let Some(reason) = &self.held {
            text.push_str(&format!(", held: {reason}"));
        }
        if !self.route.is_empty() {
            text.push_str(&format!(", by {}", self.route.join(", ")));
        }
        let field = |line: &&String| !line.starts_with("Received:");
        self.headers.iter().filter(field).for_each(|line| text.push_str(&format!("; {line}")));
        text
    }
}

/// All of them, oldest first; then the queue is empty.
pub(crate) async fn take_all(queue: &Queue, plugin: &str) -> Result<Vec<Taken>, String> {
    let filter = Filter::default();
    let said = |error: crate::queue::QueueError| format!("the queue: {error}");
    let mut taken = Vec::new();
    for record in queue.list(&filter, None, MOST).map_err(said)? {
        let Some((record, head, body)) = queue.whole(record.id).await.map_err(said)? else { continue };
        let body = whole(&body).await.map_err(|error| format!("the queue: {error}"))?;
        taken.push(described(&record, &head, &body, plugin));
    }
    queue.command(&filter, Command::Remove).await.map_err(said)?;
    Ok(taken)
}

async fn whole(body: &Content) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    while (octets.len() as u64) < body.len() {
        let part = body.read_at(octets.len() as u64, CHUNK).await?;
        if part.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        octets.extend_from_slice(&part);
    }
    Ok(octets)
}

fn described(record: &Arc<Record>, head: &Bytes, body: &[u8], plugin: &str) -> Taken {
    let (header, _, _) = split(head);
    let line = |field: Field<'_>| format!("{}: {}", field.name, field.unfolded());
    let own = record.annotations.iter().filter(|(of, _, _)| *of == plugin);
    let route = record.recipients.first().and_then(|recipient| recipient.route.as_ref());
    Taken {
        sender: record.sender.0.as_ref().map(ToString::to_string).unwrap_or_default(),
        recipients: record.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect(),
        headers: Header::parse(header).fields().map(line).collect(),
        body: String::from_utf8_lossy(body).into_owned(),
        held: record.held.as_deref().map(str::to_owned),
        annotations: own.map(|(_, key, annotation)| (key.to_owned(), annotation.value.to_string())).collect(),
        tags: record.tags.iter().map(ToString::to_string).collect(),
        route: route.map(|route| route.hops.iter().map(hop_text).collect()).unwrap_or_default(),
    }
}
