//! How the command line asks: HTTP over the Unix socket, each request as the route of the API that makes it.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
pub(super) use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::http::ProblemForm;
use super::{Client, ClientError, Done, EventsForm, FilterForm, HistoryForm, Request, SuppressForm, WhyForm};

/// Longer than the slowest honest answer: a reload that compiles many plugins, a command for a million messages.
const PATIENCE: Duration = Duration::from_secs(600);
/// Octets of an answer: ten thousand decisions fit several times.
const ANSWER: usize = 256 << 20;

/// Octets of one event.
const LINE: usize = 1 << 20;

/// A connection to a running relay.
#[derive(Debug)]
pub(super) struct Connection(SendRequest<Full<Bytes>>);

/// A request as it goes over the wire.
struct Call {
    method: Method,
    target: String,
    body: Option<Value>,
}

pub(super) fn broken(error: impl ToString) -> ClientError {
    ClientError::Broken(error.to_string())
}

async fn connect<B>(path: &Path) -> Result<SendRequest<B>, ClientError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = UnixStream::connect(path).await;
    let stream = stream.map_err(|error| ClientError::NotReachable(path.to_owned(), error))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the sender, or with the relay.
    tokio::spawn(connection);
    Ok(sender)
}

impl Connection {
    /// # Errors
    /// When no relay answers at the path.
    pub(super) async fn open(path: &Path) -> Result<Self, ClientError> {
        Ok(Self(connect(path).await?))
    }

    /// One request with a body of its own kind, on a connection of its own.
    ///
    /// # Errors
    /// When no relay answers at the path, or the connection breaks.
    pub(super) async fn once<B>(path: &Path, request: http::Request<B>) -> Result<http::Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
    {
        connect(path).await?.send_request(request).await.map_err(broken)
    }

    /// An answer as it comes.
    pub(super) async fn get(&mut self, target: &str) -> Result<http::Response<Incoming>, ClientError> {
        self.send(Call { method: Method::GET, target: target.to_owned(), body: None }).await
    }

    async fn send(&mut self, call: Call) -> Result<http::Response<Incoming>, ClientError> {
        let body = call.body.map(|body| serde_json::to_vec(&body)).transpose().map_err(broken)?;
        let request = http::Request::builder().method(call.method).uri(call.target).header(header::HOST, "waypost");
        let request = match body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Full::from(body)),
            None => request.body(Full::default()),
        };
        self.0.ready().await.map_err(broken)?;
        self.0.send_request(request.map_err(broken)?).await.map_err(broken)
    }

    /// One answer, whole.
    async fn ask(&mut self, call: Call) -> Result<Value, ClientError> {
        let response = self.send(call).await?;
        let status = response.status();
        let body = whole(response.into_body()).await?;
        if status.is_success() { serde_json::from_slice(&body).map_err(broken) } else { Err(refused(status, &body)) }
    }

    /// The content of a message, piece by piece.
    pub(super) async fn content(
        &mut self,
        id: &str,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let target = format!("/api/v1/queue/messages/{}/content", encoded(id));
        let response = self.send(Call { method: Method::GET, target, body: None }).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            return Err(refused(status, &whole(body).await?));
        }
        while let Some(frame) = body.frame().await {
            if let Ok(octets) = frame.map_err(broken)?.into_data() {
                take(&octets).map_err(broken)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    pub(super) async fn rates(&mut self) -> Result<Value, ClientError> {
        self.ask(Call { method: Method::GET, target: "/api/v1/rates".to_owned(), body: None }).await
    }

    /// Server-sent events, one by one.
    pub(super) async fn events(
        &mut self,
        which: &EventsForm,
        take: &mut dyn FnMut(&str, Value) -> io::Result<ControlFlow<()>>,
    ) -> Result<(), ClientError> {
        let EventsForm { kinds, client, address } = which.clone();
        let target = target("/api/v1/events", vec![("kinds", kinds), ("client", client), ("address", address)]);
        let response = self.send(Call { method: Method::GET, target, body: None }).await?;
        let (status, mut body) = (response.status(), response.into_body());
        if !status.is_success() {
            return Err(refused(status, &whole(body).await?));
        }
        let (mut lines, mut kind) = (BytesMut::new(), String::new());
        while let Some(frame) = body.frame().await {
            let Ok(octets) = frame.map_err(broken)?.into_data() else { continue };
            lines.extend_from_slice(&octets);
            while let Some(end) = lines.iter().position(|octet| *octet == b'\n') {
                let line = lines.split_to(end + 1);
                let line = String::from_utf8_lossy(&line);
                if let Some(name) = line.strip_prefix("event: ") {
                    kind = name.trim_end().to_owned();
                } else if let Some(data) = line.strip_prefix("data: ")
                    && take(&kind, serde_json::from_str(data).map_err(broken)?).map_err(broken)?.is_break()
                {
                    return Ok(());
                }
            }
            if lines.len() > LINE {
                return Err(broken("an event is too long"));
            }
        }
        Ok(())
    }
}

pub(super) async fn whole(mut body: Incoming) -> Result<Bytes, ClientError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(octets) = frame.map_err(broken)?.into_data() else { continue };
        if collected.len() + octets.len() > ANSWER {
            return Err(broken("it is too large"));
        }
        collected.extend_from_slice(&octets);
    }
    Ok(collected.freeze())
}

pub(super) fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ProblemForm>(body) {
        Ok(problem) if !problem.reasons.is_empty() => ClientError::Refused(problem.reasons),
        _ => broken(format!("status {status}")),
    }
}

impl Client {
    /// Has something done: the items, and the rest.
    pub(super) async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<(Vec<T>, Done), ClientError> {
        let asked = self.connection.ask(call(request)?);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let mut answer = answer.unwrap_or_else(|_| Err(broken("it took too long")))?;
        let items = match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let done = done(request, answer, items.len()).map_err(broken)?;
        let items = items.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().map_err(broken)?;
        Ok((items, done))
    }
}

/// The route that makes this request.
fn call(request: &Request) -> Result<Call, ClientError> {
    let get = |path: &str, query: Vec<(&str, Option<String>)>| {
        Ok(Call { method: Method::GET, target: target(path, query), body: None })
    };
    let post = |path: &str, body: Value| Ok(Call { method: Method::POST, target: path.to_owned(), body: Some(body) });
    let delete = |path: &str, query: Vec<(&str, Option<String>)>| {
        Ok(Call { method: Method::DELETE, target: target(path, query), body: None })
    };
    let plugin = |name: &str, what: &str| format!("/api/v1/plugins/{}/{what}", encoded(name));
    match request {
        Request::Status => get("/api/v1/status", vec![]),
        Request::Reload { .. } => post("/api/v1/reload", fields(request)?),
        Request::QueueList { filter, after, limit } => get(
            "/api/v1/queue",
            vec![("filter", text(filter)?), ("after", after.clone()), ("limit", Some(limit.to_string()))],
        ),
        Request::QueueCount { filter, after, upto } => get(
            "/api/v1/queue/count",
            vec![("filter", text(filter)?), ("after", after.clone()), ("upto", upto.clone())],
        ),
        Request::QueueSummary { filter, by, after, upto } => {
            let (filter, by) = (text(filter)?, Some(by.clone()));
            let query = vec![("filter", filter), ("by", by), ("after", after.clone()), ("upto", upto.clone())];
            get("/api/v1/queue/summary", query)
        }
        Request::QueueShow { id } => get(&format!("/api/v1/queue/messages/{}", encoded(id)), vec![]),
        Request::QueueCommand { .. } => post("/api/v1/queue/command", fields(request)?),
        Request::QueueRuleAdd { .. } => post("/api/v1/queue/rules", fields(request)?),
        Request::QueueRules => get("/api/v1/queue/rules", vec![]),
        Request::QueueRuleLift { number } => delete(&format!("/api/v1/queue/rules/{number}"), vec![]),
        Request::Explain { about } => get(
            "/api/v1/explain",
            vec![
                ("domain", Some(about.domain.clone())),
                ("sender", about.sender.clone()),
                ("tenant", about.tenant.clone()),
            ],
        ),
        Request::Sts { about } if about.refresh => post("/api/v1/sts", json!({ "domain": about.domain })),
        Request::Sts { about } => get("/api/v1/sts", vec![("domain", Some(about.domain.clone()))]),
        Request::Destinations => get("/api/v1/destinations", vec![]),
        Request::BanList => get("/api/v1/bans", vec![]),
        Request::BanAdd { .. } => post("/api/v1/bans", fields(request)?),
        Request::BanRemove { network } => delete("/api/v1/bans", vec![("network", Some(network.to_string()))]),
        Request::Plugins | Request::PluginStatus => get("/api/v1/plugins", vec![]),
        Request::PluginMetrics { plugin: None } => get("/api/v1/plugins/metrics", vec![]),
        Request::PluginMetrics { plugin: Some(name) } => get(&plugin(name, "metrics"), vec![]),
        Request::PluginTrial { name } => get(&plugin(name, "trial"), vec![]),
        Request::PluginGenerations => get("/api/v1/plugins/generations", vec![]),
        Request::PluginAudit { limit } => get("/api/v1/plugins/audit", vec![("limit", Some(limit.to_string()))]),
        Request::PluginChange { .. } => post("/api/v1/plugins/change", fields(request)?),
        Request::Why { which } => get("/api/v1/why", why(which)),
        Request::History { which } => get("/api/v1/history", history(which)),
        Request::Suppress { what } => suppress(what),
        Request::Record { plugin: name, calls, address } => {
            post(&plugin(name, "recording"), json!({ "calls": calls, "address": address }))
        }
        Request::StopRecording { plugin: name } => delete(&plugin(name, "recording"), vec![]),
    }
}

fn suppress(what: &SuppressForm) -> Result<Call, ClientError> {
    const PATH: &str = "/api/v1/suppressions";
    let of = |address: &String, tenant: &Option<String>| {
        vec![("address", Some(address.clone())), ("tenant", tenant.clone())]
    };
    Ok(match what {
        SuppressForm::Add { address, tenant, reason, for_secs } => Call {
            method: Method::POST,
            target: PATH.to_owned(),
            body: Some(json!({ "address": address, "tenant": tenant, "reason": reason, "for_secs": for_secs })),
        },
        SuppressForm::Remove { address, tenant } => {
            Call { method: Method::DELETE, target: target(PATH, of(address, tenant)), body: None }
        }
        SuppressForm::List { contains, tenant, limit } => {
            let (contains, limit) = (Some(contains.clone()), Some(limit.to_string()));
            let query = vec![("contains", contains), ("tenant", tenant.clone()), ("limit", limit)];
            Call { method: Method::GET, target: target(PATH, query), body: None }
        }
        SuppressForm::Check { address, tenant } => {
            let target = target("/api/v1/suppressions/check", of(address, tenant));
            Call { method: Method::GET, target, body: None }
        }
    })
}

fn history(which: &HistoryForm) -> Vec<(&'static str, Option<String>)> {
    let HistoryForm { id, sender, recipient, failed, since_secs, until_secs, oldest, limit } = which.clone();
    vec![
        ("id", id),
        ("sender", sender),
        ("recipient", recipient),
        ("failed", Some(failed.to_string())),
        ("since_secs", since_secs.map(|secs| secs.to_string())),
        ("until_secs", until_secs.map(|secs| secs.to_string())),
        ("oldest", Some(oldest.to_string())),
        ("limit", Some(limit.to_string())),
    ]
}

fn why(which: &WhyForm) -> Vec<(&'static str, Option<String>)> {
    let WhyForm { id, address, plugin, hook, verdict, failed, since_secs, until_secs, oldest, limit } = which.clone();
    vec![
        ("id", id),
        ("address", address),
        ("plugin", plugin),
        ("hook", hook),
        ("verdict", verdict),
        ("failed", Some(failed.to_string())),
        ("since_secs", since_secs.map(|secs| secs.to_string())),
        ("until_secs", until_secs.map(|secs| secs.to_string())),
        ("oldest", Some(oldest.to_string())),
        ("limit", Some(limit.to_string())),
    ]
}

/// What a request is made of, without its name.
fn fields(request: &Request) -> Result<Value, ClientError> {
    let mut value = serde_json::to_value(request).map_err(broken)?;
    value.as_object_mut().map(|fields| fields.shift_remove("request"));
    Ok(value)
}

/// A filter in its language. What can't be meant is refused here, in the words that the relay would use.
fn text(filter: &FilterForm) -> Result<Option<String>, ClientError> {
    if filter.is_empty() {
        return Ok(None);
    }
    let read = filter.filter().map_err(|why| ClientError::Refused(vec![why]))?;
    Ok(Some(read.to_string()))
}

fn target(path: &str, query: Vec<(&str, Option<String>)>) -> String {
    let given = query.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// RFC 3986 section 2.3: what is not unreserved is encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(octet.into()),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// What an answer says beside its items.
fn done(request: &Request, mut answer: Value, items: usize) -> Result<Done, serde_json::Error> {
    let mut part = |name: &str| answer.get_mut(name).map(Value::take).unwrap_or_default();
    let from = serde_json::from_value::<bool>;
    Ok(match request {
        Request::QueueList { .. } => Done::Page { next: serde_json::from_value(part("next"))?, messages: items },
        Request::BanList => Done::Bans { in_force: serde_json::from_value(part("in_force"))? },
        Request::PluginTrial { .. } => Done::Trial(part("trial")),
        Request::PluginStatus => Done::PluginStatus(serde_json::from_value(part("set"))?),
        Request::Why { .. } => Done::Decisions { more: from(part("more"))? },
        Request::History { .. } => Done::History { more: from(part("more"))? },
        Request::Status => Done::Status(serde_json::from_value(answer)?),
        Request::Reload { .. } => Done::Reload(serde_json::from_value(answer)?),
        Request::QueueCount { .. } => Done::Counted(serde_json::from_value(answer)?),
        Request::QueueSummary { .. } => Done::Summed(serde_json::from_value(answer)?),
        Request::QueueShow { .. } => Done::Message(serde_json::from_value(answer)?),
        Request::QueueCommand { .. } => Done::Changed(serde_json::from_value(answer)?),
        Request::QueueRuleAdd { .. } | Request::QueueRuleLift { .. } => Done::Rule(serde_json::from_value(answer)?),
        Request::Explain { .. } => Done::Explained(answer),
        Request::Sts { .. } => Done::Sts(answer),
        Request::PluginChange { .. } => Done::PluginChange(serde_json::from_value(answer)?),
        Request::Record { .. } | Request::StopRecording { .. } => Done::Recording(serde_json::from_value(answer)?),
        Request::BanAdd { .. } | Request::BanRemove { .. } => Done::BansChanged,
        Request::QueueRules => Done::Rules,
        Request::Destinations => Done::Destinations,
        Request::Plugins => Done::Plugins,
        Request::PluginMetrics { .. } => Done::PluginMetrics,
        Request::PluginGenerations => Done::PluginGenerations,
        Request::PluginAudit { .. } => Done::PluginAudit,
        Request::Suppress { .. } => Done::Suppressed,
    })
}
