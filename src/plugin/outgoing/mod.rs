//! Requests of plugins over HTTP: to the servers an operator listed, within counts, octets and time.
//!
//! A name is resolved once, by the relay's resolver; the addresses it leads to are judged, and the connection goes to
//! one that was judged good. Redirects are handed to the guest, never followed. Every request has a connection of its own,
//! which ends with the call that made it. Must never log a path, a field or a body.

mod body;
mod exchange;
mod made_up;
mod origin;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::HttpGrant;
use super::calls::Shared;
use super::host::Level;
use super::wasi::Voice;
use crate::tls::TlsClients;
use body::Until;
use exchange::Exchange;
use origin::Origin;

/// Octets of a guest's write into a request's body.
const WRITE_MAX: usize = 64 << 10;

/// How a request is done with: [`Answered`], and what drives its connection until the answer's body is read.
type Sending = Box<dyn Future<Output = Answered> + Send>;
type Answered = Result<(http::Response<WasiBody>, Driver), Error>;
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// The settings for TLS with the system's roots, read when they are first needed.
pub(crate) type Roots = OnceCell<TlsClients>;

/// What an operator granted: see [`HttpGrant`].
#[derive(Debug)]
pub(crate) struct Policy {
    allow: Vec<Origin>,
    private_networks: Vec<IpNet>,
    calls: u32,
    bytes: u64,
    timeout: Duration,
}

impl Policy {
    pub(crate) fn of(grant: &HttpGrant) -> Self {
        Self {
            allow: grant.allow.iter().filter_map(|text| Origin::parse(text)).collect(),
            private_networks: grant.private_networks.clone(),
            calls: grant.calls,
            bytes: grant.bytes,
            timeout: grant.timeout,
        }
    }
}

/// The way out of one instance.
pub(crate) struct Outgoing {
    shared: Arc<Shared>,
    voice: Arc<Voice>,
    /// Requests of the running call.
    requests: u32,
    /// Cancelled when it ends.
    call: CancellationToken,
}

impl Outgoing {
    pub(crate) fn new(shared: &Arc<Shared>, voice: Arc<Voice>) -> Self {
        let call = CancellationToken::new();
        Self { shared: shared.clone(), voice, requests: 0, call }
    }

    pub(crate) fn requests(&self) -> u32 {
        self.requests
    }

    /// The call is over, and every exchange with it.
    pub(crate) fn end(&mut self) {
        if self.requests > 0 {
            self.requests = 0;
            std::mem::take(&mut self.call).cancel();
        }
    }

    fn exchange(&mut self, request: &http::Request<WasiBody>) -> Result<Exchange, Error> {
        self.requests = self.requests.saturating_add(1);
        let policy = self.shared.http.clone().ok_or(Error::HttpRequestDenied)?;
        let origin = Origin::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        if !policy.allow.contains(&origin) {
            self.voice.say(Level::Warn, &format!("a request to {origin} was denied: `grants.http.allow` lacks it"));
            return Err(Error::HttpRequestDenied);
        }
        if self.requests > policy.calls {
            self.voice.say(Level::Warn, &format!("a request to {origin} was denied: `grants.http.calls` are used up"));
            return Err(Error::ConnectionLimitReached);
        }
        if request.method() == http::Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let until = Until { end: Instant::now() + policy.timeout, call: self.call.clone() };
        let services = &self.shared.services;
        let (resolver, roots, web) = (services.resolver.clone(), services.roots.clone(), services.web.clone());
        Ok(Exchange { policy, origin, until, resolver, roots, web, voice: self.voice.clone() })
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        match self.exchange(&request) {
            Ok(exchange) => Box::new(exchange.run(request, options.unwrap_or_default())),
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WRITE_MAX
    }

    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::ConnectionTerminated
    }
}

/// Where requests were not granted: there is nothing behind it that could send one.
pub(crate) struct NoWay;

impl WasiHttpHooks for NoWay {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WRITE_MAX
    }
}
