//! The connector seam: how a connection comes into being and under TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use super::egress::Egress;
use crate::hooks::{TlsFacts, TlsPolicy};
use crate::routing::Address;

/// What a connection is read from and written to.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// A stream, when it is there.
pub type Connecting<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Makes connections (a seam: TCP, Unix sockets and rustls here). Time limits are the caller's.
pub trait Connector: Send + Sync {
    /// A connection to `address`, made from there.
    fn connect<'a>(&'a self, address: &'a Address, from: &'a Egress) -> Connecting<'a, Box<dyn Stream>>;

    /// The client side of a TLS handshake over `stream`. `host` is the name for SNI and, under [`TlsPolicy::Verify`], the
    /// name the certificate must be for. Under every other policy the certificate is not judged.
    fn secure<'a>(
        &'a self,
        stream: Box<dyn Stream>,
        host: &'a str,
        policy: TlsPolicy,
    ) -> Connecting<'a, (Box<dyn Stream>, TlsFacts)>;
}
