//! What is said in one transaction: commands and replies, without the content, for the history of messages that failed.
//!
//! Bounded, and one buffer for the life of a connection: taking it down costs a copy of what is said. Authentication is
//! over before it begins, so that there is no secret in it. Pure.

use std::sync::Arc;

use crate::smtp::Reply;

/// Octets of one dialogue; what comes after is left out, and said to be.
const MOST: usize = 8 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    lines: Vec<u8>,
    full: bool,
}

impl Transcript {
    /// For the next transaction.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.full = false;
    }

    /// Commands that are sent, one or several.
    pub(super) fn said(&mut self, commands: &[u8]) {
        self.push(b"C: ", commands);
    }

    /// A reply.
    pub(super) fn heard(&mut self, reply: &Reply) {
        if self.full {
            return;
        }
        let start = self.lines.len();
        self.lines.extend_from_slice(b"S: ");
        reply.write(&mut self.lines);
        // One line is the rule.
        if reply.lines.len() > 1 {
            let lines = self.lines.split_off(start);
            self.push(b"S: ", lines.get(3..).unwrap_or_default());
        }
        self.bound();
    }

    /// Something that is no command: the content, or an error.
    pub(super) fn note(&mut self, text: &str) {
        self.push(b"   ", text.as_bytes());
    }

    fn push(&mut self, mark: &[u8], octets: &[u8]) {
        for line in octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            if self.full {
                return;
            }
            self.lines.extend_from_slice(mark);
            self.lines.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            self.lines.extend_from_slice(b"\r\n");
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.lines.len() > MOST && !self.full {
            self.lines.truncate(MOST);
            self.lines.extend_from_slice("…\r\n".as_bytes());
            self.full = true;
        }
    }

    /// The lines, each with its end.
    pub(super) fn text(&self) -> Arc<str> {
        String::from_utf8_lossy(&self.lines).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Status;

    #[test]
    fn both_sides_are_taken_down_and_no_more_than_so_much() {
        let mut transcript = Transcript::default();
        transcript.said(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n");
        transcript.heard(&Reply::new(250, Status::new(2, 1, 0), "ok"));
        transcript.heard(&Reply::bare(550, ["first".into(), "last".into()]));
        transcript.note("content: 12 octets");
        let text = "C: MAIL FROM:<a@x.test>\r\nC: RCPT TO:<b@y.test>\r\nS: 250 2.1.0 ok\r\nS: 550-first\r\nS: 550 last\r\n   \
                    content: 12 octets\r\n";
        assert_eq!(&*transcript.text(), text);
        transcript.clear();
        assert_eq!(&*transcript.text(), "");
        (0..10_000).for_each(|_| transcript.said(b"RCPT TO:<somebody@example.net>\r\n"));
        transcript.heard(&Reply::new(250, Status::new(2, 1, 0), "ok"));
        let text = transcript.text();
        assert!(text.len() <= MOST + 10 && text.ends_with("…\r\n"), "{}", text.len());
    }
}
