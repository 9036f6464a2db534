//! `waypost why`: what plugins decided, and what came of it.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::args::Common;
use super::ban::seconds;
use super::render::{Elements, clean, count};
use super::{Failure, connect};
use crate::admin::WhyForm;

/// Which decisions; all that is given must hold.
#[derive(Debug, Default, Args)]
pub(super) struct Why {
    /// A queue id or the id of a session, as logs and replies name them; or a sender, a recipient, a domain, or a
    /// client's IP address.
    #[arg(value_name = "ID|ADDRESS")]
    pub(super) about: Option<String>,
    /// Of this plugin.
    #[arg(long, value_name = "NAME")]
    pub(super) plugin: Option<String>,
    /// At this hook: connect, helo, auth, mail, rcpt, message, route, delivery-attempt, delivery-result, bounce.
    #[arg(long, value_name = "HOOK")]
    pub(super) hook: Option<String>,
    /// In one word: reject, tempfail, quarantine…
    #[arg(long, value_name = "WORD")]
    pub(super) verdict: Option<String>,
    /// Where the plugin failed, and its failure policy decided.
    #[arg(long)]
    pub(super) failed: bool,
    /// Not longer ago than this: 90s, 15m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(super) since: Option<u64>,
    /// Longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(super) until: Option<u64>,
    /// The first ones that fit, instead of the last ones.
    #[arg(long)]
    pub(super) oldest: bool,
    /// At most so many, up to 10,000.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) limit: usize,
}

impl From<Why> for WhyForm {
    fn from(why: Why) -> Self {
        let Why { about, plugin, hook, verdict, failed, since, until, oldest, limit } = why;
        // Ids have neither; addresses, domains and IP addresses have one of them.
        let is_address = |about: &String| about.contains(['@', '.', ':']);
        let (address, id) = (about.clone().filter(is_address), about.filter(|about| !is_address(about)));
        Self { id, address, plugin, hook, verdict, failed, since_secs: since, until_secs: until, oldest, limit }
    }
}

/// Asks the relay and shows what it found, in order of time.
pub(super) async fn why(common: &Common, which: Why, out: &mut dyn Write) -> Result<(), Failure> {
    let oldest = which.oldest;
    let (mut decisions, more) = connect(common).await?.why(which.into()).await?;
    if !oldest {
        decisions.reverse();
    }
    if common.json {
        let mut elements = Elements::start(out)?;
        decisions.iter().try_for_each(|decision| elements.add(decision, out))?;
        return Ok(elements.end(out)?);
    }
    Ok(write!(out, "{}", show(&decisions, more))?)
}

/// For people: a paragraph for each message, or for a session where it is about none.
pub(super) fn show(decisions: &[Value], more: bool) -> String {
    let mut groups: Vec<(String, Vec<&Value>)> = Vec::new();
    for decision in decisions {
        let about = about(decision);
        match groups.iter_mut().find(|(head, _)| *head == about) {
            Some((_, group)) => group.push(decision),
            None => groups.push((about, vec![decision])),
        }
    }
    let mut text = String::new();
    for (head, group) in &groups {
        // Infallible for a String, here and below.
        let _ = writeln!(text, "{}", clean(head));
        for decision in group {
            show_one(decision, &mut text);
        }
    }
    let _ = write!(text, "{}", count(decisions.len() as u64, "decision"));
    text.push_str(if more { "; there are more: see --limit, --since and --oldest\n" } else { "\n" });
    text
}

/// `message 1j0v8up7ite00 from a@client.test, session 1j0v8up7it400 of 192.0.2.1`.
fn about(decision: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(id) = word(decision, "queue_id") {
        let sender = word(decision, "sender").map(|sender| format!(" from {sender}")).unwrap_or_default();
        parts.push(format!("message {id}{sender}"));
    }
    if let Some(session) = word(decision, "session") {
        let client = word(decision, "client").map(|client| format!(" of {client}")).unwrap_or_default();
        parts.push(format!("session {session}{client}"));
    }
    parts.join(", ")
}

/// One line for the decision, one for its failure, one for each edit.
fn show_one(decision: &Value, text: &mut String) {
    let part = |key: &str| word(decision, key).unwrap_or_default();
    let mut line = format!("  {}  {}  {}", part("time"), part("hook"), part("plugin"));
    let _ = write!(line, " {} (generation {}): {}", part("version"), part("generation"), part("verdict"));
    if let Some(told) = decision.get("told").and_then(Value::as_str) {
        let _ = write!(line, ", told {told}");
    }
    if let Some(whole) = decision.get("whole") {
        let _ = write!(line, " {whole}");
    }
    let recipients = decision.get("recipients").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named: Vec<&str> = recipients.iter().filter_map(Value::as_str).collect();
    if !named.is_empty() {
        let _ = write!(line, "; for {}", named.join(", "));
    }
    if let Some(more) = word(decision, "more_recipients") {
        let _ = write!(line, " and {more} more");
    }
    let number = |key: &str| decision.get(key).and_then(Value::as_u64).unwrap_or_default();
    let _ = write!(line, "; took {} µs, {} of them CPU", number("wall_us"), number("cpu_us"));
    if number("host_calls") > 0 {
        let _ = write!(line, ", {}", count(number("host_calls"), "host call"));
    }
    let _ = writeln!(text, "{}", clean(&line));
    if let Some(failure) = decision.get("failure") {
        let part = |key: &str| word(failure, key).unwrap_or_default();
        let failed = format!("failed, {}: it {}; its policy is {}", part("kind"), part("detail"), part("policy"));
        let _ = writeln!(text, "    {}", clean(&failed));
    }
    let edits = decision.get("edits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for edit in edits {
        let _ = writeln!(text, "    {}", clean(&edit_of(edit)));
    }
    if let Some(more) = word(decision, "more_edits") {
        let _ = writeln!(text, "    and {more} more edits");
    }
}

/// `annotate: key "triplet", value "new"`.
fn edit_of(edit: &Value) -> String {
    let parts = edit.as_object().into_iter().flatten().filter(|(key, _)| *key != "edit");
    let parts: Vec<String> = parts.map(|(key, value)| format!("{key} {value}")).collect();
    format!("{}: {}", word(edit, "edit").unwrap_or_default(), parts.join(", "))
}

/// A text or a number, if there is one.
fn word(value: &Value, key: &str) -> Option<String> {
    match value.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
