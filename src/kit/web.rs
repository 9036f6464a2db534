//! Made-up servers: answers by request, and what was asked. Nothing leaves the process.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;

use super::scenario::{Fault, Http};
use crate::plugin::{Web, WebAnswer, WebFault};

/// The servers of a case. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answers: Vec<Http>,
    /// `POST http://host:port/path`, in order.
    asked: Vec<String>,
    /// What nobody was made up for.
    unknown: Vec<String>,
}

impl Servers {
    /// Replaces the servers.
    pub(crate) fn set(&self, answers: &[Http]) -> Result<(), String> {
        for answer in answers {
            check(answer).map_err(|why| format!("fakes.http: {:?}: {why}", answer.request))?;
        }
        self.0.lock().answers = answers.to_vec();
        Ok(())
    }

    /// What was asked since the last time, and what of it nobody was made up for.
    pub(crate) fn asked(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.0.lock();
        (std::mem::take(&mut state.asked), std::mem::take(&mut state.unknown))
    }
}

impl Web for Servers {
    fn ask(&self, origin: &str, request: Request<Bytes>) -> WebAnswer {
        let mut state = self.0.lock();
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let asked = format!("{} {}{target}", request.method(), without_usual_port(origin));
        let found = state.answers.iter().find(|answer| fits(answer, &asked, &request)).cloned();
        state.asked.push(asked.clone());
        if found.is_none() {
            state.unknown.push(asked);
        }
        Box::pin(async move {
            let Some(answer) = found else { return Err(WebFault::Refused) };
            match answer.fault {
                None => Ok(response(&answer)),
                Some(Fault::Refused) => Err(WebFault::Refused),
                Some(Fault::Timeout) => Err(WebFault::Timeout),
                Some(Fault::Dns) => Err(WebFault::Dns),
                Some(Fault::Tls) => Err(WebFault::Tls),
            }
        })
    }
}

/// As people write it: without the port that the scheme has anyway.
fn without_usual_port(origin: &str) -> &str {
    let usual = [("http://", ":80"), ("https://", ":443")];
    let cut = |(scheme, port): &(&str, &str)| origin.strip_suffix(port).filter(|o| o.starts_with(scheme));
    usual.iter().find_map(cut).unwrap_or(origin)
}

fn fits(answer: &Http, asked: &str, request: &Request<Bytes>) -> bool {
    let (method, url) = answer.request.split_once(' ').unwrap_or(("GET", &answer.request));
    let (_, asked_url) = asked.split_once(' ').unwrap_or_default();
    // The query counts only where it is written.
    let asked_url = if url.contains('?') { asked_url } else { asked_url.split('?').next().unwrap_or_default() };
    let normal = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let origin = format!("{scheme}://{}", host.to_ascii_lowercase());
        format!("{}{}", without_usual_port(&origin), if path.is_empty() { "/" } else { path })
    };
    let body = String::from_utf8_lossy(request.body());
    let has = |line: &String| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        request.headers().get_all(name.trim()).iter().any(|v| v.to_str().is_ok_and(|v| v == value.trim()))
    };
    request.method().as_str() == method
        && normal(asked_url) == normal(url)
        && answer.request_body_contains.iter().all(|part| body.contains(part))
        && answer.request_headers.iter().all(has)
}

fn check(answer: &Http) -> Result<(), String> {
    let (method, url) = answer.request.split_once(' ').ok_or("write a method and a URL: POST http://host:port/path")?;
    http::Method::from_bytes(method.as_bytes()).map_err(|_| "there is no such method".to_owned())?;
    url.parse::<http::Uri>().map_err(|error| error.to_string())?;
    match (answer.status, answer.fault) {
        (None, None) => Err("write what it answers: a `status`, or a `fault`".to_owned()),
        (Some(_), Some(_)) => Err("`status` and `fault`: it is one or the other".to_owned()),
        _ => build(answer).map(drop).map_err(|error| error.to_string()),
    }
}

fn build(answer: &Http) -> Result<Response<Bytes>, http::Error> {
    let mut response = Response::builder().status(answer.status.unwrap_or(200));
    for line in &answer.headers {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        response = response.header(name.trim(), value.trim());
    }
    response.body(answer.body.clone().into())
}

fn response(answer: &Http) -> Response<Bytes> {
    // Checked when it was made up.
    build(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(request: &str, status: u16) -> Http {
        Http {
            request: request.to_owned(),
            request_body_contains: Vec::new(),
            request_headers: Vec::new(),
            status: Some(status),
            headers: vec!["X-A: b".to_owned()],
            body: "hello".to_owned(),
            fault: None,
        }
    }

    async fn ask(servers: &Servers, origin: &str, target: &str, body: &str) -> Result<u16, WebFault> {
        let request = Request::post(target).header("X-Token", "t").body(Bytes::copy_from_slice(body.as_bytes()));
        servers.ask(origin, request.unwrap()).await.map(|response| response.status().as_u16())
    }

    #[tokio::test]
    async fn the_first_that_fits_answers() {
        let servers = Servers::default();
        let picky = Http { request_body_contains: vec!["x".into()], ..server("POST http://A.example/p", 201) };
        let headed = Http { request_headers: vec!["x-token: u".into()], ..server("POST http://a.example/p", 202) };
        let answers =
            [picky, headed, server("POST http://a.example/p", 200), server("POST https://b.example:8443/?q=1", 204)];
        servers.set(&answers).unwrap();
        assert_eq!(ask(&servers, "http://a.example:80", "/p?q", "-x-").await, Ok(201));
        assert_eq!(ask(&servers, "http://a.example:80", "/p", "-").await, Ok(200));
        assert_eq!(ask(&servers, "https://b.example:8443", "/?q=1", "").await, Ok(204));
        assert_eq!(ask(&servers, "https://b.example:8443", "/?q=2", "").await, Err(WebFault::Refused));
        let (asked, unknown) = servers.asked();
        assert_eq!((asked.len(), &*asked[0]), (4, "POST http://a.example/p?q"));
        assert_eq!(unknown, ["POST https://b.example:8443/?q=2"]);
    }

    #[test]
    fn what_is_no_server_is_said() {
        let none = Http { status: None, ..server("GET http://a/", 0) };
        for (bad, part) in [
            (server("http://a/", 200), "a method and a URL"),
            (none, "`status`, or a `fault`"),
            (server("GET http://a/", 99), "status"),
        ] {
            assert!(Servers::default().set(&[bad]).unwrap_err().contains(part));
        }
    }
}
