//! `[plugins.domain-routes.config]`: hops are written as in the relay's own configuration.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Deserialize;
use waypost_plugin::{Checked, DomainTable, HostTarget, NextHop, Route, TlsPolicy, reply};

use crate::table::{Entry, OWN_MX};

/// The table, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    entries: Vec<Entry>,
    domains: DomainTable<usize>,
}

impl Settings {
    /// The entry of a domain and its number.
    pub(crate) fn find(&self, domain: &str) -> Option<(usize, &Entry)> {
        let number = *self.domains.find(domain)?;
        Some((number, self.entries.get(number)?))
    }
}

/// As written.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    routes: BTreeMap<String, Spec>,
    domains: BTreeMap<String, Way>,
}

/// `"smtp://…"` or a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum Way {
    Text(String),
    Spec(Box<Spec>),
    // Untagged reading says nothing of what is wrong; this takes the rest, so that the message can.
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Spec {
    hops: Vec<Hop>,
    backups: Vec<String>,
    tls: Option<Tls>,
    source: Option<String>,
    credential: Option<String>,
    lane: Option<String>,
    retry: Option<String>,
    expires_after_seconds: Option<u32>,
    fail: Option<String>,
}

/// `"smtp://…"`, or one of a pool with its weight.
#[derive(Deserialize)]
#[serde(untagged)]
enum Hop {
    Text(String),
    Weighted(Weighted),
    // As in `Way`.
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Weighted {
    hop: String,
    weight: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tls {
    Off,
    Opportunistic,
    Encrypt,
    Verify,
    Dane,
}

/// The contract takes no longer list.
const MOST_HOPS: usize = 16;

/// All weights of a pool together stay far below what 32 bits hold.
const MOST_WEIGHT: u32 = 1_000_000;

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    let mut settings = Settings { entries: Vec::new(), domains: DomainTable::default() };
    let mut names = HashMap::new();
    for (name, spec) in table.routes {
        match entry(spec) {
            Ok(entry) => {
                names.insert(name, (settings.entries.len(), false));
                settings.entries.push(entry);
            }
            Err(error) => {
                errors.push(format!("routes.{name}: {error}"));
                // Known all the same, so that its users are not complained of as well.
                names.insert(name, (usize::MAX, true));
            }
        }
    }
    for (pattern, way) in table.domains {
        match way_to(way, &mut names, &mut settings.entries) {
            Ok(number) => {
                if let Err(error) = settings.domains.insert(&pattern, number) {
                    errors.push(format!("domains: {error}"));
                }
            }
            Err(error) => errors.push(format!("domains.{pattern:?}: {error}")),
        }
    }
    warnings.extend(names.iter().filter(|(_, (_, used))| !used).map(|(name, _)| format!("routes.{name}: never used")));
    warnings.sort();
    if settings.domains.is_empty() && errors.is_empty() {
        warnings.push("domains: empty, so the plugin does nothing".to_owned());
    }
    settings
}

fn way_to(way: Way, names: &mut HashMap<String, (usize, bool)>, entries: &mut Vec<Entry>) -> Result<usize, String> {
    let spec = match way {
        Way::Text(text) => match text.strip_prefix("route:") {
            Some(name) => {
                let (number, used) = names.get_mut(name).ok_or_else(|| format!("there is no routes.{name}"))?;
                *used = true;
                return Ok(*number);
            }
            None => Spec { hops: vec![Hop::Text(text)], ..Spec::default() },
        },
        Way::Spec(spec) => *spec,
        Way::Other(_) => {
            return Err("neither a hop, nor a table with hops, backups, tls, source, credential, lane, retry, \
                        expires-after-seconds (all of the right type) or fail"
                .to_owned());
        }
    };
    entries.push(entry(spec)?);
    Ok(entries.len() - 1)
}

fn entry(spec: Spec) -> Result<Entry, String> {
    if let Some(text) = &spec.fail {
        if !spec.hops.is_empty() || !spec.backups.is_empty() {
            return Err("has both hops and fail".to_owned());
        }
        let reply = reply::parse(text, (550, (5, 1, 2))).map_err(|error| format!("fail: {error}"))?;
        if reply.code < 500 {
            return Err(format!("fail: {} is not permanent; write a code from 500 to 599", reply.code));
        }
        return Ok(Entry::Fail(reply));
    }
    if spec.hops.is_empty() || spec.hops.len() + spec.backups.len() > MOST_HOPS {
        return Err(format!("write 1 to {MOST_HOPS} hops, backups included, or fail"));
    }
    let (mut hops, weights) = pool(&spec.hops)?;
    for text in &spec.backups {
        hops.push(hop(text).map_err(|error| format!("backups: {error}"))?);
    }
    let route = Route {
        hops,
        tls: spec.tls.map_or(TlsPolicy::Inherit, Tls::policy),
        source: spec.source,
        credential: spec.credential,
        lane: spec.lane,
        retry_schedule: spec.retry,
        expires_after_seconds: spec.expires_after_seconds,
        options: Vec::new(),
    };
    Ok(Entry::Route { route, weights })
}

/// The hops, and their weights if any has one. A hop without a weight in a pool weighs 1.
fn pool(written: &[Hop]) -> Result<(Vec<NextHop>, Vec<u32>), String> {
    let (mut hops, mut weights) = (Vec::new(), Vec::new());
    for written in written {
        let (text, weight) = match written {
            Hop::Text(text) => (text, 1),
            Hop::Weighted(one) if (1..=MOST_WEIGHT).contains(&one.weight) => (&one.hop, one.weight),
            Hop::Weighted(one) => return Err(format!("{}: weight is not from 1 to {MOST_WEIGHT}", one.hop)),
            Hop::Other(_) => return Err("a hop is a text, or a table with hop and weight".to_owned()),
        };
        hops.push(hop(text)?);
        weights.push(weight);
    }
    if !written.iter().any(|hop| matches!(hop, Hop::Weighted(_))) {
        weights.clear();
    }
    Ok((hops, weights))
}

impl Tls {
    fn policy(self) -> TlsPolicy {
        match self {
            Self::Off => TlsPolicy::Off,
            Self::Opportunistic => TlsPolicy::Opportunistic,
            Self::Encrypt => TlsPolicy::Encrypt,
            Self::Verify => TlsPolicy::Verify,
            Self::Dane => TlsPolicy::Dane,
        }
    }
}

fn hop(text: &str) -> Result<NextHop, String> {
    let wrong = || {
        format!(
            "`{text}` is no hop; write mx, mx:DOMAIN, smtp://HOST:PORT, lmtp://HOST:PORT, lmtp+unix:/PATH or \
             destination:NAME"
        )
    };
    if text == "mx" {
        return Ok(NextHop::Mx(OWN_MX.to_owned()));
    }
    if let Some(domain) = text.strip_prefix("mx:").filter(|domain| is_host(domain)) {
        return Ok(NextHop::Mx(domain.to_ascii_lowercase()));
    }
    if let Some(name) = text.strip_prefix("destination:").filter(|name| !name.is_empty()) {
        return Ok(NextHop::Named(name.to_owned()));
    }
    if let Some(path) = text.strip_prefix("lmtp+unix:").filter(|path| path.starts_with('/')) {
        return Ok(NextHop::Lmtp(HostTarget { host: format!("unix:{path}"), port: 0 }));
    }
    if let Some(rest) = text.strip_prefix("smtp://") {
        return target(rest, 25).map(NextHop::Smtp).ok_or_else(wrong);
    }
    if let Some(rest) = text.strip_prefix("lmtp://") {
        return target(rest, 24).map(NextHop::Lmtp).ok_or_else(wrong);
    }
    Err(wrong())
}

/// `host`, `host:port`, `[2001:db8::1]:port`.
fn target(text: &str, usual_port: u16) -> Option<HostTarget> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
            (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => usual_port,
    };
    let fits = is_host(host) || host.parse::<IpAddr>().is_ok();
    fits.then(|| HostTarget { host: host.to_ascii_lowercase(), port })
}

fn is_host(text: &str) -> bool {
    text.len() <= 255
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn hops_are_written_as_in_the_relay() {
        for (text, expected) in [
            ("mx", "mx "),
            ("mx:Example.org", "mx example.org"),
            ("smtp://mail.example.org", "smtp mail.example.org 25"),
            ("smtp://192.0.2.1:2525", "smtp 192.0.2.1 2525"),
            ("smtp://[2001:db8::1]:587", "smtp 2001:db8::1 587"),
            ("lmtp://[2001:db8::1]", "lmtp 2001:db8::1 24"),
            ("lmtp+unix:/run/lmtp", "lmtp unix:/run/lmtp 0"),
            ("destination:hub", "named hub"),
        ] {
            let shown = match hop(text).unwrap() {
                NextHop::Mx(domain) => format!("mx {domain}"),
                NextHop::Smtp(t) => format!("smtp {} {}", t.host, t.port),
                NextHop::Lmtp(t) => format!("lmtp {} {}", t.host, t.port),
                NextHop::Named(name) => format!("named {name}"),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn other_hops_are_refused() {
        for text in [
            "",
            "example.org",
            "smtp://",
            "smtp://a:0",
            "smtp://a:x",
            "smtp://a b",
            "smtp://[192.0.2.1]:25",
            "smtp://[::1]25",
            "lmtp+unix:run",
            "mx:",
            "mx:a..b",
            "destination:",
            "http://a",
            "smtp://a:65536",
        ] {
            assert!(hop(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{
            "routes": {"a": {"hops": []}, "b": {"hops": ["nowhere"]}, "c": {"hops": ["mx"], "fail": "no"}},
            "domains": {
                "x.example": "route:a", "y.example": "route:z", "a..b": "mx", "z.example": 7,
                "u.example": {"fail": "450 later"}, "v.example": {"fail": "250 fine"}, "w.example": {"hop": "mx"},
                "p.example": {"hops": [{"hop": "mx", "weight": 0}]}, "q.example": {"hops": [{"hop": "mx", "share": 1}]},
                "r.example": {"hops": ["mx"], "backups": ["nowhere"]}, "s.example": {"fail": "no", "backups": ["mx"]}
            }
        }"#;
        let errors = Settings::read(document).unwrap_err();
        let at: Vec<_> = errors.iter().filter_map(|error| error.split(": ").next()).collect();
        assert_eq!(
            at,
            [
                "routes.a",
                "routes.b",
                "routes.c",
                "domains",
                r#"domains."p.example""#,
                r#"domains."q.example""#,
                r#"domains."r.example""#,
                r#"domains."s.example""#,
                r#"domains."u.example""#,
                r#"domains."v.example""#,
                r#"domains."w.example""#,
                r#"domains."y.example""#,
                r#"domains."z.example""#
            ]
        );
    }

    #[test]
    fn what_does_nothing_is_warned_of() {
        let checked = Settings::read(r#"{"routes": {"a": {"hops": ["mx"]}}}"#).unwrap();
        assert_eq!(checked.warnings, ["routes.a: never used", "domains: empty, so the plugin does nothing"]);
    }

    #[test]
    fn every_setting_of_a_route_arrives() {
        let document = r#"{"domains": {"example.org": {"hops": ["smtp://a", "smtp://b"], "tls": "dane", "source": "s",
            "credential": "c", "lane": "l", "retry": "r", "expires-after-seconds": 60}}}"#;
        let settings = Settings::read(document).unwrap().settings;
        let Some((_, Entry::Route { route, weights })) = settings.find("example.org") else { panic!("no route") };
        assert_eq!(route.hops.len(), 2);
        assert!(weights.is_empty(), "the order stands");
        assert_eq!(route.tls, TlsPolicy::Dane);
        let names = [&route.source, &route.credential, &route.lane, &route.retry_schedule].map(|n| n.as_deref());
        assert_eq!(names, [Some("s"), Some("c"), Some("l"), Some("r")]);
        assert_eq!(route.expires_after_seconds, Some(60));
    }
}
