//! Replies (RFC 5321 section 4.2): a code, an enhanced status, lines of text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Status;

/// A reply to send or one that came. Text is printable ASCII or UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Written before the text of every line.
    pub status: Option<Status>,
    /// One or more lines, without code, status and line ends.
    pub lines: Arc<[Arc<str>]>,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, status: Status, text: impl Into<Arc<str>>) -> Self {
        Self { code, status: Some(status), lines: Arc::new([text.into()]) }
    }

    /// A reply without an enhanced status: greeting, EHLO, 354 and 334 have none (RFC 2034 section 4).
    pub fn bare(code: u16, lines: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { code, status: None, lines: lines.into_iter().collect() }
    }

    /// 4yz.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// 2yz.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Appends the wire form. Control characters become spaces, and no line passes 512 octets (RFC 5321 section 4.5.3.1.5).
    pub fn write(&self, out: &mut Vec<u8>) {
        let empty: Arc<[Arc<str>]> = Arc::new([Arc::from("")]);
        let lines = if self.lines.is_empty() { &empty } else { &self.lines };
        let last = lines.len() - 1;
        for (at, line) in lines.iter().enumerate() {
            let code = self.code.clamp(200, 599);
            out.extend_from_slice(&[
                b'0' + (code / 100) as u8,
                b'0' + (code / 10 % 10) as u8,
                b'0' + (code % 10) as u8,
            ]);
            out.push(if at == last { b' ' } else { b'-' });
            if let Some(status) = self.status {
                out.extend_from_slice(status.to_string().as_bytes());
                out.push(b' ');
            }
            push_text(out, line);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Leaves room for code, status and CRLF in 512 octets.
const TEXT_MAX: usize = 480;

fn push_text(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    for c in text.chars() {
        if out.len() - start + c.len_utf8() > TEXT_MAX {
            return;
        }
        let c = if c.is_control() { ' ' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl fmt::Display for Reply {
    /// One line: `550 5.7.1 no / not here`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        for (at, line) in self.lines.iter().enumerate() {
            f.write_str(if at == 0 { " " } else { " / " })?;
            f.write_str(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_can_not_break_out_of_its_line() {
        let reply = Reply::new(550, Status::new(5, 7, 1), "a\r\n250 b\u{7f}");
        let mut wire = Vec::new();
        reply.write(&mut wire);
        assert_eq!(wire, b"550 5.7.1 a  250 b \r\n");
    }

    #[test]
    fn long_and_empty_texts_make_good_lines() {
        let mut wire = Vec::new();
        Reply::new(451, Status::new(4, 3, 0), "é".repeat(400)).write(&mut wire);
        assert!(wire.len() <= 512 && std::str::from_utf8(&wire).is_ok());
        wire.clear();
        Reply::bare(250, []).write(&mut wire);
        assert_eq!(wire, b"250 \r\n");
    }
}
