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
    /// `[auth]`: file of who may write as whom.
    pub senders: Option<PathBuf>,
    /// Look up the client's name (PTR, then forward) before the connect hook.
    pub client_names: bool,
    /// How long a client is listened to before it is greeted.
    pub greet_delay: Duration,
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

/// What clients may take. Of counts and rates, zero is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; one more is answered 421.
    pub connections: usize,
    /// Connections of one address.
    pub per_client: usize,
    /// Connections of one network.
    pub per_network: usize,
    /// New connections of one address in a minute; all of them may come at once, here and below.
    pub connections_per_minute: u32,
    /// Transactions of one address in a minute.
    pub messages_per_minute: u32,
    /// Recipients of one address in a minute.
    pub recipients_per_minute: u32,
    /// What a network may take, in shares of one address: rates and errors.
    pub network_factor: u32,
    /// Bits of an IPv4 address that name its network.
    pub network_v4: u8,
    /// Bits of an IPv6 address that name its network.
    pub network_v6: u8,
    /// Clients remembered, and as many bans.
    pub clients: usize,
    /// Clients of these are held to `connections` and `per_client` alone.
    pub exempt: Vec<ipnet::IpNet>,
    /// When a client is banned, and for how long.
    pub ban: BanRule,
    /// Slow answers to those who keep getting it wrong.
    pub tarpit: Tarpit,
    /// Above this share of `connections` (percent) deadlines are short, until three quarters of it are left.
    pub stress_at: u8,
    /// Waiting for a command, the whole of it (RFC 5321 section 4.5.3.2.7: 5 minutes).
    pub command_timeout: Duration,
    /// Waiting for a piece of mail data (RFC 5321 section 4.5.3.2.5: 3 minutes).
    pub data_timeout: Duration,
    /// A whole message, from the answer to DATA to its end.
    pub message_timeout: Duration,
    /// A handshake.
    pub handshake_timeout: Duration,
    /// A whole connection, whatever it does.
    pub session_timeout: Duration,
    /// Octets a second that mail data has to come with, on the average of each `min_rate_over`.
    pub min_rate: u64,
    /// See `min_rate`.
    pub min_rate_over: Duration,
    /// At shutdown, transactions under way have this long.
    pub drain: Duration,
}

/// `[limits.ban]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRule {
    /// Weighted errors in an hour; one more bans. Zero: nobody is banned.
    pub errors: u32,
    /// The first ban; each one that follows soon is twice as long.
    pub time: Duration,
    /// The longest.
    pub time_max: Duration,
}

/// `[limits.tarpit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tarpit {
    /// Errors of a connection that are answered at once.
    pub after_errors: u32,
    /// How much later each further one is answered than the one before. Zero: never.
    pub delay: Duration,
    /// The longest delay.
    pub delay_max: Duration,
}

impl Limits {
    /// True for clients that are not held to rates.
    pub fn exempts(&self, client: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(&client))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            per_client: 100,
            per_network: 500,
            connections_per_minute: 0,
            messages_per_minute: 0,
            recipients_per_minute: 0,
            network_factor: 10,
            network_v4: 24,
            network_v6: 64,
            clients: 100_000,
            exempt: Vec::new(),
            ban: BanRule::default(),
            tarpit: Tarpit::default(),
            stress_at: 80,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            message_timeout: Duration::from_secs(3600),
            handshake_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(3600),
            min_rate: 100,
            min_rate_over: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for BanRule {
    fn default() -> Self {
        Self { errors: 1000, time: Duration::from_secs(600), time_max: Duration::from_secs(86_400) }
    }
}

impl Default for Tarpit {
    fn default() -> Self {
        Self { after_errors: 5, delay: Duration::from_secs(2), delay_max: Duration::from_secs(20) }
    }
}
