//! `[plugins.NAME]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Base;
use crate::config::raw::{Table, Value};
use crate::hooks::{FailurePolicy, Hook};
use crate::plugin::{Budget, Config, Instances, KvQuota, PluginConfig};

const POLICIES: [(&str, FailurePolicy); 3] =
    [("tempfail", FailurePolicy::Tempfail), ("skip", FailurePolicy::Skip), ("reject", FailurePolicy::Reject)];

/// The hooks by the names they have in the file, in the order of `Hook::ALL`.
const HOOKS: [(&str, Hook); 10] = [
    ("connect", Hook::Connect),
    ("helo", Hook::Helo),
    ("auth", Hook::Auth),
    ("mail", Hook::Mail),
    ("rcpt", Hook::Rcpt),
    ("message", Hook::Message),
    ("route", Hook::Route),
    ("delivery-attempt", Hook::DeliveryAttempt),
    ("delivery-result", Hook::DeliveryResult),
    ("bounce", Hook::Bounce),
];

/// Reads the sections.
pub(super) fn config(root: &Table<'_>, base: &Base) -> Config {
    let read = |(name, value): (Arc<str>, Value<'_>)| Some((name, plugin(&value.table()?, base)?));
    Config { plugins: root.named("plugins").into_iter().filter_map(read).collect() }
}

fn plugin(table: &Table<'_>, base: &Base) -> Option<PluginConfig> {
    let usual = PluginConfig::default();
    let path = table.text("path").map(|path| base.resolve(path));
    if table.get("path").is_none() {
        table.missing("path", "write the path of the component, a .wasm file");
    }
    let (on_failure, on_failure_at) = on_failure(table);
    let instances = [("warm", Instances::Warm), ("fresh", Instances::Fresh)];
    let order = table.get("order").and_then(|value| value.signed_integer(-1_000_000..=1_000_000)).unwrap_or(0);
    let (kv, auth_secrets) = grants(&table.table("grants"));
    let config = PluginConfig {
        path: path.clone().unwrap_or_default(),
        sha256: table.get("sha256").and_then(|value| value.parsed(sha256)),
        order: i32::try_from(order).unwrap_or(0),
        hooks: table.get("hooks").and_then(|value| hooks(&value)),
        on_failure,
        on_failure_at,
        mandatory: table.bool("mandatory", usual.mandatory),
        instances: table.choice("instances", usual.instances, &instances),
        concurrency: table.count("concurrency", usual.concurrency, 1..=1000),
        memory: usize::try_from(table.size("memory", usual.memory as u64, 1 << 20..=1 << 30)).unwrap_or(usual.memory),
        budgets: budgets(&table.table("budgets")),
        kv,
        auth_secrets,
        config: match table.get("config") {
            Some(value) => value.table().map_or(usual.config, |_| value.json()),
            None => usual.config,
        },
    };
    table.finish();
    path.map(|_| config)
}

/// 64 digits.
fn sha256(text: &str) -> Result<[u8; 32], (String, String)> {
    let wrong = || ("is no SHA-256 digest".to_owned(), "write the 64 digits that sha256sum prints".to_owned());
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    for (at, octet) in digest.iter_mut().enumerate() {
        let digits = text.get(2 * at..2 * at + 2).filter(|digits| !digits.starts_with('+')).ok_or_else(wrong)?;
        *octet = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

fn hooks(value: &Value<'_>) -> Option<Vec<Hook>> {
    let mut hooks: Vec<Hook> = value.array()?.iter().filter_map(|value| value.choice(&HOOKS)).collect();
    hooks.sort();
    hooks.dedup();
    Some(hooks)
}

/// One policy for all hooks, or a table: `default`, and hooks by name.
fn on_failure(table: &Table<'_>) -> (FailurePolicy, BTreeMap<Hook, FailurePolicy>) {
    let usual = FailurePolicy::default();
    let Some(value) = table.get("on-failure") else { return (usual, BTreeMap::new()) };
    if value.as_text().is_some() {
        return (value.choice(&POLICIES).unwrap_or(usual), BTreeMap::new());
    }
    let Some(table) = value.table() else { return (usual, BTreeMap::new()) };
    let default = table.choice("default", usual, &POLICIES);
    let at = |(name, hook)| Some((hook, table.get(name)?.choice(&POLICIES)?));
    let by_hook = HOOKS.into_iter().filter_map(at).collect();
    table.finish();
    (default, by_hook)
}

/// `budgets.message = { cpu = "250ms", wall = "10s" }`; what is not said stays as it is.
fn budgets(table: &Table<'_>) -> BTreeMap<Hook, Budget> {
    const MS: Duration = Duration::from_millis(1);
    const MINUTE: Duration = Duration::from_secs(60);
    let budget = |(name, hook)| {
        let table = table.get(name)?.table()?;
        let usual = Budget::of(hook);
        let budget = Budget {
            cpu: table.duration("cpu", usual.cpu, MS..=MINUTE),
            wall: table.duration("wall", usual.wall, MS..=MINUTE),
        };
        if budget.cpu > budget.wall {
            table.wrong("more CPU time than time in all", "raise wall or lower cpu");
        }
        table.finish();
        Some((hook, budget))
    };
    let budgets = HOOKS.into_iter().filter_map(budget).collect();
    table.finish();
    budgets
}

/// `grants.kv = { bytes = "16 MiB", keys = 100000 }`.
fn grants(table: &Table<'_>) -> (Option<KvQuota>, bool) {
    let kv = table.get("kv").and_then(|value| value.table()).map(|kv| {
        let bytes = kv.size("bytes", 16 << 20, 1 << 10..=1 << 40);
        let keys = kv.integer("keys", 100_000, 1..=1_000_000_000);
        kv.finish();
        KvQuota { bytes, keys }
    });
    let auth_secrets = table.bool("auth-secrets", false);
    table.finish();
    (kv, auth_secrets)
}
