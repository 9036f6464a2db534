//! `[dns]`, and what `[delivery]` says of the hosts that the DNS names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::relay::plain_network;
use super::{Base, YEAR};
use crate::config::raw::{Table, Value};
use crate::hooks::TlsPolicy;
use crate::listen::{Address, Listener};
use crate::mail::Domain;
use crate::routing::{Dns, Dnssec, Own, Prefer, Selection};

const SECOND: Duration = Duration::from_secs(1);

/// Where name servers listen.
const PORT: u16 = 53;

/// Reads `[dns]`.
pub(super) fn config(table: &Table<'_>, base: &Base) -> Dns {
    let usual = Dns::default();
    let servers: Vec<SocketAddr> = table.array("servers").iter().filter_map(server).collect();
    let dnssec = dnssec(table, &servers, base);
    let timeout = table.get("timeout").and_then(|value| value.duration(SECOND..=Duration::from_secs(60)));
    let attempts = table.get("attempts").and_then(|value| value.integer(0..=10));
    let dns = Dns {
        servers,
        dnssec,
        timeout,
        attempts: attempts.and_then(|attempts| usize::try_from(attempts).ok()),
        cache: table.count("cache", usual.cache, 2..=10_000_000),
        min_ttl: table.duration("min-ttl", usual.min_ttl, Duration::ZERO..=Duration::from_secs(3600)),
        max_ttl: table.duration("max-ttl", usual.max_ttl, Duration::ZERO..=YEAR),
        negative_ttl: table.duration("negative-ttl", usual.negative_ttl, Duration::ZERO..=Duration::from_secs(86400)),
        prefer: table.choice(
            "prefer",
            usual.prefer,
            &[
                ("alternate", Prefer::Alternate),
                ("ipv6", Prefer::Ipv6),
                ("ipv4", Prefer::Ipv4),
                ("ipv6-only", Prefer::Ipv6Only),
                ("ipv4-only", Prefer::Ipv4Only),
            ],
        ),
    };
    if let (Some(value), true) = (table.get("min-ttl"), dns.min_ttl > dns.max_ttl) {
        value.wrong("is longer than max-ttl", "raise max-ttl or lower min-ttl");
    }
    table.finish();
    dns
}

fn server(value: &Value<'_>) -> Option<SocketAddr> {
    value.parsed(|text| {
        let help = "write the address of a name server, such as \"127.0.0.1\" or \"[::1]:5353\"".to_owned();
        let bare = |text: &str| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
        text.parse().ok().or_else(|| bare(text)).ok_or((format!("{text:?} is no address"), help))
    })
}

fn dnssec(table: &Table<'_>, servers: &[SocketAddr], base: &Base) -> Dnssec {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Word {
        Off,
        TrustAd,
        Validate,
    }
    let words = [("off", Word::Off), ("trust-ad", Word::TrustAd), ("validate", Word::Validate)];
    let word = table.choice("dnssec", Word::TrustAd, &words);
    let anchor = table.get("trust-anchor");
    if let (Some(value), true) = (&anchor, word != Word::Validate) {
        value.wrong("is of no use unless the relay validates", "write dnssec = \"validate\", or leave it out");
    }
    // Written down, it is meant; that of the default only says what is done where it can be.
    let far = servers.iter().find(|server| !server.ip().is_loopback());
    if let (Some(value), Word::TrustAd, Some(far)) = (table.get("dnssec"), word, far) {
        let problem = format!("believes what {far} says of its validation, and anybody on the way could say that");
        value.wrong(problem, "name a validating server on this machine, or write \"validate\"");
    }
    match word {
        Word::Off => Dnssec::Off,
        Word::TrustAd => Dnssec::TrustAd,
        Word::Validate => Dnssec::Validate(anchor.and_then(|value| value.text()).map(|path| base.resolve(path))),
    }
}

/// What `[delivery]` says of targets. `hostname` and `listeners` are the relay's own.
pub(super) fn selection(delivery: &Table<'_>, dns: &Dns, hostname: &Arc<str>, listeners: &[Listener]) -> Selection {
    let usual = Selection::default();
    let never = match delivery.get("never") {
        Some(_) => delivery.array("never").iter().filter_map(plain_network).collect(),
        None => usual.never,
    };
    let mut own = Own { names: vec![hostname.to_ascii_lowercase().into()], ..Own::default() };
    own.listeners = listeners.iter().filter_map(reached).collect();
    for value in delivery.array("own") {
        let parsed = value.parsed(|text| match (text.parse::<IpAddr>(), Domain::parse(text)) {
            (Ok(ip), _) => Ok((Some(ip), None)),
            (_, Ok(name)) if !name.is_literal() => Ok((None, Some(Arc::from(name.as_str())))),
            _ => {
                let help = "write a name or an address that leads to this relay, such as \"mx.example.org\"".to_owned();
                Err((format!("{text:?} is neither a name nor an address"), help))
            }
        });
        let (ip, name) = parsed.unwrap_or_default();
        own.addresses.extend(ip);
        own.names.extend(name);
    }
    let skip = delivery.array("skip-hosts");
    let skip_hosts =
        skip.iter().filter_map(super::relay::domain_pattern).map(|host| Arc::from(host.as_str())).collect();
    let dane = delivery.bool("dane", dns.dnssec != Dnssec::Off);
    if dns.dnssec == Dnssec::Off {
        let help = "set [dns] dnssec to \"validate\", or to \"trust-ad\" with a validating server on this machine";
        if let (Some(value), true) = (delivery.get("dane"), dane) {
            value.wrong("there is no DANE without DNSSEC", help);
        }
    }
    Selection {
        never,
        own,
        skip_hosts,
        max_hosts: delivery.count("max-hosts", usual.max_hosts, 1..=100),
        max_addresses: delivery.count("max-addresses", usual.max_addresses, 2..=100),
        dane,
    }
}

/// Where connections reach a listener. One that listens on all addresses does not say which these are.
fn reached(listener: &Listener) -> Option<SocketAddr> {
    match &listener.address {
        Address::Tcp(address) if !address.ip().is_unspecified() && address.port() != 0 => Some(*address),
        _ => None,
    }
}

/// A route that insists on DANE while nothing is validated would never deliver.
pub(super) fn insists(delivery: &Table<'_>, dns: &Dns, tls: TlsPolicy) {
    if let (Some(value), TlsPolicy::Dane, Dnssec::Off) = (delivery.get("tls"), tls, &dns.dnssec) {
        value.wrong("there is no DANE without DNSSEC", "set [dns] dnssec to \"validate\" or \"trust-ad\"");
    }
}
