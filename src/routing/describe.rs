//! What would be found on the way to a next hop, for people: `waypost explain` prints it.

use super::{Address, Resolver, Selection, Target, targets};
use crate::hooks::NextHop;

/// One line for each finding: exchangers with their preference, addresses, what DNSSEC says, TLSA records and what they mean.
pub async fn describe(resolver: &dyn Resolver, hop: &NextHop, mx_port: u16, selection: &Selection) -> Vec<String> {
    let mut lines = Vec::new();
    if let NextHop::Mx(domain) = hop {
        match resolver.exchangers(domain).await {
            Ok(found) => {
                let alias = if found.name.eq_ignore_ascii_case(domain) { String::new() } else { alias(&found.name) };
                lines.push(format!("MX of {domain}{alias}: {} records, {}", found.records.len(), proof(found.secure)));
            }
            Err(error) => lines.push(format!("MX of {domain}: {error}")),
        }
    }
    let found = match targets(resolver, hop, mx_port, selection).await {
        Ok(found) => found,
        Err(error) => {
            lines.push(format!("no target: {error}"));
            lines.extend(error.cause.map(|cause| format!("  {cause}")));
            return lines;
        }
    };
    let mut last = None;
    for target in &found.targets {
        if last.as_ref() != Some(&target.host) {
            last = Some(target.host.clone());
            lines.push(host_line(target));
            lines.extend(tlsa_lines(resolver, target, selection).await);
        }
        lines.push(match &target.address {
            Address::Tcp(address) => format!("    {address}"),
            Address::Unix(path) => format!("    unix:{}", path.display()),
        });
    }
    lines.extend(found.notes.into_iter().map(|note| format!("  ({note})")));
    lines
}

fn host_line(target: &Target) -> String {
    let preference = target.origin.preference.map(|preference| format!("{preference} ")).unwrap_or_default();
    format!("  {preference}{}: {}", target.host, proof(target.origin.secure))
}

async fn tlsa_lines(resolver: &dyn Resolver, target: &Target, selection: &Selection) -> Vec<String> {
    let Address::Tcp(address) = &target.address else { return Vec::new() };
    if !selection.dane || !target.origin.named || target.lmtp {
        return Vec::new();
    }
    let name = format!("    TLSA _{}._tcp.{}", address.port(), target.host);
    match resolver.tlsa(&target.host, address.port()).await {
        Ok(tlsa) => {
            let mut lines = vec![format!("{name}: {}", tlsa.meaning())];
            if let super::Tlsa::Records { records, .. } = tlsa {
                let usable = |usable| if usable { "" } else { " (can't be used)" };
                lines.extend(records.iter().map(|record| format!("      {record}{}", usable(record.is_usable()))));
            }
            lines
        }
        Err(error) => vec![format!("{name}: {error}: the host is passed over for now")],
    }
}

fn alias(name: &str) -> String {
    format!(", an alias of {name}")
}

fn proof(secure: bool) -> &'static str {
    if secure { "validated" } else { "not validated" }
}
