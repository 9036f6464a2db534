//! Settlement: outcomes, what plugins want done about them, and the schedule, turned into new states of recipients and
//! into what the sender is to be told.
//!
//! Pure but for the log: `now` and chance are passed in. Every recipient of the attempt gets exactly one new state.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::transmitted::Reporting;
use crate::bounce::Action;
use crate::hooks::{Disposition, NextHop, Outcome, OutcomeKind, ResultAction, Route};
use crate::mail::Recipient;
use crate::queue::{Before, Change, Past, QueuedRecipient, Record, Retry, Schedule, Settled, hop_text};
use crate::smtp::Reply;
use crate::time::Timestamp;

/// What a settlement is about.
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    pub(super) recipients: &'a [Recipient],
    pub(super) schedule: &'a Schedule,
    /// The route of this attempt, if it is still to be stored.
    pub(super) fresh: Option<&'a Arc<Route>>,
    pub(super) reporting: Reporting,
    pub(super) next_hop: &'a str,
    /// The next hop is left alone until then: an earlier retry would only be put off again.
    pub(super) not_before: Option<Timestamp>,
    /// The hop of the route that the outcomes are about.
    pub(super) hop: Option<&'a NextHop>,
    /// From the start of the attempt.
    pub(super) took: Duration,
    pub(super) now: Timestamp,
    /// 0 to 1: recipients that failed together are tried again together.
    pub(super) random: f64,
}

/// The end of an attempt.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// New states.
    pub(super) settled: Vec<Settled>,
    /// What the sender may be told.
    pub(super) told: Vec<(Action, Outcome)>,
    /// Failures of which no sender can be told: the null reverse-path's.
    pub(super) untold: Vec<Outcome>,
}

/// Decides for every outcome. `may_reroute` is asked once for each recipient that is to go another way at once.
pub(super) fn decide(
    case: &Case<'_>,
    outcomes: Vec<Outcome>,
    dispositions: &[Disposition],
    may_reroute: &mut dyn FnMut() -> bool,
) -> Ending {
    let mut ending = Ending { settled: Vec::with_capacity(outcomes.len()), told: Vec::new(), untold: Vec::new() };
    for outcome in outcomes {
        let Some(queued) = case.record.recipients.iter().find(|r| r.index == outcome.recipient) else { continue };
        let action = dispositions.iter().find(|d| d.recipient == outcome.recipient).map(|d| &d.action);
        let action = action.unwrap_or(&ResultAction::Proceed);
        // What a plugin says of a failure goes before what the configuration says of its kind.
        let rule = case.schedule.rule(&outcome, &queued.mailbox.domain).filter(|_| *action == ResultAction::Proceed);
        let schedule = rule.map_or(Cow::Borrowed(case.schedule), |rule| Cow::Owned(rule.over(case.schedule)));
        let kind = rule.map_or(outcome.kind, |rule| rule.then.kind());
        let outcome = Outcome { kind, ..outcome };
        let one = One { case, queued, schedule };
        one.decide(&mut ending, outcome, action, may_reroute);
    }
    ending
}

/// One recipient's settlement.
struct One<'a> {
    case: &'a Case<'a>,
    queued: &'a QueuedRecipient,
    /// The case's, or what a rule makes of it.
    schedule: Cow<'a, Schedule>,
}

impl One<'_> {
    fn decide(
        &self,
        ending: &mut Ending,
        outcome: Outcome,
        action: &ResultAction,
        may_reroute: &mut dyn FnMut() -> bool,
    ) {
        let now = self.case.now;
        match (outcome.kind, action) {
            (OutcomeKind::Delivered, _) => self.delivered(ending, outcome),
            (_, ResultAction::Forget(why)) => {
                self.log("forgotten", &outcome);
                tracing::warn!(target: "audit", queue_id = %self.case.record.id, recipient = %self.queued.mailbox,
                    reason = &**why, "recipient forgotten without a bounce");
                ending.settled.push(gone(outcome));
            }
            (_, ResultAction::Bounce(reply)) => self.failed(ending, refused_by_rule(outcome, reply)),
            (OutcomeKind::Permanent | OutcomeKind::Expired, ResultAction::Proceed) => self.failed(ending, outcome),
            (_, ResultAction::RetryAfterSeconds(_) | ResultAction::Reroute(_)) if self.expires() <= now => {
                self.failed(ending, Outcome { kind: OutcomeKind::Expired, ..outcome });
            }
            (_, ResultAction::RetryAfterSeconds(secs)) => {
                let at = now.plus(Duration::from_secs((*secs).max(1).into())).min(self.expires());
                self.retry(ending, at, false, None, outcome);
            }
            (_, ResultAction::Reroute(route)) if may_reroute() => {
                self.retry(ending, now, false, Some(route), outcome);
            }
            (_, ResultAction::Reroute(route)) => self.deferred(ending, Some(route), outcome),
            (OutcomeKind::Temporary, ResultAction::Proceed) => self.deferred(ending, None, outcome),
        }
    }

    fn delivered(&self, ending: &mut Ending, outcome: Outcome) {
        self.log("delivered", &outcome);
        let action = match self.case.reporting {
            Reporting::NextHop => None,
            Reporting::Relayed => Some(Action::Relayed),
            Reporting::Traced => Some(Action::Traced),
            Reporting::Delivered => Some(Action::Delivered),
        };
        self.tell(ending, action, &outcome);
        ending.settled.push(gone(outcome));
    }

    fn failed(&self, ending: &mut Ending, outcome: Outcome) {
        self.log(if outcome.kind == OutcomeKind::Expired { "expired" } else { "failed" }, &outcome);
        self.tell(ending, Some(Action::Failed), &outcome);
        ending.settled.push(gone(outcome));
    }

    fn deferred(&self, ending: &mut Ending, route: Option<&Arc<Route>>, outcome: Outcome) {
        let Case { record, now, random, .. } = *self.case;
        let state = &self.queued.state;
        let (attempts, null) = (state.attempts.saturating_add(1), record.sender.is_null());
        let before = Before { warned: state.warned, last: state.history.last().map(|past| past.at) };
        match self.schedule.next(attempts, record.started(), null, before, now, random) {
            Retry::At { at, warn } => {
                let at = self.case.not_before.map_or(at, |not_before| at.max(not_before.min(self.expires())));
                self.retry(ending, at, warn, route, outcome);
            }
            Retry::GiveUp => self.failed(ending, Outcome { kind: OutcomeKind::Expired, ..outcome }),
        }
    }

    fn retry(&self, ending: &mut Ending, at: Timestamp, warn: bool, route: Option<&Arc<Route>>, outcome: Outcome) {
        self.log("deferred", &outcome);
        if warn {
            self.tell(ending, Some(Action::Delayed { until: self.expires() }), &outcome);
        }
        let change = Change::Retry {
            at,
            counted: true,
            route: route.or(self.case.fresh).cloned(),
            warned: warn || self.queued.state.warned,
        };
        // A refusal that is to be tried again is no longer permanent.
        let outcome = Outcome { kind: OutcomeKind::Temporary, ..outcome };
        let hop = self.case.hop.map_or_else(|| self.case.next_hop.into(), |hop| hop_text(hop).into());
        let past = Some(Past::of(&outcome, hop, self.case.took));
        ending.settled.push(Settled { recipient: outcome.recipient, change, outcome: Some(outcome), past });
    }

    /// Notes what the sender asked to be told, or would want to know; nothing for the null reverse-path.
    fn tell(&self, ending: &mut Ending, action: Option<Action>, outcome: &Outcome) {
        let Some(action) = action else { return };
        if self.case.record.sender.is_null() {
            if action == Action::Failed {
                ending.untold.push(outcome.clone());
            }
            return;
        }
        let recipient = self.case.recipients.iter().find(|r| r.index == outcome.recipient);
        if recipient.is_some_and(|recipient| crate::bounce::is_wanted(recipient, action)) {
            ending.told.push((action, outcome.clone()));
        }
    }

    fn expires(&self) -> Timestamp {
        self.schedule.expires(self.case.record.started(), self.case.record.sender.is_null())
    }

    fn log(&self, what: &str, outcome: &Outcome) {
        tracing::info!(
            queue_id = %self.case.record.id,
            recipient = %self.queued.mailbox,
            next_hop = self.case.next_hop,
            remote = outcome.remote.as_deref(),
            stage = ?outcome.stage,
            reply = outcome.reply.as_ref().map(tracing::field::display),
            error = outcome.error.as_deref(),
            attempts = self.queued.state.attempts.saturating_add(1),
            took_ms = u64::try_from(self.case.took.as_millis()).unwrap_or(u64::MAX),
            delay_ms = u64::try_from(self.case.now.since(self.case.record.arrived).as_millis()).unwrap_or(u64::MAX),
            record = "attempt",
            outcome = what,
            "{what}",
        );
    }
}

fn gone(outcome: Outcome) -> Settled {
    Settled { recipient: outcome.recipient, change: Change::Gone, outcome: Some(outcome), past: None }
}

/// A plugin gave up: the reply is the relay's, so the next hop is not named as its author.
fn refused_by_rule(outcome: Outcome, reply: &Reply) -> Outcome {
    Outcome {
        kind: OutcomeKind::Permanent,
        stage: crate::hooks::Stage::Queue,
        reply: Some(reply.clone()),
        error: None,
        remote: None,
        remote_endpoint: None,
        ..outcome
    }
}

#[cfg(test)]
mod tests;
