//! What the fakes of a test hold: the mail in question, the services, and what one call did.
//!
//! Plain data and the rules of the journal. Says nothing of how a test describes it: that is `testing`.

use std::collections::{BTreeMap, BTreeSet};

use super::http::{Asked, Server};
use super::mail::Mail;
use crate::raw_kv::Entry;
use crate::{
    Endpoint, EsmtpParam, HostError, Identity, Mailbox, NextHop, PastAttempt, Protocol, Recipient, RecipientOutcome,
    Route, TlsInfo, auth_results,
};

/// 2026-01-01T00:00:00Z: when tests begin, unless they say otherwise.
pub(crate) const BEGINNING: i64 = 1_767_225_600;

/// Where in the mail's way the running call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum At {
    #[default]
    Nowhere,
    Connect,
    Helo,
    Auth,
    Mail,
    Rcpt,
    Message,
    Route,
    Requeue,
    DeliveryAttempt,
    DeliveryResult,
    Bounce,
}

/// Texts by plugin (the empty name is the plugin itself) and key.
pub(crate) type Notes = BTreeMap<(String, String), String>;

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Which world's settings these are.
    pub(crate) world: u64,
    pub(crate) at: At,
    pub(crate) subject: Subject,
    pub(crate) services: Services,
    pub(crate) call: Call,
}

/// What the hooks are about. Put back as it was where a hook fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) session: Session,
    pub(crate) transaction: Transaction,
    pub(crate) mail: Mail,
    pub(crate) delivery: Delivery,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) listener: String,
    pub(crate) client: Endpoint,
    pub(crate) client_name: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) helo: Option<String>,
    pub(crate) tls: Option<TlsInfo>,
    pub(crate) identity: Option<Identity>,
    pub(crate) may_relay: bool,
    pub(crate) transactions: u32,
    pub(crate) refused_recipients: u32,
    pub(crate) notes: Notes,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            listener: "test".to_owned(),
            client: Endpoint { address: "192.0.2.1".to_owned(), port: 49_152 },
            client_name: None,
            protocol: Protocol::Smtp,
            helo: None,
            tls: None,
            identity: None,
            may_relay: false,
            transactions: 0,
            refused_recipients: 0,
            notes: Notes::new(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) sender: Option<Mailbox>,
    pub(crate) sender_params: Vec<EsmtpParam>,
    pub(crate) declared_size: Option<u32>,
    pub(crate) smtputf8: bool,
    pub(crate) recipients: Vec<Recipient>,
    /// At rcpt: who is asked about.
    pub(crate) candidate: Option<Recipient>,
    /// Never given again within a transaction.
    pub(crate) next_index: u32,
    /// Of the transaction, later of the delivery.
    pub(crate) annotations: Notes,
    pub(crate) tags: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) attempt: u32,
    pub(crate) queued_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) size: Option<u32>,
    pub(crate) route: Route,
    pub(crate) hop: NextHop,
    pub(crate) previous: Vec<RecipientOutcome>,
    pub(crate) history: Vec<PastAttempt>,
}

impl Default for Delivery {
    fn default() -> Self {
        let hop = NextHop::Mx("example.com".to_owned());
        Self {
            attempt: 0,
            queued_at: BEGINNING,
            // Five days, as RFC 5321 section 4.5.4.1 has it.
            expires_at: BEGINNING + 5 * 86_400,
            size: None,
            route: Route::over(vec![hop.clone()]),
            hop,
            previous: Vec::new(),
            history: Vec::new(),
        }
    }
}

/// What the relay offers beside the mail.
#[derive(Debug)]
pub(crate) struct Services {
    /// JSON.
    pub(crate) config: String,
    pub(crate) secrets: BTreeMap<String, String>,
    /// Seconds; stands still.
    pub(crate) clock: i64,
    pub(crate) random: u64,
    /// Granted buckets.
    pub(crate) buckets: BTreeMap<String, Bucket>,
    /// Makes kv versions; never given twice.
    pub(crate) writes: u64,
    /// Records by name; none: not granted.
    pub(crate) dns: Option<BTreeMap<String, Vec<String>>>,
    /// Plugins whose notes and annotations may be read.
    pub(crate) notes_of: BTreeSet<String>,
    /// Token buckets by key.
    pub(crate) rates: BTreeMap<String, Pail>,
    pub(crate) auth: AuthResults,
    /// Octets of a message at most.
    pub(crate) message_max: usize,
    /// Label keys by metric, as the manifest has them; empty: whatever is counted is declared.
    pub(crate) declared: BTreeMap<String, Vec<String>>,
    /// Who answers requests over HTTP.
    pub(crate) servers: Vec<Server>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            config: "{}".to_owned(),
            secrets: BTreeMap::new(),
            clock: BEGINNING,
            random: 1,
            buckets: BTreeMap::new(),
            writes: 0,
            dns: None,
            notes_of: BTreeSet::new(),
            rates: BTreeMap::new(),
            auth: AuthResults::default(),
            message_max: 32 << 20,
            declared: BTreeMap::new(),
            servers: Vec::new(),
        }
    }
}

/// A token bucket: parts of tokens, each one a millisecond of the period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pail {
    pub(crate) parts: u128,
    pub(crate) period: u128,
    /// When they were counted, in seconds.
    pub(crate) at: i64,
}

/// A granted bucket of kv.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) read_only: bool,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// What the relay would find of the sender; none: it can't.
#[derive(Debug, Default)]
pub(crate) struct AuthResults {
    pub(crate) spf: Option<auth_results::SpfOutcome>,
    pub(crate) dkim: Option<Vec<auth_results::DkimOutcome>>,
    pub(crate) dmarc: Option<auth_results::DmarcOutcome>,
    pub(crate) arc: Option<auth_results::ArcOutcome>,
    pub(crate) header: Option<String>,
}

/// What one call did.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// Names the call; handles of another one are dead.
    pub(crate) number: u64,
    /// In order, in the words that scenario files have for them.
    pub(crate) edits: Vec<String>,
    pub(crate) header_edits: Vec<HeaderEdit>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) writers: u32,
    pub(crate) log: Vec<String>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) observed: BTreeMap<String, Vec<f64>>,
    pub(crate) requests: Vec<Asked>,
}

/// An edit of the header section, made when the hook returns ok.
#[derive(Clone, Debug)]
pub(crate) enum HeaderEdit {
    Prepend(String, String),
    Append(String, String),
    Replace(u32, String),
    Remove(u32),
}

impl State {
    /// Writes an edit down.
    pub(crate) fn edit(&mut self, words: String) -> Result<(), HostError> {
        self.call.edits.push(words);
        Ok(())
    }
}
