//! Where a text can be appended to a message without breaking anything. Pure: octets in, a place and octets out.
//!
//! Only plain text is touched, only where what is there can take the text as it is encoded, and never anything that is
//! signed or encrypted. In doubt the body stays, and the reason is given.

use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};
use serde::Deserialize;

use crate::settings::Who;

/// The text, checked.
#[derive(Debug)]
pub(crate) struct Disclaimer {
    lines: Vec<String>,
    pub(crate) who: Who,
    /// Name of the field that carries the text where the body can't.
    pub(crate) header: String,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawDisclaimer {
    text: String,
    #[serde(default = "header")]
    header: String,
    #[serde(default, rename = "from")]
    who: Who,
}

fn header() -> String {
    "X-Disclaimer".to_owned()
}

/// Octets of a message whose body is looked at: a longer one would be read into the plugin's memory for one line of text.
pub(crate) const MESSAGE_MAX: u32 = 1 << 20;

/// RFC 5322 section 2.1.1 has 998 characters for a line.
const LINE_MAX: usize = 900;

/// RFC 2045 section 6.7, rule 5.
const QUOTED_LINE_MAX: usize = 76;

impl RawDisclaimer {
    pub(crate) fn check(self, errors: &mut Vec<String>) -> Disclaimer {
        let lines: Vec<String> = self.text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
        if lines.iter().all(String::is_empty) {
            errors.push("disclaimer: text: there is none".to_owned());
        }
        if lines.iter().any(|line| line.len() > LINE_MAX || line.chars().any(char::is_control)) {
            errors.push(format!("disclaimer: text: its lines have up to {LINE_MAX} octets, and no control characters"));
        }
        Disclaimer { lines, who: self.who, header: self.header }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Put these octets in before this one of the message.
    Insert(usize, Vec<u8>),
    /// The text is there.
    Present,
    /// Leave the body alone, for this reason.
    Leave(&'static str),
}

/// How the text has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    AsItIs,
    Quoted,
}

impl Disclaimer {
    /// The text for a header field: one line.
    pub(crate) fn line(&self) -> String {
        self.lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Finds the end of the text in a message: header section, separator and body.
    pub(crate) fn plan(&self, raw: &[u8]) -> Plan {
        let Some(message) = MessageParser::new().parse(raw) else { return Plan::Leave("it can't be read") };
        let Some(top) = message.parts.first() else { return Plan::Leave("it can't be read") };
        let signed = ["DKIM-Signature", "ARC-Seal"];
        if top.headers.iter().any(|header| signed.iter().any(|name| header.name().eq_ignore_ascii_case(name))) {
            return Plan::Leave("it is signed");
        }
        let part = match first_text(&message.parts) {
            Ok(part) => part,
            Err(why) => return Plan::Leave(why),
        };
        let form = match self.form(part) {
            Ok(form) => form,
            Err(why) => return Plan::Leave(why),
        };
        let (Ok(begin), Ok(end)) = (usize::try_from(part.offset_body), usize::try_from(part.offset_end)) else {
            return Plan::Leave("it can't be read");
        };
        let Some(end) = end_of_text(raw, begin, end) else { return Plan::Leave("it can't be read") };
        let Some(text) = raw.get(begin..end) else { return Plan::Leave("it can't be read") };
        if contains(text, b"-----BEGIN PGP") {
            return Plan::Leave("it is signed or encrypted");
        }
        let written = self.written(form);
        if contains(text, written.trim_end().as_bytes()) {
            return Plan::Present;
        }
        let mut octets = gap(text, form).to_vec();
        octets.extend_from_slice(written.as_bytes());
        if end == raw.len() {
            octets.extend_from_slice(b"\r\n");
        }
        if keeps_parts(raw, end, &octets, message.parts.len()) {
            Plan::Insert(end, octets)
        } else {
            Plan::Leave("its parts are not clear")
        }
    }

    fn form(&self, part: &MessagePart<'_>) -> Result<Form, &'static str> {
        let charset = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("us-ascii");
        let charset = charset.to_ascii_lowercase();
        let is_ascii = self.lines.iter().all(|line| line.is_ascii());
        let takes_ascii = ["us-ascii", "utf-8", "iso-8859-", "windows-125", "koi8-"].iter();
        if !takes_ascii.clone().any(|known| charset.starts_with(known)) || !is_ascii && charset != "utf-8" {
            return Err("its character set can't take the text");
        }
        let encoding = part.content_transfer_encoding().unwrap_or("7bit").to_ascii_lowercase();
        match encoding.as_str() {
            "quoted-printable" => Ok(Form::Quoted),
            "8bit" | "binary" => Ok(Form::AsItIs),
            "7bit" if is_ascii => Ok(Form::AsItIs),
            _ => Err("its encoding can't take the text"),
        }
    }

    /// The text with CRLF between its lines.
    fn written(&self, form: Form) -> String {
        let lines = self.lines.iter();
        let lines: Vec<String> = match form {
            Form::AsItIs => lines.cloned().collect(),
            Form::Quoted => lines.map(|line| quoted(line)).collect(),
        };
        lines.join("\r\n")
    }
}

/// The first part that has no parts, if it is plain text for people to read.
fn first_text<'a, 'x>(parts: &'a [MessagePart<'x>]) -> Result<&'a MessagePart<'x>, &'static str> {
    let mut part = parts.first().ok_or("it can't be read")?;
    // A part stands behind the one it is in, so this ends.
    while let PartType::Multipart(children) = &part.body {
        let subtype = part.content_type().and_then(|kind| kind.subtype()).unwrap_or("mixed").to_ascii_lowercase();
        if !["mixed", "alternative", "related"].contains(&subtype.as_str()) {
            return Err("it is signed, encrypted or a report");
        }
        let first = children.first().and_then(|id| usize::try_from(*id).ok());
        part = first.and_then(|id| parts.get(id)).ok_or("it has no parts")?;
    }
    let kind = part.content_type();
    let is_plain = kind.is_none_or(|kind| {
        kind.ctype().eq_ignore_ascii_case("text") && kind.subtype().is_some_and(|sub| sub.eq_ignore_ascii_case("plain"))
    });
    let is_attached = part.content_disposition().is_some_and(|how| !how.ctype().eq_ignore_ascii_case("inline"));
    match &part.body {
        PartType::Text(_) if is_plain && !is_attached && !part.is_encoding_problem => Ok(part),
        _ => Err("it does not begin with plain text"),
    }
}

/// The end of the text: the CRLF before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
fn end_of_text(raw: &[u8], begin: usize, end: usize) -> Option<usize> {
    let (before, after) = (raw.get(begin..end)?, raw.get(end..)?);
    if after.starts_with(b"--") && before.ends_with(b"\r\n") {
        return Some(end - 2);
    }
    // At the end of the message, or before the CRLF of a delimiter: anything else is not understood.
    (after.is_empty() || after.starts_with(b"\r\n--")).then_some(end)
}

/// Line ends that part the text from what stands before it.
fn gap(text: &[u8], form: Form) -> &'static [u8] {
    if text.is_empty() {
        b""
    } else if form == Form::Quoted && text.ends_with(b"=") {
        // A soft line break at the very end: the first CRLF only completes it.
        b"\r\n\r\n\r\n"
    } else if text.ends_with(b"\r\n") {
        b"\r\n"
    } else {
        b"\r\n\r\n"
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && text.windows(wanted.len()).any(|window| window == wanted)
}

/// Quoted-printable (RFC 2045 section 6.7) of one line.
fn quoted(line: &str) -> String {
    let (mut text, mut width) = (String::new(), 0);
    for octet in line.bytes() {
        let shown = match octet {
            b'=' => "=3D".to_owned(),
            b' '..=b'~' => char::from(octet).to_string(),
            _ => format!("={octet:02X}"),
        };
        if width + shown.len() >= QUOTED_LINE_MAX {
            text.push_str("=\r\n");
            width = 0;
        }
        width += shown.len();
        text.push_str(&shown);
    }
    text
}

/// True if the message, read again, has as many parts, and its text ends where the new octets do: the last guard against
/// having misread it, and against a text that looks like a delimiter.
fn keeps_parts(raw: &[u8], at: usize, octets: &[u8], parts: usize) -> bool {
    let (Some(before), Some(after)) = (raw.get(..at), raw.get(at..)) else { return false };
    let changed = [before, octets, after].concat();
    let Some(message) = MessageParser::new().parse(&changed) else { return false };
    let Ok(part) = first_text(&message.parts) else { return false };
    let (Ok(begin), Ok(end)) = (usize::try_from(part.offset_body), usize::try_from(part.offset_end)) else {
        return false;
    };
    message.parts.len() == parts && end_of_text(&changed, begin, end) == Some(at + octets.len())
}

#[cfg(test)]
mod tests;
