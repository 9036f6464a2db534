//! `[relay]`: who may send to whom, and how domains and networks are written.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::config::raw::{Table, Value};
use crate::mail::Domain;
use crate::session::RelayRules;

/// Reads the section: the rules, and whether an open relay is what is wanted.
pub(super) fn rules(table: &Table<'_>) -> (RelayRules, bool) {
    let everyone = table.bool("allow-everyone", false);
    let networks = table.array("networks").iter().filter_map(|value| network(value, everyone)).collect();
    let domains = table.array("domains").iter().filter_map(domain_pattern).collect::<BTreeSet<_>>();
    table.finish();
    (RelayRules { networks, domains }, everyone)
}

/// A network of clients that may send to anybody. What is wider than the widest private network (10.0.0.0/8, fc00::/7)
/// makes an open relay, and is taken only from somebody who says that they want one.
fn network(value: &Value<'_>, everyone: bool) -> Option<IpNet> {
    trusted_network(value, everyone, "lets strangers send through this relay to anybody")
}

/// A network that is trusted with something, and what would come of one that is too wide.
pub(super) fn trusted_network(value: &Value<'_>, everyone: bool, otherwise: &str) -> Option<IpNet> {
    let net = plain_network(value)?;
    let widest = if net.addr().is_ipv4() { 8 } else { 7 };
    if net.prefix_len() < widest && !everyone {
        value.wrong(
            format!("{net} {otherwise}"),
            "name your own networks; if an open relay is what you want, say allow-everyone = true",
        );
        return None;
    }
    Some(net)
}

/// A network of any width.
pub(super) fn plain_network(value: &Value<'_>) -> Option<IpNet> {
    let net = value.parsed(|text| {
        let help = "write a network such as \"192.0.2.0/24\", or an address".to_owned();
        let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
        parsed.ok_or((format!("{text:?} is no network"), help))
    })?;
    if net != net.trunc() {
        value.wrong(format!("{net} has bits set behind its prefix"), &format!("write \"{}\"", net.trunc()));
        return None;
    }
    Some(net)
}

/// A domain, or with a leading dot all subdomains of one.
pub(super) fn domain_pattern(value: &Value<'_>) -> Option<Domain> {
    value.parsed(read_domain_pattern)
}

/// As `domain_pattern`, of a text.
pub(super) fn read_domain_pattern(text: &str) -> Result<Domain, (String, String)> {
    let help = || "write a domain, such as \"example.org\", or \".example.org\" for all below it".to_owned();
    Domain::parse_pattern(text).map_err(|_| (format!("{text:?} is no domain"), help()))
}
