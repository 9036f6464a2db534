//! Requests over HTTP: one, one that is left behind, and fields that no guest may set.

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use crate::bindings::wasi::io::streams::StreamError;

/// Octets written at once: more is not allowed.
const CHUNK: u64 = 4096;

/// GET, or POST of so many octets; the status and what came of the body, or the error.
pub(crate) fn get(url: &str, send: u64) -> String {
    match sent(url, send).and_then(answer) {
        Ok(response) => read(&response),
        Err(error) => format!("{error:?}"),
    }
}

/// A request whose answer nobody waits for; or why there is none.
pub(crate) fn leave(url: &str) -> Option<String> {
    match sent(url, 0) {
        Ok(future) => std::mem::forget(future),
        Err(error) => return Some(format!("{error:?}")),
    }
    None
}

/// Those that name the connection, not the request.
pub(crate) fn fields() -> String {
    const NAMES: [&str; 7] =
        ["Host", "Connection", "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Keep-Alive", "Authorization"];
    let fields = Fields::new();
    let set = NAMES.into_iter().filter(|name| fields.append(name, b"x").is_ok());
    format!("set {}", set.collect::<Vec<_>>().join(" "))
}

fn sent(url: &str, send: u64) -> Result<FutureIncomingResponse, ErrorCode> {
    let wrong = || ErrorCode::InternalError(Some("no such request".to_owned()));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).map_err(|()| wrong())?;
    request.set_authority(Some(authority)).map_err(|()| wrong())?;
    request.set_path_with_query(Some(path)).map_err(|()| wrong())?;
    if send == 0 {
        return outgoing_handler::handle(request, None);
    }
    request.set_method(&Method::Post).map_err(|()| wrong())?;
    let body = request.body().map_err(|()| wrong())?;
    let future = outgoing_handler::handle(request, None)?;
    write(body, send);
    Ok(future)
}

/// Until it is written, or nobody takes it any more.
fn write(body: OutgoingBody, mut left: u64) {
    if let Ok(stream) = body.write() {
        while left > 0 {
            let size = left.min(CHUNK);
            if stream.blocking_write_and_flush(&vec![b'x'; usize::try_from(size).unwrap_or_default()]).is_err() {
                break;
            }
            left -= size;
        }
    }
    // The answer says what became of it.
    let _ = OutgoingBody::finish(body, None);
}

fn answer(future: FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    future.subscribe().block();
    let none = || ErrorCode::InternalError(Some("no answer".to_owned()));
    future.get().ok_or_else(none)?.map_err(|()| none())?
}

fn read(response: &IncomingResponse) -> String {
    let status = response.status();
    let location = response.headers().get("location").first().map(|at| String::from_utf8_lossy(at).into_owned());
    let to = location.map(|at| format!(" to {at}")).unwrap_or_default();
    let Ok(body) = response.consume() else { return format!("{status}{to}") };
    let Ok(stream) = body.stream() else { return format!("{status}{to}") };
    let mut octets = 0;
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(read) => octets += read.len(),
            Err(StreamError::Closed) => return format!("{status}{to} {octets} octets"),
            Err(StreamError::LastOperationFailed(error)) => {
                let why = error.to_debug_string();
                return format!("{status}{to} broke: {}", why.lines().next().unwrap_or_default());
            }
        }
    }
}
