//! The admin API: what operators ask of the running relay, over HTTP, answered through [`Control`].
//!
//! A Unix socket that only the relay's own user may open, where the command line asks; and, where it is configured, a TCP
//! listener with tokens and roles. Both lead to the same routes (`http/table.rs`), and each route makes a [`Request`]. May
//! import `queue`'s plain types; imported by `app` (which implements `Control`), `cli` (the client) and `config`. Must never
//! listen on a network that nobody configured, never trust the size of what it reads, and never show a secret.

mod api;
mod audit;
mod client;
mod client_http;
mod client_queue;
mod client_transfer;
mod config;
mod converse;
mod explain;
mod http;
mod perform;
mod places;
mod queue;
mod queue_api;
mod server;
mod status;
mod token;
mod transfer;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;

pub use self::http::{Api, Surroundings, Terms};
pub use api::{Done, PluginChange, Request, Weakening};
pub use client::{Client, ClientError, Page};
pub use client_transfer::{Exported, Imported, Saved};
pub use config::{Config, Network, Scrape, Token};
pub use explain::{EventsForm, ExplainForm, HistoryForm, StsForm, WhyForm};
pub use queue_api::{
    BUCKETS, ChangedForm, CommandForm, Counted, FilterForm, Next, RuleStatus, SummaryRow, SuppressForm,
};
pub use server::{BindError, Doors, bind, serve};
pub use status::{
    BanStatus, CertificateStatus, DecisionsStatus, ListenerStatus, LoadStatus, RecordingStatus, ReloadReport,
    SetStatus, Status, StoreStatus, TracesStatus,
};
pub use token::{Role, TokenHash, make as make_token};
pub use view::{MessageView, OutcomeView, PastView, RecipientView, Summary};

use crate::hooks::Route;
use crate::mail::QueueId;
use crate::queue::{
    Changed, Command, Filter, Incoming, Injected, Injection, Reach, Record, Rule, RuleKind, Rules, Stepped, Ways,
};
use crate::store::{Content, Draft};
use crate::time::Timestamp;

/// What is being answered: what was asked for, or why not, in words for the operator.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Vec<String>>> + Send + 'a>>;

/// What the running relay can tell and do.
pub trait Control: Send + Sync + 'static {
    /// How it stands.
    fn status(&self) -> Pending<'_, Status>;
    /// Reads the configuration and the plugins anew; all of it, or nothing and the reasons.
    fn reload(&self, by: Peer, weakening: Weakening) -> Pending<'_, ReloadReport>;
    /// One step through the queue.
    fn queue_look(&self, filter: Filter, reach: Reach) -> Pending<'_, Stepped>;
    /// One message, its header section, and what else explains why it waits.
    fn queue_show(&self, id: QueueId) -> Pending<'_, Option<Shown>>;
    /// Header section and body of a message.
    fn queue_content(&self, id: QueueId) -> Pending<'_, Option<(Bytes, Content)>>;
    /// A message with all there is of it.
    fn queue_whole(&self, id: QueueId) -> Pending<'_, Option<(Arc<Record>, Bytes, Content)>>;
    /// For content that is imported; none: there is no queue.
    fn queue_draft(&self) -> Option<Draft>;
    /// Takes a message that was exported, and says so after the flush; false if there is one of its id.
    fn queue_import(&self, by: Peer, incoming: Incoming) -> Pending<'_, bool>;
    /// One step of a command.
    fn queue_command(&self, by: Peer, filter: Filter, reach: Reach, command: Command) -> Pending<'_, Changed>;
    /// Puts a rule in force.
    fn queue_rule(
        &self,
        by: Peer,
        kind: RuleKind,
        filter: Filter,
        reason: Arc<str>,
        until: Option<Timestamp>,
    ) -> Pending<'_, Arc<Rule>>;
    /// The rules there are.
    fn queue_rules(&self) -> Pending<'_, Arc<Rules>>;
    /// Lifts one; none: there is none of that number.
    fn queue_rule_lift(&self, by: Peer, number: u32) -> Pending<'_, Option<Arc<Rule>>>;
    /// A route as it is written in the configuration.
    fn read_route(&self, text: String) -> Pending<'_, Arc<Route>>;
    /// Where recipients go that no plugin routed.
    fn ways(&self) -> Arc<Ways>;
    /// Why mail goes the way it goes.
    fn explain(&self, about: ExplainForm) -> Pending<'_, serde_json::Value>;
    /// What is known of a domain's MTA-STS policy.
    fn sts(&self, about: StsForm) -> Pending<'_, serde_json::Value>;
    /// The sites that mail goes to, and how they stand; those with most to do first.
    fn destinations(&self) -> Pending<'_, Vec<serde_json::Value>>;
    /// The longest bans in force, and how many there are.
    fn bans(&self) -> Pending<'_, (Vec<BanStatus>, u64)>;
    /// Does not serve a network for some seconds.
    fn ban(&self, by: Peer, network: IpNet, secs: u64) -> Pending<'_, ()>;
    /// Serves it again.
    fn lift_ban(&self, by: Peer, network: IpNet) -> Pending<'_, ()>;
    /// Every plugin, as the plugin host describes it; has `name`.
    fn plugins(&self) -> Pending<'_, Vec<serde_json::Value>>;
    /// What each plugin counted, or the one of this name, as the plugin host describes it.
    fn plugin_metrics(&self, plugin: Option<String>) -> Pending<'_, Vec<serde_json::Value>>;
    /// The trial of a plugin's candidate, and the last differences, oldest first.
    fn plugin_trial(&self, name: String) -> Pending<'_, (serde_json::Value, Vec<serde_json::Value>)>;
    /// Every plugin, with what is in force in place of the configuration, and the set they belong to.
    fn plugin_status(&self) -> Pending<'_, (Vec<serde_json::Value>, SetStatus)>;
    /// The sets kept for a roll-back, the newest first.
    fn plugin_generations(&self) -> Pending<'_, Vec<serde_json::Value>>;
    /// The last changes, at most `limit`, the oldest of them first.
    fn plugin_audit(&self, limit: usize) -> Pending<'_, Vec<serde_json::Value>>;
    /// Changes what serves; all of it, or nothing and the reasons.
    fn plugin_change(&self, by: Peer, change: PluginChange, weakening: Weakening) -> Pending<'_, ReloadReport>;
    /// The suppression list: the entries that a request is about.
    fn suppress(&self, by: Peer, what: SuppressForm) -> Pending<'_, Vec<serde_json::Value>>;
    /// Messages that left the queue, and whether there is more that fits.
    fn history(&self, which: HistoryForm) -> Pending<'_, (Vec<serde_json::Value>, bool)>;
    /// What plugins decided, and whether there is more that fits.
    fn why(&self, which: WhyForm) -> Pending<'_, (Vec<serde_json::Value>, bool)>;
    /// Begins to write calls of a plugin down.
    fn record(&self, plugin: String, calls: u32, address: Option<String>) -> Pending<'_, RecordingStatus>;
    /// Ends it.
    fn stop_recording(&self, plugin: String) -> Pending<'_, RecordingStatus>;
    /// Takes a message as an SMTP client's is taken, and says so after the flush.
    fn inject(&self, mail: Injection) -> Pending<'_, Injected>;
}

/// A message in full, but for its body.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Everything but the content.
    pub record: Arc<Record>,
    /// Header section and empty line.
    pub head: Bytes,
    /// Where each of its recipients goes, in their order.
    pub routes: Vec<Arc<Route>>,
    /// Recipients under delivery.
    pub leased: Vec<u32>,
    /// The rules there are.
    pub rules: Arc<Rules>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A user of this machine, by the number.
    User(u32),
    /// Whoever has the token of this name.
    Token(Arc<str>),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid {uid}"),
            Self::Token(name) => write!(f, "token {name}"),
        }
    }
}

#[cfg(test)]
pub(crate) use tests::record as record_for_tests;
#[cfg(test)]
mod tests;
