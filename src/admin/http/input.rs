//! What came with a request, read with limits: path, query, body.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Octets of a body: a filter with some thousand ids fits.
pub(super) const BODY: usize = 64 << 10;
/// For a body of any size.
const PATIENCE: Duration = Duration::from_secs(15);
/// And for each so many octets that it may have a second more: the slowest line that a large message can come by.
const SLOWEST: u64 = 128 << 10;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Names and values in the path, decoded.
    pub(super) path: Vec<(String, String)>,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Input {
    /// What stands in the path in place of a name.
    pub(super) fn part(&self, name: &str) -> String {
        let found = self.path.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// The query.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let query = Query::<T>::try_from_uri(&self.uri);
        query.map(|Query(query)| query).map_err(|error| Problem::input(format!("the query: {}", error.body_text())))
    }

    /// A body of JSON. One that says it is something else is not looked at, which also keeps forms of foreign pages out.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.media_type().as_deref() != Some("application/json") {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json"));
        }
        serde_json::from_slice(&self.body).map_err(|error| Problem::input(format!("the body: {error}")))
    }

    /// The media type of the body, in lower case, without parameters.
    pub(super) fn media_type(&self) -> Option<String> {
        media_type(&self.headers)
    }
}

/// As [`Input::media_type`], of a body that is not read whole.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A body, up to a limit, in bounded time.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(patience(limit), Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {limit} octets")))
        }
        Ok(Err(error)) => Err(Problem::input(format!("the body broke off: {error}"))),
        Err(_late) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

fn patience(limit: usize) -> Duration {
    PATIENCE + Duration::from_secs(limit as u64 / SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_has_the_time_that_a_slow_line_needs() {
        let secs = |limit| patience(limit).as_secs();
        assert_eq!((secs(0), secs(BODY), secs(50 << 20)), (15, 15, 415));
    }
}
