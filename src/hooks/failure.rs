//! What a failed plugin costs: the verdict that stands for it, by hook and policy.
//!
//! Pure. The peer learns a code and bland words; the cause is for the log.

use super::{
    AttemptVerdict, AuthVerdict, BounceVerdict, Disposition, FailurePolicy, Hook, MessageVerdict, RoutingVerdict,
    SessionVerdict,
};
use crate::smtp::{Reply, Status};
use serde::Serialize;

/// What a verdict does to the rest of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The next plugin is asked.
    Next,
    /// Only mandatory plugins are asked.
    Favour,
    /// Nobody else is asked.
    End,
}

/// What the chain needs to know of a verdict.
pub trait Verdict: Serialize + Send + Sync {
    /// No opinion.
    fn proceed() -> Self;
    /// What it does to the rest of the chain.
    fn fate(&self) -> Fate;
    /// What stands for the verdict of a plugin that failed.
    fn of_failure(hook: Hook, policy: FailurePolicy) -> Self;
    /// In one word, as in the contract.
    fn word(&self) -> &'static str;
    /// What the client is told of it, for the log.
    fn told(&self) -> String;
}

const RELAYS_DEFAULT: &str = "nothing: the relay's default applies";

fn temporary(hook: Hook) -> Reply {
    match hook {
        // RFC 5321 section 3.8: a greeting that is not given is a 421.
        Hook::Connect => Reply::new(421, Status::new(4, 3, 0), "Service not available, try again later"),
        // RFC 4954 section 4.7.
        Hook::Auth => Reply::new(454, Status::new(4, 7, 0), "Temporary authentication failure"),
        _ => Reply::new(451, Status::new(4, 3, 0), "Local error in processing, try again later"),
    }
}

fn permanent(hook: Hook) -> Reply {
    let code = match hook {
        Hook::Helo | Hook::Mail | Hook::Rcpt => 550,
        _ => 554,
    };
    Reply::new(code, Status::new(5, 3, 0), "Refused, the mail system has a local problem")
}

impl Verdict for SessionVerdict {
    fn proceed() -> Self {
        Self::Proceed
    }

    fn fate(&self) -> Fate {
        match self {
            Self::Proceed => Fate::Next,
            Self::Accept => Fate::Favour,
            Self::Reject(_) | Self::Tempfail(_) | Self::Close(_) => Fate::End,
        }
    }

    fn of_failure(hook: Hook, policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Tempfail => Self::Tempfail(temporary(hook)),
            FailurePolicy::Skip => Self::Proceed,
            FailurePolicy::Reject => Self::Reject(permanent(hook)),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Accept => "accept",
            Self::Reject(_) => "reject",
            Self::Tempfail(_) => "tempfail",
            Self::Close(_) => "close",
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Proceed | Self::Accept => RELAYS_DEFAULT.to_owned(),
            Self::Reject(reply) | Self::Tempfail(reply) | Self::Close(reply) => reply.to_string(),
        }
    }
}

impl Verdict for MessageVerdict {
    fn proceed() -> Self {
        Self::Proceed
    }

    fn fate(&self) -> Fate {
        match self {
            Self::Proceed => Fate::Next,
            Self::Accept => Fate::Favour,
            Self::Reject(_) | Self::Tempfail(_) | Self::Discard(_) | Self::Quarantine(_) => Fate::End,
        }
    }

    fn of_failure(hook: Hook, policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Tempfail => Self::Tempfail(temporary(hook)),
            FailurePolicy::Skip => Self::Proceed,
            FailurePolicy::Reject => Self::Reject(permanent(hook)),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Accept => "accept",
            Self::Reject(_) => "reject",
            Self::Tempfail(_) => "tempfail",
            Self::Discard(_) => "discard",
            Self::Quarantine(_) => "quarantine",
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Reject(reply) | Self::Tempfail(reply) => reply.to_string(),
            _ => RELAYS_DEFAULT.to_owned(),
        }
    }
}

impl Verdict for AuthVerdict {
    fn proceed() -> Self {
        Self::Proceed
    }

    fn fate(&self) -> Fate {
        if matches!(self, Self::Proceed) { Fate::Next } else { Fate::End }
    }

    fn of_failure(hook: Hook, policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Tempfail => Self::Tempfail(temporary(hook)),
            FailurePolicy::Skip => Self::Proceed,
            FailurePolicy::Reject => Self::Failure(permanent(hook)),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Success(_) => "success",
            Self::Failure(_) => "failure",
            Self::Tempfail(_) => "tempfail",
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Proceed | Self::Success(_) => RELAYS_DEFAULT.to_owned(),
            Self::Failure(reply) | Self::Tempfail(reply) => reply.to_string(),
        }
    }
}

impl Verdict for RoutingVerdict {
    fn proceed() -> Self {
        Self::Proceed
    }

    fn fate(&self) -> Fate {
        if matches!(self, Self::Reject(_) | Self::Tempfail(_)) { Fate::End } else { Fate::Next }
    }

    fn of_failure(hook: Hook, policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Tempfail => Self::Tempfail(temporary(hook)),
            FailurePolicy::Skip => Self::Proceed,
            FailurePolicy::Reject => Self::Reject(permanent(hook)),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Assign(_) => "assign",
            Self::Reject(_) => "reject",
            Self::Tempfail(_) => "tempfail",
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Reject(reply) | Self::Tempfail(reply) => reply.to_string(),
            Self::Proceed | Self::Assign(_) => RELAYS_DEFAULT.to_owned(),
        }
    }
}

/// At the delivery hooks nobody waits for an answer: whatever the policy, the relay's default applies.
impl Verdict for AttemptVerdict {
    fn proceed() -> Self {
        Self::Proceed
    }

    fn fate(&self) -> Fate {
        if matches!(self, Self::Proceed) { Fate::Next } else { Fate::End }
    }

    fn of_failure(_: Hook, _: FailurePolicy) -> Self {
        Self::Proceed
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::HoldSeconds(_) => "hold-seconds",
            Self::Reroute(_) => "reroute",
            Self::Fail(_) => "fail",
        }
    }

    fn told(&self) -> String {
        RELAYS_DEFAULT.to_owned()
    }
}

impl Verdict for Vec<Disposition> {
    fn proceed() -> Self {
        Self::new()
    }

    fn fate(&self) -> Fate {
        Fate::Next
    }

    fn of_failure(_: Hook, _: FailurePolicy) -> Self {
        Self::new()
    }

    /// Of several actions, the first that is not `proceed`.
    fn word(&self) -> &'static str {
        self.iter().map(|d| d.action.word()).find(|word| *word != "proceed").unwrap_or("proceed")
    }

    fn told(&self) -> String {
        RELAYS_DEFAULT.to_owned()
    }
}

impl Verdict for BounceVerdict {
    fn proceed() -> Self {
        Self::Proceed
    }

    fn fate(&self) -> Fate {
        if matches!(self, Self::Proceed) { Fate::Next } else { Fate::End }
    }

    fn of_failure(_: Hook, _: FailurePolicy) -> Self {
        Self::Proceed
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Edit(_) => "edit",
            Self::Suppress(_) => "suppress",
        }
    }

    fn told(&self) -> String {
        RELAYS_DEFAULT.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_has_its_replies() {
        let code = |hook, policy| match SessionVerdict::of_failure(hook, policy) {
            SessionVerdict::Tempfail(reply) | SessionVerdict::Reject(reply) => reply.to_string()[..9].to_owned(),
            other => format!("{other:?}"),
        };
        use FailurePolicy::{Reject, Skip, Tempfail};
        let table: Vec<_> = [Hook::Connect, Hook::Helo, Hook::Mail, Hook::Rcpt]
            .map(|hook| (code(hook, Tempfail), code(hook, Reject), code(hook, Skip)))
            .into();
        let row = |a: &str, b: &str| (a.to_owned(), b.to_owned(), "Proceed".to_owned());
        let others = row("451 4.3.0", "550 5.3.0");
        assert_eq!(table, [row("421 4.3.0", "554 5.3.0"), others.clone(), others.clone(), others]);
        assert!(AuthVerdict::of_failure(Hook::Auth, Tempfail).told().starts_with("454 4.7.0"));
        assert!(AuthVerdict::of_failure(Hook::Auth, Reject).told().starts_with("554 5.3.0"));
        assert!(MessageVerdict::of_failure(Hook::Message, Tempfail).told().starts_with("451 4.3.0"));
        assert!(RoutingVerdict::of_failure(Hook::Route, Reject).told().starts_with("554 5.3.0"));
    }

    #[test]
    fn delivery_hooks_fall_back_to_the_relay() {
        for policy in [FailurePolicy::Tempfail, FailurePolicy::Skip, FailurePolicy::Reject] {
            assert_eq!(AttemptVerdict::of_failure(Hook::DeliveryAttempt, policy), AttemptVerdict::Proceed);
            assert!(Vec::<Disposition>::of_failure(Hook::DeliveryResult, policy).is_empty());
            assert_eq!(BounceVerdict::of_failure(Hook::Bounce, policy), BounceVerdict::Proceed);
        }
    }
}
