//! What mail data looks like as text: where lines begin, and what must not be in it.
//!
//! Only CRLF ends a line (RFC 5321 section 2.3.8). A bare CR or LF, a NUL and a line that is too long are remembered; what
//! is to be done about them is for others to say. Pure, in whatever pieces the data comes. Nearly all mail is clean: that
//! is told of many lines at a time, and only what is not is read line by line.

use bytes::BytesMut;
use memchr::{memchr3, memmem, memrchr};

/// As many octets are looked over at a time: they are read more than once, so they should stay close by.
const WINDOW: usize = 16 * 1024;

/// Fewer are read line by line at once.
const WORTH_IT: usize = 128;

/// The state of the reading, between any two octets.
#[derive(Debug)]
pub struct Text {
    place: Place,
    bare: bool,
    nul: bool,
    /// Octets of the line under way.
    line: usize,
    /// A line may have so many, its CRLF included.
    limit: usize,
    long: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
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
    /// Where a line has at most `limit` octets, its CRLF included.
    pub fn new(limit: usize) -> Self {
        Self { place: Place::default(), bare: false, nul: false, line: 0, limit, long: false }
    }

    /// Reads on; up to a dot at the start of a line with `to_dot`, else all of it. Returns how many octets that were.
    pub fn run(&mut self, octets: &[u8], to_dot: bool) -> usize {
        let mut at = 0;
        loop {
            let rest = octets.get(at..).unwrap_or_default();
            match (self.place, rest.first()) {
                (_, None) => return at,
                (Place::LineStart, Some(b'.')) if to_dot => return at,
                (Place::LineStart, _) if rest.len() >= WORTH_IT => at += self.run_lines(rest, to_dot),
                _ => at += self.run_piece(rest),
            }
        }
    }

    /// From the start of a line over whole lines, as many as can be told to be clean at once, or piece by piece if they are
    /// not; how many octets that are. No octet is looked at more than a few times, whatever comes.
    fn run_lines(&mut self, octets: &[u8], to_dot: bool) -> usize {
        let window = octets.get(..WINDOW).unwrap_or(octets);
        // A dot at the start of a line may be an end: nothing is read past it.
        let dot = if to_dot { memmem::find(window, b"\n.").map(|at| at + 1) } else { None };
        let window = window.get(..dot.unwrap_or(window.len())).unwrap_or_default();
        let Some(lines) = memrchr(b'\n', window).and_then(|at| window.get(..=at)) else {
            return self.run_piece(octets);
        };
        if is_clean(lines) && !has_longer(lines, self.limit) {
            return lines.len();
        }
        let mut at = 0;
        while at < lines.len() {
            at += self.run_piece(lines.get(at..).unwrap_or_default());
        }
        at
    }

    /// Up to and with the next CR, LF, NUL or CRLF; how many octets that are, one at least.
    fn run_piece(&mut self, octets: &[u8]) -> usize {
        if self.place == Place::AfterCr {
            if octets.first() == Some(&b'\n') {
                self.grow(1);
                self.end_line();
                return 1;
            }
            self.bare_cr();
        }
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
        self.long |= self.line > self.limit;
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

    /// A line has more octets than it may.
    pub fn saw_long(&self) -> bool {
        self.long
    }
}

/// Whether every CR is followed by LF, every LF comes after CR, and there is no NUL; the first octet has nothing before it.
///
/// Without a branch or a place in it, so that the compiler makes it look at many octets at a time.
fn is_clean(lines: &[u8]) -> bool {
    let Some((first, after)) = lines.split_first() else { return true };
    let pair = |(one, next): (&u8, &u8)| u8::from((*one == b'\r') ^ (*next == b'\n')) | u8::from(*next == 0);
    let unclean = lines.iter().zip(after).map(pair).fold(0, |all, one| all | one);
    let last = lines.last().is_some_and(|last| *last == b'\r');
    unclean == 0 && !last && *first != b'\n' && *first != 0
}

/// Whether one of these lines, each with its end, has more octets than `limit`. Looks at a few of them only.
fn has_longer(lines: &[u8], limit: usize) -> bool {
    let mut rest = lines;
    while rest.len() > limit {
        let Some(end) = rest.get(..limit).and_then(|within| memrchr(b'\n', within)) else { return true };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
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

    fn read(octets: &[u8], size: usize, limit: usize) -> Text {
        let mut text = Text::new(limit);
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
                let text = read(octets.as_bytes(), size, longest);
                assert_eq!(
                    (text.saw_bare(), text.saw_nul(), text.saw_long()),
                    (bare, nul, false),
                    "{octets:?} by {size}"
                );
                assert!(longest == 0 || read(octets.as_bytes(), size, longest - 1).saw_long(), "{octets:?} by {size}");
            }
        }
        assert!(read(b"a\r", 1, 9).ends_in_cr() && !read(b"a\r\n", 1, 9).ends_in_cr());
    }

    /// Octet by octet: where it stopped, and what was seen.
    fn read_slowly(octets: &[u8], to_dot: bool, limit: usize) -> (usize, bool, bool, bool) {
        let (mut line, mut start, mut bare, mut nul, mut long) = (0, true, false, false, false);
        for (at, octet) in octets.iter().enumerate() {
            let cr = at > 0 && octets[at - 1] == b'\r';
            if to_dot && start && *octet == b'.' {
                return (at, bare, nul, long);
            }
            line += 1;
            long |= line > limit;
            nul |= *octet == 0;
            bare |= cr != (*octet == b'\n');
            start = cr && *octet == b'\n';
            if *octet == b'\n' {
                line = 0;
            }
        }
        (octets.len(), bare, nul, long)
    }

    #[test]
    fn many_lines_at_once_are_read_as_one_by_one() {
        let pieces: [&[u8]; 12] = [
            b"\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b".",
            b"\r\n.",
            b"\n.",
            b"x",
            b"line\r\n",
            &[b'y'; 200],
            &[b'z'; 3000],
        ];
        let mut random = fastrand::Rng::with_seed(7);
        let mut seen = [0; 3];
        for round in 0..4000 {
            // Most of it is clean, as mail is.
            let unclean = round % 4 == 0;
            let mut octets = Vec::new();
            for _ in 0..random.usize(1..60) {
                let any = if unclean { random.usize(0..12) } else { [0, 8, 9, 9, 9, 10, 11][random.usize(0..7)] };
                octets.extend_from_slice(pieces[any]);
            }
            for (to_dot, limit) in [(true, usize::MAX), (false, usize::MAX), (true, 250), (false, 3000)] {
                let mut text = Text::new(limit);
                let at = text.run(&octets, to_dot);
                let bare = text.saw_bare() || (text.ends_in_cr() && at < octets.len());
                let wanted = read_slowly(&octets, to_dot, limit);
                assert_eq!((at, bare, text.saw_nul(), text.saw_long()), wanted, "{}", octets.escape_ascii());
                let what = [bare, text.saw_nul(), text.saw_long()];
                seen.iter_mut().zip(what).for_each(|(count, is)| *count += usize::from(is));
            }
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }

    #[test]
    fn lines_longer_than_a_window_and_lines_across_its_end() {
        for len in [WINDOW - 2, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW] {
            let line = [vec![b'a'; len - 2], b"\r\n".to_vec()].concat();
            let lines = [b"short\r\n".to_vec(), line.clone(), line, b"end\r\n.\r\n".to_vec()].concat();
            for (limit, long) in [(len, false), (len - 1, true)] {
                let mut text = Text::new(limit);
                assert_eq!(text.run(&lines, true), lines.len() - 3);
                assert_eq!((text.saw_bare(), text.saw_nul(), text.saw_long()), (false, false, long), "{len}");
            }
        }
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
                let text = read(&out, out.len(), usize::MAX);
                assert!(!text.saw_bare() && !text.saw_nul());
            }
        }
    }
}
