//! Which TLS a host must have before it gets a message. Pure: everything that was found out is handed in.
//!
//! Decides nothing about certificates; those who do are told what to insist on. Must never weaken what the operator wrote, and
//! must never let a failed look-up pass for "there is no policy" where that would open a way down (RFC 7672 section 2.1).

use std::sync::Arc;

use crate::hooks::TlsPolicy;
use crate::smtp::{Reply, Status};
use crate::tls::Dane;

/// Everything that has a say in how one host is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What the operator, or a plugin's route, says. `Inherit` counts as `Opportunistic`.
    pub policy: TlsPolicy,
    /// What DNS says about this host's certificate.
    pub dane: DaneFinding,
    /// What the domain says about its hosts over HTTPS.
    pub sts: StsFinding,
    /// How the host's name is known.
    pub name: NameTrust,
    /// What the sender wants for this message.
    pub asked: Asked,
    /// What became of the last handshake with it.
    pub memory: Remembered,
}

/// What was found about DANE for a host (RFC 7672 section 2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DaneFinding {
    /// Nothing that could be trusted: no records, or not from a signed zone.
    #[default]
    Absent,
    /// Signed records, none of which can be used (RFC 7672 section 2.2): TLS is a must, whoever answers.
    Unusable,
    /// Signed records, some of which can be used.
    Records(Arc<Dane>),
    /// It could not be found out. Who can make look-ups fail must not get mail by it (RFC 7672 section 2.1.2).
    Failed,
}

/// What was found about MTA-STS for a host (RFC 8461).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StsFinding {
    /// The domain has no policy, or one that asks for nothing.
    #[default]
    Absent,
    /// There may be one that could not be had: mail goes as if there were none (RFC 8461 section 5).
    Unknown,
    /// There is one, and failures are only to be told of.
    Testing {
        /// A pattern of the policy fits this host.
        names_host: bool,
    },
    /// There is one, and it is to be kept.
    Enforce {
        /// A pattern of the policy fits this host.
        names_host: bool,
    },
}

/// How the relay came to know the host's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameTrust {
    /// From an answer that anybody on the way could have made up.
    #[default]
    Unproven,
    /// From a signed answer (DNSSEC).
    Secure,
    /// The operator wrote it down.
    Configured,
}

/// What the sender asked for this message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// REQUIRETLS (RFC 8689 section 2): verified TLS all the way, or the message comes back.
    RequireTls,
    /// The field `TLS-Required: No` (RFC 8689 section 5): rather in plain text than not at all.
    NotRequired,
}

/// What is remembered of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remembered {
    /// Nothing.
    #[default]
    Nothing,
    /// The handshake failed a short while ago.
    HandshakeFailed,
}

/// What a connection must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// How much TLS.
    pub level: Level,
    /// Why, for logs and whoever asks.
    pub because: &'static str,
    /// It follows from a policy of the recipient's that was found by DNS or HTTPS: `TLS-Required: No` lifts it.
    pub discovered: bool,
    /// The certificate is looked at as under [`Level::Verify`], and what is wrong with it only told of.
    pub audit: bool,
    /// The host's name is known for sure, so that a certificate for it says something (RFC 8689 section 4.2.1).
    pub named: bool,
}

/// How much TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// None: the operator says so.
    Off,
    /// None, though the policy would like some: a handshake failed lately. No secrets go over it.
    Plain,
    /// If it is offered; the certificate is not judged, and plain text does as well (RFC 7435).
    Opportunistic,
    /// A must; the certificate is not judged.
    Encrypt,
    /// A must, with a certificate that verifies for the host's name.
    Verify,
    /// A must, with a certificate that a record fits.
    Dane(Arc<Dane>),
    /// This host gets no mail.
    Refuse(Refusal),
}

/// Why a host gets no mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The look-up of its TLSA records failed.
    TlsaUnknown,
    /// The route wants DANE, and there is nothing to go by.
    NoTlsa,
    /// The domain's MTA-STS policy does not name it.
    NotInPolicy,
    /// The sender requires TLS, and whether this is a host of the domain can't be told now.
    NameUnknown,
    /// The sender requires TLS, and nothing proves that this is a host of the domain.
    NameUnproven,
}

/// What this host must be like. The first that has a say wins: the operator's word, DANE, MTA-STS (RFC 8461 section 2), memory.
pub fn requirement(case: &Case) -> Requirement {
    let named = case.name != NameTrust::Unproven || names_host(case.sts);
    let (level, because, discovered) = match (case.asked, case.policy) {
        (Asked::RequireTls, _) => required(case, named),
        (_, TlsPolicy::Off) => (Level::Off, "tls = \"off\"", false),
        (Asked::NotRequired, _) => own(case),
        (Asked::Nothing, _) => found(case).unwrap_or_else(|| own(case)),
    };
    let audit = matches!(case.sts, StsFinding::Testing { .. })
        && case.dane == DaneFinding::Absent
        && case.asked != Asked::NotRequired
        && matches!(level, Level::Opportunistic | Level::Encrypt);
    // A host that somebody wants something of is never spared the handshake.
    if level == Level::Opportunistic && !audit && case.memory == Remembered::HandshakeFailed {
        let because = "the last TLS handshake with this host failed";
        return Requirement { level: Level::Plain, because, discovered, audit, named };
    }
    Requirement { level, because, discovered, audit, named }
}

type Decided = (Level, &'static str, bool);

/// By the operator's word alone.
fn own(case: &Case) -> Decided {
    match case.policy {
        TlsPolicy::Off => (Level::Off, "tls = \"off\"", false),
        TlsPolicy::Inherit | TlsPolicy::Opportunistic => (Level::Opportunistic, "tls = \"opportunistic\"", false),
        TlsPolicy::Encrypt => (Level::Encrypt, "tls = \"encrypt\"", false),
        TlsPolicy::Verify => (Level::Verify, "tls = \"verify\"", false),
        TlsPolicy::Dane => mandatory_dane(&case.dane),
    }
}

/// By what the recipient's domain publishes. None: it has nothing to add.
fn found(case: &Case) -> Option<Decided> {
    let enforced = match case.sts {
        StsFinding::Enforce { names_host: false } => {
            Some((Level::Refuse(Refusal::NotInPolicy), "the MTA-STS policy does not name this host", true))
        }
        StsFinding::Enforce { names_host: true } => Some((Level::Verify, "the MTA-STS policy is to be enforced", true)),
        StsFinding::Absent | StsFinding::Unknown | StsFinding::Testing { .. } => None,
    };
    match (case.policy, &case.dane) {
        (TlsPolicy::Off | TlsPolicy::Dane, _) => None,
        // The operator trusts authorities: a record in DNS does not replace them, but a policy may leave hosts out.
        (TlsPolicy::Verify, _) => enforced.filter(|(level, ..)| *level != Level::Verify),
        (_, DaneFinding::Records(dane)) => {
            Some((Level::Dane(Arc::clone(dane)), "the host has signed TLSA records", true))
        }
        (_, DaneFinding::Failed) => {
            Some((Level::Refuse(Refusal::TlsaUnknown), "the look-up of the host's TLSA records failed", true))
        }
        (_, DaneFinding::Unusable) => {
            enforced.or(Some((Level::Encrypt, "the host has signed TLSA records, none of which can be used", true)))
        }
        (_, DaneFinding::Absent) => enforced,
    }
}

/// RFC 8689 section 4.2.1: the host must prove its name, and the name must be known to be the domain's.
fn required(case: &Case, named: bool) -> Decided {
    const BECAUSE: &str = "the sender requires TLS";
    if let Some((level @ Level::Refuse(_), because, discovered)) = found(case) {
        return (level, because, discovered);
    }
    if !named {
        let refusal = if case.sts == StsFinding::Unknown { Refusal::NameUnknown } else { Refusal::NameUnproven };
        return (Level::Refuse(refusal), BECAUSE, false);
    }
    match (case.policy, &case.dane) {
        (TlsPolicy::Dane, dane) => mandatory_dane(dane),
        (TlsPolicy::Verify, _) => own(case),
        (_, DaneFinding::Records(_)) => found(case).unwrap_or((Level::Verify, BECAUSE, false)),
        _ => (Level::Verify, BECAUSE, false),
    }
}

fn mandatory_dane(dane: &DaneFinding) -> Decided {
    const BECAUSE: &str = "tls = \"dane\"";
    match dane {
        DaneFinding::Records(dane) => (Level::Dane(Arc::clone(dane)), BECAUSE, false),
        DaneFinding::Failed => (Level::Refuse(Refusal::TlsaUnknown), BECAUSE, false),
        DaneFinding::Absent | DaneFinding::Unusable => (Level::Refuse(Refusal::NoTlsa), BECAUSE, false),
    }
}

fn names_host(sts: StsFinding) -> bool {
    matches!(sts, StsFinding::Enforce { names_host: true } | StsFinding::Testing { names_host: true })
}

impl Requirement {
    /// By a policy alone, where nothing else is known.
    pub fn of(policy: TlsPolicy) -> Self {
        requirement(&Case { policy, ..Case::default() })
    }

    /// A connection that meets it is one to a host that has proved who it is.
    pub fn proves_host(&self) -> bool {
        matches!(self.level, Level::Verify | Level::Dane(_))
    }
}

impl Asked {
    /// By the parameter REQUIRETLS and the field `TLS-Required: No`: the parameter wins (RFC 8689 section 5).
    pub fn of(require_tls: bool, not_required: bool) -> Self {
        match (require_tls, not_required) {
            (true, _) => Self::RequireTls,
            (false, true) => Self::NotRequired,
            (false, false) => Self::Nothing,
        }
    }
}

impl Refusal {
    /// Nothing that may change by itself stands in the way.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::NameUnproven)
    }

    /// What senders are told.
    pub fn reply(self) -> Reply {
        let (status, text) = match self {
            Self::TlsaUnknown => (Status::new(4, 7, 5), "the TLSA records of the next hop can't be looked up now"),
            Self::NoTlsa => (Status::new(4, 7, 5), "the next hop has no usable TLSA records, and DANE is required"),
            Self::NotInPolicy => (Status::new(4, 7, 5), "the domain's MTA-STS policy does not name this host"),
            Self::NameUnknown => (Status::new(4, 7, 5), "TLS is required, and the domain's policy can't be had now"),
            // RFC 8689 section 4.2.1: without a host that will do, the message comes back.
            Self::NameUnproven => {
                let text = "TLS is required, and neither DNSSEC nor MTA-STS proves the next hop's name";
                return Reply::new(550, Status::new(5, 7, 30), text);
            }
        };
        Reply::new(451, status, text)
    }
}

#[cfg(test)]
mod tests {
    use super::Asked::{NotRequired, RequireTls};
    use super::StsFinding::{Enforce, Testing, Unknown};
    use super::*;

    fn records() -> DaneFinding {
        DaneFinding::Records(Arc::new(Dane { records: Arc::default(), names: Arc::new(["mx.test".into()]) }))
    }

    fn short(requirement: &Requirement) -> String {
        let level = match &requirement.level {
            Level::Off => "off",
            Level::Plain => "plain",
            Level::Opportunistic => "opportunistic",
            Level::Encrypt => "encrypt",
            Level::Verify => "verify",
            Level::Dane(_) => "dane",
            Level::Refuse(refusal) if refusal.is_permanent() => "bounce",
            Level::Refuse(_) => "refuse",
        };
        format!(
            "{level}{}{}",
            if requirement.discovered { " found" } else { "" },
            if requirement.audit { " audit" } else { "" }
        )
    }

    const NAMED: StsFinding = Enforce { names_host: true };
    const UNNAMED: StsFinding = Enforce { names_host: false };
    const TRIAL: StsFinding = Testing { names_host: true };
    const TRIAL_ELSEWHERE: StsFinding = Testing { names_host: false };

    fn check(asked: Asked, name: NameTrust, memory: Remembered, table: &[(TlsPolicy, DaneFinding, StsFinding, &str)]) {
        for (policy, dane, sts, expected) in table {
            let case = Case { policy: *policy, dane: dane.clone(), sts: *sts, name, asked, memory };
            assert_eq!(short(&requirement(&case)), *expected, "{case:?}");
        }
    }

    #[test]
    fn dane_beats_mta_sts_and_neither_weakens_the_operator() {
        use DaneFinding::{Absent, Failed, Unusable};
        use TlsPolicy::{Dane, Encrypt, Inherit, Off, Opportunistic, Verify};
        let table = [
            (Inherit, Absent, StsFinding::Absent, "opportunistic"),
            (Opportunistic, Absent, Unknown, "opportunistic"),
            (Opportunistic, Absent, NAMED, "verify found"),
            (Opportunistic, Absent, UNNAMED, "refuse found"),
            (Opportunistic, Absent, TRIAL, "opportunistic audit"),
            (Opportunistic, Absent, TRIAL_ELSEWHERE, "opportunistic audit"),
            (Opportunistic, records(), StsFinding::Absent, "dane found"),
            (Opportunistic, records(), NAMED, "dane found"),
            (Opportunistic, records(), UNNAMED, "dane found"),
            (Opportunistic, Unusable, StsFinding::Absent, "encrypt found"),
            (Opportunistic, Unusable, NAMED, "verify found"),
            (Opportunistic, Unusable, UNNAMED, "refuse found"),
            (Opportunistic, Unusable, TRIAL, "encrypt found"),
            // MTA-STS must not make up for DANE that fails (RFC 8461 section 2).
            (Opportunistic, Failed, NAMED, "refuse found"),
            (Encrypt, Absent, StsFinding::Absent, "encrypt"),
            (Encrypt, Absent, NAMED, "verify found"),
            (Encrypt, Absent, TRIAL, "encrypt audit"),
            (Encrypt, records(), StsFinding::Absent, "dane found"),
            (Encrypt, Failed, StsFinding::Absent, "refuse found"),
            (Verify, records(), StsFinding::Absent, "verify"),
            (Verify, Unusable, NAMED, "verify"),
            (Verify, Failed, StsFinding::Absent, "verify"),
            (Verify, Absent, UNNAMED, "refuse found"),
            (Verify, Absent, TRIAL, "verify"),
            (Dane, records(), UNNAMED, "dane"),
            (Dane, Absent, NAMED, "refuse"),
            (Dane, Unusable, NAMED, "refuse"),
            (Dane, Failed, NAMED, "refuse"),
            (Off, records(), NAMED, "off"),
            (Off, Failed, UNNAMED, "off"),
        ];
        check(Asked::Nothing, NameTrust::Unproven, Remembered::Nothing, &table);
    }

    #[test]
    fn tls_required_no_lifts_what_was_found_and_nothing_else() {
        use DaneFinding::{Absent, Failed, Unusable};
        use TlsPolicy::{Dane, Encrypt, Off, Opportunistic, Verify};
        let table = [
            (Opportunistic, records(), NAMED, "opportunistic"),
            (Opportunistic, Failed, StsFinding::Absent, "opportunistic"),
            (Opportunistic, Unusable, UNNAMED, "opportunistic"),
            (Opportunistic, Absent, TRIAL, "opportunistic"),
            (Encrypt, records(), NAMED, "encrypt"),
            (Verify, Absent, UNNAMED, "verify"),
            (Dane, records(), NAMED, "dane"),
            (Dane, Absent, StsFinding::Absent, "refuse"),
            (Off, records(), NAMED, "off"),
        ];
        check(NotRequired, NameTrust::Unproven, Remembered::Nothing, &table);
    }

    #[test]
    fn what_requires_tls_goes_to_proven_hosts_of_proven_names_only() {
        use DaneFinding::{Absent, Failed, Unusable};
        use TlsPolicy::{Dane, Off, Opportunistic, Verify};
        let unproven = [
            (Opportunistic, Absent, StsFinding::Absent, "bounce"),
            (Verify, Absent, StsFinding::Absent, "bounce"),
            (Off, Absent, StsFinding::Absent, "bounce"),
            (Opportunistic, Absent, Unknown, "refuse"),
            (Opportunistic, Absent, NAMED, "verify"),
            (Opportunistic, Absent, TRIAL, "verify"),
            (Opportunistic, Absent, TRIAL_ELSEWHERE, "bounce"),
            (Opportunistic, Absent, UNNAMED, "refuse found"),
        ];
        check(RequireTls, NameTrust::Unproven, Remembered::HandshakeFailed, &unproven);
        let proven = [
            (Opportunistic, Absent, StsFinding::Absent, "verify"),
            (Opportunistic, Unusable, StsFinding::Absent, "verify"),
            (Opportunistic, records(), StsFinding::Absent, "dane found"),
            (Opportunistic, Failed, NAMED, "refuse found"),
            (Opportunistic, Absent, UNNAMED, "refuse found"),
            (Verify, records(), StsFinding::Absent, "verify"),
            (Dane, Absent, NAMED, "refuse"),
            (Off, Absent, StsFinding::Absent, "verify"),
        ];
        for name in [NameTrust::Secure, NameTrust::Configured] {
            check(RequireTls, name, Remembered::HandshakeFailed, &proven);
        }
    }

    #[test]
    fn a_failed_handshake_is_remembered_only_where_nobody_wants_tls() {
        use DaneFinding::{Absent, Unusable};
        use TlsPolicy::{Encrypt, Inherit, Off, Opportunistic, Verify};
        let table = [
            (Inherit, Absent, StsFinding::Absent, "plain"),
            (Opportunistic, Absent, Unknown, "plain"),
            (Opportunistic, Absent, TRIAL, "opportunistic audit"),
            (Opportunistic, Absent, NAMED, "verify found"),
            (Opportunistic, Unusable, StsFinding::Absent, "encrypt found"),
            (Opportunistic, records(), StsFinding::Absent, "dane found"),
            (Encrypt, Absent, StsFinding::Absent, "encrypt"),
            (Verify, Absent, StsFinding::Absent, "verify"),
            (Off, Absent, StsFinding::Absent, "off"),
        ];
        check(Asked::Nothing, NameTrust::Secure, Remembered::HandshakeFailed, &table);
    }

    #[test]
    fn only_what_will_never_do_comes_back() {
        use Refusal::{NameUnknown, NameUnproven, NoTlsa, NotInPolicy, TlsaUnknown};
        for refusal in [TlsaUnknown, NoTlsa, NotInPolicy, NameUnknown, NameUnproven] {
            let reply = refusal.reply();
            assert_eq!(reply.is_permanent(), refusal.is_permanent(), "{reply}");
            assert_eq!(reply.status.map(|s| s.class), Some(u8::try_from(reply.code / 100).unwrap()), "{reply}");
        }
        assert_eq!(Asked::of(true, true), RequireTls);
        assert_eq!(Asked::of(false, true), NotRequired);
    }
}
