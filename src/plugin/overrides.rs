//! Overrides: what serves in place of what the configuration says of a plugin, since a command - or the relay itself -
//! took a version back, promoted a candidate or put one on trial.
//!
//! An override holds over reloads and restarts, for as long as the configuration says what it said when it was made: the
//! same settings, and the same component at their path. The first change there ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Config, Version};
use crate::time::Timestamp;

/// By plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overrides(pub BTreeMap<Arc<str>, Override>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// What the configuration says; none: it has no such plugin.
    pub entry: Option<Version>,
    /// What serves, its components kept in the archive; none: nothing does.
    pub serves: Option<Version>,
    /// Since when.
    pub at: Timestamp,
    /// What made it.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// A configuration under its overrides.
#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// What is to serve.
    pub config: Config,
    /// Those that hold.
    pub overrides: Overrides,
    /// Those that have ended, in words.
    pub ended: Vec<String>,
}

impl Overrides {
    /// Lays them over what the configuration says now. Reads the components at the paths there: blocking.
    pub fn over(self, file: &Config) -> Laid {
        let mut laid = Laid { config: file.clone(), ..Laid::default() };
        for (name, held) in self.0 {
            let now = file.plugins.get(&name).map(Version::at_hand);
            let holds = match (&held.entry, &now) {
                (None, None) => true,
                (Some(then), Some(now)) => then.is_same(now),
                _ => false,
            };
            if holds {
                laid.put(name, held);
            } else {
                laid.ended.push(format!(
                    "plugin {name}: the configuration or the component it names has changed, and serves again instead of \
                     what {} ({}) had put there",
                    held.reason, held.by
                ));
            }
        }
        laid
    }

    /// The digests of all components that serve by an override.
    pub fn digests(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.values().filter_map(|held| held.serves.as_ref()).flat_map(Version::digests)
    }

    /// The plugins concerned.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.0.keys().cloned().collect()
    }
}

impl Laid {
    fn put(&mut self, name: Arc<str>, held: Override) {
        match &held.serves {
            Some(version) => drop(self.config.plugins.insert(name.clone(), version.config.clone())),
            None => drop(self.config.plugins.remove(&name)),
        }
        self.overrides.0.insert(name, held);
    }
}
