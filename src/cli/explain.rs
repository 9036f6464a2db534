//! `waypost explain`: why mail goes the way it goes. `waypost destinations`: how the sites stand that it goes to.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::args::Common;
use super::render::{age, clean, count, cut, table};
use super::{Failure, connect};
use crate::admin::{Client, ExplainForm};
use crate::{app, config};

/// Which mail.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The recipients' domain, or a recipient.
    #[arg(value_name = "DOMAIN|ADDRESS", required_unless_present = "recipient")]
    domain: Option<String>,
    /// The same, as the address of a recipient.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "domain")]
    recipient: Option<String>,
    /// Mail of this sender; an empty one is that of bounces.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Mail of this tenant, as `shaping.tenant` finds it.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Ask no relay: what the configuration and the DNS say.
    #[arg(long)]
    offline: bool,
}

/// Asks the relay, and where none answers, the configuration.
pub(super) async fn explain(common: &Common, explain: Explain, out: &mut dyn Write) -> Result<(), Failure> {
    let Explain { domain, recipient, sender, tenant, offline } = explain;
    let about = ExplainForm { domain: domain.or(recipient).unwrap_or_default(), sender, tenant };
    let client = if offline { None } else { running(common).await? };
    let told = match client {
        Some(mut client) => client.explain(about).await?,
        None => {
            let settings = config::load(&common.config)?;
            app::explain(&settings, about).await.map_err(|error| Failure::refused(format!("{error:#}")))?
        }
    };
    let text = if common.json { format!("{told}\n") } else { show(&told) };
    Ok(out.write_all(text.as_bytes())?)
}

/// The relay, if one runs.
async fn running(common: &Common) -> Result<Option<Client>, Failure> {
    match connect(common).await {
        Ok(client) => Ok(Some(client)),
        // A socket that was named is meant.
        Err(Failure::NotReachable(_)) if common.socket.is_none() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Lists the sites.
pub(super) async fn destinations(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let sites = connect(common).await?.destinations().await?;
    let text = if common.json { format!("{}\n", Value::from(sites)) } else { show_sites(&sites) };
    Ok(out.write_all(text.as_bytes())?)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value, key: &str) -> String {
    list(value, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// `name: value  (because)`, where there is a value.
fn line(into: &mut String, name: &str, value: &str, because: &str) {
    if value.is_empty() {
        return;
    }
    let because = if because.is_empty() { String::new() } else { format!("  ({})", clean(because)) };
    // Infallible for a String, here and below.
    let _ = writeln!(into, "{:<14}{}{because}", format!("{name}:"), clean(value));
}

/// For people.
pub(super) fn show(told: &Value) -> String {
    let empty = Value::Null;
    let part = |key: &str| told.get(key).unwrap_or(&empty);
    let mut shown = String::new();
    line(&mut shown, "domain", text(told, "domain"), "");
    let route = part("route");
    line(&mut shown, "route", &texts(route, "hops"), text(route, "because"));
    line(&mut shown, "lane", text(route, "lane"), "the route");
    line(&mut shown, "source", text(route, "source"), text(route, "source-because"));
    line(&mut shown, "credential", text(route, "credential"), "the route");
    for hop in list(told, "hops") {
        show_hop(&mut shown, hop);
    }
    let site = part("site");
    let apart = site.get("apart").and_then(Value::as_bool).unwrap_or_default();
    let why = format!("{}{}", text(site, "because"), if apart { "; apart, by rules about the domain" } else { "" });
    shown.push('\n');
    line(&mut shown, "site", text(site, "name"), &why);
    line(&mut shown, "tenant", text(site, "tenant"), "");
    match (told.get("live").and_then(Value::as_bool).unwrap_or_default(), list(told, "states")) {
        (false, _) => line(&mut shown, "state", "unknown", "no relay was asked"),
        (true, []) => line(&mut shown, "state", "nothing is on its way there now", ""),
        (true, states) => states.iter().for_each(|state| show_state(&mut shown, state)),
    }
    let rows = |key: &str, cells: [&str; 3]| -> Vec<Vec<String>> {
        list(told, key).iter().map(|row| cells.iter().map(|cell| text(row, cell).to_owned()).collect()).collect()
    };
    shown.push('\n');
    shown.push_str(&table(&["LIMIT", "VALUE", "BECAUSE OF"], &rows("limits", ["setting", "value", "because"])));
    let backoff = rows("backoff", ["name", "after", "then"]);
    if !backoff.is_empty() {
        shown.push('\n');
        shown.push_str(&table(&["BACK-OFF", "AFTER", "THEN"], &backoff));
    }
    let retry = part("retry");
    shown.push('\n');
    line(&mut shown, "tried again", &format!("after {} …", texts(retry, "waits")), text(retry, "because"));
    line(&mut shown, "sender told", text(retry, "warn-after"), "");
    line(&mut shown, "given up", text(retry, "give-up-after"), "");
    for note in list(told, "notes").iter().filter_map(Value::as_str) {
        let _ = writeln!(shown, "note: {}", clean(note));
    }
    shown
}

fn show_hop(into: &mut String, hop: &Value) {
    let _ = writeln!(into, "\nhop {}", clean(text(hop, "hop")));
    let found = list(hop, "targets");
    for line in found.iter().filter_map(Value::as_str) {
        let _ = writeln!(into, "  {}", clean(line));
    }
    // What was found says it all, with what DNSSEC says of it.
    let exchangers = if found.is_empty() { list(hop, "exchangers") } else { &[] };
    for exchanger in exchangers {
        let preference = exchanger.get("preference").and_then(Value::as_u64);
        let preference = preference.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let found = match text(exchanger, "error") {
            "" => texts(exchanger, "addresses"),
            error => error.to_owned(),
        };
        let _ = writeln!(into, "  {preference:>5} {}  {}", clean(text(exchanger, "host")), clean(&found));
    }
    let mut lines = String::new();
    line(&mut lines, "tls", text(hop, "tls"), text(hop, "tls-because"));
    line(&mut lines, "from", &texts(hop, "sources"), "");
    line(&mut lines, "error", text(hop, "error"), "");
    for line in lines.lines() {
        let _ = writeln!(into, "  {line}");
    }
}

/// How the site stands.
fn show_state(into: &mut String, state: &Value) {
    let from = text(state, "source");
    line(into, "state", &describe(state), &if from.is_empty() { String::new() } else { format!("from {from}") });
    let (open, earned, limit) = (number(state, "open"), number(state, "earned"), number(state, "limit"));
    line(into, "connections", &format!("{open} open, {earned} earned of {limit}"), "");
    let (ready, lanes) = (count(number(state, "ready"), "job"), count(number(state, "lanes"), "lane"));
    line(into, "waiting", &format!("{ready} in {lanes}"), "");
    line(into, "last trouble", text(state, "trouble"), "");
}

/// `resting for 4m`, `slow for 10m: rate-limited`.
fn describe(site: &Value) -> String {
    let left = ["rest-secs", "slow-secs"].iter().find_map(|key| site.get(*key).and_then(Value::as_u64));
    let left = left.map(|secs| format!(" for {}", age(secs))).unwrap_or_default();
    let why = text(site, "backoff");
    format!("{}{left}{}{why}", text(site, "state"), if why.is_empty() { "" } else { ": " })
}

/// For people.
pub(super) fn show_sites(sites: &[Value]) -> String {
    let row = |site: &Value| {
        let parts = ["source", "lane", "tenant"].map(|key| text(site, key));
        let of = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        vec![
            cut(text(site, "site"), 50),
            of,
            describe(site),
            format!("{}/{}/{}", number(site, "open"), number(site, "earned"), number(site, "limit")),
            number(site, "ready").to_string(),
            number(site, "lanes").to_string(),
            cut(text(site, "trouble"), 80),
        ]
    };
    let mut shown = String::new();
    if !sites.is_empty() {
        let heads = ["SITE", "OF", "STATE", "OPEN", "READY", "LANES", "LAST TROUBLE"];
        shown = table(&heads, &sites.iter().map(row).collect::<Vec<_>>());
    }
    let _ = writeln!(shown, "{}", count(sites.len() as u64, "site"));
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_way_is_told_with_its_reasons() {
        let told = json!({
            "domain": "example.org", "live": true,
            "route": { "hops": ["mx:example.org"], "because": "no entry in [routing]: by MX", "source": "west", "source-because": "acme" },
            "hops": [{
                "hop": "mx:example.org", "tls": "verify", "tls-because": "big", "sources": ["192.0.2.1"],
                "exchangers": [
                    { "preference": 10, "host": "a.mx.test", "addresses": ["192.0.2.7", "2001:db8::7"] },
                    { "preference": 20, "host": "b.mx.test", "addresses": [], "error": "the name does not exist" },
                ],
            }],
            "site": { "name": "(a|b).mx.test", "because": "its exchangers, or its host", "apart": true },
            "states": [{
                "state": "suspended", "source": "west", "rest-secs": 1800, "backoff": "blocked", "open": 0, "earned": 1, "limit": 20,
                "ready": 3, "lanes": 1, "trouble": "554 5.7.1 listed\u{7}",
            }],
            "limits": [{ "setting": "connections", "value": "20", "because": "default" }],
            "backoff": [{ "name": "blocked", "after": "5 such replies within 10m", "then": "nothing for 30m" }],
            "retry": { "because": "retry", "waits": ["5m", "10m"], "warn-after": "4h", "give-up-after": "5d" },
            "notes": ["plugins may choose another route"],
        });
        insta::assert_snapshot!(show(&told));
        let offline = show(&json!({ "domain": "example.org", "live": false }));
        assert!(offline.contains("no relay was asked"), "{offline}");
    }

    #[test]
    fn sites_are_listed() {
        let sites = [
            json!({ "site": "mx.test", "state": "ready", "open": 2, "earned": 7, "limit": 20, "ready": 10, "lanes": 2 }),
            json!({ "site": "other.test", "source": "west", "lane": "slow", "state": "resting", "rest-secs": 59, "limit": 20,
                "trouble": "451 4.4.1 the next hop can't be reached" }),
        ];
        insta::assert_snapshot!(show_sites(&sites));
        assert_eq!(show_sites(&[]), "0 sites\n");
    }
}
