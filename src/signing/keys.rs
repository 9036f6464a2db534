//! The keys of a configuration, read from their files. Blocking.
//!
//! All of them are good, or there is an error for each that is not: half a set of keys must never sign.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Author;
use super::config::{ArcConfig, Config, KeyConfig};
use super::key::{Key, KeyError};

/// How key files looked: path, length, times and number. None: there is no such file.
pub type Stamps = Vec<(PathBuf, Option<(u64, i64, i64, u64)>)>;

/// A key and what it is for.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: KeyConfig,
    pub(super) key: Key,
}

/// What signs.
#[derive(Debug, Default)]
pub struct Keys {
    config: Config,
    pub(super) dkim: Vec<Arc<Loaded>>,
    pub(super) arc: Option<(ArcConfig, Key)>,
    stamps: Stamps,
}

impl Keys {
    /// Reads every key.
    ///
    /// # Errors
    /// One for each that can't be used.
    pub fn load(config: &Config) -> Result<Self, Vec<KeyError>> {
        let stamps = stamps(config);
        let (mut dkim, mut errors) = (Vec::new(), Vec::new());
        for settings in &config.keys {
            match Key::load(&settings.file) {
                Ok(key) => dkim.push(Arc::new(Loaded { config: settings.clone(), key })),
                Err(error) => errors.push(error),
            }
        }
        let mut arc = None;
        if let Some(settings) = &config.arc {
            match Key::load(&settings.file) {
                Ok(key) => arc = Some((settings.clone(), key)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { config: config.clone(), dkim, arc, stamps }) } else { Err(errors) }
    }

    /// The settings it was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How its files looked when they were read.
    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// What an operator should know: keys that other users of the machine can read.
    pub fn warnings(&self) -> Vec<String> {
        let open = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0);
        let open = self.config.files().filter(|(_, path)| open(path));
        open.map(|(key, path)| format!("{key}: every user of this machine can read {}: chmod o-r", path.display()))
            .collect()
    }

    /// True if mail of this author is signed at all.
    pub(super) fn may_sign(&self, by: &Author) -> bool {
        let policy = &self.config.policy;
        let allowed = match by {
            Author::Relay => policy.relay_mail,
            Author::Client { listener, authenticated } => {
                let known = if *authenticated { policy.clients.authenticated } else { policy.clients.networks };
                known && policy.listeners.as_ref().is_none_or(|listeners| listeners.contains(listener))
            }
        };
        allowed && !self.dkim.is_empty()
    }

    pub(super) fn seals(&self, listener: &str) -> bool {
        let listed = |config: &ArcConfig| match &config.listeners {
            Some(listeners) => listeners.iter().any(|name| &**name == listener),
            None => true,
        };
        self.arc.as_ref().is_some_and(|(config, _)| listed(config))
    }
}

/// How the files of a configuration look now.
pub(super) fn stamps(config: &Config) -> Stamps {
    let stamp = |found: Metadata| (found.len(), found.mtime(), found.mtime_nsec(), found.ino());
    config.files().map(|(_, path)| (path.to_owned(), std::fs::metadata(path).ok().map(stamp))).collect()
}

impl Config {
    /// How the files look now. Blocking.
    pub fn stamps(&self) -> Stamps {
        stamps(self)
    }
}
