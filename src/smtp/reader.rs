//! Replies as they come from a next hop, put together from octets in whatever pieces they arrive.
//!
//! Pure. Strict where leniency would change a meaning, lenient where it can't: a line may end in a bare LF and may be
//! longer than the 512 octets of RFC 5321 section 4.5.3.1.5, for real servers do both and nobody can smuggle anything
//! through a reply; but code, separator and the agreement of all lines on one code (section 4.2.1) are insisted on.
//! Must never grow without bound, whatever a server sends.

use std::sync::Arc;

use super::{Reply, Status};

/// Octets of one line, four times what RFC 5321 section 4.5.3.1.5 allows.
const LINE_MAX: usize = 2048;
/// Octets of one reply: longer ones are no replies but an attack or a mistaken port.
const REPLY_MAX: usize = 64 * 1024;
/// Lines of one reply; the longest EHLO replies seen have some thirty.
const LINES_MAX: usize = 512;

/// Puts replies together. After an error the connection is of no use.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Code of the lines so far.
    code: Option<u16>,
    status: Option<Status>,
    lines: Vec<Arc<str>>,
    octets: usize,
}

/// Why what came is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not of the grammar of RFC 5321 section 4.2.
    #[error("what the server sent is no SMTP reply")]
    Syntax,
    /// The lines of one reply have different codes.
    #[error("the lines of the server's reply have different codes")]
    Codes,
    /// Past one of the limits.
    #[error("the server's reply is too long")]
    TooLong,
}

impl ReplyReader {
    /// Takes octets from `input` up to the end of the next reply, or all of them if it is not complete yet.
    ///
    /// # Errors
    /// [`ReplyError`]; the stream has no meaning any more then.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
            *input = rest.get(1..).unwrap_or_default();
            self.count(line.len() + 1, line.len() + self.partial.len())?;
            let last = if self.partial.is_empty() {
                self.line(line)?
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?
            };
            if last {
                return Ok(Some(self.take()));
            }
        }
        self.count(input.len(), input.len() + self.partial.len())?;
        self.partial.extend_from_slice(input);
        *input = &[];
        Ok(None)
    }

    /// True between replies.
    pub fn is_empty(&self) -> bool {
        self.octets == 0
    }

    fn count(&mut self, octets: usize, line: usize) -> Result<(), ReplyError> {
        self.octets += octets;
        if line > LINE_MAX || self.octets > REPLY_MAX || self.lines.len() >= LINES_MAX {
            return Err(ReplyError::TooLong);
        }
        Ok(())
    }

    /// One line without its LF. True if it is the reply's last.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::Syntax)?;
        let code = code_of(code).ok_or(ReplyError::Syntax)?;
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyError::Codes);
        }
        // RFC 5321 section 4.2: a client accepts a code without space and text.
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::Syntax),
        };
        let text = self.without_status(code, text);
        self.lines.push(text);
        Ok(last)
    }

    /// The text of a line, its enhanced status taken off (RFC 2034 section 4). A status whose class does not fit the
    /// code is no status but text: the code is what counts (RFC 3463 section 2).
    fn without_status(&mut self, code: u16, text: &[u8]) -> Arc<str> {
        let text = String::from_utf8_lossy(text);
        let rest = match Status::take(&text) {
            Some((status, rest)) if u16::from(status.class) == code / 100 => {
                self.status.get_or_insert(status);
                rest
            }
            _ => &text,
        };
        if rest.chars().any(char::is_control) {
            // Seen as such, not taken for the space between a word and the next one.
            let shown = |c: char| match c {
                '\t' => ' ',
                c if c.is_control() => '?',
                c => c,
            };
            return rest.chars().map(shown).collect::<String>().into();
        }
        rest.into()
    }

    fn take(&mut self) -> Reply {
        self.octets = 0;
        let lines = std::mem::take(&mut self.lines);
        Reply { code: self.code.take().unwrap_or(0), status: self.status.take(), lines: lines.into() }
    }
}

/// RFC 5321 section 4.2: first digit 2 to 5, second 0 to 5. The second is taken as any digit, for 3-digit codes made up
/// by servers still say by their first whether to try again.
fn code_of(digits: &[u8]) -> Option<u16> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    (200..600).contains(&code).then_some(code)
}

/// Entry for fuzzing: how the input is cut makes no difference, and limits hold.
#[doc(hidden)]
pub fn fuzz_reader(octets: &[u8]) {
    let read = |size: usize| {
        let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
        for mut piece in octets.chunks(size) {
            loop {
                match reader.push(&mut piece) {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(error) => return (replies, Some(error)),
                }
            }
            assert!(reader.octets <= REPLY_MAX && reader.partial.len() <= LINE_MAX);
        }
        (replies, None)
    };
    let whole = read(octets.len().max(1));
    for size in [1, 2, 3, 7] {
        let pieces = read(size);
        assert_eq!(pieces.0, whole.0, "by {size}");
        // A line that is too long and wrong as well may be found out for either first.
        assert_eq!(pieces.1.is_some(), whole.1.is_some(), "by {size}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(wire: &[u8], step: usize) -> Result<Vec<Reply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for mut piece in wire.chunks(step.max(1)) {
            while let Some(reply) = reader.push(&mut piece)? {
                assert!(reader.is_empty());
                replies.push(reply);
            }
            assert!(piece.is_empty());
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_read_as_they_are_meant() {
        let table: &[(&str, &str)] = &[
            ("220 mx.example ESMTP\r\n", "220 mx.example ESMTP"),
            ("250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n", "250 mx.example / SIZE 1000 / PIPELINING"),
            ("550-5.1.1 No\r\n550 5.1.1 such user\r\n", "550 5.1.1 No / such user"),
            ("250\r\n", "250 "),
            ("250 \r\n", "250 "),
            ("451 4.3.0 later\n", "451 4.3.0 later"),
            // The class does not fit: text.
            ("550 4.7.1 no\r\n", "550 4.7.1 no"),
            ("250 2.0.0\r\n", "250 2.0.0 "),
            ("250 a\tb\x07c\r\n", "250 a b?c"),
        ];
        for (wire, want) in table {
            let replies = read(wire.as_bytes(), 1000).unwrap();
            assert_eq!(replies.len(), 1, "{wire}");
            assert_eq!(replies[0].to_string(), *want, "{wire}");
        }
        assert_eq!(read(b"550 4.7.1 no\r\n", 99).unwrap()[0].status, None);
        assert_eq!(read(b"550-5.7.1 no\r\n550 5.7.1 no\r\n", 99).unwrap()[0].status, Some(Status::new(5, 7, 1)));
    }

    #[test]
    fn rubbish_is_refused() {
        let long = format!("250 {}\r\n", "x".repeat(LINE_MAX));
        let many = "250-x\r\n".repeat(LINES_MAX + 1);
        let table: &[(&[u8], ReplyError)] = &[
            (b"\r\n", ReplyError::Syntax),
            (b"25 ok\r\n", ReplyError::Syntax),
            (b"2500 ok\r\n", ReplyError::Syntax),
            (b"150 ok\r\n", ReplyError::Syntax),
            (b"650 ok\r\n", ReplyError::Syntax),
            (b"HTTP/1.1 200 OK\r\n", ReplyError::Syntax),
            (b"250-a\r\n550 b\r\n", ReplyError::Codes),
            (long.as_bytes(), ReplyError::TooLong),
            (many.as_bytes(), ReplyError::TooLong),
        ];
        for (wire, want) in table {
            for step in [1, 7, 100_000] {
                assert_eq!(read(wire, step).unwrap_err(), *want, "{}", String::from_utf8_lossy(wire));
            }
        }
        let endless = vec![b'2'; LINE_MAX + 1];
        assert_eq!(read(&endless, 10).unwrap_err(), ReplyError::TooLong);
    }

    #[test]
    fn what_follows_a_reply_stays_in_the_input() {
        let mut reader = ReplyReader::default();
        let mut input: &[u8] = b"250 one\r\n354 two\r\n25";
        assert_eq!(reader.push(&mut input).unwrap().unwrap().code, 250);
        assert_eq!(input, b"354 two\r\n25");
        assert_eq!(reader.push(&mut input).unwrap().unwrap().code, 354);
        assert_eq!(reader.push(&mut input), Ok(None));
        assert!(input.is_empty() && !reader.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(wire in "((250|550|354)(-|  ?)(5\\.1\\.1 )?[a-z é]{0,20}\r?\n){0,6}[0-9a-z -]{0,9}", step in 1usize..9) {
            let pieces = read(wire.as_bytes(), step);
            prop_assert_eq!(read(wire.as_bytes(), wire.len()), pieces);
        }

        #[test]
        fn nothing_makes_it_panic(wire in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            let _ = read(&wire, step);
            fuzz_reader(&wire);
        }
    }
}
