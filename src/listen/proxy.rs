//! The header of the PROXY protocol, versions 1 and 2: who the client is, when a proxy stands before the relay.
//!
//! Pure: octets in, addresses out. It never asks for an octet beyond the header, since what follows is the client's, perhaps
//! the start of a handshake; and it keeps no more than [`LONGEST`]. Whether the peer may say this at all is decided elsewhere.

use std::net::SocketAddr;

use ppp::v1;
use ppp::v2::{self, Addresses, Protocol};

/// Octets of a header, all told. Version 1 ends by 107; version 2 would allow 64 KiB, of which addresses and the usual
/// additions (TLS facts, ids of clouds) take a few hundred.
pub(crate) const LONGEST: usize = 4096;

/// With its final CRLF: section 2.1 of the specification.
const LONGEST_V1: usize = 107;
/// The shortest header of version 1, `PROXY UNKNOWN` and CRLF; below that of version 2, which has 16.
const SHORTEST: usize = 15;
/// Of version 2: signature, version and command, family and protocol, length.
const FIXED_V2: usize = 16;

/// Whom a header speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proxied {
    /// The proxy itself, as for its health checks, or a client of which it knows nothing.
    Itself,
    /// A client, and where it connected to.
    Client {
        /// Its own address.
        source: SocketAddr,
        /// Of the proxy's door.
        destination: SocketAddr,
    },
    /// A client of a Unix socket, on the proxy's machine.
    Local,
}

/// Why there is no header. The connection is of no use then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    /// Something else came.
    #[error("no PROXY header: the proxy must be told to send one")]
    Missing,
    /// The connection ended or broke within it.
    #[error("the connection ended within the PROXY header")]
    Cut,
    /// It took too long.
    #[error("the PROXY header did not come in time")]
    Late,
    /// It is longer than the protocol or this relay allows.
    #[error("a PROXY header of {0} octets")]
    TooLong(usize),
    /// It makes no sense.
    #[error("a bad PROXY header: {0}")]
    Bad(String),
}

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    octets: Vec<u8>,
}

impl Reader {
    /// How many octets it takes next at most: as many as surely belong to the header. Zero: it has all.
    pub(crate) fn wants(&self) -> usize {
        let have = self.octets.len();
        if have < SHORTEST {
            return SHORTEST - have;
        }
        match self.announced() {
            Some(length) => length.saturating_sub(have),
            None if self.is_v2() => FIXED_V2.saturating_sub(have),
            // The end has two octets, of which the first may be here.
            None if self.octets.ends_with(b"\r\n") => 0,
            None if self.octets.ends_with(b"\r") => 1,
            None => 2,
        }
    }

    /// Takes octets, no more than [`Self::wants`]; the answer once the header is complete.
    ///
    /// # Errors
    /// As soon as it can't become a good header any more.
    pub(crate) fn take(&mut self, octets: &[u8]) -> Result<Option<Proxied>, ProxyError> {
        self.octets.extend(octets.iter().take(self.wants()));
        self.check_start()?;
        match self.wants() {
            0 if self.is_v2() => self.version_2().map(Some),
            0 => self.version_1().map(Some),
            // With what is certain to come it would be longer than it may be.
            wants if !self.is_v2() && self.octets.len() + wants > LONGEST_V1 => {
                Err(ProxyError::TooLong(LONGEST_V1 + 1))
            }
            _ => match self.announced() {
                Some(length) if length > LONGEST => Err(ProxyError::TooLong(length)),
                _ => Ok(None),
            },
        }
    }

    fn is_v2(&self) -> bool {
        self.octets.starts_with(v2::PROTOCOL_PREFIX)
    }

    /// Of version 2: all of it, once the length is here.
    fn announced(&self) -> Option<usize> {
        let [high, low] = self.octets.get(FIXED_V2 - 2..FIXED_V2)? else { return None };
        self.is_v2().then(|| FIXED_V2 + usize::from(u16::from_be_bytes([*high, *low])))
    }

    fn check_start(&self) -> Result<(), ProxyError> {
        let fits = |start: &[u8]| self.octets.iter().zip(start).all(|(have, wanted)| have == wanted);
        if fits(v2::PROTOCOL_PREFIX) || fits(b"PROXY ") { Ok(()) } else { Err(ProxyError::Missing) }
    }

    fn version_1(&self) -> Result<Proxied, ProxyError> {
        // Section 2.1: of UNKNOWN, whatever stands before the end is ignored.
        if let Some(rest) = self.octets.strip_prefix(b"PROXY UNKNOWN")
            && matches!(rest.first(), Some(b' ' | b'\r'))
        {
            return Ok(Proxied::Itself);
        }
        let bad = |error: &dyn std::fmt::Display| ProxyError::Bad(error.to_string());
        let header = v1::Header::try_from(self.octets.as_slice()).map_err(|error| bad(&error))?;
        if header.header.len() != self.octets.len() {
            return Err(bad(&"a CR within the line"));
        }
        Ok(match header.addresses {
            v1::Addresses::Unknown => Proxied::Itself,
            v1::Addresses::Tcp4(ip) => Proxied::Client {
                source: (ip.source_address, ip.source_port).into(),
                destination: (ip.destination_address, ip.destination_port).into(),
            },
            v1::Addresses::Tcp6(ip) => Proxied::Client {
                source: (ip.source_address, ip.source_port).into(),
                destination: (ip.destination_address, ip.destination_port).into(),
            },
        })
    }

    fn version_2(&self) -> Result<Proxied, ProxyError> {
        const LOCAL: u8 = 0x20;
        // Section 2.2: of LOCAL everything else is ignored, the family too.
        if self.octets.get(v2::PROTOCOL_PREFIX.len()) == Some(&LOCAL) {
            return Ok(Proxied::Itself);
        }
        let bad = |error: &dyn std::fmt::Display| ProxyError::Bad(error.to_string());
        let header = v2::Header::try_from(self.octets.as_slice()).map_err(|error| bad(&error))?;
        match (header.protocol, header.addresses) {
            (Protocol::Unspecified, _) | (_, Addresses::Unspecified) => Ok(Proxied::Itself),
            (Protocol::Datagram, _) => Err(bad(&"it speaks of datagrams")),
            (Protocol::Stream, Addresses::IPv4(ip)) => Ok(Proxied::Client {
                source: (ip.source_address, ip.source_port).into(),
                destination: (ip.destination_address, ip.destination_port).into(),
            }),
            (Protocol::Stream, Addresses::IPv6(ip)) => Ok(Proxied::Client {
                source: (ip.source_address, ip.source_port).into(),
                destination: (ip.destination_address, ip.destination_port).into(),
            }),
            (Protocol::Stream, Addresses::Unix(_)) => Ok(Proxied::Local),
        }
    }
}

/// What a reader makes of octets that come in pieces of these sizes, over and over, and how many it took.
fn read(octets: &[u8], pieces: &[usize]) -> (Result<Option<Proxied>, ProxyError>, usize) {
    let (mut reader, mut taken) = (Reader::default(), 0);
    let mut sizes = pieces.iter().cycle();
    loop {
        let wants = reader.wants();
        let size = wants.min(sizes.next().copied().unwrap_or(1).max(1));
        let Some(piece) = octets.get(taken..(taken + size).min(octets.len())).filter(|piece| !piece.is_empty()) else {
            return (Ok(None), taken);
        };
        taken += piece.len();
        match reader.take(piece) {
            Ok(None) => {}
            done => return (done, taken),
        }
    }
}

/// The entry for fuzzing. Whatever comes: no panic, the same answer in whichever pieces it comes, never an octet beyond the
/// header, and no more than its bound.
#[doc(hidden)]
pub fn fuzz_proxy(octets: &[u8]) {
    let (whole, taken) = read(octets, &[usize::MAX]);
    assert!(taken <= octets.len() && taken <= LONGEST, "{taken} octets taken");
    for pieces in [&[1][..], &[2, 7, 1], &[16, 3]] {
        let (parts, of_parts) = read(octets, pieces);
        match &whole {
            Ok(_) => assert_eq!((&parts, of_parts), (&whole, taken), "in pieces of {pieces:?}"),
            // How far it is read before it is refused may differ; that it is, may not.
            Err(_) => assert!(parts.is_err() && of_parts <= LONGEST, "in pieces of {pieces:?}: {parts:?}"),
        }
    }
    if let Ok(Some(_)) = &whole {
        // A header is complete by itself, and what follows changes nothing.
        let header = octets.get(..taken).unwrap_or_default();
        assert_eq!(read(header, &[usize::MAX]), (whole.clone(), taken));
        let longer = [header, b"EHLO client.example\r\n"].concat();
        assert_eq!(read(&longer, &[usize::MAX]), (whole.clone(), taken));
        let shorter = header.get(..taken - 1).unwrap_or_default();
        assert_eq!(read(shorter, &[usize::MAX]).0, Ok(None), "complete before its end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    fn client(source: &str, destination: &str) -> Proxied {
        Proxied::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn good_headers_say_who_it_is_and_end_where_they_end() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0, 25];
        let with_more = [&four[..], &[4, 0, 3, 1, 2, 3]].concat();
        let table: Vec<(Vec<u8>, Proxied)> = vec![
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n".into(), client("192.0.2.1:12345", "198.51.100.2:25")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 465\r\n".into(), client("[2001:db8::1]:1", "[::1]:465")),
            (b"PROXY UNKNOWN\r\n".into(), Proxied::Itself),
            (b"PROXY UNKNOWN a b c d e f g h i\r\n".into(), Proxied::Itself),
            (v2(0x21, 0x11, &four), client("192.0.2.1:12345", "198.51.100.2:25")),
            (v2(0x21, 0x11, &with_more), client("192.0.2.1:12345", "198.51.100.2:25")),
            (v2(0x20, 0x00, &[]), Proxied::Itself),
            (v2(0x20, 0x77, &[1]), Proxied::Itself),
            (v2(0x21, 0x00, &[]), Proxied::Itself),
            (v2(0x21, 0x31, &[b'x'; 216]), Proxied::Local),
        ];
        for (octets, expected) in table {
            let followed = [octets.as_slice(), b"EHLO x\r\n"].concat();
            for pieces in [&[usize::MAX][..], &[1], &[3, 5]] {
                let got = read(&followed, pieces);
                assert_eq!(got, (Ok(Some(expected.clone())), octets.len()), "{}", octets.escape_ascii());
            }
            fuzz_proxy(&followed);
        }
    }

    #[test]
    fn bad_headers_are_refused_as_soon_as_they_show() {
        let longest = "1".repeat(100);
        let table: Vec<(Vec<u8>, &str)> = vec![
            (b"EHLO client.example\r\n".into(), "no PROXY header"),
            (b"PROXYTCP4 1.1.1.1\r\n".into(), "no PROXY header"),
            (b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c".into(), "no PROXY header"),
            (b"PROXY TCP4 192.0.2.256 198.51.100.2 12345 25\r\n".into(), "bad PROXY header"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 65536\r\n".into(), "bad PROXY header"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n".into(), "bad PROXY header"),
            (b"PROXY TCP4 192.0.2.1  198.51.100.2 12345 25\r\n".into(), "bad PROXY header"),
            (b"PROXY UDP4 192.0.2.1 198.51.100.2 12345 25\r\n".into(), "bad PROXY header"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1 25\rX\r\n".into(), "bad PROXY header"),
            (format!("PROXY TCP4 {longest}\r\n").into(), "of 108 octets"),
            (v2(0x31, 0x11, &[0; 12]), "bad PROXY header"),
            (v2(0x22, 0x11, &[0; 12]), "bad PROXY header"),
            (v2(0x21, 0x41, &[0; 12]), "bad PROXY header"),
            (v2(0x21, 0x11, &[0; 11]), "bad PROXY header"),
            (v2(0x21, 0x12, &[0; 12]), "datagrams"),
            (v2(0x21, 0x11, &[0; 5000]), "of 5016 octets"),
        ];
        for (octets, expected) in table {
            let (result, taken) = read(&octets, &[usize::MAX]);
            let error = result.expect_err(&octets.escape_ascii().to_string()).to_string();
            assert!(error.contains(expected), "{}: {error}", octets.escape_ascii());
            assert!(taken <= LONGEST_V1);
            fuzz_proxy(&octets);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_safely(
            start in proptest::sample::select(vec![&b""[..], b"PROXY TCP4 1.2.3.4 ", b"PROXY ", v2::PROTOCOL_PREFIX,
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x01"]),
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        ) {
            fuzz_proxy(&[start, &rest].concat());
        }
    }
}
