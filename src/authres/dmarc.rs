//! DMARC (RFC 9989, which replaces RFC 7489): from what SPF and DKIM said, and the policy of the From field's domain.

use mail_auth::dkim::Signature;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DmarcResult, DnsError, Error, MessageAuthenticator, Parameters, SpfOutput,
    SpfResult,
};

use crate::hooks::{AuthStatus, DkimOutcome, DmarcDisposition, DmarcOutcome, SpfOutcome};
use crate::mail::Domain;

/// At most eight look-ups for each of the domains in play (RFC 9989 section 4.10).
pub(super) async fn check(
    dns: &MessageAuthenticator,
    author: Option<&Domain>,
    spf: &SpfOutcome,
    dkim: &[DkimOutcome],
) -> DmarcOutcome {
    // No domain, or several: there is no policy that could be asked for.
    let Some(author) = author else { return DmarcOutcome::default() };
    let message = AuthenticatedMessage { from: vec![format!("author@{author}")], ..AuthenticatedMessage::default() };
    let signatures: Vec<(AuthStatus, Signature)> = dkim
        .iter()
        .map(|outcome| (outcome.status, Signature { d: outcome.domain.to_string(), ..Signature::default() }))
        .collect();
    let outputs: Vec<DkimOutput<'_>> = signatures
        .iter()
        .filter_map(|(status, signature)| match status {
            AuthStatus::Pass => Some(DkimOutput::pass().with_signature(signature)),
            AuthStatus::Temperror => Some(DkimOutput::temp_err(temporary()).with_signature(signature)),
            _ => None,
        })
        .collect();
    let spf_output = SpfOutput::new(spf.domain.to_string()).with_result(spf_result(spf.status));
    let output = dns
        .verify_dmarc(Parameters::new(DmarcParameters {
            message: &message,
            dkim_output: &outputs,
            dkim2_output: None,
            rfc5321_mail_from_domain: &spf.domain,
            spf_output: &spf_output,
        }))
        .await;
    DmarcOutcome {
        status: status_of(&output.result()),
        from_domain: author.as_str().into(),
        disposition: match output.policy() {
            Policy::Reject => DmarcDisposition::Reject,
            Policy::Quarantine => DmarcDisposition::Quarantine,
            Policy::None | Policy::Unspecified => DmarcDisposition::None,
        },
        spf_aligned: *output.spf_result() == DmarcResult::Pass,
        dkim_aligned: *output.dkim_result() == DmarcResult::Pass,
    }
}

fn temporary() -> Error {
    Error::Dns(DnsError::Resolver(String::new()))
}

/// Only pass and temperror matter to DMARC.
fn spf_result(status: AuthStatus) -> SpfResult {
    match status {
        AuthStatus::Pass => SpfResult::Pass,
        AuthStatus::Temperror => SpfResult::TempError,
        _ => SpfResult::None,
    }
}

fn status_of(result: &DmarcResult) -> AuthStatus {
    match result {
        DmarcResult::Pass => AuthStatus::Pass,
        DmarcResult::Fail(_) => AuthStatus::Fail,
        DmarcResult::TempError(_) => AuthStatus::Temperror,
        DmarcResult::PermError(_) => AuthStatus::Permerror,
        DmarcResult::None => AuthStatus::None,
    }
}
