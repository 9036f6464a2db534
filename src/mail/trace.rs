//! Trace fields (RFC 5321 section 4.4): the Received field this relay adds, and the count of those already there.
//!
//! Whatever a client said of itself is made harmless before it gets into a field.

use crate::mail::Header;

/// What goes into a Received field.
#[derive(Clone, Debug)]
pub struct Received<'a> {
    /// What the client called itself at HELO or EHLO.
    pub helo: &'a str,
    /// Its confirmed name, if it has one.
    pub client_name: Option<&'a str>,
    /// Where it is: an address literal (RFC 5321 section 4.1.3), such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`; without an
    /// address a few words, which are a comment then.
    pub client: &'a str,
    /// This relay's host name.
    pub by: &'a str,
    /// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPSA`, `UTF8SMTPS` and so on: see [`with_protocol`].
    pub with: &'a str,
    /// Queue id.
    pub id: &'a str,
    /// The recipient, named only where there is one: others would learn of each other.
    pub only_recipient: Option<&'a str>,
    /// `TLSv1.3` and `TLS_AES_256_GCM_SHA384`: a comment, and the clause that RFC 8314 section 4.3 has for the suite.
    pub tls: Option<(&'a str, &'a str)>,
    /// RFC 5322 date-time.
    pub date: &'a str,
}

/// RFC 5322 section 2.1.1, without the CRLF.
const LINE: usize = 78;

impl Received<'_> {
    /// The whole field, folded, with its final CRLF.
    pub fn render(&self) -> String {
        let client = match self.client_name {
            Some(name) => format!("({} {})", domain(name), harmless(self.client)),
            None => format!("({})", harmless(self.client)),
        };
        let mut field = Folded { text: String::with_capacity(320), column: 0 };
        field.push("Received: from");
        field.push(&domain(self.helo));
        field.push(&client);
        if let Some((protocol, _)) = self.tls {
            field.push(&format!("({})", harmless(protocol)));
        }
        field.push_line(&format!("by {}", domain(self.by)));
        field.push(&format!("with {}", harmless(self.with)));
        // Each of these may be the last one before the semicolon.
        let mut clauses = vec![format!("id {}", harmless(self.id))];
        if let Some(recipient) = self.only_recipient {
            let mailbox: String = recipient.chars().filter(|c| !c.is_control()).collect();
            clauses.push(format!("for <{mailbox}>"));
        }
        if let Some((_, suite)) = self.tls {
            clauses.push(format!("tls {}", domain(suite)));
        }
        if let Some(last) = clauses.last_mut() {
            last.push(';');
        }
        for clause in &clauses {
            if clause.starts_with("for ") { field.push_line(clause) } else { field.push(clause) }
        }
        field.push_line(&harmless(self.date));
        field.text.push_str("\r\n");
        field.text
    }
}

/// Words put side by side until the line is full.
struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    fn push(&mut self, word: &str) {
        if self.column > 0 && self.column + 1 + word.len() > LINE {
            return self.push_line(word);
        }
        if self.column > 0 {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.push_str(word);
        self.column += word.len();
    }

    fn push_line(&mut self, word: &str) {
        self.text.push_str("\r\n\t");
        self.text.push_str(word);
        self.column = 1 + word.len();
    }
}

/// Text from outside as it may stand in a field or a comment: printable ASCII without what would end either.
fn harmless(text: &str) -> String {
    let replaced = |c: char| !matches!(c, ' '..='~') || matches!(c, '(' | ')' | '<' | '>' | '"' | '\\' | ';');
    text.chars().take(255).map(|c| if replaced(c) { '?' } else { c }).collect()
}

/// The same of what has to be a domain or an address literal: one word.
fn domain(text: &str) -> String {
    let is_literal = text.starts_with('[') && text.ends_with(']');
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (is_literal && "[:]".contains(c));
    text.chars().take(255).map(|c| if fits(c) { c } else { '?' }).collect()
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialogue {
    /// Since HELO.
    Smtp,
    /// Since EHLO.
    Esmtp,
    /// Since LHLO.
    Lmtp,
}

/// The protocol as the WITH clause names it (RFC 3848; RFC 6531 section 4.3 for the UTF8 forms). There are no forms of SMTP as
/// it was: HELO has no extensions.
pub fn with_protocol(dialogue: Dialogue, tls: bool, authenticated: bool, smtputf8: bool) -> &'static str {
    match (dialogue, smtputf8, tls, authenticated) {
        (Dialogue::Smtp, ..) => "SMTP",
        (Dialogue::Esmtp, false, false, false) => "ESMTP",
        (Dialogue::Esmtp, false, true, false) => "ESMTPS",
        (Dialogue::Esmtp, false, false, true) => "ESMTPA",
        (Dialogue::Esmtp, false, true, true) => "ESMTPSA",
        (Dialogue::Esmtp, true, false, false) => "UTF8SMTP",
        (Dialogue::Esmtp, true, true, false) => "UTF8SMTPS",
        (Dialogue::Esmtp, true, false, true) => "UTF8SMTPA",
        (Dialogue::Esmtp, true, true, true) => "UTF8SMTPSA",
        (Dialogue::Lmtp, false, false, false) => "LMTP",
        (Dialogue::Lmtp, false, true, false) => "LMTPS",
        (Dialogue::Lmtp, false, false, true) => "LMTPA",
        (Dialogue::Lmtp, false, true, true) => "LMTPSA",
        (Dialogue::Lmtp, true, false, false) => "UTF8LMTP",
        (Dialogue::Lmtp, true, true, false) => "UTF8LMTPS",
        (Dialogue::Lmtp, true, false, true) => "UTF8LMTPA",
        (Dialogue::Lmtp, true, true, true) => "UTF8LMTPSA",
    }
}

/// How many relays the message says it has passed (RFC 5321 section 6.3).
pub fn hop_count(header: &Header) -> usize {
    header.fields().filter(|field| field.is_named("Received")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Received<'_> = Received {
        helo: "client.example",
        client_name: None,
        client: "[192.0.2.1]",
        by: "mx.example.net",
        with: "ESMTP",
        id: "1k2m3n4p5q6r7",
        only_recipient: None,
        tls: None,
        date: "Mon, 23 Nov 2026 22:31:00 +0000",
    };

    #[test]
    fn the_field_is_written_as_the_standard_has_it() {
        let wanted = "Received: from client.example ([192.0.2.1])\r\n\tby mx.example.net with ESMTP id 1k2m3n4p5q6r7;\
                      \r\n\tMon, 23 Nov 2026 22:31:00 +0000\r\n";
        assert_eq!(PLAIN.render(), wanted);
        let full = Received {
            client_name: Some("client.example"),
            client: "[IPv6:2001:db8::1]",
            with: "ESMTPSA",
            only_recipient: Some("\"a b\"@example.net"),
            tls: Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384")),
            ..PLAIN
        };
        let wanted = "Received: from client.example (client.example [IPv6:2001:db8::1]) (TLSv1.3)\r\n\tby mx.example.net \
                      with ESMTPSA id 1k2m3n4p5q6r7\r\n\tfor <\"a b\"@example.net> tls TLS_AES_256_GCM_SHA384;\r\n\tMon, 23 \
                      Nov 2026 22:31:00 +0000\r\n";
        assert_eq!(full.render(), wanted);
        // No address, no literal (RFC 5321 section 4.4); a HELO of one's own address is one.
        let local = Received { helo: "[IPv6:::1]", client: "unix socket", with: "LMTP", ..PLAIN };
        let text = local.render();
        assert!(
            text.starts_with("Received: from [IPv6:::1] (unix socket)\r\n\tby mx.example.net with LMTP id"),
            "{text}"
        );
    }

    #[test]
    fn nobody_writes_a_field_of_his_own() {
        let hostile = "a\r\nBcc: x\u{e9}(;)\\";
        let field = Received { helo: hostile, client_name: Some(hostile), only_recipient: Some(hostile), ..PLAIN };
        let text = field.render();
        let parsed = Header::parse(text.clone().into());
        assert_eq!(parsed.len(), 1, "{text}");
        assert_eq!(parsed.field(0).unwrap().raw.len() + "Received:\r\n".len(), text.len());
        assert!(text.starts_with("Received: from a??Bcc??x?????\u{20}"), "{text}");
    }

    #[test]
    fn long_names_make_no_long_lines() {
        let long = format!("{}.example", "h".repeat(70));
        let text = Received { helo: &long, client_name: Some(&long), by: &long, ..PLAIN }.render();
        for line in text.lines() {
            assert!(line.len() <= LINE + 20, "{line}: only a single word may be longer");
            assert!(line.len() <= LINE || line.split_whitespace().count() <= 2, "{line}");
        }
    }

    #[test]
    fn protocols_have_the_registered_names() {
        use Dialogue::{Esmtp, Lmtp, Smtp};
        let forms = |dialogue| {
            let all = [(false, false, false), (true, false, false), (false, true, false), (true, true, false)];
            all.map(|(tls, authenticated, utf8)| with_protocol(dialogue, tls, authenticated, utf8))
        };
        assert_eq!(forms(Smtp), ["SMTP"; 4]);
        assert_eq!(forms(Esmtp), ["ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"]);
        assert_eq!(forms(Lmtp), ["LMTP", "LMTPS", "LMTPA", "LMTPSA"]);
        assert_eq!(with_protocol(Esmtp, true, false, true), "UTF8SMTPS");
        assert_eq!(with_protocol(Lmtp, true, true, true), "UTF8LMTPSA");
    }

    #[test]
    fn hops_are_counted_by_field_name() {
        let header = Header::parse("received: a\r\nX-Received: b\r\nRECEIVED: c\r\n".into());
        assert_eq!(hop_count(&header), 2);
    }
}
