//! Settings of `[signing]`, `[dkim.NAME]` and `[arc]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::mail::Domain;
use crate::time::Timestamp;

/// Fields that are signed where they are (RFC 6376 section 5.4.1), and that nobody on the way has reason to change.
pub const DEFAULT_FIELDS: [&str; 24] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Auto-Submitted",
    "Feedback-ID",
    "TLS-Report-Domain",
];

/// Fields of which nobody can add another one without breaking the signature (RFC 6376 section 8.15).
pub const DEFAULT_OVER_SIGN: [&str; 9] =
    ["From", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"];

/// Fields that change on the way, or that signatures of others are in (RFC 6376 section 5.4.1, RFC 8617 section 4.1.2).
const NEVER: [&str; 8] = [
    "Return-Path",
    "Received",
    "Authentication-Results",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Bcc",
];

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[signing]`.
    pub policy: Policy,
    /// `[dkim.NAME]`.
    pub keys: Vec<KeyConfig>,
    /// `[arc]`.
    pub arc: Option<ArcConfig>,
}

/// Which messages are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of which clients; never of strangers.
    pub clients: Clients,
    /// That came to which listeners; none: all.
    pub listeners: Option<Vec<Arc<str>>>,
    /// Reports of the relay's own.
    pub relay_mail: bool,
    /// Signs where the domain of From has no key.
    pub fallback: Option<Domain>,
    /// Signs in addition.
    pub also: Option<Domain>,
    /// What becomes of a message that can't be signed.
    pub on_failure: OnFailure,
    /// Signs again what has a good signature of the same domain and selector already.
    pub again: bool,
}

/// Which clients' mail is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Those that have authenticated.
    pub authenticated: bool,
    /// Those that may relay for where they are: networks of `[relay]`, listeners with `relay`.
    pub networks: bool,
}

/// What becomes of a message that can't be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The client is asked to come again.
    #[default]
    Tempfail,
    /// It goes on without.
    Unsigned,
}

/// How header section and body are made comparable (RFC 6376 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canonicalisation {
    /// The header section may be folded anew; else not an octet may change.
    pub relaxed_header: bool,
    /// White space of the body may change; else not an octet may.
    pub relaxed_body: bool,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// `[dkim.NAME]`.
    pub name: Arc<str>,
    /// `d=`.
    pub domain: Domain,
    /// Signs for subdomains of it too.
    pub subdomains: bool,
    /// `s=`.
    pub selector: Arc<str>,
    /// The private key, PEM.
    pub file: PathBuf,
    /// Signs from then on; none: ever since.
    pub from: Option<Timestamp>,
    /// And until then; none: for ever.
    pub until: Option<Timestamp>,
    /// `i=`.
    pub identity: Option<Arc<str>>,
    /// Names of the fields that are signed where they are.
    pub fields: Vec<Arc<str>>,
    /// Names of those of which there must be no more.
    pub over_sign: Vec<Arc<str>>,
    /// `c=`.
    pub canonicalisation: Canonicalisation,
    /// `x=`, after the moment of signing.
    pub expires: Option<Duration>,
}

/// The key of ARC sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArcConfig {
    /// `d=`.
    pub domain: Domain,
    /// `s=`.
    pub selector: Arc<str>,
    /// The private key, PEM.
    pub file: PathBuf,
    /// Mail that came to which listeners; none: all.
    pub listeners: Option<Vec<Arc<str>>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            clients: Clients { authenticated: true, networks: true },
            listeners: None,
            relay_mail: true,
            fallback: None,
            also: None,
            on_failure: OnFailure::Tempfail,
            again: false,
        }
    }
}

impl Default for Canonicalisation {
    fn default() -> Self {
        Self { relaxed_header: true, relaxed_body: true }
    }
}

impl Config {
    /// Every key's file, with the key that names it.
    pub fn files(&self) -> impl Iterator<Item = (String, &std::path::Path)> {
        let keys = self.keys.iter().map(|key| (format!("dkim.{}.key-file", key.name), &*key.file));
        keys.chain(self.arc.iter().map(|arc| ("arc.key-file".to_owned(), &*arc.file)))
    }
}

/// The name of a field that may be signed.
///
/// # Errors
/// Why not.
pub fn check_field(name: &str) -> Result<(), String> {
    let is_name =
        !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| matches!(b, 33..=126) && b != b':' && b != b';');
    if !is_name {
        return Err(format!("{name:?} is no field name"));
    }
    if NEVER.iter().any(|never| never.eq_ignore_ascii_case(name)) {
        return Err(format!("{name} is changed on the way, so it must not be signed"));
    }
    Ok(())
}

/// A selector: labels of a domain name (RFC 6376 section 3.1).
///
/// # Errors
/// Why it is none.
pub fn check_selector(text: &str) -> Result<(), String> {
    match Domain::parse(text) {
        Ok(name) if !name.is_literal() && text.is_ascii() => Ok(()),
        _ => Err(format!("{text:?} is no selector: it becomes a part of a name in the DNS, such as \"s2026\"")),
    }
}

/// `i=`: an address, or a domain after an @, within the domain that signs (RFC 6376 section 3.5).
///
/// # Errors
/// Why it is none.
pub fn check_identity(text: &str, domain: &Domain) -> Result<(), String> {
    let plain = text.bytes().all(|b| matches!(b, 33..=126) && !matches!(b, b';' | b'='));
    let of = text.rsplit_once('@').and_then(|(_, of)| Domain::parse(of).ok());
    match of {
        Some(of) if plain && is_within(&of, domain) => Ok(()),
        _ => Err(format!("{text:?} is neither @{domain} nor an address there or in a subdomain")),
    }
}

/// The same domain, or a subdomain.
pub(super) fn is_within(domain: &Domain, parent: &Domain) -> bool {
    domain == parent || is_below(domain, parent)
}

/// A subdomain.
pub(super) fn is_below(domain: &Domain, parent: &Domain) -> bool {
    domain.as_str().strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.') && !parent.as_str().is_empty())
}
