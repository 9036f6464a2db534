//! Events: what a hook is asked directly, made into the facts that the relay would have at that station. Pure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::scenario::{self, Client, Event};
use crate::hooks::{
    AuthAttempt, DeliveryFacts, Endpoint, Hook, Identity, MessageFacts, NextHop, Outcome, Protocol, Route,
    RoutingPhase, SenderAuthentication, SessionFacts, Stage, Subject, TlsFacts, TransactionFacts,
};
use crate::mail::{Annotations, BodyKind, Header, Mailbox, QueueId, Recipient, ReversePath};
use crate::plugin::Question;
use crate::smtp::{Reply, Status};
use crate::store::Content;
use crate::time::Timestamp;

/// Where clients come from if nothing is said (RFC 5737).
const CLIENT: &str = "192.0.2.1";

/// Attempts are made for so long by default, from the arrival on.
const LIFE: Duration = Duration::from_secs(5 * 86_400);

/// Whose notes and annotations an event has, and when it happens.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub plugin: &'a Arc<str>,
    pub now: Timestamp,
    /// Counts events, so that each has ids of its own.
    pub number: u64,
}

/// The question, and the facts.
pub(crate) fn ask(hook: Hook, client: &Client, event: &Event, at: Setting<'_>) -> Result<(Question, Subject), String> {
    let mut subject = Subject::default();
    let is_session = hook <= Hook::Route;
    if is_session && event.phase.as_deref() != Some("queue") {
        let mut session = session(client, at)?;
        for (key, value) in &event.notes {
            let set = session.notes.set(at.plugin.clone(), "-", &**key, &**value);
            set.map_err(|error| format!("event.notes: {error}"))?;
        }
        subject.session = Some(Arc::new(session));
    }
    if is_session && hook >= Hook::Mail {
        subject.transaction = Some(Arc::new(transaction(event, at)?));
    }
    if hook == Hook::Rcpt {
        let text = event.recipient.as_deref().ok_or("event.recipient: whom is the RCPT about?")?;
        let index = subject.transaction.as_ref().map_or(0, |t| t.next_index);
        subject.candidate = Some(recipient(index, text)?);
    }
    if matches!(hook, Hook::Message | Hook::Route) {
        subject.message = Some(Arc::new(message(event.message.as_deref().unwrap_or("\r\n"), at.now)));
    }
    let mut outcomes = Vec::new();
    if hook >= Hook::DeliveryAttempt {
        let (delivery, of_event) = delivery(event, at)?;
        (subject.delivery, outcomes) = (Some(Arc::new(delivery)), of_event);
    }
    Ok((question(hook, client, event, outcomes)?, subject))
}

fn question(hook: Hook, client: &Client, event: &Event, outcomes: Vec<Outcome>) -> Result<Question, String> {
    Ok(match hook {
        Hook::Connect => Question::Connect,
        Hook::Helo => Question::Helo(client.helo.as_deref().unwrap_or("client.example").into()),
        Hook::Auth => {
            let auth = event.auth.as_ref().ok_or("event.auth: what does the client offer?")?;
            Question::Auth(AuthAttempt {
                mechanism: auth.mechanism.as_deref().unwrap_or("PLAIN").into(),
                name: (&*auth.name).into(),
                acts_as: auth.acts_as.as_deref().map(Into::into),
                details: Vec::new(),
                secret: Some((&*auth.secret).into()),
            })
        }
        Hook::Mail => Question::Mail,
        Hook::Rcpt => Question::Rcpt,
        Hook::Message => Question::Message,
        Hook::Route => Question::Route(match event.phase.as_deref() {
            None | Some("arrival") => RoutingPhase::Arrival,
            Some("queue") => RoutingPhase::Requeue,
            Some(other) => return Err(format!("event.phase: {other:?} is neither arrival nor queue")),
        }),
        Hook::DeliveryAttempt => Question::DeliveryAttempt,
        Hook::DeliveryResult => Question::DeliveryResult(outcomes.into()),
        Hook::Bounce => Question::Bounce(outcomes.into()),
    })
}

/// The facts of a connection.
pub(crate) fn session(client: &Client, at: Setting<'_>) -> Result<SessionFacts, String> {
    let address = client.address.as_deref().unwrap_or(CLIENT);
    let ip: std::net::IpAddr = address.parse().map_err(|_| format!("client.address: {address:?} is no IP address"))?;
    let tls = || TlsFacts {
        protocol: "TLSv1.3".into(),
        cipher: "TLS13_AES_256_GCM_SHA384".into(),
        server_name: None,
        ..TlsFacts::default()
    };
    let identity = |name: &String| Identity {
        mechanism: "PLAIN".into(),
        name: (&**name).into(),
        acts_as: None,
        attributes: Vec::new(),
    };
    Ok(SessionFacts {
        id: QueueId::from_u64((2 << 40) + at.number).to_string().into(),
        listener: client.listener.as_deref().unwrap_or("smtp").into(),
        connected_at: at.now,
        client: Endpoint { address: ip.to_canonical().to_string().into(), port: 40_000 },
        server: Endpoint { address: "192.0.2.25".into(), port: 25 },
        client_name: client.name.as_deref().map(Into::into),
        protocol: if client.helo.is_some() { Protocol::Esmtp } else { Protocol::Smtp },
        helo: client.helo.as_deref().map(Into::into),
        tls: client.tls.then(tls),
        identity: client.identity.as_ref().map(identity),
        may_relay: client.relay,
        transactions: 0,
        refused_recipients: 0,
        withheld: Default::default(),
        notes: Annotations::default(),
    })
}

fn transaction(event: &Event, at: Setting<'_>) -> Result<TransactionFacts, String> {
    let sender = sender(event)?;
    let recipients: Vec<Recipient> =
        (0..).zip(&event.recipients).map(|(index, text)| recipient(index, text)).collect::<Result<_, _>>()?;
    Ok(TransactionFacts {
        id: QueueId::from_u64((1 << 40) + at.number),
        started_at: at.now,
        authentication: SenderAuthentication::of(sender.clone()),
        sender,
        sender_params: Vec::new(),
        declared_size: event.size,
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        next_index: u32::try_from(recipients.len()).unwrap_or(u32::MAX),
        recipients: Arc::new(recipients),
        annotations: annotations(event, at)?,
        tags: Vec::new(),
    })
}

fn annotations(event: &Event, at: Setting<'_>) -> Result<Annotations, String> {
    let mut annotations = Annotations::default();
    for (key, value) in &event.annotations {
        let set = annotations.set(at.plugin.clone(), "-", &**key, &**value);
        set.map_err(|error| format!("event.annotations: {error}"))?;
    }
    Ok(annotations)
}

fn sender(event: &Event) -> Result<ReversePath, String> {
    match event.sender.as_deref() {
        None | Some("") => Ok(ReversePath(None)),
        Some(text) => {
            mailbox(text).map(|mailbox| ReversePath(Some(mailbox))).map_err(|why| format!("event.sender: {why}"))
        }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    Mailbox::parse(text, true).map_err(|error| format!("{text:?} is no address: {error}"))
}

fn recipient(index: u32, text: &str) -> Result<Recipient, String> {
    let mailbox = mailbox(text)?;
    Ok(Recipient { index, original: mailbox.clone(), mailbox, params: Vec::new() })
}

/// As it would have come: line ends are CRLF.
fn message(text: &str, now: Timestamp) -> MessageFacts {
    let octets = crlf(text);
    let (header, separator, body) = split(&octets);
    MessageFacts { received_at: now, header: Header::parse(header), separator, body: Content::Memory(body) }
}

/// Header section, whether an empty line ends it, and body.
pub(crate) fn split(octets: &Bytes) -> (Bytes, bool, Bytes) {
    if let Some(body) = octets.strip_prefix(b"\r\n") {
        return (Bytes::new(), true, octets.slice_ref(body));
    }
    match octets.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => (octets.slice(..at + 2), true, octets.slice(at + 4..)),
        None => (octets.clone(), false, Bytes::new()),
    }
}

fn crlf(text: &str) -> Bytes {
    text.replace("\r\n", "\n").replace('\n', "\r\n").into()
}

fn delivery(event: &Event, at: Setting<'_>) -> Result<(DeliveryFacts, Vec<Outcome>), String> {
    let of_event = if event.failed.is_empty() { &event.outcomes } else { &event.failed };
    let mut recipients: Vec<Recipient> = Vec::new();
    let named = event.recipients.iter().chain(of_event.iter().chain(&event.previous).map(|o| &o.recipient));
    for text in named {
        let index = u32::try_from(recipients.len()).unwrap_or(u32::MAX);
        let new = recipient(index, text)?;
        if !recipients.iter().any(|known| known.mailbox == new.mailbox) {
            recipients.push(new);
        }
    }
    let outcome = |outcome: &scenario::Outcome| result(outcome, &recipients, at.now);
    let outcomes = of_event.iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
    let previous = event.previous.iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
    let hop = next_hop(event.hop.as_deref(), &recipients)?;
    let ago = span("event.queued-for", event.queued_for.as_deref())?.unwrap_or_default();
    let arrived = at.now.minus(ago);
    let expires = match span("event.expires-in", event.expires_in.as_deref())? {
        Some(left) => at.now.plus(left),
        None => arrived.plus(LIFE),
    };
    let facts = DeliveryFacts {
        id: QueueId::from_u64((1 << 40) + at.number),
        arrived,
        attempts: event.attempt,
        expires,
        sender: sender(event)?,
        recipients: recipients.clone().into(),
        message_size: event.size.unwrap_or(1000),
        route: Arc::new(Route { hops: vec![hop.clone()], ..Route::default() }),
        hop,
        previous: previous.into(),
        history: Arc::default(),
        remote: None,
        tls: None,
        annotations: Arc::new(annotations(event, at)?),
        prepended: Arc::default(),
    };
    Ok((facts, outcomes))
}

fn result(outcome: &scenario::Outcome, recipients: &[Recipient], at: Timestamp) -> Result<Outcome, String> {
    let wanted = mailbox(&outcome.recipient)?;
    let known = recipients.iter().find(|recipient| recipient.mailbox == wanted);
    let reply = outcome.reply.as_deref().map(reply).transpose()?;
    Ok(Outcome {
        recipient: known.map_or(0, |recipient| recipient.index),
        kind: outcome.kind,
        stage: outcome.stage.unwrap_or(if reply.is_some() { Stage::Answer } else { Stage::Connect }),
        reply,
        error: outcome.error.as_deref().map(Into::into),
        remote: outcome.remote.as_deref().map(Into::into),
        remote_endpoint: None,
        at,
    })
}

/// `451 4.7.1 text`.
fn reply(text: &str) -> Result<Reply, String> {
    let wrong = || format!("reply: {text:?} is no reply: write 451 4.7.1 and a text");
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().ok().filter(|code| (200..600).contains(code)).ok_or_else(wrong)?;
    let (status, words) = rest.split_once(' ').unwrap_or((rest, ""));
    let numbers: Vec<u16> = status.split('.').filter_map(|part| part.parse().ok()).collect();
    match (numbers.as_slice(), status.split('.').count()) {
        ([class, subject, detail], 3) => {
            let class = u8::try_from(*class).map_err(|_| wrong())?;
            Ok(Reply::new(code, Status::new(class, *subject, *detail), words))
        }
        _ => Ok(Reply::bare(code, [rest.into()])),
    }
}

fn next_hop(text: Option<&str>, recipients: &[Recipient]) -> Result<NextHop, String> {
    let Some(text) = text else {
        let domain = recipients.first().map_or("example.com", |recipient| recipient.mailbox.domain.as_str());
        return Ok(NextHop::Mx(domain.into()));
    };
    let wrong =
        || format!("event.hop: {text:?} is none of smtp:HOST:PORT, lmtp:HOST:PORT, mx:DOMAIN, destination:NAME");
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    let at_port = || {
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        Ok::<_, String>((host.into(), port.parse().map_err(|_| wrong())?))
    };
    match kind {
        "mx" => Ok(NextHop::Mx(rest.into())),
        "destination" => Ok(NextHop::Named(rest.into())),
        "smtp" => at_port().map(|(host, port)| NextHop::Smtp { host, port }),
        "lmtp" if rest.starts_with("unix:") => Ok(NextHop::Lmtp { host: rest.into(), port: 0 }),
        "lmtp" => at_port().map(|(host, port)| NextHop::Lmtp { host, port }),
        _ => Err(wrong()),
    }
}

/// How a hop is written in scenarios.
pub(crate) fn hop_text(hop: &NextHop) -> String {
    match hop {
        NextHop::Mx(domain) => format!("mx:{domain}"),
        NextHop::Smtp { host, port } => format!("smtp:{host}:{port}"),
        NextHop::Lmtp { host, .. } if host.starts_with("unix:") => format!("lmtp:{host}"),
        NextHop::Lmtp { host, port } => format!("lmtp:{host}:{port}"),
        NextHop::Named(name) => format!("destination:{name}"),
    }
}

fn span(key: &str, text: Option<&str>) -> Result<Option<Duration>, String> {
    text.map(|text| duration(text).ok_or_else(|| format!("{key}: {text:?} is no time: write 90s, 10m, 2h or 4d")))
        .transpose()
}

/// `90s`, `10m`, `2h`, `4d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let (number, secs) = units.iter().find_map(|(unit, secs)| Some((text.strip_suffix(*unit)?, *secs)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(secs).map(Duration::from_secs)
}

/// `rcpt` or `on-rcpt`.
pub(crate) fn hook(name: &str) -> Result<Hook, String> {
    let wanted = name.strip_prefix("on-").unwrap_or(name);
    let of = |hook: &&Hook| hook.interface().strip_prefix("on-") == Some(wanted);
    Hook::ALL.iter().find(of).copied().ok_or_else(|| {
        let all = Hook::ALL.map(|hook| hook.interface().trim_start_matches("on-")).join(", ");
        format!("there is no hook {name:?}; the hooks are {all}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> (Arc<str>, Timestamp) {
        ("policy".into(), Timestamp::from_secs(1_000_000))
    }

    #[test]
    fn each_hook_gets_the_facts_of_its_station() {
        let (plugin, now) = at();
        let setting = Setting { plugin: &plugin, now, number: 1 };
        let event: Event = toml::from_str(
            "sender = 'a@b.example'\nrecipients = ['c@d.example']\nrecipient = 'e@f.example'\nauth = { name = 'x' }\n\
             message = \"Subject: x\\n\\nbody\\n\"\noutcomes = [{ recipient = 'c@d.example', kind = 'temporary', reply = '451 4.7.1 later' }]",
        )
        .unwrap();
        for hook in Hook::ALL {
            let (question, subject) = ask(hook, &Client::default(), &event, setting).unwrap();
            assert_eq!(question.hook(), hook);
            let there = |is: bool| if is { "x" } else { "-" };
            let facts = [
                subject.session.is_some(),
                subject.transaction.is_some(),
                subject.candidate.is_some(),
                subject.message.is_some(),
                subject.delivery.is_some(),
            ];
            let expected = match hook {
                Hook::Connect | Hook::Helo | Hook::Auth => "x----",
                Hook::Mail => "xx---",
                Hook::Rcpt => "xxx--",
                Hook::Message | Hook::Route => "xx-x-",
                _ => "----x",
            };
            assert_eq!(facts.map(there).concat(), expected, "{hook:?}");
        }
    }

    #[test]
    fn replies_and_hops_are_read() {
        assert_eq!(reply("451 4.7.1 come back").unwrap().to_string(), "451 4.7.1 come back");
        assert_eq!(reply("550 no").unwrap().to_string(), "550 no");
        assert!(reply("no").is_err() && reply("99 x").is_err());
        for text in ["mx:example.org", "smtp:a:25", "lmtp:unix:/run/x", "lmtp:b:24", "destination:d"] {
            assert_eq!(hop_text(&next_hop(Some(text), &[]).unwrap()), text);
        }
        assert!(next_hop(Some("smtp:a"), &[]).is_err());
        assert!(hook("on-recpt").unwrap_err().contains("rcpt, message"));
    }

    #[test]
    fn messages_are_split_at_the_empty_line() {
        for (text, header, separator, body) in [
            ("A: b\r\n\r\nx\r\n", "A: b\r\n", true, "x\r\n"),
            ("\r\nx", "", true, "x"),
            ("A: b\r\n", "A: b\r\n", false, ""),
        ] {
            let split = split(&Bytes::copy_from_slice(text.as_bytes()));
            assert_eq!(
                split,
                (Bytes::copy_from_slice(header.as_bytes()), separator, Bytes::copy_from_slice(body.as_bytes()))
            );
        }
    }
}
