//! Recipients on the suppression list: they end without a word to the next hop.

use std::sync::Arc;

use super::attempt::Attempt;
use super::dispatch::Dispatcher;
use super::job::Job;
use super::transmitted::{Reporting, local_outcome};
use crate::hooks::{Disposition, Outcome, OutcomeKind, ResultAction, Stage};
use crate::mail::Annotations;
use crate::queue::Lease;
use crate::smtp::{Reply, Status};
use crate::suppression::{Entry, Suppression, Then};

/// Whose mail it is.
pub(super) fn tenant(annotations: &Annotations) -> Option<&str> {
    annotations.named("tenant")
}

/// Leased recipients that nothing is sent to, each with the entry that says so.
pub(super) fn of(list: &Suppression, lease: &Lease) -> Vec<(u32, Arc<Entry>)> {
    if list.is_empty() {
        return Vec::new();
    }
    let tenant = tenant(&lease.record.annotations);
    let leased = lease.record.recipients.iter().filter(|r| lease.recipients.contains(&r.index));
    leased.filter_map(|r| list.check(tenant, &r.mailbox).map(|entry| (r.index, entry))).collect()
}

/// Ends them: with a report to the sender, or without one.
pub(super) async fn end(dispatcher: &Arc<Dispatcher>, lease: Lease, entries: &[(u32, Arc<Entry>)], then: Then) {
    let now = dispatcher.clock().now();
    let mine = || entries.iter().filter(|(index, _)| lease.recipients.contains(index));
    let outcome = |(index, _): &(u32, Arc<Entry>)| -> Outcome {
        // Why is for the operator: it may hold what another server said to other mail.
        let reply = Reply::new(550, Status::new(5, 7, 1), "recipient is suppressed: nothing is sent to this address");
        local_outcome(*index, OutcomeKind::Permanent, Stage::Queue, &reply, now)
    };
    let outcomes = mine().map(outcome).collect();
    let forget = |(index, entry): &(u32, Arc<Entry>)| Disposition {
        recipient: *index,
        action: ResultAction::Forget(format!("suppressed: {} ({})", entry.pattern, entry.reason).into()),
    };
    let dispositions = if then == Then::Drop { mine().map(forget).collect() } else { Vec::new() };
    let job = Job::new(lease, Arc::default(), false);
    Attempt::new(dispatcher, job, "nowhere".into()).conclude(outcomes, dispositions, Reporting::Relayed).await;
}
