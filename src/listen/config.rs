//! Settings of `[listeners.NAME]` and `[limits]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::session;
use crate::tls::{ClientCertificates, ServerSettings};

/// All listeners and what they share.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[listeners.NAME]`.
    pub listeners: Vec<Listener>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[tls]`.
    pub tls: Option<ServerSettings>,
    /// How often the files of `[tls]` are looked at; none: at a reload only.
    pub tls_watch: Option<Duration>,
    /// `[auth]`: file of credentials, `name:argon2-hash` a line.
    pub credentials: Option<PathBuf>,
    /// Look up the client's name (PTR, then forward) before the connect hook.
    pub client_names: bool,
}

/// One socket.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `[listeners.NAME]`.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// When TLS starts.
    pub tls: TlsMode,
    /// What clients are asked to show then.
    pub client_certificates: ClientCertificates,
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxy_from: ProxyFrom,
    /// Clients of this listener may send to anybody, whoever they are.
    pub relay: bool,
    /// Nobody is refused as an open relay: `[relay] allow-everyone`. For sockets whose address only the start shows.
    pub allow_everyone: bool,
    /// The dialogue.
    pub session: Arc<session::Config>,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// Port 0 takes any.
    Tcp(SocketAddr),
    /// A socket file, and the permissions it gets.
    Unix(PathBuf, u32),
    /// The sockets of this name that the service manager hands over at the start, TCP or Unix.
    Systemd(Arc<str>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path, _) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// The peers that say on whose behalf they connect: of these it is required, of others it is never read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFrom {
    /// By their address.
    pub networks: Vec<ipnet::IpNet>,
    /// All that connect to a socket file.
    pub unix: bool,
}

impl ProxyFrom {
    /// True if this peer must send a header; none: one without an IP address.
    pub fn requires(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |ip| self.networks.iter().any(|net| net.contains(&ip.to_canonical())))
    }

    /// Nobody must.
    pub fn is_empty(&self) -> bool {
        !self.unix && self.networks.is_empty()
    }
}

/// When TLS starts on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Never.
    #[default]
    None,
    /// At STARTTLS, where a certificate is configured.
    Starttls,
    /// At once (RFC 8314).
    Implicit,
}

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; one more is answered 421.
    pub connections: usize,
    /// Connections of one address.
    pub per_client: usize,
    /// Waiting for a command (RFC 5321 section 4.5.3.2.7: 5 minutes).
    pub command_timeout: Duration,
    /// Waiting for a piece of mail data (RFC 5321 section 4.5.3.2.5: 3 minutes).
    pub data_timeout: Duration,
    /// A whole connection, whatever it does.
    pub session_timeout: Duration,
    /// At shutdown, transactions under way have this long.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            per_client: 100,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            session_timeout: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
        }
    }
}
