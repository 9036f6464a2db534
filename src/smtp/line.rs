//! Cuts a stream of octets into command lines.
//!
//! Only CRLF ends a line (RFC 5321 section 2.3.8): a line that holds a bare CR or LF is one bad line, never two. A line
//! longer than its limit is thrown away as it comes, up to its CRLF, so memory stays bounded whatever a client sends.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// Octets received and not yet cut.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: BytesMut,
    /// No line ends before this place.
    seen: usize,
    /// Inside a line that is too long.
    skipping: bool,
}

/// What was cut.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// A line, without its CRLF.
    Line(Bytes),
    /// A whole line with a CR or LF inside.
    BareControl,
    /// A whole line that passed the limit; its octets are gone.
    TooLong,
}

impl Lines {
    /// Takes in what was received.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole line of at most `limit` octets, CRLF included; none if it has not come yet. With `lf` a bare LF ends
    /// one too.
    pub fn cut(&mut self, limit: usize, lf: bool) -> Option<Cut> {
        let Some((end, after)) = self.find_end(lf) else {
            self.bound(limit);
            return None;
        };
        let line = self.buffer.split_to(after).freeze();
        self.seen = 0;
        if self.buffer.is_empty() {
            // Nothing waits: what the octets came in must not be held by a client that says nothing more.
            self.buffer = BytesMut::new();
        }
        if std::mem::take(&mut self.skipping) || line.len() > limit {
            return Some(Cut::TooLong);
        }
        let line = line.slice(..end);
        let cut = if memchr2(b'\r', b'\n', &line).is_some() { Cut::BareControl } else { Cut::Line(line) };
        Some(cut)
    }

    /// Where the first line ends, and where the next begins.
    fn find_end(&mut self, any: bool) -> Option<(usize, usize)> {
        while let Some(at) = self.buffer.get(self.seen..).and_then(|rest| memchr(b'\n', rest)) {
            let lf = self.seen + at;
            self.seen = lf + 1;
            if lf > 0 && self.buffer.get(lf - 1) == Some(&b'\r') {
                return Some((lf - 1, lf + 1));
            }
            if any {
                return Some((lf, lf + 1));
            }
        }
        self.seen = self.buffer.len();
        None
    }

    /// Throws away what can't become a line within the limit any more.
    fn bound(&mut self, limit: usize) {
        if !self.skipping && self.buffer.len() < limit {
            return;
        }
        self.skipping = true;
        // The CR of the CRLF that ends the line may be here already.
        let cr = self.buffer.ends_with(b"\r");
        self.buffer.clear();
        if cr {
            self.buffer.extend_from_slice(b"\r");
        }
        self.seen = self.buffer.len();
    }

    /// True if the line that comes next begins so, whatever its case.
    pub fn starts_with(&self, word: &[u8]) -> bool {
        self.buffer.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    }

    /// True without octets that wait.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && !self.skipping
    }

    /// Everything that waits, uncut: it is no line of commands.
    pub fn take(&mut self) -> Bytes {
        self.seen = 0;
        self.skipping = false;
        self.buffer.split().freeze()
    }
}

impl Lines {
    /// At most `most` octets of what waits, uncut.
    pub fn take_up_to(&mut self, most: usize) -> Bytes {
        self.seen = 0;
        self.skipping = false;
        self.buffer.split_to(most.min(self.buffer.len())).freeze()
    }
}

/// Entry for fuzzing: memory is bounded, and how the octets are cut into pieces changes nothing.
#[doc(hidden)]
pub fn fuzz_lines(octets: &[u8]) {
    const LIMIT: usize = 64;
    let mut whole = Lines::default();
    whole.push(octets);
    let whole: Vec<Cut> = std::iter::from_fn(|| whole.cut(LIMIT, false)).collect();
    let (mut lines, mut cuts) = (Lines::default(), Vec::new());
    for piece in octets.chunks(3) {
        lines.push(piece);
        cuts.extend(std::iter::from_fn(|| lines.cut(LIMIT, false)));
        assert!(lines.buffer.len() <= LIMIT + 3, "memory grows with a line");
    }
    assert_eq!(whole, cuts, "pieces matter");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(octets: &[u8], size: usize, limit: usize) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for piece in octets.chunks(size) {
            lines.push(piece);
            while let Some(cut) = lines.cut(limit, false) {
                all.push(match cut {
                    Cut::Line(line) => String::from_utf8(line.to_vec()).unwrap(),
                    other => format!("{other:?}"),
                });
            }
        }
        all
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for (octets, wanted) in [
            ("NOOP\r\nQUIT\r\n", vec!["NOOP", "QUIT"]),
            ("NOOP\nQUIT\r\n", vec!["BareControl"]),
            ("NOOP\rQUIT\r\n", vec!["BareControl"]),
            ("NOOP\n\rQUIT\r\nRSET\r\n", vec!["BareControl", "RSET"]),
            ("NOOP\r\r\nRSET\r\n", vec!["BareControl", "RSET"]),
            ("\r\n\r\n", vec!["", ""]),
            ("NOOP\n", vec![]),
            ("NOOP\r", vec![]),
        ] {
            for size in 1..=octets.len() {
                assert_eq!(cuts(octets.as_bytes(), size, 100), wanted, "{octets:?} by {size}");
            }
        }
    }

    #[test]
    fn a_bare_lf_ends_a_line_where_it_may() {
        let mut lines = Lines::default();
        lines.push(b"NOOP\nRSET\r\nA\rB\n");
        let cut = |lines: &mut Lines| lines.cut(100, true);
        assert_eq!(cut(&mut lines), Some(Cut::Line("NOOP".into())));
        assert_eq!(cut(&mut lines), Some(Cut::Line("RSET".into())));
        assert_eq!((cut(&mut lines), cut(&mut lines)), (Some(Cut::BareControl), None));
    }

    #[test]
    fn a_line_too_long_is_one_bad_line_and_is_not_kept() {
        let octets = format!("{}\nx\rQUIT\r\nNOOP\r\n", "a".repeat(50));
        for size in 1..=octets.len() {
            assert_eq!(cuts(octets.as_bytes(), size, 20), ["TooLong", "NOOP"], "by {size}");
        }
        assert_eq!(cuts(b"123456\r\n1234567\r\n", 3, 8), ["123456", "TooLong"]);
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.push(&[b'a'; 100]);
            assert_eq!(lines.cut(512, false), None);
            assert!(lines.buffer.len() < 512);
        }
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(octets in proptest::collection::vec(
            proptest::sample::select(vec![b'a', b'\r', b'\n', b' ']), 0..200)) {
            fuzz_lines(&octets);
        }
    }
}
