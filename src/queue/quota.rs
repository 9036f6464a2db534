//! Quotas: how much mail of one sender, one tenant or the like may wait in the queue at a time.
//!
//! What there is of each value is kept as mail comes and goes, under a keyed hash of it: a queue of millions has many
//! senders. Pure. Must never stand in the way of what is in the queue already, nor of the relay's own reports.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Record;
use super::filter::names;
use super::record::{Origin, QueuedRecipient};
use crate::mail::{Annotations, Domain, Mailbox, ReversePath};

/// What mail is told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// The reverse-path.
    Sender,
    /// Its domain.
    SenderDomain,
    /// The domain of a recipient; a message counts for each that it has.
    Domain,
    /// Who was authenticated.
    Identity,
    /// The listener that it came to.
    Listener,
    /// The client's address.
    Client,
    /// What a plugin left with it: the key, or plugin, dot and key.
    Annotation(Arc<str>),
}

/// One of `[queue.quotas.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: Arc<str>,
    /// Each value of this has its own.
    pub per: Per,
    /// It is for these values alone, each as [`Per::normal`] has it; none: for all.
    pub only: Vec<Arc<str>>,
    /// It is not for these.
    pub except: Vec<Arc<str>>,
    /// With so many messages, no more are taken.
    pub messages: Option<u64>,
    /// With so many octets of content.
    pub octets: Option<u64>,
}

/// All quotas, and how often each has stood in the way.
#[derive(Debug, Default)]
pub(super) struct Quotas(Vec<(Quota, AtomicU64)>);

/// How a quota stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QuotaStatus {
    /// Its name.
    pub name: String,
    /// What mail is told apart by.
    pub per: String,
    /// How many values there is mail of.
    pub values: u64,
    /// Messages that were put off.
    pub refused: u64,
}

/// A message is too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quota {quota}: {is} {what} of {per} {value} are queued, its most is {most}")]
pub struct OverQuota {
    /// The quota's name.
    pub quota: Arc<str>,
    /// What it tells mail apart by.
    pub per: Per,
    /// Whose mail it is: in lower case, as mail is told apart, and no more of it than people read.
    pub value: Box<str>,
    /// `messages` or `octets`.
    pub what: &'static str,
    /// So many there are.
    pub is: u64,
    /// So many there may be.
    pub most: u64,
}

/// What is known of a message that quotas may ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks<'a> {
    /// None: the null reverse-path, which has no quota.
    pub sender: Option<&'a Mailbox>,
    /// Domains of recipients, as often as they are there.
    pub recipients: &'a [QueuedRecipient],
    /// What plugins left.
    pub annotations: Option<&'a Annotations>,
    /// Who was authenticated.
    pub identity: Option<&'a str>,
    /// The listener.
    pub listener: Option<&'a str>,
    /// The client's address.
    pub client: Option<&'a str>,
}

impl Per {
    /// As it is written in the configuration.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "sender" => Self::Sender,
            "sender-domain" => Self::SenderDomain,
            "domain" => Self::Domain,
            "identity" => Self::Identity,
            "listener" => Self::Listener,
            "client" => Self::Client,
            "tenant" | "campaign" => Self::Annotation(text.into()),
            _ => Self::Annotation(text.strip_prefix("annotation.").filter(|key| !key.is_empty())?.into()),
        })
    }

    /// A value as people write it, in the form that mail has it in; of domains also with a leading dot. None: there is no such.
    pub fn normal(&self, text: &str) -> Option<Arc<str>> {
        let normal: Box<str> = match self {
            Self::Sender => Mailbox::parse(text, true).ok()?.to_string().into(),
            Self::SenderDomain | Self::Domain => {
                Domain::parse_pattern(text).or_else(|_| Domain::parse(text)).ok()?.as_str().into()
            }
            Self::Client if !text.starts_with("unix:") => {
                text.parse::<std::net::IpAddr>().ok()?.to_canonical().to_string().into()
            }
            Self::Client | Self::Identity | Self::Listener | Self::Annotation(_) => text.into(),
        };
        (!normal.is_empty()).then(|| normal.to_ascii_lowercase().into())
    }

    /// Its values in a message, in lower case and each once.
    fn values(&self, marks: &Marks<'_>) -> Vec<Box<str>> {
        let one = |text: Option<&str>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| text.to_ascii_lowercase().into()).into_iter().collect()
        };
        match self {
            Self::Sender => one(marks.sender.map(ToString::to_string).as_deref()),
            Self::SenderDomain => one(marks.sender.map(|sender| sender.domain.as_str())),
            Self::Domain => {
                let domains = marks.recipients.iter().map(|r| r.mailbox.domain.as_str());
                let mut domains: Vec<Box<str>> = domains.map(|domain| domain.to_ascii_lowercase().into()).collect();
                domains.sort_unstable();
                domains.dedup();
                domains
            }
            Self::Identity => one(marks.identity),
            Self::Listener => one(marks.listener),
            Self::Client => one(marks.client),
            Self::Annotation(wanted) => {
                let mut left = marks.annotations.into_iter().flat_map(Annotations::iter);
                one(left.find(|(plugin, key, _)| names(wanted, plugin, key)).map(|(_, _, note)| &*note.value))
            }
        }
    }

    /// Of domains, one that begins with a dot stands for all below it.
    fn is(&self, pattern: &str, value: &str) -> bool {
        let below = matches!(self, Self::Domain | Self::SenderDomain) && pattern.starts_with('.');
        if below { !value.starts_with('[') && value.ends_with(pattern) } else { value == pattern }
    }

    /// In a word, for those whose mail it is.
    pub fn word(&self) -> &str {
        match self {
            Self::Sender => "sender",
            Self::SenderDomain => "sender domain",
            Self::Domain => "recipient domain",
            Self::Identity => "user",
            Self::Listener => "listener",
            Self::Client => "client",
            Self::Annotation(key) if matches!(&**key, "tenant" | "campaign") => key,
            Self::Annotation(_) => "kind",
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender => f.write_str("sender"),
            Self::SenderDomain => f.write_str("sender-domain"),
            Self::Domain => f.write_str("domain"),
            Self::Identity => f.write_str("identity"),
            Self::Listener => f.write_str("listener"),
            Self::Client => f.write_str("client"),
            Self::Annotation(key) if matches!(&**key, "tenant" | "campaign") => f.write_str(key),
            Self::Annotation(key) => write!(f, "annotation.{key}"),
        }
    }
}

impl<'a> Marks<'a> {
    /// Of a message as it is, or will be, in the queue.
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            recipients: &record.recipients,
            annotations: Some(&record.annotations),
            ..Self::of_sender(&record.sender, record.origin.as_ref())
        }
    }

    fn of_sender(sender: &'a ReversePath, origin: Option<&'a Origin>) -> Self {
        Self {
            sender: sender.0.as_ref(),
            identity: origin.and_then(|origin| origin.identity.as_deref()),
            listener: origin.map(|origin| &*origin.listener),
            client: origin.map(|origin| &*origin.client.address),
            ..Self::default()
        }
    }
}

impl Quota {
    fn is_for(&self, value: &str) -> bool {
        let one_of = |patterns: &[Arc<str>]| patterns.iter().any(|pattern| self.per.is(pattern, value));
        (self.only.is_empty() || one_of(&self.only)) && !one_of(&self.except)
    }
}

/// What mail has to be told apart by for these quotas, each once.
pub fn kinds(quotas: &[Quota]) -> Vec<Per> {
    let mut kinds = Vec::new();
    for quota in quotas {
        if !kinds.contains(&quota.per) {
            kinds.push(quota.per.clone());
        }
    }
    kinds
}

impl Quotas {
    /// Those of the configuration; what was counted of one of the same name goes on.
    pub(super) fn new(quotas: &[Quota], before: &Self) -> Self {
        let refused = |name: &str| before.0.iter().find(|(quota, _)| *quota.name == *name);
        let with_count = |quota: &Quota| {
            let count = refused(&quota.name).map_or(0, |(_, count)| count.load(Ordering::Relaxed));
            (quota.clone(), AtomicU64::new(count))
        };
        Self(quotas.iter().map(with_count).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are these.
    pub(super) fn are(&self, quotas: &[Quota]) -> bool {
        self.0.iter().map(|(quota, _)| quota).eq(quotas)
    }

    pub(super) fn status(&self, usage: &Usage) -> Vec<QuotaStatus> {
        let status = |(quota, refused): &(Quota, AtomicU64)| QuotaStatus {
            name: quota.name.to_string(),
            per: quota.per.to_string(),
            values: usage.of(&quota.per).map_or(0, |(_, kind)| kind.used.len() as u64),
            refused: refused.load(Ordering::Relaxed),
        };
        self.0.iter().map(status).collect()
    }
}

/// How much there is of each value.
#[derive(Debug, Default)]
pub(super) struct Usage {
    random: RandomState,
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    per: Per,
    used: HashMap<u64, Used>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    messages: u64,
    octets: u64,
}

/// What a plugin annotates may have kilobytes.
fn shown(value: &str) -> Box<str> {
    const MOST: usize = 320;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()).into(),
        None => value.into(),
    }
}

/// A value of a kind, as its place and hash.
pub(super) type Share = (usize, u64);

impl Usage {
    pub(super) fn new(kinds: Vec<Per>) -> Self {
        let kinds = kinds.into_iter().map(|per| Kind { per, used: HashMap::new() }).collect();
        Self { random: RandomState::new(), kinds }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.kinds.is_empty()
    }

    fn of(&self, per: &Per) -> Option<(usize, &Kind)> {
        self.kinds.iter().enumerate().find(|(_, kind)| kind.per == *per)
    }

    /// What a message is part of.
    pub(super) fn shares(&self, marks: &Marks<'_>) -> Vec<Share> {
        let of = |(at, kind): (usize, &Kind)| {
            kind.per.values(marks).into_iter().map(move |value| (at, self.random.hash_one(value)))
        };
        self.kinds.iter().enumerate().flat_map(of).collect()
    }

    /// A message more.
    pub(super) fn take(&mut self, shares: &[Share], octets: u64) {
        for (at, value) in shares {
            if let Some(kind) = self.kinds.get_mut(*at) {
                let used = kind.used.entry(*value).or_default();
                used.messages += 1;
                used.octets = used.octets.saturating_add(octets);
            }
        }
    }

    /// A message less.
    pub(super) fn give_back(&mut self, shares: &[Share], octets: u64) {
        for (at, value) in shares {
            let Some(kind) = self.kinds.get_mut(*at) else { continue };
            let Some(used) = kind.used.get_mut(value) else { continue };
            used.messages = used.messages.saturating_sub(1);
            used.octets = used.octets.saturating_sub(octets);
            if used.messages == 0 {
                kind.used.remove(value);
            }
        }
    }

    pub(super) fn gained(&mut self, record: &Record) {
        if !self.is_idle() {
            self.take(&self.shares(&Marks::of(record)), record.size());
        }
    }

    pub(super) fn lost(&mut self, record: &Record) {
        if !self.is_idle() {
            self.give_back(&self.shares(&Marks::of(record)), record.size());
        }
    }

    /// A message is not what it was: recipients are gone, or plugins left something else with it.
    pub(super) fn turned(&mut self, before: &Record, after: &Record) {
        if self.is_idle() {
            return;
        }
        let (was, is) = (self.shares(&Marks::of(before)), self.shares(&Marks::of(after)));
        if was != is {
            self.give_back(&was, before.size());
            self.take(&is, after.size());
        }
    }

    /// The first quota that has no room for a message, as far as it is known.
    ///
    /// # Errors
    /// Which, and why.
    pub(super) fn admits(&self, quotas: &Quotas, marks: &Marks<'_>) -> Result<(), OverQuota> {
        for (quota, refused) in &quotas.0 {
            // One of a kind that came with a reload is counted from the next start on.
            let Some((_, kind)) = self.of(&quota.per) else { continue };
            for value in quota.per.values(marks).into_iter().filter(|value| quota.is_for(value)) {
                let used = kind.used.get(&self.random.hash_one(&value)).copied().unwrap_or_default();
                let over = match (quota.messages, quota.octets) {
                    (Some(most), _) if used.messages >= most => Some(("messages", used.messages, most)),
                    (_, Some(most)) if used.octets >= most => Some(("octets", used.octets, most)),
                    _ => None,
                };
                if let Some((what, is, most)) = over {
                    refused.fetch_add(1, Ordering::Relaxed);
                    let (quota, per) = (Arc::clone(&quota.name), quota.per.clone());
                    return Err(OverQuota { quota, per, value: shown(&value), what, is, most });
                }
            }
        }
        Ok(())
    }
}
