//! Totals since the start.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Histogram;

/// Why mail was not taken from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Commands, recipients and messages refused for good.
    Permanent,
    /// What no mail client does.
    Protocol,
    /// Authentications that failed.
    Authentication,
    /// Messages that were put off at the end of the data.
    Temporary,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Permanent, Self::Protocol, Self::Authentication, Self::Temporary];

    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Protocol => "protocol",
            Self::Authentication => "authentication",
            Self::Temporary => "temporary",
        }
    }
}

/// What is counted. They only grow.
#[derive(Debug, Default)]
pub struct Tally {
    /// Sessions begun.
    pub sessions: AtomicU64,
    /// Sessions that have ended.
    pub ended: AtomicU64,
    /// Messages accepted: answered 250 after the flush.
    pub accepted: AtomicU64,
    /// Their recipients.
    pub accepted_recipients: AtomicU64,
    /// Their octets.
    pub accepted_octets: AtomicU64,
    /// Messages that a plugin had thrown away after they were accepted.
    pub discarded: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    /// Recipients delivered to a next hop.
    pub delivered: AtomicU64,
    /// Recipients put off by an attempt.
    pub deferred: AtomicU64,
    /// Recipients given up.
    pub failed: AtomicU64,
    /// Reports about deliveries that were queued.
    pub notices: AtomicU64,
    /// TLS handshakes with clients that were done.
    pub tls_in: AtomicU64,
    /// And that failed.
    pub tls_in_failed: AtomicU64,
    /// Attempts that reached a next hop, under TLS.
    pub tls_out: AtomicU64,
    /// And without.
    pub plain_out: AtomicU64,
    /// How long questions to the DNS took.
    pub dns: Histogram,
    /// Those that nobody answered, or with a failure.
    pub dns_failures: AtomicU64,
    /// How long attempts took, of those that were made.
    pub attempts: Histogram,
    /// From a whole message to that it is in the queue, flushed.
    pub accepts: Histogram,
}

/// Those that change with the flow of mail, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages accepted.
    pub accepted: u64,
    /// Refusals of all kinds.
    pub refused: u64,
    /// Recipients delivered to.
    pub delivered: u64,
    /// Recipients put off.
    pub deferred: u64,
    /// Recipients given up.
    pub failed: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Of them under way.
    pub open: u64,
}

impl Tally {
    /// Counts one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts some.
    pub fn add(counter: &AtomicU64, number: u64) {
        if number > 0 {
            counter.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// So many were refused.
    pub fn refuse(&self, why: Refused, number: u64) {
        if let Some(counter) = self.refused.get(why as usize) {
            Self::add(counter, number);
        }
    }

    /// How many were.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused.get(why as usize).map_or(0, read)
    }

    /// As they are now.
    pub fn totals(&self) -> Totals {
        Totals {
            accepted: read(&self.accepted),
            refused: self.refused.iter().map(read).sum(),
            delivered: read(&self.delivered),
            deferred: read(&self.deferred),
            failed: read(&self.failed),
            sessions: read(&self.sessions),
            open: read(&self.sessions).saturating_sub(read(&self.ended)),
        }
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
