//! What a sender asks of every relay on the way, by parameters of MAIL: to wait (RFC 4865), to be quick (RFC 2852), to go
//! under TLS only (RFC 8689), to go before others (RFC 6710).
//!
//! Pure. The parameters are kept as they were sent; this reads them, when they arrive and whenever they matter later.

use std::time::Duration;

use super::Param;
use super::envelope::param;
use crate::time::Timestamp;

/// What the parameters of a message ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `REQUIRETLS`.
    pub require_tls: bool,
    /// `MT-PRIORITY=`: -9 to 9, more is sooner.
    pub priority: Option<i8>,
    /// `HOLDFOR=`, `HOLDUNTIL=`.
    pub hold: Option<Hold>,
    /// `BY=`.
    pub deliver_by: Option<DeliverBy>,
}

/// Not to be sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// So long after it arrived.
    For(Duration),
    /// Then.
    Until(Timestamp),
}

/// To be delivered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds from its arrival; below zero once the time is over.
    pub secs: i64,
    /// `R`: give it up then. `N`: tell the sender then, and go on.
    pub give_up: bool,
    /// `T`: relays are asked to say that they saw it.
    pub trace: bool,
}

impl Requests {
    /// Of parameters that were checked when they came; what is no good is not there.
    pub fn of(params: &[Param]) -> Self {
        let hold_for = param(params, "HOLDFOR").and_then(Hold::parse_for);
        Self {
            require_tls: params.iter().any(|p| &*p.keyword == "REQUIRETLS"),
            priority: param(params, "MT-PRIORITY").and_then(parse_priority),
            hold: hold_for.or_else(|| param(params, "HOLDUNTIL").and_then(Hold::parse_until)),
            deliver_by: param(params, "BY").and_then(DeliverBy::parse),
        }
    }
}

impl Hold {
    /// `1*9DIGIT` seconds (RFC 4865 section 4).
    pub fn parse_for(value: &str) -> Option<Self> {
        let digits = (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| value.parse().ok()).flatten().map(|secs| Self::For(Duration::from_secs(secs)))
    }

    /// An Internet date-time (RFC 3339).
    pub fn parse_until(value: &str) -> Option<Self> {
        Timestamp::parse(value).map(Self::Until)
    }

    /// When the wait of a message that arrived then is over.
    pub fn ends(self, arrived: Timestamp) -> Timestamp {
        match self {
            Self::For(wait) => arrived.plus(wait),
            Self::Until(at) => at.max(arrived),
        }
    }
}

impl DeliverBy {
    /// `["-" / "+"] 1*9DIGIT ";" ("N" / "R") ["T"]` (RFC 2852 section 4.1).
    pub fn parse(value: &str) -> Option<Self> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
        if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number: i64 = digits.parse().ok()?;
        let secs = if time.starts_with('-') { -number } else { number };
        let (give_up, trace) = match mode.to_ascii_uppercase().as_str() {
            "R" => (true, false),
            "RT" => (true, true),
            "N" => (false, false),
            "NT" => (false, true),
            _ => return None,
        };
        Some(Self { secs, give_up, trace })
    }

    /// When the time of a message that arrived then is over.
    pub fn ends(self, arrived: Timestamp) -> Timestamp {
        let by = Duration::from_secs(self.secs.unsigned_abs());
        if self.secs < 0 { arrived.minus(by) } else { arrived.plus(by) }
    }

    /// The value for the next hop: what is left of the time (RFC 2852 section 4.1.4).
    pub fn passed_on(self, arrived: Timestamp, now: Timestamp) -> String {
        const MOST: i64 = 999_999_999;
        let left = self.secs.saturating_sub(now.secs().saturating_sub(arrived.secs())).clamp(-MOST, MOST);
        format!("{left};{}{}", if self.give_up { "R" } else { "N" }, if self.trace { "T" } else { "" })
    }
}

/// `["-"] 1DIGIT` (RFC 6710 section 4).
pub fn parse_priority(value: &str) -> Option<i8> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    if digit.len() != 1 || !digit.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_standards_have_them() {
        assert_eq!(Hold::parse_for("60"), Some(Hold::For(Duration::from_secs(60))));
        for bad in ["", "-1", "1000000000", "1h"] {
            assert_eq!(Hold::parse_for(bad), None, "{bad}");
        }
        assert!(Hold::parse_until("2026-11-26T12:00:00Z").is_some() && Hold::parse_until("tomorrow").is_none());
        let by = |secs, give_up, trace| Some(DeliverBy { secs, give_up, trace });
        for (value, wanted) in [
            ("120;R", by(120, true, false)),
            ("+5;nt", by(5, false, true)),
            ("-10;N", by(-10, false, false)),
            ("0;RT", by(0, true, true)),
        ] {
            assert_eq!(DeliverBy::parse(value), wanted, "{value}");
        }
        for bad in ["", "120", "120;", "120;X", ";R", "1000000000;R", "--1;R", "1 ;R"] {
            assert_eq!(DeliverBy::parse(bad), None, "{bad}");
        }
        for (value, wanted) in [("3", Some(3)), ("-9", Some(-9)), ("10", None), ("+1", None), ("", None), ("-", None)] {
            assert_eq!(parse_priority(value), wanted, "{value}");
        }
    }

    #[test]
    fn what_is_left_of_the_time_is_passed_on() {
        let by = DeliverBy { secs: 100, give_up: true, trace: true };
        let (arrived, now) = (Timestamp::from_secs(1000), Timestamp::from_secs(1030));
        assert_eq!(by.passed_on(arrived, now), "70;RT");
        assert_eq!(by.ends(arrived), Timestamp::from_secs(1100));
        assert_eq!(Hold::Until(Timestamp::from_secs(5)).ends(arrived), arrived, "the past is now");
    }

    #[test]
    fn all_are_found_among_the_parameters() {
        let given =
            |keyword: &str, value: Option<&str>| Param { keyword: keyword.into(), value: value.map(Into::into) };
        let params = [given("REQUIRETLS", None), given("MT-PRIORITY", Some("2")), given("HOLDFOR", Some("5"))];
        let wanted = Requests {
            require_tls: true,
            priority: Some(2),
            hold: Some(Hold::For(Duration::from_secs(5))),
            deliver_by: None,
        };
        assert_eq!(Requests::of(&params), wanted);
        assert_eq!(Requests::of(&[]), Requests::default());
    }
}
