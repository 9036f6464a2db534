//! Looking messages up: segments from the newest to the oldest (or the other way round), line by line. Blocking; reads
//! whole segments, so its memory is bounded by the largest. Never writes.

use std::io;
use std::path::Path;

use memchr::memmem::Finder;
use serde_json::Value;

use crate::ledger::segments;
use crate::time::Timestamp;

/// Messages of one answer.
const MOST: usize = 10_000;

/// Which messages; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Its queue id.
    pub id: Option<String>,
    /// The sender contains.
    pub sender: Option<String>,
    /// A recipient contains.
    pub recipient: Option<String>,
    /// With a recipient that was not delivered to.
    pub failed: bool,
    /// Left the queue not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// The first ones that fit, not the last ones.
    pub oldest: bool,
    /// At most so many; zero stands for a hundred.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The newest first, unless the oldest were asked for.
    pub messages: Vec<Value>,
    /// There are more that fit.
    pub more: bool,
}

/// Looks. Blocking.
pub(super) fn search(folder: &Path, query: &Query) -> io::Result<Found> {
    let limit = if query.limit == 0 { 100 } else { query.limit.min(MOST) };
    let id = query.id.as_ref().map(|id| format!("\"queue_id\":{}", Value::from(id.to_ascii_lowercase())));
    let mark = id.as_ref().map(|mark| Finder::new(mark.as_bytes()));
    let mut found = Found::default();
    let mut segments = segments::list(folder)?;
    if !query.oldest {
        segments.reverse();
    }
    for segment in segments {
        let octets = match std::fs::read(&segment.path) {
            // It grew too old meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        if mark.as_ref().is_some_and(|mark| mark.find(&octets).is_none()) {
            continue;
        }
        let lines = octets.split_inclusive(|octet| *octet == b'\n');
        let mut take = |line: &[u8]| {
            if mark.as_ref().is_some_and(|mark| mark.find(line).is_none()) {
                return true;
            }
            let Some(message) = read(line, query) else { return true };
            if found.messages.len() >= limit {
                found.more = true;
                return false;
            }
            found.messages.push(message);
            true
        };
        let all = if query.oldest { { lines }.all(&mut take) } else { lines.rev().all(take) };
        if !all {
            break;
        }
    }
    Ok(found)
}

/// The message of a line that fits. One that was torn, or is none, fits nothing.
fn read(line: &[u8], query: &Query) -> Option<Value> {
    if line.last() != Some(&b'\n') {
        return None;
    }
    let mut message: Value = serde_json::from_slice(line).ok()?;
    let at = Timestamp::from_micros(message.get("at")?.as_i64()?);
    if query.since.is_some_and(|since| at < since) || query.until.is_some_and(|until| at > until) {
        return None;
    }
    let contains = |text: &str, part: &str| text.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let recipients = message.get("recipients").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let fits = query.id.as_ref().is_none_or(|id| text(&message, "queue_id").eq_ignore_ascii_case(id))
        && query.sender.as_ref().is_none_or(|part| contains(&text(&message, "sender"), part))
        && query.recipient.as_ref().is_none_or(|part| {
            recipients.iter().any(|one| contains(&text(one, "address"), part) || contains(&text(one, "original"), part))
        })
        && (!query.failed || recipients.iter().any(|one| text(one, "became") != "delivered"));
    if !fits {
        return None;
    }
    let whole = message.as_object_mut()?;
    whole.shift_remove("at");
    whole.insert("time".to_owned(), at.rfc3339().into());
    if let Some(arrived) = whole.get_mut("arrived") {
        *arrived = arrived.as_i64().map(|at| Timestamp::from_micros(at).rfc3339()).into();
    }
    Some(message)
}
