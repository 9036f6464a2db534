//! Recipients that are not tried: those that a suspension keeps back wait for its end without an attempt, and their time
//! in the queue goes on; those on the suppression list end.

use std::collections::HashMap;
use std::sync::Arc;

use super::attempt::Attempt;
use super::dispatch::Dispatcher;
use super::job::Job;
use super::suppressed;
use super::transmitted::Reporting;
use crate::hooks::Route;
use crate::queue::{Change, Lease, Rule, Settled};
use crate::suppression::Suppression;

impl Dispatcher {
    /// Takes out what is not to be tried: it ends or waits, apart from the others. None: there are no others.
    pub(super) fn set_apart(self: &Arc<Self>, lease: Lease) -> Option<Lease> {
        let lease = match self.suppression() {
            Some(list) => self.end_suppressed(list, lease)?,
            None => lease,
        };
        let suspended = self.queue().suspended(&lease.record, &lease.recipients);
        if suspended.is_empty() {
            return Some(lease);
        }
        let (waiting, rest) = divide(lease, |index| suspended.iter().any(|(suspended, _)| *suspended == index));
        if let Some(waiting) = waiting {
            let dispatcher = Arc::clone(self);
            self.spawn(async move { park(&dispatcher, waiting, &suspended).await });
        }
        rest
    }

    fn end_suppressed(self: &Arc<Self>, list: &Suppression, lease: Lease) -> Option<Lease> {
        let entries = suppressed::of(list, &lease);
        if entries.is_empty() {
            return Some(lease);
        }
        let (ends, rest) = divide(lease, |index| entries.iter().any(|(suppressed, _)| *suppressed == index));
        if let Some(ends) = ends {
            let (dispatcher, then) = (Arc::clone(self), list.config().then);
            self.spawn(async move { suppressed::end(&dispatcher, ends, &entries, then).await });
        }
        rest
    }
}

/// Two leases: those it is true of, and the others.
fn divide(lease: Lease, is: impl Fn(u32) -> bool) -> (Option<Lease>, Option<Lease>) {
    let (these, others): (Vec<u32>, Vec<u32>) = lease.recipients.iter().copied().partition(|index| is(*index));
    if others.is_empty() {
        return (Some(lease), None);
    }
    let mut parts = lease.split(vec![these, others]).into_iter();
    (parts.next(), parts.next())
}

/// Has them wait; those whose time is up are given up.
async fn park(dispatcher: &Arc<Dispatcher>, lease: Lease, suspended: &[(u32, Arc<Rule>)]) {
    let record = Arc::clone(&lease.record);
    // Each route has its own give-up time.
    let mut groups: HashMap<Arc<Route>, Vec<u32>> = HashMap::new();
    for recipient in record.recipients.iter().filter(|r| lease.recipients.contains(&r.index)) {
        groups.entry(dispatcher.route_of(recipient)).or_default().push(recipient.index);
    }
    let (routes, parts): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    for (lease, route) in lease.split(parts).into_iter().zip(routes) {
        wait(dispatcher, Job::new(lease, route, false), suspended).await;
    }
}

async fn wait(dispatcher: &Arc<Dispatcher>, job: Job, suspended: &[(u32, Arc<Rule>)]) {
    let now = dispatcher.clock().now();
    let attempt = Attempt::new(dispatcher, job, "nowhere".into());
    let expires = attempt.expires();
    if expires <= now {
        let outcomes = attempt.expiries(now);
        return attempt.conclude(outcomes, Vec::new(), Reporting::Relayed).await;
    }
    let waits = suspended.iter().filter(|(index, _)| attempt.lease.recipients.contains(index)).map(|(index, rule)| {
        let at = rule.until.unwrap_or(expires).min(expires);
        tracing::debug!(queue_id = %attempt.lease.record.id, recipient = index, rule = rule.number, "suspended");
        Settled { recipient: *index, change: Change::Park { at, rule: rule.number }, outcome: None, past: None }
    });
    let waits = waits.collect();
    dispatcher.settle(attempt.lease, waits, None, Vec::new()).await;
}
