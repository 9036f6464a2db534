//! Addresses: of mail, of hosts, and tables of domains.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::Mailbox;

impl fmt::Display for Mailbox {
    /// `local@domain`; the bare local part of a bare `postmaster`. Not quoted: for logs and keys, not for SMTP.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.local_part)?;
        if self.domain.is_empty() { Ok(()) } else { write!(f, "@{}", self.domain) }
    }
}

/// Local part and domain of what an operator wrote.
pub fn split_address(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

/// An address range such as `192.0.2.0/24`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this length that an address lies in; longer prefixes than addresses have are cut.
    pub fn around(address: IpAddr, v4_prefix: u8, v6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let prefix = v4_prefix.min(32);
                let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self { address: IpAddr::V4(bits.into()), prefix }
            }
            IpAddr::V6(v6) => {
                let prefix = v6_prefix.min(128);
                let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self { address: IpAddr::V6(bits.into()), prefix }
            }
        }
    }

    /// True if the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let around = Self::around(address, self.prefix, self.prefix);
        around.address == self.address && around.prefix == self.prefix
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network such as 192.0.2.0/24");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|p| *p <= most).ok_or_else(wrong)?,
            None => most,
        };
        let network = Self::around(address, prefix, prefix);
        if network.address != address {
            return Err(format!("`{text}` has bits set beyond its prefix; write {network}"));
        }
        Ok(network)
    }
}

/// Something for each domain: exact names first, then the longest `.suffix`, then `*`.
#[derive(Clone, Debug)]
pub struct DomainTable<T> {
    exact: HashMap<String, T>,
    /// Without the dot.
    suffixes: HashMap<String, T>,
    any: Option<T>,
}

impl<T> Default for DomainTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), suffixes: HashMap::new(), any: None }
    }
}

impl<T> DomainTable<T> {
    /// Adds a pattern: `example.org`, `.example.org` (what is below it, not the name itself) or `*`.
    ///
    /// # Errors
    /// The pattern is none of these, or was there before.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<(), String> {
        let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
        let name = pattern.strip_prefix('.').unwrap_or(&pattern);
        let fits = pattern.starts_with('[') && pattern.ends_with(']')
            || name.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        let before = if pattern == "*" {
            self.any.replace(value)
        } else if !fits {
            return Err(format!("`{pattern}` is not a domain, a .suffix or *; write other scripts as xn-- labels"));
        } else if pattern.starts_with('.') {
            self.suffixes.insert(name.to_owned(), value)
        } else {
            self.exact.insert(pattern.clone(), value)
        };
        if before.is_some() { Err(format!("`{pattern}` is there twice")) } else { Ok(()) }
    }

    /// What the table says for a domain.
    pub fn find(&self, domain: &str) -> Option<&T> {
        if let Some(found) = self.exact.get(domain) {
            return Some(found);
        }
        let mut rest = domain;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(found) = self.suffixes.get(parent) {
                return Some(found);
            }
            rest = parent;
        }
        self.any.as_ref()
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.any.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{address} in {network}");
        }
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in ["", "192.0.2.0/33", "192.0.2.1/24", "example.org", "2001:db8::/129", "10.0.0.0/x"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn networks_around_an_address() {
        let of = |address: &str| Network::around(address.parse().unwrap(), 24, 64).to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(Network::around("192.0.2.77".parse().unwrap(), 0, 0).to_string(), "0.0.0.0/0");
    }

    #[test]
    fn the_closest_domain_wins() {
        let mut table = DomainTable::default();
        for pattern in ["example.org", ".example.org", ".sub.example.org", "*", "[192.0.2.1]"] {
            table.insert(pattern, pattern).unwrap();
        }
        for (domain, expected) in [
            ("example.org", "example.org"),
            ("a.example.org", ".example.org"),
            ("a.b.example.org", ".example.org"),
            ("x.sub.example.org", ".sub.example.org"),
            ("sub.example.org", ".example.org"),
            ("notexample.org", "*"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("", "*"),
        ] {
            assert_eq!(table.find(domain), Some(&expected), "{domain}");
        }
    }

    #[test]
    fn odd_patterns_are_refused() {
        let mut table = DomainTable::default();
        table.insert("Example.ORG", ()).unwrap();
        for pattern in ["example.org", "", ".", "a..b", "*.example.org", "müller.example"] {
            assert!(table.insert(pattern, ()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn addresses_are_split_at_the_last_at() {
        assert_eq!(split_address("a@b@example.org"), Some(("a@b", "example.org")));
        assert_eq!(split_address("@example.org"), None);
        assert_eq!(split_address("postmaster"), None);
    }
}
