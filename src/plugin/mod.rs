//! The plugin host: components in wasmtime behind the hooks.
//!
//! [`PluginSet::build`] loads what the operator wrote into one immutable set, which answers [`crate::hooks::Hooks`].
//! Each call runs in a store of its own plugin, under a CPU budget counted in epochs, a wall budget and a memory cap;
//! whatever goes wrong becomes a [`crate::hooks::CallError`], and the store is thrown away.
//!
//! The only rooms that name wasmtime. May import `mail`, `smtp`, `hooks`, `time`, `store` (kv, bodies) and
//! `routing` (the resolver); must never
//! let a guest's fault reach anything but its own verdict.

mod address;
mod asks;
mod bindings;
mod bucket;
mod calls;
mod config;
mod convert;
mod counters;
mod decisions;
mod edits;
mod engine;
mod events;
mod granted;
mod grants;
mod host;
mod inspect;
mod instance;
mod load;
mod manifest;
mod meter;
mod metrics;
mod questions;
mod rates;
mod recording;
mod schema;
mod scratch;
mod set;
mod state;
mod tape;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ticker;
mod verdicts;

use std::sync::Arc;

pub use config::{
    BreakerConfig, Budget, Candidate, CompileConfig, Config, DecisionsConfig, HostConfig, Instances, Limits,
    PluginConfig, Promotion, TrialMode,
};
pub use counters::PluginInfo;
pub use decisions::{Decisions, DecisionsInfo, Found, Query};
pub use engine::{Engine, EngineError};
pub use events::{Event, Events};
pub use grants::{Access, DnsGrant, Grants, HttpGrant, KvQuota};
pub use inspect::{Inspection, inspect};
pub use load::{LoadError, Problem};
pub use metrics::{Bucket, Counter, Histogram, PluginMetrics};
pub use recording::{Difference, Part, RecordingError, RecordingInfo, Recordings, Replay, ReplayError, replay};
pub use set::{Build, PluginSet};

use crate::routing::Resolver;
use crate::store::{Spool, Store};
use crate::time::Clock;

/// What the host functions need of the relay. Cheap to clone; make one per relay, not one per generation.
#[derive(Clone)]
pub struct Services {
    /// For kv.
    pub store: Arc<dyn Store>,
    /// For replaced bodies.
    pub spool: Spool,
    /// For `system.now`, expiry and the log's rate.
    pub clock: Arc<dyn Clock>,
    /// For dns.
    pub resolver: Arc<dyn Resolver>,
    /// Octets of the largest body a plugin may write.
    pub message_max: u64,
    /// Hears when something is to be done about a generation.
    pub events: Events,
    /// Hears what plugins decide.
    pub decisions: Decisions,
    /// Calls that are being written down.
    pub recordings: Recordings,
    buckets: Arc<bucket::Buckets>,
    rates: Arc<rates::Registry>,
    metrics: Arc<metrics::Registry>,
}

impl Services {
    /// With nothing counted yet, and nobody to hear of events or decisions.
    pub fn new(
        store: Arc<dyn Store>,
        spool: Spool,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
        message_max: u64,
    ) -> Self {
        let (events, _) = Events::channel();
        let (buckets, rates, metrics) = Default::default();
        let (decisions, recordings) = (Decisions::new(clock.clone()), Recordings::default());
        Self { store, spool, clock, resolver, message_max, events, decisions, recordings, buckets, rates, metrics }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("message_max", &self.message_max).finish_non_exhaustive()
    }
}
