//! Routes as operators write them: `"mx"`, `"smtp://mail.example.org:25"`, or a table with hops and settings.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Names;
use crate::config::raw::{Table, Value};
use crate::hooks::{NextHop, Route, TlsPolicy};
use crate::mail::Domain;

const HELP: &str = "write \"mx\", \"mx:DOMAIN\", \"smtp://HOST:PORT\", \"lmtp://HOST:PORT\", \"lmtp+unix:/PATH\" or \
                    \"destination:NAME\"";

/// Which hops make sense where a route is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// `[routing]`: any.
    Routing,
    /// `[destinations.NAME]`: no other destination, so that there are no circles.
    Destination,
}

/// A route: one hop as a text, or a table. `own` is the domain that a bare `mx` means; empty where only the recipient
/// tells, which the routing table then fills in.
pub(super) fn route(value: &Value<'_>, own: &str, within: Within, names: &Names) -> Option<Route> {
    if value.as_text().is_some() {
        let hop = hop(value, own, within, names)?;
        return Some(Route { hops: vec![hop], ..Route::default() });
    }
    if !value.is_table() {
        value.wrong("is no route", HELP);
        return None;
    }
    let table = value.table()?;
    let route = Route {
        hops: table.array("hops").iter().filter_map(|value| hop(value, own, within, names)).collect(),
        tls: tls(&table, TlsPolicy::Inherit),
        source: refers(&table, "source", "sources", &names.origins),
        credential: refers(&table, "credential", "credentials", &names.credentials),
        lane: refers(&table, "lane", "lanes", &names.lanes),
        retry_schedule: refers(&table, "retry", "retry", &names.retries),
        expires_after_secs: None,
    };
    if table.get("hops").is_none() {
        table.missing("hops", "list at least one hop, tried in order, such as hops = [\"smtp://mail.example.org:25\"]");
    }
    if let (Some(value), TlsPolicy::Off) = (table.get("credential"), route.tls) {
        value.wrong("a password is not sent without TLS", "set tls to \"verify\" or at least \"encrypt\"");
    }
    if let (Some(value), true) = (table.get("credential"), route.hops.contains(&NextHop::Mx("".into()))) {
        value.wrong(
            "a password is not for the exchangers of every domain",
            "name its host, or \"mx:DOMAIN\"; a host in [destinations.NAME] keeps its credential to itself",
        );
    }
    table.finish();
    Some(route)
}

/// `tls` of a route, of `[delivery]`.
pub(super) fn tls(table: &Table<'_>, default: TlsPolicy) -> TlsPolicy {
    let words = [
        ("off", TlsPolicy::Off),
        ("opportunistic", TlsPolicy::Opportunistic),
        ("encrypt", TlsPolicy::Encrypt),
        ("verify", TlsPolicy::Verify),
        ("dane", TlsPolicy::Dane),
    ];
    table.choice("tls", default, &words)
}

fn refers(table: &Table<'_>, key: &'static str, section: &str, names: &[Arc<str>]) -> Option<Arc<str>> {
    Names::defined(&table.get(key)?, section, names)
}

fn hop(value: &Value<'_>, own: &str, within: Within, names: &Names) -> Option<NextHop> {
    let text = value.text()?;
    if let Some(name) = text.strip_prefix("destination:") {
        if within == Within::Destination {
            value.wrong("a destination can't lead to another", "name the hosts themselves");
            return None;
        }
        return Names::check(value, name, "destinations", &names.destinations).map(NextHop::Named);
    }
    if text == "mx" && within == Within::Destination {
        value.wrong("\"mx\" means the recipient's domain, which a destination does not know", "write \"mx:DOMAIN\"");
        return None;
    }
    let read = read_hop(text, own);
    if let Err(problem) = &read {
        value.wrong(problem.clone(), HELP);
    }
    read.ok()
}

fn read_hop(text: &str, own: &str) -> Result<NextHop, String> {
    if text == "mx" {
        return Ok(NextHop::Mx(own.into()));
    }
    if let Some(domain) = text.strip_prefix("mx:") {
        let domain = Domain::parse(domain).map_err(|_| format!("{domain:?} is no domain"))?;
        return Ok(NextHop::Mx(domain.as_str().into()));
    }
    if let Some(rest) = text.strip_prefix("smtp://") {
        let (host, port) = authority(rest, 25)?;
        return Ok(NextHop::Smtp { host, port });
    }
    if let Some(rest) = text.strip_prefix("lmtp://") {
        let (host, port) = authority(rest, 24)?;
        return Ok(NextHop::Lmtp { host, port });
    }
    if let Some(path) = text.strip_prefix("lmtp+unix:") {
        if !path.starts_with('/') {
            return Err(format!("{path:?} is no absolute path"));
        }
        return Ok(NextHop::Lmtp { host: format!("unix:{path}").into(), port: 0 });
    }
    Err(format!("{text:?} is no route"))
}

/// `host`, `host:port`, `[2001:db8::1]:port`.
fn authority(text: &str, usual_port: u16) -> Result<(Arc<str>, u16), String> {
    let bad = || format!("{text:?} is no host and port");
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let address = address.parse::<Ipv6Addr>().map_err(|_| bad())?;
            (Arc::from(address.to_string()), rest.strip_prefix(':').or(rest.is_empty().then_some("")))
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, ""), |(host, port)| (host, port));
            (host_name(host).ok_or_else(bad)?, Some(port))
        }
    };
    let port = match port.ok_or_else(bad)? {
        "" if !text.ends_with(':') => usual_port,
        port => port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
    };
    Ok((host, port))
}

/// An IPv4 address or a name.
fn host_name(host: &str) -> Option<Arc<str>> {
    if host.parse::<Ipv4Addr>().is_ok() {
        return Some(host.into());
    }
    let domain = Domain::parse(host).ok().filter(|domain| !host.is_empty() && !domain.is_literal())?;
    Some(domain.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops() {
        let smtp = |host: &str, port| NextHop::Smtp { host: host.into(), port };
        let lmtp = |host: &str, port| NextHop::Lmtp { host: host.into(), port };
        let good = [
            ("mx", NextHop::Mx("example.net".into())),
            ("mx:Example.ORG", NextHop::Mx("example.org".into())),
            ("smtp://mail.example.org:587", smtp("mail.example.org", 587)),
            ("smtp://mail.example.org", smtp("mail.example.org", 25)),
            ("smtp://192.0.2.1:2525", smtp("192.0.2.1", 2525)),
            ("smtp://[2001:db8::1]:26", smtp("2001:db8::1", 26)),
            ("smtp://[::1]", smtp("::1", 25)),
            ("lmtp://localhost", lmtp("localhost", 24)),
            ("lmtp+unix:/run/dovecot/lmtp", lmtp("unix:/run/dovecot/lmtp", 0)),
        ];
        for (text, expected) in good {
            assert_eq!(read_hop(text, "example.net"), Ok(expected), "{text}");
        }
        let bad = [
            "",
            "MX",
            "smtp:",
            "smtp://",
            "smtp://:25",
            "smtp://h:0",
            "smtp://h:",
            "smtp://h:x",
            "smtp://[::1",
            "http://h:1",
            "smtp://[::1]x",
            "lmtp+unix:run",
            "mx:",
            "smtp://h:70000",
        ];
        for text in bad {
            assert!(read_hop(text, "example.net").is_err(), "{text}");
        }
    }
}
