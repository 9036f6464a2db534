//! Folders where anybody may put something, or that are empty after a restart of the machine; secrets in the file itself.

use std::path::Path;

use super::Advice;
use crate::telemetry::Output;

/// Whoever has an account may write there.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// In memory.
const VOLATILE: [&str; 4] = ["/tmp", "/dev/shm", "/run", "/var/run"];

pub(super) fn advise(advice: &mut Advice<'_>) {
    let settings = advice.settings;
    if is_below(&settings.queue.path, &VOLATILE) {
        let problem =
            format!("{} is gone when the machine restarts, and all mail with it", settings.queue.path.display());
        advice.say("queue.path", problem, "write a folder below /var/lib");
    }
    if is_below(&settings.plugins.host.path, &VOLATILE) {
        let problem = "what serves, and what plugins decided, is forgotten when the machine restarts";
        advice.say("plugin-host.path", problem, "write a folder below /var/lib");
    }
    if is_below(&settings.admin.socket, &SHARED) {
        let problem = "another user may have made that socket first, and would be asked instead of the relay";
        advice.say("admin.socket", problem, "write \"/run/waypost/admin.sock\"");
    }
    for (name, plugin) in &settings.plugins.plugins {
        if is_below(&plugin.path, &SHARED) && plugin.sha256.is_none() {
            let problem = "any user of this machine may put another plugin there";
            advice.say(&format!("plugins.{name}.path"), problem, "write a folder that only root may write to");
        }
    }
    for name in settings.delivery.credentials.keys() {
        let key = format!("credentials.{name}.secret");
        if advice.places.has(&key) {
            let problem = "the password is in the configuration, which others read, copy and keep";
            advice.say(&key, problem, "put it into a file of its own, and name that in secret-file");
        }
    }
    log(advice);
    traces(advice);
}

fn traces(advice: &mut Advice<'_>) {
    let Some(traces) = &advice.settings.traces else { return };
    let host = &*traces.endpoint.host;
    let near = host.parse().map_or(host == "localhost", |address: std::net::IpAddr| address.is_loopback());
    if !traces.endpoint.tls && !near && traces.headers.is_some() {
        let problem = "what is in headers-file, and who writes to whom, crosses the network readable";
        advice.say("telemetry.otlp.endpoint", problem, "write https://");
    } else if !traces.endpoint.tls && host.parse().is_ok_and(super::networks::is_public_address) {
        let problem = "who writes to whom crosses the network readable";
        advice.say("telemetry.otlp.endpoint", problem, "write https://");
    }
}

fn log(advice: &mut Advice<'_>) {
    let log = &advice.settings.log;
    let whole = log.level.split(',').find(|directive| !directive.contains('=')).unwrap_or_default().trim();
    if matches!(whole.to_ascii_lowercase().as_str(), "debug" | "trace") {
        let problem = format!("{whole} of everything fills disks and slows the relay down");
        advice.say("log.level", problem, "write \"info,waypost::delivery=debug\" for the part you look at");
    }
    if matches!(whole.to_ascii_lowercase().as_str(), "off" | "error") {
        let problem = "nothing tells what became of a message";
        advice.say("log.level", problem, "write \"info\"");
    }
    if let Output::File(path) = &log.output
        && is_below(path, &SHARED)
    {
        let problem = "another user may have put a link to some other file there";
        advice.say("log.output", problem, "write a file below /var/log");
    }
}

fn is_below(path: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}
