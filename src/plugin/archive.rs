//! Generations on disk: the last few sets of plugins that served, with their components, so that one can be brought back
//! whatever has become of the operator's files.
//!
//! A generation is one sealed document; a component is kept once, by its digest, and always loaded with that digest as
//! its pin. Copies, not links: a file that is changed in place would change here too. Blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::load::{self, hex};
use super::version::octets;
use super::{Candidate, Overrides, PluginConfig, Version, signature};
use crate::time::Timestamp;

/// One set of plugins that served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// Since when these plugins served.
    pub at: Timestamp,
    /// What made it: `start`, `reload`, `roll-back to 3`…
    pub reason: String,
    /// Who: `uid 0`, `signal`, `automatic`.
    pub by: String,
    /// Why it was taken back, if it was: a roll-back does not choose it by itself.
    pub taken_back: Option<String>,
    /// True if a roll-back made it: what serves in it has served before.
    pub brought_back: bool,
    /// Its plugins.
    pub plugins: BTreeMap<Arc<str>, Version>,
}

impl Generation {
    /// True if every plugin of it can be brought back.
    pub fn is_whole(&self) -> bool {
        self.plugins.values().all(Version::is_whole)
    }

    /// True where both do the same.
    pub fn is_same(&self, plugins: &BTreeMap<Arc<str>, Version>) -> bool {
        let same = |(name, version): (&Arc<str>, &Version)| plugins.get(name).is_some_and(|v| v.is_same(version));
        self.plugins.len() == plugins.len() && self.plugins.iter().all(same)
    }
}

/// The folders.
#[derive(Debug)]
pub struct Archive {
    root: Folder,
    generations: Folder,
    components: Folder,
}

const OVERRIDES: &str = "overrides.json";

impl Archive {
    /// Opens, or makes, what is below the host's folder.
    ///
    /// # Errors
    /// Where the folders can't be had.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Folder::make(path)?,
            generations: Folder::make(&path.join("generations"))?,
            components: Folder::make(&path.join("components"))?,
        })
    }

    /// Those kept, the newest first. What can't be read is left out, and said in the log.
    pub fn generations(&self) -> Vec<Generation> {
        let mut found: Vec<Generation> = self.generations.names().iter().filter_map(|name| self.read(name)).collect();
        found.sort_by_key(|generation| std::cmp::Reverse(generation.number));
        found
    }

    fn read(&self, name: &str) -> Option<Generation> {
        match self.generations.read_sealed::<Generation>(name) {
            Ok(Some(generation)) if document(generation.number) == name => return Some(generation),
            Ok(None) => return None,
            Ok(Some(_)) => {
                tracing::warn!(target: "plugin", file = name, "a generation under another's number: left out")
            }
            Err(error) => tracing::warn!(target: "plugin", file = name, %error, "a generation can't be read: left out"),
        }
        None
    }

    /// Writes one down. It takes the place of the newest one where both do the same: then only its number is new.
    ///
    /// # Errors
    /// Where it or one of its components can't be written.
    pub fn keep(&self, mut generation: Generation) -> io::Result<Generation> {
        for version in generation.plugins.values() {
            self.store_all(version)?;
        }
        let newest = self.generations().into_iter().next();
        let replaced = newest.filter(|newest| newest.is_same(&generation.plugins));
        if let Some(same) = &replaced {
            let Generation { number, plugins, .. } = generation;
            generation = Generation { number, plugins, ..same.clone() };
        }
        self.generations.write_sealed(&document(generation.number), &generation)?;
        if let Some(same) = replaced.filter(|same| same.number != generation.number) {
            self.generations.remove(&document(same.number))?;
        }
        Ok(generation)
    }

    /// Writes down why one was taken back.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn take_back(&self, generation: &Generation, why: &str) -> io::Result<()> {
        let taken = Generation { taken_back: Some(why.to_owned()), ..generation.clone() };
        self.generations.write_sealed(&document(taken.number), &taken)
    }

    /// Removes all but the newest `most` whole generations, and components that none of the others needs. The digests
    /// of those that stay come back.
    pub fn prune(&self, most: usize, overrides: &Overrides) -> BTreeSet<[u8; 32]> {
        let (mut whole, mut newest) = (0, true);
        let mut wanted: BTreeSet<Arc<str>> = overrides.digests().cloned().collect();
        for generation in self.generations() {
            whole += usize::from(generation.is_whole());
            let stays = newest || (generation.is_whole() && whole <= most);
            newest = false;
            if stays {
                wanted.extend(generation.plugins.values().flat_map(Version::digests).cloned());
            } else if let Err(error) = self.generations.remove(&document(generation.number)) {
                tracing::warn!(target: "plugin", %error, "an old generation stays");
            }
        }
        for name in self.components.names() {
            let digest = name.split('.').next().unwrap_or_default();
            if !wanted.contains(digest)
                && let Err(error) = self.components.remove(&name)
            {
                tracing::warn!(target: "plugin", %error, "a component that nobody needs stays");
            }
        }
        wanted.iter().filter_map(|digest| octets(digest)).collect()
    }

    /// Where a component of that digest is kept.
    pub fn component(&self, digest: &str) -> PathBuf {
        self.components.path(&format!("{digest}.wasm"))
    }

    /// True if all its components are there, each what its digest says.
    pub fn has(&self, version: &Version) -> bool {
        version.is_whole() && version.digests().all(|digest| self.holds(digest))
    }

    fn holds(&self, digest: &str) -> bool {
        let read = self.components.read(&format!("{digest}.wasm"), load::SIZE_MAX);
        read.ok().flatten().is_some_and(|octets| hex(&load::digest_of(&octets)) == digest)
    }

    /// The settings with kept components in place of the operator's files.
    pub fn pinned(&self, version: &Version) -> PluginConfig {
        let mut config = version.config.clone();
        if let Some(digest) = version.sha256.as_deref() {
            config.path = self.component(digest);
            config.sha256 = octets(digest);
        }
        if let (Some(candidate), Some(digest)) = (&mut config.candidate, version.candidate.as_deref()) {
            *candidate = Candidate { path: self.component(digest), sha256: octets(digest), ..candidate.clone() };
        }
        config
    }

    /// The newest version of a plugin that can be brought back, and of which generation it is.
    pub fn last_good(&self, plugin: &str) -> Option<(u64, Version)> {
        let kept = self.generations().into_iter().filter(|generation| generation.taken_back.is_none());
        let mut versions = kept.filter_map(|g| g.plugins.get(plugin).cloned().map(|version| (g.number, version)));
        versions.find(|(_, version)| self.has(version))
    }

    /// Copies a component, and its signature, in here; its digest.
    ///
    /// # Errors
    /// Where it can't be read or written.
    pub fn store(&self, path: &Path) -> io::Result<Arc<str>> {
        let octets = load::read(path).map_err(|problem| io::Error::other(problem.to_string()))?;
        let digest: Arc<str> = hex(&load::digest_of(&octets)).into();
        if !self.holds(&digest) {
            self.components.write(&format!("{digest}.wasm"), &[&octets])?;
        }
        let beside = signature::beside(path);
        let here = self.components.path(&format!("{digest}.wasm.sig"));
        if beside != here
            && let Ok(signature) = std::fs::read(&beside)
        {
            self.components.write(&format!("{digest}.wasm.sig"), &[&signature])?;
        }
        Ok(digest)
    }

    fn store_all(&self, version: &Version) -> io::Result<()> {
        let candidate = version.config.candidate.as_ref().map(|c| (&c.path, &version.candidate));
        for (path, digest) in std::iter::once((&version.config.path, &version.sha256)).chain(candidate) {
            let Some(digest) = digest.as_deref() else { continue };
            if self.component(digest) != *path && *self.store(path)? != *digest {
                return Err(io::Error::other(format!("{} was changed while it was loaded", path.display())));
            }
        }
        Ok(())
    }

    /// What serves instead of what the configuration says. What can't be read counts as nothing, and is said in the log.
    pub fn overrides(&self) -> Overrides {
        match self.root.read_sealed(OVERRIDES) {
            Ok(overrides) => overrides.unwrap_or_default(),
            Err(error) => {
                tracing::error!(target: "plugin", %error, "{OVERRIDES} can't be read: the configuration serves as it is");
                Overrides::default()
            }
        }
    }

    /// Writes them down.
    ///
    /// # Errors
    /// Where they can't be written.
    pub fn write_overrides(&self, overrides: &Overrides) -> io::Result<()> {
        self.root.write_sealed(OVERRIDES, overrides)
    }
}

fn document(number: u64) -> String {
    format!("{number}.json")
}
