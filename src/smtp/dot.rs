//! Transparency (RFC 5321 section 4.5.2) on the way in: finds the end of mail data and takes stuffed dots away.
//!
//! Only CRLF, dot, CRLF ends the data; a dot beside a bare CR or LF is data, so two relays can't disagree about where a
//! message ends. That bare ones were seen is remembered, for the message to be refused. Holds no line in memory: what
//! comes out are slices of what went in, as long as can be.

use super::text::Text;

/// The state of the decoding, between any two octets.
#[derive(Debug, Default)]
pub struct Decoder {
    dot: Dot,
    text: Text,
}

/// How much of an end of data has been read and not given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dot {
    /// Nothing.
    #[default]
    None,
    /// A dot at the start of a line.
    Seen,
    /// A CR after that.
    Cr,
}

/// What `pull` took from the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Mail data.
    Data(&'a [u8]),
    /// The end of mail data. What is left of the input is not part of it.
    End,
}

impl Decoder {
    /// Takes the next piece from the front of `input`; none when nothing is left of it.
    pub fn pull<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            let (first, rest) = input.split_first()?;
            match (self.dot, first) {
                (Dot::None, b'.') if self.text.at_line_start() => {
                    self.dot = Dot::Seen;
                    *input = rest;
                }
                (Dot::Seen, b'\r') => {
                    self.dot = Dot::Cr;
                    *input = rest;
                }
                (Dot::Cr, b'\n') => {
                    self.dot = Dot::None;
                    self.text.ended();
                    *input = rest;
                    return Some(Piece::End);
                }
                (Dot::Cr, _) => {
                    self.dot = Dot::None;
                    self.text.bare_cr();
                    return Some(Piece::Data(b"\r"));
                }
                (Dot::Seen, _) => {
                    self.dot = Dot::None;
                    self.text.leave_line_start();
                }
                (Dot::None, _) => return Some(Piece::Data(self.run(input))),
            }
        }
    }

    /// Everything up to the next dot at the start of a line. Never called at such a dot, so it takes something.
    fn run<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let octets = *input;
        let (data, rest) = octets.split_at_checked(self.text.run(octets, true)).unwrap_or((octets, &[]));
        *input = rest;
        data
    }

    /// Reads octets in which dots mean nothing: those of a chunk (RFC 3030).
    pub fn pass(&mut self, octets: &[u8]) {
        self.text.run(octets, false);
    }

    /// What was seen of the data. A CR without LF or an LF without CR has no place in it (RFC 5321 section 2.3.8).
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// True once a bare CR or LF was seen.
    pub fn saw_bare(&self) -> bool {
        self.text.saw_bare()
    }
}

/// Entry for fuzzing: agrees with an octet-by-octet reading of the standard, however the input is cut.
#[doc(hidden)]
pub fn fuzz_decoder(octets: &[u8]) {
    let wanted = plain(octets);
    for size in [1, 2, 3, 7, octets.len().max(1)] {
        let mut decoder = Decoder::default();
        let (mut data, mut left) = (Vec::new(), None::<usize>);
        'pieces: for (number, piece) in octets.chunks(size).enumerate() {
            let (mut input, piece_len) = (piece, piece.len());
            while let Some(piece) = decoder.pull(&mut input) {
                match piece {
                    Piece::Data(octets) => data.extend_from_slice(octets),
                    Piece::End => {
                        left = Some(number * size + piece_len - input.len());
                        break 'pieces;
                    }
                }
            }
        }
        match &wanted {
            Some((whole, at)) => assert_eq!((&data, left), (whole, Some(*at)), "by {size}"),
            None => assert_eq!(left, None, "by {size}"),
        }
    }
}

/// The data and where its end marker ends, found the slow way.
fn plain(octets: &[u8]) -> Option<(Vec<u8>, usize)> {
    let at =
        if octets.starts_with(b".\r\n") { 0 } else { memchr::memmem::find(octets, b"\r\n.\r\n").map(|at| at + 2)? };
    let mut data = Vec::new();
    let mut line_start = true;
    for (place, octet) in octets.iter().take(at).enumerate() {
        if !(line_start && *octet == b'.') {
            data.push(*octet);
        }
        line_start = *octet == b'\n' && place > 0 && octets.get(place - 1) == Some(&b'\r');
    }
    Some((data, at + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, what followed its end if it was found, and whether bare ones were seen.
    fn decode(octets: &[u8]) -> (String, Option<String>, bool) {
        let mut decoder = Decoder::default();
        let (mut input, mut data) = (octets, Vec::new());
        while let Some(piece) = decoder.pull(&mut input) {
            match piece {
                Piece::Data(octets) => data.extend_from_slice(octets),
                Piece::End => {
                    let rest = String::from_utf8(input.to_vec()).unwrap();
                    return (String::from_utf8(data).unwrap(), Some(rest), decoder.saw_bare());
                }
            }
        }
        (String::from_utf8(data).unwrap(), None, decoder.saw_bare())
    }

    #[test]
    fn the_end_is_found_and_dots_are_unstuffed() {
        for (wire, data, rest) in [
            (".\r\n", "", ""),
            ("a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n"),
            ("..\r\n...a\r\nb.\r\n.\r\n", ".\r\n..a\r\nb.\r\n", ""),
            (".a\r\n.\r\n", "a\r\n", ""),
            ("\r\n\r\n.\r\n", "\r\n\r\n", ""),
        ] {
            assert_eq!(decode(wire.as_bytes()), (data.into(), Some(rest.into()), false), "{wire:?}");
            fuzz_decoder(wire.as_bytes());
        }
    }

    #[test]
    fn no_other_sequence_ends_the_data() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n.\r\r\n",
            "\n.\r",
            "\r\n\n.\r\n",
            "\r\r\n\r.\r\n",
            "\r\n.\r.\r\n",
            "\n\r\n\r.\r\n",
        ] {
            let wire = format!("a{smuggled}MAIL FROM:<evil@example>\r\n");
            let (_, rest, bare) = decode(wire.as_bytes());
            assert_eq!((rest, bare), (None, true), "{smuggled:?}");
            let (data, rest, bare) = decode(format!("{wire}.\r\nQUIT\r\n").as_bytes());
            assert_eq!((rest.as_deref(), bare), (Some("QUIT\r\n"), true), "{smuggled:?}");
            assert!(data.contains("MAIL FROM"), "{smuggled:?}");
            fuzz_decoder(format!("{wire}.\r\nQUIT\r\n").as_bytes());
        }
    }

    #[test]
    fn slices_are_as_long_as_can_be() {
        let wire = format!("{}..stuffed\r\nlast\r\n.\r\n", "line\r\n".repeat(100));
        let mut decoder = Decoder::default();
        let mut input = wire.as_bytes();
        let lengths: Vec<_> = std::iter::from_fn(|| decoder.pull(&mut input))
            .map(|piece| if let Piece::Data(octets) = piece { octets.len() } else { 0 })
            .collect();
        assert_eq!(lengths, [600, 16, 0]);
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_plain_reading(octets in proptest::collection::vec(
            proptest::sample::select(vec![b'a', b'\r', b'\n', b'.']), 0..100)) {
            fuzz_decoder(&octets);
        }
    }
}
