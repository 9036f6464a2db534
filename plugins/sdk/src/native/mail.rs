//! A message of a test: its header fields and its body, read as the relay reads them.
//!
//! Knows RFC 5322 fields and RFC 2047 words in UTF-8 and Latin-1, no MIME.

use super::invalid;
use super::state::HeaderEdit;
use crate::HostError;

/// Field names and values: RFC 5322 section 2.2; the sizes are the contract's.
const NAME_MAX: usize = 78;
const VALUE_MAX: usize = 64 * 1024;

/// Header fields, top to bottom, and the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
}

/// One header field.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// After the colon, folding kept, without the last CRLF.
    pub(crate) raw: String,
}

impl Mail {
    /// Reads what a test wrote; bare line feeds become CRLF.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = match text.strip_prefix('\n') {
            Some(body) => ("", body),
            None => text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), "")),
        };
        let mut fields: Vec<Field> = Vec::new();
        for line in head.split('\n') {
            match fields.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => {
                    last.raw.push_str("\r\n");
                    last.raw.push_str(line);
                }
                _ => {
                    if let Some((name, raw)) = line.split_once(':') {
                        fields.push(Field { name: name.trim_end().to_owned(), raw: raw.to_owned() });
                    }
                }
            }
        }
        Self { fields, body: body.replace('\n', "\r\n").into_bytes() }
    }

    /// Header section, separator and body.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let head: String = self.fields.iter().map(|field| format!("{}:{}\r\n", field.name, field.raw)).collect();
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    pub(crate) fn size(&self) -> u32 {
        u32::try_from(self.octets().len()).unwrap_or(u32::MAX)
    }

    /// Makes the edits of a hook. Their indexes are those from before it.
    pub(crate) fn apply(&mut self, edits: &[HeaderEdit], body: Option<Vec<u8>>) {
        let mut fields: Vec<Option<Field>> = std::mem::take(&mut self.fields).into_iter().map(Some).collect();
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for edit in edits {
            match edit {
                HeaderEdit::Prepend(name, value) => above.push(Field::new(name, value)),
                HeaderEdit::Append(name, value) => below.push(Field::new(name, value)),
                HeaderEdit::Replace(index, value) => {
                    if let Some(Some(field)) = fields.get_mut(*index as usize) {
                        field.raw = format!(" {value}");
                    }
                }
                HeaderEdit::Remove(index) => {
                    if let Some(field) = fields.get_mut(*index as usize) {
                        *field = None;
                    }
                }
            }
        }
        above.reverse();
        self.fields = above.into_iter().chain(fields.into_iter().flatten()).chain(below).collect();
        if let Some(body) = body {
            self.body = body;
        }
    }
}

impl Field {
    fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), raw: format!(" {value}") }
    }

    /// Unfolded (RFC 5322 section 2.2.3) and trimmed.
    pub(crate) fn unfolded(&self) -> String {
        self.raw.replace("\r\n", "").trim().to_owned()
    }

    /// Unfolded, with the encoded words of RFC 2047 read. White space between two of them vanishes (section 6.2).
    pub(crate) fn decoded(&self) -> String {
        let text = self.unfolded();
        let (mut out, mut rest, mut after_word) = (String::new(), text.as_str(), false);
        while let Some((plain, word)) = rest.split_once("=?") {
            let found = encoded_word(word);
            if !(after_word && found.is_some() && plain.trim().is_empty()) {
                out.push_str(plain);
            }
            match found {
                Some((decoded, left)) => {
                    out.push_str(&decoded);
                    (rest, after_word) = (left, true);
                }
                None => {
                    out.push_str("=?");
                    (rest, after_word) = (word, false);
                }
            }
        }
        out.push_str(rest);
        out
    }
}

/// What follows `=?`: the decoded text, and what stands behind the word.
fn encoded_word(word: &str) -> Option<(String, &str)> {
    let (charset, rest) = word.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (text, rest) = rest.split_once("?=")?;
    let octets = match encoding {
        "q" | "Q" => quoted(text)?,
        "b" | "B" => base64(text)?,
        _ => return None,
    };
    // RFC 2231 section 5 lets a language follow the character set.
    match charset.split('*').next()?.to_ascii_lowercase().as_str() {
        "utf-8" | "us-ascii" => Some((String::from_utf8_lossy(&octets).into_owned(), rest)),
        "iso-8859-1" | "windows-1252" => Some((octets.into_iter().map(char::from).collect(), rest)),
        _ => None,
    }
}

fn quoted(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        octets.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(octets)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut octets, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(octets)
}

/// The contract's rules for a field that a plugin makes.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), HostError> {
    let good = |b: u8| b.is_ascii_graphic() && b != b':';
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(good) {
        return Err(invalid("a field name has 1 to 78 printable ASCII characters without a colon"));
    }
    check_value(value)
}

/// Those for its value alone.
pub(super) fn check_value(value: &str) -> Result<(), HostError> {
    if value.len() > VALUE_MAX || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(invalid("a field value has at most 64 KiB, and no control characters but tab"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_unfolded_and_decoded() {
        let mail = Mail::parse("Subject: =?utf-8?q?J=C3=BCrgen?=\n =?utf-8?B?SGVsbG8=?= x\nX-A:b\n\nline\nmore\n");
        assert_eq!(mail.fields.len(), 2);
        assert_eq!(mail.fields[0].decoded(), "JürgenHello x");
        assert_eq!(mail.fields[1].unfolded(), "b");
        assert_eq!(mail.body, b"line\r\nmore\r\n");
        let odd = Field::new("Subject", "=?x?q?a?= =?utf-8?b?*?= =?iso-8859-1?Q?=FC_?=");
        assert_eq!(odd.decoded(), "=?x?q?a?= =?utf-8?b?*?= ü ");
    }

    #[test]
    fn edits_keep_the_indexes_they_were_made_with() {
        let mut mail = Mail::parse("A: 1\nB: 2\nC: 3\n\n");
        mail.apply(
            &[
                HeaderEdit::Remove(0),
                HeaderEdit::Prepend("X".into(), "first".into()),
                HeaderEdit::Replace(1, "two".into()),
                HeaderEdit::Prepend("Y".into(), "top".into()),
                HeaderEdit::Append("Z".into(), "last".into()),
            ],
            Some(b"new".to_vec()),
        );
        assert_eq!(mail.octets(), b"Y: top\r\nX: first\r\nB: two\r\nC: 3\r\nZ: last\r\n\r\nnew");
    }
}
