//! An object of JSON that is written field by field, straight into the line.
//!
//! A busy relay writes tens of thousands of lines a second, most of them short: keys are known to need no escaping, and so
//! do nearly all values, so that they cost a look and a copy. Whatever needs more goes to `serde_json`. Pure.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

/// An object that is not closed yet; a field is a key that needs no escaping, and its value.
pub(crate) struct Object<'a> {
    line: &'a mut Vec<u8>,
    before: u8,
}

impl<'a> Object<'a> {
    pub(crate) fn new(line: &'a mut Vec<u8>) -> Self {
        Self { line, before: b'{' }
    }

    /// Where the value of this field goes, which has to be put there next.
    pub(crate) fn value(&mut self, key: &'static str) -> &mut Vec<u8> {
        let before = std::mem::replace(&mut self.before, b',');
        self.line.extend_from_slice(&[before, b'"']);
        self.line.extend_from_slice(key.as_bytes());
        self.line.extend_from_slice(b"\":");
        self.line
    }

    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        text(self.value(key), value);
    }

    /// The same, if there is one.
    pub(crate) fn maybe(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(crate) fn shown(&mut self, key: &'static str, value: impl Display) {
        shown(self.value(key), value);
    }

    /// A number, or something made of several values.
    pub(crate) fn json(&mut self, key: &'static str, value: impl Serialize) {
        json(self.value(key), value);
    }

    /// A list, each of its elements put there by `put`.
    pub(crate) fn list<T>(&mut self, key: &'static str, of: impl Iterator<Item = T>, put: impl Fn(&mut Vec<u8>, T)) {
        let line = self.value(key);
        line.push(b'[');
        for (at, element) in of.enumerate() {
            if at > 0 {
                line.push(b',');
            }
            put(line, element);
        }
        line.push(b']');
    }

    pub(crate) fn end(self) {
        if self.before == b'{' {
            self.line.push(b'{');
        }
        self.line.push(b'}');
    }
}

pub(crate) fn text(line: &mut Vec<u8>, value: &str) {
    if needs_escaping(value.as_bytes()) {
        return json(line, value);
    }
    line.push(b'"');
    line.extend_from_slice(value.as_bytes());
    line.push(b'"');
}

pub(crate) fn shown(line: &mut Vec<u8>, value: impl Display) {
    line.push(b'"');
    let begin = line.len();
    // Infallible for a Vec.
    let _ = write!(line, "{value}");
    if line.get(begin..).is_some_and(needs_escaping) {
        line.truncate(begin.saturating_sub(1));
        return json(line, value.to_string());
    }
    line.push(b'"');
}

pub(crate) fn json(line: &mut Vec<u8>, value: impl Serialize) {
    // Texts and numbers into memory: there is nothing that could fail, and half a line would be skipped when read.
    let _ = serde_json::to_writer(line, &value);
}

/// RFC 8259 section 7.
fn needs_escaping(octets: &[u8]) -> bool {
    // Without an end in between, this is done many octets at a time.
    octets.iter().fold(false, |found, octet| found | (*octet < b' ' || *octet == b'"' || *octet == b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for hard in ["", "plain", "ä€𝄞", "\"", "\\", "\n", "a\u{1b}[2Jb\u{7f}\0", "\u{2028}", &"x".repeat(1000)] {
            let mut line = Vec::new();
            let mut object = Object::new(&mut line);
            object.text("text", hard);
            object.shown("shown", hard);
            object.maybe("none", None);
            object.json("number", -7);
            object.list("list", [hard, hard].into_iter(), text);
            Object::new(object.value("inner")).end();
            object.end();
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let expected = serde_json::json!({
                "text": hard, "shown": hard, "number": -7, "list": [hard, hard], "inner": {}
            });
            assert_eq!(read, expected);
            assert!(line.iter().all(|octet| *octet >= b' '), "one line, and nothing a terminal obeys");
        }
    }
}
