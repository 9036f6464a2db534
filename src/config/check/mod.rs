//! From the file as written to each module's own settings, section by section.
//!
//! Defaults that are not the module's own stand here, each with its reason in `docs/config.md`.

mod admin;
mod auth;
mod delivery;
mod dialogue;
mod dns;
mod door;
mod egress;
mod grants;
mod history;
mod limits;
mod listen;
mod notices;
mod plugin_host;
mod plugins;
mod process;
mod queue;
mod quota;
mod relay;
mod retry;
mod route;
mod sendmail;
mod shaping;
mod signing;
mod suppression;
mod telemetry;
mod tls;
mod tls_out;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) use admin::socket as admin_socket;

use super::Settings;
use super::raw::{Table, Value};
use crate::mail::Domain;
use crate::suggest::nearest;
use crate::telemetry as logging;

/// No time limit or schedule of a relay is longer than this.
const YEAR: Duration = Duration::from_secs(366 * 86400);

/// `sockaddr_un` holds 108 octets, the last of them zero; a socket's file is first made under a name a bit longer.
const SOCKET_PATH: usize = 100;

/// Where relative paths start.
pub(super) struct Base(PathBuf);

impl Base {
    /// `base`, itself relative to the file's folder.
    pub(super) fn of(root: &Table<'_>, file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        Self(plain(&folder.join(root.text("base").unwrap_or("."))))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        plain(&self.0.join(path))
    }
}

/// Without `.` in the middle and `..` after a name: a path that people can read. Symbolic links are followed first by
/// nobody, so a `..` behind one keeps its textual meaning; that is documented.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            (part, _) => parts.push(part),
        }
    }
    if parts.is_empty() { PathBuf::from(".") } else { parts.into_iter().collect() }
}

/// Names that one section defines and others refer to.
pub(super) struct Names {
    lanes: Vec<Arc<str>>,
    credentials: Vec<Arc<str>>,
    sources: Vec<Arc<str>>,
    /// Of sources and pools: what a route may name.
    origins: Vec<Arc<str>>,
    retries: Vec<Arc<str>>,
    destinations: Vec<Arc<str>>,
}

impl Names {
    /// A name that must be among those defined in `[section.NAME]`.
    fn defined(value: &Value<'_>, section: &str, names: &[Arc<str>]) -> Option<Arc<str>> {
        Self::check(value, value.text()?, section, names)
    }

    fn check(value: &Value<'_>, name: &str, section: &str, names: &[Arc<str>]) -> Option<Arc<str>> {
        let found = names.iter().find(|known| &***known == name).cloned();
        if found.is_none() {
            let help = match nearest(name, names.iter().map(|name| &**name)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("define it: [{section}.{name}]"),
            };
            value.wrong(format!("there is no [{section}.{name}]"), &help);
        }
        found
    }
}

/// A route for mail that is queued; names are those of a configuration in force.
pub(super) fn route(root: &Table<'_>, config: &crate::delivery::Config) -> Option<crate::hooks::Route> {
    let names = Names {
        lanes: config.lanes.keys().cloned().collect(),
        credentials: config.credentials.keys().cloned().collect(),
        sources: config.sources.keys().cloned().collect(),
        origins: config.sources.keys().chain(config.pools.keys()).cloned().collect(),
        retries: config.schedules.keys().cloned().collect(),
        destinations: config.destinations.keys().cloned().collect(),
    };
    let route = route::route(&root.get("route")?, "", route::Within::Routing, &names);
    root.finish();
    route
}

/// All sections. None only where `hostname` is missing, without which nothing can be built.
pub(super) fn settings(root: &Table<'_>, file: &Path) -> Option<Settings> {
    let base = Base::of(root, file);
    let hostname = hostname(root);
    let shown: Arc<str> = hostname.clone().unwrap_or_else(|| "localhost".into());
    let listen = listen::config(root, &shown, &base);
    let queue = queue::config(&root.table("queue"), &base);
    let history = history::config(&root.table("history"), &base, &queue.path);
    let suppression = suppression::config(&root.table("suppression"));
    let dns = dns::config(&root.table("dns"), &base);
    let (delivery, routing) = delivery::config(root, &shown, &base, (&dns, &listen.listeners));
    let plugins = plugins::config(root, &base, &queue.path);
    let listeners: Vec<Arc<str>> = listen.listeners.iter().map(|listener| listener.name.clone()).collect();
    let signing = signing::config(root, &base, &listeners);
    let admin = admin::config(root, &base);
    let log = log(&root.table("log"), &base);
    let process = process::config(&root.table("process"));
    let sendmail = sendmail::config(&root.table("sendmail"), &base, &listen.listeners);
    let traces = telemetry::config(&root.table("telemetry"), &base);
    root.finish();
    Some(Settings {
        hostname: hostname?,
        listen,
        queue,
        history,
        suppression,
        dns,
        routing,
        delivery,
        plugins,
        signing,
        admin,
        log,
        process,
        sendmail,
        traces,
    })
}

pub(super) use sendmail::alone as sendmail;

fn hostname(root: &Table<'_>) -> Option<Arc<str>> {
    const HELP: &str = "write this host's fully qualified name, such as hostname = \"relay.example.org\"";
    if root.get("hostname").is_none() {
        root.missing("hostname", HELP);
        return None;
    }
    root.parsed("hostname", |text| match Domain::parse(text) {
        Ok(domain) if !domain.is_literal() => Ok(domain.as_str().into()),
        Ok(_) => Err((format!("{text:?} is an address"), HELP.to_owned())),
        Err(_) => Err((format!("{text:?} is no host name"), HELP.to_owned())),
    })
}

fn log(table: &Table<'_>, base: &Base) -> logging::Config {
    use logging::{Format, Output};
    let format = table.choice("format", Format::Text, &[("text", Format::Text), ("json", Format::Json)]);
    let level = table.parsed("level", |text| {
        let help =
            "write a level (error, warn, info, debug, trace), or several, such as \"info,waypost::delivery=debug\"";
        logging::check_level(text).map_err(|problem| (problem, help.to_owned()))?;
        Ok(text.to_owned())
    });
    let output = match table.text("output") {
        None | Some("stdout") => Output::Stdout,
        Some(path) => Output::File(base.resolve(path)),
    };
    table.finish();
    logging::Config { format, level: level.unwrap_or_else(|| "info".to_owned()), output }
}
