//! The connector behind the seam: TCP with a chosen source address, Unix sockets, TLS through [`crate::tls`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::connector::{Connecting, Connector, Stream};
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
    fn connect<'a>(&'a self, address: &'a Address, source: Option<IpAddr>) -> Connecting<'a, Box<dyn Stream>> {
        Box::pin(async move {
            Ok(match address {
                Address::Tcp(address) => Box::new(connect(*address, source).await?) as Box<dyn Stream>,
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
    }

    fn secure<'a>(
        &'a self,
        stream: Box<dyn Stream>,
        host: &'a str,
        policy: TlsPolicy,
    ) -> Connecting<'a, (Box<dyn Stream>, crate::hooks::TlsFacts)> {
        Box::pin(async move {
            let (stream, facts) = self.tls.connect(stream, host, policy).await?;
            Ok((Box::new(stream) as Box<dyn Stream>, facts))
        })
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        if source.is_ipv4() != address.is_ipv4() {
            let text = "the source address is of the other family than the target's";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        socket.bind(SocketAddr::new(source, 0))?;
    }
    // Commands are written whole; there is nothing to wait for (Nagle).
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
