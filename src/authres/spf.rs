//! SPF (RFC 7208).

use std::net::IpAddr;
use std::sync::Arc;

use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, SpfResult};

use super::{Case, domain, plain};
use crate::hooks::{AuthStatus, SpfIdentity, SpfOutcome};

/// Octets of an explanation that are kept: more is no explanation, and it may end up in a reply.
const EXPLANATION_MAX: usize = 400;

/// Whose policy is asked for.
pub(super) struct Asked {
    domain: Arc<str>,
    identity: SpfIdentity,
}

impl Asked {
    pub(super) fn of(case: &Case<'_>) -> Self {
        match &case.about.reverse_path().0 {
            Some(sender) => Self { domain: sender.domain.as_str().into(), identity: SpfIdentity::MailFrom },
            None => Self { domain: domain(helo(case)), identity: SpfIdentity::Helo },
        }
    }

    pub(super) fn outcome(self, status: AuthStatus) -> SpfOutcome {
        SpfOutcome { status, domain: self.domain, identity: self.identity, explanation: None }
    }
}

fn helo<'a>(case: &Case<'a>) -> &'a str {
    case.session.helo.as_deref().unwrap_or_default()
}

/// At most ten look-ups that ask for more than the policy itself, as mail-auth counts them (RFC 7208 section 4.6.4).
pub(super) async fn check(dns: &MessageAuthenticator, host: &str, case: &Case<'_>) -> SpfOutcome {
    let asked = Asked::of(case);
    // A client at the other end of a Unix socket has no address that a policy could name, and an address literal publishes
    // none (RFC 7208 section 4.3).
    let ip = match case.session.client.address.parse::<IpAddr>() {
        Ok(ip) if !asked.domain.starts_with('[') => ip,
        _ => return asked.outcome(AuthStatus::None),
    };
    let sender = case.about.reverse_path().0.as_ref().map(|m| format!("{}@{}", m.local_part, m.domain));
    let parameters = match &sender {
        Some(sender) => SpfParameters::verify_mail_from(ip, helo(case), host, sender),
        None => SpfParameters::verify_ehlo(ip, helo(case), host),
    };
    let output = dns.verify_spf(parameters).await;
    let status = match output.result() {
        SpfResult::Pass => AuthStatus::Pass,
        SpfResult::Fail => AuthStatus::Fail,
        SpfResult::SoftFail => AuthStatus::Softfail,
        SpfResult::Neutral => AuthStatus::Neutral,
        SpfResult::TempError => AuthStatus::Temperror,
        SpfResult::PermError => AuthStatus::Permerror,
        SpfResult::None => AuthStatus::None,
    };
    let explanation = output.explanation().map(|text| plain(text, EXPLANATION_MAX));
    SpfOutcome { explanation, ..asked.outcome(status) }
}
