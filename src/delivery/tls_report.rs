//! What one session with a host means to the reports that its domain gets (RFC 8460). Pure.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::OpenError;
use super::connection::Connection;
use super::requirement::{Case, DaneFinding, Level, Refusal, Requirement, StsFinding};
use crate::hooks::Stage;
use crate::routing::{Address, Target};
use crate::sts::{self, TroubleKind};
use crate::tls::Fault;
use crate::tlsrpt::{Failure, FailureKind, PolicyKind, PolicySeen, Session};

/// What became of a target.
pub(super) enum Met<'a> {
    /// It was not even tried.
    Refused(Refusal),
    /// There is a connection.
    Open(&'a Connection),
    /// There is none.
    Failed(&'a OpenError),
}

/// What is known about a session.
pub(super) struct Meeting<'a> {
    pub(super) domain: &'a Arc<str>,
    pub(super) target: &'a Target,
    pub(super) source: Option<IpAddr>,
    pub(super) case: &'a Case,
    pub(super) needs: &'a Requirement,
    pub(super) policy: &'a sts::Found,
}

/// As reports count it. None: TLS had no part in it.
pub(super) fn session(meeting: &Meeting<'_>, met: &Met<'_>) -> Option<Session> {
    let Meeting { domain, target, source, case, needs, policy } = meeting;
    if matches!(needs.level, Level::Off | Level::Plain) {
        return None;
    }
    let failure = match met {
        Met::Refused(refusal) => Some(refused(*refusal)?),
        Met::Failed(error) => Some(failed(error)?),
        Met::Open(connection) => opened(case, connection, policy),
    };
    let address = match &target.address {
        Address::Tcp(address) => Some(address.ip()),
        Address::Unix(_) => None,
    };
    let (domain, host) = (Arc::clone(domain), Arc::clone(&target.host));
    Some(Session { domain, policy: seen(case, policy, target), host, address, source: *source, failure })
}

/// The policy that the session was held to: DANE, where there is some, else MTA-STS.
fn seen(case: &Case, policy: &sts::Found, target: &Target) -> PolicySeen {
    let hosts = || vec![target.host.to_string()];
    match (&case.dane, policy.policy()) {
        (DaneFinding::Records(dane), _) => {
            let text = dane.records.iter().map(ToString::to_string).collect();
            PolicySeen { kind: PolicyKind::Tlsa, text, hosts: hosts() }
        }
        (DaneFinding::Unusable | DaneFinding::Failed, _) => {
            PolicySeen { kind: PolicyKind::Tlsa, text: Vec::new(), hosts: hosts() }
        }
        (DaneFinding::Absent, Some(policy)) => PolicySeen {
            kind: PolicyKind::Sts,
            text: policy.lines(),
            hosts: policy.mx.iter().map(ToString::to_string).collect(),
        },
        (DaneFinding::Absent, None) if trouble(policy).is_some() => {
            PolicySeen { kind: PolicyKind::Sts, text: Vec::new(), hosts: Vec::new() }
        }
        (DaneFinding::Absent, None) => PolicySeen::none(),
    }
}

fn refused(refusal: Refusal) -> Option<Failure> {
    match refusal {
        Refusal::TlsaUnknown => Some(failure(FailureKind::DnssecInvalid, None)),
        Refusal::NoTlsa => Some(failure(FailureKind::DaneRequired, None)),
        Refusal::NotInPolicy => Some(unnamed()),
        // That a sender wants more than the domain offers is nothing the domain did wrong.
        Refusal::NameUnknown | Refusal::NameUnproven => None,
    }
}

fn failed(error: &OpenError) -> Option<Failure> {
    match &error.fault {
        Some(fault) => Some(of_fault(fault)),
        None if error.stage == Stage::Tls => Some(failure(FailureKind::StarttlsNotSupported, None)),
        None => None,
    }
}

fn opened(case: &Case, connection: &Connection, policy: &sts::Found) -> Option<Failure> {
    if let Some(fault) = connection.tls_fault() {
        return Some(of_fault(fault));
    }
    if connection.tls().is_none() {
        return Some(failure(FailureKind::StarttlsNotSupported, None));
    }
    if case.sts == (StsFinding::Testing { names_host: false }) && case.dane == DaneFinding::Absent {
        return Some(unnamed());
    }
    let (kind, text) = trouble(policy).filter(|_| case.dane == DaneFinding::Absent && policy.held.is_none())?;
    Some(failure(kind, Some(text)))
}

/// That a policy could not be had, where a report can say so. A look-up that failed is no matter of the domain's policy.
fn trouble(policy: &sts::Found) -> Option<(FailureKind, Arc<str>)> {
    let trouble = policy.trouble.as_ref()?;
    let kind = match trouble.kind {
        TroubleKind::Record => return None,
        TroubleKind::Fetch => FailureKind::StsPolicyFetchError,
        TroubleKind::Certificate => FailureKind::StsWebpkiInvalid,
        TroubleKind::Invalid => FailureKind::StsPolicyInvalid,
    };
    Some((kind, Arc::clone(&trouble.text)))
}

fn of_fault(fault: &Fault) -> Failure {
    match fault {
        Fault::HostMismatch => failure(FailureKind::CertificateHostMismatch, None),
        Fault::Expired => failure(FailureKind::CertificateExpired, None),
        Fault::NotTrusted => failure(FailureKind::CertificateNotTrusted, None),
        Fault::Other(text) => failure(FailureKind::ValidationFailure, Some(Arc::clone(text))),
    }
}

fn unnamed() -> Failure {
    failure(FailureKind::ValidationFailure, Some("the policy does not name this host".into()))
}

fn failure(kind: FailureKind, reason: Option<Arc<str>>) -> Failure {
    Failure { kind, reason }
}
