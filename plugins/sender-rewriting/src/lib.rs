//! Return paths: SRS where mail is forwarded, VERP where it is to be known whose mail bounced.
//!
//! This file asks the relay and changes the envelope; `srs` and `verp` make and read addresses, `mac` signs them,
//! `settings` holds what the operator wants. An address that nobody here made is never led back to anybody.

mod mac;
mod settings;
mod srs;
mod verp;

use waypost_plugin::{
    AttemptVerdict, Cached, Delivery, ErrorCode, HostError, Lifecycle, MailTransaction, Mailbox, MessageVerdict, OWN,
    OnDeliveryAttempt, OnMessage, OnRcpt, Outcome, Recipient, SessionVerdict, Settings as _, config, context, log,
    metrics, reply, system,
};

use settings::{Client, Long, Settings, Srs, Verp, When};
use srs::Refusal;
use verp::Reading;

/// The plugin.
#[derive(Debug)]
pub struct SenderRewriting;

static SETTINGS: Cached<Settings> = Cached::new();

/// The annotation that says at an attempt that the message is being forwarded.
const FORWARDED: &str = "forwarded";

/// The domain of addresses that are kept in kv: no mail can ever come from one (RFC 6761 section 6.4).
const STORED: &str = "stored.invalid";

impl Lifecycle for SenderRewriting {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnMessage for SenderRewriting {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        let transaction = context::current_transaction()?;
        let (Some(srs), Some(sender)) = (&settings.srs, transaction.sender()) else {
            return Ok(MessageVerdict::Proceed);
        };
        let recipients = transaction.recipients();
        if !srs.forwards(&sender, recipients.iter().map(|recipient| &recipient.mailbox)) || is_exempt(srs) {
            return Ok(MessageVerdict::Proceed);
        }
        if srs.when == When::Attempt {
            transaction.set_annotation(FORWARDED, "yes")?;
            return Ok(MessageVerdict::Proceed);
        }
        if let Some(made) = forwarded(&sender, srs, settings, |made| transaction.set_sender(Some(made)))? {
            log::write(log::Level::Debug, &format!("{sender} becomes {made}"), &[]);
        }
        Ok(MessageVerdict::Proceed)
    }
}

impl OnDeliveryAttempt for SenderRewriting {
    fn on_delivery_attempt() -> Outcome<AttemptVerdict> {
        let settings = SETTINGS.get()?;
        let delivery = context::current_delivery()?;
        let Some(sender) = delivery.sender() else { return Ok(AttemptVerdict::Proceed) };
        if let Some(verp) = settings.verp.as_ref().filter(|verp| verp.senders.contains(&sender)) {
            send_with_verp(&delivery, &sender, verp, settings)?;
        } else if let Some(srs) = &settings.srs {
            let recipients = delivery.recipients();
            if delivery.annotation(None, FORWARDED)?.is_some()
                && srs.forwards(&sender, recipients.iter().map(|recipient| &recipient.mailbox))
            {
                forwarded(&sender, srs, settings, |made| delivery.set_sender(Some(made)))?;
            }
        }
        Ok(AttemptVerdict::Proceed)
    }
}

impl OnRcpt for SenderRewriting {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let settings = SETTINGS.get()?;
        let transaction = context::current_transaction()?;
        if let Some(srs) = settings.srs.as_ref().filter(|srs| srs.domain == candidate.mailbox.domain)
            && srs::is_rewritten(&candidate.mailbox.local_part)
        {
            return lead_back(&candidate, &transaction, srs, settings);
        }
        if let Some(verp) = &settings.verp {
            return read_bounce(&candidate, &transaction, verp, settings);
        }
        Ok(SessionVerdict::Proceed)
    }
}

fn is_exempt(srs: &Srs) -> bool {
    // Messages that the relay itself made have no session, and no sender of others.
    context::current_session().is_ok_and(|session| {
        srs.exempts(&Client {
            address: session.client().address.parse().ok(),
            authenticated: session.identity().is_some(),
            may_relay: session.may_relay(),
        })
    })
}

/// Gives forwarded mail a return path of ours; none if it has to keep the one it has.
fn forwarded(
    sender: &Mailbox,
    srs: &Srs,
    settings: &Settings,
    set: impl Fn(&Mailbox) -> Result<(), HostError>,
) -> Outcome<Option<Mailbox>> {
    let secrets = secrets(settings)?;
    let scheme = scheme(srs, settings, &secrets);
    let now = system::now().seconds;
    let made = |from: &Mailbox| Mailbox { local_part: scheme.forward(from, now), domain: srs.domain.clone() };
    let mut address = made(sender);
    let mut said = set(&address);
    if !is_fit(&said) && srs.long == Long::Kv {
        let token: String = system::random_bytes(8).iter().map(|octet| format!("{octet:02x}")).collect();
        OWN.set_text(&token, &sender.to_string(), Some(srs.max_age_days.saturating_mul(86_400)))?;
        address = made(&Mailbox { local_part: token, domain: STORED.to_owned() });
        said = set(&address);
    }
    if !is_fit(&said) {
        log::write(log::Level::Warn, &format!("{sender} is too long to be rewritten, and stays"), &[]);
        return Ok(None);
    }
    said?;
    count("rewritten", "kind", "srs")?;
    Ok(Some(address))
}

/// False where the relay says that it is no address: a local part has 64 octets at most (RFC 5321 section 4.5.3.1.1).
fn is_fit(said: &Result<(), HostError>) -> bool {
    !matches!(said, Err(HostError { code: ErrorCode::InvalidArgument | ErrorCode::TooLarge, .. }))
}

fn send_with_verp(delivery: &Delivery, sender: &Mailbox, verp: &Verp, settings: &Settings) -> Result<(), String> {
    let recipients = delivery.recipients();
    let [recipient] = recipients.as_slice() else {
        let text = format!("{sender} writes to {} recipients in one attempt, and stays", recipients.len());
        log::write(log::Level::Debug, &text, &[]);
        return Ok(());
    };
    let secrets = if verp.sign { Some(secrets(settings)?) } else { None };
    let scheme = verp_scheme(verp, settings, secrets.as_deref());
    let local_part = scheme.make(sender, &recipient.mailbox);
    let said = delivery.set_sender(Some(&Mailbox { local_part, domain: sender.domain.clone() }));
    if !is_fit(&said) {
        log::write(log::Level::Warn, &format!("{} is too long to be written into {sender}", recipient.mailbox), &[]);
        return Ok(());
    }
    said?;
    count("rewritten", "kind", "verp")
}

fn lead_back(
    candidate: &Recipient,
    transaction: &MailTransaction,
    srs: &Srs,
    settings: &Settings,
) -> Outcome<SessionVerdict> {
    let secrets = secrets(settings)?;
    let back = scheme(srs, settings, &secrets).back(&candidate.mailbox.local_part, system::now().seconds);
    let back = match back {
        Ok(stored) if stored.domain == STORED => match OWN.text(&stored.local_part.to_lowercase())? {
            Some(text) => waypost_plugin::split_address(&text)
                .map(|(local, domain)| Mailbox { local_part: local.to_owned(), domain: domain.to_owned() })
                .ok_or(Refusal::Malformed),
            None => Err(Refusal::Expired),
        },
        back => back,
    };
    let (why, text) = match back {
        Ok(_) if srs.bounces_only && transaction.sender().is_some() => ("not-a-bounce", "only bounces are taken here"),
        Ok(back) => {
            transaction.rewrite_recipient(candidate.index, &back)?;
            transaction.add_tag("srs-return")?;
            count("returned", "kind", "srs")?;
            log::write(log::Level::Info, &format!("{} leads back to {back}", candidate.mailbox), &[]);
            return Ok(SessionVerdict::Proceed);
        }
        Err(Refusal::Expired) => ("expired", "this return path has expired"),
        Err(Refusal::Forged | Refusal::Malformed) => ("forged", "this is none of our return paths"),
    };
    count("refused", "why", why)?;
    Ok(reply::reject(550, (5, 1, 1), text))
}

fn read_bounce(
    candidate: &Recipient,
    transaction: &MailTransaction,
    verp: &Verp,
    settings: &Settings,
) -> Outcome<SessionVerdict> {
    if !candidate.mailbox.local_part.contains(verp.separator) || !candidate.mailbox.local_part.contains('=') {
        return Ok(SessionVerdict::Proceed);
    }
    let secrets = if verp.sign { Some(secrets(settings)?) } else { None };
    let domain = || candidate.mailbox.domain.clone();
    let ours = |local: &str| {
        let sender = Mailbox { local_part: local.to_owned(), domain: domain() };
        verp.senders.contains(&sender).then_some(sender)
    };
    match verp_scheme(verp, settings, secrets.as_deref()).read(&candidate.mailbox) {
        Reading::Bounce { recipient, sender } => {
            if let Some(sender) = ours(&sender) {
                transaction.rewrite_recipient(candidate.index, &sender)?;
                transaction.set_annotation("bounced", &recipient.to_string())?;
                transaction.add_tag("verp-bounce")?;
                count("returned", "kind", "verp")?;
                log::write(log::Level::Info, &format!("mail of {sender} to {recipient} came back"), &[]);
            }
        }
        Reading::Forged { sender } if ours(&sender).is_some() => {
            count("refused", "why", "forged")?;
            return Ok(reply::reject(550, (5, 1, 1), "this is none of our return paths"));
        }
        Reading::Forged { .. } | Reading::Ordinary => {}
    }
    Ok(SessionVerdict::Proceed)
}

/// Fewest octets of a secret: with a short one, or none, anybody could make addresses.
const SECRET_MIN: usize = 12;

fn secrets(settings: &Settings) -> Outcome<Vec<String>> {
    let read = |name: &String| {
        let secret = config::secret(name)?;
        let long = secret.len() >= SECRET_MIN;
        if long { Ok(secret) } else { Err(format!("secret `{name}` has fewer than {SECRET_MIN} octets")) }
    };
    settings.secrets.iter().map(read).collect()
}

fn scheme<'a>(srs: &Srs, settings: &Settings, secrets: &'a [String]) -> srs::Scheme<'a> {
    let tag_length = settings.tag_length;
    srs::Scheme { secrets, tag_length, max_age_days: srs.max_age_days, separator: srs.separator }
}

fn verp_scheme<'a>(verp: &Verp, settings: &Settings, secrets: Option<&'a [String]>) -> verp::Scheme<'a> {
    verp::Scheme { secrets, tag_length: settings.tag_length, separator: verp.separator }
}

fn count(counter: &str, label: &str, value: &str) -> Result<(), String> {
    Ok(metrics::add(counter, 1, &[(label.to_owned(), value.to_owned())])?)
}

waypost_plugin::export!(SenderRewriting: lifecycle, on_rcpt, on_message, on_delivery_attempt);
