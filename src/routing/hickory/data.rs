//! Between hickory's records and names and the relay's own.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;

use crate::routing::{Mx, RecordData, RecordKind, ResolveError};

pub(super) fn type_of(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Ns => RecordType::NS,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::Tlsa => RecordType::TLSA,
    }
}

pub(super) fn data_of(data: &RData) -> Option<RecordData> {
    Some(match data {
        RData::A(a) => RecordData::Address(IpAddr::V4(a.0)),
        RData::AAAA(a) => RecordData::Address(IpAddr::V6(a.0)),
        RData::MX(mx) => RecordData::Mx(Mx { preference: mx.preference, exchange: text_of(&mx.exchange) }),
        RData::TXT(text) => RecordData::Text(text.txt_data.concat()),
        RData::PTR(name) => RecordData::Name(text_of(&name.0)),
        RData::CNAME(name) => RecordData::Name(text_of(&name.0)),
        RData::NS(name) => RecordData::Name(text_of(&name.0)),
        RData::SRV(srv) => {
            RecordData::Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target: text_of(&srv.target) }
        }
        RData::TLSA(tlsa) => RecordData::Raw(tlsa.to_bytes().ok()?),
        _ => return None,
    })
}

/// Fully qualified: the search list of `resolv.conf` has no say in where mail goes (RFC 5321 section 2.3.5). What is no
/// name does not exist.
pub(super) fn qualified(name: &str) -> Result<Name, ResolveError> {
    let mut name = Name::from_ascii(name).map_err(|_| ResolveError::NoSuchName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// In lower case, without the final dot; the root is a lone dot.
pub(super) fn text_of(name: &Name) -> Arc<str> {
    let text = name.to_ascii().to_ascii_lowercase();
    match text.strip_suffix('.') {
        Some(stripped) if !stripped.is_empty() => stripped.into(),
        _ => text.into(),
    }
}
