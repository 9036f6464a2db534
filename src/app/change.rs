//! Changes of the plugins that serve by command, worked out but not made: from what served, what serves and what the
//! configuration says to a set of overrides. Blocking where it looks for components.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::history::{Cause, History, State};
use crate::plugin::{Archive, Candidate, Config, Generation, Override, Overrides, PluginConfig, TrialMode, Version};
use crate::time::Timestamp;

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// An earlier generation; none: the last one before this that was not taken back.
    RollBack(Option<u64>),
    /// The candidate becomes the plugin.
    Promote(Arc<str>),
    /// The candidate goes.
    DropCandidate(Arc<str>),
    /// Another component becomes the candidate.
    Try {
        /// Of this plugin.
        plugin: Arc<str>,
        /// The component.
        file: PathBuf,
        /// What its verdicts count for.
        mode: TrialMode,
        /// Its settings, if not the plugin's.
        config: Option<serde_json::Value>,
    },
}

/// How to get there.
pub(crate) struct Plan {
    /// The settings that will be in force.
    pub(crate) config: Config,
    /// The same, every component from the archive: what an operator has put in place meanwhile was never judged.
    pub(crate) build: Config,
    pub(crate) overrides: Overrides,
    /// Plugins that stay with their last good version.
    pub(crate) last_good: BTreeMap<Arc<str>, String>,
    /// In words.
    pub(crate) reason: String,
    /// The set that is taken back.
    pub(crate) taken_back: Option<Generation>,
}

struct Planner<'a> {
    archive: &'a Archive,
    state: State,
    in_force: &'a Config,
    cause: Cause,
    now: Timestamp,
}

impl History {
    /// Works it out.
    pub(crate) fn plan(
        &self,
        change: Change,
        in_force: &Config,
        cause: Cause,
        now: Timestamp,
    ) -> Result<Plan, Vec<String>> {
        let planner = Planner { archive: self.archive()?, state: self.state(), in_force, cause, now };
        match change {
            Change::RollBack(number) => planner.roll_back(number),
            Change::Promote(name) => planner.promote(&name),
            Change::DropCandidate(name) => planner.drop_candidate(&name),
            Change::Try { plugin, file, mode, config } => planner.put_on_trial(&plugin, file, mode, config),
        }
        .map_err(|why| vec![why])
    }

    /// The generation that a roll-back without a number goes to.
    pub(crate) fn previous(&self) -> Option<Generation> {
        let (archive, state) = (self.archive().ok()?, self.state());
        previous(archive, &state)
    }
}

/// The newest one before the one that serves which does something else, was not taken back, and is all there.
fn previous(archive: &Archive, state: &State) -> Option<Generation> {
    let serving = state.serving.as_ref()?;
    archive
        .generations()
        .into_iter()
        .find(|g| g.number < serving.number && g.is_whole() && g.taken_back.is_none() && !g.is_same(&serving.plugins))
}

impl Planner<'_> {
    fn roll_back(mut self, number: Option<u64>) -> Result<Plan, String> {
        let target = match number {
            None => previous(self.archive, &self.state)
                .ok_or("there is no earlier generation to go back to: `waypost plugin generations` lists those kept")?,
            Some(number) => {
                let kept = self.archive.generations();
                let numbers: Vec<_> = kept.iter().map(|g| g.number.to_string()).collect();
                kept.into_iter()
                    .find(|generation| generation.number == number)
                    .ok_or_else(|| format!("generation {number} is not kept; these are: {}", numbers.join(", ")))?
            }
        };
        if self.state.serving.as_ref().is_some_and(|serving| target.is_same(&serving.plugins)) {
            return Err(format!("generation {} has the very plugins that serve", target.number));
        }
        if let Some((name, _)) = target.plugins.iter().find(|(_, version)| !self.archive.has(version)) {
            return Err(format!(
                "generation {} can't come back: the component of plugin {name} is not kept, or is damaged",
                target.number
            ));
        }
        if self.cause.reason.is_empty() {
            self.cause.reason = format!("roll-back to {}", target.number);
        }
        let names: BTreeSet<Arc<str>> = self.state.entries.keys().chain(target.plugins.keys()).cloned().collect();
        let mut overrides = self.state.overrides.clone();
        let mut changed = BTreeSet::new();
        for name in names.into_iter().chain(self.state.overrides.names()) {
            let (entry, wanted) = (self.state.entries.get(&name), target.plugins.get(&name));
            let serving = self.state.serving.as_ref().and_then(|serving| serving.plugins.get(&name));
            let stays = match (serving, wanted) {
                (Some(serving), Some(wanted)) => serving.is_same(wanted),
                (None, None) => true,
                _ => false,
            };
            if stays {
                continue;
            }
            let as_configured = match (entry, wanted) {
                (Some(entry), Some(wanted)) => entry.is_same(wanted),
                (None, None) => true,
                _ => false,
            };
            if as_configured {
                overrides.0.remove(&name);
            } else {
                overrides.0.insert(name.clone(), self.held(&name, wanted.map(|version| self.kept(version))));
            }
            changed.insert(name);
        }
        let taken_back = self.state.serving.clone();
        Ok(Plan { taken_back, ..self.finish(overrides, &changed) })
    }

    fn promote(mut self, name: &Arc<str>) -> Result<Plan, String> {
        let (serving, candidate) = self.with_candidate(name)?;
        let digest = serving.candidate.clone().ok_or_else(|| format!("the candidate of {name} could not be read"))?;
        let config = PluginConfig {
            config: candidate.config.clone().unwrap_or(serving.config.config.clone()),
            candidate: None,
            ..serving.config.clone()
        };
        let version = self.kept(&Version { config, sha256: Some(digest), candidate: None });
        if !self.archive.has(&version) {
            return Err(format!("the component of {name}'s candidate is not kept: reload, then promote it"));
        }
        self.say(format!("promotion of the candidate of {name}"));
        Ok(self.replace(name, version))
    }

    fn drop_candidate(mut self, name: &Arc<str>) -> Result<Plan, String> {
        let (serving, _) = self.with_candidate(name)?;
        let config = PluginConfig { candidate: None, ..serving.config.clone() };
        let version = self.kept(&Version { config, candidate: None, ..serving });
        self.say(format!("the candidate of {name} dropped"));
        Ok(self.replace(name, version))
    }

    fn put_on_trial(
        mut self,
        name: &Arc<str>,
        file: PathBuf,
        mode: TrialMode,
        config: Option<serde_json::Value>,
    ) -> Result<Plan, String> {
        let serving = self.serving(name)?;
        let digest = self.archive.store(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let candidate = Candidate { path: file, sha256: None, mode, config, promote: None };
        let config = PluginConfig { candidate: Some(candidate), ..serving.config.clone() };
        let version = self.kept(&Version { config, candidate: Some(digest), ..serving });
        self.say(format!("a candidate of {name} on trial"));
        Ok(self.replace(name, version))
    }

    fn say(&mut self, reason: String) {
        if self.cause.reason.is_empty() {
            self.cause.reason = reason;
        }
    }

    fn serving(&self, name: &str) -> Result<Version, String> {
        let version = self.state.serving.as_ref().and_then(|serving| serving.plugins.get(name)).cloned();
        let version = version.ok_or_else(|| format!("there is no plugin {name}"))?;
        match version.sha256 {
            Some(_) => Ok(version),
            None => Err(format!("plugin {name} is not loaded: put it right and reload")),
        }
    }

    fn with_candidate(&self, name: &str) -> Result<(Version, Candidate), String> {
        let version = self.serving(name)?;
        let candidate = version.config.candidate.clone();
        let candidate = candidate.ok_or_else(|| format!("plugin {name} has no candidate"))?;
        Ok((version, candidate))
    }

    /// Served from the archive.
    fn kept(&self, version: &Version) -> Version {
        Version { config: self.archive.pinned(version), ..version.clone() }
    }

    fn held(&self, name: &Arc<str>, serves: Option<Version>) -> Override {
        let entry = self.state.entries.get(name).cloned();
        Override { entry, serves, at: self.now, reason: self.cause.reason.clone(), by: self.cause.by.clone() }
    }

    fn replace(self, name: &Arc<str>, version: Version) -> Plan {
        let mut overrides = self.state.overrides.clone();
        overrides.0.insert(name.clone(), self.held(name, Some(version)));
        self.finish(overrides, &[name.clone()].into())
    }

    fn finish(self, overrides: Overrides, changed: &BTreeSet<Arc<str>>) -> Plan {
        let (mut config, mut build) = (self.in_force.clone(), self.in_force.clone());
        for (name, plugin) in &mut build.plugins {
            if let Some(version) = self.state.serving.as_ref().and_then(|serving| serving.plugins.get(name))
                && self.archive.has(version)
            {
                *plugin = self.archive.pinned(version);
            }
        }
        for name in changed {
            let version = match overrides.0.get(name) {
                Some(held) => held.serves.as_ref(),
                None => self.state.entries.get(name),
            };
            match version {
                Some(version) => {
                    build.plugins.insert(name.clone(), self.archive.pinned(version));
                    config.plugins.insert(name.clone(), version.config.clone());
                }
                None => {
                    build.plugins.remove(name);
                    config.plugins.remove(name);
                }
            }
        }
        let mut last_good = self.state.last_good;
        last_good.retain(|name, _| !changed.contains(name));
        Plan { config, build, overrides, last_good, reason: self.cause.reason, taken_back: None }
    }
}
