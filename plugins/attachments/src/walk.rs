//! The way through a message: each part, and each message within. Pure. Bounded in parts and depth: what is beyond is
//! one finding, and is not looked at.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, HeaderName, Message, MessageParser, MessagePart, PartType};

use crate::contents::Kind;
use crate::file;
use crate::finding::{Class, Finding};
use crate::settings::Settings;

/// What was found, and where the parts of the message are.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) findings: Vec<Finding>,
    /// By index: from the first octet of its header section to the last of its body; none where that is not certain.
    pub(crate) places: Vec<Option<(usize, usize)>>,
}

/// Looks through a message.
pub(crate) fn walk(raw: &[u8], settings: &Settings) -> Walked {
    let mut walked = Walked::default();
    if layers(raw) > settings.parts_max.saturating_mul(2) {
        walked.findings.push(beyond(&format!("more than {} parts", settings.parts_max)));
        return walked;
    }
    let Some(message) = MessageParser::new().with_mime_headers().parse(raw) else {
        walked.findings.push(beyond("no header section"));
        return walked;
    };
    walked.places = message.parts.iter().map(|part| place(part, raw.len())).collect();
    let mut way = Way { settings, seen: 0, stopped: false, findings: Vec::new() };
    way.message(&message, 1, None);
    walked.findings = way.findings;
    walked
}

fn beyond(why: &str) -> Finding {
    Finding::new(Class::Limits, &format!("a message with {why}"), None)
}

/// How often a text names a type that holds others: the parser goes as deep as they lead.
fn layers(raw: &[u8]) -> usize {
    let slashes = raw.iter().enumerate().filter(|(_, octet)| **octet == b'/').map(|(at, _)| at);
    let word = |at: usize, word: &[u8]| {
        at.checked_sub(word.len())
            .and_then(|from| raw.get(from..at))
            .is_some_and(|before| before.eq_ignore_ascii_case(word))
    };
    slashes.filter(|at| word(*at, b"multipart") || word(*at, b"message")).count()
}

fn place(part: &MessagePart<'_>, size: usize) -> Option<(usize, usize)> {
    let offset = |number: u32| usize::try_from(number).ok();
    let (from, body, to) = (offset(part.offset_header)?, offset(part.offset_body)?, offset(part.offset_end)?);
    (from < to && body <= to && to <= size).then_some((from, to))
}

struct Way<'a> {
    settings: &'a Settings,
    seen: usize,
    /// Once a limit is met, nothing more is looked at.
    stopped: bool,
    findings: Vec<Finding>,
}

impl Way<'_> {
    /// `top`: the part of the outermost message that all of this is in.
    fn message(&mut self, message: &Message<'_>, depth: usize, top: Option<usize>) {
        let mut depths = vec![depth; message.parts.len()];
        for (index, part) in message.parts.iter().enumerate() {
            self.seen += 1;
            if self.stopped {
                return;
            }
            let here = depths.get(index).copied().unwrap_or(depth);
            if self.seen > self.settings.parts_max {
                return self.stop(&format!("more than {} parts", self.settings.parts_max));
            }
            if here > self.settings.depth_max {
                return self.stop(&format!("parts within parts, more than {} deep", self.settings.depth_max));
            }
            let top = top.or(Some(index));
            if let PartType::Multipart(children) = &part.body {
                // Children stand after what holds them.
                for child in children {
                    let child = usize::try_from(*child).ok().and_then(|child| depths.get_mut(child));
                    if let Some(depth) = child {
                        *depth = here + 1;
                    }
                }
                continue;
            }
            self.part(message, part, top);
            if let PartType::Message(inner) = &part.body {
                self.message(inner, here + 1, top);
            }
        }
    }

    fn stop(&mut self, why: &str) {
        self.stopped = true;
        self.findings.push(beyond(why));
    }

    fn part(&mut self, message: &Message<'_>, part: &MessagePart<'_>, top: Option<usize>) {
        let names = names(part);
        let mut found = Vec::new();
        for kind in types(part) {
            if self.settings.lists_type(&kind) {
                let why = format!("a file of the type {}", kind.to_ascii_lowercase());
                found.push(Finding::new(Class::Type, &why, names.first().map(String::as_str)));
            }
        }
        found.extend(file::judge(&names, &octets(message, part), self.settings));
        for finding in found {
            let finding = Finding { part: top, ..finding };
            // Both names of a part are the same, as a rule.
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }
}

/// All names that a part gives itself: programs do not agree on which one counts.
fn names(part: &MessagePart<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for header in &part.headers {
        let Some(value) = header.value.as_content_type() else { continue };
        for name in ["filename", "name"].into_iter().filter_map(|key| value.attribute(key)) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

fn types(part: &MessagePart<'_>) -> Vec<String> {
    let values = part.headers.iter().filter(|header| header.name == HeaderName::ContentType);
    let whole = values.filter_map(|header| header.value.as_content_type());
    whole.map(|value| format!("{}/{}", value.ctype(), value.subtype().unwrap_or_default())).collect()
}

/// What is in a part. The parser makes texts of what says it is one: where that begins like something else, the octets
/// are decoded anew.
fn octets<'a>(message: &'a Message<'_>, part: &'a MessagePart<'_>) -> Cow<'a, [u8]> {
    match &part.body {
        PartType::Binary(octets) | PartType::InlineBinary(octets) => Cow::Borrowed(octets.as_ref()),
        PartType::Text(text) | PartType::Html(text) if Kind::of(text.as_bytes()).is_some() => {
            let place = place(part, message.raw_message.len());
            let body = usize::try_from(part.offset_body).unwrap_or_default();
            let raw = place.and_then(|(_, to)| message.raw_message.get(body..to)).unwrap_or_default();
            let decoded = match part.encoding {
                Encoding::Base64 => base64_decode(raw),
                Encoding::QuotedPrintable => quoted_printable_decode(raw),
                Encoding::None => Some(raw.to_vec()),
            };
            decoded.map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned)
        }
        PartType::Text(text) | PartType::Html(text) => Cow::Borrowed(text.as_bytes()),
        PartType::Message(_) | PartType::Multipart(_) => Cow::Borrowed(&[]),
    }
}

#[cfg(test)]
mod tests;
