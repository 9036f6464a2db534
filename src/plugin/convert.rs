//! Facts of the relay as the contract words them, and addresses on their way back.
//!
//! Nothing here hands out a u32 of 2^31 or more, or a 64-bit number beyond 2^53: some guests can't read them.

use std::sync::Arc;

use super::bindings::waypost::plugin as wit;
use super::state::error;
use crate::hooks;
use crate::mail::{self, ReversePath};
use crate::smtp::Reply;
use crate::time::Timestamp;
use wit::types::{ErrorCode, HostError};

pub(crate) fn small(number: u32) -> u32 {
    number.min(i32::MAX as u32)
}

pub(crate) fn small_u64(number: u64) -> u32 {
    small(u32::try_from(number).unwrap_or(u32::MAX))
}

pub(crate) fn text(text: &Option<Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

pub(crate) fn timestamp(at: Timestamp) -> wit::types::Timestamp {
    wit::types::Timestamp { seconds: at.secs(), nanoseconds: at.subsec_nanos() }
}

pub(crate) fn endpoint(endpoint: &hooks::Endpoint) -> wit::types::Endpoint {
    wit::types::Endpoint { address: endpoint.address.to_string(), port: endpoint.port }
}

pub(crate) fn mailbox(mailbox: &mail::Mailbox) -> wit::types::Mailbox {
    wit::types::Mailbox { local_part: mailbox.local_part.to_string(), domain: mailbox.domain.as_str().to_owned() }
}

pub(crate) fn sender(sender: &ReversePath) -> Option<wit::types::Mailbox> {
    sender.0.as_ref().map(mailbox)
}

/// What a guest says is an address, parsed again.
pub(crate) fn to_mailbox(given: &wit::types::Mailbox, smtputf8: bool) -> Result<mail::Mailbox, String> {
    mail::Mailbox::from_parts(&given.local_part, &given.domain, smtputf8).map_err(|e| e.to_string())
}

pub(crate) fn invalid(why: impl Into<String>) -> HostError {
    error(ErrorCode::InvalidArgument, why)
}

pub(crate) fn params(params: &[mail::Param]) -> Vec<wit::types::EsmtpParam> {
    let param = |p: &mail::Param| wit::types::EsmtpParam { keyword: p.keyword.to_string(), value: text(&p.value) };
    params.iter().map(param).collect()
}

pub(crate) fn recipient(recipient: &mail::Recipient) -> wit::transactions::Recipient {
    wit::transactions::Recipient {
        index: small(recipient.index),
        mailbox: mailbox(&recipient.mailbox),
        original: mailbox(&recipient.original),
        params: params(&recipient.params),
    }
}

pub(crate) fn tls_info(tls: &hooks::TlsFacts) -> wit::types::TlsInfo {
    wit::types::TlsInfo {
        protocol: tls.protocol.to_string(),
        cipher: tls.cipher.to_string(),
        server_name: text(&tls.server_name),
        client: tls.client.as_deref().map(client_certificate),
        details: Vec::new(),
    }
}

fn client_certificate(client: &hooks::ClientCertificate) -> wit::types::ClientCertificate {
    wit::types::ClientCertificate {
        verified: client.verified,
        subject: client.subject.to_string(),
        dns_names: client.dns_names.iter().map(|name| name.to_string()).collect(),
        sha256: client.sha256.to_vec(),
    }
}

pub(crate) fn identity(identity: &hooks::Identity) -> wit::types::Identity {
    wit::types::Identity {
        mechanism: identity.mechanism.to_string(),
        name: identity.name.to_string(),
        acts_as: text(&identity.acts_as),
        attributes: identity.attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

pub(crate) fn reply(reply: &Reply) -> wit::types::Reply {
    wit::types::Reply {
        code: reply.code,
        status: reply.status.map(enhanced_status),
        lines: reply.lines.iter().map(|line| line.to_string()).collect(),
    }
}

fn enhanced_status(status: crate::smtp::Status) -> wit::types::EnhancedStatus {
    wit::types::EnhancedStatus { kind: status.class, subject: status.subject, detail: status.detail }
}

pub(crate) fn next_hop(hop: &hooks::NextHop) -> wit::routing::NextHop {
    use wit::routing::{HostTarget, NextHop};
    let target = |host: &Arc<str>, port: &u16| HostTarget { host: host.to_string(), port: *port };
    match hop {
        hooks::NextHop::Mx(domain) => NextHop::Mx(domain.to_string()),
        hooks::NextHop::Smtp { host, port } => NextHop::Smtp(target(host, port)),
        hooks::NextHop::Lmtp { host, port } => NextHop::Lmtp(target(host, port)),
        hooks::NextHop::Named(name) => NextHop::Named(name.to_string()),
    }
}

pub(crate) fn route(route: &hooks::Route) -> wit::routing::Route {
    use wit::routing::TlsPolicy;
    wit::routing::Route {
        hops: route.hops.iter().map(next_hop).collect(),
        tls: match route.tls {
            hooks::TlsPolicy::Inherit => TlsPolicy::Inherit,
            hooks::TlsPolicy::Off => TlsPolicy::Off,
            hooks::TlsPolicy::Opportunistic => TlsPolicy::Opportunistic,
            hooks::TlsPolicy::Encrypt => TlsPolicy::Encrypt,
            hooks::TlsPolicy::Verify => TlsPolicy::Verify,
            hooks::TlsPolicy::Dane => TlsPolicy::Dane,
        },
        source: text(&route.source),
        credential: text(&route.credential),
        lane: text(&route.lane),
        retry_schedule: text(&route.retry_schedule),
        expires_after_seconds: route.expires_after_secs.map(small),
        options: Vec::new(),
    }
}

/// `tls` is that of the connection, where the outcome is of the attempt at hand.
pub(crate) fn outcome(outcome: &hooks::Outcome, tls: Option<&hooks::TlsFacts>) -> wit::deliveries::RecipientOutcome {
    wit::deliveries::RecipientOutcome {
        recipient: small(outcome.recipient),
        kind: kind(outcome.kind),
        stage: stage(outcome.stage),
        reply: outcome.reply.as_ref().map(reply),
        remote_name: text(&outcome.remote),
        remote: outcome.remote_endpoint.as_ref().map(endpoint),
        tls: tls.map(tls_info),
        details: outcome.error.iter().map(|error| ("error".to_owned(), error.to_string())).collect(),
    }
}

/// An attempt that was made for the recipient of this index.
pub(crate) fn past(recipient: u32, past: &hooks::Past) -> wit::deliveries::PastAttempt {
    wit::deliveries::PastAttempt {
        recipient: small(recipient),
        at: timestamp(past.at),
        took: past.took_ms,
        hop: past.hop.to_string(),
        remote_name: text(&past.remote),
        kind: kind(past.kind),
        stage: stage(past.stage),
        code: past.code,
        status: past.status.map(enhanced_status),
        text: past.text.to_string(),
    }
}

fn kind(kind: hooks::OutcomeKind) -> wit::deliveries::OutcomeKind {
    use wit::deliveries::OutcomeKind;
    match kind {
        hooks::OutcomeKind::Delivered => OutcomeKind::Delivered,
        hooks::OutcomeKind::Temporary => OutcomeKind::Temporary,
        hooks::OutcomeKind::Permanent => OutcomeKind::Permanent,
        hooks::OutcomeKind::Expired => OutcomeKind::Expired,
    }
}

fn stage(stage: hooks::Stage) -> wit::deliveries::Stage {
    use hooks::Stage as Of;
    use wit::deliveries::Stage;
    match stage {
        Of::Queue => Stage::Queue,
        Of::Resolve => Stage::Resolve,
        Of::Connect => Stage::Connect,
        Of::Greeting => Stage::Greeting,
        Of::Helo => Stage::Helo,
        Of::Tls => Stage::Tls,
        Of::Auth => Stage::Auth,
        Of::Mail => Stage::Mail,
        Of::Rcpt => Stage::Rcpt,
        Of::Data => Stage::Data,
        Of::Answer => Stage::Answer,
        Of::Done => Stage::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_sees_the_attempts_before() {
        let past = hooks::Past {
            at: crate::time::Timestamp::from_micros(1_500_000),
            took_ms: 70,
            hop: "mx:x.test".into(),
            remote: Some("mx.x.test".into()),
            kind: hooks::OutcomeKind::Temporary,
            stage: hooks::Stage::Rcpt,
            code: Some(450),
            status: Some(crate::smtp::Status::new(4, 7, 1)),
            text: "greylisted".into(),
        };
        let seen = super::past(3, &past);
        assert_eq!((seen.recipient, seen.at.seconds, seen.at.nanoseconds, seen.took), (3, 1, 500_000_000, 70));
        assert_eq!((&*seen.hop, seen.remote_name.as_deref(), seen.code), ("mx:x.test", Some("mx.x.test"), Some(450)));
        let status = seen.status.unwrap();
        assert_eq!((status.kind, status.subject, status.detail, &*seen.text), (4, 7, 1, "greylisted"));
    }

    #[test]
    fn a_plugin_sees_the_certificate_that_the_client_showed_and_no_key_material() {
        let client = hooks::ClientCertificate {
            verified: true,
            subject: "CN=ann".into(),
            dns_names: vec!["ann.example".into()],
            mailboxes: vec!["ann@example.org".into()],
            sha256: [7; 32],
        };
        let exporter: Arc<[u8]> = b"never handed out, 32 octets long".as_slice().into();
        let facts = hooks::TlsFacts {
            client: Some(Arc::new(client)),
            exporter: Some(exporter),
            protocol: "TLSv1.3".into(),
            ..hooks::TlsFacts::default()
        };
        let info = tls_info(&facts);
        let shown = info.client.as_ref().unwrap();
        assert!(shown.verified);
        assert_eq!((&*shown.subject, shown.dns_names.as_slice()), ("CN=ann", &["ann.example".to_owned()][..]));
        assert_eq!(shown.sha256, [7; 32]);
        assert!(info.details.is_empty() && !format!("{info:?}").contains("never"));
        assert!(tls_info(&hooks::TlsFacts::default()).client.is_none());
    }
}
