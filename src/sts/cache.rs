//! The policies that are known: in memory for those who ask, in the store for the next life.
//!
//! One question about a domain is on its way at a time, in a task of its own: whoever wants to know waits for it, but not long.
//! The map is bounded; what has no policy, or was not asked for longest, goes first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::fetch::{Checked, check};
use super::known::{Found, Held, Known};
use super::{Config, TroubleKind};
use crate::https::Client;
use crate::routing::Resolver;
use crate::store::{Store, StoreError, Write};
use crate::time::{Clock, Timestamp};

/// Where policies are kept. Losing one costs no more than fetching it again, so they are not committed.
const TREE: &str = "mta-sts";

/// Questions on their way at a time. Policy hosts that are dead must not use up sockets and memory.
const QUESTIONS: usize = 256;

/// Policies refreshed in one round, so that a start after a long pause storms nobody.
const REFRESHED: usize = 32;

/// A policy nobody asked for in this time is let expire.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// What is known of domains and their policies.
pub struct Policies {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: Arc<dyn Resolver>,
    client: Client,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    domains: Mutex<HashMap<Arc<str>, Entry>>,
    questions: Semaphore,
    unwritten: Mutex<Unwritten>,
}

/// What the store does not have yet, in the order in which it came to be: the last policy of a domain must be the one that is kept.
#[derive(Default)]
struct Unwritten {
    writes: Vec<Write>,
    /// Somebody is at it.
    writing: bool,
}

#[derive(Default)]
struct Entry {
    known: Known,
    /// A question that is on its way.
    flight: Option<Flight>,
}

impl Unwritten {
    /// What is to be written now; none: nothing is left, and who comes next has to begin again.
    fn next(&mut self) -> Option<Vec<Write>> {
        self.writing = !self.writes.is_empty();
        self.writing.then(|| std::mem::take(&mut self.writes))
    }
}

#[derive(Clone)]
struct Flight {
    since: Instant,
    over: CancellationToken,
}

impl Policies {
    /// With what the store has from an earlier life: at most `cache` policies. Blocking.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn open(
        resolver: Arc<dyn Resolver>,
        client: Client,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        cache: usize,
    ) -> Result<Self, StoreError> {
        let now = clock.now();
        let mut domains = HashMap::new();
        let mut dropped = Vec::new();
        for (key, value) in store.range(TREE, &[0], &[0xff], usize::MAX)? {
            let held = serde_json::from_slice::<Held>(&value).ok().filter(|held| now < held.expires());
            match (std::str::from_utf8(&key), held) {
                (Ok(domain), Some(held)) if domains.len() < cache => {
                    let entry = Entry { known: Known::restored(held, now), flight: None };
                    domains.insert(Arc::from(domain), entry);
                }
                _ => dropped.push(Write::Delete { key }),
            }
        }
        if !dropped.is_empty() {
            store.apply(TREE, dropped)?;
        }
        let (domains, questions) = (Mutex::new(domains), Semaphore::new(QUESTIONS));
        let unwritten = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { resolver, client, store, clock, domains, questions, unwritten }) })
    }

    /// What `domain` wants (in lower case, A-labels). Asks for it if that is due, and waits for the answer a short while.
    pub async fn find(&self, domain: &str, config: &Config) -> Found {
        // RFC 8461 section 3: a policy is a domain's; an address has none.
        if !config.enabled || domain.is_empty() || domain.starts_with('[') {
            return Found::default();
        }
        let now = self.inner.clock.now();
        let (flight, wait) = {
            let mut domains = self.inner.domains.lock();
            self.inner.forget(make_room(&mut domains, domain, config.cache));
            let entry = domains.entry(domain.into()).or_default();
            entry.known.used = now;
            if entry.flight.is_none() && !entry.known.is_due(now) {
                return entry.known.found(now, false);
            }
            (self.inner.flight(entry, domain, now, config), entry.known.is_promising())
        };
        if wait {
            // Counted from its start: one that is slow costs the first message a moment, and the others nothing.
            let _ = timeout_at(flight.since + config.wait, flight.over.cancelled()).await;
        }
        let domains = self.inner.domains.lock();
        domains.get(domain).map(|entry| entry.known.found(now, entry.flight.is_some())).unwrap_or_default()
    }

    /// As [`Self::find`], but the policy is fetched now, whatever is known, and waited for to the end.
    pub async fn refresh(&self, domain: &str, config: &Config) -> Found {
        let now = self.inner.clock.now();
        let flight = {
            let mut domains = self.inner.domains.lock();
            self.inner.forget(make_room(&mut domains, domain, config.cache));
            let entry = domains.entry(domain.into()).or_default();
            entry.known.used = now;
            entry.known.expect_news();
            self.inner.flight(entry, domain, now, config)
        };
        flight.over.cancelled().await;
        let (domains, now) = (self.inner.domains.lock(), self.inner.clock.now());
        domains.get(domain).map(|entry| entry.known.found(now, false)).unwrap_or_default()
    }

    /// Fetches anew what grows old, and forgets what is over. To be called every minute or so.
    pub fn tend(&self, config: &Config) {
        if !config.enabled {
            return;
        }
        let now = self.inner.clock.now();
        let mut gone = Vec::new();
        let mut domains = self.inner.domains.lock();
        domains.retain(|domain, entry| {
            let over = entry.flight.is_none() && entry.known.is_over(now);
            if over && entry.known.held().is_some() {
                gone.push(Arc::clone(domain));
            }
            !over
        });
        let ageing = |entry: &Entry| entry.flight.is_none() && entry.known.is_ageing(now) && !unused(entry, now);
        let ageing: Vec<Arc<str>> = domains.iter().filter(|(_, e)| ageing(e)).map(|(d, _)| Arc::clone(d)).collect();
        for domain in ageing.into_iter().take(REFRESHED) {
            if let Some(entry) = domains.get_mut(&domain) {
                self.inner.flight(entry, &domain, now, config);
            }
        }
        self.inner.forget(gone);
    }

    /// Domains that are remembered.
    pub fn known(&self) -> usize {
        self.inner.domains.lock().len()
    }

    /// What is known of a domain, for people. Asks if it is due.
    pub async fn describe(&self, domain: &str, config: &Config) -> String {
        if !config.enabled {
            return "MTA-STS is switched off ([mta-sts] enabled = false)".to_owned();
        }
        describe(&self.find(domain, config).await)
    }
}

/// In words.
pub(super) fn describe(found: &Found) -> String {
    let mut text = match &found.held {
        Some(held) => {
            let (lines, until) = (held.policy.lines().join(", "), held.expires().rfc3339_seconds());
            format!("MTA-STS policy {} until {until}: {lines}", held.id)
        }
        None if found.pending => "an MTA-STS policy is being looked for".to_owned(),
        None if found.trouble.is_some() => "no MTA-STS policy could be had".to_owned(),
        None => "no MTA-STS policy".to_owned(),
    };
    if let Some(trouble) = &found.trouble {
        text.push_str(&format!(" (the last look failed: {trouble})"));
    }
    text
}

fn unused(entry: &Entry, now: Timestamp) -> bool {
    entry.known.used.plus(UNUSED) < now
}

/// A tenth of a full map goes at once: sorting it for each newcomer would cost more than what is kept saves. Those of which
/// the store still has a policy.
fn make_room(domains: &mut HashMap<Arc<str>, Entry>, domain: &str, cache: usize) -> Vec<Arc<str>> {
    if domains.len() < cache.max(1) || domains.contains_key(domain) {
        return Vec::new();
    }
    let free = domains.iter().filter(|(_, entry)| entry.flight.is_none());
    let mut order: Vec<_> = free.map(|(d, e)| (e.known.held().is_some(), e.known.used, Arc::clone(d))).collect();
    order.sort_unstable();
    order.truncate(cache / 10 + 1);
    order.iter().for_each(|(_, _, domain)| drop(domains.remove(domain)));
    order.into_iter().filter(|(held, ..)| *held).map(|(_, _, domain)| domain).collect()
}

impl Inner {
    /// The question that is on its way, or a new one.
    fn flight(self: &Arc<Self>, entry: &mut Entry, domain: &str, now: Timestamp, config: &Config) -> Flight {
        // One that is over and still there ended in a fault.
        if let Some(flight) = entry.flight.as_ref().filter(|flight| !flight.over.is_cancelled()) {
            return flight.clone();
        }
        let flight = Flight { since: Instant::now(), over: CancellationToken::new() };
        entry.flight = Some(flight.clone());
        let (inner, domain, config) = (Arc::clone(self), Arc::from(domain), config.clone());
        let known = entry.known.fresh_id(now);
        // Whatever becomes of the task, nobody waits for it for ever.
        let over = flight.over.clone().drop_guard();
        tokio::spawn(async move {
            inner.ask(domain, known, &config).await;
            drop(over);
        });
        flight
    }

    async fn ask(self: &Arc<Self>, domain: Arc<str>, known: Option<Arc<str>>, config: &Config) {
        let checked = match self.questions.acquire().await {
            Ok(_permit) => check(&*self.resolver, &self.client, &domain, known.as_deref(), config).await,
            Err(_) => return,
        };
        if let Checked::Failed(trouble) = &checked
            && trouble.kind != TroubleKind::Record
        {
            tracing::info!(domain = &*domain, "no MTA-STS policy could be had: {trouble}");
        }
        let now = self.clock.now();
        let mut domains = self.domains.lock();
        let entry = domains.entry(Arc::clone(&domain)).or_default();
        entry.flight = None;
        if entry.known.learn(checked, now) {
            self.keep(&domain, entry.known.held().cloned());
        }
    }

    /// Writes a policy down, or that there is none any more. To be called under the lock of the map, as is [`Self::forget`].
    fn keep(self: &Arc<Self>, domain: &str, held: Option<Arc<Held>>) {
        let key = domain.as_bytes().to_vec().into();
        let write = match held.map(|held| serde_json::to_vec(&*held)) {
            Some(Ok(value)) => Write::Put { key, value: value.into() },
            Some(Err(_)) | None => Write::Delete { key },
        };
        self.write(vec![write]);
    }

    fn forget(self: &Arc<Self>, domains: Vec<Arc<str>>) {
        if !domains.is_empty() {
            let delete = |domain: Arc<str>| Write::Delete { key: domain.as_bytes().to_vec().into() };
            self.write(domains.into_iter().map(delete).collect());
        }
    }

    /// One write after the other, on one blocking thread.
    fn write(self: &Arc<Self>, writes: Vec<Write>) {
        let mut unwritten = self.unwritten.lock();
        unwritten.writes.extend(writes);
        if std::mem::replace(&mut unwritten.writing, true) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            // The lock is given back before the store is waited for.
            let next = || inner.unwritten.lock().next();
            while let Some(writes) = next() {
                if let Err(error) = inner.store.apply(TREE, writes) {
                    tracing::warn!(%error, "MTA-STS policies can't be kept");
                }
            }
        });
    }
}
