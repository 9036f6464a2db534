//! xtext (RFC 3461 section 4): how parameters carry what has no place in a command. Pure.

/// True for a good one, with `=` allowed as it is: addresses of SRS and VERP have it, and enough clients send it so.
pub fn is_xtext(value: &str) -> bool {
    !value.is_empty() && octets(value).is_some()
}

/// The text behind it; none if it is no xtext, or no UTF-8.
pub fn decode(value: &str) -> Option<String> {
    octets(value).and_then(|octets| String::from_utf8(octets).ok())
}

fn octets(value: &str) -> Option<Vec<u8>> {
    let mut octets = value.bytes();
    let mut out = Vec::with_capacity(value.len());
    let hex = |b: Option<u8>| match b? {
        b @ b'0'..=b'9' => Some(b - b'0'),
        b @ b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    };
    while let Some(b) = octets.next() {
        match b {
            b'+' => out.push(hex(octets.next())? * 16 + hex(octets.next())?),
            33..=126 => out.push(b),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_told_from_other_text() {
        for (value, text) in [("a", "a"), ("a+2Bb", "a+b"), ("a=b@c", "a=b@c"), ("+C3+BC", "\u{fc}")] {
            assert_eq!(decode(value).as_deref(), Some(text), "{value}");
            assert!(is_xtext(value), "{value}");
        }
        for bad in ["", "+", "+2", "+2b", "+GG", "a b", "\u{e9}"] {
            assert!(!is_xtext(bad), "{bad}");
        }
        assert!(is_xtext("+FF") && decode("+FF").is_none());
    }
}
