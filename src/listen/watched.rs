//! What sessions tell those who watch them, and what is counted of messages. Never content, never what AUTH carries.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::hooks::{SessionFacts, Subject};
use crate::pulse::{Event, Kind, Pulse, Refused, Tally};
use crate::session::{MessageAnswer, Question, Session};

/// Octets of a reply that are shown.
const SHOWN: usize = 400;
/// Recipients of a message that are named.
const NAMED: usize = 10;

fn event(facts: &SessionFacts, addresses: Vec<String>, what: &str, more: Value) -> Event {
    let mut data = json!({
        "session": &*facts.id,
        "client": &*facts.client.address,
        "listener": &*facts.listener,
        "what": what,
    });
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    Event { client: facts.client.address.parse().ok(), addresses, data, ..Event::default() }
}

/// A session begins.
pub(super) fn connected(pulse: &Pulse, facts: &SessionFacts) {
    Tally::count(&pulse.tally().sessions);
    pulse.tell(Kind::Session, || {
        let tls = facts.tls.as_ref().map(|tls| &*tls.protocol);
        event(facts, Vec::new(), "connected", json!({ "client_name": facts.client_name, "tls": tls }))
    });
}

/// It has ended.
pub(super) fn ended(pulse: &Pulse, facts: &SessionFacts, error: Option<&io::Error>) {
    Tally::count(&pulse.tally().ended);
    pulse.tell(Kind::Session, || event(facts, Vec::new(), "ended", json!({ "error": error.map(ToString::to_string) })));
}

/// The client is told something.
pub(super) fn told(pulse: &Pulse, session: &Session, octets: &[u8]) {
    pulse.tell(Kind::Session, || {
        let shown = octets.get(..SHOWN).unwrap_or(octets);
        let text = String::from_utf8_lossy(shown);
        // A challenge is a part of AUTH.
        let lines: Vec<_> = text.lines().map(|line| if line.starts_with("334") { "334 …" } else { line }).collect();
        let addresses = session.transaction().map(|t| {
            let recipients = t.recipients.iter().map(|r| r.mailbox.to_string());
            t.sender.0.iter().map(ToString::to_string).chain(recipients).collect()
        });
        event(session.facts(), addresses.unwrap_or_default(), "told", json!({ "lines": lines }))
    });
}

/// The client came to a station of the dialogue.
pub(super) fn asked(pulse: &Pulse, facts: &SessionFacts, question: &Question) {
    pulse.tell(Kind::Session, || {
        let sender = |subject: &Subject| subject.transaction.as_ref().map(|t| t.sender.to_string());
        let (what, subject, more) = match question {
            Question::Connect(subject) => ("connect", subject, Value::Null),
            Question::Helo(subject) => {
                let name = subject.session.as_ref().and_then(|session| session.helo.clone());
                ("helo", subject, json!({ "name": name }))
            }
            Question::Verifier(name) => return event(facts, Vec::new(), "auth", json!({ "name": name })),
            Question::Auth(subject, attempt, _) => {
                ("auth", subject, json!({ "name": attempt.name, "mechanism": attempt.mechanism }))
            }
            Question::Mail(subject) => ("mail", subject, json!({ "sender": sender(subject) })),
            Question::Rcpt(subject) => {
                let recipient = subject.candidate.as_ref().map(|r| r.mailbox.to_string());
                ("rcpt", subject, json!({ "sender": sender(subject), "recipient": recipient }))
            }
            Question::Message(subject) => ("message", subject, json!({ "sender": sender(subject) })),
        };
        event(facts, addresses(subject), what, more)
    });
}

/// Everybody in the envelope.
fn addresses(subject: &Subject) -> Vec<String> {
    let transaction = subject.transaction.iter();
    let of = transaction.flat_map(|t| {
        let recipients = t.recipients.iter().map(|r| r.mailbox.to_string());
        t.sender.0.iter().map(ToString::to_string).chain(recipients)
    });
    of.chain(subject.candidate.iter().map(|r| r.mailbox.to_string())).collect()
}

/// Who sent a message to whom, before it is given away.
pub(super) struct Seen {
    facts: Option<Arc<SessionFacts>>,
    addresses: Vec<String>,
    sender: Option<String>,
    recipients: Vec<String>,
}

/// Of a message at the end of its data; none where nobody wants to know.
pub(super) fn message(pulse: &Pulse, subject: &Subject) -> Option<Seen> {
    pulse.is_watched(Kind::Reception).then(|| Seen {
        facts: subject.session.clone(),
        addresses: addresses(subject),
        sender: subject.transaction.as_ref().map(|t| t.sender.to_string()),
        recipients: subject
            .transaction
            .iter()
            .flat_map(|t| t.recipients.iter().take(NAMED))
            .map(|r| r.mailbox.to_string())
            .collect(),
    })
}

/// What came of it.
pub(super) fn taken(pulse: &Pulse, seen: Option<Seen>, answer: &MessageAnswer) {
    match answer {
        MessageAnswer::Refused(reply) | MessageAnswer::RefusedClosing(reply) if reply.code < 500 => {
            pulse.tally().refuse(Refused::Temporary, 1)
        }
        MessageAnswer::Discarded(_) => Tally::count(&pulse.tally().discarded),
        // What is refused for good the session counts.
        _ => {}
    }
    let Some(Seen { facts: Some(facts), addresses, sender, recipients }) = seen else { return };
    pulse.tell(Kind::Reception, || {
        let (what, more) = match answer {
            MessageAnswer::Queued(id, _) => ("accepted", json!({ "queue_id": id.to_string() })),
            MessageAnswer::Discarded(id) => ("discarded", json!({ "queue_id": id.to_string() })),
            MessageAnswer::Refused(reply) | MessageAnswer::RefusedClosing(reply) => {
                ("refused", json!({ "reply": reply.to_string() }))
            }
        };
        let mut told = event(&facts, addresses, what, more);
        if let Some(data) = told.data.as_object_mut() {
            data.insert("sender".to_owned(), sender.into());
            data.insert("recipients".to_owned(), json!(recipients));
        }
        told
    });
}
