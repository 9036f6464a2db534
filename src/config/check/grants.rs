//! `[plugins.NAME.grants]` and `[plugins.NAME.scope]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Base;
use crate::config::raw::{Table, Value};
use crate::hooks::{DomainPattern, Scope};
use crate::mail::Domain;
use crate::plugin::{Access, DnsGrant, Grants, HttpGrant, KvQuota};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What a plugin may use.
pub(super) fn grants(table: &Table<'_>, base: &Base) -> Grants {
    let grants = Grants {
        kv: table.get("kv").and_then(|value| value.table()).map(|table| quota(&table)),
        kv_shared: shared(&table.table("kv-shared")),
        secrets: secrets(&table.table("secrets"), base),
        dns: table.get("dns").and_then(|value| value.table()).map(|table| dns(&table)),
        http: table.get("http").and_then(|value| value.table()).map(|table| http(&table)),
        auth_secrets: table.bool("auth-secrets", false),
        relay: table.bool("relay", false),
        notes_of: table.array("notes-of").iter().filter_map(Value::text).map(Arc::from).collect(),
    };
    table.finish();
    grants
}

/// `{ bytes = "16 MiB", keys = 100000 }`.
pub(super) fn quota(table: &Table<'_>) -> KvQuota {
    let bytes = table.size("bytes", 16 << 20, 1 << 10..=1 << 40);
    let keys = table.integer("keys", 100_000, 1..=1_000_000_000);
    table.finish();
    KvQuota { bytes, keys }
}

/// `kv-shared = { reputation = "write" }`.
fn shared(table: &Table<'_>) -> BTreeMap<Arc<str>, Access> {
    const ACCESS: [(&str, Access); 2] = [("read", Access::Read), ("write", Access::Write)];
    let read = |(name, value): (Arc<str>, Value<'_>)| Some((name, value.choice(&ACCESS)?));
    table.names().into_iter().filter_map(read).collect()
}

/// `secrets = { api-key = "/etc/waypost/api-key" }`.
fn secrets(table: &Table<'_>, base: &Base) -> BTreeMap<Arc<str>, std::path::PathBuf> {
    let read = |(name, value): (Arc<str>, Value<'_>)| Some((name, base.resolve(value.text()?)));
    table.names().into_iter().filter_map(read).collect()
}

/// `dns = { lookups = 16, zones = ["example.org"] }`.
fn dns(table: &Table<'_>) -> DnsGrant {
    let lookups = u32::try_from(table.integer("lookups", 16, 1..=1000)).unwrap_or(16);
    let zone = |value: &Value<'_>| value.parsed(domain).map(|domain| domain.as_str().into());
    let zones = table.array("zones").iter().filter_map(zone).collect();
    table.finish();
    DnsGrant { lookups, zones }
}

fn domain(text: &str) -> Result<Domain, (String, String)> {
    match Domain::parse(text) {
        Ok(domain) if !domain.is_literal() => Ok(domain),
        _ => Err((format!("{text:?} is no domain"), "write a domain, such as \"example.org\"".to_owned())),
    }
}

/// `http = { allow = ["https://api.example.com"], … }`.
fn http(table: &Table<'_>) -> HttpGrant {
    let allow: Vec<Arc<str>> = table.array("allow").iter().filter_map(|value| value.parsed(origin)).collect();
    if table.get("allow").is_none_or(|value| value.array().is_some_and(|list| list.is_empty())) {
        table.missing("allow", "list the servers it may talk to, such as [\"https://api.example.com\"]");
    }
    let private = |value: &Value<'_>| value.parsed(network);
    let grant = HttpGrant {
        allow,
        calls: u32::try_from(table.integer("calls", 4, 1..=1000)).unwrap_or(4),
        bytes: table.size("bytes", 1 << 20, 1 << 10..=1 << 30),
        timeout: table.duration("timeout", Duration::from_secs(5), MS..=MINUTE),
        private_networks: table.array("private-networks").iter().filter_map(private).collect(),
    };
    table.finish();
    grant
}

/// `https://HOST` or `http://HOST:PORT`, nothing behind it; written back with its port.
fn origin(text: &str) -> Result<Arc<str>, (String, String)> {
    let wrong = || {
        let help = "write a scheme, a host and perhaps a port, such as \"https://api.example.com:8443\"";
        (format!("{text:?} is no origin"), help.to_owned())
    };
    let uri: http::Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(wrong)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.host().is_empty() {
        return Err(wrong());
    }
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), authority.host().to_ascii_lowercase());
    Ok(format!("{scheme}://{host}:{}", authority.port_u16().unwrap_or(port)).into())
}

fn network(text: &str) -> Result<IpNet, (String, String)> {
    let address = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().or_else(|_| address()).map_err(|_| {
        (format!("{text:?} is no network"), "write an address or a network, such as \"10.0.0.0/8\"".to_owned())
    })
}

/// About whose mail a plugin is asked.
pub(super) fn scope(table: &Table<'_>) -> Scope {
    let patterns = |key| table.array(key).iter().filter_map(|value| value.parsed(pattern)).collect();
    let scope = Scope {
        listeners: table.array("listeners").iter().filter_map(Value::text).map(Arc::from).collect(),
        networks: table.array("networks").iter().filter_map(|value| value.parsed(network)).collect(),
        authenticated: table.get("authenticated").and_then(|value| value.bool()),
        senders: patterns("senders"),
        recipients: patterns("recipients"),
    };
    table.finish();
    scope
}

fn pattern(text: &str) -> Result<DomainPattern, (String, String)> {
    if text == "*" {
        return Ok(DomainPattern::Any);
    }
    match Domain::parse_pattern(text) {
        Ok(domain) => Ok(DomainPattern::from(domain.as_str().to_owned())),
        Err(_) => {
            let help = "write a domain, \".example.org\" for all below it, or \"*\"";
            Err((format!("{text:?} is no domain"), help.to_owned()))
        }
    }
}
