//! What the addresses that a list answers with mean. Pure.
//!
//! An answer is a listing only if it lies in 127.0.0.0/8 (RFC 5782 section 2.1). Anything else comes from a resolver that
//! makes up answers or from a list that is gone, and must never turn mail away.

use std::net::Ipv4Addr;

use waypost_plugin::Network;

/// Some of the addresses a list may answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One address, or those of a network.
    Network(Network),
    /// From one address to another, both included.
    Range(Ipv4Addr, Ipv4Addr),
    /// Any of these bits is set in the last octet (RFC 5782 section 2.3 calls such answers bit masks).
    Mask(u8),
}

/// Reads `127.0.0.2`, `127.0.0.0/24`, `127.0.0.4-127.0.0.7` or `mask:12`.
pub(crate) fn pattern(text: &str) -> Result<Pattern, String> {
    let wrong = || {
        format!(
            "`{text}` is no return code; write 127.0.0.2, 127.0.0.0/24, 127.0.0.4-127.0.0.7 or mask:12 (of 127.0.0.0/8)"
        )
    };
    if let Some(mask) = text.strip_prefix("mask:") {
        return mask.parse().ok().filter(|mask| *mask > 0).map(Pattern::Mask).ok_or_else(wrong);
    }
    if let Some((from, to)) = text.split_once('-') {
        let (from, to): (Ipv4Addr, Ipv4Addr) =
            (from.trim().parse().map_err(|_| wrong())?, to.trim().parse().map_err(|_| wrong())?);
        let good = from.is_loopback() && to.is_loopback() && from <= to;
        return if good { Ok(Pattern::Range(from, to)) } else { Err(wrong()) };
    }
    let inside = text.starts_with("127.");
    text.parse().ok().filter(|_| inside).map(Pattern::Network).ok_or_else(wrong)
}

impl Pattern {
    fn fits(&self, code: Ipv4Addr) -> bool {
        match self {
            Self::Network(network) => network.contains(code.into()),
            Self::Range(from, to) => (*from..=*to).contains(&code),
            Self::Mask(mask) => code.octets()[3] & mask != 0,
        }
    }
}

/// How a list's answers are to be read.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    /// What each code weighs; empty: any answer weighs `weight`.
    pub(crate) weights: Vec<(Pattern, i32)>,
    /// Of an answer where no codes are told apart.
    pub(crate) weight: i32,
    /// Answers that say "I do not serve you" rather than "listed".
    pub(crate) errors: Vec<Pattern>,
}

/// What a list said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    NotListed,
    Listed {
        weight: i32,
        code: String,
    },
    /// Not to be taken for a listing.
    Failed {
        code: String,
    },
}

impl Codes {
    /// Reads the addresses of an answer. Of several codes, the one that weighs most counts.
    pub(crate) fn read(&self, addresses: &[String]) -> Reading {
        let mut best: Option<(i32, &String)> = None;
        for address in addresses {
            let failed = || Reading::Failed { code: address.clone() };
            let Ok(code) = address.parse::<Ipv4Addr>() else { return failed() };
            if !code.is_loopback() || self.errors.iter().any(|error| error.fits(code)) {
                return failed();
            }
            let weight = if self.weights.is_empty() {
                Some(self.weight)
            } else {
                self.weights.iter().filter(|(pattern, _)| pattern.fits(code)).map(|(_, weight)| *weight).max()
            };
            if let Some(weight) = weight
                && best.is_none_or(|(known, _)| weight > known)
            {
                best = Some((weight, address));
            }
        }
        best.map_or(Reading::NotListed, |(weight, code)| Reading::Listed { weight, code: code.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(weights: &[(&str, i32)]) -> Codes {
        Codes {
            weights: weights.iter().map(|(text, weight)| (pattern(text).unwrap(), *weight)).collect(),
            weight: 1,
            errors: ["127.255.255.0/24", "127.0.0.1"].map(|text| pattern(text).unwrap()).to_vec(),
        }
    }

    fn read(codes: &Codes, addresses: &[&str]) -> String {
        let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        match codes.read(&addresses) {
            Reading::NotListed => "-".to_owned(),
            Reading::Listed { weight, code } => format!("{weight} {code}"),
            Reading::Failed { code } => format!("failed {code}"),
        }
    }

    #[test]
    fn answers_are_read() {
        let any = codes(&[]);
        let some = codes(&[("127.0.0.2", 5), ("127.0.0.4-127.0.0.7", 3), ("127.0.1.0/24", 2), ("127.0.0.6", 4)]);
        let masks = codes(&[("mask:4", 2), ("mask:8", 7)]);
        for (codes, addresses, expected) in [
            (&any, &[][..], "-"),
            (&any, &["127.0.0.2"], "1 127.0.0.2"),
            (&any, &["127.0.0.1"], "failed 127.0.0.1"),
            (&any, &["127.255.255.254"], "failed 127.255.255.254"),
            (&any, &["203.0.113.7"], "failed 203.0.113.7"),
            (&any, &["127.0.0.2", "203.0.113.7"], "failed 203.0.113.7"),
            (&any, &["2001:db8::1"], "failed 2001:db8::1"),
            (&some, &["127.0.0.3"], "-"),
            (&some, &["127.0.0.2"], "5 127.0.0.2"),
            (&some, &["127.0.0.4"], "3 127.0.0.4"),
            (&some, &["127.0.0.7"], "3 127.0.0.7"),
            (&some, &["127.0.0.6"], "4 127.0.0.6"),
            (&some, &["127.0.0.4", "127.0.0.2", "127.0.1.9"], "5 127.0.0.2"),
            (&some, &["127.0.1.200"], "2 127.0.1.200"),
            (&masks, &["127.0.0.2"], "-"),
            (&masks, &["127.0.0.4"], "2 127.0.0.4"),
            (&masks, &["127.0.0.12"], "7 127.0.0.12"),
        ] {
            assert_eq!(read(codes, addresses), expected, "{addresses:?}");
        }
    }

    #[test]
    fn odd_codes_are_refused() {
        for text in
            ["", "2", "10.0.0.1", "127.0.0.9-127.0.0.2", "127.0.0.2-", "mask:0", "mask:256", "mask:x", "127.0.0.1/8"]
        {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
