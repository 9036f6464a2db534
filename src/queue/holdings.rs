//! What the queue holds: the counts of all of it, and of what quotas tell apart.
//!
//! Plain data, under the lock of the window. Each message is gained once and lost once.

use super::quota::Usage;
use super::{Counts, Record};

#[derive(Debug, Default)]
pub(super) struct Holdings {
    pub(super) counts: Counts,
    pub(super) usage: Usage,
}

impl Holdings {
    /// A message more; none: one whose record can't be read.
    pub(super) fn gained(&mut self, record: Option<&Record>) {
        self.counts.messages += 1;
        if let Some(record) = record {
            self.counts.octets += record.size();
            self.counts.held += u64::from(record.is_held());
            self.usage.gained(record);
        }
    }

    /// A message more, which has its share of the quotas already.
    pub(super) fn arrived(&mut self, octets: u64, held: bool) {
        self.counts.messages += 1;
        self.counts.octets += octets;
        self.counts.held += u64::from(held);
    }

    /// A message less.
    pub(super) fn lost(&mut self, record: &Record) {
        let counts = &mut self.counts;
        counts.messages = counts.messages.saturating_sub(1);
        counts.octets = counts.octets.saturating_sub(record.size());
        counts.held = counts.held.saturating_sub(u64::from(record.is_held()));
        self.usage.lost(record);
    }

    /// A message is another than before.
    pub(super) fn turned(&mut self, before: &Record, after: &Record) {
        let counts = &mut self.counts;
        counts.held = (counts.held + u64::from(after.is_held())).saturating_sub(u64::from(before.is_held()));
        self.usage.turned(before, after);
    }

    /// What can't be read of a message is no content of the queue; it is still to be set aside.
    pub(super) fn unreadable(&mut self, record: &Record) {
        self.counts.octets = self.counts.octets.saturating_sub(record.size());
        self.usage.lost(record);
    }
}
