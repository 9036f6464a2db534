//! TLS on the way out: its settings, what is known of others' policies, and what is remembered of broken hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::tls_memory::TlsMemory;
use crate::sts::{self, Policies};
use crate::tlsrpt::{self, Ledger};

/// Settings of TLS with next hops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOut {
    /// A host whose handshake failed is spoken to in plain text for so long, where that will do; zero: not at all.
    pub memory: Duration,
    /// Authorities that are trusted beside the system's: a PEM file. Read at the start.
    pub trust: Option<PathBuf>,
    /// `[mta-sts]`.
    pub sts: sts::Config,
    /// `[tlsrpt]`.
    pub reports: tlsrpt::Config,
}

impl Default for TlsOut {
    fn default() -> Self {
        Self {
            memory: Duration::from_secs(3600),
            trust: None,
            sts: sts::Config::default(),
            reports: tlsrpt::Config::default(),
        }
    }
}

/// What delivery knows of others' TLS.
#[derive(Default)]
pub(super) struct Wisdom {
    /// None: policies are not looked for.
    pub(super) policies: Option<Arc<Policies>>,
    pub(super) memory: TlsMemory,
    /// None: nothing is counted.
    pub(super) ledger: Option<Arc<Ledger>>,
}

impl Wisdom {
    /// What a domain wants, in bounded time.
    pub(super) async fn policy(&self, domain: &str, config: &TlsOut) -> sts::Found {
        match &self.policies {
            Some(policies) => policies.find(domain, &config.sts).await,
            None => sts::Found::default(),
        }
    }
}
