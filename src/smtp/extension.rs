//! The service extensions this relay knows, and sets of them.
//!
//! Pure. The names are those of IANA's registry, as EHLO announces them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One service extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Extension {
    /// RFC 2920.
    Pipelining,
    /// RFC 1870.
    Size,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// RFC 3461.
    Dsn,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 6152.
    EightBitMime,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 3030.
    Chunking,
    /// RFC 3030; nothing without CHUNKING.
    BinaryMime,
    /// RFC 8689.
    RequireTls,
    /// RFC 9422.
    Limits,
    /// RFC 6710.
    MtPriority,
    /// RFC 2852.
    DeliverBy,
    /// RFC 4865.
    FutureRelease,
    /// Postfix's XCLIENT.
    Xclient,
}

/// All of them, in the order in which EHLO announces them.
pub const ALL: [Extension; 16] = [
    Extension::Pipelining,
    Extension::Size,
    Extension::StartTls,
    Extension::Auth,
    Extension::Dsn,
    Extension::Chunking,
    Extension::BinaryMime,
    Extension::RequireTls,
    Extension::Limits,
    Extension::MtPriority,
    Extension::DeliverBy,
    Extension::FutureRelease,
    Extension::Xclient,
    Extension::EnhancedStatusCodes,
    Extension::EightBitMime,
    Extension::SmtpUtf8,
];

impl Extension {
    /// The registered keyword, in upper case.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Dsn => "DSN",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::EightBitMime => "8BITMIME",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::Chunking => "CHUNKING",
            Self::BinaryMime => "BINARYMIME",
            Self::RequireTls => "REQUIRETLS",
            Self::Limits => "LIMITS",
            Self::MtPriority => "MT-PRIORITY",
            Self::DeliverBy => "DELIVERBY",
            Self::FutureRelease => "FUTURERELEASE",
            Self::Xclient => "XCLIENT",
        }
    }

    /// By its keyword, whatever the case.
    pub fn named(keyword: &str) -> Option<Self> {
        ALL.into_iter().find(|extension| extension.keyword().eq_ignore_ascii_case(keyword))
    }
}

/// A set of extensions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions(u32);

impl Extensions {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These.
    pub const fn of(list: &[Extension]) -> Self {
        let (mut bits, mut left) = (0, list);
        while let [first, rest @ ..] = left {
            bits |= 1 << *first as u32;
            left = rest;
        }
        Self(bits)
    }

    /// True if it is among them.
    pub const fn has(self, extension: Extension) -> bool {
        self.0 & (1 << extension as u32) != 0
    }

    /// One more, or one less.
    pub const fn set(&mut self, extension: Extension, on: bool) {
        if on {
            self.0 |= 1 << extension as u32;
        } else {
            self.0 &= !(1 << extension as u32);
        }
    }

    /// These but for those.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Its members, in the order of an EHLO reply.
    pub fn iter(self) -> impl Iterator<Item = Extension> {
        ALL.into_iter().filter(move |extension| self.has(*extension))
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Extension::keyword)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = Extensions::of(&[Extension::Size, Extension::Xclient]);
        assert!(set.has(Extension::Size) && set.has(Extension::Xclient) && !set.has(Extension::Dsn));
        set.set(Extension::Dsn, true);
        set.set(Extension::Size, false);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Extension::Dsn, Extension::Xclient]);
        assert_eq!(set.without(Extensions::of(&[Extension::Dsn])), Extensions::of(&[Extension::Xclient]));
        assert_eq!(format!("{set:?}"), r#"{"DSN", "XCLIENT"}"#);
    }

    #[test]
    fn keywords_lead_back() {
        for extension in ALL {
            assert_eq!(Extension::named(&extension.keyword().to_ascii_lowercase()), Some(extension));
        }
        assert_eq!(Extension::named("VERB"), None);
    }
}
