//! Ways as the protocol writes them: hops as texts, names of the relay's configuration. Pure.

use std::net::IpAddr;

use waypost_plugin::{HostTarget, NextHop, Route, TlsPolicy};

use crate::answer::{RouteTable, Tls};

/// Hops of one route: the contract's limit.
const HOPS_MAX: usize = 16;

/// A route.
///
/// # Errors
/// No hop, too many, or one that can't be read.
pub(crate) fn route(table: &RouteTable) -> Result<Route, String> {
    if table.hops.is_empty() || table.hops.len() > HOPS_MAX {
        return Err(format!("a route has {} hops; it needs 1 to {HOPS_MAX}", table.hops.len()));
    }
    let hops = table.hops.iter().map(|text| hop(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(Route {
        tls: table.tls.map_or(TlsPolicy::Inherit, policy),
        source: table.source.clone(),
        credential: table.credential.clone(),
        lane: table.lane.clone(),
        retry_schedule: table.retry.clone(),
        expires_after_seconds: table.expires_after_seconds,
        ..Route::over(hops)
    })
}

fn policy(tls: Tls) -> TlsPolicy {
    match tls {
        Tls::Off => TlsPolicy::Off,
        Tls::Opportunistic => TlsPolicy::Opportunistic,
        Tls::Encrypt => TlsPolicy::Encrypt,
        Tls::Verify => TlsPolicy::Verify,
        Tls::Dane => TlsPolicy::Dane,
    }
}

/// The form that the relay's configuration has.
fn hop(text: &str) -> Result<NextHop, String> {
    let found = if let Some(domain) = text.strip_prefix("mx:") {
        is_host(domain).then(|| NextHop::Mx(domain.to_ascii_lowercase()))
    } else if let Some(name) = text.strip_prefix("destination:") {
        (!name.is_empty()).then(|| NextHop::Named(name.to_owned()))
    } else if let Some(path) = text.strip_prefix("lmtp+unix:") {
        path.starts_with('/').then(|| NextHop::Lmtp(HostTarget { host: format!("unix:{path}"), port: 0 }))
    } else if let Some(rest) = text.strip_prefix("smtp://") {
        target(rest, 25).map(NextHop::Smtp)
    } else {
        text.strip_prefix("lmtp://").and_then(|rest| target(rest, 24)).map(NextHop::Lmtp)
    };
    found.ok_or_else(|| {
        "a hop can't be read; write mx:DOMAIN, smtp://HOST:PORT, lmtp://HOST:PORT, lmtp+unix:/PATH or destination:NAME"
            .to_owned()
    })
}

/// `host`, `host:port`, `[2001:db8::1]:port`.
fn target(text: &str, usual_port: u16) -> Option<HostTarget> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
            (address, after)
        }
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => Some(usual_port).filter(|_| port.is_empty())?,
    };
    let fits = is_host(host) || host.parse::<IpAddr>().is_ok();
    fits.then(|| HostTarget { host: host.to_ascii_lowercase(), port })
}

fn is_host(text: &str) -> bool {
    let fits = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= 255 && text.split('.').all(|label| !label.is_empty() && fits(label))
}

/// A hop as the relay's configuration writes it.
pub(crate) fn written(hop: &NextHop) -> String {
    let host = |target: &HostTarget| {
        if target.host.contains(':') {
            format!("[{}]:{}", target.host, target.port)
        } else {
            format!("{}:{}", target.host, target.port)
        }
    };
    match hop {
        NextHop::Mx(domain) => format!("mx:{domain}"),
        NextHop::Smtp(target) => format!("smtp://{}", host(target)),
        NextHop::Lmtp(target) => match target.host.strip_prefix("unix:") {
            Some(path) => format!("lmtp+unix:{path}"),
            None => format!("lmtp://{}", host(target)),
        },
        NextHop::Named(name) => format!("destination:{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read_and_written() {
        for (text, expected) in [
            ("mx:Example.org", "mx:example.org"),
            ("smtp://hub.example", "smtp://hub.example:25"),
            ("smtp://[2001:db8::1]:587", "smtp://[2001:db8::1]:587"),
            ("lmtp://192.0.2.1", "lmtp://192.0.2.1:24"),
            ("lmtp+unix:/run/lmtp", "lmtp+unix:/run/lmtp"),
            ("destination:hub", "destination:hub"),
        ] {
            assert_eq!(written(&hop(text).unwrap()), expected, "{text}");
        }
        for text in
            ["", "mx:", "mx:a b", "smtp://", "smtp://a:0", "smtp://a:x", "smtp://[192.0.2.1]", "lmtp+unix:x", "hub"]
        {
            assert!(hop(text).is_err(), "{text}");
        }
    }

    #[test]
    fn routes_need_hops() {
        assert!(route(&RouteTable::default()).is_err());
        let table = RouteTable { hops: vec!["mx:a".to_owned(); 17], ..RouteTable::default() };
        assert!(route(&table).is_err());
        let table = RouteTable { hops: vec!["mx:a".to_owned()], tls: Some(Tls::Dane), ..RouteTable::default() };
        assert_eq!(route(&table).unwrap().tls, TlsPolicy::Dane);
    }
}
