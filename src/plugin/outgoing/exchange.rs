//! One request and its answer: looking up, connecting, TLS, HTTP/1.1.
//!
//! The connection is made to an address that was judged here; nothing resolves the name again.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::Web;
use super::super::host::Level;
use super::super::wasi::Voice;
use super::body::{Bounded, Until};
use super::origin::{Host, Origin, Scheme};
use super::{Answered, Driver, Policy, Roots, made_up};
use crate::hooks::TlsPolicy;
use crate::https::is_public;
use crate::routing::{ResolveError, Resolver};
use crate::tls::TlsClients;

/// Octets of an answer's status line and fields.
const HEAD_MAX: usize = 64 << 10;

/// Fields of an answer.
const FIELDS_MAX: usize = 100;

/// Addresses that are tried: who has more of them has one that works among the first.
const ADDRESSES_MAX: usize = 4;

/// A request that may be made.
pub(super) struct Exchange {
    pub policy: Arc<Policy>,
    pub origin: Origin,
    pub until: Until,
    pub resolver: Arc<dyn Resolver>,
    pub roots: Arc<Roots>,
    /// Answers in place of the network.
    pub web: Option<Arc<dyn Web>>,
    pub voice: Arc<Voice>,
}

impl Exchange {
    /// Until the head of the answer is there.
    pub(super) async fn run(self, request: Request<WasiBody>, options: RequestOptions) -> Answered {
        tokio::select! {
            biased;
            () = self.until.call.cancelled() => Err(Error::ConnectionTerminated),
            answered = self.make(request, options) => answered,
        }
    }

    async fn make(&self, request: Request<WasiBody>, options: RequestOptions) -> Answered {
        let request = self.checked(request)?;
        if let Some(web) = &self.web {
            return made_up::ask(&**web, self, request, options).await;
        }
        let addresses = timeout_at(self.until.end, self.addresses()).await.map_err(|_| Error::DnsTimeout)??;
        let connected = self.within(options.connect_timeout);
        let stream = self.connect(&addresses, connected).await?;
        match self.origin.scheme {
            Scheme::Http => self.talk(stream, request, options).await,
            Scheme::Https => {
                let secured = timeout_at(connected, self.secure(stream)).await;
                let stream = secured.map_err(|_| Error::ConnectionTimeout)??;
                self.talk(stream, request, options).await
            }
        }
    }

    /// The earlier of the exchange's end and what the guest set.
    pub(super) fn within(&self, own: Option<Duration>) -> Instant {
        let own = own.and_then(|own| Instant::now().checked_add(own));
        own.map_or(self.until.end, |own| own.min(self.until.end))
    }

    /// As it goes over the wire: its target without scheme and host, its body with an end.
    fn checked(&self, request: Request<WasiBody>) -> Result<Request<Bounded<WasiBody>>, Error> {
        let (mut parts, body) = request.into_parts();
        let stated = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if stated.is_some_and(|size: u64| size > self.policy.bytes) {
            return Err(Error::HttpRequestBodySize(stated));
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = Uri::builder().path_and_query(target).build().map_err(|_| Error::HttpRequestUriInvalid)?;
        let body = Bounded::new(body, self.policy.bytes, Error::HttpRequestBodySize, self.until.clone());
        Ok(Request::from_parts(parts, body))
    }

    /// Where it may connect to.
    async fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let found = match &self.origin.host {
            // Listed as an address: the operator named this very one.
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => self.resolver.addresses(name).await.map_err(|error| unresolved(&error))?,
        };
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(|address| self.permits(*address));
        if let (true, Some(address)) = (good.is_empty(), bad.first()) {
            let text = format!(
                "a request to {} was denied: it leads to {address}, which is not public and in none of \
                 `grants.http.private-networks`",
                self.origin
            );
            self.voice.say(Level::Warn, &text);
            return Err(Error::DestinationIpProhibited);
        }
        Ok(good)
    }

    fn permits(&self, address: IpAddr) -> bool {
        let listed = |address| self.policy.private_networks.iter().any(|net| net.contains(&address));
        is_public(address) || listed(address) || listed(address.to_canonical())
    }

    /// One address after the other, each with its share of the time.
    async fn connect(&self, addresses: &[IpAddr], end: Instant) -> Result<TcpStream, Error> {
        let mut failed = Error::DestinationUnavailable;
        let tried = addresses.len().min(ADDRESSES_MAX);
        for (at, address) in addresses.iter().take(tried).enumerate() {
            let others = u32::try_from(tried - at).unwrap_or(1).max(1);
            let share = end.saturating_duration_since(Instant::now()) / others;
            match timeout(share, TcpStream::connect((*address, self.origin.port))).await {
                Ok(Ok(stream)) => {
                    // Only slower without it.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => failed = unconnected(&error),
                Err(_) => failed = Error::ConnectionTimeout,
            }
        }
        Err(failed)
    }

    async fn secure(&self, stream: TcpStream) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Error> {
        let roots = self.roots.get_or_try_init(async || {
            let loaded = tokio::task::spawn_blocking(|| TlsClients::load(None)).await;
            loaded.ok().and_then(Result::ok).ok_or(Error::ConfigurationError)
        });
        let host = self.origin.host.to_string();
        let (stream, _) = roots.await?.connect(stream, &host, TlsPolicy::Verify).await.map_err(|e| unsecured(&e))?;
        Ok(stream)
    }

    async fn talk<S>(&self, stream: S, request: Request<Bounded<WasiBody>>, options: RequestOptions) -> Answered
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_MAX).max_headers(FIELDS_MAX);
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        let until = self.until.clone();
        let driver = spawn(async move {
            tokio::select! {
                // What went wrong is told to those who wait for the answer or its body.
                _ = connection => {}
                () = until.past() => {}
            }
        });
        let answered = timeout_at(self.within(options.first_byte_timeout), sender.send_request(request)).await;
        let response = answered.map_err(|_| Error::HttpResponseTimeout)?.map_err(|e| failed(&e))?;
        // The connection's own limit is that of a buffer: it may take in one read more.
        let fields: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if fields > HEAD_MAX {
            return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(fields).ok()));
        }
        let least = response.body().size_hint().lower();
        if least > self.policy.bytes {
            return Err(Error::HttpResponseBodySize(Some(least)));
        }
        let bounded = |body: Incoming| {
            Bounded::new(body, self.policy.bytes, Error::HttpResponseBodySize, self.until.clone())
                .with_pause(options.between_bytes_timeout)
                .boxed_unsync()
        };
        let driver: Driver = Box::new(async move {
            driver.await;
            Ok(())
        });
        Ok((response.map(bounded), driver))
    }
}

fn unresolved(error: &ResolveError) -> Error {
    let rcode = match error {
        ResolveError::NoSuchName => "NXDOMAIN",
        ResolveError::NoData => "NOERROR",
        ResolveError::Temporary(_) => "SERVFAIL",
    };
    Error::DnsError { rcode: Some(rcode.to_owned()), info_code: None }
}

fn unconnected(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

fn unsecured(error: &io::Error) -> Error {
    // TLS has its own words for it, in the one place where its library is named.
    if error.to_string().contains("certificate") { Error::TlsCertificateError } else { Error::TlsProtocolError }
}

fn failed(error: &hyper::Error) -> Error {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(Error::HttpRequestBodySize(size)) = inner.downcast_ref() {
            return Error::HttpRequestBodySize(*size);
        }
        if inner.is::<io::Error>() {
            return Error::ConnectionTerminated;
        }
        cause = inner.source();
    }
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Error::ConnectionTerminated;
    }
    Error::HttpProtocolError
}
