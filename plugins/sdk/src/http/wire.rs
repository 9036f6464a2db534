//! One request over `wasi:http`. The only file that knows those interfaces; it asks for what it is told to, and decides
//! nothing.

/// WASI's bindings.
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "client", generate_all });
}

use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use bindings::wasi::io::streams::StreamError;

use super::{Error, Request, Response, Url};
use crate::system;

/// Octets written and read at once: WASI takes no more in one write that waits.
pub(super) const CHUNK: usize = 4096;

/// Gives the octets of a body that follow those which have gone.
type Source<'a> = &'a mut dyn FnMut(u64) -> Result<Vec<u8>, String>;

/// Sends it with a body of `size` octets.
pub(super) fn send(request: &Request, size: u64, source: Source<'_>) -> Result<Response, Error> {
    let url: Url = request.url.parse().map_err(|why: String| Error::Invalid(format!("the URL: {why}")))?;
    let origin = url.origin();
    let end = now_millis().saturating_add(i64::from(request.timeout_millis));
    let outgoing = outgoing(request, &url, size)?;
    let body = outgoing.body().map_err(|()| odd("it has no body"))?;
    let options = options(request)?;
    let future = outgoing_handler::handle(outgoing, Some(options)).map_err(|code| told(&code, &origin))?;
    write(body, size, source)?;
    let incoming = answer(&future, &origin)?;
    read(&incoming, request.answer_max, end, &origin)
}

fn odd(what: &str) -> Error {
    Error::Invalid(what.to_owned())
}

fn now_millis() -> i64 {
    let now = system::now();
    now.seconds.saturating_mul(1000).saturating_add(i64::from(now.nanoseconds / 1_000_000))
}

fn outgoing(request: &Request, url: &Url, size: u64) -> Result<OutgoingRequest, Error> {
    let fields = Fields::new();
    for (name, value) in &request.headers {
        fields.append(name, value.as_bytes()).map_err(|_| odd(&format!("the field {name} can't be set so")))?;
    }
    if size > 0 || !matches!(request.method.as_str(), "GET" | "HEAD") {
        let size = size.to_string();
        fields.append("Content-Length", size.as_bytes()).map_err(|_| odd("the length of its body"))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let scheme = if url.is_secure() { Scheme::Https } else { Scheme::Http };
    outgoing.set_method(&method(&request.method)).map_err(|()| odd("the method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| odd("the scheme"))?;
    outgoing.set_authority(Some(url.authority())).map_err(|()| odd("the host"))?;
    outgoing.set_path_with_query(Some(url.path())).map_err(|()| odd("the path"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(request: &Request) -> Result<RequestOptions, Error> {
    let options = RequestOptions::new();
    let nanos = Some(u64::from(request.timeout_millis).saturating_mul(1_000_000));
    let set = options
        .set_connect_timeout(nanos)
        .and_then(|()| options.set_first_byte_timeout(nanos))
        .and_then(|()| options.set_between_bytes_timeout(nanos));
    set.map_err(|()| odd("the relay takes no time-out"))?;
    Ok(options)
}

/// Until all of it is written, or nobody takes it any more: why is said by the answer.
fn write(body: OutgoingBody, size: u64, source: Source<'_>) -> Result<(), Error> {
    let mut gone = 0_u64;
    if size > 0 {
        let stream = body.write().map_err(|()| odd("it takes no body"))?;
        'all: while gone < size {
            let next = source(gone).map_err(Error::Body)?;
            if next.is_empty() {
                return Err(Error::Body(format!("it ends after {gone} of {size} octets")));
            }
            for chunk in next.chunks(CHUNK) {
                if stream.blocking_write_and_flush(chunk).is_err() {
                    break 'all;
                }
                gone = gone.saturating_add(chunk.len() as u64);
            }
        }
    }
    // What went wrong with it the answer says.
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn answer(future: &FutureIncomingResponse, origin: &str) -> Result<IncomingResponse, Error> {
    future.subscribe().block();
    let broken = || Error::Broken(origin.to_owned());
    future.get().ok_or_else(broken)?.map_err(|()| broken())?.map_err(|code| told(&code, origin))
}

fn read(incoming: &IncomingResponse, most: usize, end: i64, origin: &str) -> Result<Response, Error> {
    let headers = incoming
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned()));
    let mut response = Response { status: incoming.status(), headers: headers.collect(), body: Vec::new() };
    let broken = |()| Error::Broken(origin.to_owned());
    let body = incoming.consume().map_err(broken)?;
    let stream = body.stream().map_err(broken)?;
    loop {
        match stream.blocking_read(CHUNK as u64) {
            Ok(octets) => {
                if response.body.len() + octets.len() > most {
                    return Err(Error::AnswerTooLarge);
                }
                response.body.extend_from_slice(&octets);
            }
            Err(StreamError::Closed) => return Ok(response),
            Err(StreamError::LastOperationFailed(error)) => return Err(stopped(&error.to_debug_string(), origin)),
        }
        if now_millis() > end {
            return Err(Error::TimedOut(origin.to_owned()));
        }
    }
}

/// A stream's error is known by its name only.
fn stopped(name: &str, origin: &str) -> Error {
    if name.contains("Timeout") {
        Error::TimedOut(origin.to_owned())
    } else if name.contains("BodySize") {
        Error::AnswerTooLarge
    } else {
        Error::Broken(origin.to_owned())
    }
}

fn told(code: &ErrorCode, origin: &str) -> Error {
    let origin = origin.to_owned();
    match code {
        ErrorCode::HttpRequestDenied => Error::Denied(origin),
        ErrorCode::DestinationIpProhibited => Error::NotPublic(origin),
        ErrorCode::ConnectionLimitReached => Error::Exhausted,
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => Error::NoSuchHost(origin),
        ErrorCode::ConnectionRefused => Error::Refused(origin),
        ErrorCode::DestinationUnavailable | ErrorCode::DestinationIpUnroutable => Error::Unreachable(origin),
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Error::TimedOut(origin),
        ErrorCode::TlsProtocolError | ErrorCode::TlsCertificateError | ErrorCode::TlsAlertReceived(_) => {
            Error::Tls(origin)
        }
        ErrorCode::HttpRequestBodySize(_) => Error::RequestTooLarge,
        ErrorCode::HttpResponseBodySize(_) | ErrorCode::HttpResponseHeaderSectionSize(_) => Error::AnswerTooLarge,
        ErrorCode::HttpRequestMethodInvalid => odd("the method"),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => odd("the URL"),
        _ => Error::Broken(origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_words_become_ours() {
        for (code, kind) in [
            (ErrorCode::HttpRequestDenied, "denied"),
            (ErrorCode::DestinationIpProhibited, "denied"),
            (ErrorCode::ConnectionLimitReached, "exhausted"),
            (ErrorCode::ConnectionRefused, "refused"),
            (ErrorCode::HttpResponseTimeout, "timeout"),
            (ErrorCode::DnsTimeout, "timeout"),
            (ErrorCode::TlsCertificateError, "tls"),
            (ErrorCode::HttpResponseBodySize(None), "too-large"),
            (ErrorCode::HttpProtocolError, "broken"),
            (ErrorCode::InternalError(None), "broken"),
        ] {
            assert_eq!(told(&code, "https://example.com").kind(), kind, "{code:?}");
        }
        assert_eq!(stopped("ErrorCode::ConnectionReadTimeout", "x").kind(), "timeout");
        assert_eq!(stopped("HttpResponseBodySize(Some(1))", "x").kind(), "too-large");
        assert_eq!(stopped("ConnectionTerminated", "x").kind(), "broken");
    }
}
