//! What the relay remembers of its plugin sets: those that served, what serves in place of the configuration, and who
//! changed what. Everything here blocks: call it off the async workers. Decides nothing about when to change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::plugin::{Archive, Audit, AuditEntry, Config, Generation, Laid, Overrides, PluginInfo, Version};
use crate::time::Timestamp;

/// The memory, on disk and here.
pub(crate) struct History {
    archive: Result<Archive, String>,
    audit: Audit,
    components: PathBuf,
    state: Mutex<State>,
}

/// What serves, and what the configuration says.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Which set serves, since when and why.
    pub(super) serving: Option<Generation>,
    /// What the configuration says of each plugin, as it was last read.
    pub(super) entries: BTreeMap<Arc<str>, Version>,
    pub(super) overrides: Overrides,
    /// Why some plugins are of an older generation: those that could not be loaded at the start.
    pub(super) last_good: BTreeMap<Arc<str>, String>,
}

/// Why something changes, and who wants it.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) reason: String,
    pub(crate) by: String,
}

/// A set that has just begun to serve.
pub(crate) struct Swap {
    pub(crate) number: u64,
    /// The settings in force.
    pub(crate) config: Config,
    pub(crate) plugins: Vec<PluginInfo>,
    /// What the configuration says; none: it was not read anew.
    pub(crate) file: Option<Config>,
    pub(crate) overrides: Overrides,
    pub(crate) last_good: BTreeMap<Arc<str>, String>,
    pub(crate) cause: Cause,
    pub(crate) weakenings: Vec<String>,
    /// The set that is taken back by this, and why.
    pub(crate) taken_back: Option<(Generation, String)>,
}

impl History {
    pub(crate) fn open(config: &Config) -> Self {
        let path = &config.host.path;
        let archive = Archive::open(path).map_err(|error| format!("{} can't be used: {error}", path.display()));
        if let Err(why) = &archive {
            tracing::error!(target: "plugin", "{why}: no generation is kept for a roll-back");
        }
        let overrides = archive.as_ref().map(Archive::overrides).unwrap_or_default();
        let state = State { overrides, ..State::default() };
        Self { archive, audit: Audit::below(path), components: path.join("components"), state: Mutex::new(state) }
    }

    pub(super) fn archive(&self) -> Result<&Archive, Vec<String>> {
        self.archive.as_ref().map_err(|why| vec![why.clone()])
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Where components are kept.
    pub(crate) fn components(&self) -> &Path {
        &self.components
    }

    /// Writes overrides down, before they are in force.
    pub(crate) fn write(&self, overrides: &Overrides) -> Result<(), Vec<String>> {
        let written = self.archive()?.write_overrides(overrides);
        written.map_err(|error| vec![format!("nothing was changed, because it can't be written down: {error}")])
    }

    /// The number of the next set, after those of earlier lives.
    pub(crate) fn next_number(&self) -> u64 {
        let newest = self.archive.as_ref().ok().and_then(|archive| archive.generations().into_iter().next());
        newest.map_or(1, |generation| generation.number + 1)
    }

    /// The configuration under the overrides that still hold.
    pub(crate) fn lay(&self, file: &Config) -> Laid {
        let overrides = self.state.lock().overrides.clone();
        overrides.over(file)
    }

    /// The newest version of a plugin that served, ready to serve again.
    pub(crate) fn last_good(&self, plugin: &str) -> Option<(u64, crate::plugin::PluginConfig)> {
        let archive = self.archive.as_ref().ok()?;
        archive.last_good(plugin).map(|(number, version)| (number, archive.pinned(&version)))
    }

    /// Writes down what has begun to serve. What can't be written is logged: it serves all the same. The digests of all
    /// components that may be needed again come back.
    pub(crate) fn settle(&self, swap: Swap, now: Timestamp) -> Option<BTreeSet<[u8; 32]>> {
        let digest = |name: &str| swap.plugins.iter().find(|p| p.name == name).and_then(|p| p.sha256.clone());
        let version = |(name, config): (&Arc<str>, _)| (name.clone(), Version::of(config, digest(name).map(Arc::from)));
        let plugins: BTreeMap<_, _> = swap.config.plugins.iter().map(version).collect();
        let entries = swap.file.as_ref().map(|file| self.entries(file, &swap, &plugins));
        let generation = Generation {
            number: swap.number,
            at: now,
            reason: swap.cause.reason.clone(),
            by: swap.cause.by.clone(),
            taken_back: None,
            brought_back: swap.taken_back.is_some(),
            plugins,
        };
        let (generation, wanted) = match &self.archive {
            Ok(archive) => keep(archive, generation, &swap),
            Err(_) => (generation, None),
        };
        self.audit(&swap.cause, swap.number, swap.weakenings, now);
        let mut state = self.state.lock();
        state.serving = Some(generation);
        state.entries = entries.unwrap_or_else(|| std::mem::take(&mut state.entries));
        state.overrides = swap.overrides;
        state.last_good = swap.last_good;
        wanted
    }

    /// What the configuration says of each plugin: as it was loaded, or, where something else serves, as it was judged.
    fn entries(
        &self,
        file: &Config,
        swap: &Swap,
        plugins: &BTreeMap<Arc<str>, Version>,
    ) -> BTreeMap<Arc<str>, Version> {
        let entry = |(name, config): (&Arc<str>, _)| {
            let version = match (swap.overrides.0.get(name), plugins.get(name)) {
                (Some(held), _) => held.entry.clone(),
                (None, Some(version)) if !swap.last_good.contains_key(name) => Some(version.clone()),
                _ => None,
            };
            (name.clone(), version.unwrap_or_else(|| Version::at_hand(config)))
        };
        file.plugins.iter().map(entry).collect()
    }

    /// One line of the audit.
    pub(crate) fn audit(&self, cause: &Cause, generation: u64, weakenings: Vec<String>, now: Timestamp) {
        let (at, what, by) = (now.rfc3339(), cause.reason.clone(), cause.by.clone());
        if let Err(error) = self.audit.write(&AuditEntry { at, what, by, generation, weakenings }) {
            tracing::warn!(target: "plugin", %error, "the audit can't be written");
        }
    }

    /// The last lines of the audit.
    pub(crate) fn audited(&self, most: usize) -> Vec<AuditEntry> {
        self.audit.last(most)
    }

    /// Those kept, the newest first.
    pub(crate) fn generations(&self) -> Vec<Value> {
        let serving = self.state.lock().serving.as_ref().map(|generation| generation.number);
        let kept = self.archive.as_ref().map(Archive::generations).unwrap_or_default();
        let shown = |g: &Generation| {
            let digests: BTreeMap<_, _> = g.plugins.iter().map(|(name, v)| (name, v.sha256.as_deref())).collect();
            json!({
                "generation": g.number,
                "since": g.at.rfc3339(),
                "reason": g.reason,
                "by": g.by,
                "serving": serving == Some(g.number),
                "complete": g.is_whole(),
                "taken_back": g.taken_back,
                "plugins": digests,
            })
        };
        kept.iter().map(shown).collect()
    }
}

/// On disk; in memory only where that fails.
fn keep(archive: &Archive, generation: Generation, swap: &Swap) -> (Generation, Option<BTreeSet<[u8; 32]>>) {
    if let Some((before, why)) = &swap.taken_back
        && let Err(error) = archive.take_back(before, why)
    {
        tracing::warn!(target: "plugin", %error, "that a generation was taken back can't be written down");
    }
    if let Err(error) = write_overrides(archive, &swap.overrides) {
        tracing::error!(target: "plugin", %error, "overrides can't be written");
    }
    match archive.keep(generation.clone()) {
        Ok(kept) => (kept, Some(archive.prune(swap.config.host.generations, &swap.overrides))),
        Err(error) => {
            tracing::error!(target: "plugin", %error, generation = generation.number, "a generation can't be kept");
            (generation, None)
        }
    }
}

fn write_overrides(archive: &Archive, overrides: &Overrides) -> std::io::Result<()> {
    if archive.overrides() == *overrides { Ok(()) } else { archive.write_overrides(overrides) }
}
