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
