//! Recipients that a suspension keeps back: they wait for its end without an attempt, and their time in the queue goes on.

use std::collections::HashMap;
use std::sync::Arc;

use super::attempt::Attempt;
use super::dispatch::Dispatcher;
use super::lane::Job;
use super::transmit::Reporting;
use crate::hooks::Route;
use crate::queue::{Change, Lease, Rule, Settled};

/// Has them wait; those whose time is up are given up.
pub(super) async fn park(dispatcher: &Arc<Dispatcher>, lease: Lease, suspended: &[(u32, Arc<Rule>)]) {
    let record = Arc::clone(&lease.record);
    // Each route has its own give-up time.
    let mut groups: HashMap<Arc<Route>, Vec<u32>> = HashMap::new();
    for recipient in record.recipients.iter().filter(|r| lease.recipients.contains(&r.index)) {
        groups.entry(dispatcher.route_of(recipient)).or_default().push(recipient.index);
    }
    let (routes, parts): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    for (lease, route) in lease.split(parts).into_iter().zip(routes) {
        wait(dispatcher, Job { lease, route, fresh: false, asked: None }, suspended).await;
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
