//! The mechanisms: their registered names, and which of them a listener may offer. Must never look at what a client says.

use std::sync::Arc;

/// A SASL mechanism, by its registered name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 5802 and RFC 7677, bound to the TLS connection (RFC 9266).
    ScramSha256Plus,
    /// RFC 5802 and RFC 7677.
    ScramSha256,
    /// RFC 7628.
    OauthBearer,
    /// What came before RFC 7628, of the large mailbox providers.
    Xoauth2,
    /// RFC 4422 appendix A: by the client's certificate.
    External,
    /// RFC 4616.
    Plain,
    /// Older than PLAIN, and still asked for.
    Login,
}

impl Mechanism {
    /// All, in the order in which they are offered: of clients that take the first they know, none shows its password
    /// where it need not.
    pub const ALL: [Self; 7] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::OauthBearer,
        Self::Xoauth2,
        Self::External,
        Self::Plain,
        Self::Login,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
            Self::External => "EXTERNAL",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of this name, in whatever case (RFC 4954 section 4).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name()))
    }
}

/// What the operator wants of AUTH: `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthRules {
    /// No others are offered. None: all that work for every account.
    pub mechanisms: Option<Arc<[Mechanism]>>,
    /// Which of a certificate's names EXTERNAL takes.
    pub external: CertificateName,
}

/// A name in a client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateName {
    /// A mailbox, or where there is none, a DNS name.
    #[default]
    MailboxOrDnsName,
    /// A mailbox of subjectAltName.
    Mailbox,
    /// A DNS name of subjectAltName.
    DnsName,
    /// The subject's distinguished name.
    Subject,
}

/// What there is to check an answer with, at this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthMeans {
    /// There are SCRAM verifiers, as many as it takes to offer it.
    pub verifiers: bool,
    /// A hook is shown secrets: it can tell what a token is worth.
    pub tokens: bool,
}
