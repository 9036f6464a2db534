//! What the relay tells of a plugin: its state and what its calls came to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::breaker::BreakerInfo;
use super::trial::CandidateInfo;
use crate::hooks::CallError;

const KINDS: [&str; 8] = ["trap", "cpu", "wall", "guest", "invalid", "busy", "not-loaded", "tripped"];

/// Calls of one plugin in one generation.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub calls: AtomicU64,
    pub instances: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
}

impl Counters {
    pub(crate) fn failed(&self, error: &CallError) {
        let at = KINDS.iter().position(|kind| *kind == error.kind());
        if let Some(counter) = at.and_then(|at| self.failures.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        let counted = KINDS.iter().zip(&self.failures).map(|(kind, n)| (*kind, n.load(Ordering::Relaxed)));
        counted.filter(|(_, n)| *n > 0).collect()
    }
}

/// A plugin as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginInfo {
    /// `[plugins.NAME]`.
    pub name: String,
    /// From its manifest, else the start of its digest.
    pub version: String,
    /// `serving`; `last-good` if it could not be loaded as configured and an older version serves; `failed` if there is
    /// none, `tripped` if it is left alone for a while because it kept failing: then its failure policy answers for it.
    pub state: &'static str,
    /// What its answers count for: `serving`. Of a candidate: see there.
    pub mode: &'static str,
    /// Why it could not be loaded as configured.
    pub reason: Option<String>,
    /// Digest of the component, in hex.
    pub sha256: Option<String>,
    /// Hooks at which it is asked.
    pub hooks: Vec<&'static str>,
    /// Its place in chains.
    pub order: i32,
    /// Which set it belongs to.
    pub generation: u64,
    /// Warnings it gave about its configuration.
    pub warnings: Vec<String>,
    /// Calls in this generation.
    pub calls: u64,
    /// Calls that failed, by kind; `tripped` are those that were not made because of the others.
    pub failures: BTreeMap<&'static str, u64>,
    /// How its breaker stands; none: it has none.
    pub breaker: Option<BreakerInfo>,
    /// The version on trial beside it.
    pub candidate: Option<CandidateInfo>,
    /// Instances made in this generation.
    pub instances_made: u64,
    /// Warm instances waiting.
    pub instances_idle: usize,
}
