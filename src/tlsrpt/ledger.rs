//! Where sessions are counted: today's counts in memory, written down now and then; those of days that are over in the store,
//! until their report is sent or nobody wants it any more.
//!
//! A key of the store is the day and the domain. What a crash takes is a minute of counting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::tally::Tally;
use super::{Config, sender::Progress};
use crate::store::{Store, StoreError, Write};
use crate::time::{Clock, Timestamp};

/// Where counts are kept.
const TREE: &str = "tlsrpt";

/// Seconds of a day: reports are by days of UTC (RFC 8460 section 4.1).
const DAY: i64 = 86_400;

/// Counts sessions.
pub struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    today: Mutex<Today>,
}

#[derive(Default)]
struct Today {
    day: i64,
    domains: HashMap<Arc<str>, Tally>,
    /// Counted since they were last written down.
    changed: HashSet<Arc<str>>,
    /// Of days that are over, not written down yet.
    closed: Vec<(i64, Arc<str>, Tally)>,
}

/// Counts of a day that is over, and how far their report has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) tally: Tally,
    #[serde(default)]
    pub(super) progress: Progress,
}

impl Ledger {
    /// With what was counted today before. Blocking.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let day = day_of(clock.now());
        let mut domains = HashMap::new();
        for (key, value) in store.range(TREE, &key(day, ""), &key(day + 1, ""), usize::MAX)? {
            if let (Some((_, domain)), Ok(kept)) = (named(&key), serde_json::from_slice::<Kept>(&value)) {
                domains.insert(domain, kept.tally);
            }
        }
        let today = Today { day, domains, ..Today::default() };
        Ok(Self { store, clock, today: Mutex::new(today) })
    }

    /// Counts a session. Takes no time.
    pub fn count(&self, session: Session, config: &Config) {
        if config.reporter.is_none() {
            return;
        }
        let day = day_of(self.clock.now());
        let mut today = self.today.lock();
        today.turn(day);
        if !today.domains.contains_key(&session.domain) && today.domains.len() >= config.domains {
            return;
        }
        let domain = Arc::clone(&session.domain);
        today.domains.entry(Arc::clone(&domain)).or_default().count(session);
        today.changed.insert(domain);
    }

    /// Writes down what was counted since the last time. Blocking.
    ///
    /// # Errors
    /// When the store can't write; it is written the next time, then.
    pub fn write(&self) -> Result<(), StoreError> {
        let (day, changed, closed) = {
            let mut today = self.today.lock();
            today.turn(day_of(self.clock.now()));
            let changed: Vec<_> = today.changed.drain().collect();
            let of = |domain: Arc<str>| today.domains.get(&domain).map(|tally| (domain.clone(), tally.clone()));
            let changed: Vec<_> = changed.into_iter().filter_map(of).collect();
            (today.day, changed, std::mem::take(&mut today.closed))
        };
        let open = changed.into_iter().map(|(domain, tally)| (day, domain, tally));
        let all: Vec<_> = closed.into_iter().chain(open).collect();
        let writes: Vec<_> = all.iter().filter_map(|(day, domain, tally)| put(*day, domain, tally)).collect();
        let written = if writes.is_empty() { Ok(()) } else { self.store.apply(TREE, writes) };
        if written.is_err() {
            let mut today = self.today.lock();
            for (day, domain, tally) in all {
                if day == today.day {
                    today.changed.insert(domain);
                } else {
                    today.closed.push((day, domain, tally));
                }
            }
        }
        written
    }

    /// Domains and days that are over and whose report is not done, oldest first, from `after` on. Blocking.
    pub(super) fn over(&self, after: Option<&(i64, Arc<str>)>, limit: usize) -> Result<Vec<Due>, StoreError> {
        let from = match after {
            Some((day, domain)) => [&*key(*day, domain), &[0]].concat(),
            None => vec![0],
        };
        let today = day_of(self.clock.now());
        let found = self.store.range(TREE, &from, &key(today, ""), limit)?;
        let due = |(key, value): (bytes::Bytes, bytes::Bytes)| {
            let (day, domain) = named(&key)?;
            Some(Due { day, domain, kept: serde_json::from_slice(&value).unwrap_or_default() })
        };
        Ok(found.into_iter().filter_map(due).collect())
    }

    /// Writes down how far a report has come; none: it is done with. Blocking.
    pub(super) fn settle(&self, day: i64, domain: &str, kept: Option<&Kept>) -> Result<(), StoreError> {
        let key = key(day, domain).into();
        let write = match kept.map(serde_json::to_vec) {
            Some(Ok(value)) => Write::Put { key, value: value.into() },
            Some(Err(_)) | None => Write::Delete { key },
        };
        self.store.apply(TREE, vec![write])
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A report that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) day: i64,
    pub(super) domain: Arc<str>,
    pub(super) kept: Kept,
}

impl Today {
    /// The day is over: what was counted is set aside, and counting begins anew.
    fn turn(&mut self, day: i64) {
        if day == self.day {
            return;
        }
        let over = std::mem::take(&mut self.domains);
        // What did not change since is in the store already.
        let changed = std::mem::take(&mut self.changed);
        let over = over.into_iter().filter(|(domain, _)| changed.contains(domain));
        self.closed.extend(over.map(|(domain, tally)| (self.day, domain, tally)));
        self.day = day;
    }
}

fn put(day: i64, domain: &str, tally: &Tally) -> Option<Write> {
    let kept = Kept { tally: tally.clone(), progress: Progress::default() };
    let value = serde_json::to_vec(&kept).ok()?;
    Some(Write::Put { key: key(day, domain).into(), value: value.into() })
}

pub(super) fn day_of(now: Timestamp) -> i64 {
    now.secs().div_euclid(DAY)
}

/// Sorted by day.
fn key(day: i64, domain: &str) -> Vec<u8> {
    format!("{:08}/{domain}", day.clamp(0, 99_999_999)).into_bytes()
}

fn named(key: &[u8]) -> Option<(i64, Arc<str>)> {
    let (day, domain) = std::str::from_utf8(key).ok()?.split_once('/')?;
    Some((day.parse().ok()?, domain.into()))
}
