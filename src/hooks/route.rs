//! Routes: where recipients go, as a plugin or the relay's own table decides.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::smtp::Reply;

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NextHop {
    /// MX look-up of this domain (lower-case A-labels, or an address literal in brackets).
    Mx(Arc<str>),
    /// A fixed SMTP host: name or address.
    Smtp {
        /// Name or IP address.
        host: Arc<str>,
        /// TCP port.
        port: u16,
    },
    /// A fixed LMTP host.
    Lmtp {
        /// Name, IP address, or `unix:` and a path.
        host: Arc<str>,
        /// TCP port; not looked at for `unix:`.
        port: u16,
    },
    /// A destination that the operator named in the configuration.
    Named(Arc<str>),
}

/// How the connection is to be protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// What the configuration says for the destination.
    #[default]
    Inherit,
    /// No TLS even if offered.
    Off,
    /// TLS if offered, certificate not judged; plain text if the handshake fails.
    Opportunistic,
    /// TLS or no delivery; certificate not judged.
    Encrypt,
    /// TLS with a certificate that verifies for the host's name, or no delivery.
    Verify,
    /// DANE (RFC 7672).
    Dane,
}

/// What a plugin decided for some recipients; stored with each. The relay's own routing is not stored but decided
/// anew at each attempt, so that a mended table mends queued mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Tried in order within one attempt.
    pub hops: Vec<NextHop>,
    /// For all of them.
    pub tls: TlsPolicy,
    /// A `[sources.NAME]` to connect from.
    pub source: Option<Arc<str>>,
    /// A `[credentials.NAME]` to authenticate with.
    pub credential: Option<Arc<str>>,
    /// A `[lanes.NAME]` whose limits apply.
    pub lane: Option<Arc<str>>,
    /// A `[retry.NAME]` schedule.
    pub retry_schedule: Option<Arc<str>>,
    /// Give-up time counted from arrival, in seconds.
    pub expires_after_secs: Option<u32>,
}

/// What becomes of a group of recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// They go this way.
    Route(Arc<Route>),
    /// Permanent failure of these recipients alone; leads to a bounce.
    Fail(Reply),
}

/// Recipients by index, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteGroup {
    /// Indexes of recipients of the transaction; none is in two groups.
    pub recipients: Vec<u32>,
    /// What becomes of them.
    pub assignment: Assignment,
}

/// Verdict of the route hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingVerdict {
    /// No opinion about anybody.
    Proceed,
    /// May cover only some recipients.
    Assign(Vec<RouteGroup>),
    /// Permanent refusal of the message.
    Reject(Reply),
    /// Temporary refusal of the message.
    Tempfail(Reply),
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingPhase {
    /// The client.
    Arrival,
    /// Nobody: a reroute was asked for from the queue.
    Requeue,
}
