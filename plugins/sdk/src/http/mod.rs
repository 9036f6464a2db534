//! Requests over HTTP to the servers that an operator granted.
//!
//! ```ignore
//! let answer = Request::post("https://api.example.com/check", b"{}".to_vec())
//!     .header("Content-Type", "application/json")
//!     .timeout_millis(2000)
//!     .send()?;
//! ```
//!
//! Needs `grants.http`. Every request has a connection of its own, and no redirect is followed. A plugin that makes no
//! request imports nothing of WASI. Must never keep an answer beyond the call, nor put a secret into an error.

mod error;
#[cfg(not(target_arch = "wasm32"))]
mod made_up;
mod url;
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "natively the servers of a test answer"))]
mod wire;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::Error;
pub use url::Url;

#[cfg(not(target_arch = "wasm32"))]
use made_up::send as exchange;
#[cfg(target_arch = "wasm32")]
use wire::send as exchange;

/// How long a server is waited for where nothing else is said. The relay's own limit, `grants.http.timeout`, is 5 s.
pub const TIMEOUT_MILLIS: u32 = 4000;

/// Octets of an answer's body that are read where nothing else is said.
pub const ANSWER_MAX: usize = 64 << 10;

/// A request, yet to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout_millis: u32,
    answer_max: usize,
}

/// What a server answered, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Three digits; 3yz too, for nothing is followed.
    pub status: u16,
    /// Fields in their order, names in lower case. Octets that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// At most as many octets as the request allowed.
    pub body: Vec<u8>,
}

impl Request {
    /// A request of any method.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_ascii_uppercase(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_millis: TIMEOUT_MILLIS,
            answer_max: ANSWER_MAX,
        }
    }

    /// GET.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// POST of these octets.
    pub fn post(url: &str, body: Vec<u8>) -> Self {
        Self { body, ..Self::new("POST", url) }
    }

    /// POST of a value as JSON.
    ///
    /// # Errors
    /// The value has no form in JSON.
    pub fn post_json<T: Serialize>(url: &str, value: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(value).map_err(|error| Error::Invalid(format!("no JSON: {error}")))?;
        Ok(Self::post(url, body).header("Content-Type", "application/json"))
    }

    /// One more field. `Host`, `Connection`, `Transfer-Encoding` and their like are the relay's; setting one is an error
    /// when the request is sent.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Milliseconds to wait for the connection, for the head of the answer, and for its next octets; no waiting begins
    /// once so much time has passed in all. `grants.http.timeout` bounds the whole, whatever is said here.
    #[must_use]
    pub fn timeout_millis(mut self, millis: u32) -> Self {
        self.timeout_millis = millis;
        self
    }

    /// Octets of the answer's body that may come; with more it is [`Error::AnswerTooLarge`].
    #[must_use]
    pub fn answer_max(mut self, octets: usize) -> Self {
        self.answer_max = octets;
        self
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// There was no answer. A status such as 500 is an answer.
    pub fn send(self) -> Result<Response, Error> {
        exchange(&self, self.body.len() as u64, &mut |at| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            Ok(self.body.get(at..).unwrap_or_default().iter().take(wire::CHUNK).copied().collect())
        })
    }

    /// Sends a body that is made on the way: `next` is told how many octets have gone, and gives those that follow; none
    /// at the end. Together they have to be `size` octets.
    ///
    /// # Errors
    /// There was no answer, or `next` failed.
    pub fn send_from(self, size: u64, mut next: impl FnMut(u64) -> Result<Vec<u8>, String>) -> Result<Response, Error> {
        exchange(&self, size, &mut next)
    }
}

impl Response {
    /// True for 2yz.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first field of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text; octets that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none, or not of that form; without a word of its content.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if error.is_data() { "JSON of another form" } else { "no JSON" };
            Error::BadAnswer(format!("{what}, at line {} column {}", error.line(), error.column()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_without_regard_to_case() {
        let response = Response {
            status: 204,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: b"{\"a\": 1}".to_vec(),
        };
        assert!(response.is_success());
        assert_eq!(response.header("Content-Type"), Some("text/plain"));
        assert_eq!(response.header("Location"), None);
        assert_eq!(response.json::<std::collections::BTreeMap<String, u8>>().unwrap()["a"], 1);
    }

    #[test]
    fn bad_json_is_told_without_its_content() {
        for (body, expected) in [
            ("", "the answer is no JSON, at line 1 column 0"),
            ("<html>SECRET", "the answer is no JSON, at line 1 column 1"),
            ("[\"SECRET\"]", "the answer is JSON of another form, at line 1 column 9"),
        ] {
            let response = Response { body: body.as_bytes().to_vec(), ..Response::default() };
            assert_eq!(response.json::<Vec<u8>>().unwrap_err().to_string(), expected, "{body}");
        }
    }
}
