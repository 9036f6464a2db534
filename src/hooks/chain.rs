//! The chain: plugins of one hook asked in order, their journals applied, their verdicts folded, failures turned into
//! the verdict that the operator's policy states. Pure over a `call` closure: no clock, no wasm.
//!
//! Plugin n+1 sees what n's journal did. A failed call leaves no trace but its log line and its verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use super::decision::{Round, Settled};
use super::failure::{Fate, Verdict};
use super::{Assignment, Cost, Disposition, Journal, ResultAction, RouteGroup, RoutingVerdict, Scope, Subject};

/// What a failed call becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// 4yz (421 at connect); at the delivery hooks the relay's default applies.
    #[default]
    Tempfail,
    /// As if the plugin had said `proceed`.
    Skip,
    /// 5yz.
    Reject,
}

/// Who is bound to a hook.
#[derive(Clone, Debug)]
pub struct Binding {
    /// `[plugins.NAME]`.
    pub plugin: Arc<str>,
    /// From its manifest or file.
    pub version: Arc<str>,
    /// Of its component, in hex; empty where it is not loaded.
    pub digest: Arc<str>,
    /// What a failure becomes.
    pub on_failure: FailurePolicy,
    /// Asked even after another plugin said `accept`.
    pub mandatory: bool,
    /// Whose mail it is asked about.
    pub scope: Scope,
    /// Its `accept` at rcpt lets a client send where the relay's own rule would not.
    pub relay: bool,
}

/// One place in a chain: the binding and how to call it.
#[derive(Debug)]
pub struct Link<'a, C> {
    /// Whose.
    pub binding: &'a Binding,
    /// What the closure needs to call it.
    pub callee: C,
}

/// Why a call failed: a trap, a budget, a guest `err`, a verdict that does not fit. All one event to the policy; the
/// kinds differ in the log and the metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// CPU budget.
    #[error("used up its CPU budget of {0} ms")]
    Cpu(u64),
    /// Wall budget.
    #[error("did not answer within {0} ms")]
    Wall(u64),
    /// The guest returned `err`.
    #[error("said: {0}")]
    Guest(String),
    /// A verdict or an edit that does not fit.
    #[error("answered what does not fit: {0}")]
    Invalid(String),
    /// No instance came free in time.
    #[error("no instance came free within {0} ms")]
    Busy(u64),
    /// The plugin could not be loaded.
    #[error("is not loaded: {0}")]
    NotLoaded(String),
    /// It failed too often, and was not asked.
    #[error("is left alone {0}")]
    Tripped(String),
}

impl CallError {
    /// A word for logs and counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Cpu(_) => "cpu",
            Self::Wall(_) => "wall",
            Self::Guest(_) => "guest",
            Self::Invalid(_) => "invalid",
            Self::Busy(_) => "busy",
            Self::NotLoaded(_) => "not-loaded",
            Self::Tripped(_) => "tripped",
        }
    }
}

/// What came of calling one plugin.
#[derive(Debug)]
pub struct Called<V> {
    /// Its verdict and its edits, or why there is none.
    pub outcome: Result<(V, Journal), CallError>,
    /// What it took.
    pub cost: Cost,
}

/// Asks the plugins of a hook whose verdicts exclude each other: all but route and delivery-result.
///
/// `accept` skips the rest but mandatory plugins; a verdict that is neither it nor `proceed` ends the chain. Where the
/// relay's own rule refuses the recipient, an `accept` counts only if its plugin may say so, and as `proceed` otherwise.
pub async fn ask<'a, V, C, Fut>(
    round: Round<'_>,
    mut subject: Subject,
    links: impl Iterator<Item = Link<'a, C>> + Send,
    mut call: impl FnMut(C, Subject) -> Fut + Send,
) -> (Subject, V)
where
    V: Verdict,
    C: Send,
    Fut: Future<Output = Called<V>> + Send,
{
    let mut favour = None;
    for Link { binding, callee } in links {
        if (favour.is_some() && !binding.mandatory) || !binding.scope.covers(&subject) {
            continue;
        }
        let answer = call(callee, subject.clone()).await;
        let verdict = settle(round, binding, &mut subject, answer);
        match verdict.fate() {
            Fate::Next => {}
            Fate::Favour if subject.unauthorized && !binding.relay => {}
            Fate::Favour => favour = Some(verdict),
            Fate::End => return (subject, verdict),
        }
    }
    (subject, favour.unwrap_or_else(V::proceed))
}

/// Asks the plugins of the route hook. The closure is told which recipients nobody has assigned yet; groups merge, and
/// the first assignment of a recipient wins. Once all are assigned only mandatory plugins are asked.
pub async fn ask_routes<'a, C, Fut>(
    round: Round<'_>,
    mut subject: Subject,
    links: impl Iterator<Item = Link<'a, C>> + Send,
    mut call: impl FnMut(C, Subject, Arc<[u32]>) -> Fut + Send,
) -> (Subject, RoutingVerdict)
where
    C: Send,
    Fut: Future<Output = Called<RoutingVerdict>> + Send,
{
    let all = subject.transaction.iter().flat_map(|t| t.recipients.iter()).map(|r| r.index);
    let mut open: Arc<[u32]> = all.collect();
    let mut groups: Vec<RouteGroup> = Vec::new();
    for Link { binding, callee } in links {
        if (open.is_empty() && !binding.mandatory) || !binding.scope.covers(&subject) {
            continue;
        }
        let answer = call(callee, subject.clone(), open.clone()).await;
        match settle(round, binding, &mut subject, answer) {
            RoutingVerdict::Proceed => {}
            RoutingVerdict::Assign(assigned) => open = merge(&mut groups, assigned, &open),
            end => return (subject, end),
        }
    }
    let verdict = if groups.is_empty() { RoutingVerdict::Proceed } else { RoutingVerdict::Assign(groups) };
    (subject, verdict)
}

/// Takes over what is assigned to recipients that are still open; the others that are open are returned.
fn merge(groups: &mut Vec<RouteGroup>, assigned: Vec<RouteGroup>, open: &[u32]) -> Arc<[u32]> {
    let mut left: BTreeSet<u32> = open.iter().copied().collect();
    for RouteGroup { mut recipients, assignment } in assigned {
        recipients.retain(|index| left.remove(index));
        if recipients.is_empty() {
            continue;
        }
        match groups.iter_mut().find(|g| same_way(&g.assignment, &assignment)) {
            Some(group) => group.recipients.append(&mut recipients),
            None => groups.push(RouteGroup { recipients, assignment }),
        }
    }
    left.into_iter().collect()
}

/// Only routes are joined: two plugins may word the same failure for different recipients, and each keeps its words.
fn same_way(a: &Assignment, b: &Assignment) -> bool {
    matches!((a, b), (Assignment::Route(a), Assignment::Route(b)) if a == b)
}

/// Asks the plugins of the delivery-result hook: all of them, and the first action that is not `proceed` wins for
/// each recipient.
pub async fn ask_results<'a, C, Fut>(
    round: Round<'_>,
    mut subject: Subject,
    links: impl Iterator<Item = Link<'a, C>> + Send,
    mut call: impl FnMut(C, Subject) -> Fut + Send,
) -> (Subject, Vec<Disposition>)
where
    C: Send,
    Fut: Future<Output = Called<Vec<Disposition>>> + Send,
{
    let mut decided: BTreeMap<u32, ResultAction> = BTreeMap::new();
    for Link { binding, callee } in links {
        if !binding.scope.covers(&subject) {
            continue;
        }
        let answer = call(callee, subject.clone()).await;
        for Disposition { recipient, action } in settle(round, binding, &mut subject, answer) {
            if action != ResultAction::Proceed {
                decided.entry(recipient).or_insert(action);
            }
        }
    }
    let dispositions = decided.into_iter().map(|(recipient, action)| Disposition { recipient, action }).collect();
    (subject, dispositions)
}

/// Applies the journal of a call that answered; of one that failed, or whose journal does not fit, makes the verdict
/// that the policy states, and says so in the log, once.
fn settle<V: Verdict>(round: Round<'_>, binding: &Binding, subject: &mut Subject, answer: Called<V>) -> V {
    let Called { outcome, cost } = answer;
    let failure = match outcome {
        Ok((verdict, mut journal)) => match journal.apply(subject, &binding.plugin, &binding.version) {
            Ok(()) => {
                Settled { binding, subject, edits: &journal.edits, failure: None, cost }.tell(&round, &verdict);
                return verdict;
            }
            Err(error) => CallError::Invalid(error.to_string()),
        },
        Err(failure) => failure,
    };
    let verdict = V::of_failure(round.hook, binding.on_failure);
    Settled { binding, subject, edits: &[], failure: Some(&failure), cost }.tell(&round, &verdict);
    let session = subject.session.as_ref().map_or("-", |s| &s.id);
    let queue_id = subject.queue_id();
    if matches!(failure, CallError::Tripped(_)) {
        // The line that says so was written when its breaker opened: one for every call would bury all others.
        let (plugin, hook) = (&binding.plugin, round.hook.interface());
        let told = verdict.told();
        tracing::debug!(target: "plugin", %plugin, hook, session, %failure, told, "not asked");
        return verdict;
    }
    tracing::warn!(
        target: "plugin",
        plugin = %binding.plugin,
        version = %binding.version,
        generation = round.generation,
        hook = round.hook.interface(),
        session,
        queue_id = queue_id.map(tracing::field::display),
        kind = failure.kind(),
        detail = %failure,
        told = %verdict.told(),
        "a plugin failed"
    );
    verdict
}

#[cfg(test)]
mod tests;
