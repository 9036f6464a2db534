//! Transparency in the direction of the next hop (RFC 5321 section 4.5.2): a dot at the start of a line is doubled.
//!
//! Pure, and copies nothing: content goes in by pieces and comes out as slices of itself with dots between them. Lines
//! end in CRLF and in nothing else (section 2.3.8), so a dot after a bare CR or LF is left alone. Must never change
//! content otherwise, but for the CRLF that content without one at its end has to be given before the final dot.

use memchr::{memchr, memmem};

use super::dot::{Decoder, Piece};

/// Where there is a dot, more of them are expected for so many octets.
const DOTTED: usize = 4096;

/// The state between two pieces of content.
#[derive(Debug)]
pub struct Encoder {
    place: Place,
    needle: memmem::Finder<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the start, or after CRLF.
    LineStart,
    /// After CR.
    Cr,
    /// Anywhere else.
    Inside,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { place: Place::LineStart, needle: memmem::Finder::new(b"\r\n.") }
    }
}

impl Encoder {
    /// Appends the wire form of the next piece.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() + 8);
        for slice in self.slices(piece) {
            out.extend_from_slice(slice);
        }
    }

    /// The wire form of the next piece as slices of it. A slice ends before a dot that begins a line, so that the next,
    /// a dot of its own, doubles it.
    pub fn slices<'a>(&mut self, piece: &'a [u8]) -> Slices<'a, '_> {
        let before = self.place;
        self.place = after(before, piece);
        // A dot that begins a line although the CRLF before it came with an earlier piece.
        let early = match before {
            Place::LineStart if piece.starts_with(b".") => Some(0),
            Place::Cr if piece.starts_with(b"\n.") => Some(1),
            _ => None,
        };
        Slices { left: piece, early, dot: false, needle: &self.needle }
    }

    /// What ends the content: the final dot, on a line of its own.
    pub fn finish(self) -> &'static [u8] {
        // RFC 5321 section 4.1.1.4: the CRLF before the dot is the content's own last one, and for empty content that of
        // the DATA command.
        if self.place == Place::LineStart { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

/// See [`Encoder::slices`].
#[derive(Debug)]
pub struct Slices<'a, 'e> {
    left: &'a [u8],
    early: Option<usize>,
    dot: bool,
    needle: &'e memmem::Finder<'static>,
}

impl<'a> Iterator for Slices<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if std::mem::take(&mut self.dot) {
            return Some(b".");
        }
        let end = match self.early.take() {
            Some(end) => Some(end),
            None => self.next_dot(),
        };
        let (slice, left) = end.and_then(|end| self.left.split_at_checked(end)).unwrap_or((self.left, &[]));
        self.left = left;
        self.dot = end.is_some();
        if slice.is_empty() {
            return std::mem::take(&mut self.dot).then_some(b".");
        }
        Some(slice)
    }
}

impl Slices<'_, '_> {
    /// Where the next dot is, in what is left, that begins a line behind a CRLF. Most of large mail is base64, which has no
    /// dot: one octet is found in a fraction of the time that three take. Where there are dots, ends of lines are rarer.
    fn next_dot(&self) -> Option<usize> {
        let mut from = 0;
        loop {
            let dot = from + memchr(b'.', self.left.get(from..)?)?;
            let start = dot.saturating_sub(2);
            let dotted = self.left.get(start..)?;
            let dotted = dotted.get(..DOTTED).unwrap_or(dotted);
            if let Some(at) = self.needle.find(dotted) {
                return Some(start + at + 2);
            }
            // Behind the dot at least: a window that ends within CRLF and dot is looked at again from that dot.
            from = start + dotted.len();
        }
    }
}

fn after(before: Place, piece: &[u8]) -> Place {
    match piece {
        [] => before,
        [b'\n'] if before == Place::Cr => Place::LineStart,
        [.., b'\r', b'\n'] => Place::LineStart,
        [.., b'\r'] => Place::Cr,
        _ => Place::Inside,
    }
}

/// Entry for fuzzing: the relay's own decoder gives back what went in, however it is cut.
#[doc(hidden)]
pub fn fuzz_encoder(octets: &[u8]) {
    let mut wanted = octets.to_vec();
    if !wanted.is_empty() && !wanted.ends_with(b"\r\n") {
        wanted.extend_from_slice(b"\r\n");
    }
    for size in [1, 2, 3, 7, octets.len().max(1)] {
        let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
        octets.chunks(size).for_each(|piece| encoder.push(piece, &mut wire));
        wire.extend_from_slice(encoder.finish());
        let (mut decoder, mut input, mut data, mut ended) = (Decoder::default(), &*wire, Vec::new(), false);
        while let Some(piece) = decoder.pull(&mut input) {
            match piece {
                Piece::Data(piece) => data.extend_from_slice(piece),
                Piece::End => {
                    ended = true;
                    break;
                }
            }
        }
        assert!(ended && input.is_empty(), "by {size}: the end is where it is meant");
        assert_eq!(data, wanted, "by {size}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(content: &[u8], step: usize) -> Vec<u8> {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        for piece in content.chunks(step.max(1)) {
            encoder.push(piece, &mut out);
        }
        out.extend_from_slice(encoder.finish());
        out
    }

    /// By the book: lines end in CRLF, the first that is a lone dot ends the content, other first dots go.
    fn decode(wire: &[u8]) -> Vec<u8> {
        let (mut content, mut left) = (Vec::new(), wire);
        while !left.starts_with(b".\r\n") {
            let end = memmem::find(left, b"\r\n").expect("content ends in CRLF.CRLF") + 2;
            content.extend_from_slice(left[..end].strip_prefix(b".").unwrap_or(&left[..end]));
            left = &left[end..];
        }
        assert_eq!(left, b".\r\n", "nothing follows the final dot");
        content
    }

    #[test]
    fn dots_and_ends() {
        let table: &[(&str, &str)] = &[
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("\r\n", "\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\n", "a\n\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
            (".\r\n.\r\n", "..\r\n..\r\n.\r\n"),
            ("a\n.\nb.\r.\r\n", "a\n.\nb.\r.\r\n.\r\n"),
            ("a..\r\n..b\r\n", "a..\r\n...b\r\n.\r\n"),
        ];
        for (content, want) in table {
            for step in 1..=4 {
                assert_eq!(String::from_utf8_lossy(&encode(content.as_bytes(), step)), *want, "{content:?} by {step}");
            }
        }
    }

    #[test]
    fn content_without_dots_comes_out_as_one_slice_of_itself() {
        let content = b"Subject: x\r\n\r\nhello. there.\r\n";
        let mut encoder = Encoder::default();
        let slices: Vec<_> = encoder.slices(content).collect();
        assert_eq!(slices.len(), 1);
        assert!(std::ptr::eq(slices[0], content.as_slice()));
    }

    #[test]
    fn dots_are_found_wherever_a_window_of_the_search_ends() {
        for (at, gap) in (DOTTED - 8..DOTTED + 8).flat_map(|at| [0, 1, 2, 3, 90].map(|gap| (at, gap))) {
            for early in [".", "a.", "ab.", "\r\nab."] {
                let text = |len: usize| "x".repeat(len);
                let content = format!("{early}{}\r\n.b{}.\r\n.\r\n..c\n.\r.", text(at), text(gap));
                let want = content.replace("\r\n.", "\r\n..");
                let want = if early == "." { format!(".{want}") } else { want };
                let wire = encode(content.as_bytes(), content.len());
                assert!(wire == format!("{want}\r\n.\r\n").into_bytes(), "{early:?}, {at}, {gap}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(content in "[a.\r\n]{0,40}", step in 1usize..9) {
            let content = content.as_bytes();
            fuzz_encoder(content);
            let whole = encode(content, content.len());
            prop_assert_eq!(&encode(content, step), &whole);
            let mut want = content.to_vec();
            if !want.is_empty() && !want.ends_with(b"\r\n") {
                want.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(decode(&whole), want);
        }
    }
}
