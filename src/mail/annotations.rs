//! What plugins leave with a connection (notes) or a message (annotations): (plugin, key) to text, bounded.
//!
//! Annotations are stored with the queued message and may be read days later by a newer version of the plugin, so
//! the writer's version is kept beside each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One value and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// What was written.
    pub value: Arc<str>,
    /// Version of the plugin that wrote it.
    pub version: Arc<str>,
}

/// The map, with its limits: 16 KiB for one plugin, 64 KiB in all (keys and values together), so that a record
/// stays cheap to rewrite at each attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations(BTreeMap<Arc<str>, BTreeMap<Arc<str>, Annotation>>);

/// Why a note was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// This plugin's share is used up.
    #[error("a plugin may leave 16 KiB with one message or connection")]
    PluginFull,
    /// All plugins together have used up theirs.
    #[error("all plugins together may leave 64 KiB with one message or connection")]
    Full,
}

const PER_PLUGIN: usize = 16 * 1024;
const IN_ALL: usize = 64 * 1024;

impl Annotations {
    /// What `plugin` left under `key`.
    pub fn get(&self, plugin: &str, key: &str) -> Option<&Annotation> {
        self.0.get(plugin)?.get(key)
    }

    /// What the first plugin, by name, left under `key`.
    pub fn named(&self, key: &str) -> Option<&str> {
        self.0.values().find_map(|left| left.get(key)).map(|annotation| &*annotation.value)
    }

    /// Writes or replaces a value.
    ///
    /// # Errors
    /// When one of the limits would be passed; nothing changes then.
    pub fn set(
        &mut self,
        plugin: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        key: impl Into<Arc<str>>,
        value: impl Into<Arc<str>>,
    ) -> Result<(), NoteError> {
        let (plugin, key, value) = (plugin.into(), key.into(), value.into());
        let had = self.get(&plugin, &key).map_or(0, |a| key.len() + a.value.len());
        let add = key.len() + value.len();
        if self.used_by(&plugin) - had + add > PER_PLUGIN {
            return Err(NoteError::PluginFull);
        }
        if self.used() - had + add > IN_ALL {
            return Err(NoteError::Full);
        }
        let annotation = Annotation { value, version: version.into() };
        self.0.entry(plugin).or_default().insert(key, annotation);
        Ok(())
    }

    /// Forgets a value; that it was not there is no error.
    pub fn remove(&mut self, plugin: &str, key: &str) {
        if let Some(keys) = self.0.get_mut(plugin) {
            keys.remove(key);
            if keys.is_empty() {
                self.0.remove(plugin);
            }
        }
    }

    /// True when nobody left anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them: plugin, key, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Annotation)> {
        self.0.iter().flat_map(|(plugin, keys)| keys.iter().map(move |(key, a)| (&**plugin, &**key, a)))
    }

    fn used_by(&self, plugin: &str) -> usize {
        self.0.get(plugin).map_or(0, |keys| keys.iter().map(|(k, a)| k.len() + a.value.len()).sum())
    }

    fn used(&self) -> usize {
        self.iter().map(|(_, k, a)| k.len() + a.value.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_told_apart_and_replacing_does_not_count_twice() {
        let mut notes = Annotations::default();
        let half = "x".repeat(PER_PLUGIN - 1);
        assert_eq!(notes.set("a", "1", "k", half.as_str()), Ok(()));
        assert_eq!(notes.set("a", "1", "k", half.as_str()), Ok(()), "replacing");
        assert_eq!(notes.set("a", "1", "l", "y"), Err(NoteError::PluginFull));
        for plugin in ["b", "c", "d"] {
            assert_eq!(notes.set(plugin, "1", "k", half.as_str()), Ok(()));
        }
        assert_eq!(notes.set("e", "1", "k", "y"), Err(NoteError::Full));
        notes.remove("a", "k");
        assert_eq!(notes.set("e", "2", "k", "y"), Ok(()));
        assert_eq!(notes.get("e", "k").map(|a| &*a.version), Some("2"));
    }
}
