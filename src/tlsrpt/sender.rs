//! Sends the reports of days that are over: looks up who wants them, puts them into the queue or posts them, tries again for a
//! day what failed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ledger::{Due, Kept, Ledger};
use super::message::{Letter, letter, message};
use super::report::{About, json, packed};
use super::{Config, Destination, destinations};
use crate::https::Client;
use crate::queue::Queue;
use crate::routing::{RecordData, RecordKind, ResolveError, Resolver};
use crate::signing::Signing;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Reports go out over this many seconds from midnight on (RFC 8460 section 4.1: four hours), so that receivers are not
/// stormed.
const SPREAD: u32 = 4 * 3600;

/// Counting of the last minutes has to come to its end first.
const SETTLING: Duration = Duration::from_secs(300);

/// RFC 8460 section 5.4: what could not be sent is tried again for so long.
const TRIED_FOR: Duration = Duration::from_secs(86_400);

/// Between tries, and longer after each.
const RETRY: Duration = Duration::from_secs(900);
const RETRY_MAX: Duration = Duration::from_secs(4 * 3600);

/// A resolver that takes longer has failed.
const LOOK_UP: Duration = Duration::from_secs(20);

/// Reports sent at a time.
const AT_ONCE: usize = 8;

/// Entries read from the store at a time.
const PAGE: usize = 200;

/// How far a report has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    tries: u32,
    next: Timestamp,
    /// Destinations that have it.
    done: Vec<String>,
}

/// Sends reports.
#[derive(Clone)]
pub struct Sender {
    ledger: Arc<Ledger>,
    queue: Arc<Queue>,
    resolver: Arc<dyn Resolver>,
    client: Client,
    signing: Signing,
}

impl Sender {
    /// For what the ledger has.
    pub fn new(ledger: Arc<Ledger>, queue: Arc<Queue>, resolver: Arc<dyn Resolver>, client: Client) -> Self {
        Self { ledger, queue, resolver, client, signing: Signing::default() }
    }

    /// With signatures on reports that go by mail (RFC 8460 section 3 wants one of DKIM).
    pub fn signing(mut self, signing: Signing) -> Self {
        self.signing = signing;
        self
    }

    /// Writes down what was counted, and sends what is due; `submitter` is the relay's name. To be called every minute or so.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub async fn tend(&self, submitter: &str, config: &Config) -> Result<(), StoreError> {
        let ledger = Arc::clone(&self.ledger);
        blocking(move || ledger.write()).await?;
        let mut after = None;
        loop {
            let (ledger, from) = (Arc::clone(&self.ledger), after.take());
            let page = blocking(move || ledger.over(from.as_ref(), PAGE)).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let whole = page.len() == PAGE;
            after = Some((last.day, Arc::clone(&last.domain)));
            let now = self.ledger.now();
            let due = page.into_iter().filter(|due| due.is_due(now) || config.reporter.is_none());
            let mut sending = JoinSet::new();
            for due in due {
                if sending.len() >= AT_ONCE {
                    sending.join_next().await;
                }
                let (sender, submitter, config) = (self.clone(), Arc::<str>::from(submitter), config.clone());
                sending.spawn(async move { sender.handle(due, &submitter, &config).await });
            }
            sending.join_all().await;
            if !whole {
                return Ok(());
            }
        }
    }

    async fn handle(&self, due: Due, submitter: &str, config: &Config) {
        let (day, domain) = (due.day, Arc::clone(&due.domain));
        let left = self.send(due, submitter, config).await;
        let ledger = Arc::clone(&self.ledger);
        let settled = blocking(move || ledger.settle(day, &domain, left.as_ref())).await;
        if let Err(error) = settled {
            tracing::error!(%error, "a TLS report's progress can't be stored: it may be sent twice");
        }
    }

    /// What is left to do. None: nothing, because it is done, or nobody wants it, or it is too late.
    async fn send(&self, due: Due, submitter: &str, config: &Config) -> Option<Kept> {
        let reporter = config.reporter.as_ref()?;
        let now = self.ledger.now();
        let Due { day, domain, mut kept } = due;
        let wanted = match self.wanted(&domain).await {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::debug!(domain = &*domain, %error, "who wants TLS reports can't be looked up");
                return kept.later(day, &domain, now);
            }
        };
        let about = About { reporter, submitter, domain: &domain, day };
        let packed = packed(&json(&about, &kept.tally));
        let mut failed = false;
        for destination in wanted {
            let name = destination.to_string();
            if kept.progress.done.contains(&name) {
                continue;
            }
            match self.deliver(&destination, &about, &packed, config).await {
                Ok(()) => {
                    tracing::info!(domain = &*domain, to = %name, report = about.id(), "TLS report sent");
                    kept.progress.done.push(name);
                }
                Err(why) => {
                    tracing::info!(domain = &*domain, to = %name, "a TLS report can't be sent now: {why}");
                    failed = true;
                }
            }
        }
        if failed { kept.later(day, &domain, now) } else { None }
    }

    async fn wanted(&self, domain: &str) -> Result<Vec<Destination>, ResolveError> {
        let name = format!("_smtp._tls.{domain}");
        let answer = timeout(LOOK_UP, self.resolver.records(&name, RecordKind::Txt)).await;
        match answer.unwrap_or_else(|_| Err(ResolveError::Temporary("timed out".into()))) {
            Ok(answer) => Ok(destinations(answer.records.iter().filter_map(|record| match record {
                RecordData::Text(text) => Some(&**text),
                _ => None,
            }))),
            Err(ResolveError::NoSuchName | ResolveError::NoData) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn deliver(
        &self,
        destination: &Destination,
        about: &About<'_>,
        packed: &Bytes,
        config: &Config,
    ) -> Result<(), String> {
        match destination {
            Destination::Mail(mailbox) => {
                let (id, now) = (self.queue.next_id(), self.ledger.now());
                let Letter { head, body } = letter(about, packed, mailbox, id, now);
                let head = self.signing.sign_own(&head, &body, now).await;
                let message = message(Letter { head, body }, mailbox, id, now);
                self.queue.accept(message).await.map(|_| ()).map_err(|error| error.to_string())
            }
            Destination::Post { host, port, path } => {
                let (media, terms) = ("application/tlsrpt+gzip", config.terms(*port));
                let answer = self.client.post(host, path, media, packed.clone(), &terms).await;
                match answer.map_err(|fault| fault.to_string())?.status {
                    200..=299 => Ok(()),
                    status => Err(format!("status {status}")),
                }
            }
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mail(mailbox) => write!(f, "mailto:{mailbox}"),
            Self::Post { host, port: None, path } => write!(f, "https://{host}{path}"),
            Self::Post { host, port: Some(port), path } => write!(f, "https://{host}:{port}{path}"),
        }
    }
}

impl Due {
    fn is_due(&self, now: Timestamp) -> bool {
        begins(self.day, &self.domain).max(self.kept.progress.next) <= now
    }
}

impl Kept {
    /// Another time, if there is one left.
    fn later(mut self, day: i64, domain: &str, now: Timestamp) -> Option<Self> {
        let wait = RETRY.saturating_mul(1 << self.progress.tries.min(4)).min(RETRY_MAX);
        self.progress.tries = self.progress.tries.saturating_add(1);
        self.progress.next = now.plus(wait);
        let end = begins(day, domain).plus(TRIED_FOR);
        // A relay that was down for days has nothing to say that anybody still waits for, but says it once.
        (self.progress.next <= end).then_some(self)
    }
}

/// When the report of a day is due: each domain's at a time of its own, the same at every look.
fn begins(day: i64, domain: &str) -> Timestamp {
    let spread = crc32fast::hash(format!("{day}/{domain}").as_bytes()) % SPREAD;
    let midnight = Timestamp::from_secs((day + 1).saturating_mul(86_400));
    midnight.plus(SETTLING).plus(Duration::from_secs(spread.into()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}

#[cfg(test)]
mod tests {
    use super::super::ledger::day_of;
    use super::*;

    #[test]
    fn reports_are_spread_over_four_hours_and_tried_again_for_a_day() {
        let day = 20_783;
        let midnight = Timestamp::from_secs((day + 1) * 86_400);
        let times: Vec<_> = (0..1000).map(|n| begins(day, &format!("{n}.example"))).collect();
        let last = midnight.plus(SETTLING).plus(Duration::from_secs(SPREAD.into()));
        assert!(times.iter().all(|at| *at >= midnight.plus(SETTLING) && *at < last));
        let late = times.iter().filter(|at| **at > midnight.plus(Duration::from_secs(2 * 3600))).count();
        assert!((300..700).contains(&late), "{late}");

        let start = begins(day, "a.example");
        assert_eq!(day_of(start), day + 1);
        let (mut kept, mut now, mut tries) = (Kept::default(), start, 0);
        while let Some(next) = kept.clone().later(day, "a.example", now) {
            (kept, tries) = (next, tries + 1);
            now = kept.progress.next;
            assert!(now.since(start) <= TRIED_FOR);
        }
        assert!((8..15).contains(&tries), "{tries}");
    }
}
