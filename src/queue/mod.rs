//! The queue: what was accepted, until every recipient of it is settled.
//!
//! Durability rules. `accept` completes only after one batch - record, due entry, small body - is covered by one flush;
//! a large body is flushed to its spool file before the record that names it. A recipient leaves only through `settle`
//! or an operator. A settlement rides on a later flush: lost in a crash it costs a duplicate, never a message.
//! Leases live in memory only; a restart forgets them and what was leased is due again.
//! May import `mail`, `smtp`, `store`, `time` and the plain types of `hooks`; never `delivery`, `bounce`, `routing`.

mod accept;
mod backlog;
mod census;
mod command;
mod content;
mod filter;
mod holdings;
mod import;
mod injection;
mod keys;
mod lease;
mod quota;
mod ready;
mod record;
mod recover;
mod refill;
mod retry_rule;
mod rounds;
mod rules;
mod scan;
mod schedule;
mod settle;
mod show;
mod stored;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

pub use command::Changed;
pub use filter::{Filter, FilterError, Sight, Ways, duration, hop_text, show_duration};
pub use import::{Migrated, check_form, migrate};
pub use injection::{Injected, Injection};
pub use lease::Lease;
pub use quota::{Marks, OverQuota, Per, Quota, QuotaStatus, kinds};
pub use record::{BodyPlace, Origin, QueuedRecipient, RecipientState, Record};
pub use retry_rule::{CodePattern, Pace, Pattern, RetryRule, StatusPattern, Then};
pub use rules::{Rule, RuleError, RuleKind, Rules};
pub use scan::{Found, Reach, Stepped};
pub use schedule::{Before, Retry, Schedule};

pub use crate::hooks::Past;
use crate::hooks::{Outcome, Route};
use crate::mail::{QueueId, QueueIds};
use crate::store::{Content, Spool, Store, StoreError};
use crate::time::{Clock, Timestamp};

use backlog::Backlog;
use quota::Quotas;

/// Settings of `[queue]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the database and the spool files.
    pub path: std::path::PathBuf,
    /// Below this much free space (octets) mail is answered 452.
    pub min_free: u64,
    /// Page cache of the database, octets.
    pub cache: u64,
    /// How many messages may be leased at a time; the rest waits on disk.
    pub window: usize,
    /// Octets of bodies kept in memory for a first try.
    pub hot_bytes: u64,
    /// How much it takes, and keeps.
    pub bounds: Bounds,
    /// How much of each sender, tenant or the like.
    pub quotas: Vec<Quota>,
}

/// How much the queue takes, and how long it keeps what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// With so many messages, mail is answered 452; none: as many as there is disk for.
    pub messages: Option<u64>,
    /// With so many octets of content.
    pub octets: Option<u64>,
    /// What is held so long after its arrival is given up; none: never.
    pub held: Option<Duration>,
}

/// A message on its way into the queue.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Everything but the content. `record.body` is filled in by `accept`.
    pub record: Record,
    /// Trace field, header section and the empty line, as they will be sent.
    pub head: Bytes,
    /// What follows.
    pub body: Content,
}

/// What becomes of one leased recipient.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Index of the recipient.
    pub recipient: u32,
    /// Its new state.
    pub change: Change,
    /// Outcome of the attempt, if there was one.
    pub outcome: Option<Outcome>,
    /// What is to be remembered of it, if it was made.
    pub past: Option<Past>,
}

/// The new state of a recipient.
#[derive(Clone, Debug)]
pub enum Change {
    /// Delivered, bounced or forgotten: it leaves the queue.
    Gone,
    /// Try again.
    Retry {
        /// When.
        at: Timestamp,
        /// True where an attempt was made.
        counted: bool,
        /// Another route than before.
        route: Option<Arc<Route>>,
        /// A delay warning went out.
        warned: bool,
    },
    /// It waits for the end of a suspension.
    Park {
        /// When that is, or when its time in the queue is over.
        at: Timestamp,
        /// Which.
        rule: u32,
    },
}

/// What an operator asks of recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Due at once; `reroute` forgets stored routes and asks the route hook again.
    Retry {
        /// Ask for the route anew.
        reroute: bool,
    },
    /// Due then.
    Reschedule {
        /// Not before.
        at: Timestamp,
        /// Spread by chance over so long from then on.
        spread: Duration,
    },
    /// This way from now on, and due at once.
    Reroute(Arc<Route>),
    /// Not tried until released; the text says why.
    Hold(Arc<str>),
    /// As before the hold, and due at once.
    Release,
    /// Given up, as if a plugin had refused it: the sender is told, with this text.
    Bounce(Arc<str>),
    /// Gone, without a bounce.
    Remove,
}

/// Counts for `queue list` and metrics; kept as messages come and go, never by scanning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Messages.
    pub messages: u64,
    /// Octets of their content.
    #[serde(default)]
    pub octets: u64,
    /// Of them leased.
    pub leased: u64,
    /// Of them held.
    pub held: u64,
    /// Set aside because what was stored did not verify; not among the messages.
    pub damaged: u64,
    /// What an earlier run left is still being counted: there are more than these.
    #[serde(default)]
    pub counting: bool,
}

/// Why the queue did not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// See there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See there.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// No such message.
    #[error("no message {0} in the queue")]
    Unknown(QueueId),
    /// One that left the queue a moment ago and can't come back yet.
    #[error("message {0} left the queue a moment ago: try again")]
    Recent(QueueId),
    /// A record that can't be read; it is set aside, not dropped.
    #[error("record of {0} is damaged: {1}")]
    Damaged(QueueId, Arc<str>),
}

/// The queue.
pub struct Queue {
    shared: Arc<Shared>,
}

/// What the queue, its leases and its blocking threads share.
struct Shared {
    config: Config,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    spool: Spool,
    ids: QueueIds,
    backlog: Mutex<Backlog>,
    quotas: ArcSwap<Quotas>,
    /// Something may have become due, or there is room in the window.
    wake: Notify,
    /// A message that was being committed is here, or did not come.
    landed: Condvar,
    /// Changes that operators made: leases of before may be about what is no more.
    changes: AtomicU64,
    /// Where recipients go that no plugin routed.
    ways: OnceLock<Arc<Ways>>,
    rules: ArcSwap<Rules>,
    /// One change of the rules at a time.
    changing_rules: tokio::sync::Mutex<()>,
    /// One refill at a time.
    refilling: Arc<tokio::sync::Mutex<()>>,
    /// Turns for reading content.
    reading: Arc<tokio::sync::Semaphore>,
}

impl Queue {
    /// Where bodies are drafted.
    pub fn spool(&self) -> &Spool {
        &self.shared.spool
    }

    /// How many messages may be leased at a time.
    pub fn window(&self) -> usize {
        self.shared.config.window
    }

    /// True while half of the window is free.
    pub fn is_roomy(&self) -> bool {
        let room = self.shared.backlog.lock().room();
        room.saturating_mul(2) >= self.shared.config.window
    }

    /// A new id.
    pub fn next_id(&self) -> QueueId {
        self.shared.ids.next(self.shared.clock.now())
    }

    /// Whether more mail can be taken. Cheap: to be asked at MAIL and at the end of the data.
    ///
    /// # Errors
    /// [`StoreError::Full`] below the floor of free space, [`StoreError::Broken`] once the store is.
    pub fn has_room(&self) -> Result<(), StoreError> {
        self.health()?;
        self.shared.within_bounds()?;
        let room = self.shared.spool.room().check();
        if room.is_err() {
            self.shared.tidy_sometimes();
        }
        room
    }

    /// Whether more mail of this kind can be taken, as far as it is known. Cheap: to be asked at MAIL, so that its content need
    /// not be sent in vain.
    ///
    /// # Errors
    /// Which quota has no room.
    pub fn has_room_for(&self, marks: &Marks<'_>) -> Result<(), OverQuota> {
        let quotas = self.shared.quotas.load();
        if quotas.is_empty() { Ok(()) } else { self.shared.backlog.lock().holdings().usage.admits(&quotas, marks) }
    }

    /// Puts other quotas into force. Those that tell mail apart by something that no quota did at the start are without effect
    /// until a restart: nobody has counted it. False: they are what they were.
    pub fn set_quotas(&self, quotas: &[Quota]) -> bool {
        let before = self.shared.quotas.rcu(|before| Quotas::new(quotas, before));
        !before.are(quotas)
    }

    /// How the quotas stand.
    pub fn quotas(&self) -> Vec<QuotaStatus> {
        let quotas = self.shared.quotas.load();
        if quotas.is_empty() { Vec::new() } else { quotas.status(&self.shared.backlog.lock().holdings().usage) }
    }

    /// Whether the store works at all. Cheap: to be asked at every connection.
    ///
    /// # Errors
    /// [`StoreError::Broken`] once nothing will be taken until a restart.
    pub fn health(&self) -> Result<(), StoreError> {
        self.shared.store.health()
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        self.shared.backlog.lock().counts()
    }

    /// Flushes what rode along. To be called when nothing is leased any more.
    pub async fn close(&self) {
        if let Err(error) = self.shared.barrier().await {
            tracing::error!(%error, "the last settlements may be repeated");
        }
    }
}

impl Shared {
    /// Whether the operator lets it grow.
    fn within_bounds(&self) -> Result<(), StoreError> {
        let Bounds { messages, octets, .. } = self.config.bounds;
        if messages.is_none() && octets.is_none() {
            return Ok(());
        }
        let counts = self.backlog.lock().counts();
        let full = |what: &str, is: u64| Err(StoreError::Full(format!("the queue has {is} {what}, its most").into()));
        match (messages, octets) {
            (Some(most), _) if counts.messages >= most => full("messages", counts.messages),
            (_, Some(most)) if counts.octets >= most => full("octets", counts.octets),
            _ => Ok(()),
        }
    }

    /// Completes once everything that was settled before is applied and flushed.
    async fn barrier(&self) -> Result<(), StoreError> {
        self.store.commit(keys::TREE, Vec::new()).await
    }
}

#[cfg(test)]
mod tests;
