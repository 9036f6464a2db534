//! DANE: does a server show what the owner of its name published (RFC 6698, RFC 7671, RFC 7672 section 3)?
//!
//! Pure but for the signatures of chains, and that the time is passed in. Must never take a server for authenticated that
//! matches no usable record, nor ask more of one that matches DANE-EE(3) than that.

use std::fmt;
use std::io;
use std::sync::Arc;

use ring::digest::{Algorithm, SHA256, SHA512, digest};
use rustls::CertificateError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, OtherError, SignatureScheme};

use super::certificate;

mod authority;

/// RFC 7218 section 2.1: trust anchor assertion; domain-issued certificate.
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
/// RFC 7218 section 2.2: the whole certificate; its public key.
const CERT: u8 = 0;
const SPKI: u8 = 1;
/// RFC 7218 section 2.3.
const FULL: u8 = 0;
const SHA2_256: u8 = 1;
const SHA2_512: u8 = 2;

/// One TLSA record (RFC 6698 section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsaRecord {
    /// What the data is of.
    pub usage: u8,
    /// Which part of a certificate.
    pub selector: u8,
    /// How that is given.
    pub matching: u8,
    /// The data itself.
    pub data: Vec<u8>,
}

/// What a server has to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dane {
    /// As published; those that can't be used are passed over.
    pub records: Arc<[TlsaRecord]>,
    /// Names that a certificate under DANE-TA(2) may be for (RFC 7672 section 3.2.2). The first is the TLSA base domain, which
    /// is also sent as SNI.
    pub names: Arc<[Arc<str>]>,
}

/// Why a server is not the one that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// No certificate of the chain matches.
    #[error("no TLSA record matches the certificate")]
    None,
    /// A trust anchor matches, but the chain does not hold.
    #[error("the chain to the trust anchor of a TLSA record does not hold: {0}")]
    Chain(String),
    /// The chain holds, for somebody else.
    #[error("the certificate is not for {0}")]
    Name(Arc<str>),
}

impl Mismatch {
    /// What a handshake failed by, where it was this: rustls would say no more than that there was something.
    pub(super) fn laid_bare(error: io::Error) -> io::Error {
        let found = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => other.0.downcast_ref::<Self>(),
            _ => None,
        };
        match found.cloned() {
            Some(mismatch) => io::Error::new(io::ErrorKind::InvalidData, mismatch),
            None => error,
        }
    }
}

impl TlsaRecord {
    /// From its wire form.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let [usage, selector, matching, data @ ..] = octets else { return None };
        Some(Self { usage: *usage, selector: *selector, matching: *matching, data: data.to_vec() })
    }

    /// False for what this relay does not know or must not use - PKIX-TA(0) and PKIX-EE(1) are no use to SMTP (RFC 7672
    /// section 3.1.3) - and for data that can match nothing.
    pub fn is_usable(&self) -> bool {
        let known = matches!(self.usage, DANE_TA | DANE_EE);
        known
            && match (self.matching, self.selector) {
                (FULL, CERT) => certificate::spki(&self.data).is_some(),
                (FULL, SPKI) => certificate::is_spki(&self.data),
                (SHA2_256, CERT | SPKI) => self.data.len() == SHA256.output_len(),
                (SHA2_512, CERT | SPKI) => self.data.len() == SHA512.output_len(),
                _ => false,
            }
    }

    /// True if this certificate is the one that the record speaks of.
    fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        let key;
        let part: &[u8] = match self.selector {
            CERT => certificate,
            SPKI => match certificate::spki(certificate) {
                Some(found) => {
                    key = found;
                    &key
                }
                None => return false,
            },
            _ => return false,
        };
        let hashed = |algorithm: &'static Algorithm| digest(algorithm, part).as_ref() == self.data.as_slice();
        match self.matching {
            FULL => part == self.data.as_slice(),
            SHA2_256 => hashed(&SHA256),
            SHA2_512 => hashed(&SHA512),
            _ => false,
        }
    }
}

impl fmt::Display for TlsaRecord {
    /// As in a zone file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Dane {
    /// The TLSA base domain.
    pub fn base(&self) -> &str {
        self.names.first().map_or("", |name| name)
    }

    /// Is this the server? `now` is for chains to a trust anchor; DANE-EE(3) knows no expiry (RFC 7671 section 5.1).
    pub(super) fn judge(
        &self,
        provider: &CryptoProvider,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Mismatch> {
        let records = strongest(&self.records);
        if records.iter().any(|record| record.usage == DANE_EE && record.matches(end_entity)) {
            return Ok(());
        }
        let anchors: Vec<&TlsaRecord> = records.into_iter().filter(|record| record.usage == DANE_TA).collect();
        authority::judge(&anchors, &self.names, provider, end_entity, intermediates, now)
    }
}

/// The usable records, of the digests of one usage and selector only the strongest (RFC 7671 section 9): who can forge the
/// weaker one gains nothing where both are published.
fn strongest(records: &[TlsaRecord]) -> Vec<&TlsaRecord> {
    let usable: Vec<&TlsaRecord> = records.iter().filter(|record| record.is_usable()).collect();
    let stronger = |than: &TlsaRecord| {
        usable.iter().any(|other| {
            (other.usage, other.selector) == (than.usage, than.selector)
                && other.matching == SHA2_512
                && than.matching == SHA2_256
        })
    };
    usable.iter().copied().filter(|record| !stronger(record)).collect()
}

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct DaneVerifier {
    pub(super) dane: Arc<Dane>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for DaneVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.dane.judge(&self.provider, end_entity, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(mismatch) => Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
