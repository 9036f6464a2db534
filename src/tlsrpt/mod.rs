//! SMTP TLS reporting (RFC 8460): telling domains, once a day, how TLS with their hosts went.
//!
//! Every session is counted by the domain and the policy it was held to; counts are kept in the store, bounded, until the day
//! is over and the domain has its report. Must never report on the sending of reports, nor hold mail up: what is counted is
//! put into memory, and everything else happens beside.

mod ledger;
mod message;
mod record;
mod report;
mod sender;
mod session;
mod tally;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ipnet::IpNet;

pub use ledger::Ledger;
pub use record::{Destination, destinations};
pub use sender::Sender;
pub use session::{Failure, FailureKind, PolicyKind, PolicySeen, Session};

use crate::https;
use crate::mail::Mailbox;

/// The tag of reports in the queue: what becomes of them is counted for nobody.
pub const TAG: &str = "tlsrpt";

/// Settings of `[tlsrpt]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Who reports; none: nobody does, and nothing is counted.
    pub reporter: Option<Reporter>,
    /// Domains that are counted for in a day.
    pub domains: usize,
    /// Where those who want reports over HTTPS listen, if their address does not say.
    pub port: u16,
    /// Addresses that may be posted to although they are not public.
    pub networks: Vec<IpNet>,
}

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// Name of the organisation.
    pub organisation: String,
    /// How it can be reached.
    pub contact: String,
    /// The author of reports that go by mail.
    pub from: Mailbox,
}

impl Config {
    /// An answer to a report is a line or two.
    const ANSWER_MAX: usize = 16 << 10;
    const TIME: Duration = Duration::from_secs(60);

    fn terms(&self, port: Option<u16>) -> https::Terms {
        let port = port.unwrap_or(if self.port == 0 { 443 } else { self.port });
        https::Terms { time: Self::TIME, octets: Self::ANSWER_MAX, port, networks: self.networks.clone() }
    }
}
