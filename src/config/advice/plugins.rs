//! Plugins that may do more than they should, or that let everything through when they fail: `[plugins.NAME]`.

use ipnet::IpNet;

use super::Advice;
use super::networks::{is_public_address, is_wider};
use crate::hooks::{FailurePolicy, Hook, Scope};
use crate::plugin::{PluginConfig, TrialMode};

pub(super) fn advise(advice: &mut Advice<'_>) {
    let plugins = &advice.settings.plugins.plugins;
    for (name, plugin) in plugins {
        let key = format!("plugins.{name}");
        failure(advice, &key, plugin);
        grants(advice, &key, plugin);
        http(advice, &key, plugin);
        references(advice, &key, plugin);
        cost(advice, &key, plugin);
    }
}

/// A filter that fails open is none for whoever can make it fail.
fn failure(advice: &mut Advice<'_>, key: &str, plugin: &PluginConfig) {
    let asked = |hook: Hook| plugin.hooks.as_ref().is_none_or(|hooks| hooks.contains(&hook));
    let skips = |hook: Hook| *plugin.on_failure_at.get(&hook).unwrap_or(&plugin.on_failure) == FailurePolicy::Skip;
    let open: Vec<Hook> =
        [Hook::Mail, Hook::Rcpt, Hook::Message].into_iter().filter(|h| asked(*h) && skips(*h)).collect();
    if let Some(hook) = open.first() {
        let named = plugin.on_failure_at.contains_key(hook);
        let word = hook.interface().trim_start_matches("on-");
        let key = if named { format!("{key}.on-failure.{word}") } else { format!("{key}.on-failure") };
        let problem = "a message that makes it fail is let through unseen, whatever it would have refused";
        let help = "write \"tempfail\"; \"skip\" is for plugins that refuse nothing, by hook: { connect = \"skip\" }";
        advice.say(&key, problem, help);
    }
    if plugin.breaker.is_none() {
        let problem = "it is run again and again however often it fails, and every mail waits for it";
        advice.say(&format!("{key}.breaker"), problem, "take it out");
    }
}

fn grants(advice: &mut Advice<'_>, key: &str, plugin: &PluginConfig) {
    let grants = &plugin.grants;
    let Scope { networks, authenticated, .. } = &plugin.scope;
    if grants.relay && networks.is_empty() && *authenticated != Some(true) {
        let problem = "it may open the relay to anybody: a mistake in it makes an open relay";
        let help = "limit whom it is asked about, by scope.networks or scope.authenticated";
        advice.say(&format!("{key}.grants.relay"), problem, help);
    }
    let never = |hook: Hook| plugin.hooks.as_ref().is_some_and(|hooks| !hooks.contains(&hook));
    if grants.relay && never(Hook::Rcpt) {
        let problem = "it is not asked at rcpt, the only hook where this grant counts";
        advice.say(&format!("{key}.grants.relay"), problem, "take it out");
    }
    if grants.auth_secrets && never(Hook::Auth) {
        let problem = "it may see passwords, and is not asked at auth, the only hook where there are any";
        advice.say(&format!("{key}.grants.auth-secrets"), problem, "take it out");
    }
    if grants.auth_secrets && plugin.sha256.is_none() && !advice.settings.plugins.host.require_signature {
        let problem = "it sees passwords, and any file under this name would";
        advice.say(&format!("{key}.sha256"), problem, "write the digest that `waypost plugin inspect` prints");
    }
    let (kv, gib) = (grants.kv.map_or(0, |kv| kv.bytes), 1 << 30);
    if kv > 64 * gib {
        advice.say(&format!("{key}.grants.kv.bytes"), "it may fill the disk that the queue is on", "write some MiB");
    }
    if grants.dns.as_ref().is_some_and(|dns| dns.lookups > 200) {
        let problem = "one message may make so many look-ups, at other people's name servers";
        advice.say(&format!("{key}.grants.dns.lookups"), problem, "write 16");
    }
}

fn http(advice: &mut Advice<'_>, key: &str, plugin: &PluginConfig) {
    let Some(http) = &plugin.grants.http else { return };
    for (at, origin) in http.allow.iter().enumerate() {
        let Some(host) = origin.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':')).map(|(host, _)| host)
        else {
            continue;
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let near = bare.parse().map_or(bare == "localhost", |address| !is_public_address(address));
        if !near {
            let problem =
                format!("what it tells {host} crosses the network readable, and so do the answers it believes");
            advice.say(&format!("{key}.grants.http.allow[{at}]"), problem, "write https://");
        }
    }
    for (at, net) in http.private_networks.iter().enumerate() {
        if is_wider(net, (8, 8)) || is_loopback(net) && net.prefix_len() < 16 {
            let problem = format!("a name that it is led to may reach every service in {net}");
            advice.say(&format!("{key}.grants.http.private-networks[{at}]"), problem, "name the single addresses");
        }
    }
}

fn is_loopback(net: &IpNet) -> bool {
    net.addr().is_loopback()
}

/// Names of listeners, plugins and buckets that are not there.
fn references(advice: &mut Advice<'_>, key: &str, plugin: &PluginConfig) {
    let settings = advice.settings;
    let listeners = &settings.listen.listeners;
    for (at, name) in plugin.scope.listeners.iter().enumerate() {
        if !listeners.iter().any(|listener| listener.name == *name) {
            let problem = format!("there is no [listeners.{name}]: it is not asked about anything from there");
            advice.say(&format!("{key}.scope.listeners[{at}]"), problem, "write the name of a listener");
        }
    }
    for name in plugin.grants.notes_of.iter().filter(|name| !settings.plugins.plugins.contains_key(*name)) {
        let problem = format!("there is no [plugins.{name}] that could leave notes");
        advice.say(&format!("{key}.grants.notes-of"), problem, "write the name of a plugin");
    }
    for name in plugin.grants.kv_shared.keys().filter(|name| !settings.plugins.host.shared_kv.contains_key(*name)) {
        let problem = "there is no such bucket";
        advice.say(&format!("{key}.grants.kv-shared.{name}"), problem, format!("add [plugin-host.kv.{name}]"));
    }
}

fn cost(advice: &mut Advice<'_>, key: &str, plugin: &PluginConfig) {
    for (hook, budget) in &plugin.budgets {
        if budget.wall > std::time::Duration::from_secs(30) {
            let word = hook.interface().trim_start_matches("on-");
            let problem = "a client waits so long for one answer of one plugin, and gives up";
            advice.say(&format!("{key}.budgets.{word}.wall"), problem, "write some seconds");
        }
    }
    if let Some(candidate) = &plugin.candidate
        && matches!(candidate.mode, TrialMode::Canary { share } if share > 50)
    {
        let problem = "more than half of all sessions try the new version: that is no trial";
        advice.say(&format!("{key}.candidate.share"), problem, "write 5 or 10, or `waypost plugin promote` it");
    }
    if plugin.mandatory && plugin.on_failure == FailurePolicy::Skip {
        let problem = "it is asked whatever others say, and skipped when it fails";
        advice.say(&format!("{key}.mandatory"), problem, "set on-failure to \"tempfail\"");
    }
}
