//! Folding (RFC 5322 section 2.2.3): a value broken before white space so that lines stay short.
//!
//! Unfolding gives the value back octet for octet. Never adds or removes white space of its own.

/// RFC 5322 section 2.1.1, without the CRLF.
const LINE: usize = 78;

/// Writes `Name: value` with its final CRLF. The value has no control characters but tab.
pub(super) fn push_folded(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b":");
    let value = value.trim_matches([' ', '\t']);
    let mut column = name.len() + 1;
    if !value.is_empty() {
        out.push(b' ');
        column += 1;
    }
    for (at, piece) in pieces(value).enumerate() {
        // The first piece stays beside the name: a line of white space only would end the field for some readers.
        if at > 0 && column + piece.len() > LINE {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend_from_slice(piece.as_bytes());
        column += piece.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// Words, each with the white space in front of it.
fn pieces(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let word = rest.find(|c| c != ' ' && c != '\t')?;
        let end = rest.get(word..)?.find([' ', '\t']).map_or(rest.len(), |at| word + at);
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(value: &str) -> String {
        let mut out = Vec::new();
        push_folded(&mut out, "X-Test", value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_broken_before_white_space_and_nowhere_else() {
        assert_eq!(folded("short"), "X-Test: short\r\n");
        assert_eq!(folded("  "), "X-Test:\r\n");
        let long = format!("{} {}  {}", "a".repeat(40), "b".repeat(40), "c".repeat(200));
        let text = folded(&long);
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [48, 41, 202]);
        assert_eq!(text.replace("\r\n", ""), format!("X-Test: {long}"));
    }

    proptest::proptest! {
        #[test]
        fn unfolding_gives_the_value_back(value in "[a-zé \t]{0,300}") {
            let text = folded(&value);
            let unfolded = text.strip_prefix("X-Test:").unwrap().replace("\r\n", "");
            proptest::prop_assert_eq!(unfolded.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
            proptest::prop_assert!(text.split("\r\n").all(|l| l.is_empty() || !l.trim_matches([' ', '\t']).is_empty()));
        }
    }
}
