//! ESMTP parameters of MAIL and RCPT: which are known, and what they may hold.
//!
//! Pure. A parameter that was not offered is refused, never ignored (RFC 5321 section 4.1.1.11): the sender relies on it.

use super::Config;
use crate::mail::{BodyKind, Param};
use crate::smtp::{Extension, Extensions};

/// What MAIL's parameters come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MailParams {
    pub(super) size: Option<u64>,
    pub(super) body_kind: BodyKind,
    pub(super) smtputf8: bool,
}

const UNKNOWN: &str = "555 5.5.4 parameter not offered";
const TOO_BIG: &str = "552 5.3.4 message too big";
/// RFC 3461 section 4.4.
const ENVID_MAX: usize = 100;
/// RFC 3461 section 4.2.
const ORCPT_MAX: usize = 500;

/// Reads the parameters of MAIL; the error is the reply.
pub(super) fn check_mail(params: &[Param], offered: Extensions, config: &Config) -> Result<MailParams, &'static str> {
    let mut checked = MailParams::default();
    for Param { keyword, value } in params {
        let value = value.as_deref();
        match &**keyword {
            "SIZE" => checked.size = Some(size(value, config.max_message_size)?),
            "BODY" => checked.body_kind = body_kind(value)?,
            "SMTPUTF8" if value.is_none() => checked.smtputf8 = true,
            "SMTPUTF8" => return Err("501 5.5.4 SMTPUTF8 has no value"),
            "RET" if offered.has(Extension::Dsn) => {
                let known = value.is_some_and(|v| v.eq_ignore_ascii_case("FULL") || v.eq_ignore_ascii_case("HDRS"));
                if !known {
                    return Err("501 5.5.4 RET is FULL or HDRS");
                }
            }
            "ENVID" if offered.has(Extension::Dsn) => {
                if !value.is_some_and(|v| v.len() <= ENVID_MAX && is_xtext(v)) {
                    return Err("501 5.5.4 ENVID is xtext of at most 100 characters");
                }
            }
            // RFC 4954 section 5: taken from everybody. What it is worth is for whoever passes it on to say.
            "AUTH" if offered.has(Extension::Auth) => {
                if !value.is_some_and(|v| v == "<>" || is_xtext(v)) {
                    return Err("501 5.5.4 AUTH is xtext or <>");
                }
            }
            _ => return Err(UNKNOWN),
        }
    }
    Ok(checked)
}

/// Reads the parameters of RCPT; the error is the reply.
pub(super) fn check_rcpt(params: &[Param], offered: Extensions) -> Result<(), &'static str> {
    for Param { keyword, value } in params {
        let value = value.as_deref().unwrap_or_default();
        match &**keyword {
            "NOTIFY" if offered.has(Extension::Dsn) => {
                if !is_notify(value) {
                    return Err("501 5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY");
                }
            }
            "ORCPT" if offered.has(Extension::Dsn) => {
                if !is_orcpt(value) {
                    return Err("501 5.5.4 ORCPT is an address type, a semicolon and xtext");
                }
            }
            _ => return Err(UNKNOWN),
        }
    }
    Ok(())
}

/// RFC 1870 section 4: up to 20 digits, which is more than 64 bits hold.
fn size(value: Option<&str>, limit: u64) -> Result<u64, &'static str> {
    let digits = value.filter(|v| v.len() <= 20 && v.bytes().all(|b| b.is_ascii_digit()));
    let digits = digits.ok_or("501 5.5.4 SIZE is a number")?;
    digits.parse().ok().filter(|size| *size <= limit).ok_or(TOO_BIG)
}

/// RFC 6152. BINARYMIME goes with CHUNKING, which is not offered.
fn body_kind(value: Option<&str>) -> Result<BodyKind, &'static str> {
    match value {
        Some(v) if v.eq_ignore_ascii_case("7BIT") => Ok(BodyKind::SevenBit),
        Some(v) if v.eq_ignore_ascii_case("8BITMIME") => Ok(BodyKind::EightBitMime),
        _ => Err("501 5.5.4 BODY is 7BIT or 8BITMIME"),
    }
}

/// RFC 3461 section 4.1.
fn is_notify(value: &str) -> bool {
    value.eq_ignore_ascii_case("NEVER")
        || value.split(',').all(|word| ["SUCCESS", "FAILURE", "DELAY"].iter().any(|w| word.eq_ignore_ascii_case(w)))
}

/// RFC 3461 section 4.2. RFC 6533 section 3 adds the type `utf-8`, whose addresses may hold UTF-8 and braces as they are.
fn is_orcpt(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_address = if kind.eq_ignore_ascii_case("utf-8") { !address.is_empty() } else { is_xtext(address) };
    value.len() <= ORCPT_MAX && is_kind && is_address
}

/// RFC 3461 section 4, but for `=`: addresses of SRS and VERP have it, and enough clients send it as it is.
fn is_xtext(value: &str) -> bool {
    let mut octets = value.bytes();
    let is_hex = |b: Option<u8>| matches!(b, Some(b'0'..=b'9' | b'A'..=b'F'));
    if value.is_empty() {
        return false;
    }
    while let Some(b) = octets.next() {
        match b {
            b'+' if is_hex(octets.next()) && is_hex(octets.next()) => {}
            b'+' => return false,
            33..=126 => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_and_its_users() {
        for good in ["a", "a+2Bb", "a=b@c", "+00"] {
            assert!(is_xtext(good), "{good}");
        }
        for bad in ["", "+", "+2", "+2b", "+GG", "a b", "\u{e9}"] {
            assert!(!is_xtext(bad), "{bad}");
        }
        for good in ["rfc822;ann@example.net", "RFC822;a+2Bb@c", "utf-8;j\u{fc}rgen@example.net", "x400;a"] {
            assert!(is_orcpt(good), "{good}");
        }
        for bad in ["", "rfc822", "rfc822;", ";a", "rf c;a", "rfc822;\u{fc}", &format!("rfc822;{}", "a".repeat(500))] {
            assert!(!is_orcpt(bad), "{bad}");
        }
    }

    #[test]
    fn never_stands_alone() {
        for good in ["NEVER", "success", "FAILURE,delay", "SUCCESS,FAILURE,DELAY"] {
            assert!(is_notify(good), "{good}");
        }
        for bad in ["", "NEVER,DELAY", "SUCCESS,", "SUCCESS FAILURE", "ALWAYS"] {
            assert!(!is_notify(bad), "{bad}");
        }
    }

    #[test]
    fn a_size_beyond_all_numbers_is_too_big_and_not_nonsense() {
        assert_eq!(size(Some("100"), 100), Ok(100));
        assert_eq!(size(Some("101"), 100), Err(TOO_BIG));
        assert_eq!(size(Some("99999999999999999999"), u64::MAX), Err(TOO_BIG));
        for bad in [None, Some("-1"), Some("1k"), Some("999999999999999999999")] {
            assert_eq!(size(bad, 100), Err("501 5.5.4 SIZE is a number"));
        }
    }
}
