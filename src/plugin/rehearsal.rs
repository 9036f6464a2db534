//! Rehearsal: one plugin of a set asked directly, without a chain, and what it says heard. For tests, measurements and
//! the terminal; must never stand on the way of mail.
//!
//! It is the relay's own call from begin to end: the same instances, budgets, checks and grants.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::breaker::Pass;
use super::calls::Plugin;
use super::decisions::Listener;
use super::questions::{self, Ask};
use super::{PluginSet, Services};
use crate::hooks::{AuthAttempt, CallError, Cost, Edit, Hook, Outcome, RoutingPhase, Subject, Verdict};
use crate::time::Timestamp;

/// A chain's patience does not count here: the call's own budget does.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Keys removed at a time.
const PAGE: usize = 1000;

/// A hook and what it is asked with, beside the facts.
#[derive(Clone, Debug)]
pub enum Question {
    /// See [`Hook::Connect`], and so on.
    Connect,
    /// With the name the client gives.
    Helo(Arc<str>),
    /// With what the client offers.
    Auth(AuthAttempt),
    /// About the transaction's sender.
    Mail,
    /// About the candidate.
    Rcpt,
    /// About the message.
    Message,
    /// About all recipients.
    Route(RoutingPhase),
    /// About the delivery.
    DeliveryAttempt,
    /// With what became of its recipients.
    DeliveryResult(Arc<[Outcome]>),
    /// With the recipients that failed.
    Bounce(Arc<[Outcome]>),
}

impl Question {
    /// Where it is asked.
    pub const fn hook(&self) -> Hook {
        match self {
            Self::Connect => Hook::Connect,
            Self::Helo(_) => Hook::Helo,
            Self::Auth(_) => Hook::Auth,
            Self::Mail => Hook::Mail,
            Self::Rcpt => Hook::Rcpt,
            Self::Message => Hook::Message,
            Self::Route(_) => Hook::Route,
            Self::DeliveryAttempt => Hook::DeliveryAttempt,
            Self::DeliveryResult(_) => Hook::DeliveryResult,
            Self::Bounce(_) => Hook::Bounce,
        }
    }
}

/// What a plugin said.
#[derive(Debug)]
pub struct Said {
    /// The verdict in one word, as in the contract.
    pub word: &'static str,
    /// What a client would be told of it.
    pub told: String,
    /// The whole verdict.
    pub verdict: Value,
    /// What it changed, in order.
    pub edits: Vec<Edit>,
}

/// One call.
#[derive(Debug)]
pub struct Rehearsed {
    /// What it said, or why it failed.
    pub outcome: Result<Said, CallError>,
    /// What the call took.
    pub cost: Cost,
}

/// One line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `info`, `warn` …
    pub level: &'static str,
    /// `on-rcpt` and so on, or `load`.
    pub hook: String,
    /// As it stands in the relay's log.
    pub text: String,
}

/// Hears every line, before the log's level decides.
pub type Lines = Arc<dyn Fn(Line) + Send + Sync>;

/// How an exchange with a made-up server went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebFault {
    /// Nobody listens there.
    Refused,
    /// It never answers.
    Timeout,
    /// Its name has no address.
    Dns,
    /// Its certificate is not good.
    Tls,
}

/// The answer of a made-up server, when it comes.
pub type WebAnswer = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, WebFault>> + Send>>;

/// Servers that are only made up: they stand for the network behind the grants. `origin` is `http://host:port`.
pub trait Web: Send + Sync {
    /// Answers one request.
    fn ask(&self, origin: &str, request: http::Request<Bytes>) -> WebAnswer;
}

impl PluginSet {
    /// Asks one plugin, whatever chains it is in. None: it is not there, or does not have the hook.
    pub async fn rehearse(&self, plugin: &str, question: Question, subject: Subject) -> Option<Rehearsed> {
        let plugin = self.loaded(plugin)?.clone();
        if !plugin.linked.compiled.hooks.contains(&question.hook()) {
            return None;
        }
        Some(match question {
            Question::Connect => put(&plugin, questions::Connect, subject).await,
            Question::Helo(name) => put(&plugin, questions::Helo(name), subject).await,
            Question::Auth(attempt) => {
                let ask = questions::Auth::of(&attempt, plugin.auth_secrets);
                put(&plugin, ask, subject).await
            }
            Question::Mail => put(&plugin, questions::Mail::of(&subject), subject).await,
            Question::Rcpt => put(&plugin, questions::Rcpt::of(&subject)?, subject).await,
            Question::Message => put(&plugin, questions::Message, subject).await,
            Question::Route(phase) => {
                let open = subject.transaction.iter().flat_map(|t| t.recipients.iter()).map(|r| r.index).collect();
                put(&plugin, questions::Route::of(&subject, phase, open), subject).await
            }
            Question::DeliveryAttempt => put(&plugin, questions::DeliveryAttempt, subject).await,
            Question::DeliveryResult(outcomes) => {
                put(&plugin, questions::DeliveryResult::of(&subject, &outcomes), subject).await
            }
            Question::Bounce(failed) => put(&plugin, questions::Bounce::of(&subject, &failed), subject).await,
        })
    }

    /// Tells decisions to somebody else than the record.
    pub fn tell(&mut self, listener: Listener) {
        self.set_listener(listener);
    }

    /// Forgets what a plugin holds beside its instances: its buckets, its rates, what it counted. Then its own bucket and
    /// the shared ones have these entries. Blocking.
    ///
    /// # Errors
    /// When the store fails, or an entry does not fit.
    pub fn reset<'a>(
        &self,
        name: &str,
        entries: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(plugin) = self.loaded(name) else { return Err(format!("there is no plugin {name}")) };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        for (keys, _) in plugin.shared.buckets.values() {
            loop {
                // Those that expired are in nobody's way.
                let (page, _) = keys.keys("", None, PAGE, now).map_err(|e| text(&e))?;
                if page.is_empty() {
                    break;
                }
                page.iter().try_for_each(|key| keys.delete(key, now)).map_err(|e| text(&e))?;
            }
        }
        plugin.shared.rates.clear();
        if let Some(counted) = &plugin.shared.counted {
            counted.clear();
        }
        for (bucket, key, value) in entries {
            let (keys, _) = plugin.shared.buckets.get(bucket).ok_or_else(|| not_granted(bucket))?;
            keys.set(key, value.as_bytes(), None, now).map_err(|e| text(&e))?;
        }
        Ok(())
    }

    /// The value of a key of one of a plugin's buckets, as text; none: there is none.
    ///
    /// # Errors
    /// When the store fails, or the bucket was not granted.
    pub fn value(&self, name: &str, bucket: &str, key: &str, now: Timestamp) -> Result<Option<String>, String> {
        let plugin = self.loaded(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let (keys, _) = plugin.shared.buckets.get(bucket).ok_or_else(|| not_granted(bucket))?;
        let value = keys.get(key, now).map_err(|error| error.to_string())?;
        Ok(value.map(|value| String::from_utf8_lossy(&value.octets).into_owned()))
    }
}

fn not_granted(bucket: &str) -> String {
    match bucket {
        "own" => "the plugin has no bucket of its own: write `grants.kv = {}` under [plugin]".to_owned(),
        name => {
            format!("the plugin was not granted the bucket: write `grants.kv-shared.{name} = \"write\"` under [plugin]")
        }
    }
}

async fn put<A: Ask>(plugin: &Plugin, ask: A, subject: Subject) -> Rehearsed {
    let called = plugin.call(Pass::free(), ask, subject, Instant::now() + PATIENCE).await;
    let outcome = called.outcome.map(|(verdict, journal)| Said {
        word: verdict.word(),
        told: verdict.told(),
        // A verdict is texts and numbers, which JSON always has room for.
        verdict: serde_json::to_value(&verdict).unwrap_or_default(),
        edits: journal.edits,
    });
    Rehearsed { outcome, cost: called.cost }
}

impl Services {
    /// The same relay, with made-up servers behind the grants, and with somebody who hears what plugins write.
    #[must_use]
    pub fn rehearsing(mut self, web: Arc<dyn Web>, lines: Lines) -> Self {
        self.web = Some(web);
        self.lines = Some(lines);
        self
    }
}
