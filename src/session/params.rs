//! ESMTP parameters of MAIL and RCPT: which are known, and what they may hold.
//!
//! Pure. A parameter that was not offered is refused, never ignored (RFC 5321 section 4.1.1.11): the sender relies on it.

use std::time::Duration;

use super::Config;
use crate::mail::{BodyKind, DeliverBy, Hold, Param, parse_priority};
use crate::smtp::xtext::is_xtext;
use crate::smtp::{Extension, Extensions};
use crate::time::Timestamp;

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

/// What MAIL's parameters are held against.
pub(super) struct Terms<'a> {
    /// What this client was offered, or would be if it asked again.
    pub(super) offered: Extensions,
    pub(super) config: &'a Config,
    /// One of ours.
    pub(super) submitter: bool,
    pub(super) tls: bool,
    /// The beginning of the connection: for times that are not to be too far off.
    pub(super) since: Timestamp,
}

/// Reads the parameters of MAIL; the error is the reply.
pub(super) fn check_mail(params: &[Param], terms: &Terms<'_>) -> Result<MailParams, &'static str> {
    let mut checked = MailParams::default();
    let mut held = false;
    for Param { keyword, value } in params {
        let value = value.as_deref();
        let offered = |extension| terms.offered.has(extension);
        match &**keyword {
            "SIZE" if offered(Extension::Size) => checked.size = Some(size(value, terms.config.max_message_size)?),
            "BODY" if offered(Extension::EightBitMime) => checked.body_kind = body_kind(value, terms.offered)?,
            "SMTPUTF8" if offered(Extension::SmtpUtf8) => {
                checked.smtputf8 = alone(value, "501 5.5.4 SMTPUTF8 has no value")?
            }
            "RET" if offered(Extension::Dsn) => check_ret(value)?,
            "ENVID" if offered(Extension::Dsn) => check_envid(value)?,
            "AUTH" if offered(Extension::Auth) => check_auth(value)?,
            "REQUIRETLS" if offered(Extension::RequireTls) => {
                alone(value, "501 5.5.4 REQUIRETLS has no value")?;
                // RFC 8689 section 4.1: what was said in clear text can't be secret any more.
                if !terms.tls {
                    return Err("530 5.7.10 REQUIRETLS needs TLS");
                }
            }
            "MT-PRIORITY" if offered(Extension::MtPriority) && terms.submitter => {
                value.and_then(parse_priority).ok_or("501 5.5.4 MT-PRIORITY is -9 to 9")?;
            }
            "BY" if offered(Extension::DeliverBy) && terms.submitter => check_by(value)?,
            "HOLDFOR" | "HOLDUNTIL" if offered(Extension::FutureRelease) && terms.submitter => {
                if std::mem::replace(&mut held, true) {
                    return Err("501 5.5.4 HOLDFOR or HOLDUNTIL, not both");
                }
                check_hold(keyword, value, terms)?;
            }
            _ => return Err(UNKNOWN),
        }
    }
    Ok(checked)
}

/// A keyword without a value.
fn alone(value: Option<&str>, refusal: &'static str) -> Result<bool, &'static str> {
    if value.is_some() { Err(refusal) } else { Ok(true) }
}

/// RFC 3461 section 4.3.
fn check_ret(value: Option<&str>) -> Result<(), &'static str> {
    let known = value.is_some_and(|v| v.eq_ignore_ascii_case("FULL") || v.eq_ignore_ascii_case("HDRS"));
    known.then_some(()).ok_or("501 5.5.4 RET is FULL or HDRS")
}

fn check_envid(value: Option<&str>) -> Result<(), &'static str> {
    let good = value.is_some_and(|v| v.len() <= ENVID_MAX && is_xtext(v));
    good.then_some(()).ok_or("501 5.5.4 ENVID is xtext of at most 100 characters")
}

/// RFC 4954 section 5: taken from everybody. What it is worth is for whoever passes it on to say.
fn check_auth(value: Option<&str>) -> Result<(), &'static str> {
    value.is_some_and(|v| v == "<>" || is_xtext(v)).then_some(()).ok_or("501 5.5.4 AUTH is xtext or <>")
}

/// RFC 2852 section 4.1: what has no time left can't be asked to be given up for want of it.
fn check_by(value: Option<&str>) -> Result<(), &'static str> {
    match value.and_then(DeliverBy::parse) {
        Some(by) if by.give_up && by.secs <= 0 => Err("501 5.5.4 BY wants some time for mode R"),
        Some(_) => Ok(()),
        None => Err("501 5.5.4 BY is seconds, a semicolon, and N or R"),
    }
}

/// RFC 4865 section 4.
fn check_hold(keyword: &str, value: Option<&str>, terms: &Terms<'_>) -> Result<(), &'static str> {
    let hold = value.and_then(if keyword == "HOLDFOR" { Hold::parse_for } else { Hold::parse_until });
    let most = Duration::from_secs(terms.config.max_hold);
    let too_long = match hold.ok_or("501 5.5.4 HOLDFOR is seconds, HOLDUNTIL a date-time of RFC 3339")? {
        Hold::For(wait) => wait > most,
        Hold::Until(at) => at > terms.since.plus(most),
    };
    if too_long { Err("501 5.5.4 that is longer than mail is held here") } else { Ok(()) }
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

/// RFC 6152, RFC 3030 section 3.
fn body_kind(value: Option<&str>, offered: Extensions) -> Result<BodyKind, &'static str> {
    let binary = offered.has(Extension::BinaryMime) && offered.has(Extension::Chunking);
    match value {
        Some(v) if binary && v.eq_ignore_ascii_case("BINARYMIME") => Ok(BodyKind::BinaryMime),
        Some(v) if v.eq_ignore_ascii_case("7BIT") => Ok(BodyKind::SevenBit),
        Some(v) if v.eq_ignore_ascii_case("8BITMIME") => Ok(BodyKind::EightBitMime),
        _ if binary => Err("501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn original_recipients_have_a_type_and_an_address() {
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
