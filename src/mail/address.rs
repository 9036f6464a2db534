//! Mailboxes and paths (RFC 5321 section 4.1.2, RFC 6531 section 3.3), normalised as they are parsed.
//!
//! What was parsed here can be written into a command or a field without a second look. Never resolves a name.

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A domain as the relay keeps it: lower-case A-labels, or an address literal in brackets.
/// Empty only for a bare `postmaster` (RFC 5321 section 4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Domain(Arc<str>);

/// An envelope address. `local_part` is unquoted and keeps its case; it is rendered quoted where it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mailbox {
    /// Unquoted; UTF-8 only where SMTPUTF8 was negotiated.
    pub local_part: Arc<str>,
    /// Where it lives.
    pub domain: Domain,
}

/// The argument of MAIL: a mailbox, or the null reverse-path `<>` (RFC 5321 section 4.5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReversePath(pub Option<Mailbox>);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the grammar of RFC 5321 section 4.1.2.
    #[error("{0}")]
    Syntax(&'static str),
    /// Not ASCII, and the sender did not ask for SMTPUTF8 (RFC 6531 section 3.7.1).
    #[error("a non-ASCII address needs SMTPUTF8")]
    NotAscii,
    /// Longer than RFC 5321 section 4.5.3.1 allows.
    #[error("{0} is too long")]
    TooLong(&'static str),
}

use AddressError::{NotAscii, Syntax, TooLong};

/// RFC 5321 section 4.5.3.1.1, in octets, as sent.
const LOCAL_PART_MAX: usize = 64;
/// RFC 5321 section 4.5.3.1.2.
const DOMAIN_MAX: usize = 255;
/// RFC 5321 section 4.5.3.1.3: a path has 256 octets, and two of them are the angle brackets.
const MAILBOX_MAX: usize = 254;
/// RFC 1035 section 2.3.4.
const LABEL_MAX: usize = 63;

impl Domain {
    /// Reads a domain or an address literal. U-labels become A-labels, letters lower case.
    ///
    /// # Errors
    /// [`AddressError`], where the text is neither.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(literal) = text.strip_prefix('[') {
            return literal.strip_suffix(']').ok_or(Syntax("address literal without ]")).and_then(parse_literal);
        }
        if !text.is_ascii() {
            // Bounds the work before the tables of IDNA are asked.
            if text.len() > 4 * DOMAIN_MAX {
                return Err(TooLong("domain"));
            }
            let ascii = idna::domain_to_ascii_strict(text).map_err(|_| Syntax("no domain name"))?;
            check_name(&ascii)?;
            return Ok(Self(ascii.into()));
        }
        check_name(text)?;
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Ok(Self(text.into()))
    }

    /// Reads what a list of domains holds: a domain, or with a leading dot every subdomain of one.
    ///
    /// # Errors
    /// [`AddressError`], where what follows the dot is no domain name.
    pub fn parse_pattern(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('.') {
            Some(parent) if parent.starts_with('[') => Err(Syntax("an address literal has no subdomains")),
            Some(parent) => Ok(Self(format!(".{}", Self::parse(parent)?).into())),
            None => Self::parse(text),
        }
    }

    /// The text: `example.net`, `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for an address literal.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// The address of a literal.
    pub fn literal_ip(&self) -> Option<IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match inner.strip_prefix("IPv6:") {
            Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
    }

    /// The domain of a bare `postmaster`.
    pub(crate) fn none() -> Self {
        Self(Arc::from(""))
    }
}

/// RFC 5321 section 4.1.3. Tags other than `IPv6` are not registered, so nothing could be done with them.
fn parse_literal(inner: &str) -> Result<Domain, AddressError> {
    let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    if tagged {
        let address: Ipv6Addr =
            inner.get(5..).unwrap_or_default().parse().map_err(|_| Syntax("no IPv6 address in the literal"))?;
        return Ok(Domain(format!("[IPv6:{address}]").into()));
    }
    let address: Ipv4Addr = inner.parse().map_err(|_| Syntax("no IP address in the literal"))?;
    Ok(Domain(format!("[{address}]").into()))
}

/// `sub-domain *("." sub-domain)`, `sub-domain = Let-dig [Ldh-str]`.
fn check_name(text: &str) -> Result<(), AddressError> {
    if text.len() > DOMAIN_MAX {
        return Err(TooLong("domain"));
    }
    for label in text.as_bytes().split(|b| *b == b'.') {
        if label.len() > LABEL_MAX {
            return Err(TooLong("label of the domain"));
        }
        let (Some(first), Some(last)) = (label.first(), label.last()) else {
            return Err(Syntax("empty label in the domain"));
        };
        if !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() {
            return Err(Syntax("a label begins and ends with a letter or digit"));
        }
        if !label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return Err(Syntax("a domain has letters, digits, hyphens and dots only"));
        }
    }
    Ok(())
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Mailbox {
    /// Reads `local@domain`, or a bare `postmaster`. Octets beyond ASCII are taken only with `smtputf8`.
    ///
    /// # Errors
    /// [`AddressError`], where the text is no mailbox.
    pub fn parse(text: &str, smtputf8: bool) -> Result<Self, AddressError> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self { local_part: text.into(), domain: Domain::none() });
        }
        if !smtputf8 && !text.is_ascii() {
            return Err(NotAscii);
        }
        let (local_part, domain) = if text.starts_with('"') { split_quoted(text)? } else { split_dot_string(text)? };
        let domain = Domain::parse(domain)?;
        let mailbox = Self { local_part, domain };
        // U-labels grow when they become A-labels, and a local part is quoted where it must be: what has to fit is what will
        // be written. It is written out only where it may be too long.
        let most = 2 * mailbox.local_part.len() + 3 + mailbox.domain.0.len();
        if text.len() > MAILBOX_MAX || (most > MAILBOX_MAX && mailbox.to_string().len() > MAILBOX_MAX) {
            return Err(TooLong("path"));
        }
        Ok(mailbox)
    }

    /// From its parts, the local part unquoted.
    ///
    /// # Errors
    /// [`AddressError`], where the parts make no mailbox.
    pub fn from_parts(local_part: &str, domain: &str, smtputf8: bool) -> Result<Self, AddressError> {
        if domain.is_empty() {
            return Self::parse(local_part, smtputf8);
        }
        if local_part.len() > LOCAL_PART_MAX {
            return Err(TooLong("local part"));
        }
        if local_part.chars().any(char::is_control) {
            return Err(Syntax("a local part has no control characters"));
        }
        if !smtputf8 && !local_part.is_ascii() {
            return Err(NotAscii);
        }
        let mailbox = Self::new(local_part, Domain::parse(domain)?);
        if mailbox.to_string().len() > MAILBOX_MAX {
            return Err(TooLong("path"));
        }
        Ok(mailbox)
    }

    /// From parts that are known to be good, the local part unquoted. Parts from outside: [`Mailbox::from_parts`].
    pub fn new(local_part: &str, domain: Domain) -> Self {
        Self { local_part: local_part.into(), domain }
    }

    /// True for a `postmaster` without a domain: whoever runs this relay.
    pub fn is_bare_postmaster(&self) -> bool {
        self.domain.0.is_empty()
    }
}

/// `Quoted-string "@" domain`: the unquoted local part, and the domain.
fn split_quoted(text: &str) -> Result<(Arc<str>, &str), AddressError> {
    let mut local_part = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        let c = match c {
            '"' => {
                if at + 1 > LOCAL_PART_MAX {
                    return Err(TooLong("local part"));
                }
                let domain = text.get(at + 1..).and_then(|rest| rest.strip_prefix('@'));
                return Ok((local_part.into(), domain.ok_or(Syntax("no @ after the quoted local part"))?));
            }
            // quoted-pairSMTP is a backslash and a printable ASCII character.
            '\\' => match chars.next() {
                Some((_, c @ ' '..='~')) => c,
                _ => return Err(Syntax("nothing that can be quoted after a backslash")),
            },
            c => c,
        };
        if c.is_control() {
            return Err(Syntax("a local part has no control characters"));
        }
        local_part.push(c);
    }
    Err(Syntax("quoted local part without an end"))
}

/// `Dot-string "@" domain`.
fn split_dot_string(text: &str) -> Result<(Arc<str>, &str), AddressError> {
    let (local_part, domain) = text.split_once('@').ok_or(Syntax("no @ in the address"))?;
    if !is_dot_string(local_part) {
        return Err(Syntax("the local part has to be quoted or is empty"));
    }
    if local_part.len() > LOCAL_PART_MAX {
        return Err(TooLong("local part"));
    }
    Ok((local_part.into(), domain))
}

/// Atoms between single dots.
fn is_dot_string(text: &str) -> bool {
    let mut atom_begins = true;
    for c in text.chars() {
        let dot = c == '.';
        if dot && atom_begins || !dot && !is_atext(c) {
            return false;
        }
        atom_begins = dot;
    }
    !atom_begins
}

/// RFC 5322 section 3.2.3, with UTF8-non-ascii (RFC 6531 section 3.3).
fn is_atext(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' | '{' | '|' | '}'
        | '~' => true,
        c => !c.is_ascii() && !c.is_control(),
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local_part) {
            f.write_str(&self.local_part)?;
        } else {
            f.write_str("\"")?;
            // A control character can't be written at all; none gets in by parsing.
            for c in self.local_part.chars().filter(|c| !c.is_control()) {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        if self.is_bare_postmaster() {
            return Ok(());
        }
        f.write_str("@")?;
        f.write_str(&self.domain.0)
    }
}

impl ReversePath {
    /// True for `<>`: a notice, which must never be answered with a notice.
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(mailbox) => write!(f, "<{mailbox}>"),
            None => f.write_str("<>"),
        }
    }
}

/// Entry for fuzzing: what is taken has no control characters, and is read back the same from its written form.
#[doc(hidden)]
pub fn fuzz_address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()), Ok(domain.clone()), "{domain}");
        assert_eq!(domain.is_literal(), domain.literal_ip().is_some(), "{domain}");
    }
    let Ok(mailbox) = Mailbox::parse(text, true) else { return };
    let written = mailbox.to_string();
    assert!(!written.contains(char::is_control), "{written:?}");
    assert_eq!(Mailbox::parse(&written, true), Ok(mailbox), "{written:?}");
}

#[cfg(test)]
mod tests;
