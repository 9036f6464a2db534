//! DANE-TA(2): a chain to a trust anchor that the domain's owner published (RFC 7671 section 5.2, RFC 7672 section 3.1.1).

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, Der, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{CERT, FULL, Mismatch, SPKI, TlsaRecord, certificate};

/// Does a chain from `end_entity` to an anchor of these records hold, and is it for one of `names`?
pub(super) fn judge(
    records: &[&TlsaRecord],
    names: &[Arc<str>],
    provider: &CryptoProvider,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Mismatch> {
    // A full certificate in a record need not be in the chain, so it must live as long as the anchors.
    let published: Vec<CertificateDer<'_>> = records
        .iter()
        .filter(|record| (record.matching, record.selector) == (FULL, CERT))
        .map(|record| CertificateDer::from(record.data.as_slice()))
        .collect();
    let shown = intermediates.iter().filter(|certificate| records.iter().any(|record| record.matches(certificate)));
    let mut anchors: Vec<TrustAnchor<'_>> =
        shown.chain(&published).filter_map(|certificate| anchor_from_trusted_cert(certificate).ok()).collect();
    for key in records.iter().filter(|record| (record.matching, record.selector) == (FULL, SPKI)) {
        anchors.extend(bare(&key.data, end_entity, intermediates));
    }
    if anchors.is_empty() {
        return Err(Mismatch::None);
    }
    let broken = |error: webpki::Error| Mismatch::Chain(error.to_string());
    let leaf = EndEntityCert::try_from(end_entity).map_err(broken)?;
    let algorithms = provider.signature_verification_algorithms.all;
    leaf.verify_for_usage(algorithms, &anchors, intermediates, now, KeyUsage::server_auth(), None, None)
        .map_err(broken)?;
    if names.iter().any(|name| is_for(&leaf, end_entity, name)) {
        return Ok(());
    }
    Err(Mismatch::Name(names.first().cloned().unwrap_or_default()))
}

/// A key without a certificate: whoever issued a certificate of the chain may be the one who has it (RFC 7671 section 5.2.2).
/// Whether it did, its signature says.
fn bare<'a>(
    key: &'a [u8],
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Vec<TrustAnchor<'a>> {
    let Some(key) = certificate::inside(key) else { return Vec::new() };
    let mut issuers: Vec<Vec<u8>> = Vec::new();
    for certificate in std::iter::once(end_entity).chain(intermediates) {
        let issuer = certificate::issuer(certificate).and_then(|name| Some(certificate::inside(&name)?.to_vec()));
        issuers.extend(issuer.filter(|issuer| !issuers.contains(issuer)));
    }
    let anchor = |issuer: Vec<u8>| TrustAnchor {
        subject: Der::from(issuer),
        subject_public_key_info: Der::from_slice(key),
        name_constraints: None,
    };
    issuers.into_iter().map(anchor).collect()
}

/// By the DNS names of subjectAltName; only without any by the common name (RFC 7672 section 3.2.3).
fn is_for(leaf: &EndEntityCert<'_>, der: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(wanted) = ServerName::try_from(name) else { return false };
    if leaf.verify_is_valid_for_subject_name(&wanted).is_ok() {
        return true;
    }
    if !certificate::dns_names(der).is_empty() {
        return false;
    }
    let Some(common) = certificate::common_name(der).map(|common| common.to_ascii_lowercase()) else { return false };
    let name = name.to_ascii_lowercase();
    // RFC 6125 section 6.4.3: a wildcard stands for one whole label, the first.
    let wild =
        common.strip_prefix("*.").is_some_and(|rest| name.split_once('.').is_some_and(|(_, above)| above == rest));
    common == name || wild
}
