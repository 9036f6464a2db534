//! `dns`: the records that a test wrote down; any other name does not exist.

pub use crate::bindings::imports::waypost::plugin::dns::{Answer, DnsError, MxData, RecordData, RecordKind, SrvData};

use std::net::IpAddr;

use super::with;

/// Every record of a test.
const TTL_SECONDS: u32 = 300;

/// Looks records up.
///
/// # Errors
/// As the contract says; `denied` unless the test has records or the grant.
pub fn lookup(name: &str, kind: RecordKind) -> Result<Answer, DnsError> {
    let name = name_of(name)?;
    let there = with(|state| {
        let zone = state.services.dns.as_ref().ok_or(DnsError::Denied)?;
        zone.get(&name).cloned().ok_or(DnsError::NoSuchName)
    })?;
    let mut records = Vec::new();
    for record in &there {
        match record.as_str() {
            "SERVFAIL" => return Err(DnsError::ServerFailure),
            "TIMEOUT" => return Err(DnsError::TimedOut),
            _ => records.extend(parse(record).filter(|(of, _)| *of == kind).map(|(_, data)| data)),
        }
    }
    if records.is_empty() {
        return Err(DnsError::NoData);
    }
    Ok(Answer { records, ttl_seconds: TTL_SECONDS, secure: false })
}

/// Looks an address up in a list.
///
/// # Errors
/// As the contract says.
pub fn list_lookup(address: &str, zone: &str) -> Result<Vec<String>, DnsError> {
    let address: IpAddr = address.parse().map_err(|_| DnsError::Other("that is no address".to_owned()))?;
    let name = match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.{zone}")
        }
        IpAddr::V6(ip) => {
            let digits = ip.octets().into_iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            digits.chain([zone.to_owned()]).collect()
        }
    };
    match lookup(&name, RecordKind::A) {
        Ok(answer) => Ok(answer.records.into_iter().filter_map(address_of).collect()),
        Err(DnsError::NoSuchName | DnsError::NoData) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `A 127.0.0.2`, `TXT any words`, `MX 10 mx.example.org`, and so on; none for what is no record.
pub(crate) fn parse(record: &str) -> Option<(RecordKind, RecordData)> {
    let (kind, data) = record.split_once(' ')?;
    let name = || data.trim_end_matches('.').to_ascii_lowercase();
    let words: Vec<&str> = data.split_whitespace().collect();
    Some(match (kind, words.as_slice()) {
        ("A", [ip]) => (RecordKind::A, RecordData::Address(ip.parse::<std::net::Ipv4Addr>().ok()?.to_string())),
        ("AAAA", [ip]) => (RecordKind::Aaaa, RecordData::Address(ip.parse::<std::net::Ipv6Addr>().ok()?.to_string())),
        ("MX", [preference, exchange]) => {
            let mx = MxData { preference: preference.parse().ok()?, exchange: lower(exchange) };
            (RecordKind::Mx, RecordData::Mx(mx))
        }
        ("TXT", _) => (RecordKind::Txt, RecordData::Txt(data.to_owned())),
        ("PTR", [_]) => (RecordKind::Ptr, RecordData::Name(name())),
        ("CNAME", [_]) => (RecordKind::Cname, RecordData::Name(name())),
        ("NS", [_]) => (RecordKind::Ns, RecordData::Name(name())),
        ("SRV", [priority, weight, port, target]) => {
            let srv = SrvData {
                priority: priority.parse().ok()?,
                weight: weight.parse().ok()?,
                port: port.parse().ok()?,
                target: lower(target),
            };
            (RecordKind::Srv, RecordData::Srv(srv))
        }
        _ => return None,
    })
}

/// As names are compared: lower case, no final dot.
pub(crate) fn name_of(text: &str) -> Result<String, DnsError> {
    let name = lower(text);
    let good = |b: u8| b.is_ascii_graphic() && !b"\\\"();@$".contains(&b);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(good);
    if name.len() <= 253 && name.split('.').all(label) { Ok(name) } else { Err(DnsError::InvalidName) }
}

fn lower(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn address_of(data: RecordData) -> Option<String> {
    match data {
        RecordData::Address(ip) => Some(ip),
        _ => None,
    }
}
