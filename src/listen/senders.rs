//! Who may write as whom: a file of `name: address, @domain, …` lines (RFC 6409 section 6.1).
//!
//! Small, read whole, looked up in memory. Names in it are those that clients authenticate with. Must never let a client
//! that is not listed use any address, nor hold back one that has not authenticated: that is for the rules of relaying.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::mail::{Domain, Mailbox};

/// Addresses by name.
#[derive(Debug, Default)]
pub struct Senders(HashMap<Box<str>, Owned>);

/// What one name may use.
#[derive(Debug, Default)]
struct Owned {
    mailboxes: Vec<Mailbox>,
    domains: Vec<Domain>,
    any: bool,
}

/// A line that can't be used, or the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// The file can't be read.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, String),
    /// A line is wrong.
    #[error("{}:{}: {}", .0.display(), .1, .2)]
    Line(PathBuf, usize, String),
}

impl Senders {
    /// Reads the file; `#` begins a comment line, `*` stands for any address. Blocking.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Vec<SenderError>> {
        let text =
            std::fs::read_to_string(path).map_err(|e| vec![SenderError::File(path.to_owned(), e.to_string())])?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Vec<SenderError>> {
        let (mut names, mut errors) = (HashMap::<Box<str>, Owned>::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut wrong = |problem: String| errors.push(SenderError::Line(path.to_owned(), at + 1, problem));
            let Some((name, addresses)) = line.split_once(": ").or_else(|| line.split_once(":\t")) else {
                wrong("a line is NAME: ADDRESS, @DOMAIN or *".to_owned());
                continue;
            };
            let owned = names.entry(name.trim().into()).or_default();
            for address in addresses.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                if let Err(problem) = owned.add(address) {
                    wrong(problem);
                }
            }
        }
        if errors.is_empty() { Ok(Self(names)) } else { Err(errors) }
    }

    /// True if whoever authenticated as `name` may write as `mailbox`.
    pub fn owns(&self, name: &str, mailbox: &Mailbox) -> bool {
        self.0.get(name).is_some_and(|owned| owned.has(mailbox))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nobody may write as anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Owned {
    fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "*" {
            self.any = true;
            return Ok(());
        }
        if let Some(domain) = text.strip_prefix('@') {
            self.domains.push(Domain::parse(domain).map_err(|error| format!("{text:?}: {error}"))?);
            return Ok(());
        }
        self.mailboxes.push(Mailbox::parse(text, true).map_err(|error| format!("{text:?}: {error}"))?);
        Ok(())
    }

    /// Local parts are compared whatever their case, as all mail stores do that have more than one user.
    fn has(&self, mailbox: &Mailbox) -> bool {
        let same = |own: &Mailbox| {
            own.domain == mailbox.domain && own.local_part.to_lowercase() == mailbox.local_part.to_lowercase()
        };
        self.any || self.domains.contains(&mailbox.domain) || self.mailboxes.iter().any(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_owned() {
        let file =
            "# who writes as whom\n\nann: ann@example.org, @ann.example\nrobot: *\nbob@x.example: bob@x.example\n";
        let senders = Senders::parse(Path::new("f"), file).unwrap();
        assert_eq!(senders.len(), 3);
        for (name, address, owned) in [
            ("ann", "Ann@EXAMPLE.org", true),
            ("ann", "any@ann.example", true),
            ("ann", "any@sub.ann.example", false),
            ("ann", "bob@example.org", false),
            ("robot", "anybody@anywhere.example", true),
            ("bob@x.example", "bob@x.example", true),
            ("eve", "ann@example.org", false),
        ] {
            assert_eq!(senders.owns(name, &Mailbox::parse(address, false).unwrap()), owned, "{name} {address}");
        }
    }

    #[test]
    fn all_bad_lines_are_named() {
        let errors = Senders::parse(Path::new("f"), "ann\nbob: not an address\neve: @, x@y\n").unwrap_err();
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        f:1: a line is NAME: ADDRESS, @DOMAIN or *
        f:2: "not an address": no @ in the address
        f:3: "@": empty label in the domain
        "#);
    }
}
