//! Signing: DKIM (RFC 6376) on mail of the relay's own clients and on its reports, ARC (RFC 8617) on mail that it passes on.
//!
//! Knows keys and which message gets which signature; the header fields it makes are put on top by whoever asks. May import
//! `mail`, `hooks` (outcomes), `store` (bodies), `authres` (hashes of bodies) and `time`; its checks of what is published
//! ask `routing`'s resolver. Must never sign mail of a stranger with a DKIM key, hold a body in memory, or do a
//! signature's arithmetic on a worker. Private keys never leave it, and are in no log and no setting.

mod arc;
mod choose;
mod config;
mod der;
mod dkim;
mod fields;
mod key;
mod keys;
mod publish;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use arc::Chain;
pub use config::{
    ArcConfig, Canonicalisation, Clients, Config, DEFAULT_FIELDS, DEFAULT_OVER_SIGN, KeyConfig, OnFailure, Policy,
    check_field, check_identity, check_selector,
};
pub use key::{KeyError, generate_ed25519};
pub use keys::{Keys, Stamps};
pub use publish::{Published, check, key_record, published_name, zone_lines};

use crate::mail::Header;
use crate::store::Content;
use crate::time::Timestamp;

/// How long a message waits for its turn: a client waits with it, and asks again later otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Signs with the keys of the day. Cheap to clone; all clones share keys and bounds. By default it has no key.
#[derive(Clone)]
pub struct Signing {
    current: Arc<ArcSwap<Keys>>,
    /// Messages that are signed at the same time: more than there are cores would only make all of them slower, and each
    /// takes a blocking thread and one chunk of its body.
    room: Arc<Semaphore>,
}

/// A message as it will be sent, but for the fields that are to be put on top.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its header section.
    pub header: Header,
    /// Its body.
    pub body: Content,
    /// Who has written it.
    pub by: Author,
    /// This moment.
    pub now: Timestamp,
}

/// Who has written a message: what decides whether it may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// A client that the relay's own rules know.
    Client {
        /// Name of the listener it came to.
        listener: Arc<str>,
        /// It has authenticated; else it is of a network that may relay.
        authenticated: bool,
    },
    /// This relay: reports.
    Relay,
}

/// Why a message has no signature that it should have.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// All keys of the domain are too young or too old.
    #[error("no key of {0} is in force: see `from` and `until` of its keys")]
    NoKeyInForce(Arc<str>),
    /// The body, in the spool.
    #[error("the message can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The arithmetic.
    #[error("the key {0} can't sign")]
    Key(Arc<str>),
    /// A header section that no signature covers.
    #[error("a signature would have to cover {0} fields, more than {max}", max = dkim::COVERED_MAX)]
    TooManyFields(usize),
    /// Others are signed.
    #[error("no turn to sign came within {secs} s", secs = PATIENCE.as_secs())]
    Busy,
}

impl Signing {
    /// With these keys.
    pub fn with(keys: Keys) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { current: Arc::new(ArcSwap::from_pointee(keys)), room: Arc::new(Semaphore::new(cores)) }
    }

    /// Other keys from here on.
    pub fn replace(&self, keys: Keys) {
        self.current.store(Arc::new(keys));
    }

    /// The keys in force.
    pub fn keys(&self) -> Arc<Keys> {
        self.current.load_full()
    }

    /// The DKIM-Signature fields that this message is to have; none where nothing says that it is to be signed.
    ///
    /// # Errors
    /// [`SigningError`]
    pub async fn sign(&self, letter: Letter) -> Result<Bytes, SigningError> {
        let keys = self.keys();
        if !keys.may_sign(&letter.by) {
            return Ok(Bytes::new());
        }
        self.in_room(move || dkim::sign(&keys, &letter)).await?
    }

    /// What becomes of a message that can't be signed.
    pub fn on_failure(&self) -> OnFailure {
        self.current.load().config().policy.on_failure
    }

    /// The fields that the relay puts on top of a message of its own: with signatures where it has a key. A report that
    /// can't be signed goes out without one: it is worth more than its signature.
    pub async fn sign_own(&self, head: &Bytes, body: &Bytes, now: Timestamp) -> Bytes {
        let section = head.strip_suffix(b"\r\n").unwrap_or(head);
        let header = Header::parse(head.slice(..section.len()));
        let letter = Letter { header, body: Content::Memory(body.clone()), by: Author::Relay, now };
        match self.sign(letter).await {
            Ok(fields) if fields.is_empty() => head.clone(),
            Ok(fields) => [&fields[..], &head[..]].concat().into(),
            Err(error) => {
                tracing::error!(%error, "a message of the relay's own goes out unsigned");
                head.clone()
            }
        }
    }

    /// True where mail of strangers that comes to this listener gets an ARC set.
    pub fn seals(&self, listener: &str) -> bool {
        self.current.load().seals(listener)
    }

    /// The ARC set of a message that is passed on (RFC 8617 section 5.1); none where its chain gets no more. `results` is
    /// the value of an Authentication-Results field, `chain` what was found of the chain when the message came.
    ///
    /// # Errors
    /// [`SigningError`]
    pub async fn seal(&self, letter: Letter, results: String, chain: Chain) -> Result<Bytes, SigningError> {
        let keys = self.keys();
        self.in_room(move || arc::seal(&keys, &letter, &results, chain)).await?
    }

    /// Does blocking work when its turn has come.
    async fn in_room<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, SigningError> {
        let Ok(Ok(permit)) = timeout(PATIENCE, self.room.clone().acquire_owned()).await else {
            return Err(SigningError::Busy);
        };
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.map_err(|error| SigningError::Unreadable(io::Error::other(error)))
    }
}

impl Default for Signing {
    fn default() -> Self {
        Self::with(Keys::default())
    }
}

impl std::fmt::Debug for Signing {
    /// The same for all: it stands in settings that are compared.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signing")
    }
}

/// The record to publish for the key in a file: `v=DKIM1; k=…; p=…`. Blocking.
///
/// # Errors
/// What is wrong with the file.
pub fn record_of_file(path: &Path) -> Result<String, KeyError> {
    Ok(key_record(&key::Key::load(path)?))
}
