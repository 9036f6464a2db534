//! From the parts of a message in JSON to header section and body. Pure, but for the boundary, which is random.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::time::Timestamp;

/// Fields that are made from other parts of the request, or are the relay's.
const OURS: [&str; 13] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "received",
    "return-path",
    "sender",
    "resent-from",
    "dkim-signature",
];

/// A message in parts.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parts {
    /// Who it is from: an address. Empty: the null reverse-path, where `headers` has no say in it.
    pub(super) from: String,
    /// To whom.
    #[serde(default)]
    pub(super) to: Vec<String>,
    /// Copies.
    #[serde(default)]
    pub(super) cc: Vec<String>,
    /// Copies that the others do not see.
    #[serde(default)]
    pub(super) bcc: Vec<String>,
    /// In any script.
    #[serde(default)]
    pub(super) subject: String,
    /// The body as plain text.
    #[serde(default)]
    pub(super) text: Option<String>,
    /// The body as HTML.
    #[serde(default)]
    pub(super) html: Option<String>,
    /// More fields, by name.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Files.
    #[serde(default)]
    pub(super) attachments: Vec<Attachment>,
}

/// A file.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Attachment {
    /// Its name.
    name: String,
    /// Its media type; none: `application/octet-stream`.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Its octets in base64.
    content: String,
}

impl Parts {
    /// Everybody it goes to.
    pub(super) fn recipients(&self) -> impl Iterator<Item = &String> {
        self.to.iter().chain(&self.cc).chain(&self.bcc)
    }

    /// Header section and body; `boundary` is a text by chance.
    ///
    /// # Errors
    /// What can't stand in a message.
    pub(super) fn compose(&self, now: Timestamp, boundary: &str) -> Result<Vec<u8>, String> {
        let mut out = String::new();
        let domain = self.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        out += &format!("Date: {}\r\nMessage-ID: <{boundary}@{domain}>\r\n", now.rfc5322());
        if !self.from.is_empty() {
            // It was read as an address: it has no line end in it.
            out += &format!("From: {}\r\n", self.from);
        }
        for (name, list) in [("To", &self.to), ("Cc", &self.cc)] {
            if !list.is_empty() {
                out += &format!("{name}: {}\r\n", list.join(",\r\n "));
            }
        }
        if !self.subject.is_empty() {
            out += &field("Subject", &self.subject)?;
        }
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            if OURS.contains(&&*lower) || lower.starts_with("content-") {
                return Err(format!("headers: {name} is made by the relay, or of another part of the request"));
            }
            out += &field(name, value)?;
        }
        out += "MIME-Version: 1.0\r\n";
        out += &self.body(boundary)?;
        Ok(out.into_bytes())
    }

    fn body(&self, boundary: &str) -> Result<String, String> {
        let text = |text: &String, kind: &str| leaf(&format!("text/{kind}; charset=utf-8"), "", text.as_bytes());
        let shown = match (&self.text, &self.html) {
            (Some(plain), Some(html)) => {
                multipart("alternative", &format!("a{boundary}"), &[text(plain, "plain"), text(html, "html")])
            }
            (None, Some(html)) => text(html, "html"),
            (plain, None) => text(&plain.clone().unwrap_or_default(), "plain"),
        };
        if self.attachments.is_empty() {
            return Ok(shown);
        }
        let mut parts = vec![shown];
        for attachment in &self.attachments {
            parts.push(attachment.part()?);
        }
        Ok(multipart("mixed", &format!("m{boundary}"), &parts))
    }
}

impl Attachment {
    fn part(&self) -> Result<String, String> {
        let name = &self.name;
        if name.is_empty() || name.len() > 255 || name.chars().any(|c| c.is_control() || c == '/') {
            return Err(format!("{name:?} is no name of a file"));
        }
        let kind = self.kind.as_deref().unwrap_or("application/octet-stream");
        let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        let right = |part: &str| !part.is_empty() && part.len() < 127 && part.bytes().all(good);
        if !kind.split_once('/').is_some_and(|(of, sub)| right(of) && right(sub)) || kind.starts_with("multipart/") {
            return Err(format!("{kind:?} is no media type of a file"));
        }
        let octets =
            STANDARD.decode(self.content.as_bytes()).map_err(|_| format!("{name}: the content is no base64"))?;
        // RFC 2231 section 4.
        let named: String = name.bytes().map(percent).collect();
        let disposition = format!("Content-Disposition: attachment; filename*=utf-8''{named}\r\n");
        Ok(leaf(kind, &disposition, &octets))
    }
}

fn percent(octet: u8) -> String {
    if octet.is_ascii_alphanumeric() || b"-._".contains(&octet) {
        char::from(octet).into()
    } else {
        format!("%{octet:02X}")
    }
}

/// A part that has no others in it.
fn leaf(kind: &str, more: &str, octets: &[u8]) -> String {
    let encoded = STANDARD.encode(octets);
    let mut out = format!("Content-Type: {kind}\r\n{more}Content-Transfer-Encoding: base64\r\n\r\n");
    let mut rest = &*encoded;
    // RFC 2045 section 6.8.
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(76));
        out += line;
        out += "\r\n";
        rest = after;
    }
    out
}

fn multipart(kind: &str, boundary: &str, parts: &[String]) -> String {
    let mut out = format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n");
    for part in parts {
        out += &format!("--{boundary}\r\n{part}\r\n");
    }
    out + &format!("--{boundary}--\r\n")
}

/// A field of one line of text; what is not ASCII, or too long, in encoded words (RFC 2047).
fn field(name: &str, value: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_graphic() && b != b':';
    if name.is_empty() || name.len() > 76 || !name.bytes().all(good) {
        return Err(format!("headers: {name:?} is no name of a field"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("{name}: one line of text, without control characters"));
    }
    if value.len() > 16_384 {
        return Err(format!("{name}: it is too long"));
    }
    if value.is_ascii() && name.len() + value.len() < 900 {
        return Ok(format!("{name}: {value}\r\n"));
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in value.chars() {
        // An encoded word has at most 75 characters: 45 octets in base64 are 60. The first has the field's name before it.
        let room = if words.is_empty() { 30 } else { 45 };
        if word.len() + c.len_utf8() > room {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<_> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    Ok(format!("{name}: {}\r\n", words.join("\r\n ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(more: serde_json::Value) -> Parts {
        let mut all = json!({"from": "ann@example.org", "to": ["bob@example.net"], "subject": "Grüße", "text": "hi\n"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn parts_become_a_message() {
        let attachment = json!({"name": "ä b.txt", "type": "text/plain", "content": "aGk="});
        let more =
            json!({"html": "<p>hi", "headers": {"X-A": "b"}, "attachments": [attachment], "bcc": ["eve@example.net"]});
        let parts = parts(more);
        assert_eq!(parts.recipients().count(), 2);
        let message = String::from_utf8(parts.compose(Timestamp::from_secs(0), "B").unwrap()).unwrap();
        insta::assert_snapshot!(message.replace("\r\n", "\n"), @r#"
        Date: Thu, 01 Jan 1970 00:00:00 +0000
        Message-ID: <B@example.org>
        From: ann@example.org
        To: bob@example.net
        Subject: =?utf-8?B?R3LDvMOfZQ==?=
        X-A: b
        MIME-Version: 1.0
        Content-Type: multipart/mixed; boundary="mB"

        --mB
        Content-Type: multipart/alternative; boundary="aB"

        --aB
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: base64

        aGkK

        --aB
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: base64

        PHA+aGk=

        --aB--

        --mB
        Content-Type: text/plain
        Content-Disposition: attachment; filename*=utf-8''%C3%A4%20b.txt
        Content-Transfer-Encoding: base64

        aGk=

        --mB--
        "#);
    }

    #[test]
    fn nobody_smuggles_a_field() {
        for more in [
            json!({"subject": "a\r\nBcc: x@y"}),
            json!({"headers": {"X-A\r\nB": "c"}}),
            json!({"headers": {"X-A": "b\nC: d"}}),
            json!({"headers": {"bcc": "x@y"}}),
            json!({"headers": {"Content-Type": "text/html"}}),
            json!({"attachments": [{"name": "a\r\nb", "content": ""}]}),
            json!({"attachments": [{"name": "a", "type": "text/plain\r\nX: y", "content": ""}]}),
            json!({"attachments": [{"name": "a", "content": "?"}]}),
        ] {
            assert!(parts(more.clone()).compose(Timestamp::from_secs(0), "B").is_err(), "{more}");
        }
    }

    #[test]
    fn long_texts_are_cut_into_encoded_words() {
        let field = field("Subject", &"ü".repeat(200)).unwrap();
        assert!(field.lines().all(|line| line.len() <= 78) && field.lines().count() > 8, "{field}");
    }
}
