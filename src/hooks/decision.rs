//! Decisions: what one plugin said at one hook, with what it changed and what it took, told once its answer is settled.
//!
//! Pure. Whoever asks a chain says in its [`Round`] who wants to hear; a decision borrows everything, so that telling
//! nobody costs nothing.

use std::fmt;
use std::time::Duration;

use super::failure::Verdict;
use super::{Binding, CallError, Edit, Hook, Subject};

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From asking to the answer.
    pub wall: Duration,
    /// Of it, the time its code (and the relay's for it) ran.
    pub cpu: Duration,
    /// Services of the relay it called.
    pub host_calls: u32,
    /// Octets of linear memory that its instance has by now.
    pub memory: u64,
    /// Instructions, as far as they are counted: zero in a relay.
    pub fuel: u64,
}

/// One asking of one hook.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// At which station.
    pub hook: Hook,
    /// Which set of bindings answers.
    pub generation: u64,
    /// Hears every decision of the chain, in order. Must not wait.
    pub listener: &'a (dyn Fn(&Decision<'_>) + Send + Sync),
}

impl Round<'_> {
    pub(super) fn tell(&self, decision: &Decision<'_>) {
        (self.listener)(decision);
    }
}

impl fmt::Debug for Round<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round").field("hook", &self.hook).field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// What one plugin said.
pub struct Decision<'a> {
    /// At which station.
    pub hook: Hook,
    /// Which set of bindings answered.
    pub generation: u64,
    /// Who was asked.
    pub binding: &'a Binding,
    /// What it was about, as its edits left it.
    pub subject: &'a Subject,
    /// The verdict in one word: the plugin's, or the policy's if it failed.
    pub word: &'static str,
    /// What the client is told of it.
    pub told: &'a (dyn Fn() -> String + 'a),
    /// The whole verdict: puts it there, as JSON.
    pub verdict: &'a (dyn Fn(&mut Vec<u8>) + 'a),
    /// Edits that were applied.
    pub edits: &'a [Edit],
    /// Why the verdict is the policy's.
    pub failure: Option<&'a CallError>,
    /// What the call took.
    pub cost: Cost,
}

impl fmt::Debug for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Decision");
        f.field("hook", &self.hook).field("plugin", &self.binding.plugin).field("word", &self.word);
        f.field("failure", &self.failure).finish_non_exhaustive()
    }
}

/// Everything there is to tell of one settled answer.
#[derive(Debug)]
pub(super) struct Settled<'a> {
    pub(super) binding: &'a Binding,
    pub(super) subject: &'a Subject,
    pub(super) edits: &'a [Edit],
    pub(super) failure: Option<&'a CallError>,
    pub(super) cost: Cost,
}

impl Settled<'_> {
    pub(super) fn tell<V: Verdict>(&self, round: &Round<'_>, verdict: &V) {
        self.log(round, verdict.word());
        round.tell(&Decision {
            hook: round.hook,
            generation: round.generation,
            binding: self.binding,
            subject: self.subject,
            word: verdict.word(),
            told: &|| verdict.told(),
            // A verdict is texts and numbers, which JSON always has room for.
            verdict: &|json| serde_json::to_writer(json, verdict).unwrap_or_default(),
            edits: self.edits,
            failure: self.failure,
            cost: self.cost,
        });
    }

    /// For who follows single mails: unlike the record of decisions, the log has room for few.
    fn log(&self, round: &Round<'_>, verdict: &'static str) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(
            target: "decision",
            record = "decision",
            hook = round.hook.interface(),
            plugin = &*self.binding.plugin,
            version = &*self.binding.version,
            generation = round.generation,
            verdict,
            failure = self.failure.map(CallError::kind),
            queue_id = self.subject.queue_id().map(tracing::field::display),
            session = self.subject.session.as_ref().map(|session| &*session.id),
            wall_us = micros(self.cost.wall),
            cpu_us = micros(self.cost.cpu),
            edits = self.edits.len(),
            "decided"
        );
    }
}
