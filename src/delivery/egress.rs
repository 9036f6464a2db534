//! Where connections are made from: `[sources.NAME]` and `[pools.NAME]`. Plain data.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Credential;

/// A source: what mail leaves from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Addresses of this host, or, behind a HAProxy, of the proxy's. None: the system picks one.
    pub addresses: Vec<IpAddr>,
    /// The name for EHLO; none: the relay's.
    pub ehlo: Option<Arc<str>>,
    /// The interface that sockets are bound to.
    pub interface: Option<Arc<str>>,
    /// Connections are made by this.
    pub proxy: Option<Proxy>,
    /// Messages a day to each site as long as the source is new.
    pub warm_up: Option<WarmUp>,
}

impl Source {
    /// From where a connection to `to` is made: by an address of the same family, or of the proxy's where that is what the
    /// socket is for.
    pub(super) fn egress(&self, to: &SocketAddr) -> Egress {
        let four = match &self.proxy {
            Some(Proxy::Socks5 { address, .. }) => address.is_ipv4(),
            Some(Proxy::HaProxy { .. }) | None => to.is_ipv4(),
        };
        let family: Vec<IpAddr> = self.addresses.iter().copied().filter(|ip| ip.is_ipv4() == four).collect();
        Egress { address: fastrand::choice(family), interface: self.interface.clone(), proxy: self.proxy.clone() }
    }
}

/// A proxy that connects for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// SOCKS5 (RFC 1928), with name and password (RFC 1929) where there are any.
    Socks5 {
        /// Where it is.
        address: SocketAddr,
        /// To prove who we are.
        credential: Option<Credential>,
    },
    /// HAProxy: told by a PROXY header, version 2, from which of its addresses to connect, and where to.
    HaProxy {
        /// Where it is.
        address: SocketAddr,
    },
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socks5 { address, .. } => write!(f, "socks5://{address}"),
            Self::HaProxy { address } => write!(f, "haproxy://{address}"),
        }
    }
}

/// A plan for the first days of a source. Days are those of UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// The first day, counted from 1970-01-01.
    pub start: i64,
    /// Messages of each day to each site; after the last of them as many as there are.
    pub plan: Vec<u32>,
}

impl WarmUp {
    /// Messages on this day, counted from 1970-01-01; none: no limit.
    pub(super) fn most(&self, day: i64) -> Option<u32> {
        match usize::try_from(day.saturating_sub(self.start)) {
            // It has not begun.
            Err(_) => Some(0),
            Ok(at) => self.plan.get(at).copied(),
        }
    }
}

/// Several sources that share what is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Sources, and how much of the mail each gets in proportion.
    pub members: Vec<(Arc<str>, u32)>,
    /// A message that is tried again leaves from the same source, if it can: greylisting wants that.
    pub sticky: bool,
}

/// From where one connection is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// The local address, or that of the proxy.
    pub address: Option<IpAddr>,
    /// The interface.
    pub interface: Option<Arc<str>>,
    /// The proxy.
    pub proxy: Option<Proxy>,
}

/// An error of the source, not of the host that it was to reach.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub(super) struct SourceFault {
    /// What was tried.
    pub(super) what: String,
    /// What came of it.
    pub(super) cause: String,
}

impl SourceFault {
    /// As an error of I/O, which the way of errors is made for.
    pub(super) fn io(what: impl Into<String>, cause: &dyn fmt::Display) -> std::io::Error {
        std::io::Error::other(Self { what: what.into(), cause: cause.to_string() })
    }

    /// True if an error is one of these.
    pub(super) fn is(error: &std::io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}
