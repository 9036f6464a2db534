//! A plugin's settings together with what its component was: what a generation keeps, and what an override is made for.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::load::{self, hex};
use super::{Candidate, PluginConfig};

/// One plugin as it served, or as the configuration wanted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Its settings.
    pub config: PluginConfig,
    /// Digest of its component, in hex; none: it could not be loaded.
    pub sha256: Option<Arc<str>>,
    /// Digest of its candidate's component, in hex, where it has one.
    pub candidate: Option<Arc<str>>,
}

impl Version {
    /// With what lies at its paths now. Blocking.
    pub fn at_hand(config: &PluginConfig) -> Self {
        Self::of(config, digest_at(&config.path))
    }

    /// With the digest that is known, and what lies at the candidate's path now. Blocking.
    pub fn of(config: &PluginConfig, sha256: Option<Arc<str>>) -> Self {
        let candidate = config.candidate.as_ref().and_then(|candidate| digest_at(&candidate.path));
        Self { config: config.clone(), sha256, candidate }
    }

    /// True where both do the same: wherever their components lie, and whether or not their digests are pinned.
    pub fn is_same(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 && self.candidate == other.candidate && bare(&self.config) == bare(&other.config)
    }

    /// True if nothing of it is unknown: it can be brought back.
    pub fn is_whole(&self) -> bool {
        self.sha256.is_some() && (self.config.candidate.is_none() || self.candidate.is_some())
    }

    /// The digests of its components.
    pub fn digests(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sha256.iter().chain(&self.candidate)
    }
}

/// Without paths and pins.
fn bare(config: &PluginConfig) -> PluginConfig {
    let candidate = config.candidate.as_ref();
    let candidate = candidate.map(|c| Candidate { path: Default::default(), sha256: None, ..c.clone() });
    PluginConfig { path: Default::default(), sha256: None, candidate, ..config.clone() }
}

/// The digest of what lies there; none where it can't be read, which the loader will say.
fn digest_at(path: &Path) -> Option<Arc<str>> {
    let octets = load::read(path).ok()?;
    Some(hex(&load::digest_of(&octets)).into())
}

/// 64 hexadecimal digits as octets.
pub(crate) fn octets(digest: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(digest.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(octets)
}
