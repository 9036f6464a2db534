//! The field `TLS-Required` (RFC 8689 section 5): a sender who would rather be read by others than not arrive. Pure.

use std::sync::Arc;

use bytes::Bytes;

use super::{Header, HeaderEdit};

const NAME: &str = "TLS-Required";

/// True if the header section says `TLS-Required: No`, once. Whatever else it says, or says twice, asks for nothing: a doubt
/// must not take TLS away. `head` may have the empty line at its end.
pub fn waives_tls(head: &Bytes) -> bool {
    // Most messages have no such field, and to look for it must cost less than to take the section apart.
    if !mentions(head) {
        return false;
    }
    let header = Header::parse(head.clone());
    let mut fields = header.fields().filter(|field| field.is_named(NAME));
    match (fields.next(), fields.next()) {
        (Some(only), None) => only.raw.trim_ascii().eq_ignore_ascii_case(b"no"),
        _ => false,
    }
}

/// The field, for messages of the relay's own that must arrive.
pub fn waiver() -> HeaderEdit {
    HeaderEdit::Append { name: NAME.into(), value: Arc::from("No") }
}

fn mentions(head: &[u8]) -> bool {
    let first =
        |at: &usize| head.get(*at..*at + NAME.len()).is_some_and(|text| text.eq_ignore_ascii_case(NAME.as_bytes()));
    let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', head).map(|at| at + 1));
    starts.into_iter().any(|at| first(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lone_no_waives_tls() {
        let table: [(&'static str, bool); 12] = [
            ("TLS-Required: No\r\n\r\n", true),
            ("From: a@b\r\ntls-required: no\r\nTo: c@d\r\n\r\n", true),
            ("TLS-Required:\r\n No\r\n\r\n", true),
            ("TLS-Required: No", true),
            ("TLS-Required: No\r\n", true),
            ("TLS-Required: Yes\r\n\r\n", false),
            ("TLS-Required: Nobody\r\n\r\n", false),
            ("TLS-Required:\r\n\r\n", false),
            ("TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false),
            ("TLS-Required-Not: No\r\n\r\n", false),
            ("Subject: x\r\n TLS-Required: No\r\n\r\n", false),
            ("", false),
        ];
        for (head, expected) in table {
            assert_eq!(waives_tls(&Bytes::from_static(head.as_bytes())), expected, "{head:?}");
        }
    }

    #[test]
    fn what_the_relay_says_it_understands() {
        let header = Header::default().edit(&[waiver()]).unwrap();
        assert!(waives_tls(header.block()));
    }
}
