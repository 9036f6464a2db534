//! Runs a plugin's hooks natively, whole, in `cargo test`: a [`World`] says what the relay would know and offer, and a
//! [`Run`] what came of one call.
//!
//! ```ignore
//! use waypost_plugin::testing::World;
//!
//! let mut world = World::new().client("192.0.2.1").config(r#"{"unread": ["no-reply"]}"#);
//! let run = world.rcpt::<NoReply>("no-reply@example.com");
//! assert_eq!(run.refusal(), "550 5.7.1 nobody reads that mailbox");
//! ```
//!
//! Nothing is granted that the test does not grant. The clock stands still but for [`World::advance`]. Nothing here is part of
//! a component, and nothing leaves the thread of the test. What does not make sense in a test's description panics.

mod build;
mod run;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

pub use crate::native::http::{Asked, Fault};
pub use run::{Run, Spoken};
pub use text::{hop, mailbox, outcome};

use crate::native::install;
use crate::native::mail::Mail;
use crate::native::state::{At, Call, State, Transaction};
use crate::{
    Attempt, AttemptVerdict, AuthVerdict, BounceVerdict, Lifecycle, MessageVerdict, OnAuth, OnBounce, OnConnect,
    OnDeliveryAttempt, OnDeliveryResult, OnHelo, OnMail, OnMessage, OnRcpt, OnRoute, Outcome, Protocol, Recipient,
    RecipientDisposition, RecipientOutcome, RoutingPhase, RoutingVerdict, SessionVerdict,
};

/// The relay around a plugin: a client, its mail, and the services. What a hook leaves behind (notes, annotations, edits,
/// kv) is there for the next one.
#[derive(Debug)]
pub struct World {
    state: State,
}

impl World {
    /// A stranger at 192.0.2.1, an empty table of settings, no grants, 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self { state: State { world: serial(), ..State::default() } }
    }

    /// What happens at load: `validate-config`, then `self-test` and `init`. Warnings, or what is wrong.
    ///
    /// # Errors
    /// What the plugin says is wrong.
    pub fn load<P: Lifecycle>(&mut self) -> Result<Vec<String>, Vec<String>> {
        let document = self.state.services.config.clone();
        let load = || match P::validate_config(&document) {
            Ok(warnings) => Ok(P::self_test().and_then(|()| P::init()).map(|()| warnings).map_err(|error| vec![error])),
            Err(errors) => Ok(Err(errors)),
        };
        self.call(At::Nowhere, load).verdict.unwrap_or_else(|error| Err(vec![error]))
    }

    /// Asks the connect hook.
    pub fn connect<P: OnConnect>(&mut self) -> Run<SessionVerdict> {
        self.call(At::Connect, P::on_connect)
    }

    /// Asks the helo hook about an EHLO.
    pub fn helo<P: OnHelo>(&mut self, name: &str) -> Run<SessionVerdict> {
        let session = &mut self.state.subject.session;
        session.helo = Some(name.to_owned());
        session.protocol = Protocol::Esmtp;
        self.call(At::Helo, || P::on_helo(name.to_owned()))
    }

    /// Asks the auth hook. No secret: the plugin was not granted `auth-secrets`. A success is the client's identity from
    /// then on.
    pub fn auth<P: OnAuth>(&mut self, mechanism: &str, name: &str, secret: Option<&str>) -> Run<AuthVerdict> {
        let attempt = Attempt {
            mechanism: mechanism.to_owned(),
            name: name.to_owned(),
            acts_as: None,
            details: Vec::new(),
            secret: secret.map(str::to_owned),
        };
        let run = self.call(At::Auth, || P::on_auth(attempt));
        if let Ok(AuthVerdict::Success(identity)) = &run.verdict {
            self.state.subject.session.identity = Some(identity.clone());
        }
        run
    }

    /// Begins a transaction and asks the mail hook. An empty text, or `<>`, is the null sender.
    pub fn mail<P: OnMail>(&mut self, sender: &str) -> Run<SessionVerdict> {
        let sender = text::sender(sender);
        let before = std::mem::take(&mut self.state.subject.transaction);
        self.state.subject.transaction = Transaction {
            sender: sender.clone(),
            sender_params: before.sender_params,
            declared_size: before.declared_size,
            smtputf8: before.smtputf8,
            ..Transaction::default()
        };
        self.call(At::Mail, || P::on_mail(sender))
    }

    /// Asks the rcpt hook; who is not refused is a recipient from then on.
    pub fn rcpt<P: OnRcpt>(&mut self, recipient: &str) -> Run<SessionVerdict> {
        let mailbox = mailbox(recipient);
        let index = self.state.subject.transaction.next_index;
        let candidate = Recipient { index, original: mailbox.clone(), mailbox, params: Vec::new() };
        self.state.subject.transaction.candidate = Some(candidate.clone());
        let run = self.call(At::Rcpt, || P::on_rcpt(candidate));
        let transaction = &mut self.state.subject.transaction;
        let candidate = transaction.candidate.take();
        if let Ok(SessionVerdict::Proceed | SessionVerdict::Accept) = run.verdict {
            transaction.recipients.extend(candidate);
            transaction.next_index += 1;
        } else {
            self.state.subject.session.refused_recipients += 1;
        }
        run
    }

    /// Asks the message hook about this message, whose lines may end with LF. Its edits are made before the next hook.
    pub fn message<P: OnMessage>(&mut self, message: &str) -> Run<MessageVerdict> {
        self.state.subject.mail = Mail::parse(message);
        self.call(At::Message, P::on_message)
    }

    /// Asks the route hook at arrival about all recipients.
    pub fn route<P: OnRoute>(&mut self) -> Run<RoutingVerdict> {
        let recipients = self.state.subject.transaction.recipients.clone();
        self.call(At::Route, || P::on_route(RoutingPhase::Arrival, recipients))
    }

    /// Asks the route hook from the queue about all recipients.
    pub fn route_from_queue<P: OnRoute>(&mut self) -> Run<RoutingVerdict> {
        let recipients = self.state.subject.transaction.recipients.clone();
        self.call(At::Requeue, || P::on_route(RoutingPhase::Requeue, recipients))
    }

    /// Asks the delivery-attempt hook.
    pub fn delivery_attempt<P: OnDeliveryAttempt>(&mut self) -> Run<AttemptVerdict> {
        self.call(At::DeliveryAttempt, P::on_delivery_attempt)
    }

    /// Asks the delivery-result hook. [`outcome`] makes an outcome.
    pub fn delivery_result<P: OnDeliveryResult>(
        &mut self,
        outcomes: Vec<RecipientOutcome>,
    ) -> Run<Vec<RecipientDisposition>> {
        self.call(At::DeliveryResult, || P::on_delivery_result(outcomes))
    }

    /// Asks the bounce hook about recipients that failed.
    pub fn bounce<P: OnBounce>(&mut self, failed: Vec<RecipientOutcome>) -> Run<BounceVerdict> {
        self.call(At::Bounce, || P::on_bounce(failed))
    }

    /// One call: the fakes are put in place, and what the hook did is kept only if it returned ok.
    fn call<V>(&mut self, at: At, hook: impl FnOnce() -> Outcome<V>) -> Run<V> {
        let before = self.state.subject.clone();
        self.state.at = at;
        self.state.call = Call { number: serial(), ..Call::default() };
        install(std::mem::take(&mut self.state));
        let verdict = hook();
        self.state = install(State::default());
        let mut call = std::mem::take(&mut self.state.call);
        if verdict.is_ok() {
            self.state.subject.mail.apply(&call.header_edits, call.body.clone());
        } else {
            self.state.subject = before;
            call.edits.clear();
            call.body = None;
        }
        Run {
            verdict,
            edits: call.edits,
            body: call.body,
            log: call.log,
            counters: call.counters,
            observed: call.observed,
            requests: call.requests,
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Names worlds and calls, each once in a process: settings are cached by the one, handles are dead by the other.
fn serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A test that describes nonsense.
#[expect(clippy::panic, reason = "a test that describes nonsense has to fail")]
fn wrong(what: &str) -> ! {
    panic!("in the test's World: {what}")
}

#[cfg(test)]
mod tests;
