//! `[plugins.NAME]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Base, grants, plugin_host};
use crate::config::raw::{Table, Value};
use crate::hooks::{FailurePolicy, Hook};
use crate::plugin::{BreakerConfig, Budget, Candidate, Config, Instances, Limits, PluginConfig, Promotion, TrialMode};

const MS: Duration = Duration::from_millis(1);

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
pub(super) fn config(root: &Table<'_>, base: &Base, queue: &Path) -> Config {
    let read = |(name, value): (Arc<str>, Value<'_>)| Some((name, plugin(&value.table()?, base)?));
    Config {
        plugins: root.named("plugins").into_iter().filter_map(read).collect(),
        host: plugin_host::config(&root.table("plugin-host"), base, queue),
    }
}

fn plugin(table: &Table<'_>, base: &Base) -> Option<PluginConfig> {
    let usual = PluginConfig::default();
    let path = table.text("path").map(|path| base.resolve(path));
    if table.get("path").is_none() {
        table.missing("path", "write the path of the component, a .wasm file");
    }
    let (on_failure, on_failure_at) = on_failure(table);
    let instances = [("warm", Some(Instances::Warm)), ("fresh", Some(Instances::Fresh))];
    let order = table.get("order").and_then(|value| value.signed_integer(-1_000_000..=1_000_000)).unwrap_or(0);
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
        memory: memory(table),
        budgets: budgets(&table.table("budgets")),
        grants: grants::grants(&table.table("grants"), base),
        scope: grants::scope(&table.table("scope")),
        limits: limits(&table.table("limits")),
        breaker: breaker(table),
        candidate: table.get("candidate").and_then(|value| candidate(&value.table()?, base)),
        config: match table.get("config") {
            Some(value) => value.table().map_or(usual.config, |_| value.json()),
            None => usual.config,
        },
    };
    table.finish();
    path.map(|_| config)
}

/// None where it is not said: then the plugin's manifest may wish for more than is usual.
fn memory(table: &Table<'_>) -> Option<usize> {
    table.get("memory")?;
    usize::try_from(table.size("memory", PluginConfig::MEMORY as u64, 1 << 20..=1 << 30)).ok()
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

/// `limits = { table = 100000, handles = 1024, host-calls = 100000 }`.
fn limits(table: &Table<'_>) -> Limits {
    let usual = Limits::default();
    let limits = Limits {
        table: table.count("table", usual.table, 1..=10_000_000),
        handles: table.count("handles", usual.handles, 16..=1_000_000),
        host_calls: u32::try_from(table.integer("host-calls", usual.host_calls.into(), 1..=1_000_000_000))
            .unwrap_or(usual.host_calls),
    };
    table.finish();
    limits
}

/// `breaker = { failures = 5, window = "30s", pause = "1s", pause-max = "1m" }`, or false.
fn breaker(table: &Table<'_>) -> Option<BreakerConfig> {
    const HOUR: Duration = Duration::from_secs(3600);
    let usual = BreakerConfig::default();
    let Some(value) = table.get("breaker") else { return Some(usual) };
    if !value.is_table() {
        return value.bool().filter(|on| *on).map(|_| usual);
    }
    let table = value.table()?;
    let config = BreakerConfig {
        failures: u32::try_from(table.integer("failures", usual.failures.into(), 1..=1_000_000))
            .unwrap_or(usual.failures),
        window: table.duration("window", usual.window, MS..=HOUR),
        pause: table.duration("pause", usual.pause, MS..=HOUR),
        pause_max: table.duration("pause-max", usual.pause_max, MS..=HOUR),
    };
    if config.pause > config.pause_max {
        table.wrong("the first pause is longer than the longest", "raise pause-max or lower pause");
    }
    table.finish();
    Some(config)
}

/// Another version beside the one that serves.
fn candidate(table: &Table<'_>, base: &Base) -> Option<Candidate> {
    let path = table.text("path").map(|path| base.resolve(path));
    if table.get("path").is_none() {
        table.missing("path", "write the path of the candidate's component, a .wasm file");
    }
    let share = table.integer("share", 10, 1..=100);
    let canary = TrialMode::Canary { share: u8::try_from(share).unwrap_or(10) };
    let mode = table.choice("mode", TrialMode::Shadow, &[("shadow", TrialMode::Shadow), ("canary", canary)]);
    if mode == TrialMode::Shadow
        && let Some(share) = table.get("share")
    {
        share.wrong("a shadow is asked about everything", "remove share, or write mode = \"canary\"");
    }
    let promote = table.get("promote").and_then(|value| value.table()).map(|rule| {
        let promotion = Promotion {
            calls: rule.integer("calls", 10_000, 1..=1_000_000_000),
            divergence: u32::try_from(rule.integer("divergence", 0, 0..=1000)).unwrap_or(0),
        };
        rule.finish();
        promotion
    });
    let config = table.get("config").and_then(|value| value.table().map(|_| value.json()));
    let sha256 = table.get("sha256").and_then(|value| value.parsed(sha256));
    table.finish();
    Some(Candidate { path: path?, sha256, mode, config, promote })
}
