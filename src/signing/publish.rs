//! What is published of a key: the TXT record, and whether the DNS has it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::Config;
use super::key::{Key, KeyError};
use crate::routing::{RecordData, RecordKind, ResolveError, Resolver};

/// Octets of one string in a TXT record (RFC 1035 section 3.3).
const STRING_MAX: usize = 255;

/// How the DNS and a key file go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Verifiers find the key.
    Good {
        /// Something they may stumble over.
        notes: Vec<String>,
    },
    /// They do not: why, and what to do.
    Wrong(String),
    /// Nobody answered, which says nothing.
    NotAnswered(String),
}

/// Where the record belongs.
pub fn published_name(selector: &str, domain: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// The record's text (RFC 6376 section 3.6.1).
pub fn key_record(key: &Key) -> String {
    let (kind, octets) = key.public();
    format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(octets))
}

/// The record as zone files have it, in strings of at most 255 octets.
pub fn zone_lines(name: &str, record: &str) -> String {
    let mut strings = Vec::new();
    let mut rest = record;
    while !rest.is_empty() {
        let (string, after) = rest.split_at_checked(STRING_MAX.min(rest.len())).unwrap_or((rest, ""));
        strings.push(format!("\"{string}\""));
        rest = after;
    }
    match strings.as_slice() {
        [one] => format!("{name} IN TXT {one}"),
        _ => format!("{name} IN TXT (\n    {}\n)", strings.join("\n    ")),
    }
}

/// Asks the DNS for the key of `[dkim.NAME]`, or of `[arc]` for the name `arc`.
///
/// # Errors
/// When the key's file can't be used; `Ok(None)`: there is no such key in the configuration.
pub async fn check(
    config: &Config,
    name: &str,
    resolver: &dyn Resolver,
) -> Result<Option<(String, Published)>, KeyError> {
    let named = config.keys.iter().find(|key| &*key.name == name);
    let arc = config.arc.as_ref().filter(|_| name == "arc");
    let found = named.map(|key| (&key.domain, &key.selector, key.file.clone()));
    let Some((domain, selector, file)) = found.or(arc.map(|arc| (&arc.domain, &arc.selector, arc.file.clone()))) else {
        return Ok(None);
    };
    let place = published_name(selector, domain.as_str());
    let loaded = tokio::task::spawn_blocking(move || (Key::load(&file), file)).await;
    let key = match loaded {
        Ok((key, _)) => key?,
        Err(error) => {
            return Err(KeyError {
                path: named.map(|k| k.file.clone()).unwrap_or_default(),
                problem: error.to_string(),
            });
        }
    };
    let texts = match resolver.records(&place, RecordKind::Txt).await {
        Ok(answer) => answer.records.into_iter().filter_map(text).collect(),
        Err(ResolveError::NoSuchName | ResolveError::NoData) => Vec::new(),
        Err(error @ ResolveError::Temporary(_)) => return Ok(Some((place, Published::NotAnswered(error.to_string())))),
    };
    let published = compare(&key, &texts);
    Ok(Some((place, published)))
}

fn text(record: RecordData) -> Option<String> {
    match record {
        RecordData::Text(octets) => Some(String::from_utf8_lossy(&octets).into_owned()),
        _ => None,
    }
}

/// What verifiers would make of these texts.
pub(super) fn compare(key: &Key, texts: &[String]) -> Published {
    let wrong = |why: &str| Published::Wrong(why.to_owned());
    let [text] = texts else {
        return match texts.len() {
            0 => wrong("there is no such record: publish it, as `waypost dkim record KEYFILE` prints it"),
            _ => wrong("there are several records, and verifiers may take any of them: keep one"),
        };
    };
    let Some(tags) = tags(text) else { return wrong("what is published is no list of tags") };
    let get = |name: &str| tags.get(name).map_or("", |value| value);
    let (kind, octets) = key.public();
    if !matches!(get("v"), "" | "DKIM1") {
        return wrong("v= is not DKIM1");
    }
    if get("p").is_empty() {
        return wrong("p= is empty, which revokes the key: no signature of it is good");
    }
    if !matches!((get("k"), kind), ("", "rsa") | ("rsa", "rsa") | ("ed25519", "ed25519")) {
        return Published::Wrong(format!("k= is {:?}, and the key is {kind}", get("k")));
    }
    match STANDARD.decode(get("p")) {
        Ok(published) if published == octets => {}
        Ok(_) => return wrong("another key is published: publish this one, or wait until old answers have expired"),
        Err(_) => return wrong("p= is not base64: was the record cut, or its strings put together wrongly?"),
    }
    if !get("h").is_empty() && !get("h").split(':').any(|hash| hash.trim() == "sha256") {
        return wrong("h= does not allow sha256, with which the relay signs");
    }
    if !get("s").is_empty() && !get("s").split(':').any(|service| matches!(service.trim(), "*" | "email")) {
        return wrong("s= does not allow mail");
    }
    let flag = |letter: &str| get("t").split(':').any(|flag| flag.trim() == letter);
    let mut notes = Vec::new();
    if flag("y") {
        notes.push("t=y says that the domain only tests: verifiers may treat good signatures like none".to_owned());
    }
    if flag("s") {
        notes.push("t=s: an identity in a subdomain (i=) makes signatures bad".to_owned());
    }
    if !text.trim_start().starts_with("v=DKIM1") {
        notes.push("the record does not begin with v=DKIM1, as it should".to_owned());
    }
    Published::Good { notes }
}

/// The tags of a record (RFC 6376 section 3.2), white space in values left out.
fn tags(text: &str) -> Option<BTreeMap<&str, String>> {
    let pieces = text.split(';').map(str::trim).filter(|piece| !piece.is_empty());
    let tag = |piece: &'_ str| -> Option<(usize, String)> {
        let at = piece.find('=')?;
        let value = piece.get(at + 1..)?.chars().filter(|c| !c.is_whitespace()).collect();
        Some((at, value))
    };
    pieces.map(|piece| tag(piece).and_then(|(at, value)| Some((piece.get(..at)?.trim(), value)))).collect()
}
