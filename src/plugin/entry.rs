//! A plugin's place in one chain: which of its versions is asked, and what that means for the other.
//!
//! A plugin without a candidate takes the short way; all that a trial costs is on the long one.

use std::sync::Arc;

use tokio::time::Instant;

use super::TrialMode;
use super::breaker::Pass;
use super::calls::Plugin;
use super::questions::Ask;
use super::trial::Trial;
use crate::hooks::{Binding, CallError, Called, Cost, Link, Subject};

/// A plugin's place in one chain.
pub(crate) struct Entry {
    pub binding: Binding,
    /// Or why it is not loaded.
    pub plugin: Result<Arc<Plugin>, Arc<str>>,
    /// Its candidate, where that has the hook as well.
    pub trial: Option<OnTrial>,
}

/// A candidate's place beside it.
pub(crate) struct OnTrial {
    /// As the other one's, but for the version.
    pub binding: Binding,
    pub trial: Arc<Trial>,
}

/// One link of one chain.
pub(crate) struct Callee<'a> {
    entry: &'a Entry,
    /// The candidate is asked instead, and may be.
    instead: Option<(&'a Arc<Trial>, Pass<'a>)>,
}

impl Entry {
    /// `lot`: of a hundred, what the candidates of this chain are drawn by; none: there are no canaries.
    pub(crate) fn link(&self, lot: Option<u8>) -> Link<'_, Callee<'_>> {
        let on_trial = lot.and_then(|lot| {
            let on_trial = self.trial.as_ref()?;
            Some((on_trial, on_trial.trial.takes(lot)?))
        });
        match on_trial {
            Some((on_trial, pass)) => Link {
                binding: &on_trial.binding,
                callee: Callee { entry: self, instead: Some((&on_trial.trial, pass)) },
            },
            None => Link { binding: &self.binding, callee: Callee { entry: self, instead: None } },
        }
    }

    /// The version that serves.
    async fn put<A: Ask>(
        &self,
        question: impl FnOnce(&Plugin, &Subject) -> Option<A> + Send,
        subject: Subject,
        end: Instant,
    ) -> Called<A::Verdict> {
        let plugin = match &self.plugin {
            Ok(plugin) => plugin,
            Err(reason) => return failed(CallError::NotLoaded(reason.to_string())),
        };
        match plugin.admit() {
            Ok(pass) => put(plugin, pass, question, subject, end).await,
            Err(error) => {
                plugin.counters.failed(&error);
                failed(error)
            }
        }
    }
}

impl Callee<'_> {
    pub(crate) async fn put<A: Ask>(
        self,
        question: impl FnOnce(&Plugin, &Subject) -> Option<A> + Clone + Send,
        subject: Subject,
        end: Instant,
    ) -> Called<A::Verdict> {
        match (&self.entry.trial, self.instead) {
            (None, _) => self.entry.put(question, subject, end).await,
            // Boxed, so that the short way stays small.
            (Some(_), Some((trial, pass))) => Box::pin(instead(trial, pass, question, subject, end)).await,
            (Some(on_trial), None) => Box::pin(beside(self.entry, on_trial, question, subject, end)).await,
        }
    }
}

async fn instead<A: Ask>(
    trial: &Trial,
    pass: Pass<'_>,
    question: impl FnOnce(&Plugin, &Subject) -> Option<A> + Send,
    subject: Subject,
    end: Instant,
) -> Called<A::Verdict> {
    let called = put(&trial.candidate, pass, question, subject, end).await;
    trial.enforced(called.outcome.is_ok());
    called
}

/// The version that serves; what it was asked is put to its shadow once it has answered.
async fn beside<A: Ask>(
    entry: &Entry,
    on_trial: &OnTrial,
    question: impl FnOnce(&Plugin, &Subject) -> Option<A> + Clone + Send,
    subject: Subject,
    end: Instant,
) -> Called<A::Verdict> {
    if on_trial.trial.mode != TrialMode::Shadow {
        return entry.put(question, subject, end).await;
    }
    let (again, seen) = (question.clone(), subject.clone());
    let called = entry.put(question, subject, end).await;
    if let Some(again) = again(&on_trial.trial.candidate, &seen) {
        on_trial.trial.follow(again, entry.binding.on_failure, seen, &called.outcome);
    }
    called
}

async fn put<A: Ask>(
    plugin: &Plugin,
    pass: Pass<'_>,
    question: impl FnOnce(&Plugin, &Subject) -> Option<A> + Send,
    subject: Subject,
    end: Instant,
) -> Called<A::Verdict> {
    match question(plugin, &subject) {
        Some(question) => plugin.call(pass, question, subject, end).await,
        None => failed(CallError::Invalid("asked without its facts".to_owned())),
    }
}

fn failed<V>(error: CallError) -> Called<V> {
    Called { outcome: Err(error), cost: Cost::default() }
}
