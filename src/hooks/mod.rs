//! The hooks: what is asked at each station, what may be answered, and the seam behind which plugins answer.
//!
//! A [`Subject`] says what the running hook is about. A chain of plugins is asked in order; each returns a verdict and
//! a [`Journal`] of edits, which is applied to the subject only if the hook returned ok. May import `mail`, `smtp`,
//! `store` (body handles) and `time`; never `plugin` or `session`.

mod chain;
mod decision;
mod delivery;
mod edits;
#[cfg(test)]
pub(crate) mod fixtures;
mod failure;
mod journal;
mod route;
mod scope;
mod sender_authentication;
mod subject;
mod verdict;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use chain::{Binding, CallError, Called, FailurePolicy, Link, ask, ask_results, ask_routes};
pub use decision::{Cost, Decision, Round};
pub use delivery::{
    AttemptVerdict, BounceEdit, BounceVerdict, DeliveryFacts, Disposition, Outcome, OutcomeKind, Past, ResultAction,
    Stage,
};
pub use edits::normal_form;
pub use failure::Verdict;
pub use journal::{Edit, EditError, Journal};
pub use route::{Assignment, NextHop, Route, RouteGroup, RoutingPhase, RoutingVerdict, TlsPolicy};
pub use scope::{DomainPattern, Scope};
pub use sender_authentication::{
    ArcOutcome, AuthStatus, DkimOutcome, DmarcDisposition, DmarcOutcome, SenderAuthentication, Signatures, SpfIdentity,
    SpfOutcome,
};
pub use subject::{
    ClientCertificate, Endpoint, Identity, MessageFacts, Protocol, SessionFacts, Subject, TlsFacts, TransactionFacts,
};
pub use verdict::{AuthAttempt, AuthVerdict, MessageVerdict, SessionVerdict};

/// The ten stations of a message's way, in the order it passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// After accept, before the banner.
    Connect,
    /// HELO, EHLO.
    Helo,
    /// A secret is at hand.
    Auth,
    /// MAIL.
    Mail,
    /// Each RCPT.
    Rcpt,
    /// After the end of mail data, before the answer.
    Message,
    /// After `Message`; again when a route is asked for from the queue.
    Route,
    /// Before a connection is chosen.
    DeliveryAttempt,
    /// After an attempt.
    DeliveryResult,
    /// Before a bounce is made.
    Bounce,
}

impl Hook {
    /// All ten, in order.
    pub const ALL: [Self; 10] = [
        Self::Connect,
        Self::Helo,
        Self::Auth,
        Self::Mail,
        Self::Rcpt,
        Self::Message,
        Self::Route,
        Self::DeliveryAttempt,
        Self::DeliveryResult,
        Self::Bounce,
    ];

    /// `on-rcpt` and so on, as in the WIT package and in every log line.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Connect => "on-connect",
            Self::Helo => "on-helo",
            Self::Auth => "on-auth",
            Self::Mail => "on-mail",
            Self::Rcpt => "on-rcpt",
            Self::Message => "on-message",
            Self::Route => "on-route",
            Self::DeliveryAttempt => "on-delivery-attempt",
            Self::DeliveryResult => "on-delivery-result",
            Self::Bounce => "on-bounce",
        }
    }
}

/// The answer of a chain: the subject as the plugins' edits left it, and the verdict.
pub type Answer<'a, V> = Pin<Box<dyn Future<Output = (Subject, V)> + Send + 'a>>;

/// The seam between the stations and whoever answers. One value is one immutable set of bindings: a transaction and
/// an attempt keep the set they began with.
pub trait Hooks: Send + Sync + 'static {
    /// False where nobody is bound to the hook: the caller then need not build a subject.
    fn listens(&self, hook: Hook) -> bool;
    /// Which set this is; grows with every reload. For logs.
    fn generation(&self) -> u64;
    /// True where somebody bound to rcpt may accept what the relay's own rule refuses: such recipients are asked about
    /// then, with `subject.unauthorized`, and `Accept` is the only answer that takes them. By default nobody may.
    fn may_authorize(&self) -> bool {
        false
    }
    /// True where somebody bound to auth is shown secrets: what clients offer may be known there and nowhere else, and a
    /// bearer token can be. By default nobody is.
    fn sees_secrets(&self) -> bool {
        false
    }
    /// `subject.session` is there.
    fn connect(&self, subject: Subject) -> Answer<'_, SessionVerdict>;
    /// As `connect`; `name` is HELO's argument.
    fn helo(&self, subject: Subject, name: Arc<str>) -> Answer<'_, SessionVerdict>;
    /// As `connect`. The secret reaches only plugins that were granted it.
    fn auth(&self, subject: Subject, attempt: AuthAttempt) -> Answer<'_, AuthVerdict>;
    /// `subject.transaction` is there from here on; its sender is the argument.
    fn mail(&self, subject: Subject) -> Answer<'_, SessionVerdict>;
    /// `subject.candidate` is the recipient in question, and may come back rewritten.
    fn rcpt(&self, subject: Subject) -> Answer<'_, SessionVerdict>;
    /// `subject.message` is there.
    fn message(&self, subject: Subject) -> Answer<'_, MessageVerdict>;
    /// Groups of all plugins merged; a recipient in none of them goes to the relay's own routing.
    fn route(&self, subject: Subject, phase: RoutingPhase) -> Answer<'_, RoutingVerdict>;
    /// `subject.delivery` is there, from here on.
    fn delivery_attempt(&self, subject: Subject) -> Answer<'_, AttemptVerdict>;
    /// One outcome for each recipient of the attempt.
    fn delivery_result(&self, subject: Subject, outcomes: Arc<[Outcome]>) -> Answer<'_, Vec<Disposition>>;
    /// The recipients a bounce is about to report.
    fn bounce(&self, subject: Subject, failed: Arc<[Outcome]>) -> Answer<'_, BounceVerdict>;
}
