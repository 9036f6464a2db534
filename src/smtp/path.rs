//! Paths (RFC 5321 section 4.1.2): what stands between angle brackets after `FROM:` and `TO:`.
//!
//! Finds where a path ends; whether what is in it makes an address is for [`crate::mail::Mailbox`] to say.

use crate::mail::Domain;

/// A path, its source route dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path<'a> {
    /// `<>`.
    Null,
    /// The text of a mailbox.
    Mailbox(&'a str),
}

/// Takes a path from the front of a text: the path, and what follows its closing bracket.
pub(super) fn take_path(text: &str) -> Result<(Path<'_>, &str), &'static str> {
    let inner = text.strip_prefix('<').ok_or("a path stands in angle brackets")?;
    let end = find_end(inner).ok_or("no closing angle bracket")?;
    let (inner, rest) = inner.split_at_checked(end).ok_or("no closing angle bracket")?;
    let rest = rest.strip_prefix('>').unwrap_or(rest);
    if inner.is_empty() {
        return Ok((Path::Null, rest));
    }
    Ok((Path::Mailbox(drop_route(inner)?), rest))
}

/// The closing bracket; one inside a quoted string is none.
fn find_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })
}

/// Source routes are accepted and dropped (RFC 5321 section 4.1.1.3 and appendix C).
fn drop_route(text: &str) -> Result<&str, &'static str> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    // A literal in a route could hold a colon; no route was ever seen to have one.
    let (route, mailbox) = text.split_once(':').ok_or("a source route ends with a colon")?;
    let is_route = route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(|d| Domain::parse(d).is_ok()));
    if !is_route || mailbox.is_empty() { Err("no source route") } else { Ok(mailbox) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_end_at_their_bracket() {
        for (text, path, rest) in [
            ("<>", Path::Null, ""),
            ("<a@b> SIZE=1", Path::Mailbox("a@b"), " SIZE=1"),
            (r#"<"\">"@b>x"#, Path::Mailbox(r#""\">"@b"#), "x"),
            ("<@a,@b:c@d>", Path::Mailbox("c@d"), ""),
            ("<Postmaster>", Path::Mailbox("Postmaster"), ""),
        ] {
            assert_eq!(take_path(text), Ok((path, rest)), "{text}");
        }
        for text in ["", "a@b", "<a@b", "<\"a@b>", "<@a>", "<@a:>", "<@a,b:c@d>", "<@:c@d>"] {
            assert!(take_path(text).is_err(), "{text}");
        }
    }
}
