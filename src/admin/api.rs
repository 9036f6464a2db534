//! What can be asked of a running relay, and what it answers: each route of the HTTP API makes one of these requests, and its
//! answer is made of the items and the rest. Queue ids and times are texts, so that nothing is lost in a reader whose numbers
//! are floats.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::queue_api::{ChangedForm, CommandForm, Counted, FilterForm, Next, RuleStatus, SuppressForm};
use super::{
    ExplainForm, HistoryForm, MessageView, RecordingStatus, ReloadReport, SetStatus, Status, StsForm, WhyForm,
};
use crate::queue::RuleKind;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the relay stands.
    Status,
    /// Read configuration and plugins anew.
    Reload {
        /// Also where mail would be checked less than before.
        #[serde(default)]
        allow_weaken: bool,
    },
    /// A page of the queue.
    QueueList {
        /// Which messages.
        #[serde(default)]
        filter: FilterForm,
        /// Those above this id: the last one of the page before.
        #[serde(default)]
        after: Option<String>,
        /// At most so many; the relay may give fewer.
        limit: usize,
    },
    /// How many messages there are of a kind: one step of counting.
    QueueCount {
        /// Which messages.
        #[serde(default)]
        filter: FilterForm,
        /// `next` of the answer before.
        #[serde(default)]
        after: Option<String>,
        /// `upto` of the answer before: what arrived after the first step is left alone.
        #[serde(default)]
        upto: Option<String>,
    },
    /// Where messages wait to go, by age: one step of counting.
    QueueSummary {
        /// Which messages.
        #[serde(default)]
        filter: FilterForm,
        /// `domain`, `sender-domain`, `next-hop`, `tenant`, `campaign` or `last-reply`.
        by: String,
        /// `next` of the answer before.
        #[serde(default)]
        after: Option<String>,
        /// `upto` of the answer before: what arrived after the first step is left alone.
        #[serde(default)]
        upto: Option<String>,
    },
    /// One message.
    QueueShow {
        /// Its id.
        id: String,
    },
    /// Do something to messages: one step of it.
    QueueCommand {
        /// Which messages.
        #[serde(default)]
        filter: FilterForm,
        /// Without any condition, this has to be said.
        #[serde(default)]
        all: bool,
        /// What.
        command: CommandForm,
        /// `next` of the answer before.
        #[serde(default)]
        after: Option<String>,
        /// `upto` of the answer before: what arrived after the first step is left alone.
        #[serde(default)]
        upto: Option<String>,
    },
    /// Suspend recipients, or hold or bounce those to come.
    QueueRuleAdd {
        /// What it does.
        kind: RuleKind,
        /// To whom.
        #[serde(default)]
        filter: FilterForm,
        /// Without any condition, this has to be said.
        #[serde(default)]
        all: bool,
        /// Shown with it, and in bounces.
        reason: String,
        /// So many seconds; none: until it is lifted.
        #[serde(default)]
        for_secs: Option<u64>,
    },
    /// The rules in force on the queue.
    QueueRules,
    /// Lift a rule.
    QueueRuleLift {
        /// Its number.
        number: u32,
    },
    /// Why mail goes the way it goes.
    Explain {
        /// Which mail.
        about: ExplainForm,
    },
    /// What is known of a domain's MTA-STS policy.
    Sts {
        /// Whose.
        about: StsForm,
    },
    /// The sites that mail goes to.
    Destinations,
    /// Who is not served.
    BanList,
    /// Do not serve a network for a while.
    BanAdd {
        /// A network or an address.
        network: IpNet,
        /// So many seconds.
        secs: u64,
    },
    /// Serve it again.
    BanRemove {
        /// As it was banned.
        network: IpNet,
    },
    /// Every plugin.
    Plugins,
    /// What plugins counted.
    PluginMetrics {
        /// This one only.
        #[serde(default)]
        plugin: Option<String>,
    },
    /// What the trial of a plugin's candidate has come to.
    PluginTrial {
        /// `[plugins.NAME]`.
        name: String,
    },
    /// Every plugin, with what is in force in place of the configuration, and the set they belong to.
    PluginStatus,
    /// The sets kept for a roll-back, the newest first.
    PluginGenerations,
    /// The last changes, the oldest of them first.
    PluginAudit {
        /// At most so many.
        limit: usize,
    },
    /// Change what serves.
    PluginChange {
        /// How.
        change: PluginChange,
        /// Also where mail would be checked less than before.
        #[serde(default)]
        allow_weaken: bool,
    },
    /// What plugins decided.
    Why {
        /// Which decisions.
        #[serde(default)]
        which: WhyForm,
    },
    /// The suppression list.
    Suppress {
        /// What is asked of it.
        what: SuppressForm,
    },
    /// Messages that left the queue.
    History {
        /// Which.
        #[serde(default)]
        which: HistoryForm,
    },
    /// Write calls of a plugin down.
    Record {
        /// `[plugins.NAME]`.
        plugin: String,
        /// So many.
        calls: u32,
        /// Only those about this sender, recipient, domain or client.
        #[serde(default)]
        address: Option<String>,
    },
    /// End a recording.
    StopRecording {
        /// `[plugins.NAME]`.
        plugin: String,
    },
}

/// A change of the plugins that serve. It holds until the configuration says something else of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PluginChange {
    /// An earlier set.
    Rollback {
        /// Which; none: the one before, that was not taken back itself.
        #[serde(default)]
        generation: Option<u64>,
    },
    /// The candidate takes over.
    Promote {
        /// `[plugins.NAME]`.
        plugin: String,
    },
    /// The candidate goes.
    DropCandidate {
        /// `[plugins.NAME]`.
        plugin: String,
    },
    /// A component becomes the candidate.
    Try {
        /// `[plugins.NAME]`.
        plugin: String,
        /// The component, from the root on; the relay reads it now and keeps it.
        #[schema(value_type = String)]
        file: PathBuf,
        /// Of a hundred sessions; none: it only shadows.
        #[serde(default)]
        share: Option<u8>,
        /// Its settings; none: the plugin's.
        #[serde(default)]
        #[schema(value_type = Option<Object>)]
        config: Option<serde_json::Value>,
    },
}

/// Whether a change may leave mail less checked than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakening {
    /// It is refused, and each point named.
    Refused,
    /// It is meant.
    Allowed,
}

impl Weakening {
    pub(super) fn of(allow_weaken: bool) -> Self {
        if allow_weaken { Self::Allowed } else { Self::Refused }
    }
}

/// What is answered beside items, by request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// To `status`.
    Status(Box<Status>),
    /// To `reload`.
    Reload(ReloadReport),
    /// To `queue-list`, after a `Summary` for each message.
    Page {
        /// Where the next page starts; none: this was the last.
        next: Option<String>,
        /// Counts of the whole queue are in `status`; this is how many the page has.
        messages: usize,
    },
    /// To `queue-show`.
    Message(Box<MessageView>),
    /// To `queue-count`.
    Counted(Counted),
    /// To `queue-summary`, after a `SummaryRow` for each destination met in this step.
    Summed(Next),
    /// To `queue-command`.
    Changed(ChangedForm),
    /// To `explain`.
    Explained(serde_json::Value),
    /// To `sts`.
    Sts(serde_json::Value),
    /// To `destinations`, after an item for each.
    Destinations,
    /// To `queue-rule-add` and `queue-rule-lift`.
    Rule(RuleStatus),
    /// To `queue-rules`, after a `RuleStatus` for each.
    Rules,
    /// To `ban-list`, after a `BanStatus` for each.
    Bans {
        /// All of them; no more than some thousand are listed.
        in_force: u64,
    },
    /// To `ban-add` and `ban-remove`.
    BansChanged,
    /// To `plugins`, after an item for each.
    Plugins,
    /// To `plugin-metrics`, after an item for each plugin that is loaded.
    PluginMetrics,
    /// To `plugin-trial`, after an item for each of the last differences.
    Trial(serde_json::Value),
    /// To `plugin-status`, after an item for each.
    PluginStatus(SetStatus),
    /// To `plugin-generations`, after an item for each.
    PluginGenerations,
    /// To `plugin-audit`, after an item for each.
    PluginAudit,
    /// To `plugin-change`.
    PluginChange(ReloadReport),
    /// To `why`, after an item for each.
    Decisions {
        /// There are more that fit.
        more: bool,
    },
    /// To `suppress`, after an item for each entry that it is about.
    Suppressed,
    /// To `history`, after an item for each.
    History {
        /// There are more that fit.
        more: bool,
    },
    /// To `record` and `stop-recording`.
    Recording(RecordingStatus),
}
