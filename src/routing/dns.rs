//! Settings of `[dns]`: whom the relay asks, what it believes, and for how long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Who validates.
    pub dnssec: Dnssec,
    /// One question to one server; none: as the system has it.
    pub timeout: Option<Duration>,
    /// Questions after the first one that failed; none: as the system has it.
    pub attempts: Option<usize>,
    /// Answers kept.
    pub cache: usize,
    /// Answers are kept no shorter than this.
    pub min_ttl: Duration,
    /// Nor longer than this.
    pub max_ttl: Duration,
    /// That there is no such name or record is kept no longer than this.
    pub negative_ttl: Duration,
    /// Which addresses of a host come first.
    pub prefer: Prefer,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            dnssec: Dnssec::TrustAd,
            timeout: None,
            attempts: None,
            cache: 8192,
            min_ttl: Duration::ZERO,
            max_ttl: Duration::from_secs(86400),
            negative_ttl: Duration::from_secs(900),
            prefer: Prefer::Alternate,
        }
    }
}

/// Who validates answers with DNSSEC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dnssec {
    /// Nobody: no answer is secure.
    Off,
    /// The name servers, if all of them are on this machine: the AD bit of a server elsewhere is not believed.
    TrustAd,
    /// The relay itself, from the root's keys, or from those in this file (DNSKEY records).
    Validate(Option<PathBuf>),
}

/// Which addresses of a host come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// The families take turns, IPv6 first.
    Alternate,
    /// IPv6, then IPv4.
    Ipv6,
    /// IPv4, then IPv6.
    Ipv4,
    /// No other is looked up.
    Ipv6Only,
    /// No other is looked up.
    Ipv4Only,
}
