//! `[sources.NAME]` and `[pools.NAME]`: what mail leaves from.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::raw::{Table, Value};
use crate::delivery::{Credential, Pool, Proxy, Source, WarmUp};
use crate::mail::Domain;
use crate::suggest::nearest;
use crate::time::Timestamp;

const PROXY: &str = "write \"socks5://ADDRESS:PORT\" or \"haproxy://ADDRESS:PORT\"";

/// Longest name of an interface (IFNAMSIZ, with the final NUL).
const INTERFACE: usize = 15;

/// Members of a pool, weights, days of a plan: more is a mistake.
const MOST: u64 = 10_000;

/// One of `[sources.NAME]`.
pub(super) fn source(table: &Table<'_>, credentials: &BTreeMap<Arc<str>, Credential>) -> Option<Source> {
    let address = |text: &str| {
        let help = "write an IP address of this host".to_owned();
        text.parse::<IpAddr>().map_err(|_| (format!("{text:?} is no IP address"), help))
    };
    let addresses: Vec<IpAddr> = table.array("addresses").iter().filter_map(|value| value.parsed(address)).collect();
    let interface = table.parsed("interface", |text| {
        let good = !text.is_empty() && text.len() <= INTERFACE && !text.contains(['/', '\0', ' ']);
        good.then(|| Arc::from(text))
            .ok_or_else(|| (format!("{text:?} is no name of an interface"), "write one such as \"eth0\"".to_owned()))
    });
    let ehlo = table.parsed("ehlo", |text| match Domain::parse(text) {
        Ok(domain) if !domain.is_literal() => Ok(domain.as_str().into()),
        _ => Err((format!("{text:?} is no host name"), "write the name that the addresses have in DNS".to_owned())),
    });
    let proxy = proxy(table, credentials);
    let warm_up = table.get("warm-up").and_then(|value| warm_up(&value));
    let empty = ["addresses", "interface", "proxy"].iter().all(|key| table.get(key).is_none());
    if empty {
        table.missing("addresses", "list addresses of this host: addresses = [\"192.0.2.1\"]");
        return None;
    }
    Some(Source { addresses, ehlo, interface, proxy, warm_up })
}

fn proxy(table: &Table<'_>, credentials: &BTreeMap<Arc<str>, Credential>) -> Option<Proxy> {
    let named = table.get("proxy-credential").and_then(|value| {
        let name = value.text()?;
        let found = credentials.get(name).cloned();
        if found.is_none() {
            let help = match nearest(name, credentials.keys().map(|name| &**name)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("define it: [credentials.{name}]"),
            };
            value.wrong(format!("there is no [credentials.{name}]"), &help);
        }
        found
    });
    let proxy = table.parsed("proxy", |text| {
        let problem = || (format!("{text:?} is no proxy"), PROXY.to_owned());
        let (kind, address) = text.split_once("://").ok_or_else(problem)?;
        let address: SocketAddr = address.parse().map_err(|_| problem())?;
        match kind {
            "socks5" => Ok(Proxy::Socks5 { address, credential: named.clone() }),
            "haproxy" => Ok(Proxy::HaProxy { address }),
            _ => Err(problem()),
        }
    });
    if let (Some(value), false) = (table.get("proxy-credential"), matches!(proxy, Some(Proxy::Socks5 { .. }) | None)) {
        value.wrong("a HAProxy is told no password", "leave it out");
    }
    proxy
}

fn warm_up(value: &Value<'_>) -> Option<WarmUp> {
    let table = value.table()?;
    let start = table.parsed("start", |text| {
        let day = (text.len() == 10).then(|| Timestamp::parse(&format!("{text}T00:00:00Z"))).flatten();
        let help = "write a day, such as \"2026-11-01\"".to_owned();
        day.map(|day| day.secs().div_euclid(86_400)).ok_or_else(|| (format!("{text:?} is no day"), help))
    });
    let plan: Vec<u32> = table
        .array("plan")
        .iter()
        .filter_map(|value| value.integer(1..=1_000_000_000))
        .filter_map(|n| u32::try_from(n).ok())
        .collect();
    if table.get("start").is_none() {
        table.missing("start", "write the first day, such as start = \"2026-11-01\"");
    }
    if table.get("plan").is_none() {
        table.missing("plan", "list messages to each site by day, such as plan = [50, 100, 500]");
    }
    table.finish();
    Some(WarmUp { start: start?, plan })
}

/// One of `[pools.NAME]`; `sources` are those that are defined.
pub(super) fn pool(table: &Table<'_>, sources: &[Arc<str>]) -> Option<Pool> {
    let members = table.table("members");
    let mut found = Vec::new();
    for (name, value) in members.names() {
        let Some(weight) = value.integer(0..=MOST).and_then(|n| u32::try_from(n).ok()) else { continue };
        match sources.iter().find(|known| **known == name) {
            Some(known) => found.push((Arc::clone(known), weight)),
            None => value.wrong(format!("there is no [sources.{name}]"), "a pool's members are sources"),
        }
    }
    if found.iter().all(|(_, weight)| *weight == 0) {
        table.missing("members", "name sources and their shares: members = { west = 3, east = 1 }");
    }
    Some(Pool { members: found, sticky: table.bool("sticky", true) })
}
