//! Judges attachments: by name, by type, by their first octets, and by what is in archives.
//!
//! This file reads the message and does what was decided; the way through a message is in `walk`, one file is judged in
//! `file`, what is found and what becomes of it is in `finding`. A message that can't be looked through is never taken for a clean
//! one. Must never write names or content to the log.

mod contents;
mod file;
mod finding;
mod name;
mod settings;
mod strip;
mod walk;
mod zip;

use waypost_plugin::{
    Cached, Lifecycle, Message, MessageVerdict, OnMessage, Outcome, Settings as _, context, log, metrics,
};

use finding::{Action, Class, Finding, strictest};
use settings::Settings;
use strip::Piece;
use walk::Walked;

/// The plugin.
#[derive(Debug)]
pub struct Attachments;

static SETTINGS: Cached<Settings> = Cached::new();

/// The field that tells what was found.
const FIELD: &str = "X-Attachment-Policy";

/// Octets that are read at once.
const CHUNK: u32 = 256 << 10;

/// Findings that are told of.
const TOLD_MAX: usize = 10;

impl Lifecycle for Attachments {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnMessage for Attachments {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        if exempt(settings) {
            return Ok(MessageVerdict::Proceed);
        }
        let message = context::current_message()?;
        let walked = looked_through(&message, settings)?;
        // Only this plugin may say so.
        for field in message.headers_named(FIELD) {
            message.remove_header(field.index)?;
        }
        let (action, heeded) = strictest(&walked.findings, settings);
        if action == Action::Ignore {
            return Ok(MessageVerdict::Proceed);
        }
        tell(&heeded)?;
        let shown = heeded.iter().take(TOLD_MAX).map(|finding| finding.shown()).collect::<Vec<_>>().join(", ");
        match action {
            Action::Reject => {
                let mut reply = settings.reject_reply.clone();
                reply.lines.extend(heeded.first().map(|finding| finding.shown()));
                Ok(MessageVerdict::Reject(reply))
            }
            Action::Quarantine => Ok(MessageVerdict::Quarantine(format!("attachments: {shown}"))),
            Action::Strip if !stripped(&message, &walked, &heeded, settings)? => {
                Ok(MessageVerdict::Quarantine(format!("attachments, which could not be removed: {shown}")))
            }
            Action::Strip => {
                message.prepend_header(FIELD, &format!("removed; {shown}"))?;
                Ok(MessageVerdict::Proceed)
            }
            Action::Header | Action::Ignore => {
                message.prepend_header(FIELD, &format!("found; {shown}"))?;
                Ok(MessageVerdict::Proceed)
            }
        }
    }
}

fn exempt(settings: &Settings) -> bool {
    // Without a session the relay made or imported the message itself.
    let Ok(session) = context::current_session() else { return false };
    settings.skip_authenticated && session.identity().is_some() || settings.skip_relay_clients && session.may_relay()
}

fn looked_through(message: &Message, settings: &Settings) -> Result<Walked, String> {
    if message.size() > settings.max_size {
        let finding = Finding::new(Class::Limits, "a message that is too large to be looked through", None);
        return Ok(Walked { findings: vec![finding], places: Vec::new() });
    }
    let reader = message.open_raw()?;
    let mut raw = Vec::with_capacity(usize::try_from(message.size()).unwrap_or_default());
    loop {
        let next = reader.read(CHUNK)?;
        if next.is_empty() {
            return Ok(walk::walk(&raw, settings));
        }
        raw.extend(next);
    }
}

fn tell(heeded: &[&Finding]) -> Result<(), String> {
    for finding in heeded {
        // A metric that can't be kept is no reason to fail.
        let _ = metrics::add("findings", 1, &[("class".to_owned(), finding.class.name().to_owned())]);
    }
    for finding in heeded.iter().take(TOLD_MAX) {
        let class = ("class".to_owned(), finding.class.name().to_owned());
        log::write(log::Level::Info, &format!("found {}", finding.why), &[class]);
    }
    if let (Ok(transaction), Some(first)) = (context::current_transaction(), heeded.first()) {
        transaction.set_annotation("found", first.class.name())?;
        transaction.add_tag("attachment")?;
    }
    Ok(())
}

/// Takes away the parts whose findings ask for it. False if that can't be done.
fn stripped(message: &Message, walked: &Walked, heeded: &[&Finding], settings: &Settings) -> Result<bool, String> {
    let wanted = heeded.iter().filter(|finding| settings.action(finding.class) == Action::Strip);
    let parts: Option<Vec<usize>> = wanted.map(|finding| finding.part).collect();
    let Some(parts) = parts else { return Ok(false) };
    if parts.contains(&0) {
        return whole(message, settings).map(|()| true);
    }
    let places: Option<Vec<(usize, usize)>> =
        parts.iter().map(|part| walked.places.get(*part).copied().flatten()).collect();
    let offset = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let header = offset(message.size().saturating_sub(message.body_size()));
    let pieces = places.and_then(|places| strip::plan(&places, header, offset(message.size()), &settings.note));
    let Some(pieces) = pieces else { return Ok(false) };
    let body = message.new_body()?;
    for piece in pieces {
        match piece {
            Piece::Copy { offset, count } => body.copy(offset, count)?,
            Piece::Text(text) => body.write_text(&text)?,
        }
    }
    message.replace_body(body)?;
    Ok(true)
}

/// The message is the attachment: a note is all that stays.
fn whole(message: &Message, settings: &Settings) -> Result<(), String> {
    for field in message.headers() {
        if field.name.to_ascii_lowercase().starts_with("content-") {
            message.remove_header(field.index)?;
        }
    }
    message.append_header("Content-Type", "text/plain; charset=utf-8")?;
    let body = message.new_body()?;
    body.write_text(&format!("{}\r\n", strip::lines(&settings.note)))?;
    message.replace_body(body)?;
    Ok(())
}

waypost_plugin::export!(Attachments: lifecycle, on_message);

#[cfg(test)]
mod tests;
