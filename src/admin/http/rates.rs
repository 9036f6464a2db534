//! How mail flowed in the last ten minutes, in steps of five seconds: differences of the counts, noted by the clock.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::pulse::Totals;
use crate::time::Timestamp;

/// A step.
pub(super) const STEP: Duration = Duration::from_secs(5);
/// Steps kept: ten minutes.
const STEPS: usize = 120;
/// Reasons of deferrals that are told.
pub(super) const REASONS: usize = 20;

/// The counts at the end of each step.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<VecDeque<(Timestamp, Totals)>>);

/// The flow.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RatesForm {
    /// Seconds of a step.
    step_secs: u64,
    /// The oldest first.
    points: Vec<Point>,
    /// Why recipients were put off, the most frequent reason first.
    deferrals: Vec<Reason>,
}

/// What happened in one step.
#[derive(Debug, Serialize, ToSchema)]
struct Point {
    /// When it ended; RFC 3339.
    at: String,
    /// Messages accepted.
    accepted: u64,
    /// Refusals.
    refused: u64,
    /// Recipients delivered to.
    delivered: u64,
    /// Recipients put off.
    deferred: u64,
    /// Recipients given up.
    failed: u64,
    /// Connections that were open at its end.
    connections: u64,
}

/// A reason of deferrals.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// In the words of the next hop; what differs from mail to mail is left out.
    reason: String,
    /// How often in ten minutes.
    count: u64,
}

impl Rates {
    /// The counts are so far now.
    pub(super) fn note(&self, now: Timestamp, totals: Totals) {
        let mut notes = self.0.lock();
        notes.push_back((now, totals));
        while notes.len() > STEPS + 1 {
            notes.pop_front();
        }
    }

    /// As it is told.
    pub(super) fn form(&self, reasons: Vec<(String, u64)>) -> RatesForm {
        let notes = self.0.lock();
        let points = notes.iter().zip(notes.iter().skip(1)).map(|((_, before), (at, after))| Point {
            at: at.rfc3339(),
            accepted: after.accepted.saturating_sub(before.accepted),
            refused: after.refused.saturating_sub(before.refused),
            delivered: after.delivered.saturating_sub(before.delivered),
            deferred: after.deferred.saturating_sub(before.deferred),
            failed: after.failed.saturating_sub(before.failed),
            connections: after.open,
        });
        let deferrals = reasons.into_iter().map(|(reason, count)| Reason { reason, count }).collect();
        RatesForm { step_secs: STEP.as_secs(), points: points.collect(), deferrals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_differences_and_so_many_are_kept() {
        let rates = Rates::default();
        assert!(rates.form(Vec::new()).points.is_empty());
        for n in 0..500_u64 {
            let at = Timestamp::from_secs(5 * i64::try_from(n).unwrap());
            rates.note(at, Totals { accepted: n * n, open: n % 7, ..Totals::default() });
        }
        let form = rates.form(vec![("busy".into(), 3)]);
        assert_eq!((form.points.len(), form.step_secs, form.deferrals[0].count), (120, 5, 3));
        let last = &form.points[119];
        assert_eq!((last.accepted, last.connections, &*last.at), (2 * 499 - 1, 499 % 7, "1970-01-01T00:41:35.000Z"));
    }
}
