//! A message as a program writes it, made one that may be sent: line ends, the lone dot, Bcc, and the fields that every message has.
//!
//! Pure. Must never change what the caller wrote beyond that.

use super::addresses;
use crate::time::Timestamp;

/// Who writes.
#[derive(Clone, Debug)]
pub(super) struct Author {
    /// Reverse-path; empty for the null one.
    pub(super) envelope: String,
    /// For a From field, where there is none.
    pub(super) address: String,
    /// Full name.
    pub(super) name: Option<String>,
}

/// A message, its lines ending in CRLF.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Fields, each with the lines it is folded into.
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// Never sent: whom Bcc names is not for others to see, and Return-Path is for who delivers (RFC 5321 section 4.4).
const REMOVED: [&str; 3] = ["bcc", "resent-bcc", "return-path"];

impl Message {
    /// Reads it up to its end, or up to a line with a dot alone.
    pub(super) fn read(octets: &[u8], ignore_dots: bool) -> Self {
        let mut lines = lines(octets).take_while(|line| ignore_dots || *line != b".").peekable();
        let mut fields: Vec<Vec<u8>> = Vec::new();
        // As mailboxes have it; no field.
        lines.next_if(|line| line.starts_with(b"From ") || line.starts_with(b">From "));
        while let Some(line) = lines.next_if(|line| is_field(line) || !fields.is_empty() && is_continued(line)) {
            match fields.last_mut().filter(|_| is_continued(line)) {
                Some(field) => push_line(line, field),
                None => {
                    fields.push(Vec::new());
                    fields.last_mut().into_iter().for_each(|field| push_line(line, field));
                }
            }
        }
        // What is no field begins the body, with or without an empty line.
        lines.next_if(|line| line.is_empty());
        let mut body = Vec::with_capacity(octets.len());
        lines.for_each(|line| push_line(line, &mut body));
        Self { fields, body }
    }

    /// Those whom the header section names: To, Cc, Bcc, or their Resent forms where there are any (RFC 5322 section 3.6.6).
    pub(super) fn recipients(&self) -> Vec<String> {
        let resent = self.fields.iter().any(|field| name(field).starts_with("resent-"));
        let wanted = if resent { ["resent-to", "resent-cc", "resent-bcc"] } else { ["to", "cc", "bcc"] };
        let fields = self.fields.iter().filter(|field| wanted.contains(&name(field).as_str()));
        fields.flat_map(|field| addresses::list(&value(field))).collect()
    }

    /// Takes out what is not sent, and adds From, Date and Message-ID where they are missing.
    ///
    /// # Errors
    /// When there is no randomness to name the message by.
    pub(super) fn complete(&mut self, author: &Author, now: Timestamp, host: &str) -> Result<(), String> {
        self.fields.retain(|field| !REMOVED.contains(&name(field).as_str()));
        let has = |wanted: &str| self.fields.iter().any(|field| name(field) == wanted);
        let mut missing = Vec::new();
        if !has("from") {
            missing.push(format!("From: {}", written(author)));
        }
        if !has("date") {
            missing.push(format!("Date: {}", now.rfc5322()));
        }
        if !has("message-id") {
            let mut random = [0; 8];
            getrandom::getrandom(&mut random).map_err(|error| error.to_string())?;
            let random: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
            missing.push(format!("Message-ID: <{}.{random}@{host}>", now.secs()));
        }
        self.fields.extend(missing.into_iter().map(|field| format!("{field}\r\n").into_bytes()));
        Ok(())
    }

    /// As it is sent.
    pub(super) fn into_octets(self) -> Vec<u8> {
        let mut octets = self.fields.concat();
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(&self.body);
        octets
    }
}

/// Lines without their ends, LF or CRLF.
fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = octets.strip_suffix(b"\n").unwrap_or(octets);
    let whole = (!octets.is_empty()).then(|| end.split(|octet| *octet == b'\n'));
    whole.into_iter().flatten().map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// A CR by itself, and NUL, are nothing that mail may have: a space stands for each.
fn push_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend(line.iter().map(|octet| if matches!(octet, b'\r' | 0) { b' ' } else { *octet }));
    out.extend_from_slice(b"\r\n");
}

fn is_continued(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t')) && line.iter().any(|octet| !octet.is_ascii_whitespace())
}

/// A name of printable ASCII, perhaps white space, a colon (RFC 5322 section 2.2).
fn is_field(line: &[u8]) -> bool {
    let Some(at) = line.iter().position(|octet| *octet == b':') else { return false };
    let name = line.get(..at).unwrap_or_default().trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

fn name(field: &[u8]) -> String {
    let name = field.split(|octet| *octet == b':').next().unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii_end()).to_ascii_lowercase()
}

fn value(field: &[u8]) -> String {
    let at = field.iter().position(|octet| *octet == b':').map_or(field.len(), |at| at + 1);
    String::from_utf8_lossy(field.get(at..).unwrap_or_default()).into_owned()
}

/// RFC 5322 section 3.4. A name that is not ASCII is left as it is: the message is then one of RFC 6532.
fn written(author: &Author) -> String {
    match author.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        None => author.address.clone(),
        Some(name) => {
            let quoted: String =
                name.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
            format!("\"{quoted}\" <{}>", author.address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author() -> Author {
        Author { envelope: "ann@x.test".into(), address: "ann@x.test".into(), name: Some("Ann \"A\" Lee".into()) }
    }

    fn sent(octets: &[u8], ignore_dots: bool) -> String {
        let mut message = Message::read(octets, ignore_dots);
        message.complete(&author(), Timestamp::from_secs(0), "host.test").unwrap();
        String::from_utf8(message.into_octets()).unwrap()
    }

    #[test]
    fn what_every_message_has_is_added_and_nothing_else() {
        let text = sent(b"Subject: hello\n\nbody\n", false);
        assert!(
            text.starts_with("Subject: hello\r\nFrom: \"Ann \\\"A\\\" Lee\" <ann@x.test>\r\nDate: Thu, 01 Jan 1970 "),
            "{text}"
        );
        assert!(text.contains("\r\nMessage-ID: <0.") && text.ends_with("@host.test>\r\n\r\nbody\r\n"), "{text}");
        let whole = "From: b@y.test\r\nDate: today\r\nMessage-ID: <1@y>\r\n\r\nbody\r\n";
        assert_eq!(sent(whole.as_bytes(), false), whole);
    }

    #[test]
    fn a_message_may_have_no_header_section_at_all() {
        assert!(sent(b"just text\nmore\n", false).ends_with("\r\n\r\njust text\r\nmore\r\n"));
        assert!(sent(b"", false).ends_with("@host.test>\r\n\r\n"));
        assert!(sent(b"\nbody\n", false).ends_with("\r\n\r\nbody\r\n"));
        assert!(sent(b"From ann Thu Jan 1\nSubject: s\n\nb\n", false).starts_with("Subject: s\r\n"));
        // The header section ends where no field is.
        assert!(sent(b"Subject: s\nno field\n\nb\n", false).ends_with("\r\n\r\nno field\r\n\r\nb\r\n"));
    }

    #[test]
    fn a_dot_alone_ends_it_unless_it_is_to_be_ignored() {
        let text = b"Subject: s\n\none\n.\ntwo\n";
        assert!(sent(text, false).ends_with("\r\n\r\none\r\n"));
        assert!(sent(text, true).ends_with("\r\n\r\none\r\n.\r\ntwo\r\n"));
    }

    #[test]
    fn line_ends_become_crlf_and_nothing_bare_is_left() {
        assert!(sent(b"A: b\r\n\r\nx\ry\0z\r\nlast", false).ends_with("\r\n\r\nx y z\r\nlast\r\n"));
    }

    #[test]
    fn recipients_come_from_the_fields_and_bcc_goes() {
        let text = b"To: a@x.test,\n b@x.test\nCC: Bob <c@x.test>\nBcc: d@x.test\nbcc : e@x.test\nReturn-Path: <q@x>\n\nbody\n";
        assert_eq!(
            Message::read(text, false).recipients(),
            ["a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"]
        );
        let sent = sent(text, false);
        assert!(!sent.contains("d@x.test") && !sent.contains("e@x.test") && !sent.contains("Return-Path"), "{sent}");
        assert!(sent.contains("To: a@x.test,\r\n b@x.test\r\n"));
        let resent = b"To: a@x.test\nResent-To: r@x.test\nResent-Bcc: s@x.test\n\nbody\n";
        assert_eq!(Message::read(resent, false).recipients(), ["r@x.test", "s@x.test"]);
    }
}
