//! Sends traces: takes spans that wait, a batch at a time, and posts them to the receiver. What it does not take is counted
//! and told once in a while; mail never waits for it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::https::{Client, Fault, Security, Terms};
use crate::routing::Resolver;
use crate::telemetry::otlp::{Config, Spans, encode};
use crate::tls::TlsClients;

/// How often a batch is sent again that the receiver could not take.
const ATTEMPTS: u32 = 3;
/// How often the log says what was lost.
const TELL: Duration = Duration::from_secs(60);
/// What a receiver says fits in this.
const ANSWER: usize = 64 << 10;

/// What sends them.
struct Exporter {
    spans: Spans,
    config: Config,
    host: Arc<str>,
    client: Client,
    /// Read at the start.
    headers: Vec<(String, String)>,
}

/// Sends what is told, if the settings ask for that. Reads a small file, once, at the start.
pub(super) fn spawn(
    inner: &Inner,
    resolver: Arc<dyn Resolver>,
    clients: Arc<TlsClients>,
    draining: &CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Inner { started: settings, log, .. } = inner;
    let (Some(config), Some(spans)) = (settings.traces.clone(), log.spans().cloned()) else { return Ok(None) };
    let headers = config.headers.as_deref().map(headers).transpose()?.unwrap_or_default();
    let client = Client::new(resolver, clients);
    let exporter = Exporter { spans, config, host: settings.hostname.clone(), client, headers };
    Ok(Some(tokio::spawn(exporter.run(draining.clone()))))
}

/// `Name: value`, a line each; lines that begin with `#` are for people.
fn headers(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("telemetry.otlp.headers-file: {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let field = |line: &str| {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("telemetry.otlp.headers-file: {} has a line without a colon", path.display()))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    lines.map(field).collect()
}

impl Exporter {
    /// Until it is aborted; once the relay drains, what waits goes at once.
    async fn run(self, draining: CancellationToken) {
        let (mut told, mut known) = (Instant::now(), 0);
        loop {
            let pause = if draining.is_cancelled() { Duration::from_millis(100) } else { self.config.interval };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.spans.plenty() => {}
                () = draining.cancelled(), if !draining.is_cancelled() => {}
            }
            loop {
                let batch = self.spans.take();
                if batch.is_empty() {
                    break;
                }
                self.send(batch).await;
            }
            let (_, lost) = self.spans.counts();
            if lost > known && told.elapsed() > TELL {
                tracing::warn!(spans = lost - known, "spans were lost: the receiver of traces is slow, or not there");
                (told, known) = (Instant::now(), lost);
            }
        }
    }

    async fn send(&self, batch: Vec<crate::telemetry::otlp::Span>) {
        let body = Bytes::from(encode(&batch, &self.config.service, &self.host));
        for attempt in 1..=ATTEMPTS {
            match self.post(body.clone()).await {
                Ok(200..=299) => return self.spans.delivered(batch.len()),
                // OTLP: only these are worth another try.
                Ok(429 | 502 | 503 | 504) | Err(_) if attempt < ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(250) * attempt).await;
                }
                Ok(status) => {
                    tracing::debug!(status, "the receiver of traces says no");
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "the receiver of traces can't be reached");
                    break;
                }
            }
        }
        self.spans.lost(batch.len());
    }

    async fn post(&self, body: Bytes) -> Result<u16, Fault> {
        let to = &self.config.endpoint;
        let security = if to.tls { Security::Verified } else { Security::Plain };
        // The operator has named it: it may be anywhere.
        let networks = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|net| net.parse().ok()).collect();
        let terms = Terms { time: self.config.timeout, octets: ANSWER, port: to.port, networks };
        let posted = self.client.post_as(security, (&to.host, &to.path), &self.headers, body, &terms).await?;
        Ok(posted.status)
    }
}

#[cfg(test)]
mod tests;
