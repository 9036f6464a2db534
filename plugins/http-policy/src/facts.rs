//! What the relay knows, gathered for a question. Asks the relay only; decides nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waypost_plugin::{OutcomeKind, Protocol, RecipientOutcome, RoutingPhase, SmtpSession, Stage, TlsInfo, context};

use crate::hop;
use crate::question::{
    Client, Delivery, Identity, Message, Outcome, Question, Recipient, Routing, Session, Tls, Transaction,
};
use crate::settings::{Hook, Settings};

/// Session, transaction, message and delivery, each where the hook has it.
pub(crate) fn question(hook: Hook, settings: &Settings) -> Result<Question, String> {
    let mut question = Question::at(hook);
    if hook.is_of_queue() {
        question.delivery = Some(delivery()?);
        return Ok(question);
    }
    // Messages of the relay's own have none.
    question.session = context::current_session().ok().map(|session| self::session(&session));
    question.transaction = context::current_transaction().ok().map(|transaction| Transaction {
        id: transaction.id(),
        sender: transaction.sender().map(|sender| sender.to_string()).unwrap_or_default(),
        recipients: transaction.recipients().iter().map(recipient).collect(),
        declared_size: transaction.declared_size(),
        smtputf8: transaction.smtputf8(),
    });
    if hook == Hook::Message || (hook == Hook::Route && context::current_message().is_ok()) {
        question.message = Some(message(hook, settings)?);
    }
    Ok(question)
}

fn session(session: &SmtpSession) -> Session {
    let client = session.client();
    Session {
        id: session.id(),
        listener: session.listener(),
        client: Client { address: client.address, port: client.port, name: session.client_name() },
        protocol: match session.protocol() {
            Protocol::Smtp => "smtp",
            Protocol::Esmtp => "esmtp",
            Protocol::Lmtp => "lmtp",
        },
        helo: session.helo(),
        tls: session.tls().map(tls),
        identity: session.identity().map(|identity| Identity {
            mechanism: identity.mechanism,
            name: identity.name,
            acts_as: identity.acts_as,
            attributes: identity.attributes.into_iter().collect(),
        }),
        may_relay: session.may_relay(),
        transactions_so_far: session.transactions_so_far(),
        refused_recipients_so_far: session.refused_recipients_so_far(),
    }
}

fn tls(info: TlsInfo) -> Tls {
    Tls {
        protocol: info.protocol,
        cipher: info.cipher,
        server_name: info.server_name,
        verified: info.client.as_ref().is_some_and(|certificate| certificate.verified),
        subject: info.client.map(|certificate| certificate.subject),
    }
}

/// One recipient.
pub(crate) fn recipient(recipient: &waypost_plugin::Recipient) -> Recipient {
    Recipient {
        index: recipient.index,
        address: recipient.mailbox.to_string(),
        original: recipient.original.to_string(),
    }
}

/// The header section if it is wanted; the body's beginning if it is, and at the message hook only.
fn message(hook: Hook, settings: &Settings) -> Result<Message, String> {
    let message = context::current_message()?;
    let fields = || message.headers().into_iter().map(|field| (field.name, field.value)).collect();
    let mut told = Message {
        size: message.size(),
        body_size: message.body_size(),
        headers: settings.headers.then(fields),
        body: None,
        body_base64: None,
        body_truncated: None,
    };
    if settings.body_max > 0 && hook == Hook::Message {
        let reader = message.open_body()?;
        let mut octets = Vec::new();
        loop {
            let left = settings.body_max.saturating_sub(u32::try_from(octets.len()).unwrap_or(u32::MAX));
            let next = if left == 0 { Vec::new() } else { reader.read(left)? };
            if next.is_empty() {
                break;
            }
            octets.extend(next);
        }
        told.body_truncated = Some(message.body_size() > settings.body_max);
        (told.body, told.body_base64) = text_or_base64(octets);
    }
    Ok(told)
}

/// Octets as text, if they are one; a character cut at the end does not make them none.
fn text_or_base64(mut octets: Vec<u8>) -> (Option<String>, Option<String>) {
    if let Err(error) = std::str::from_utf8(&octets)
        && error.error_len().is_none()
    {
        octets.truncate(error.valid_up_to());
    }
    match String::from_utf8(octets) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.into_bytes()))),
    }
}

/// What the route hook is asked about.
pub(crate) fn routing(phase: RoutingPhase, recipients: &[waypost_plugin::Recipient]) -> Routing {
    Routing {
        phase: match phase {
            RoutingPhase::Arrival => "arrival",
            RoutingPhase::Requeue => "queue",
        },
        recipients: recipients.iter().map(recipient).collect(),
    }
}

fn delivery() -> Result<Delivery, String> {
    let delivery = context::current_delivery()?;
    Ok(Delivery {
        queue_id: delivery.queue_id(),
        attempt: delivery.attempt(),
        queued_at: delivery.queued_at().seconds,
        expires_at: delivery.expires_at().seconds,
        sender: delivery.sender().map(|sender| sender.to_string()).unwrap_or_default(),
        recipients: delivery.recipients().iter().map(recipient).collect(),
        size: delivery.message_size(),
        hop: hop::written(&delivery.hop()),
        previous: outcomes(&delivery.previous()),
    })
}

/// What became of recipients.
pub(crate) fn outcomes(outcomes: &[RecipientOutcome]) -> Vec<Outcome> {
    let one = |outcome: &RecipientOutcome| Outcome {
        recipient: outcome.recipient,
        kind: match outcome.kind {
            OutcomeKind::Delivered => "delivered",
            OutcomeKind::Temporary => "temporary",
            OutcomeKind::Permanent => "permanent",
            OutcomeKind::Expired => "expired",
        },
        stage: stage(outcome.stage),
        reply: outcome.reply.as_ref().map(|reply| {
            let status = reply.status.as_ref().map(|s| format!("{}.{}.{} ", s.kind, s.subject, s.detail));
            format!("{} {}{}", reply.code, status.unwrap_or_default(), reply.lines.join(" "))
        }),
        remote_name: outcome.remote_name.clone(),
    };
    outcomes.iter().map(one).collect()
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Queue => "queue",
        Stage::Resolve => "resolve",
        Stage::Connect => "connect",
        Stage::Greeting => "greeting",
        Stage::Helo => "helo",
        Stage::Tls => "tls",
        Stage::Auth => "auth",
        Stage::Mail => "mail",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
        Stage::Answer => "answer",
        Stage::Done => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_text_where_they_can_be() {
        for (octets, expected) in [
            (&b"Hello"[..], (Some("Hello"), None)),
            ("Gr\u{fc}\u{df}e".as_bytes(), (Some("Gr\u{fc}\u{df}e"), None)),
            (b"Gr\xc3\xbc\xc3", (Some("Gr\u{fc}"), None)),
            (b"Gr\xfc\xdfe", (None, Some("R3L832U="))),
        ] {
            let (text, base64) = text_or_base64(octets.to_vec());
            assert_eq!((text.as_deref(), base64.as_deref()), expected, "{octets:?}");
        }
    }
}
