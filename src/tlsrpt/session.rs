//! One session with a host of a domain, as far as reports tell of it. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One session, or the attempt at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The domain whose mail it was.
    pub domain: Arc<str>,
    /// The policy it was held to.
    pub policy: PolicySeen,
    /// The host that was spoken to.
    pub host: Arc<str>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The address it was spoken to from, where that is known.
    pub source: Option<IpAddr>,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
}

/// A policy, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySeen {
    /// Where it comes from.
    pub kind: PolicyKind,
    /// Its text: the lines of a policy, the records of a host.
    pub text: Vec<String>,
    /// The hosts it names.
    pub hosts: Vec<String>,
}

/// Where a policy comes from (RFC 8460 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// DANE.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// There is none.
    NoPolicyFound,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of thing.
    pub kind: FailureKind,
    /// In words, if they say more.
    pub reason: Option<Arc<str>>,
}

/// Kinds of failures (RFC 8460 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The host offers no STARTTLS, or refused it.
    StarttlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// The certificate's time is over.
    CertificateExpired,
    /// No trusted authority stands behind the certificate.
    CertificateNotTrusted,
    /// Something else.
    ValidationFailure,
    /// The TLSA records are no good.
    TlsaInvalid,
    /// DNSSEC failed.
    DnssecInvalid,
    /// The route wants DANE, and the host has none.
    DaneRequired,
    /// The policy could not be fetched.
    StsPolicyFetchError,
    /// The policy is no good.
    StsPolicyInvalid,
    /// The policy host could not prove its name.
    StsWebpkiInvalid,
}

impl PolicySeen {
    /// No policy.
    pub fn none() -> Self {
        Self { kind: PolicyKind::NoPolicyFound, text: Vec::new(), hosts: Vec::new() }
    }
}
