//! The ten questions: what each hook is asked with, and how its answer is checked.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bindings::exports::waypost::plugin::on_auth;
use super::bindings::waypost::plugin as wit;
use super::convert;
use super::instance::{Live, guest};
use super::load::Linked;
use super::verdicts::{self, Checked};
use crate::hooks::{
    AttemptVerdict, AuthAttempt, AuthVerdict, BounceVerdict, Disposition, Hook, MessageVerdict, Outcome, RoutingPhase,
    RoutingVerdict, SessionVerdict, Subject, Verdict,
};

/// One hook's question, which can be written down and put again.
pub(crate) trait Ask: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where it is asked.
    const HOOK: Hook;
    /// The guest's answer.
    type Said: Send;
    /// The relay's.
    type Verdict: Verdict + Clone + PartialEq + 'static;

    /// Calls the guest.
    fn put(
        &self,
        live: &mut Live,
        linked: &Linked,
    ) -> impl Future<Output = wasmtime::Result<Result<Self::Said, String>>> + Send;

    /// Looks whether the answer fits.
    fn check(&self, said: Self::Said) -> Checked<Self::Verdict>;
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Connect;

impl Ask for Connect {
    const HOOK: Hook = Hook::Connect;
    type Said = wit::types::SessionVerdict;
    type Verdict = SessionVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, connect);
        guest.call_handle(&mut live.store).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::session(said)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Helo(pub Arc<str>);

impl Ask for Helo {
    const HOOK: Hook = Hook::Helo;
    type Said = wit::types::SessionVerdict;
    type Verdict = SessionVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, helo);
        guest.call_handle(&mut live.store, &self.0).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::session(said)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Auth {
    #[serde(flatten)]
    attempt: on_auth::Attempt,
    /// The exchange proved the name: there is no secret to see.
    #[serde(default)]
    proven: bool,
}

impl Auth {
    /// The secret only for those who were granted it.
    pub(crate) fn of(attempt: &AuthAttempt, secrets: bool) -> Self {
        let proven = attempt.secret.is_none();
        let attempt = on_auth::Attempt {
            mechanism: attempt.mechanism.to_string(),
            name: attempt.name.to_string(),
            acts_as: convert::text(&attempt.acts_as),
            details: attempt.details.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            secret: attempt.secret.as_deref().filter(|_| secrets).map(str::to_owned),
        };
        Self { attempt, proven }
    }
}

impl Ask for Auth {
    const HOOK: Hook = Hook::Auth;
    type Said = on_auth::AuthVerdict;
    type Verdict = AuthVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, auth);
        guest.call_handle(&mut live.store, &self.attempt).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::auth(said, &self.attempt, self.proven)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Mail(Option<wit::types::Mailbox>);

impl Mail {
    pub(crate) fn of(subject: &Subject) -> Self {
        Self(subject.transaction.as_ref().and_then(|t| convert::sender(&t.sender)))
    }
}

impl Ask for Mail {
    const HOOK: Hook = Hook::Mail;
    type Said = wit::types::SessionVerdict;
    type Verdict = SessionVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, mail);
        guest.call_handle(&mut live.store, self.0.as_ref()).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::session(said)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Rcpt(wit::transactions::Recipient);

impl Rcpt {
    /// None where there is no candidate: the caller's fault.
    pub(crate) fn of(subject: &Subject) -> Option<Self> {
        subject.candidate.as_ref().map(|candidate| Self(convert::recipient(candidate)))
    }
}

impl Ask for Rcpt {
    const HOOK: Hook = Hook::Rcpt;
    type Said = wit::types::SessionVerdict;
    type Verdict = SessionVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, rcpt);
        guest.call_handle(&mut live.store, &self.0).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::session(said)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Message;

impl Ask for Message {
    const HOOK: Hook = Hook::Message;
    type Said = wit::types::MessageVerdict;
    type Verdict = MessageVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, message);
        guest.call_handle(&mut live.store).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::message(said)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Route {
    phase: wit::routing::RoutingPhase,
    recipients: Vec<wit::transactions::Recipient>,
    open: Arc<[u32]>,
}

impl Route {
    pub(crate) fn of(subject: &Subject, phase: RoutingPhase, open: Arc<[u32]>) -> Self {
        let all = subject.transaction.iter().flat_map(|t| t.recipients.iter());
        // Of recipients that plugins added there may be thousands.
        let asked: HashSet<u32> = open.iter().copied().collect();
        Self {
            phase: match phase {
                RoutingPhase::Arrival => wit::routing::RoutingPhase::Arrival,
                RoutingPhase::Requeue => wit::routing::RoutingPhase::Requeue,
            },
            recipients: all.filter(|r| asked.contains(&r.index)).map(convert::recipient).collect(),
            open,
        }
    }
}

impl Ask for Route {
    const HOOK: Hook = Hook::Route;
    type Said = wit::routing::RoutingVerdict;
    type Verdict = RoutingVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, route);
        guest.call_handle(&mut live.store, self.phase, &self.recipients).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::routing(said, &self.open)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeliveryAttempt;

impl Ask for DeliveryAttempt {
    const HOOK: Hook = Hook::DeliveryAttempt;
    type Said = wit::deliveries::AttemptVerdict;
    type Verdict = AttemptVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, delivery_attempt);
        guest.call_handle(&mut live.store).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::attempt(said)
    }
}

/// Outcomes as the guest sees them, with the connection's TLS.
fn outcomes(subject: &Subject, outcomes: &[Outcome]) -> Vec<wit::deliveries::RecipientOutcome> {
    let tls = subject.delivery.as_ref().and_then(|d| d.tls.as_ref());
    outcomes.iter().map(|outcome| convert::outcome(outcome, tls)).collect()
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeliveryResult(Vec<wit::deliveries::RecipientOutcome>);

impl DeliveryResult {
    pub(crate) fn of(subject: &Subject, of: &[Outcome]) -> Self {
        Self(outcomes(subject, of))
    }
}

impl Ask for DeliveryResult {
    const HOOK: Hook = Hook::DeliveryResult;
    type Said = Vec<wit::deliveries::RecipientDisposition>;
    type Verdict = Vec<Disposition>;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, delivery_result);
        guest.call_handle(&mut live.store, &self.0).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::dispositions(said, self.0.iter().map(|outcome| outcome.recipient))
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Bounce(Vec<wit::deliveries::RecipientOutcome>);

impl Bounce {
    pub(crate) fn of(subject: &Subject, failed: &[Outcome]) -> Self {
        Self(outcomes(subject, failed))
    }
}

impl Ask for Bounce {
    const HOOK: Hook = Hook::Bounce;
    type Said = wit::deliveries::BounceVerdict;
    type Verdict = BounceVerdict;

    async fn put(&self, live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<Self::Said, String>> {
        let guest = guest!(live, linked, bounce);
        guest.call_handle(&mut live.store, &self.0).await
    }

    fn check(&self, said: Self::Said) -> Checked<Self::Verdict> {
        verdicts::bounce(said)
    }
}
