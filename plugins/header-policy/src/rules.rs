//! What the rules make of a header section. Pure: facts and fields in, a refusal or a list of changes out.

use waypost_plugin::{HeaderField, Mailbox};

use crate::settings::{Add, Place, Settings, Who};

/// What is known beside the fields.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) sender: Option<Mailbox>,
    pub(crate) client: String,
    pub(crate) listener: String,
    /// Of an authenticated client.
    pub(crate) identity: Option<String>,
    /// The message's arrival as a `Date` field writes it.
    pub(crate) date: String,
    /// Not to be guessed, and never the same twice; empty where the message has an identifier.
    pub(crate) unique: String,
}

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Top(String, String),
    Bottom(String, String),
    Replace(u32, String),
    Remove(u32),
}

impl Who {
    pub(crate) fn is(self, facts: &Facts) -> bool {
        match self {
            Self::Anyone => true,
            Self::Authenticated => facts.identity.is_some(),
            Self::Unauthenticated => facts.identity.is_none(),
        }
    }
}

/// Why the message is refused, if it is: the first rule that says so.
pub(crate) fn refusal(settings: &Settings, facts: &Facts, fields: &[HeaderField]) -> Option<String> {
    for limit in settings.limits.iter().filter(|limit| limit.who.is(facts)) {
        let count = named(fields, &limit.name).count();
        if count < limit.at_least {
            return Some(format!("a message needs a {} field", limit.name));
        }
        if count > limit.at_most {
            return Some(format!("{count} {} fields are too many, at most {} are allowed", limit.name, limit.at_most));
        }
    }
    for refuse in settings.refuse.iter().filter(|refuse| refuse.who.is(facts)) {
        if named(fields, &refuse.name).any(|field| refuse.matches(&field.value)) {
            return Some(refuse.text.clone());
        }
    }
    None
}

/// The changes, in the order of the settings: removals, replacements, what was left out, additions, the stamp.
pub(crate) fn changes(settings: &Settings, facts: &Facts, fields: &[HeaderField]) -> Vec<Change> {
    let mut changes = Vec::new();
    // A field that is removed must not be replaced as well: the relay takes one edit per field.
    let mut gone = Vec::new();
    for rule in settings.remove.iter().filter(|rule| rule.who.is(facts)) {
        for field in fields.iter().filter(|field| rule.covers(&field.name)) {
            if !gone.contains(&field.index) {
                gone.push(field.index);
                changes.push(Change::Remove(field.index));
            }
        }
    }
    for rule in settings.replace.iter().filter(|rule| rule.who.is(facts)) {
        for field in named(fields, &rule.name).filter(|field| rule.matches(&field.value)) {
            if !gone.contains(&field.index) {
                gone.push(field.index);
                changes.push(Change::Replace(field.index, filled(&rule.value, facts)));
            }
        }
    }
    if settings.complete.is(facts) {
        complete(settings, facts, fields, &mut changes);
    }
    for rule in settings.add.iter().filter(|rule| rule.who.is(facts)) {
        add(rule, facts, fields, &mut changes);
    }
    if let Some(stamp) = &settings.stamp {
        changes.push(Change::Top("X-Waypost".to_owned(), filled(stamp, facts)));
    }
    changes
}

/// A submission server may complete a message (RFC 6409 section 8): `Date` and `Message-ID`.
fn complete(settings: &Settings, facts: &Facts, fields: &[HeaderField], changes: &mut Vec<Change>) {
    if named(fields, "Date").next().is_none() {
        changes.push(Change::Top("Date".to_owned(), facts.date.clone()));
    }
    if named(fields, "Message-ID").next().is_none() {
        let sender = facts.sender.as_ref().map(|sender| sender.domain.as_str()).filter(|domain| !domain.is_empty());
        // Without a domain there is no identifier that is sure to be unique; none is better then.
        if let Some(domain) = settings.message_id_domain.as_deref().or(sender) {
            changes.push(Change::Top("Message-ID".to_owned(), format!("<{}.{}@{domain}>", facts.id, facts.unique)));
        }
    }
}

fn add(rule: &Add, facts: &Facts, fields: &[HeaderField], changes: &mut Vec<Change>) {
    if rule.unless_there && named(fields, &rule.name).next().is_some() {
        return;
    }
    let value = filled(&rule.value, facts);
    changes.push(match rule.place {
        Place::Top => Change::Top(rule.name.clone(), value),
        Place::Bottom => Change::Bottom(rule.name.clone(), value),
    });
}

fn named<'a>(fields: &'a [HeaderField], name: &'a str) -> impl Iterator<Item = &'a HeaderField> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
}

/// Puts the facts in for `{id}`, `{client}` and so on. What clients chose must not reach the value with control characters
/// in it: the relay would refuse the edit, and with it the message.
fn filled(template: &str, facts: &Facts) -> String {
    let mut value = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        value.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            value.push('{');
            rest = after;
            continue;
        };
        match fact(name, facts) {
            Some(text) => value.extend(text.chars().filter(|c| !c.is_control())),
            None => {
                value.push('{');
                value.push_str(name);
                value.push('}');
            }
        }
        rest = after;
    }
    value.push_str(rest);
    value
}

/// Names that may stand in braces.
pub(crate) const PLACEHOLDERS: [&str; 6] = ["id", "client", "listener", "identity", "sender", "date"];

fn fact(name: &str, facts: &Facts) -> Option<String> {
    Some(match name {
        "id" => facts.id.clone(),
        "client" => facts.client.clone(),
        "listener" => facts.listener.clone(),
        "identity" => facts.identity.clone().unwrap_or_else(|| "-".to_owned()),
        "sender" => facts.sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string),
        "date" => facts.date.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
