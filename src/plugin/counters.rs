//! What the relay tells of a plugin: its state and what its calls came to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::breaker::BreakerInfo;
use super::trial::CandidateInfo;
use crate::hooks::{CallError, Hook};
use crate::pulse::Histogram;

const KINDS: [&str; 8] = ["trap", "cpu", "wall", "guest", "invalid", "busy", "not-loaded", "tripped"];

/// Calls of one plugin in one generation.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub calls: AtomicU64,
    pub instances: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
    by_hook: [OfHook; Hook::ALL.len()],
}

/// Calls at one hook.
#[derive(Debug, Default)]
struct OfHook {
    wall: Histogram,
    cpu_us: AtomicU64,
    failures: AtomicU64,
}

/// What calls at one hook came to, in this generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookInfo {
    /// `on-rcpt`.
    pub hook: &'static str,
    /// Made.
    pub calls: u64,
    /// Failed.
    pub failures: u64,
    /// Microseconds that passed in all.
    pub wall_us: u64,
    /// Microseconds of CPU in all.
    pub cpu_us: u64,
    /// How many took how long: counts for the bounds of the relay's histograms.
    pub buckets: Vec<u64>,
}

impl Counters {
    pub(crate) fn failed(&self, error: &CallError) {
        let at = KINDS.iter().position(|kind| *kind == error.kind());
        if let Some(counter) = at.and_then(|at| self.failures.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call at a hook took so long.
    pub(crate) fn took(&self, hook: Hook, wall: Duration, cpu: Duration, failed: bool) {
        let at = Hook::ALL.iter().position(|known| *known == hook);
        let Some(of) = at.and_then(|at| self.by_hook.get(at)) else { return };
        of.wall.observe(wall);
        of.cpu_us.fetch_add(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        of.failures.fetch_add(failed.into(), Ordering::Relaxed);
    }

    /// Of hooks that it was asked at.
    pub(crate) fn by_hook(&self) -> Vec<HookInfo> {
        let info = |(hook, of): (&Hook, &OfHook)| {
            let buckets = of.wall.counts();
            let calls = buckets.iter().sum();
            let (failures, cpu_us) = (of.failures.load(Ordering::Relaxed), of.cpu_us.load(Ordering::Relaxed));
            HookInfo { hook: hook.interface(), calls, failures, wall_us: of.wall.sum_us(), cpu_us, buckets }
        };
        Hook::ALL.iter().zip(&self.by_hook).map(info).filter(|info| info.calls > 0).collect()
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
    /// The same by hook, with how long they took.
    pub by_hook: Vec<HookInfo>,
    /// How its breaker stands; none: it has none.
    pub breaker: Option<BreakerInfo>,
    /// The version on trial beside it.
    pub candidate: Option<CandidateInfo>,
    /// Instances made in this generation.
    pub instances_made: u64,
    /// Warm instances waiting.
    pub instances_idle: usize,
}
