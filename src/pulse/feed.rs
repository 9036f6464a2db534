//! Events for those who watch: a bounded buffer for each, and a count of what did not fit.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::time::{Clock as _, System, Timestamp};

/// Events that wait for one listener.
const BUFFER: usize = 1024;
/// Listeners at a time: a few consoles and terminals.
const LISTENERS: usize = 32;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's session: how it begins, what it is told, how it ends.
    Session,
    /// A message taken or refused.
    Reception,
    /// What became of a recipient in an attempt.
    Delivery,
    /// What happened to a plugin.
    Plugin,
    /// A change that was asked for through the API.
    Audit,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Session, Self::Reception, Self::Delivery, Self::Plugin, Self::Audit];

    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Reception => "reception",
            Self::Delivery => "delivery",
            Self::Plugin => "plugin",
            Self::Audit => "audit",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// When; noted as it is told.
    pub at: Option<Timestamp>,
    /// The client it is about.
    pub client: Option<IpAddr>,
    /// Addresses it is about.
    pub addresses: Vec<String>,
    /// What is told, as JSON.
    pub data: serde_json::Value,
}

/// What somebody wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Of these kinds; none: of all.
    pub kinds: Vec<Kind>,
    /// About this client.
    pub client: Option<IpAddr>,
    /// About an address that contains this, in lower case.
    pub address: Option<String>,
}

impl Watch {
    fn bits(&self) -> u8 {
        let kinds = if self.kinds.is_empty() { &Kind::ALL[..] } else { &self.kinds };
        kinds.iter().fold(0, |bits, kind| bits | kind.bit())
    }

    fn wants(&self, kind: Kind, event: &Event) -> bool {
        let client = || self.client.is_none_or(|client| event.client == Some(client));
        let contains = |part: &String| event.addresses.iter().any(|address| address.to_lowercase().contains(&**part));
        let address = || self.address.as_ref().is_none_or(contains);
        self.bits() & kind.bit() != 0 && client() && address()
    }
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// An event, and its number: they grow.
    Event(Kind, u64, Arc<Event>),
    /// So many were lost, because they came faster than they were taken.
    Lost(u64),
}

#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Kinds that somebody watches, a bit each: all that is looked at while nobody does.
    watched: Arc<AtomicU64>,
    number: AtomicU64,
    listeners: Arc<Mutex<Vec<Told>>>,
}

#[derive(Debug)]
struct Told {
    watch: Watch,
    to: mpsc::Sender<(Kind, u64, Arc<Event>)>,
    lost: Arc<AtomicU64>,
}

/// One who watches; it ends when it is dropped.
#[derive(Debug)]
pub struct Listener {
    from: mpsc::Receiver<(Kind, u64, Arc<Event>)>,
    lost: Arc<AtomicU64>,
    watched: Arc<AtomicU64>,
    listeners: Arc<Mutex<Vec<Told>>>,
}

impl Feed {
    pub(super) fn is_watched(&self, kind: Kind) -> bool {
        self.watched.load(Ordering::Relaxed) & u64::from(kind.bit()) != 0
    }

    pub(super) fn tell(&self, kind: Kind, tell: impl FnOnce() -> Event) {
        if !self.is_watched(kind) {
            return;
        }
        let event = Arc::new(Event { at: Some(System.now()), ..tell() });
        let listeners = self.listeners.lock();
        // Under the lock, so that every listener hears numbers that grow.
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        for told in listeners.iter().filter(|told| told.watch.wants(kind, &event)) {
            if told.to.try_send((kind, number, event.clone())).is_err() {
                told.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn watch(&self, watch: Watch) -> Option<Listener> {
        let mut listeners = self.listeners.lock();
        if listeners.len() >= LISTENERS {
            return None;
        }
        let (to, from) = mpsc::channel(BUFFER);
        let lost = Arc::<AtomicU64>::default();
        listeners.push(Told { watch, to, lost: lost.clone() });
        self.watched.store(bits(&listeners), Ordering::Relaxed);
        Some(Listener { from, lost, watched: self.watched.clone(), listeners: self.listeners.clone() })
    }
}

fn bits(listeners: &[Told]) -> u64 {
    listeners.iter().fold(0, |bits, told| bits | u64::from(told.watch.bits()))
}

impl Listener {
    /// The next that it is told.
    pub async fn hear(&mut self) -> Heard {
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => return Heard::Lost(lost),
        }
        match self.from.recv().await {
            Some((kind, number, event)) => Heard::Event(kind, number, event),
            // The feed holds the other end for as long as this one is there.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.from.close();
        let mut listeners = self.listeners.lock();
        listeners.retain(|told| !told.to.is_closed());
        self.watched.store(bits(&listeners), Ordering::Relaxed);
    }
}
