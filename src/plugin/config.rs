//! Settings of `[plugins.NAME]` and of the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::hooks::{FailurePolicy, Hook};

/// All plugins of a relay, in no order: chains sort by `order`, then name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// By name.
    pub plugins: BTreeMap<Arc<str>, PluginConfig>,
}

/// One plugin as the operator wants it.
#[derive(Clone, Debug, PartialEq)]
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
    /// Warm or fresh.
    pub instances: Instances,
    /// Calls at a time.
    pub concurrency: usize,
    /// Octets of linear memory of one instance.
    pub memory: usize,
    /// CPU and wall time by hook, where they differ from the defaults.
    pub budgets: BTreeMap<Hook, Budget>,
    /// May use kv: octets and keys of its own bucket.
    pub kv: Option<KvQuota>,
    /// May see the secrets that clients offer at on-auth.
    pub auth_secrets: bool,
    /// Handed to the plugin as it is.
    pub config: serde_json::Value,
}

/// Grant of a kv bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvQuota {
    /// Octets, keys and values together.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

/// How instances are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// Idle ones are used again.
    #[default]
    Warm,
    /// One for each call, dropped after it.
    Fresh,
}

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            instances: Instances::Warm,
            concurrency: 32,
            memory: 64 << 20,
            budgets: BTreeMap::new(),
            kv: None,
            auth_secrets: false,
            config: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}
