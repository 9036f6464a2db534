//! What the relay tells of itself: its state, and what a reload came to. Plain data.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::queue::{Counts, QuotaStatus};
use crate::time::Timestamp;
use crate::tls::Shown;

/// The set of plugins that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SetStatus {
    /// Its number.
    pub generation: u64,
    /// RFC 3339: since when these plugins serve.
    pub since: String,
    /// What made it.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Sets kept for a roll-back, the newest first.
    pub kept: Vec<u64>,
}

/// A recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordingStatus {
    /// Its file, on the relay's machine.
    pub path: String,
    /// Calls asked for.
    pub wanted: u32,
    /// Calls in it.
    pub recorded: u32,
    /// Calls left out: too large, or with a password.
    pub skipped: u32,
}

/// How the relay stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// Of the relay.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Grows with every reload.
    pub generation: u64,
    /// Its sockets.
    pub listeners: Vec<ListenerStatus>,
    /// What comes in.
    #[serde(default)]
    pub load: LoadStatus,
    /// Certificates that clients are shown.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Of the queue.
    #[schema(value_type = Object)]
    pub queue: Counts,
    /// How its quotas stand.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub quotas: Vec<QuotaStatus>,
    /// Where the queue is kept.
    pub store: StoreStatus,
    /// As `plugins` answers.
    #[schema(value_type = Vec<Object>)]
    pub plugins: Vec<serde_json::Value>,
    /// Of what plugins decide.
    #[serde(default)]
    pub decisions: DecisionsStatus,
    /// Spans for the receiver of traces; null: none is configured.
    #[serde(default)]
    pub traces: Option<TracesStatus>,
}

/// A certificate that clients are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CertificateStatus {
    /// Where: `smtp`, or `admin`.
    pub door: String,
    /// Its chain.
    pub file: String,
    /// Its subject (RFC 4514).
    pub subject: String,
    /// Its DNS names.
    pub names: Vec<String>,
    /// When it ends; RFC 3339.
    pub not_after: String,
    /// Whole days until then; negative once it has ended.
    pub days_left: i64,
}

impl CertificateStatus {
    /// As it stands at this moment.
    pub fn of(door: &str, shown: &Shown, now: Timestamp) -> Self {
        Self {
            door: door.to_owned(),
            file: shown.chain.display().to_string(),
            subject: shown.subject.clone(),
            names: shown.names.clone(),
            not_after: Timestamp::from_secs(shown.not_after).rfc3339_seconds(),
            days_left: shown.not_after.saturating_sub(now.secs()).div_euclid(86_400),
        }
    }
}

/// Spans that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TracesStatus {
    /// Since the start: taken by the receiver.
    pub sent: u64,
    /// Since the start: lost, because the receiver was slow, not there, or did not take them.
    pub lost: u64,
}

/// The record of decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DecisionsStatus {
    /// They are written down.
    pub recording: bool,
    /// Since the start.
    pub written: u64,
    /// Since the start: lost, because the disk was slower than they came or did not take them.
    pub dropped: u64,
    /// Why they are lost for now.
    pub trouble: Option<String>,
}

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ListenerStatus {
    /// `[listeners.NAME]`.
    pub name: String,
    /// Where it really listens.
    pub address: String,
    /// `none`, `starttls`, `implicit`.
    pub tls: String,
    /// Open connections.
    pub connections: u64,
}

/// What comes in, and what is turned away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoadStatus {
    /// Open connections.
    pub connections: u64,
    /// `limits.connections`.
    pub connections_most: u64,
    /// Places are scarce: deadlines are short.
    pub stressed: bool,
    /// Bans in force.
    pub banned: u64,
    /// Connections turned away since the start, by reason.
    pub shed: BTreeMap<String, u64>,
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BanStatus {
    /// Whose: an address is a network of its own.
    #[schema(value_type = String)]
    pub network: IpNet,
    /// How much longer.
    pub left_secs: u64,
    /// `operator`, or the rule: `limits.ban.errors`.
    pub rule: String,
}

/// The store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StoreStatus {
    /// Its folder.
    pub path: String,
    /// Free octets on its file system, where that is known.
    pub free: Option<u64>,
    /// Why mail is refused for now; none: it is taken.
    pub refusing: Option<String>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReloadReport {
    /// The generation that serves now.
    pub generation: u64,
    /// What is different, in words.
    pub changes: Vec<String>,
    /// What is different in the file but needs a restart.
    pub needs_restart: Vec<String>,
    /// What is checked less than before, and was meant.
    #[serde(default)]
    pub weakenings: Vec<String>,
}
