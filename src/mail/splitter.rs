//! Cuts a stream of content into header section and body while it is received.
//!
//! Pieces may be cut anywhere, even inside a CRLF. Holds the header section and nothing of the body but the start of a
//! line that might still have become a field.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::header::{FieldSpan, Header, HeaderError};

/// The state of the cut. Feed it with `push`, end it with `finish`.
#[derive(Debug)]
pub struct HeaderSplitter {
    limit: usize,
    /// Whole lines of the section, then the line not yet ended.
    block: BytesMut,
    /// Where the line not yet ended begins.
    line: usize,
    fields: Vec<FieldSpan>,
    /// How the section ended.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By an empty line.
    Separator,
    /// By a line that is no field: the body begins with it.
    Body,
}

/// What a line of a header section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The first line of a field: octets of the name, and where the value begins.
    Field { name: u32, value: u32 },
    /// Begins with white space: more of the field before.
    Continuation,
    /// CRLF alone.
    Blank,
    /// No part of a header section.
    Other,
}

/// A line has 998 octets (RFC 5322 section 2.1.1), so a longer name is none; this also bounds the search for its end.
const NAME_MAX: usize = 998;

/// Judges a line by its beginning. Obsolete syntax has white space between name and colon (RFC 5322 section 4.5).
pub(super) fn classify(line: &[u8]) -> Line {
    match line {
        [b' ' | b'\t', ..] => return Line::Continuation,
        [b'\r', b'\n'] => return Line::Blank,
        _ => {}
    }
    let start = line.get(..line.len().min(NAME_MAX + 1)).unwrap_or_default();
    let name = start.iter().take_while(|b| is_ftext(**b)).count();
    let space = start.iter().skip(name).take_while(|b| matches!(b, b' ' | b'\t')).count();
    if name > 0 && start.get(name + space) == Some(&b':') {
        return Line::Field { name: name as u32, value: (name + space + 1) as u32 };
    }
    Line::Other
}

/// True for the start of a line that may still become the empty line, or a field's first.
fn is_undecided(start: &[u8]) -> bool {
    let name = start.iter().take_while(|b| is_ftext(**b)).count();
    let space = start.iter().skip(name).all(|b| matches!(b, b' ' | b'\t'));
    matches!(start, [] | [b'\r']) || (name > 0 && space && start.len() <= NAME_MAX)
}

/// RFC 5322 section 3.6.8.
fn is_ftext(b: u8) -> bool {
    matches!(b, 33..=57 | 59..=126)
}

impl HeaderSplitter {
    /// A section of at most `limit` octets is held in memory.
    pub fn new(limit: usize) -> Self {
        Self { limit, block: BytesMut::new(), line: 0, fields: Vec::new(), end: None }
    }

    /// Takes the next octets and gives back what of them is body: octets held back from earlier pieces, which come
    /// first, and the rest of this piece.
    ///
    /// # Errors
    /// [`HeaderError::TooLarge`]. Nothing more may be pushed then.
    pub fn push<'a>(&mut self, octets: &'a [u8]) -> Result<(Bytes, &'a [u8]), HeaderError> {
        let mut rest = octets;
        while self.end.is_none() && !rest.is_empty() {
            let until = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (part, after) = rest.split_at_checked(until).unwrap_or((rest, &[]));
            let held = self.block.len();
            self.block.extend_from_slice(part);
            // Only CRLF ends a line.
            let line = if self.block.ends_with(b"\r\n") { Some(self.end_line()) } else { self.look_ahead() };
            match line {
                Some(Line::Other) => return Ok((self.release(held), rest)),
                Some(Line::Field { .. } | Line::Continuation) => self.check_size()?,
                Some(Line::Blank) | None => {}
            }
            rest = after;
        }
        Ok((Bytes::new(), rest))
    }

    /// What the line not yet ended will be, if that is known: what can only be body is not held back.
    fn look_ahead(&mut self) -> Option<Line> {
        let line = self.block.get(self.line..).unwrap_or_default();
        match classify(line) {
            kind @ Line::Field { .. } => Some(kind),
            Line::Continuation if !self.fields.is_empty() => Some(Line::Continuation),
            Line::Other if is_undecided(line) => None,
            _ => {
                self.end = Some(End::Body);
                Some(Line::Other)
            }
        }
    }

    /// Takes in the line that has just been ended; says what it was.
    fn end_line(&mut self) -> Line {
        let end = self.block.len();
        let kind = classify(self.block.get(self.line..).unwrap_or_default());
        let (start, until) = (self.line as u32, end as u32);
        match (kind, self.fields.last_mut()) {
            (Line::Field { name, value }, _) => {
                self.fields.push(FieldSpan { start, name, value: start + value, end: until });
            }
            (Line::Continuation, Some(last)) => last.end = until,
            (Line::Blank, _) => {
                self.end = Some(End::Separator);
                self.block.truncate(self.line);
                return kind;
            }
            // White space before the first field continues nothing.
            (Line::Continuation | Line::Other, _) => {
                self.end = Some(End::Body);
                return Line::Other;
            }
        }
        self.line = end;
        kind
    }

    /// The line that turned out to be body, as far as it came with earlier pieces: the octets before `held`.
    fn release(&mut self, held: usize) -> Bytes {
        let mut body = self.block.split_off(self.line);
        body.truncate(held.saturating_sub(self.line));
        body.freeze()
    }

    fn check_size(&self) -> Result<(), HeaderError> {
        // Places in the block are kept in four octets.
        let limit = self.limit.min(u32::MAX as usize / 2);
        if self.block.len() > limit { Err(HeaderError::TooLarge) } else { Ok(()) }
    }

    /// True once the body has begun.
    pub fn is_done(&self) -> bool {
        self.end.is_some()
    }

    /// The header section; whether an empty line ended it; and what was still held back and is body.
    pub fn finish(mut self) -> (Header, bool, Bytes) {
        let rest = self.block.split_off(self.line.min(self.block.len())).freeze();
        (Header::from_spans(self.block.freeze(), self.fields), self.end == Some(End::Separator), rest)
    }
}

/// Entry for fuzzing: nothing is lost, cuts do not matter, and edits touch nothing else.
#[doc(hidden)]
pub fn fuzz_header(octets: &[u8]) {
    const LIMIT: usize = 32;
    let split = |size: usize| {
        let mut splitter = HeaderSplitter::new(LIMIT);
        let mut body = Vec::new();
        for piece in octets.chunks(size.max(1)) {
            let (held, rest) = splitter.push(piece).ok()?;
            body.extend_from_slice(&held);
            body.extend_from_slice(rest);
        }
        let (header, separator, rest) = splitter.finish();
        body.extend_from_slice(&rest);
        Some((header, separator, body))
    };
    let whole = split(octets.len());
    for size in [1, 3, 16] {
        assert_eq!(split(size), whole, "pieces of {size}");
    }
    let Some((header, separator, body)) = whole else { return };
    let between: &[u8] = if separator { b"\r\n" } else { b"" };
    assert_eq!([header.block(), between, &body].concat(), octets, "octets were lost");
    assert_eq!(Header::parse(header.block().clone()), header, "read back differently");
    let removed: Vec<_> = (0..header.len()).map(|index| super::HeaderEdit::Remove { index }).collect();
    assert_eq!(header.edit(&[]).as_ref(), Ok(&header), "an edit of nothing");
    assert!(header.edit(&removed).is_ok_and(|header| header.block().is_empty()), "octets that belong to no field");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header block, separator, body, pushed in pieces of `size`.
    fn split(octets: &[u8], size: usize, limit: usize) -> Result<(Header, bool, Vec<u8>), HeaderError> {
        let mut splitter = HeaderSplitter::new(limit);
        let mut body = Vec::new();
        for piece in octets.chunks(size) {
            let (held, rest) = splitter.push(piece)?;
            body.extend_from_slice(&held);
            body.extend_from_slice(rest);
        }
        let (header, separator, rest) = splitter.finish();
        body.extend_from_slice(&rest);
        Ok((header, separator, body))
    }

    #[test]
    fn sections_end_where_they_should_however_they_are_cut() {
        for (content, block, separator, body) in [
            ("A: 1\r\n\r\nbody\r\n", "A: 1\r\n", true, "body\r\n"),
            ("A: 1\r\nB:\r\n\t2\r\n\r\n", "A: 1\r\nB:\r\n\t2\r\n", true, ""),
            ("A: 1\r\n", "A: 1\r\n", false, ""),
            ("A \t: 1\r\n\r\n", "A \t: 1\r\n", true, ""),
            ("\r\nA: 1\r\n", "", true, "A: 1\r\n"),
            ("no field here\r\nA: 1\r\n", "", false, "no field here\r\nA: 1\r\n"),
            ("A: 1\r\nno field\r\n\r\nx", "A: 1\r\n", false, "no field\r\n\r\nx"),
            ("A: 1\r\n: no name\r\n", "A: 1\r\n", false, ": no name\r\n"),
            (" folded at first\r\nA: 1\r\n\r\n", "", false, " folded at first\r\nA: 1\r\n\r\n"),
            ("From me@x Mon\r\nA: 1\r\n", "", false, "From me@x Mon\r\nA: 1\r\n"),
            ("\u{fc}: 1\r\n\r\n", "", false, "\u{fc}: 1\r\n\r\n"),
            ("A: \u{fc}\n\rB: x\r\n \r\nC: 1\r\n\r\nb", "A: \u{fc}\n\rB: x\r\n \r\nC: 1\r\n", true, "b"),
            ("A: 1", "", false, "A: 1"),
            ("A: 1\r\n\r", "A: 1\r\n", false, "\r"),
            ("", "", false, ""),
        ] {
            for size in 1..=content.len().max(1) {
                let (header, found, rest) = split(content.as_bytes(), size, 1000).unwrap();
                assert_eq!(std::str::from_utf8(header.block()), Ok(block), "{content:?} by {size}");
                assert_eq!((found, std::str::from_utf8(&rest)), (separator, Ok(body)), "{content:?} by {size}");
                assert_eq!(header, Header::parse(header.block().clone()), "{content:?} by {size}");
            }
        }
    }

    #[test]
    fn the_section_is_bounded_and_the_body_is_not() {
        let header = format!("A: {}\r\n", "x".repeat(100));
        let content = format!("{header}\r\n{}", "b".repeat(5000));
        for size in [1, 7, 5000] {
            assert!(split(content.as_bytes(), size, header.len()).is_ok());
            assert_eq!(split(content.as_bytes(), size, header.len() - 1), Err(HeaderError::TooLarge));
            assert_eq!(split(content.as_bytes(), size, 50), Err(HeaderError::TooLarge));
        }
        let (_, _, body) = split("b".repeat(5000).as_bytes(), 10, 2000).unwrap();
        assert_eq!(body.len(), 5000, "a line without a colon is body as soon as it is longer than any name");
        let (_, _, body) = split("no field ".repeat(500).as_bytes(), 1, 20).unwrap();
        assert_eq!(body.len(), 4500, "and at once where it can't become a field");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_and_cuts_do_not_matter(content in "[aA: \t\r\nü]{0,60}") {
            fuzz_header(content.as_bytes());
        }
    }
}
