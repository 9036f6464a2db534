//! The part of a report that programs read: message/delivery-status (RFC 3464 section 2), or its form for UTF-8
//! addresses, message/global-delivery-status (RFC 6533 section 3). Pure.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Action, Frame, Original, Reported, param};
use crate::hooks::{Outcome, OutcomeKind, Stage};
use crate::mail::Mailbox;
use crate::smtp::{Reply, Status};

/// Which characters the fields may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// message/delivery-status.
    Ascii,
    /// message/global-delivery-status.
    Utf8,
}

/// The fields: one group for the message, one for each recipient.
pub(super) fn status(
    original: &Original<'_>,
    action: Action,
    reported: &[Reported<'_>],
    charset: Charset,
    frame: Frame<'_>,
) -> String {
    let mut out = Fields { out: String::with_capacity(256 + reported.len() * 384), charset };
    if let Some(envid) = param(original.sender_params, "ENVID") {
        out.field("Original-Envelope-Id", &from_xtext(envid));
    }
    out.field("Reporting-MTA", &format!("dns; {}", frame.hostname));
    out.field("Arrival-Date", &original.arrived.rfc5322());
    for one in reported {
        out.out.push_str("\r\n");
        out.recipient(action, one);
    }
    out.out
}

/// True where the reply is the next hop's own. Where there is an error, it is what the relay says of that.
pub(super) fn is_remote(outcome: &Outcome) -> bool {
    outcome.remote.is_some()
        && outcome.error.is_none()
        && !matches!(outcome.stage, Stage::Queue | Stage::Resolve | Stage::Connect)
}

/// What went wrong on the way to the next hop. What went wrong in this relay is its operator's business alone.
pub(super) fn public_error(outcome: &Outcome) -> Option<&str> {
    outcome.error.as_deref().filter(|_| outcome.stage != Stage::Queue)
}

struct Fields {
    out: String,
    charset: Charset,
}

impl Fields {
    fn recipient(&mut self, action: Action, one: &Reported<'_>) {
        let outcome = one.outcome;
        if let Some((kind, address)) = one.recipient.param("ORCPT").and_then(|orcpt| orcpt.split_once(';')) {
            // RFC 3461 section 6.3: xtext is undone here; what it hid can't end the line, `field` sees to that.
            let address = self.address(&from_xtext(address));
            self.field("Original-Recipient", &format!("{}; {address}", kind.trim()));
        }
        let final_recipient = self.mailbox(&one.recipient.mailbox);
        self.field("Final-Recipient", &final_recipient);
        self.field("Action", action_word(action));
        self.field("Status", &status_of(outcome).to_string());
        if let Some(remote) = remote(outcome) {
            self.field("Remote-MTA", &remote);
        }
        if let Some(diagnostic) = diagnostic(outcome) {
            self.lines("Diagnostic-Code", &diagnostic);
        }
        self.field("Last-Attempt-Date", &outcome.at.rfc5322());
        if let Action::Delayed { until } = action {
            self.field("Will-Retry-Until", &until.rfc5322());
        }
    }

    fn mailbox(&self, mailbox: &Mailbox) -> String {
        let text = mailbox.to_string();
        let kind = if text.is_ascii() { "rfc822" } else { "utf-8" };
        format!("{kind}; {}", self.address(&text))
    }

    /// An address within these characters: where UTF-8 can't stand, utf-8-addr-xtext does (RFC 6533 section 3).
    fn address(&self, text: &str) -> String {
        if self.charset == Charset::Utf8 || text.is_ascii() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len() * 2);
        for c in text.chars() {
            if c.is_ascii() && c != '\\' {
                out.push(c);
            } else {
                // Writing to a String does not fail.
                let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
            }
        }
        out
    }

    /// One field, folded at spaces before column 76. Nothing in `value` can begin a field of its own.
    fn field(&mut self, name: &str, value: &str) {
        self.lines(name, &[value.to_owned()]);
    }

    /// A field of several lines, each of which begins on a line of its own.
    fn lines(&mut self, name: &str, values: &[String]) {
        self.out.push_str(name);
        self.out.push(':');
        let mut column = name.len() + 1;
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.out.push_str("\r\n");
                column = 0;
            }
            self.words(value, column);
        }
        self.out.push_str("\r\n");
    }

    fn words(&mut self, value: &str, begun: usize) {
        let mut column = begun;
        for word in value.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            let fits = word.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 900).map(|(_, c)| c);
            if column + 1 + word.len() > 76 && column > begun {
                self.out.push_str("\r\n");
                column = 0;
            }
            self.out.push(' ');
            let before = self.out.len();
            let charset = self.charset;
            self.out.extend(fits.map(|c| if charset == Charset::Utf8 || c.is_ascii() { c } else { '?' }));
            column += 1 + self.out.len() - before;
        }
        if column == 0 {
            // An empty line of a reply must not end the group.
            self.out.push_str(" -");
        }
    }
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Failed => "failed",
        Action::Delayed { .. } => "delayed",
        Action::Delivered => "delivered",
        Action::Relayed | Action::Traced => "relayed",
    }
}

/// The status (RFC 3463): the next hop's own where its class fits what is reported.
fn status_of(outcome: &Outcome) -> Status {
    let class = match outcome.kind {
        OutcomeKind::Delivered => 2,
        OutcomeKind::Temporary => 4,
        OutcomeKind::Permanent => 5,
        // X.4.7, delivery time expired: what the next hop said last stands in Diagnostic-Code.
        OutcomeKind::Expired => return Status::new(4, 4, 7),
    };
    let said = outcome.reply.as_ref().and_then(|reply| reply.status);
    said.filter(|status| status.class == class).unwrap_or_else(|| match (class, outcome.stage) {
        (4 | 5, Stage::Resolve) => Status::new(class, 4, 4),
        (4 | 5, Stage::Connect) => Status::new(class, 4, 1),
        (4, Stage::Greeting | Stage::Helo | Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Answer)
            if outcome.reply.is_none() =>
        {
            Status::new(4, 4, 2)
        }
        _ => Status::new(class, 0, 0),
    })
}

/// RFC 3464 section 2.3.5: a host's name, or its address as a literal; the address beside a name is a comment.
fn remote(outcome: &Outcome) -> Option<String> {
    let host = outcome.remote.as_deref().filter(|host| !host.contains('/'))?;
    let literal = |ip: IpAddr| if ip.is_ipv4() { format!("[{ip}]") } else { format!("[IPv6:{ip}]") };
    if let Ok(ip) = host.parse() {
        return Some(format!("dns; {}", literal(ip)));
    }
    let address = outcome.remote_endpoint.as_ref().and_then(|endpoint| endpoint.address.parse().ok());
    let address = address.filter(|_| !host.starts_with('[')).map(|ip| format!(" ({})", literal(ip)));
    Some(format!("dns; {host}{}", address.unwrap_or_default()))
}

/// What was said, line by line: RFC 3461 section 9.2 has a reply of several lines as it came.
fn diagnostic(outcome: &Outcome) -> Option<Vec<String>> {
    let one = |text: String| Some(vec![text]);
    match (&outcome.reply, public_error(outcome)) {
        (Some(reply), _) if is_remote(outcome) => Some(transcribed(reply)),
        (Some(reply), Some(error)) => one(format!("x-waypost; {reply} ({error})")),
        (Some(reply), None) => one(format!("x-waypost; {reply}")),
        (None, Some(error)) => one(format!("x-waypost; {error}")),
        (None, None) => None,
    }
}

fn transcribed(reply: &Reply) -> Vec<String> {
    let status = reply.status.map(|status| format!(" {status}")).unwrap_or_default();
    let last = reply.lines.len().saturating_sub(1);
    let line = |(at, text): (usize, &Arc<str>)| {
        let kind = if at == 0 { "smtp; " } else { "" };
        match (at == last, status.trim_start()) {
            (true, _) => format!("{kind}{}{status} {text}", reply.code),
            (false, "") => format!("{kind}{}-{text}", reply.code),
            (false, status) => format!("{kind}{}-{status} {text}", reply.code),
        }
    };
    if reply.lines.is_empty() {
        return vec![format!("smtp; {}{status}", reply.code)];
    }
    reply.lines.iter().enumerate().map(line).collect()
}

/// Undoes xtext (RFC 3461 section 4); what is not well formed stays as it came.
fn from_xtext(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let decoded = (first == b'+').then(|| after.split_at_checked(2).and_then(|(hex, _)| hex_octet(hex))).flatten();
        octets.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn hex_octet(hex: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(hex).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_undone_and_rubbish_kept() {
        for (text, is) in
            [("a+2Bb", "a+b"), ("+40", "@"), ("a+", "a+"), ("a+4", "a+4"), ("+zz", "+zz"), ("+C3+A9", "é")]
        {
            assert_eq!(from_xtext(text), is);
        }
    }

    #[test]
    fn a_reply_of_several_lines_is_transcribed() {
        let reply =
            |status, lines: &[&str]| Reply { code: 550, status, lines: lines.iter().map(|l| Arc::from(*l)).collect() };
        let status = Some(Status::new(5, 7, 1));
        assert_eq!(transcribed(&reply(status, &["a", "b"])), ["smtp; 550-5.7.1 a", "550 5.7.1 b"]);
        assert_eq!(transcribed(&reply(None, &["a", "b"])), ["smtp; 550-a", "550 b"]);
        assert_eq!(transcribed(&reply(None, &[])), ["smtp; 550"]);
        let mut fields = Fields { out: String::new(), charset: Charset::Ascii };
        fields.lines("Diagnostic-Code", &["smtp; 550-a".to_owned(), String::new(), "550 b".to_owned()]);
        assert_eq!(fields.out, "Diagnostic-Code: smtp; 550-a\r\n -\r\n 550 b\r\n");
    }

    #[test]
    fn no_value_breaks_out_of_its_field() {
        let mut fields = Fields { out: String::new(), charset: Charset::Ascii };
        fields.field("Diagnostic-Code", &format!("smtp; 550 é\r\nAction: delivered {}", "word ".repeat(30)));
        let lines: Vec<&str> = fields.out.split("\r\n").filter(|line| !line.is_empty()).collect();
        assert!(lines.iter().skip(1).all(|line| line.starts_with(' ') && line.len() <= 76), "{lines:?}");
        assert!(lines[0].starts_with("Diagnostic-Code: smtp; 550 ? Action: delivered"), "{lines:?}");
    }
}
