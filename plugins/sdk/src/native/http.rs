//! Servers that a test makes up, for the crate's HTTP client.

use super::{trap, with};

/// A request that the plugin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `POST https://example.com/path`.
    pub request: String,
    /// Fields as the plugin set them.
    pub headers: Vec<(String, String)>,
    /// The body; octets that are not UTF-8 are replaced.
    pub body: String,
}

/// Why a server of a test does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It refuses the connection.
    Refused,
    /// It does not answer in time.
    Timeout,
    /// Its name does not exist.
    Dns,
    /// Its certificate is not good.
    Tls,
}

/// What a server does.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Said { status: u16, headers: Vec<(String, String)>, body: String },
    Fault(Fault),
}

/// A server's answer to one kind of request: `POST https://example.com/path`. The query is compared only if it is written.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) request: String,
    pub(crate) answer: Answer,
}

/// What the first server that fits answers; none if the test has no servers, which is as if nothing were granted.
pub(crate) fn answer_to(asked: Asked) -> Option<Answer> {
    let request = asked.request.clone();
    let (servers, number) = with(|state| {
        state.call.requests.push(asked);
        (state.services.servers.clone(), state.services.servers.len())
    });
    if number == 0 {
        return None;
    }
    let fits = |server: &Server| {
        let without_query = request.split_once('?').map_or(&*request, |(before, _)| before);
        server.request == if server.request.contains('?') { &*request } else { without_query }
    };
    match servers.into_iter().find(fits) {
        Some(server) => Some(server.answer),
        None => trap(&format!("the test has no server for {request}")),
    }
}
