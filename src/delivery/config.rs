//! Settings of `[delivery]`, `[destinations.NAME]`, `[credentials.NAME]`, `[sources.NAME]`, `[lanes.NAME]`, `[retry]`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::hooks::{Route, TlsPolicy};
use crate::queue::Schedule;

/// What delivery needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This relay's name, for EHLO and reports.
    pub hostname: Arc<str>,
    /// For hops that do not say otherwise.
    pub tls: TlsPolicy,
    /// Port for MX targets: 25.
    pub mx_port: u16,
    /// Limits of lanes without a name.
    pub limits: LaneLimits,
    /// `[lanes.NAME]`.
    pub lanes: BTreeMap<Arc<str>, LaneLimits>,
    /// `[destinations.NAME]`.
    pub destinations: BTreeMap<Arc<str>, Destination>,
    /// `[credentials.NAME]`.
    pub credentials: BTreeMap<Arc<str>, Credential>,
    /// `[sources.NAME]`: local addresses to connect from.
    pub sources: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// `[retry]`.
    pub schedule: Schedule,
    /// `[retry.NAME]`.
    pub schedules: BTreeMap<Arc<str>, Schedule>,
    /// Opening a connection.
    pub connect_timeout: Duration,
    /// Each command (RFC 5321 section 4.5.3.2 asks for 5 minutes).
    pub command_timeout: Duration,
    /// The answer to the final dot (RFC 5321 section 4.5.3.2.6: 10 minutes).
    pub final_timeout: Duration,
}

/// A destination with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Another route: a smarthost and its settings.
    Route(Arc<Route>),
    /// A Maildir; `{local}` and `{domain}` in the path stand for the recipient's parts, made safe for a file name.
    Maildir {
        /// Its folder.
        path: PathBuf,
    },
    /// Taken and dropped.
    Discard,
}

/// How hard one next hop may be worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Recipients of one transaction.
    pub recipients: usize,
    /// Messages over one connection.
    pub messages_per_connection: u32,
    /// An idle connection is kept this long for another message.
    pub idle: Duration,
    /// Messages started per second, over all connections; none: no limit.
    pub per_second: Option<u32>,
    /// After a connection failed, no new attempt for this long.
    pub cool_down: Duration,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            connections: 20,
            recipients: 50,
            messages_per_connection: 1000,
            idle: Duration::from_secs(2),
            per_second: None,
            cool_down: Duration::from_secs(60),
        }
    }
}

/// A name and password for a next hop.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// User name.
    pub name: Arc<str>,
    /// Password.
    pub secret: Arc<str>,
}

impl fmt::Debug for Credential {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).finish_non_exhaustive()
    }
}
