//! What mail data looks like as text: where lines begin, and what must not be in it.
//!
//! Only CRLF ends a line (RFC 5321 section 2.3.8). A bare CR or LF and a NUL are remembered, and how long the longest line
//! was; what is to be done about them is for others to say. Pure, in whatever pieces the data comes.

use bytes::BytesMut;
use memchr::memchr3;

/// The state of the reading, between any two octets.
#[derive(Debug, Default)]
pub struct Text {
    place: Place,
    bare: bool,
    nul: bool,
    /// Octets of the line under way.
    line: usize,
    longest: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// CRLF, or nothing yet.
    #[default]
    LineStart,
    /// Something inside a line.
    Inside,
    /// A CR inside a line.
    AfterCr,
}

impl Text {
    /// Reads on; up to a dot at the start of a line with `to_dot`, else all of it. Returns how many octets that were.
    pub fn run(&mut self, octets: &[u8], to_dot: bool) -> usize {
        let mut at = 0;
        loop {
            let rest = octets.get(at..).unwrap_or_default();
            match (self.place, rest.first()) {
                (_, None) => return at,
                (Place::LineStart, Some(b'.')) if to_dot => return at,
                (Place::AfterCr, Some(b'\n')) => {
                    at += 1;
                    self.grow(1);
                    self.end_line();
                }
                (Place::AfterCr, _) => self.bare_cr(),
                _ => at += self.run_line(rest),
            }
        }
    }

    /// Up to and with the next CR, LF, NUL or CRLF; how many octets that are.
    fn run_line(&mut self, octets: &[u8]) -> usize {
        self.place = Place::Inside;
        let Some(at) = memchr3(b'\r', b'\n', 0, octets) else {
            self.grow(octets.len());
            return octets.len();
        };
        self.grow(at + 1);
        match (octets.get(at), octets.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                self.grow(1);
                self.end_line();
                return at + 2;
            }
            (Some(b'\r'), _) => self.place = Place::AfterCr,
            (Some(0), _) => self.nul = true,
            _ => {
                self.bare = true;
                // Whoever takes it for a line's end all the same has lines of this length.
                self.line = 0;
            }
        }
        at + 1
    }

    fn grow(&mut self, octets: usize) {
        self.line = self.line.saturating_add(octets);
        self.longest = self.longest.max(self.line);
    }

    fn end_line(&mut self) {
        self.place = Place::LineStart;
        self.line = 0;
    }

    /// The CR that came last ends no line.
    pub(super) fn bare_cr(&mut self) {
        self.bare = true;
        self.place = Place::Inside;
    }

    /// A dot at the start of a line, that is no part of the data, was passed over.
    pub(super) fn leave_line_start(&mut self) {
        self.place = Place::Inside;
    }

    /// The end of the data was found.
    pub(super) fn ended(&mut self) {
        self.end_line();
    }

    /// True where a line begins.
    pub fn at_line_start(&self) -> bool {
        self.place == Place::LineStart
    }

    /// A CR without LF or an LF without CR was seen; at the end of data a last CR counts too.
    pub fn saw_bare(&self) -> bool {
        self.bare
    }

    /// The data ends in a CR: bare, if nothing follows.
    pub fn ends_in_cr(&self) -> bool {
        self.place == Place::AfterCr
    }

    /// A NUL was seen.
    pub fn saw_nul(&self) -> bool {
        self.nul
    }

    /// Octets of the longest line, its CRLF included.
    pub fn longest_line(&self) -> usize {
        self.longest
    }
}

/// Mends what senders of old get wrong, so that everybody after us reads the same lines as we do: a bare LF becomes CRLF, a bare
/// CR and a NUL become a space. What looks like the end of data by that is data, and is stuffed like any other on its way
/// out.
#[derive(Debug, Default)]
pub struct Normaliser {
    /// A CR that was not given out yet.
    cr: bool,
}

impl Normaliser {
    /// Appends the mended form of the next octets.
    pub fn push(&mut self, octets: &[u8], out: &mut BytesMut) {
        let mut rest = octets;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.cr) {
                if *first == b'\n' {
                    out.extend_from_slice(b"\r\n");
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                out.extend_from_slice(b" ");
            }
            let at = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            let (clean, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            out.extend_from_slice(clean);
            match after.first() {
                Some(b'\r') => self.cr = true,
                Some(b'\n') => out.extend_from_slice(b"\r\n"),
                Some(_) => out.extend_from_slice(b" "),
                None => {}
            }
            rest = after.get(1..).unwrap_or_default();
        }
    }

    /// Nothing follows.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.cr) {
            out.extend_from_slice(b" ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8], size: usize) -> Text {
        let mut text = Text::default();
        for piece in octets.chunks(size) {
            assert_eq!(text.run(piece, false), piece.len());
        }
        text
    }

    #[test]
    fn what_must_not_be_there_is_seen() {
        for (octets, bare, nul, longest) in [
            ("", false, false, 0),
            ("abc\r\nde\r\n", false, false, 5),
            ("abc\r\nd\ne\r\n", true, false, 5),
            ("a\rb\r\n", true, false, 5),
            ("a\0b\r\n", false, true, 5),
            ("a\r\r\n", true, false, 4),
            ("abcdef", false, false, 6),
        ] {
            for size in 1..=octets.len().max(1) {
                let text = read(octets.as_bytes(), size);
                let seen = (text.saw_bare(), text.saw_nul(), text.longest_line());
                assert_eq!(seen, (bare, nul, longest), "{octets:?} by {size}");
            }
        }
        assert!(read(b"a\r", 1).ends_in_cr() && !read(b"a\r\n", 1).ends_in_cr());
    }

    #[test]
    fn lines_are_mended() {
        for (octets, mended) in [
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\rb\r", "a b "),
            ("a\r\r\nb\0", "a \r\nb "),
            ("\n.\n", "\r\n.\r\n"),
        ] {
            for size in 1..=octets.len() {
                let (mut normaliser, mut out) = (Normaliser::default(), BytesMut::new());
                octets.as_bytes().chunks(size).for_each(|piece| normaliser.push(piece, &mut out));
                normaliser.finish(&mut out);
                assert_eq!(out, mended.as_bytes(), "{octets:?} by {size}");
                let text = read(&out, out.len());
                assert!(!text.saw_bare() && !text.saw_nul());
            }
        }
    }
}
