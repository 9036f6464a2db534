//! The connector behind the seam: TCP from a chosen address and interface, or through a proxy; Unix sockets; TLS through
//! [`crate::tls`].
//!
//! An error of the source or its proxy is told apart from one of the host: it must never be held against that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ppp::v2::{Addresses, Builder, Command, Protocol, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_socks::Error as SocksError;
use tokio_socks::io::AsyncSocket;
use tokio_socks::tcp::Socks5Stream;

use super::Credential;
use super::connector::{Connecting, Connector, Secured, Stream};
use super::egress::{Egress, Proxy, SourceFault};
use super::requirement::{Level, Requirement};
use crate::hooks::TlsPolicy;
use crate::routing::Address;
use crate::tls::TlsClients;

/// Connects over the network.
#[derive(Clone, Debug)]
pub struct Tcp {
    tls: Arc<TlsClients>,
}

impl Tcp {
    /// With these TLS settings.
    pub fn new(tls: Arc<TlsClients>) -> Self {
        Self { tls }
    }
}

impl Connector for Tcp {
    fn connect<'a>(&'a self, address: &'a Address, from: &'a Egress) -> Connecting<'a, Box<dyn Stream>> {
        Box::pin(async move {
            Ok(match address {
                Address::Tcp(address) => Box::new(connect(*address, from).await?) as Box<dyn Stream>,
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
    }

    fn secure<'a>(
        &'a self,
        stream: Box<dyn Stream>,
        host: &'a str,
        requirement: &'a Requirement,
    ) -> Connecting<'a, Secured> {
        Box::pin(async move {
            if requirement.audit {
                let (stream, facts, found) = self.tls.connect_audited(stream, host).await?;
                return Ok(Secured { stream: Box::new(stream), facts, found });
            }
            let policy = match &requirement.level {
                Level::Verify => TlsPolicy::Verify,
                Level::Off | Level::Plain | Level::Opportunistic | Level::Encrypt => TlsPolicy::Encrypt,
                Level::Dane(dane) => {
                    let (stream, facts) = self.tls.connect_dane(stream, dane).await?;
                    return Ok(Secured { stream: Box::new(stream), facts, found: None });
                }
                Level::Refuse(_) => return Err(io::Error::other("no mail goes to this host")),
            };
            let (stream, facts) = self.tls.connect(stream, host, policy).await?;
            Ok(Secured { stream: Box::new(stream), facts, found: None })
        })
    }
}

/// The address of ours that a host sees, for reports to its domain. None: it can't be told, as behind a SOCKS proxy, which
/// has one of its own.
pub(super) fn seen_from(from: &Egress, host: &Address) -> Option<IpAddr> {
    let Address::Tcp(to) = host else { return None };
    match &from.proxy {
        Some(Proxy::Socks5 { .. }) => None,
        Some(Proxy::HaProxy { .. }) => from.address,
        None => from.address.or_else(|| chosen(*to).filter(|_| from.interface.is_none())),
    }
}

/// The address that the system picks for what goes there. A socket that sends nothing finds it out.
fn chosen(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

async fn connect(address: SocketAddr, from: &Egress) -> io::Result<TcpStream> {
    let interface = from.interface.as_deref();
    match &from.proxy {
        None => socket(address, from.address, interface)?.connect(address).await,
        Some(Proxy::Socks5 { address: proxy, credential }) => {
            // The local address is used as far as the proxy is concerned: what the host sees is the proxy's.
            let local = from.address.filter(|local| local.is_ipv4() == proxy.is_ipv4());
            let stream = to_proxy(*proxy, local, interface).await?;
            socks(stream, *proxy, address, credential.as_ref()).await
        }
        Some(Proxy::HaProxy { address: proxy }) => {
            let mut stream = to_proxy(*proxy, None, interface).await?;
            let what = || format!("proxy {proxy}");
            let header = header(from.address, address).map_err(|error| SourceFault::io(what(), &error))?;
            stream.write_all(&header).await.map_err(|error| SourceFault::io(what(), &error))?;
            Ok(stream)
        }
    }
}

async fn to_proxy(proxy: SocketAddr, local: Option<IpAddr>, interface: Option<&str>) -> io::Result<TcpStream> {
    let connecting = socket(proxy, local, interface)?.connect(proxy);
    connecting.await.map_err(|error| SourceFault::io(format!("proxy {proxy}"), &error))
}

/// A socket that leaves from there.
fn socket(to: SocketAddr, local: Option<IpAddr>, interface: Option<&str>) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(interface) = interface {
        let bound = socket.bind_device(Some(interface.as_bytes()));
        bound.map_err(|error| SourceFault::io(format!("interface {interface}"), &error))?;
    }
    if let Some(local) = local {
        if local.is_ipv4() != to.is_ipv4() {
            let text = "the source address is of the other family than the target's";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        let bound = socket.bind(SocketAddr::new(local, 0));
        bound.map_err(|error| SourceFault::io(format!("source address {local}"), &error))?;
    }
    // Commands are written whole; there is nothing to wait for (Nagle).
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The header for a HAProxy: from which of its addresses to connect, and where to (version 2 of the protocol, section 2.2).
fn header(source: Option<IpAddr>, to: SocketAddr) -> io::Result<Vec<u8>> {
    let any = || if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = SocketAddr::new(source.filter(|source| source.is_ipv4() == to.is_ipv4()).unwrap_or_else(any), 0);
    let addresses: Addresses = (source, to).into();
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses).build()
}

/// Has a SOCKS5 proxy connect to `to`.
async fn socks(
    stream: TcpStream,
    proxy: SocketAddr,
    to: SocketAddr,
    credential: Option<&Credential>,
) -> io::Result<TcpStream> {
    let socket = Socket(stream);
    let connected = match credential {
        None => Socks5Stream::connect_with_socket(socket, to).await,
        Some(Credential { name, secret }) => {
            Socks5Stream::connect_with_password_and_socket(socket, to, name, secret).await
        }
    };
    match connected {
        Ok(stream) => Ok(stream.into_inner().0),
        // The proxy did its part; these are the host's (RFC 1928 section 6).
        Err(SocksError::ConnectionRefused) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(SocksError::HostUnreachable | SocksError::TtlExpired) => Err(io::ErrorKind::HostUnreachable.into()),
        Err(SocksError::NetworkUnreachable) => Err(io::ErrorKind::NetworkUnreachable.into()),
        Err(error) => Err(SourceFault::io(format!("proxy {proxy}"), &error)),
    }
}

/// A stream as the SOCKS library wants it.
struct Socket(TcpStream);

impl AsyncSocket for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }
}

#[cfg(test)]
mod tests;
