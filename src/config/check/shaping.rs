//! `[shaping]`: rules for sites, and what is done when they complain.

use std::sync::Arc;
use std::time::Duration;

use regex::RegexBuilder;

use super::Names;
use super::delivery::{HOUR, SECOND};
use super::relay::read_domain_pattern;
use crate::config::raw::{Table, Value};
use crate::delivery::{
    Adjustments, Backoff, CodePattern, Complaint, Reaction, Rule, Shaping, Slow, StatusPattern, Whom, shipped,
};
use crate::hooks::TlsPolicy;

const DAY: Duration = Duration::from_secs(86_400);

/// A compiled pattern is no larger: it is run over what strangers send.
const REGEX_SIZE: usize = 1 << 20;

/// What a rule can set.
const SETS: [&str; 13] = [
    "site",
    "from",
    "tls",
    "connections",
    "recipients",
    "messages-per-connection",
    "idle",
    "per-second",
    "per-minute",
    "per-hour",
    "per-day",
    "connects-per-minute",
    "cool-down",
];

/// Reads the section.
pub(super) fn shaping(table: &Table<'_>, names: &Names) -> Shaping {
    let rules = table.array("rules");
    let rules = rules.iter().zip(0..).filter_map(|(value, at)| rule(value, at, names)).collect();
    let backoff = table.array("backoff");
    let mut backoff: Vec<Backoff> =
        backoff.iter().zip(0..).filter_map(|(value, at)| self::backoff(value, at, names)).collect();
    if table.bool("shipped-backoff", true) {
        backoff.extend(shipped());
    }
    let tenant = table.parsed("tenant", |text| {
        let help = "write the plugin and the key of its annotation, such as \"accounts/tenant\"".to_owned();
        let parts = text.split_once('/').filter(|(plugin, key)| !plugin.is_empty() && !key.is_empty());
        let (plugin, key) = parts.ok_or_else(|| (format!("{text:?} names no annotation"), help))?;
        Ok((Arc::from(plugin), Arc::from(key)))
    });
    table.finish();
    Shaping { rules, backoff, tenant }
}

fn rule(value: &Value<'_>, at: usize, names: &Names) -> Option<Rule> {
    let table = value.table()?;
    let name = name(&table, "shaping.rules", at);
    let whom = whom(&table, names);
    let number =
        |key, most| table.get(key).and_then(|value| value.integer(1..=most)).and_then(|n| u32::try_from(n).ok());
    let words = [("encrypt", TlsPolicy::Encrypt), ("verify", TlsPolicy::Verify)];
    let set = Adjustments {
        site: table.text("site").map(Arc::from),
        from: table.get("from").and_then(|value| from(&value, &whom, names)),
        tls: table.get("tls").and_then(|value| value.choice(&words)),
        connections: number("connections", 10_000).map(|n| n as usize),
        recipients: number("recipients", 10_000).map(|n| n as usize),
        messages_per_connection: number("messages-per-connection", 1_000_000),
        idle: table.get("idle").and_then(|value| value.duration(Duration::ZERO..=Duration::from_secs(600))),
        per_second: number("per-second", 1_000_000),
        per_minute: number("per-minute", 10_000_000),
        per_hour: number("per-hour", 100_000_000),
        per_day: number("per-day", 1_000_000_000),
        connects_per_minute: number("connects-per-minute", 1_000_000),
        cool_down: table.get("cool-down").and_then(|value| value.duration(Duration::ZERO..=HOUR)),
    };
    let written = |key: &&'static str| table.get(key).is_some();
    if !SETS.iter().any(written) {
        table.wrong("sets nothing", "write what it limits, such as connections = 5");
    }
    table.finish();
    Some(Rule { name, whom, set })
}

/// Its own name, or its place in the file.
fn name(table: &Table<'_>, section: &str, at: usize) -> Arc<str> {
    table.text("name").map_or_else(|| format!("{section}[{at}]").into(), Arc::from)
}

/// A source for messages is picked before their exchangers are looked up.
fn from(value: &Value<'_>, whom: &Whom, names: &Names) -> Option<Arc<str>> {
    if !whom.mx.is_empty() || !whom.source.is_empty() {
        value.wrong("a source is picked by domain or tenant", "leave mx and source out of this rule");
        return None;
    }
    Names::defined(value, "sources", &names.origins)
}

fn whom(table: &Table<'_>, names: &Names) -> Whom {
    let pattern =
        |value: &Value<'_>| value.parsed(|text| read_domain_pattern(text).map(|found| Arc::from(found.as_str())));
    Whom {
        domain: one_or_many(table, "domain", pattern),
        mx: one_or_many(table, "mx", pattern),
        source: one_or_many(table, "source", |value| Names::defined(value, "sources", &names.sources)),
        tenant: one_or_many(table, "tenant", |value| value.text().map(Arc::from)),
    }
}

/// A value, or an array of them.
fn one_or_many<T>(table: &Table<'_>, key: &'static str, read: impl Fn(&Value<'_>) -> Option<T>) -> Vec<T> {
    let Some(value) = table.get(key) else { return Vec::new() };
    match value.as_text() {
        Some(_) => read(&value).into_iter().collect(),
        None => value.array().unwrap_or_default().iter().filter_map(read).collect(),
    }
}

fn backoff(value: &Value<'_>, at: usize, names: &Names) -> Option<Backoff> {
    let table = value.table()?;
    let name = name(&table, "shaping.backoff", at);
    let code = |value: &Value<'_>| {
        let help = "write a code or its first digits, such as \"421\" or \"45z\"";
        value.parsed(|text| {
            CodePattern::parse(text).ok_or_else(|| (format!("{text:?} is no code of refusals"), help.into()))
        })
    };
    let status = |value: &Value<'_>| {
        let help = "write a status or its first parts, such as \"4.7.28\" or \"4.7.*\"";
        value.parsed(|text| {
            StatusPattern::parse(text).ok_or_else(|| (format!("{text:?} is no such status"), help.into()))
        })
    };
    let written = ["reply", "code", "status"].map(|key| table.get(key).is_some());
    let complaint = Complaint {
        reply: table.parsed("reply", regex),
        code: one_or_many(&table, "code", code),
        status: one_or_many(&table, "status", status),
    };
    if !written.contains(&true) {
        table.wrong("does not say which replies it is about", "write reply = \"a regular expression\", code or status");
    }
    let backoff = Backoff {
        name,
        whom: whom(&table, names),
        complaint,
        count: u32::try_from(table.integer("count", 1, 1..=1000)).unwrap_or(1),
        within: table.duration("within", Duration::from_secs(600), SECOND..=DAY),
        reaction: reaction(&table)?,
    };
    table.finish();
    Some(backoff)
}

fn regex(text: &str) -> Result<regex::Regex, (String, String)> {
    let built = RegexBuilder::new(text).case_insensitive(true).size_limit(REGEX_SIZE).build();
    built.map_err(|error| {
        // The first lines draw the pattern; the last one says what is wrong with it.
        let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        (format!("is no regular expression: {why}"), "upper and lower case are the same to it".to_owned())
    })
}

fn reaction(table: &Table<'_>) -> Option<Reaction> {
    let number =
        |key, most| table.get(key).and_then(|value| value.integer(1..=most)).and_then(|n| u32::try_from(n).ok());
    let suspend = table.get("suspend");
    let slow = Slow {
        connections: number("connections", 10_000).map(|n| n as usize),
        divide: number("divide", 1000).unwrap_or(1),
        per_minute: number("per-minute", 10_000_000),
        lasts: table.duration("for", Duration::from_secs(600), SECOND..=DAY),
        successes: number("successes", 1_000_000),
    };
    let slows = slow.connections.is_some() || slow.divide > 1 || slow.per_minute.is_some();
    match (suspend, slows) {
        (Some(value), false) => value.duration(SECOND..=DAY).map(Reaction::Suspend),
        (None, true) => Some(Reaction::Slow(slow)),
        (Some(value), true) => {
            value.wrong("a site that is left alone can't be slow too", "keep either suspend or the slower limits");
            None
        }
        (None, false) => {
            let help = "write suspend = \"10m\", or what is less: connections, divide, per-minute, with for = \"10m\"";
            table.wrong("does nothing", help);
            None
        }
    }
}
