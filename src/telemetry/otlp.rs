//! OpenTelemetry traces: sessions, receptions, decisions and attempts as spans, made of what is logged about them.
//!
//! A layer of tracing beside the log's: whoever does the work knows nothing of it, and where traces are off it is not there.
//! All spans of a message are of one trace, whose id is made of the queue id: so it travels through the queue, over restarts,
//! with no room of its own, and attempts know the span of the reception that they belong to. A session is a trace by itself;
//! receptions link to it. Spans wait in bounded memory; what does not fit is counted. Never sends anything: see `app`.

mod encode;
mod layer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

pub use encode::encode;
pub(super) use layer::Layer;

/// Settings of `[telemetry.otlp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where spans are posted.
    pub endpoint: Endpoint,
    /// Fields of each request, one a line: what the receiver wants to be shown.
    pub headers: Option<PathBuf>,
    /// Of a hundred traces, so many are told.
    pub sample_percent: u8,
    /// Spans of one request.
    pub batch: usize,
    /// Spans that wait at most.
    pub queue: usize,
    /// How long spans wait for others.
    pub interval: Duration,
    /// All of one request.
    pub timeout: Duration,
    /// What the receiver calls this service.
    pub service: String,
}

/// An HTTP server, and a path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Over TLS, with a certificate that verifies.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// With its query.
    pub path: String,
}

/// One finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub(crate) trace: [u8; 16],
    pub(crate) id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Vec<(String, Value)>,
    pub(crate) events: Vec<Happened>,
    pub(crate) links: Vec<Context>,
    /// What went wrong, if something did.
    pub(crate) failed: Option<String>,
}

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happened {
    pub(crate) at: u64,
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, Value)>,
}

/// Which end of a conversation a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Server,
    Client,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// Names a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: [u8; 16],
    pub(crate) id: [u8; 8],
}

/// Spans that wait to be sent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spans(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Keeps the ids of one relay apart from those of others.
    host: String,
    sample_percent: u8,
    batch: usize,
    most: usize,
    waiting: Mutex<VecDeque<Span>>,
    dropped: AtomicU64,
    sent: AtomicU64,
    plenty: Notify,
}

impl Spans {
    /// None yet; `host` is the relay's name.
    pub fn new(config: &Config, host: &str) -> Self {
        Self(Arc::new(Shared {
            host: host.to_owned(),
            sample_percent: config.sample_percent,
            batch: config.batch,
            most: config.queue,
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            plenty: Notify::new(),
        }))
    }

    /// Waits until there is a batch of them.
    pub async fn plenty(&self) {
        self.0.plenty.notified().await;
    }

    /// Takes the oldest, at most a batch.
    pub fn take(&self) -> Vec<Span> {
        let mut waiting = self.0.waiting.lock();
        let most = self.0.batch.min(waiting.len());
        waiting.drain(..most).collect()
    }

    /// Counts what could not be sent, or was refused.
    pub fn lost(&self, spans: usize) {
        self.0.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Counts what was taken by the receiver.
    pub fn delivered(&self, spans: usize) {
        self.0.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Spans sent, and spans lost, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.sent.load(Ordering::Relaxed), self.0.dropped.load(Ordering::Relaxed))
    }

    fn push(&self, span: Span) {
        let mut waiting = self.0.waiting.lock();
        if waiting.len() >= self.0.most {
            drop(waiting);
            return self.lost(1);
        }
        waiting.push_back(span);
        if waiting.len() == self.0.batch {
            self.0.plenty.notify_one();
        }
    }

    /// The span of a reception, of the trace of its message.
    fn reception(&self, queue_id: &str) -> Context {
        let hash = self.hash("message", queue_id);
        Context { trace: part(&hash, 0), id: part(&hash, 16) }
    }

    fn hash(&self, kind: &str, id: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        for text in [kind, &self.0.host, id] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        hash.finalize().into()
    }

    /// True for as many traces of a hundred as are told: all spans of a trace, or none.
    fn samples(&self, trace: &[u8; 16]) -> bool {
        let [.., high, low] = *trace;
        u32::from(u16::from_be_bytes([high, low])) * 100 < u32::from(self.0.sample_percent) << 16
    }
}

#[cfg(test)]
impl Spans {
    /// A span as a reception leaves it.
    pub(crate) fn record_for_tests(&self, queue_id: &str) {
        let Context { trace, id } = self.reception(queue_id);
        self.push(Span {
            trace,
            id,
            parent: None,
            name: "SMTP reception".to_owned(),
            kind: Kind::Server,
            start: 1,
            end: 2,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            failed: None,
        });
    }
}

/// So many octets of a hash, from there on.
fn part<const N: usize>(hash: &[u8; 32], from: usize) -> [u8; N] {
    let mut part = [0; N];
    part.iter_mut().zip(hash.iter().skip(from)).for_each(|(to, octet)| *to = *octet);
    part
}

#[cfg(test)]
mod tests;
