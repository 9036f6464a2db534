//! Header fields by rule: add, remove, replace, refuse; complete what authenticated clients left out; stamp.
//!
//! This file reads the message and carries the edits out; `rules` decides on plain data, `disclaimer` finds where a text
//! can be appended, `settings` reads what the operator wrote. The body is touched for a disclaimer only, and trace fields
//! are left alone unless a rule names them.

mod disclaimer;
mod rules;
mod settings;

use waypost_plugin::{
    Cached, HeaderField, Lifecycle, Message, MessageVerdict, OnMessage, Outcome, Settings as _, context, log, reply,
    rfc5322_date, system,
};

use disclaimer::{Disclaimer, MESSAGE_MAX, Plan};
use rules::{Change, Facts};
use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct HeaderPolicy;

static SETTINGS: Cached<Settings> = Cached::new();

impl Lifecycle for HeaderPolicy {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnMessage for HeaderPolicy {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        let message = context::current_message()?;
        let fields = message.headers();
        let facts = facts(&message, &fields)?;
        if let Some(refusal) = rules::refusal(settings, &facts, &fields) {
            return Ok(reply::reject(550, (5, 7, 1), &refusal));
        }
        for change in rules::changes(settings, &facts, &fields) {
            match change {
                Change::Top(name, value) => message.prepend_header(&name, &value)?,
                Change::Bottom(name, value) => message.append_header(&name, &value)?,
                Change::Replace(index, value) => message.replace_header(index, &value)?,
                Change::Remove(index) => message.remove_header(index)?,
            }
        }
        if let Some(disclaimer) = settings.disclaimer.as_ref().filter(|disclaimer| disclaimer.who.is(&facts)) {
            append(&message, disclaimer)?;
        }
        Ok(MessageVerdict::Proceed)
    }
}

/// Appends the text where that breaks nothing; else a header field says it.
fn append(message: &Message, disclaimer: &Disclaimer) -> Result<(), String> {
    let plan =
        if message.size() > MESSAGE_MAX { Plan::Leave("it is too large") } else { disclaimer.plan(&whole(message)?) };
    match plan {
        Plan::Present => Ok(()),
        Plan::Leave(why) => {
            log::write(log::Level::Info, &format!("no disclaimer in the body: {why}"), &[]);
            Ok(message.prepend_header(&disclaimer.header, &disclaimer.line())?)
        }
        Plan::Insert(at, octets) => {
            let body = message.body_size();
            // The place is counted from the first octet of the header section.
            let at = u32::try_from(at).ok().and_then(|at| at.checked_sub(message.size().checked_sub(body)?));
            let (Some(at), writer) = (at, message.new_body()?) else {
                return Err("the disclaimer's place is not in the body".to_owned());
            };
            writer.copy(0, at)?;
            writer.write(&octets)?;
            writer.copy(at, body.saturating_sub(at))?;
            Ok(message.replace_body(writer)?)
        }
    }
}

/// Header section, separator and body.
fn whole(message: &Message) -> Outcome<Vec<u8>> {
    let reader = message.open_raw()?;
    let mut octets = Vec::new();
    loop {
        let chunk = reader.read(256 << 10)?;
        if chunk.is_empty() {
            return Ok(octets);
        }
        octets.extend(chunk);
    }
}

fn facts(message: &Message, fields: &[HeaderField]) -> Result<Facts, String> {
    let has_id = fields.iter().any(|field| field.name.eq_ignore_ascii_case("Message-ID"));
    let transaction = context::current_transaction()?;
    // Messages that the relay itself made have no session; rules for clients then see nobody.
    let session = context::current_session().ok();
    Ok(Facts {
        id: transaction.id(),
        sender: transaction.sender(),
        client: session.as_ref().map(|session| session.client().address).unwrap_or_default(),
        listener: session.as_ref().map(|session| session.listener()).unwrap_or_default(),
        identity: session.and_then(|session| session.identity()).map(|identity| identity.name),
        date: rfc5322_date(message.received_at().seconds),
        unique: if has_id {
            String::new()
        } else {
            system::random_bytes(8).iter().map(|o| format!("{o:02x}")).collect()
        },
    })
}

waypost_plugin::export!(HeaderPolicy: lifecycle, on_message);

#[cfg(test)]
mod tests {
    use waypost_plugin::testing::World;

    use super::*;

    const SETTINGS: &str = r#"{
        "remove": [{ "name": "X-Spam-*" }],
        "add": [{ "name": "X-Policy", "value": "seen" }],
        "refuse": [{ "name": "Subject", "contains": "win", "text": "no lotteries" }]
    }"#;

    fn world() -> World {
        World::new().config(SETTINGS).sender("ann@example.org").recipient("bob@example.com")
    }

    #[test]
    fn rules_become_edits() {
        let mut world = world();
        let run = world.message::<HeaderPolicy>("Date: x\nMessage-ID: <a@b>\nX-Spam-Flag: NO\nSubject: hi\n\nbody\n");
        assert_eq!(run.verdict, Ok(MessageVerdict::Proceed));
        assert!(run.edits.contains(&"remove-header X-Spam-Flag".to_owned()), "{:?}", run.edits);
        let text = world.message_text();
        assert!(text.contains("X-Policy: seen\r\n") && !text.contains("X-Spam"), "{text}");
        assert!(text.ends_with("\r\n\r\nbody\r\n"), "{text}");
    }

    #[test]
    fn a_refusal_leaves_the_message_alone() {
        let run = world().message::<HeaderPolicy>("Subject: You WIN\n\nbody\n");
        assert_eq!(run.refusal(), "550 5.7.1 no lotteries");
        assert!(run.edits.is_empty());
    }

    #[test]
    fn what_authenticated_clients_left_out_is_completed() {
        let mut world = world().clock("2026-11-26T12:00:00Z").identity("ann");
        world.message::<HeaderPolicy>("Subject: hi\n\nbody\n").answer();
        let text = world.message_text();
        assert!(text.contains("Date: Thu, 26 Nov 2026 12:00:00 +0000\r\n"), "{text}");
        assert!(text.contains("Message-ID: <") && text.contains("@example.org>\r\n"), "{text}");
    }
}
