//! TLSA records of a mail host: where they are looked for, and what finding them or not means (RFC 7672 sections 2.1, 2.2).
//!
//! Must never turn a look-up that failed, or signatures that are not valid, into "there are none".

use std::sync::Arc;

use super::{RecordData, RecordKind, ResolveError, Resolver};
use crate::tls::TlsaRecord;

/// Records looked at of one host. A handful is usual, two for each certificate while keys roll over.
const RECORDS: usize = 64;

/// What the owner of a host says of its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlsa {
    /// The host's addresses, or its TLSA records, are not signed: whatever they say counts for nothing.
    Insecure,
    /// That there are none is validated.
    None,
    /// There are some, none of which this relay can use. They say that the host has TLS, and no more (RFC 7672 section
    /// 2.2: encrypt, without authentication).
    Unusable,
    /// What the certificates have to match.
    Records {
        /// The TLSA base domain: for SNI, and the first name of a certificate.
        base: Arc<str>,
        /// At least one can be used.
        records: Arc<[TlsaRecord]>,
    },
}

impl Tlsa {
    /// What comes of it, in words.
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::Insecure => "not validated: no DANE",
            Self::None => "none: no DANE",
            Self::Unusable => "none that can be used: TLS is required, certificates are not judged",
            Self::Records { .. } => "DANE: the certificate must match",
        }
    }
}

/// Asks for them: at the end of the host's aliases, if the whole chain of these is validated, then at the host itself
/// (RFC 7672 section 2.2.2).
pub(super) async fn tlsa<R: Resolver + ?Sized>(resolver: &R, host: &str, port: u16) -> Result<Tlsa, ResolveError> {
    let found = resolver.host(host).await?;
    let mut bases: Vec<Arc<str>> = Vec::with_capacity(2);
    if found.secure && !found.name.eq_ignore_ascii_case(host) {
        bases.push(Arc::clone(&found.name));
    }
    if found.secure || found.alias_secure {
        bases.push(host.strip_suffix('.').unwrap_or(host).into());
    }
    let mut without = Tlsa::Insecure;
    for base in bases {
        match resolver.records(&format!("_{port}._tcp.{base}"), RecordKind::Tlsa).await {
            Ok(answer) if answer.secure => return Ok(of_records(base, &answer.records)),
            Ok(_) => {}
            Err(error @ ResolveError::Temporary(_)) => return Err(error),
            Err(ResolveError::NoSuchName | ResolveError::NoData) => without = Tlsa::None,
        }
    }
    Ok(without)
}

fn of_records(base: Arc<str>, records: &[RecordData]) -> Tlsa {
    let parse = |data: &RecordData| match data {
        RecordData::Raw(octets) => TlsaRecord::parse(octets),
        _ => None,
    };
    let records: Arc<[TlsaRecord]> = records.iter().filter_map(parse).take(RECORDS).collect();
    if records.iter().any(TlsaRecord::is_usable) { Tlsa::Records { base, records } } else { Tlsa::Unusable }
}
