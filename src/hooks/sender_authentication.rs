//! Sender authentication of one transaction: what it is about, and what was found out so far.
//!
//! Pure: `authres` computes, this remembers, and travels with the transaction, so that all plugins of all its hooks
//! share one result. It is about what the client sent: no edit of a plugin changes it.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::MessageFacts;
use crate::mail::{Domain, ReversePath};

/// Result of a check (RFC 8601 section 2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthStatus {
    /// There was nothing to check.
    #[default]
    None,
    /// No statement either way.
    Neutral,
    /// It holds.
    Pass,
    /// Something of it is not acceptable here.
    Policy,
    /// It probably does not hold.
    Softfail,
    /// It does not hold.
    Fail,
    /// The check could not be done now.
    Temperror,
    /// What was published can't be understood.
    Permerror,
}

impl AuthStatus {
    /// As in a field.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Policy => "policy",
            Self::Softfail => "softfail",
            Self::Fail => "fail",
            Self::Temperror => "temperror",
            Self::Permerror => "permerror",
        }
    }
}

/// Whose policy SPF looked at (RFC 7208 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpfIdentity {
    /// The reverse-path's.
    MailFrom,
    /// HELO's argument, for the null reverse-path.
    Helo,
}

/// SPF (RFC 7208).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpfOutcome {
    /// Its result.
    pub status: AuthStatus,
    /// Whose policy was looked at.
    pub domain: Arc<str>,
    /// Where that name stood.
    pub identity: SpfIdentity,
    /// What the domain says about failures. Foreign, but printable ASCII.
    pub explanation: Option<Arc<str>>,
}

/// One DKIM signature (RFC 6376).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimOutcome {
    /// Its result.
    pub status: AuthStatus,
    /// Who signed; empty where the signature can't be read.
    pub domain: Arc<str>,
    /// Which key.
    pub selector: Arc<str>,
    /// The key is marked as being tested.
    pub testing: bool,
}

/// What a DMARC policy asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DmarcDisposition {
    /// Nothing.
    #[default]
    None,
    /// Suspicion.
    Quarantine,
    /// Refusal.
    Reject,
}

/// DMARC (RFC 9989, before it RFC 7489).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmarcOutcome {
    /// Its result.
    pub status: AuthStatus,
    /// Domain of the From field; empty where there is not exactly one.
    pub from_domain: Arc<str>,
    /// What its policy asks for.
    pub disposition: DmarcDisposition,
    /// SPF passed for an aligned domain.
    pub spf_aligned: bool,
    /// DKIM passed for an aligned domain.
    pub dkim_aligned: bool,
}

/// ARC (RFC 8617).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcOutcome {
    /// Result of the chain.
    pub status: AuthStatus,
    /// Who sealed it last; a mere claim unless it passed.
    pub sealer: Option<Arc<str>>,
}

/// What the header section and the body say together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signatures {
    /// The domain of the From field, if there is exactly one.
    pub author: Option<Domain>,
    /// One for each signature that was looked at.
    pub dkim: Vec<DkimOutcome>,
    /// The chain as a whole.
    pub arc: ArcOutcome,
}

/// The sender authentication of one transaction. Shared by all clones of its facts; what two find out at the same time is
/// computed twice and kept once.
#[derive(Debug, Default)]
pub struct SenderAuthentication {
    /// As the client gave it: SPF is about this one, whatever plugins made of it.
    reverse_path: ReversePath,
    /// As the client sent it: DKIM, DMARC and ARC are about this one.
    message: OnceLock<Arc<MessageFacts>>,
    /// Once known.
    pub spf: OnceLock<SpfOutcome>,
    /// Once known.
    pub signatures: OnceLock<Signatures>,
    /// Once known.
    pub dmarc: OnceLock<DmarcOutcome>,
}

impl SenderAuthentication {
    /// Of a transaction that begins with this reverse-path.
    pub fn of(reverse_path: ReversePath) -> Arc<Self> {
        Arc::new(Self {
            reverse_path,
            message: OnceLock::new(),
            spf: OnceLock::new(),
            signatures: OnceLock::new(),
            dmarc: OnceLock::new(),
        })
    }

    /// As the client gave it.
    pub fn reverse_path(&self) -> &ReversePath {
        &self.reverse_path
    }

    /// The message has come. Only the first call counts.
    pub fn arrived(&self, message: &Arc<MessageFacts>) {
        self.message.get_or_init(|| message.clone());
    }

    /// As the client sent it, once it has.
    pub fn message(&self) -> Option<&Arc<MessageFacts>> {
        self.message.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::{mailbox, subject};
    use crate::hooks::{Edit, Journal};
    use crate::mail::Header;
    use crate::store::Content;
    use crate::time::Timestamp;

    #[test]
    fn no_edit_changes_what_it_is_about() {
        let message = MessageFacts {
            received_at: Timestamp::from_secs(1_795_473_062),
            header: Header::parse("From: alice@example.org\r\n".into()),
            separator: true,
            body: Content::Memory("as it came".into()),
        };
        let mut subject = subject();
        subject.message = Some(Arc::new(message));
        let about = subject.transaction.as_ref().unwrap().authentication.clone();
        about.arrived(subject.message.as_ref().unwrap());
        let edits = vec![
            Edit::SetSender(ReversePath(Some(mailbox("mallory", "example.net")))),
            Edit::ReplaceBody { body: Content::Memory("another".into()), eight_bit: false },
        ];
        Journal { edits, made: None }.apply(&mut subject, &"p".into(), &"1".into()).unwrap();
        about.arrived(subject.message.as_ref().unwrap());

        let kept = &subject.transaction.as_ref().unwrap().authentication;
        assert!(Arc::ptr_eq(kept, &about), "all clones share one");
        assert_eq!(about.reverse_path().0, Some(mailbox("alice", "example.org")));
        assert_eq!(about.message().map(|m| m.body.len()), Some(10));
    }
}
