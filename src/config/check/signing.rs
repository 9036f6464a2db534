//! `[signing]`, `[dkim.NAME]`, `[arc]`.

use std::sync::Arc;
use std::time::Duration;

use super::{Base, Names, YEAR};
use crate::config::raw::{Table, Value};
use crate::mail::Domain;
use crate::signing::{
    ArcConfig, Canonicalisation, Clients, Config, DEFAULT_FIELDS, DEFAULT_OVER_SIGN, KeyConfig, OnFailure, Policy,
    check_field, check_identity, check_selector,
};
use crate::time::Timestamp;

const CANONICALISATIONS: [(&str, Canonicalisation); 4] = [
    ("relaxed/relaxed", Canonicalisation { relaxed_header: true, relaxed_body: true }),
    ("relaxed/simple", Canonicalisation { relaxed_header: true, relaxed_body: false }),
    ("simple/relaxed", Canonicalisation { relaxed_header: false, relaxed_body: true }),
    ("simple/simple", Canonicalisation { relaxed_header: false, relaxed_body: false }),
];

/// Reads the sections; `listeners` are those that there are.
pub(super) fn config(root: &Table<'_>, base: &Base, listeners: &[Arc<str>]) -> Config {
    let mut keys: Vec<KeyConfig> = Vec::new();
    for (name, value) in root.named("dkim") {
        let Some(table) = value.table() else { continue };
        let Some(key) = key(&name, &table, base) else { continue };
        if let Some(other) = keys.iter().find(|k| k.domain == key.domain && k.selector == key.selector) {
            let help = "one record can hold one key: give this one another selector";
            value.wrong(format!("has the domain and the selector of [dkim.{}]", other.name), help);
        }
        keys.push(key);
    }
    let policy = policy(&root.table("signing"), &keys, listeners);
    let arc = arc(&root.table("arc"), base, listeners);
    Config { policy, keys, arc }
}

fn policy(table: &Table<'_>, keys: &[KeyConfig], listeners: &[Arc<str>]) -> Policy {
    let usual = Policy::default();
    if table.is_written() && keys.is_empty() {
        table.wrong("says what to sign, and there is no key", "add [dkim.NAME] with domain, selector and key-file");
    }
    let on_failure = [("tempfail", OnFailure::Tempfail), ("unsigned", OnFailure::Unsigned)];
    let policy = Policy {
        clients: clients(table).unwrap_or(usual.clients),
        listeners: named_listeners(table, listeners),
        relay_mail: table.bool("relay-mail", usual.relay_mail),
        fallback: with_key(table, "fallback", keys),
        also: with_key(table, "also", keys),
        on_failure: table.choice("on-failure", usual.on_failure, &on_failure),
        again: table.bool("again", usual.again),
    };
    table.finish();
    policy
}

fn clients(table: &Table<'_>) -> Option<Clients> {
    let mut clients = Clients { authenticated: false, networks: false };
    for value in table.get("clients")?.array()? {
        match value.choice(&[("authenticated", true), ("networks", false)]) {
            Some(true) => clients.authenticated = true,
            Some(false) => clients.networks = true,
            None => {}
        }
    }
    Some(clients)
}

/// None: all of them.
fn named_listeners(table: &Table<'_>, listeners: &[Arc<str>]) -> Option<Vec<Arc<str>>> {
    let written = table.get("listeners")?.array()?;
    Some(written.iter().filter_map(|value| Names::defined(value, "listeners", listeners)).collect())
}

fn with_key(table: &Table<'_>, name: &'static str, keys: &[KeyConfig]) -> Option<Domain> {
    let value = table.get(name)?;
    let domain = domain(&value)?;
    if !keys.iter().any(|key| key.domain == domain) {
        value.wrong(format!("no key signs for {domain}"), "add a [dkim.NAME] whose domain it is");
    }
    Some(domain)
}

fn key(name: &Arc<str>, table: &Table<'_>, base: &Base) -> Option<KeyConfig> {
    if &**name == "arc" {
        table.wrong("is the name by which `waypost dkim check` calls the key of [arc]", "choose another one");
    }
    let domain = needed_domain(table);
    let selector = selector(table);
    let file = key_file(table, base);
    let subdomains = table.bool("subdomains", false);
    let (from, until) = (date(table, "from"), date(table, "until"));
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        table.wrong("is never in force: `until` is not after `from`", "swap the two dates");
    }
    let identity = table.get("identity").and_then(|value| {
        let domain = domain.as_ref()?;
        let help = format!("write \"@{domain}\", or leave it out");
        value.parsed(|text| check_identity(text, domain).map(|()| text.into()).map_err(|problem| (problem, help)))
    });
    let fields = names(table, "fields", &DEFAULT_FIELDS);
    let over_sign = names(table, "over-sign", &DEFAULT_OVER_SIGN);
    if !fields.iter().chain(&over_sign).any(|field| field.eq_ignore_ascii_case("From")) {
        table.wrong("does not sign From, without which no signature is good", "add \"From\" to fields");
    }
    let canonicalisation = table.choice("canonicalisation", Canonicalisation::default(), &CANONICALISATIONS);
    let expires = expires(table);
    table.finish();
    Some(KeyConfig {
        name: name.clone(),
        domain: domain?,
        subdomains,
        selector: selector?,
        file: file?,
        from,
        until,
        identity,
        fields,
        over_sign,
        canonicalisation,
        expires,
    })
}

fn arc(table: &Table<'_>, base: &Base, listeners: &[Arc<str>]) -> Option<ArcConfig> {
    if !table.is_written() {
        // The keys have to be known all the same.
        for key in ["domain", "selector", "key-file", "listeners"] {
            table.get(key);
        }
        return None;
    }
    let (domain, selector, file) = (needed_domain(table), selector(table), key_file(table, base));
    let listeners = named_listeners(table, listeners);
    table.finish();
    Some(ArcConfig { domain: domain?, selector: selector?, file: file?, listeners })
}

fn needed_domain(table: &Table<'_>) -> Option<Domain> {
    match table.get("domain") {
        Some(value) => domain(&value),
        None => {
            table.missing("domain", "write the domain that signs, such as \"example.org\"");
            None
        }
    }
}

fn domain(value: &Value<'_>) -> Option<Domain> {
    const HELP: &str = "write a domain name, such as \"example.org\"";
    value.parsed(|text| match Domain::parse(text) {
        Ok(domain) if !domain.is_literal() => Ok(domain),
        _ => Err((format!("{text:?} is no domain name"), HELP.to_owned())),
    })
}

fn selector(table: &Table<'_>) -> Option<Arc<str>> {
    const HELP: &str = "write a name for the key, a new one for each new key, such as \"s2026\"";
    match table.get("selector") {
        Some(value) => value.parsed(|text| {
            check_selector(text)
                .map(|()| text.to_ascii_lowercase().into())
                .map_err(|problem| (problem, HELP.to_owned()))
        }),
        None => {
            table.missing("selector", HELP);
            None
        }
    }
}

fn key_file(table: &Table<'_>, base: &Base) -> Option<std::path::PathBuf> {
    match table.get("key-file") {
        Some(value) => value.text().map(|path| base.resolve(path)),
        None => {
            table.missing("key-file", "write the path of the private key: `waypost dkim keygen` makes one");
            None
        }
    }
}

/// A day, which begins at midnight UTC, or a moment.
fn date(table: &Table<'_>, key: &'static str) -> Option<Timestamp> {
    table.parsed(key, |text| {
        let found = Timestamp::parse(&format!("{text}T00:00:00Z")).or_else(|| Timestamp::parse(text));
        let help = "write a day, such as \"2026-11-26\", or a moment, such as \"2026-11-26T12:00:00Z\"";
        found.ok_or_else(|| (format!("{text:?} is no date"), help.to_owned()))
    })
}

fn names(table: &Table<'_>, key: &'static str, usual: &[&str]) -> Vec<Arc<str>> {
    let Some(written) = table.get(key).and_then(|value| value.array()) else {
        return usual.iter().map(|name| Arc::from(*name)).collect();
    };
    let help = "write names of header fields, such as \"Subject\"";
    let read =
        |text: &str| check_field(text).map(|()| Arc::<str>::from(text)).map_err(|problem| (problem, help.to_owned()));
    let mut names: Vec<Arc<str>> = Vec::new();
    for value in written {
        if let Some(name) = value.parsed(read)
            && !names.iter().any(|known| known.eq_ignore_ascii_case(&name))
        {
            names.push(name);
        }
    }
    names
}

/// Shorter than an hour, a signature would be over before mail has come through a queue.
fn expires(table: &Table<'_>) -> Option<Duration> {
    match table.get("expires") {
        Some(value) if value.is_word("never") => None,
        Some(value) => value.duration(Duration::from_secs(3600)..=YEAR),
        None => None,
    }
}
