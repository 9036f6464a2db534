//! Enhanced status codes (RFC 3463).

use std::fmt;

use serde::{Deserialize, Serialize};

/// class.subject.detail, e.g. 5.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// RFC 3463 section 3: 0 to 999.
    pub subject: u16,
    /// RFC 3463 section 3: 0 to 999.
    pub detail: u16,
}

impl Status {
    /// From its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// Reads `5.7.1` at the start of a text, followed by a space or nothing: the status and what follows.
    pub fn take(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut numbers = word.split('.');
        let class = numbers.next()?.parse::<u8>().ok().filter(|c| matches!(c, 2 | 4 | 5))?;
        let mut number = || {
            let digits =
                numbers.next().filter(|d| (1..=3).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse::<u16>().ok()
        };
        let status = Self::new(class, number()?, number()?);
        numbers.next().is_none().then_some((status, rest))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_statuses_are_taken() {
        assert_eq!(Status::take("5.7.1 no"), Some((Status::new(5, 7, 1), "no")));
        assert_eq!(Status::take("2.0.0"), Some((Status::new(2, 0, 0), "")));
        for text in ["", "5.7", "5.7.1.2 x", "3.0.0 x", "5.+7.1 x", "5.7.1000 x", "5.7.1x"] {
            assert_eq!(Status::take(text), None, "{text}");
        }
    }
}
