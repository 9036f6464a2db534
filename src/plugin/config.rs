//! Settings of `[plugins.NAME]` and of the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Grants, KvQuota};
use crate::hooks::{FailurePolicy, Hook, Scope};

/// All plugins of a relay, in no order: chains sort by `order`, then name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// By name.
    pub plugins: BTreeMap<Arc<str>, PluginConfig>,
    /// What is not about a single plugin.
    pub host: HostConfig,
}

/// `[plugin-host]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostConfig {
    /// Folder of the host's own files: compiled code, generations, decisions.
    pub path: PathBuf,
    /// Components must be signed by one of `signers`.
    pub require_signature: bool,
    /// Ed25519 public keys.
    pub signers: Vec<[u8; 32]>,
    /// Generations kept for a roll-back.
    pub generations: usize,
    /// A plugin that trips its breaker this soon after it came takes its generation back.
    pub probation: Duration,
    /// Buckets of kv that several plugins may be granted.
    pub shared_kv: BTreeMap<Arc<str>, KvQuota>,
    /// The record of decisions.
    pub decisions: DecisionsConfig,
    /// Limits of the process that compiles one component.
    pub compile: CompileConfig,
}

/// `[plugin-host.decisions]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionsConfig {
    /// Written at all.
    pub record: bool,
    /// Older ones are removed.
    pub keep: Duration,
    /// Octets of all of them; the oldest go first.
    pub bytes: u64,
}

/// `[plugin-host.compile]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileConfig {
    /// Octets of memory.
    pub memory: u64,
    /// Until it is stopped.
    pub time: Duration,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("waypost-data/plugins"),
            require_signature: false,
            signers: Vec::new(),
            generations: 5,
            probation: Duration::from_secs(600),
            shared_kv: BTreeMap::new(),
            decisions: DecisionsConfig { record: true, keep: Duration::from_secs(7 * 86400), bytes: 256 << 20 },
            compile: CompileConfig { memory: 4 << 30, time: Duration::from_secs(120) },
        }
    }
}

/// One plugin as the operator wants it. Kept on disk with each generation: what an older relay did not write there has its
/// default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginConfig {
    /// The component.
    pub path: PathBuf,
    /// Its digest must be this; none: not checked.
    pub sha256: Option<[u8; 32]>,
    /// Chains are sorted by this, then by name.
    pub order: i32,
    /// Ask it only at these; none: at every hook it exports.
    pub hooks: Option<Vec<Hook>>,
    /// What a failure becomes, unless said by hook.
    pub on_failure: FailurePolicy,
    /// What a failure becomes, by hook.
    pub on_failure_at: BTreeMap<Hook, FailurePolicy>,
    /// Asked even after another plugin said `accept`.
    pub mandatory: bool,
    /// Warm or fresh; none: fresh where secrets are granted, else warm.
    pub instances: Option<Instances>,
    /// Calls at a time.
    pub concurrency: usize,
    /// Octets of linear memory of one instance; none: what its manifest wishes for, else [`Self::MEMORY`].
    pub memory: Option<usize>,
    /// Other limits of one call.
    pub limits: Limits,
    /// When a plugin that keeps failing is left alone; none: never.
    pub breaker: Option<BreakerConfig>,
    /// Another version, on trial beside this one.
    pub candidate: Option<Candidate>,
    /// CPU and wall time by hook, where they differ from the defaults.
    pub budgets: BTreeMap<Hook, Budget>,
    /// What it may use of the relay.
    pub grants: Grants,
    /// About whose mail it is asked.
    pub scope: Scope,
    /// Handed to the plugin as it is.
    pub config: serde_json::Value,
}

/// How instances are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// Idle ones are used again.
    #[default]
    Warm,
    /// One for each call, dropped after it.
    Fresh,
}

/// `[plugins.NAME.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Entries of a table: function pointers of a large guest.
    pub table: usize,
    /// Handles alive at a time.
    pub handles: usize,
    /// Services of the relay called in one call of a hook.
    pub host_calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { table: 100_000, handles: 1024, host_calls: 100_000 }
    }
}

/// `[plugins.NAME.breaker]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerConfig {
    /// So many failures …
    pub failures: u32,
    /// … within this time open it.
    pub window: Duration,
    /// The first wait for a probe; doubles with every probe that fails.
    pub pause: Duration,
    /// No wait is longer.
    pub pause_max: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { failures: 5, window: secs(30), pause: secs(1), pause_max: secs(60) }
    }
}

/// `[plugins.NAME.candidate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its component.
    pub path: PathBuf,
    /// Its digest must be this; none: not checked.
    pub sha256: Option<[u8; 32]>,
    /// What its verdicts count for.
    pub mode: TrialMode,
    /// Its settings; none: those of the version that serves.
    pub config: Option<serde_json::Value>,
    /// When it takes over by itself; none: only by command.
    pub promote: Option<Promotion>,
}

/// How a candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialMode {
    /// Asked beside the other one, about everything; nothing it says is done.
    Shadow,
    /// Asked instead of the other one, for so many of a hundred sessions (and messages under delivery).
    Canary {
        /// Of a hundred.
        share: u8,
    },
}

/// When a candidate takes over by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// After so many calls without a failure.
    pub calls: u64,
    /// And, of a thousand, no more than so many that were decided otherwise than by the version that serves.
    pub divergence: u32,
}

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Time computing.
    pub cpu: Duration,
    /// Time in all, waits for the host included.
    pub wall: Duration,
}

impl Budget {
    /// The default of a hook.
    pub const fn of(hook: Hook) -> Self {
        let (cpu, wall) = match hook {
            Hook::Auth | Hook::Route => (50, 5),
            Hook::Message => (250, 10),
            _ => (20, 2),
        };
        Self { cpu: Duration::from_millis(cpu), wall: Duration::from_secs(wall) }
    }
}

impl PluginConfig {
    /// Octets of linear memory where nobody says anything.
    pub const MEMORY: usize = 64 << 20;

    /// As said, or else fresh where an instance may hold secrets.
    pub fn instances(&self) -> Instances {
        let usual = if self.grants.has_secrets() { Instances::Fresh } else { Instances::Warm };
        self.instances.unwrap_or(usual)
    }
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            sha256: None,
            order: 0,
            hooks: None,
            on_failure: FailurePolicy::Tempfail,
            on_failure_at: BTreeMap::new(),
            mandatory: false,
            instances: None,
            concurrency: 32,
            memory: None,
            limits: Limits::default(),
            breaker: Some(BreakerConfig::default()),
            candidate: None,
            budgets: BTreeMap::new(),
            grants: Grants::default(),
            scope: Scope::default(),
            config: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}
