//! The fields that signatures are: tag lists (RFC 6376 section 3.2), folded, and what of a message they cover. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mail::{Field, Header};

/// Lines are folded here (RFC 5322 section 2.1.1).
const COLUMNS: usize = 76;

/// A tag list that grows tag by tag, within its field.
pub(super) struct TagList {
    text: String,
    column: usize,
}

impl TagList {
    /// Begins a field.
    pub(super) fn new(name: &str) -> Self {
        Self { text: format!("{name}:"), column: name.len() + 1 }
    }

    /// One tag; a value without white space is never broken.
    pub(super) fn tag(&mut self, name: &str, value: &str) {
        self.room(name.len() + value.len() + 3);
        self.push(&format!(" {name}={value};"));
    }

    /// Names between colons, where lines may be broken.
    pub(super) fn names(&mut self, name: &str, values: &[&str]) {
        self.fold();
        self.push(&format!(" {name}="));
        for (at, value) in values.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            if self.column + value.len() + 2 > COLUMNS && at > 0 {
                self.push(colon);
                self.fold();
                self.push(&format!(" {value}"));
            } else {
                self.push(&format!("{colon}{value}"));
            }
        }
        self.push(";");
    }

    /// Octets in base64, broken anywhere.
    pub(super) fn octets(&mut self, name: &str, octets: &[u8]) {
        self.open(name);
        self.fill(octets);
        self.push(";");
    }

    /// The last tag, still without its value: what is signed ends here.
    pub(super) fn open(&mut self, name: &str) {
        self.fold();
        self.push(&format!(" {name}="));
    }

    /// The value of the last tag.
    pub(super) fn fill(&mut self, octets: &[u8]) {
        let mut rest = &*STANDARD.encode(octets);
        while !rest.is_empty() {
            if self.column >= COLUMNS {
                self.fold();
                self.push(" ");
            }
            let take = rest.len().min(COLUMNS.saturating_sub(self.column)).max(1);
            let (piece, after) = rest.split_at_checked(take).unwrap_or((rest, ""));
            self.push(piece);
            rest = after;
        }
    }

    /// What is there so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The whole field.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("\r\n");
        self.text
    }

    fn room(&mut self, octets: usize) {
        if self.column + octets > COLUMNS {
            self.fold();
        }
    }

    /// The next thing pushed begins with a space, which makes the new line a folded one.
    fn fold(&mut self) {
        self.text.push_str("\r\n");
        self.column = 0;
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }
}

/// The value of a tag in a list, white space around it removed.
pub(super) fn tag<'a>(list: &'a [u8], name: &str) -> Option<&'a [u8]> {
    list.split(|octet| *octet == b';').find_map(|tag| {
        let at = tag.iter().position(|octet| *octet == b'=')?;
        let (found, value) = tag.split_at_checked(at)?;
        (found.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

/// A field's value without that of its tag `b` (RFC 6376 section 3.7).
pub(super) fn without_signature(list: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(list.len());
    for (at, tag) in list.split(|octet| *octet == b';').enumerate() {
        if at > 0 {
            out.push(b';');
        }
        let equals = tag.iter().position(|octet| *octet == b'=').and_then(|at| tag.split_at_checked(at));
        match equals {
            Some((name, _)) if name.trim_ascii() == b"b" => {
                out.extend_from_slice(name);
                out.push(b'=');
            }
            _ => out.extend_from_slice(tag),
        }
    }
    out
}

/// The names for `h=`: each as often as its field is there, and once more where another one must not be added.
pub(super) fn covered<'a>(header: &Header, names: &'a [Arc<str>], over: &'a [Arc<str>]) -> Vec<&'a str> {
    let listed = |list: &[Arc<str>], name: &str| list.iter().any(|other| other.eq_ignore_ascii_case(name));
    let more = over.iter().filter(|name| !listed(names, name));
    let mut covered: Vec<&str> = Vec::new();
    for name in names.iter().chain(more) {
        let there = header.fields().filter(|field| field.is_named(name)).count();
        let count = there + usize::from(listed(over, name));
        covered.extend(std::iter::repeat_n(&**name, count));
    }
    covered
}

/// What a signature covers of the header section (RFC 6376 section 5.4.2): of each name the last field first; where there
/// is none left, nothing.
pub(super) fn push_covered<N: AsRef<str>>(out: &mut Vec<u8>, header: &Header, names: &[N], relaxed: bool) {
    let mut left: HashMap<String, Vec<Field<'_>>> = HashMap::new();
    for field in header.fields() {
        left.entry(field.name.to_ascii_lowercase()).or_default().push(field);
    }
    for name in names {
        let last = left.get_mut(&name.as_ref().to_ascii_lowercase()).and_then(Vec::pop);
        if let Some(field) = last {
            push_canonical(out, &field, relaxed);
        }
    }
}

/// One field with its CRLF, as it is compared (RFC 6376 sections 3.4.1, 3.4.2).
pub(super) fn push_canonical(out: &mut Vec<u8>, field: &Field<'_>, relaxed: bool) {
    if relaxed {
        push_relaxed(out, field.name, field.raw);
    } else {
        out.extend_from_slice(field.octets);
        if !field.octets.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Name in lower case, white space to single spaces, none at the ends.
pub(super) fn push_relaxed(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend(name.bytes().map(|octet| octet.to_ascii_lowercase()));
    out.push(b':');
    let (mut begun, mut space) = (false, false);
    for octet in value {
        if matches!(octet, b' ' | b'\t' | b'\r' | b'\n') {
            space = begun;
        } else {
            if std::mem::take(&mut space) {
                out.push(b' ');
            }
            out.push(*octet);
            begun = true;
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A field that is being made, as it is compared: without a CRLF (RFC 6376 section 3.7).
pub(super) fn push_unfinished(out: &mut Vec<u8>, text: &str, relaxed: bool) {
    if !relaxed {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    push_relaxed(out, name, value.as_bytes());
    out.truncate(out.len().saturating_sub(2));
}

#[cfg(test)]
mod tests {
    use mail_auth::dkim::Canonicalization;

    use super::*;

    #[test]
    fn lists_are_folded_and_stay_whole() {
        let mut list = TagList::new("DKIM-Signature");
        list.tag("v", "1");
        list.tag("d", &format!("{}.example.org", "x".repeat(60)));
        list.names("h", &["Content-Transfer-Encoding"; 9]);
        list.octets("bh", &[7; 32]);
        list.open("b");
        list.fill(&[9; 256]);
        let text = list.finish();
        for line in text.trim_end().split("\r\n").skip(1) {
            assert!(line.starts_with(' ') && line.len() <= 80, "{line:?}");
        }
        let value = text.split_once(':').unwrap().1.as_bytes();
        let clean =
            |name| tag(value, name).unwrap().iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
        assert_eq!(tag(value, "v"), Some(&b"1"[..]));
        assert_eq!(clean("b"), STANDARD.encode([9; 256]).as_bytes());
        assert_eq!(clean("h"), ["Content-Transfer-Encoding"; 9].join(":").as_bytes());
        assert_eq!(clean("bh"), STANDARD.encode([7; 32]).as_bytes());
        let without = without_signature(value);
        assert_eq!(tag(&without, "b"), Some(&b""[..]));
        assert_eq!(tag(&without, "bh"), tag(value, "bh"));
    }

    #[test]
    fn the_last_field_of_a_name_comes_first() {
        let header = Header::parse("Subject: a\r\nTo : x\r\nsubject:  b \t c\r\n\td \r\n".into());
        let mut out = Vec::new();
        push_covered(&mut out, &header, &["Subject", "SUBJECT", "Subject", "To", "From"], true);
        assert_eq!(String::from_utf8(out).unwrap(), "subject:b c d\r\nsubject:a\r\nto:x\r\n");
        let mut out = Vec::new();
        push_covered(&mut out, &header, &["to"], false);
        assert_eq!(String::from_utf8(out).unwrap(), "To : x\r\n");
    }

    #[test]
    fn one_more_than_there_are_is_covered() {
        let names: [Arc<str>; 3] = ["From".into(), "To".into(), "X".into()];
        let over: [Arc<str>; 2] = ["from".into(), "Subject".into()];
        let header = Header::parse("From: a\r\nto: b\r\nTo: c\r\n".into());
        assert_eq!(covered(&header, &names, &over), ["From", "From", "To", "To", "Subject"]);
    }

    proptest::proptest! {
        /// Against the canonicalisation of another author.
        #[test]
        fn fields_are_canonicalised_as_others_do(
            name in "[A-Za-z-]{1,12}",
            value in proptest::collection::vec(proptest::sample::select(&b"ab\xc3 \t:;\x01"[..]), 0..40),
            folds in proptest::collection::vec(0_usize..40, 0..4),
        ) {
            let mut octets = format!("{name}:").into_bytes();
            for (at, octet) in value.iter().enumerate() {
                if folds.contains(&at) {
                    octets.extend(b"\r\n ");
                }
                octets.push(*octet);
            }
            octets.extend(b"\r\n");
            let header = Header::parse(octets.clone().into());
            for (relaxed, canonicalization) in [(true, Canonicalization::Relaxed), (false, Canonicalization::Simple)] {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                push_covered(&mut ours, &header, &[&*name], relaxed);
                let value = &octets[name.len() + 1..];
                canonicalization.canonicalize_headers([(name.as_bytes(), value)].into_iter(), &mut theirs);
                proptest::prop_assert_eq!(&ours, &theirs);
            }
        }

        /// Whatever a stranger writes into a field, reading it ends.
        #[test]
        fn no_list_makes_the_reader_panic(list in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = (tag(&list, "b"), tag(&list, "i"));
            proptest::prop_assert!(without_signature(&list).len() <= list.len() + 1);
        }
    }
}
