//! Looking decisions up: segments from the newest to the oldest (or the other way round), line by line.
//!
//! Most lines are passed over without being parsed: what is asked for has to be in them as it was written. Blocking;
//! reads whole segments, so its memory is bounded by the largest. Never writes.

use std::io;
use std::path::Path;
use std::time::Duration;

use memchr::memmem::Finder;
use serde_json::Value;

use super::super::address::Address;
use crate::hooks::Hook;
use crate::ledger::segments::{self, Segment};
use crate::time::Timestamp;

/// Decisions of one answer.
const MOST: usize = 10_000;

/// Lines are made before they are written: by so much may one be older than the name of its segment.
const SLACK: Duration = Duration::from_secs(10);

/// Which decisions; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A queue id or the id of a session.
    pub id: Option<String>,
    /// A sender or recipient, a domain of one, or the client's IP address.
    pub address: Option<String>,
    /// `[plugins.NAME]`.
    pub plugin: Option<String>,
    /// `on-rcpt`, or `rcpt`.
    pub hook: Option<String>,
    /// In one word.
    pub verdict: Option<String>,
    /// Those of plugins that failed only.
    pub failed: bool,
    /// Not before.
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
    pub decisions: Vec<Value>,
    /// There are more that fit.
    pub more: bool,
}

/// True of `on-rcpt` and `rcpt`.
pub(super) fn is_hook(name: &str) -> bool {
    let name = name.strip_prefix("on-").unwrap_or(name);
    Hook::ALL.iter().any(|hook| hook.interface().strip_prefix("on-") == Some(name))
}

/// Looks. Blocking.
pub(super) fn search(folder: &Path, query: &Query) -> io::Result<Found> {
    let limit = if query.limit == 0 { 100 } else { query.limit.min(MOST) };
    let wanted = Wanted::of(query);
    let mut found = Found::default();
    let mut segments = within(segments::list(folder)?, query);
    if !query.oldest {
        segments.reverse();
    }
    for segment in segments {
        let octets = match std::fs::read(&segment.path) {
            // It grew too old meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        if !wanted.may_be_in(&octets) {
            continue;
        }
        let lines = octets.split_inclusive(|octet| *octet == b'\n');
        let mut take = |line: &[u8]| {
            let Some(decision) = wanted.read(line) else { return true };
            if found.decisions.len() >= limit {
                found.more = true;
                return false;
            }
            found.decisions.push(decision);
            true
        };
        let all = if query.oldest { { lines }.all(&mut take) } else { lines.rev().all(take) };
        if !all {
            break;
        }
    }
    Ok(found)
}

/// Segments that may hold lines of the time asked for.
fn within(segments: Vec<Segment>, query: &Query) -> Vec<Segment> {
    let ends: Vec<Option<Timestamp>> = segments.iter().skip(1).map(|next| Some(next.began)).chain([None]).collect();
    let fits = |segment: &Segment, end: Option<Timestamp>| {
        let early = query.since.zip(end).is_some_and(|(since, end)| end < since);
        let late = query.until.is_some_and(|until| segment.began.since(until) > SLACK);
        !early && !late
    };
    segments.into_iter().zip(ends).filter(|(segment, end)| fits(segment, *end)).map(|(segment, _)| segment).collect()
}

/// A query, prepared.
struct Wanted<'a> {
    query: &'a Query,
    hook: Option<String>,
    address: Option<Address>,
    /// What every line that fits has in it.
    marks: Vec<Finder<'static>>,
}

impl<'a> Wanted<'a> {
    fn of(query: &'a Query) -> Self {
        let hook = query.hook.as_ref().map(|hook| match hook.starts_with("on-") {
            true => hook.clone(),
            false => format!("on-{hook}"),
        });
        let address = query.address.as_deref().map(Address::of);
        // As serde_json writes them; the rarest first.
        let text = |text: &str| Value::from(text).to_string();
        let pair = |key: &str, value: &str| format!("\"{key}\":{}", text(value));
        let marks = [
            query.id.as_ref().map(|id| text(&id.to_ascii_lowercase())),
            address.as_ref().map(Address::mark),
            query.failed.then(|| "\"failure\":{".to_owned()),
            query.plugin.as_ref().map(|plugin| pair("plugin", plugin)),
            query.verdict.as_ref().map(|verdict| pair("verdict", verdict)),
            hook.as_ref().map(|hook| pair("hook", hook)),
        ];
        let marks = marks.into_iter().flatten().map(|mark| Finder::new(mark.as_bytes()).into_owned()).collect();
        Self { query, hook, address, marks }
    }

    fn may_be_in(&self, octets: &[u8]) -> bool {
        self.marks.iter().all(|mark| mark.find(octets).is_some())
    }

    /// The decision of a line that fits. One that was torn, or is none, fits nothing.
    fn read(&self, line: &[u8]) -> Option<Value> {
        if line.last() != Some(&b'\n') || !self.may_be_in(line) {
            return None;
        }
        let mut decision: Value = serde_json::from_slice(line).ok()?;
        let at = Timestamp::from_micros(decision.get("at")?.as_i64()?);
        if !self.fits(&decision, at) {
            return None;
        }
        let whole = decision.as_object_mut()?;
        whole.remove("at");
        whole.insert("time".to_owned(), at.rfc3339().into());
        Some(decision)
    }

    fn fits(&self, decision: &Value, at: Timestamp) -> bool {
        let query = self.query;
        let text = |key: &str| decision.get(key).and_then(Value::as_str);
        let is = |key: &str, wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| text(key) == Some(wanted));
        let id = |wanted: &String| {
            [text("queue_id"), text("session")].into_iter().flatten().any(|id| id.eq_ignore_ascii_case(wanted))
        };
        let recipients = decision.get("recipients").and_then(Value::as_array).into_iter().flatten();
        let mut addresses = recipients.filter_map(Value::as_str).chain(text("sender"));
        query.since.is_none_or(|since| since <= at)
            && query.until.is_none_or(|until| at <= until)
            && query.id.as_ref().is_none_or(id)
            && is("plugin", &query.plugin)
            && is("verdict", &query.verdict)
            && is("hook", &self.hook)
            && (!query.failed || decision.get("failure").is_some())
            && self.address.as_ref().is_none_or(|wanted| {
                addresses.any(|address| wanted.is(address)) || text("client").is_some_and(|c| wanted.is_client(c))
            })
    }
}
