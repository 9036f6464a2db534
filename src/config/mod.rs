//! Configuration: TOML as written (`raw`), checked into each module's own settings (`check`), all errors at once.
//!
//! May import the modules' `Config` types; imported only by `app`, `cli` and `kit`. Never starts anything, and reads no file
//! but the configuration itself and the secrets it names. `docs/config.md` lists every key; a test holds it to that.

mod advice;
mod check;
mod error;
mod files;
mod raw;
mod units;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::ConfigError;
pub use files::drop_in_folder;
pub use raw::Places;

use crate::{
    admin, delivery, history, listen, maildrop, plugin, process, queue, routing, signing, suppression, telemetry,
};

/// A checked configuration: each module's own settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This relay's name.
    pub hostname: Arc<str>,
    /// `[listeners]`, `[limits]`, `[smtp]`, `[relay]`, `[tls]`, `[auth]`.
    pub listen: listen::Config,
    /// `[queue]`.
    pub queue: queue::Config,
    /// `[suppression]`.
    pub suppression: suppression::Config,
    /// `[history]`.
    pub history: history::Config,
    /// `[dns]`.
    pub dns: routing::Dns,
    /// `[routing]`.
    pub routing: routing::Table,
    /// `[delivery]`, `[mta-sts]`, `[destinations]`, `[credentials]`, `[sources]`, `[lanes]`, `[retry]`.
    pub delivery: delivery::Config,
    /// `[plugins]`.
    pub plugins: plugin::Config,
    /// `[signing]`, `[dkim]`, `[arc]`.
    pub signing: signing::Config,
    /// `[admin]`.
    pub admin: admin::Config,
    /// `[log]`.
    pub log: telemetry::Config,
    /// `[process]`.
    pub process: process::Config,
    /// `[sendmail]`.
    pub sendmail: maildrop::Config,
    /// `[telemetry.otlp]`; none: no traces are told.
    pub traces: Option<telemetry::otlp::Config>,
}

/// A configuration that is good, and what is to be said of it all the same.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says.
    pub settings: Settings,
    /// Where it says so.
    pub places: Places,
    /// What is unwise in it, in the order of the files.
    pub warnings: Vec<ConfigError>,
    /// The files it was read from, the main one first.
    pub files: Vec<Arc<str>>,
    /// What they say together, without secrets.
    pub written: serde_json::Value,
}

impl Checked {
    /// Puts findings in the order of the files and their lines.
    pub fn sort(&self, findings: &mut Vec<ConfigError>) {
        let file = |finding: &ConfigError| self.files.iter().position(|file| *file == finding.file);
        findings.sort_by(|a, b| (file(a), a.line, &a.key, &a.problem).cmp(&(file(b), b.line, &b.key, &b.problem)));
        findings.dedup();
    }
}

/// The default configuration, every key in it with its default and what it does, all of them commented out but those that
/// have to be set.
pub const DEFAULT: &str = include_str!("generated/default.toml");

/// The JSON Schema of a configuration.
pub const SCHEMA: &str = include_str!("generated/schema.json");

/// Reads and checks a configuration file and its drop-ins.
///
/// # Errors
/// Everything that is wrong with them, in the order of the files.
pub fn load(path: &Path) -> Result<Settings, Vec<ConfigError>> {
    Ok(examine(path)?.settings)
}

/// As [`load`]; with what is unwise.
///
/// # Errors
/// As [`load`].
pub fn examine(path: &Path) -> Result<Checked, Vec<ConfigError>> {
    check_files(path, &files::read_all(path)?)
}

/// Checks the text of a configuration file; `path` is what relative paths start from, and what errors name.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(path: &Path, text: &str) -> Result<Settings, Vec<ConfigError>> {
    Ok(check_files(path, &[raw::Written::new(&path.display().to_string(), text)])?.settings)
}

fn check_files(path: &Path, files: &[raw::Written]) -> Result<Checked, Vec<ConfigError>> {
    let source = raw::Source::new(files);
    let Some(table) = source.parse(files) else { return Err(source.into_errors()) };
    match check::settings(&raw::Table::root(&source, &table), path) {
        Some(settings) if source.is_clean() => {
            let places = source.places(&table);
            let mut warnings = source.warnings();
            warnings.extend(advice::advise(&settings, &places));
            let mut written = raw::json(&table);
            hide(&mut written);
            let files = files.iter().map(|file| file.name.clone()).collect();
            let mut checked = Checked { settings, places, warnings: Vec::new(), files, written };
            checked.sort(&mut warnings);
            checked.warnings = warnings;
            Ok(checked)
        }
        _ => Err(source.into_errors()),
    }
}

/// Where the admin socket of a configuration is, whatever else may be wrong in it: `waypost status` has to work while
/// somebody is editing the file.
///
/// # Errors
/// When a file can't be read or is no TOML.
pub fn admin_socket(path: &Path) -> Result<PathBuf, Vec<ConfigError>> {
    let files = files::read_all(path)?;
    let source = raw::Source::new(&files);
    let socket = source.parse(&files).map(|table| {
        let root = raw::Table::root(&source, &table);
        check::admin_socket(&root, &check::Base::of(&root, path))
    });
    socket.ok_or_else(|| source.into_errors())
}

/// Where `waypost sendmail` takes its mail, and this relay's name, by a configuration that need not be right: mail must not wait for
/// whoever is editing the file, and a user who may not read it sends mail all the same.
pub fn sendmail(path: &Path) -> (maildrop::Config, Option<Arc<str>>) {
    let Ok(files) = files::read_all(path) else { return (maildrop::Config::default(), None) };
    let source = raw::Source::new(&files);
    let Some(table) = source.parse(&files) else { return (maildrop::Config::default(), None) };
    check::sendmail(&raw::Table::root(&source, &table), path)
}

/// Reads a route as it is written in the configuration: `smtp://mail.example.org:25`, `destination:NAME`, or a table such as
/// `{ hops = ["smtp://mail.example.org"], tls = "verify" }`. What it names has to be there.
///
/// # Errors
/// What is wrong with it.
pub fn read_route(text: &str, config: &delivery::Config) -> Result<crate::hooks::Route, String> {
    let text = text.trim();
    let written = if text.starts_with('{') { text.to_owned() } else { toml::Value::from(text).to_string() };
    let written = format!("route = {written}\n");
    let written = [raw::Written::new("route", &written)];
    let source = raw::Source::new(&written);
    let route = source.parse(&written).and_then(|table| check::route(&raw::Table::root(&source, &table), config));
    match route {
        Some(route) if source.is_clean() => Ok(route),
        _ => {
            Err(source.into_errors().first().map_or("it is no route".into(), |e| format!("{}; {}", e.problem, e.help)))
        }
    }
}

impl Settings {
    /// The effective settings for people, without secrets: those of `[credentials]`, and in plugins' own settings
    /// whatever is called a secret. The same settings always give the same text.
    pub fn print(&self) -> String {
        let mut shown = self.clone();
        for plugin in shown.plugins.plugins.values_mut() {
            redact(&mut plugin.config);
        }
        format!("{shown:#?}\n")
    }

    /// Folders that the relay writes to, with the mode of each.
    pub fn folders(&self) -> Vec<(PathBuf, u32)> {
        let above = |path: &Path| path.parent().map(Path::to_owned).filter(|folder| !folder.as_os_str().is_empty());
        let mut folders = vec![(self.queue.path.clone(), 0o700), (self.plugins.host.path.clone(), 0o700)];
        folders.extend(self.history.record.then(|| (self.history.path.clone(), 0o700)));
        folders.extend(above(&self.admin.socket).map(|folder| (folder, 0o755)));
        if let telemetry::Output::File(path) = &self.log.output {
            folders.extend(above(path).map(|folder| (folder, 0o750)));
        }
        for listener in &self.listen.listeners {
            if let listen::Address::Unix(path, _) = &listener.address {
                folders.extend(above(path).map(|folder| (folder, 0o755)));
            }
        }
        folders
    }

    /// Files that the settings name and that are not there.
    pub fn absent_files(&self) -> Vec<String> {
        let tls = self.listen.tls.iter().flat_map(|tls| tls.files());
        let mut named: Vec<(String, &Path)> = tls.map(|(key, path)| (key.to_owned(), path)).collect();
        named.extend(self.listen.credentials.iter().map(|path| ("auth.credentials".to_owned(), &**path)));
        named.extend(self.delivery.tls_out.trust.iter().map(|path| ("delivery.trust".to_owned(), &**path)));
        named.extend(self.listen.senders.iter().map(|path| ("auth.senders".to_owned(), &**path)));
        named.extend(self.plugins.plugins.iter().map(|(name, p)| (format!("plugins.{name}.path"), &*p.path)));
        named.extend(self.signing.files());
        if let Some(certificate) = self.admin.http.as_ref().and_then(|http| http.certificate.as_ref()) {
            named.push(("admin.http.certificate".to_owned(), &*certificate.chain));
            named.push(("admin.http.key".to_owned(), &*certificate.key));
        }
        let headers = self.traces.iter().filter_map(|traces| traces.headers.as_deref());
        named.extend(headers.map(|path| ("telemetry.otlp.headers-file".to_owned(), path)));
        let absent = named.into_iter().filter(|(_, path)| !path.is_file());
        absent.map(|(key, path)| format!("{key}: there is no file {}", path.display())).collect()
    }
}

/// Hides the secrets of what is written: passwords, what tokens are proved by, and plugins' own.
fn hide(written: &mut serde_json::Value) {
    let entries = |written: &mut serde_json::Value, pointer: &str, hide: &dyn Fn(&mut serde_json::Value)| {
        let table = written.pointer_mut(pointer).and_then(serde_json::Value::as_object_mut);
        table.into_iter().flatten().for_each(|(_, value)| hide(value));
    };
    let key = |key: &'static str| {
        move |value: &mut serde_json::Value| {
            if let Some(secret) = value.get_mut(key) {
                *secret = "(redacted)".into();
            }
        }
    };
    entries(written, "/credentials", &key("secret"));
    entries(written, "/admin/tokens", &key("hash"));
    let own = |value: &mut serde_json::Value| {
        for at in ["/config", "/candidate/config"] {
            value.pointer_mut(at).into_iter().for_each(redact);
        }
    };
    entries(written, "/plugins", &own);
}

/// Hides texts under keys that sound like secrets.
fn redact(value: &mut serde_json::Value) {
    const SECRET: [&str; 4] = ["secret", "password", "token", "key"];
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                let key = key.to_ascii_lowercase();
                if value.is_string() && SECRET.iter().any(|word| key.ends_with(word)) {
                    *value = "(redacted)".into();
                } else {
                    redact(value);
                }
            }
        }
        serde_json::Value::Array(elements) => elements.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
