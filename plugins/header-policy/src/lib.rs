//! Header fields by rule: add, remove, replace, refuse; complete what authenticated clients left out; stamp.
//!
//! This file reads the message and carries the edits out; `rules` decides on plain data, `settings` reads what the
//! operator wrote. It never touches the body, and leaves trace fields alone unless a rule names them.

mod rules;
mod settings;

use waypost_plugin::{
    Cached, HeaderField, Lifecycle, Message, MessageVerdict, OnMessage, Outcome, Settings as _, context, reply,
    rfc5322_date, system,
};

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
        Ok(MessageVerdict::Proceed)
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
