//! MTA-STS (RFC 8461): what a domain says over HTTPS about the hosts that take its mail.
//!
//! Parsing and matching are pure; policies are fetched at most once at a time for each domain, kept in the store until they
//! expire, and asked for in bounded time. Must never let a policy host that is dead or slow hold mail up, nor forget a policy
//! that is still valid because a newer one can't be had.

mod cache;
mod fetch;
mod known;
mod policy;
mod record;
#[cfg(test)]
mod tests;
mod told;

use std::time::Duration;

use ipnet::IpNet;

pub use cache::Policies;
pub use fetch::{Trouble, TroubleKind};
pub use known::{Found, Held};
pub use policy::{Mode, Pattern, Policy, PolicyError};
pub use record::policy_id;
pub use told::{PolicyTold, Told, TroubleTold};

use crate::https;

/// Settings of `[mta-sts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Policies are looked for.
    pub enabled: bool,
    /// How long an attempt to deliver waits for a policy that is not known yet.
    pub wait: Duration,
    /// All of one fetch (RFC 8461 section 3.3 proposes a minute).
    pub fetch_timeout: Duration,
    /// Domains that are remembered.
    pub cache: usize,
    /// Where policy hosts listen: 443.
    pub port: u16,
    /// Addresses of policy hosts that may be connected to although they are not public.
    pub networks: Vec<IpNet>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            wait: Duration::from_secs(5),
            fetch_timeout: Duration::from_secs(60),
            cache: 10_000,
            port: 443,
            networks: Vec::new(),
        }
    }
}

impl Config {
    /// RFC 8461 section 3.3: a limit of 64 KiB is large enough for every policy.
    const POLICY_MAX: usize = 64 << 10;

    fn terms(&self) -> https::Terms {
        let networks = self.networks.clone();
        https::Terms { time: self.fetch_timeout, octets: Self::POLICY_MAX, port: self.port, networks }
    }
}
