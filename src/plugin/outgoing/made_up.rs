//! An exchange with a server that is only made up: the grants, the limits and the times are the real ones, the network is
//! not. Must never reach a socket.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::timeout_at;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::{Web, WebFault};
use super::body::Bounded;
use super::exchange::Exchange;
use super::{Answered, Driver};

/// Puts the whole request to it, and gives its answer as one that came over a connection.
pub(super) async fn ask(
    web: &dyn Web,
    exchange: &Exchange,
    request: Request<Bounded<WasiBody>>,
    options: RequestOptions,
) -> Answered {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = web.ask(&exchange.origin.to_string(), Request::from_parts(parts, body));
    let answered = timeout_at(exchange.within(options.first_byte_timeout), asked).await;
    let response = answered.map_err(|_| Error::HttpResponseTimeout)?.map_err(fault)?;
    if response.body().len() as u64 > exchange.policy.bytes {
        return Err(Error::HttpResponseBodySize(Some(response.body().len() as u64)));
    }
    let driver: Driver = Box::new(std::future::ready(Ok(())));
    let whole = |body: Bytes| Full::new(body).map_err(|never| match never {}).boxed_unsync();
    Ok((response.map(whole), driver))
}

fn fault(fault: WebFault) -> Error {
    match fault {
        WebFault::Refused => Error::ConnectionRefused,
        WebFault::Timeout => Error::ConnectionReadTimeout,
        WebFault::Dns => Error::DnsError { rcode: Some("NXDOMAIN".to_owned()), info_code: None },
        WebFault::Tls => Error::TlsCertificateError,
    }
}
