//! The servers of a native test: what it wrote down answers, and nothing is sent.

use super::{Error, Request, Response, Url};
use crate::native::http::{Answer, Asked, Fault, answer_to};

/// As a request over the wire, to the servers of the test.
pub(super) fn send(
    request: &Request,
    size: u64,
    source: &mut dyn FnMut(u64) -> Result<Vec<u8>, String>,
) -> Result<Response, Error> {
    let url: Url = request.url.parse().map_err(|why: String| Error::Invalid(format!("the URL: {why}")))?;
    let origin = url.origin();
    let mut body = Vec::new();
    while (body.len() as u64) < size {
        let next = source(body.len() as u64).map_err(Error::Body)?;
        if next.is_empty() {
            return Err(Error::Body(format!("it ends after {} of {size} octets", body.len())));
        }
        body.extend(next);
    }
    let asked = Asked {
        request: format!("{} {}", request.method, request.url),
        headers: request.headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    match answer_to(asked) {
        None => Err(Error::Denied(origin)),
        Some(Answer::Fault(fault)) => Err(match fault {
            Fault::Refused => Error::Refused(origin),
            Fault::Timeout => Error::TimedOut(origin),
            Fault::Dns => Error::NoSuchHost(origin),
            Fault::Tls => Error::Tls(origin),
        }),
        Some(Answer::Said { body, .. }) if body.len() > request.answer_max => Err(Error::AnswerTooLarge),
        Some(Answer::Said { status, headers, body }) => Ok(Response { status, headers, body: body.into_bytes() }),
    }
}
