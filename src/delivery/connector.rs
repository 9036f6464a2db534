//! The connector seam: how a connection comes into being and under TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use super::egress::Egress;
use super::requirement::Requirement;
use crate::hooks::TlsFacts;
use crate::routing::Address;
use crate::tls::Fault;

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

/// A stream under TLS.
#[derive(Debug)]
pub struct Secured {
    /// What is read and written from now on.
    pub stream: Box<dyn Stream>,
    /// What protects it.
    pub facts: TlsFacts,
    /// What is wrong with the certificate, where that was only to be looked at ([`Requirement::audit`]).
    pub found: Option<Fault>,
}

/// Makes connections (a seam: TCP, Unix sockets and rustls here). Time limits are the caller's.
pub trait Connector: Send + Sync {
    /// A connection to `address`, made from there.
    fn connect<'a>(&'a self, address: &'a Address, from: &'a Egress) -> Connecting<'a, Box<dyn Stream>>;

    /// The client side of a TLS handshake over `stream`. `host` is the name for SNI, and the name the certificate must be for
    /// where the requirement asks for one. Where it does not, the certificate is not judged.
    fn secure<'a>(
        &'a self,
        stream: Box<dyn Stream>,
        host: &'a str,
        requirement: &'a Requirement,
    ) -> Connecting<'a, Secured>;
}
