//! Lists and lengths of time as operators write them, read so that every mistake is told at once.
//!
//! Pure: nothing here asks the relay.

use std::collections::HashSet;

use crate::{DomainTable, Mailbox, Network, split_address};

/// The networks of a list; what is none is added to the errors under the list's key.
pub fn networks(key: &str, texts: &[String], errors: &mut Vec<String>) -> Vec<Network> {
    let mut networks = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(error) => errors.push(format!("{key}: {error}")),
        }
    }
    networks
}

/// The domains of a list (`example.org`, `.example.org`, `*`); what is none is added to the errors under the list's key.
pub fn domains(key: &str, texts: &[String], errors: &mut Vec<String>) -> DomainTable<()> {
    let mut table = DomainTable::default();
    for text in texts {
        if let Err(error) = table.insert(text, ()) {
            errors.push(format!("{key}: {error}"));
        }
    }
    table
}

/// Seconds of `90s`, `10m`, `2h` or `1d`.
///
/// # Errors
/// It is none of these, zero, or longer than a u32 of seconds.
pub fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no length of time such as 90s, 10m, 2h or 1d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text.get(..text.len() - 1).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

/// Mail addresses, each by itself or by its domain. Case is not looked at.
#[derive(Debug, Default)]
pub struct MailboxSet {
    addresses: HashSet<String>,
    domains: DomainTable<()>,
}

impl MailboxSet {
    /// Reads `ann@example.org`, `example.org`, `.example.org` (all below it) and `*`; other texts are added to the errors
    /// under the list's key.
    pub fn read(key: &str, texts: &[String], errors: &mut Vec<String>) -> Self {
        let mut set = Self::default();
        for text in texts {
            if split_address(text).is_some() {
                set.addresses.insert(text.to_lowercase());
            } else if text.contains('@') {
                errors.push(format!("{key}: `{text}` is neither an address nor a domain"));
            } else if let Err(error) = set.domains.insert(text, ()) {
                errors.push(format!("{key}: {error}"));
            }
        }
        set
    }

    /// True if the address or its domain is in the set.
    pub fn contains(&self, mailbox: &Mailbox) -> bool {
        self.domains.find(&mailbox.domain).is_some() || self.addresses.contains(&mailbox.to_string().to_lowercase())
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.domains.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, expected) in [("90s", Some(90)), ("10m", Some(600)), ("2h", Some(7200)), ("1d", Some(86_400))] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
        for text in ["", "s", "0s", "10", "-1s", "1.5h", "1w", "99999999d", "1 h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mistake_of_a_list_is_told() {
        let mut errors = Vec::new();
        let texts = ["10.0.0.1/8", "10.0.0.0/8", "x"].map(str::to_owned);
        assert_eq!(networks("n", &texts, &mut errors).len(), 1);
        domains("d", &["a..b", "a", "a"].map(str::to_owned), &mut errors);
        MailboxSet::read("m", &["@a", "a b"].map(str::to_owned), &mut errors);
        let keys: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(keys, ["n", "n", "d", "d", "m", "m"]);
    }

    #[test]
    fn addresses_and_domains_are_found() {
        let mut errors = Vec::new();
        let set = MailboxSet::read("m", &["Ann@Example.org", ".lists.example"].map(str::to_owned), &mut errors);
        assert!(errors.is_empty());
        for (local, domain, expected) in [
            ("ann", "example.org", true),
            ("ANN", "example.org", true),
            ("bob", "example.org", false),
            ("bob", "a.lists.example", true),
            ("bob", "lists.example", false),
        ] {
            let mailbox = Mailbox { local_part: local.to_owned(), domain: domain.to_owned() };
            assert_eq!(set.contains(&mailbox), expected, "{mailbox}");
        }
    }
}
