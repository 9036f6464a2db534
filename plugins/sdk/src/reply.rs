//! Replies, and the verdicts that carry them.
//!
//! The relay checks that the code fits the verdict; a misfit counts as a failure of the plugin.

use crate::{AuthVerdict, EnhancedStatus, MessageVerdict, Reply, RoutingVerdict, SessionVerdict};

/// An enhanced status (RFC 3463), e.g. `(5, 7, 1)`.
pub type Status = (u8, u16, u16);

/// A reply of one line; of several where the text has line breaks.
pub fn reply(code: u16, status: Status, text: &str) -> Reply {
    let (kind, subject, detail) = status;
    Reply {
        code,
        status: Some(EnhancedStatus { kind, subject, detail }),
        lines: text.lines().map(str::to_owned).collect(),
    }
}

/// A verdict that can say no: `reply::reject(550, (5, 7, 1), "no")` has the type that its hook wants.
pub trait Refusal {
    /// Permanent refusal.
    fn reject(reply: Reply) -> Self;
    /// Temporary refusal.
    fn tempfail(reply: Reply) -> Self;
}

macro_rules! refusal {
    ($($verdict:ident: $reject:ident, $tempfail:ident;)*) => {$(
        impl Refusal for $verdict {
            fn reject(reply: Reply) -> Self {
                Self::$reject(reply)
            }

            fn tempfail(reply: Reply) -> Self {
                Self::$tempfail(reply)
            }
        }
    )*};
}

refusal! {
    SessionVerdict: Reject, Tempfail;
    MessageVerdict: Reject, Tempfail;
    RoutingVerdict: Reject, Tempfail;
    AuthVerdict: Failure, Tempfail;
}

/// A permanent refusal, 5yz.
pub fn reject<V: Refusal>(code: u16, status: Status, text: &str) -> V {
    V::reject(reply(code, status, text))
}

/// A temporary refusal, 4yz.
pub fn tempfail<V: Refusal>(code: u16, status: Status, text: &str) -> V {
    V::tempfail(reply(code, status, text))
}

/// Reads an operator's `550 5.7.1 text`: the code and the status may be left out, then they are those of `default`.
///
/// # Errors
/// What does not fit: a code that is not 4yz or 5yz, a status of another class, no text.
pub fn parse(text: &str, default: (u16, Status)) -> Result<Reply, String> {
    let (mut code, mut status) = default;
    let mut rest = text.trim();
    if let Some((word, after)) = next_word(rest)
        && word.len() == 3
        && let Ok(number) = word.parse::<u16>()
    {
        if !(400..600).contains(&number) {
            return Err(format!("`{text}`: a refusal has a code from 400 to 599"));
        }
        let class = u8::try_from(number / 100).unwrap_or(5);
        if class != status.0 {
            status = (class, 0, 0);
        }
        code = number;
        rest = after;
    }
    if let Some((word, after)) = next_word(rest)
        && let Some(found) = parse_status(word)
    {
        if u16::from(found.0) != code / 100 {
            return Err(format!("`{text}`: status {word} does not fit code {code}"));
        }
        status = found;
        rest = after;
    }
    if rest.is_empty() {
        return Err(format!("`{text}`: there is no text for the sender to read"));
    }
    Ok(reply(code, status, rest))
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some((word, rest.trim_start()))
}

fn parse_status(word: &str) -> Option<Status> {
    let mut numbers = word.split('.');
    let status = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    (numbers.next().is_none() && matches!(status.0, 4 | 5)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reply: &Reply) -> String {
        let status = reply.status.as_ref().map_or(String::new(), |s| format!("{}.{}.{}", s.kind, s.subject, s.detail));
        format!("{} {status} {}", reply.code, reply.lines.join("|"))
    }

    #[test]
    fn reads_what_operators_write() {
        for (text, expected) in [
            ("550 5.1.2 gone", "550 5.1.2 gone"),
            ("gone for good", "554 5.7.1 gone for good"),
            ("5.1.2 gone", "554 5.1.2 gone"),
            ("450 later", "450 4.0.0 later"),
            ("3.4 is no status", "554 5.7.1 3.4 is no status"),
        ] {
            let reply = parse(text, (554, (5, 7, 1))).unwrap();
            assert_eq!(shown(&reply), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for text in ["250 fine", "550 4.7.1 mixed", "550", "550 5.7.1", ""] {
            assert!(parse(text, (554, (5, 7, 1))).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_has_the_type_of_its_hook() {
        let SessionVerdict::Tempfail(reply) = tempfail(451, (4, 7, 1), "one\ntwo") else { panic!("not a tempfail") };
        assert_eq!(shown(&reply), "451 4.7.1 one|two");
        assert!(matches!(reject(535, (5, 7, 8), "no"), AuthVerdict::Failure(_)));
    }
}
