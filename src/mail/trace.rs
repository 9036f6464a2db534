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
    /// Its address, as RFC 5321 section 4.1.3 writes it between brackets: `192.0.2.1`, `IPv6:2001:db8::1`.
    pub client: &'a str,
    /// This relay's host name.
    pub by: &'a str,
    /// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPSA`, `UTF8SMTPS` and so on: see [`with_protocol`].
    pub with: &'a str,
    /// Queue id.
    pub id: &'a str,
    /// The recipient, named only where there is one: others would learn of each other.
    pub only_recipient: Option<&'a str>,
    /// `TLSv1.3 TLS_AES_256_GCM_SHA384`, written as a comment.
    pub tls: Option<&'a str>,
    /// RFC 5322 date-time.
    pub date: &'a str,
}

/// RFC 5322 section 2.1.1, without the CRLF.
const LINE: usize = 78;

impl Received<'_> {
    /// The whole field, folded, with its final CRLF.
    pub fn render(&self) -> String {
        let client = match self.client_name {
            Some(name) => format!("({} [{}])", harmless(name), harmless(self.client)),
            None => format!("([{}])", harmless(self.client)),
        };
        let mut field = Folded { text: String::with_capacity(320), column: 0 };
        field.push("Received: from");
        field.push(&harmless(self.helo));
        field.push(&client);
        if let Some(tls) = self.tls {
            field.push(&format!("({})", harmless(tls)));
        }
        field.push_line(&format!("by {}", harmless(self.by)));
        field.push(&format!("with {}", harmless(self.with)));
        let id = format!("id {}", harmless(self.id));
        match self.only_recipient {
            Some(recipient) => {
                field.push(&id);
                let mailbox: String = recipient.chars().filter(|c| !c.is_control()).collect();
                field.push_line(&format!("for <{mailbox}>;"));
            }
            None => field.push(&format!("{id};")),
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

/// The protocol as the WITH clause names it (RFC 3848, RFC 6531 section 4.3).
pub fn with_protocol(esmtp: bool, tls: bool, authenticated: bool, smtputf8: bool) -> &'static str {
    match (esmtp || tls || authenticated, smtputf8, tls, authenticated) {
        (false, false, ..) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, false, true, false) => "ESMTPS",
        (true, false, false, true) => "ESMTPA",
        (true, false, true, true) => "ESMTPSA",
        (_, true, false, false) => "UTF8SMTP",
        (_, true, true, false) => "UTF8SMTPS",
        (_, true, false, true) => "UTF8SMTPA",
        (_, true, true, true) => "UTF8SMTPSA",
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
        client: "192.0.2.1",
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
            client: "IPv6:2001:db8::1",
            with: "ESMTPSA",
            only_recipient: Some("\"a b\"@example.net"),
            tls: Some("TLSv1.3 TLS13_AES_256_GCM_SHA384"),
            ..PLAIN
        };
        let wanted = "Received: from client.example (client.example [IPv6:2001:db8::1])\r\n\t(TLSv1.3 \
                      TLS13_AES_256_GCM_SHA384)\r\n\tby mx.example.net with ESMTPSA id 1k2m3n4p5q6r7\r\n\tfor \
                      <\"a b\"@example.net>;\r\n\tMon, 23 Nov 2026 22:31:00 +0000\r\n";
        assert_eq!(full.render(), wanted);
    }

    #[test]
    fn nobody_writes_a_field_of_his_own() {
        let hostile = "a\r\nBcc: x\u{e9}(;)\\";
        let field = Received { helo: hostile, client_name: Some(hostile), only_recipient: Some(hostile), ..PLAIN };
        let text = field.render();
        let parsed = Header::parse(text.clone().into());
        assert_eq!(parsed.len(), 1, "{text}");
        assert_eq!(parsed.field(0).unwrap().raw.len() + "Received:\r\n".len(), text.len());
        assert!(text.starts_with("Received: from a??Bcc: x?????\u{20}"), "{text}");
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
        assert_eq!(with_protocol(false, false, false, false), "SMTP");
        assert_eq!(with_protocol(true, true, true, false), "ESMTPSA");
        assert_eq!(with_protocol(true, true, false, true), "UTF8SMTPS");
    }

    #[test]
    fn hops_are_counted_by_field_name() {
        let header = Header::parse("received: a\r\nX-Received: b\r\nRECEIVED: c\r\n".into());
        assert_eq!(hop_count(&header), 2);
    }
}
