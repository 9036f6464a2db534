//! Requests that the relay itself makes over HTTPS: policies fetched, reports posted.
//!
//! One request over one connection, to a public address unless the operator lists others, with a certificate that verifies
//! for the host, an answer of bounded size, all of it in bounded time. Must never follow a redirect (RFC 8461 section 3.3),
//! and never look a name up again after its address was judged.

mod public;
mod stream;
#[cfg(test)]
pub(crate) mod testing;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use public::is_public;

use crate::hooks::TlsPolicy;
use crate::routing::Resolver;
use crate::tls::{self, TlsClients};
use stream::HyperStream;

/// Octets of an answer's status line and fields.
const HEAD_MAX: usize = 16 << 10;

/// Fields of an answer.
const FIELDS_MAX: usize = 64;

/// Addresses that are tried: who has more of them has one that works among the first.
const ADDRESSES_MAX: usize = 4;

/// Makes requests.
#[derive(Clone)]
pub struct Client {
    resolver: Arc<dyn Resolver>,
    tls: Arc<TlsClients>,
}

/// What holds for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// All of it: look-up, connection, answer.
    pub time: Duration,
    /// Octets of the answer's body.
    pub octets: usize,
    /// Where it goes: 443.
    pub port: u16,
    /// Addresses that may be connected to although they are not public.
    pub networks: Vec<IpNet>,
}

/// What protects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS, with a certificate that verifies.
    Verified,
    /// Nothing: for a server that the operator has named so.
    Plain,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The media type, in lower case, without parameters.
    pub media: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The name leads nowhere.
    #[error("{0}")]
    Name(Arc<str>),
    /// It leads to an address that a stranger's name must not lead to.
    #[error("it leads to {0}, which is no public address")]
    Private(IpAddr),
    /// Nobody answers.
    #[error("the connection failed: {0}")]
    Connect(io::Error),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(tls::Fault),
    /// What comes is not HTTP.
    #[error("the answer is no good: {0}")]
    Protocol(Arc<str>),
    /// The body is larger than it may be.
    #[error("the answer is larger than {0} octets")]
    Large(usize),
    /// The time is over.
    #[error("timed out")]
    Late,
}

impl Client {
    /// With these name servers and authorities.
    pub fn new(resolver: Arc<dyn Resolver>, tls: Arc<TlsClients>) -> Self {
        Self { resolver, tls }
    }

    /// GET.
    ///
    /// # Errors
    /// When there is no answer; one that says "no" is an answer.
    pub async fn get(&self, host: &str, path: &str, terms: &Terms) -> Result<Answer, Fault> {
        let request = Request::get(path).header(header::ACCEPT, "text/plain");
        self.ask(Security::Verified, host, request, Bytes::new(), terms).await
    }

    /// POST.
    ///
    /// # Errors
    /// When there is no answer; one that says "no" is an answer.
    pub async fn post(&self, host: &str, path: &str, media: &str, body: Bytes, terms: &Terms) -> Result<Answer, Fault> {
        let request = Request::post(path).header(header::CONTENT_TYPE, media);
        self.ask(Security::Verified, host, request, body, terms).await
    }

    /// POST of protobuf to a host and a path that the operator has named, with fields of theirs.
    ///
    /// # Errors
    /// When there is no answer; one that says "no" is an answer.
    pub async fn post_as(
        &self,
        security: Security,
        (host, path): (&str, &str),
        fields: &[(String, String)],
        body: Bytes,
        terms: &Terms,
    ) -> Result<Answer, Fault> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-protobuf");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        self.ask(security, host, request, body, terms).await
    }

    async fn ask(
        &self,
        security: Security,
        host: &str,
        request: http::request::Builder,
        body: Bytes,
        terms: &Terms,
    ) -> Result<Answer, Fault> {
        let usual = if security == Security::Verified { 443 } else { 80 };
        let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority = if terms.port == usual { name } else { format!("{name}:{}", terms.port) };
        let request = request
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "waypost")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|e| Fault::Protocol(e.to_string().into()))?;
        timeout(terms.time, self.exchange(security, host, request, terms)).await.unwrap_or(Err(Fault::Late))
    }

    async fn exchange(
        &self,
        security: Security,
        host: &str,
        request: Request<Full<Bytes>>,
        terms: &Terms,
    ) -> Result<Answer, Fault> {
        let addresses = self.addresses(host, terms).await?;
        let stream = connect(&addresses, terms).await?;
        if security == Security::Plain {
            return converse(stream, request, terms).await;
        }
        let secured = self.tls.connect(stream, host, TlsPolicy::Verify).await;
        let (stream, _) = secured.map_err(|error| Fault::Tls(tls::Fault::of(&error)))?;
        converse(stream, request, terms).await
    }

    async fn addresses(&self, host: &str, terms: &Terms) -> Result<Vec<IpAddr>, Fault> {
        let found = match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.addresses(host).await.map_err(|e| Fault::Name(format!("{host}: {e}").into()))?,
        };
        let permits = |address: &IpAddr| {
            let listed = |address: IpAddr| terms.networks.iter().any(|net| net.contains(&address));
            is_public(*address) || listed(*address) || listed(address.to_canonical())
        };
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(permits);
        match (good.is_empty(), bad.first()) {
            (true, Some(address)) => Err(Fault::Private(*address)),
            (true, None) => Err(Fault::Name(format!("{host} has no address").into())),
            (false, _) => Ok(good),
        }
    }
}

/// One request and its answer.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    terms: &Terms,
) -> Result<Answer, Fault> {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_MAX).max_headers(FIELDS_MAX);
    let (mut sender, connection) = http.handshake(HyperStream::new(stream)).await.map_err(|e| broken(&e))?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let status = response.status().as_u16();
        Ok(Answer { status, media, body: read(response.into_body(), terms.octets).await? })
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It ends with the server's last octet; what was read by then is an answer, or an error of its own.
        _ = &mut connection => answer.await,
    }
}

/// One address after the other, each with its share of the time.
async fn connect(addresses: &[IpAddr], terms: &Terms) -> Result<TcpStream, Fault> {
    let tried = addresses.len().min(ADDRESSES_MAX);
    let share = terms.time / u32::try_from(tried + 1).unwrap_or(1);
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses.iter().take(tried) {
        match timeout(share, TcpStream::connect((*address, terms.port))).await {
            Ok(Ok(stream)) => {
                // Only slower without it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(Fault::Connect(failed))
}

async fn read(mut body: Incoming, most: usize) -> Result<Bytes, Fault> {
    if body.size_hint().lower() > most as u64 {
        return Err(Fault::Large(most));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| broken(&e))?;
        if let Some(piece) = frame.data_ref() {
            if read.len() + piece.len() > most {
                return Err(Fault::Large(most));
            }
            read.extend_from_slice(piece);
        }
    }
    Ok(read.freeze())
}

fn broken(error: &hyper::Error) -> Fault {
    Fault::Protocol(error.to_string().into())
}
