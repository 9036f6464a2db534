//! Configuration: TOML as written (`raw`), checked into each module's own settings (`check`), all errors at once.
//!
//! May import the modules' `Config` types; imported only by `app`, `cli` and `kit`. Never starts anything, and reads no file
//! but the configuration itself and the secrets it names. `docs/config.md` lists every key; a test holds it to that.

mod check;
mod error;
mod raw;
mod units;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::ConfigError;

use crate::{admin, delivery, history, listen, plugin, queue, routing, signing, suppression, telemetry};

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
}

/// Larger than any configuration written by hand; a mistyped path must not fill the memory.
const MAX_FILE: u64 = 4 << 20;

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(path: &Path) -> Result<Settings, Vec<ConfigError>> {
    let text = read(path).map_err(|error| vec![error])?;
    parse(path, &text)
}

/// Checks the text of a configuration file; `path` is what relative paths start from, and what errors name.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(path: &Path, text: &str) -> Result<Settings, Vec<ConfigError>> {
    let source = raw::Source::new(&path.display().to_string(), text);
    let settings = check_source(&source, path, text);
    match settings {
        Some(settings) if source.is_clean() => Ok(settings),
        _ => Err(source.into_errors()),
    }
}

/// Where the admin socket of a configuration is, whatever else may be wrong in it: `waypost status` has to work while
/// somebody is editing the file.
///
/// # Errors
/// When the file can't be read or is no TOML.
pub fn admin_socket(path: &Path) -> Result<PathBuf, Vec<ConfigError>> {
    let text = read(path).map_err(|error| vec![error])?;
    let source = raw::Source::new(&path.display().to_string(), &text);
    let socket = source.parse(&text).map(|table| {
        let root = raw::Table::root(&source, &table);
        check::admin_socket(&root, &check::Base::of(&root, path))
    });
    socket.ok_or_else(|| source.into_errors())
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
    let source = raw::Source::new("route", &written);
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
        let absent = named.into_iter().filter(|(_, path)| !path.is_file());
        absent.map(|(key, path)| format!("{key}: there is no file {}", path.display())).collect()
    }
}

fn check_source(source: &raw::Source, path: &Path, text: &str) -> Option<Settings> {
    let table = source.parse(text)?;
    check::settings(&raw::Table::root(source, &table), path)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |error: std::io::Error| {
        ConfigError::of_file(path, format!("can't be read: {error}"), "name the configuration with --config FILE")
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(ConfigError::of_file(path, "is larger than 4 MiB".to_owned(), "is it the right file?"));
    }
    std::fs::read_to_string(path).map_err(failed)
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
