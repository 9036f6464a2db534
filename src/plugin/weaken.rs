//! Weakening: a change after which mail is checked less than before, though every line of the configuration is right.
//!
//! Such a change needs to be meant. To take a plugin out of the configuration altogether is an ordinary edit, which
//! nobody makes by accident; so is to put one in.

use std::path::Path;

use super::{Config, PluginConfig, PluginInfo};
use crate::hooks::{FailurePolicy, Hook, Scope};

/// A set with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The settings in force with it.
    pub config: &'a Config,
    /// Its plugins.
    pub plugins: &'a [PluginInfo],
}

/// What is weaker in `after` than in `before`, in words. `kept` is the folder of components that the relay itself keeps,
/// whose pins are not the operator's.
pub fn weakenings(before: Side<'_>, after: Side<'_>, kept: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if before.config.host.require_signature && !after.config.host.require_signature {
        found.push("plugin-host: require-signature is turned off".to_owned());
    }
    for (name, old) in &before.config.plugins {
        let Some(new) = after.config.plugins.get(name) else { continue };
        let mut say = |what: String| found.push(format!("plugin {name}: {what}"));
        if old.mandatory && !new.mandatory {
            say("no longer mandatory".to_owned());
        }
        let is_pinned = |config: &PluginConfig| config.sha256.is_some() && !config.path.starts_with(kept);
        if is_pinned(old) && new.sha256.is_none() {
            say("its sha256 pin is removed".to_owned());
        }
        for hook in lost(info(before, name), info(after, name)) {
            say(format!("no longer asked at {hook}"));
        }
        let asked = |hook: Hook| info(after, name).is_none_or(|plugin| plugin.hooks.contains(&hook.interface()));
        for hook in Hook::ALL.into_iter().filter(|hook| asked(*hook) && is_let_through(old, new, *hook)) {
            say(format!("a failure at {} is skipped", hook.interface()));
        }
        for part in narrowed(&old.scope, &new.scope) {
            say(format!("scope.{part}: asked about less mail"));
        }
    }
    found
}

fn info<'a>(side: Side<'a>, name: &str) -> Option<&'a PluginInfo> {
    side.plugins.iter().find(|plugin| plugin.name == name)
}

/// Hooks at which it was asked before. Of one that is not loaded nobody knows them.
fn lost(old: Option<&PluginInfo>, new: Option<&PluginInfo>) -> Vec<&'static str> {
    match (old, new) {
        (Some(old), Some(new)) if old.sha256.is_some() && new.sha256.is_some() => {
            old.hooks.iter().copied().filter(|hook| !new.hooks.contains(hook)).collect()
        }
        _ => Vec::new(),
    }
}

fn is_let_through(old: &PluginConfig, new: &PluginConfig, hook: Hook) -> bool {
    let policy = |config: &PluginConfig| config.on_failure_at.get(&hook).copied().unwrap_or(config.on_failure);
    policy(old) != FailurePolicy::Skip && policy(new) == FailurePolicy::Skip
}

/// Conditions that keep more mail out than before.
fn narrowed(old: &Scope, new: &Scope) -> Vec<&'static str> {
    fn fewer<T: PartialEq>(old: &[T], new: &[T]) -> bool {
        !new.is_empty() && (old.is_empty() || old.iter().any(|one| !new.contains(one)))
    }
    let parts = [
        ("listeners", fewer(&old.listeners, &new.listeners)),
        ("networks", fewer(&old.networks, &new.networks)),
        ("authenticated", new.authenticated.is_some() && new.authenticated != old.authenticated),
        ("senders", fewer(&old.senders, &new.senders)),
        ("recipients", fewer(&old.recipients, &new.recipients)),
    ];
    parts.into_iter().filter(|(_, narrowed)| *narrowed).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(old: PluginConfig, new: PluginConfig) -> Vec<String> {
        let config = |plugin| Config { plugins: [("p".into(), plugin)].into(), ..Config::default() };
        let (old, new) = (config(old), config(new));
        let side = |config| Side { config, plugins: &[] };
        weakenings(side(&old), side(&new), Path::new("/kept"))
    }

    #[test]
    fn each_weakening_is_found_and_its_opposite_is_none() {
        let usual = PluginConfig::default;
        let scope = |scope| PluginConfig { scope, ..usual() };
        let listeners =
            |names: &[&str]| Scope { listeners: names.iter().map(|name| (*name).into()).collect(), ..Scope::default() };
        let cases = [
            (PluginConfig { mandatory: true, ..usual() }, usual(), "no longer mandatory"),
            (PluginConfig { sha256: Some([1; 32]), ..usual() }, usual(), "its sha256 pin is removed"),
            (
                usual(),
                PluginConfig { on_failure_at: [(Hook::Rcpt, FailurePolicy::Skip)].into(), ..usual() },
                "a failure at on-rcpt is skipped",
            ),
            (usual(), scope(listeners(&["a"])), "scope.listeners: asked about less mail"),
            (scope(listeners(&["a", "b"])), scope(listeners(&["b", "c"])), "scope.listeners: asked about less mail"),
            (
                scope(Scope { authenticated: Some(true), ..Scope::default() }),
                scope(Scope { authenticated: Some(false), ..Scope::default() }),
                "scope.authenticated: asked about less mail",
            ),
        ];
        for (old, new, words) in cases {
            assert_eq!(sides(old.clone(), new.clone()), [format!("plugin p: {words}")]);
            assert!(sides(old.clone(), old.clone()).is_empty() && sides(new.clone(), new).is_empty());
        }
        assert!(sides(usual(), PluginConfig { mandatory: true, ..usual() }).is_empty());
        assert!(sides(scope(listeners(&["a"])), scope(listeners(&["a", "b"]))).is_empty());
        let skip = PluginConfig { on_failure: FailurePolicy::Skip, ..usual() };
        assert_eq!(sides(usual(), skip.clone()).len(), Hook::ALL.len());
        assert!(sides(skip, usual()).is_empty());
        let kept = PluginConfig { sha256: Some([1; 32]), path: "/kept/x.wasm".into(), ..usual() };
        assert!(sides(kept, usual()).is_empty(), "the relay's own pin");
    }

    #[test]
    fn signatures_and_removals() {
        let mut strict = Config::default();
        strict.host.require_signature = true;
        strict.plugins.insert("p".into(), PluginConfig { mandatory: true, ..PluginConfig::default() });
        let plain = Config::default();
        let side = |config| Side { config, plugins: &[] };
        let found = weakenings(side(&strict), side(&plain), Path::new("/kept"));
        assert_eq!(found, ["plugin-host: require-signature is turned off"], "a plugin that is gone is not weaker");
        assert!(weakenings(side(&plain), side(&strict), Path::new("/kept")).is_empty());
    }
}
