//! The plugin host: components in wasmtime behind the hooks.
//!
//! [`PluginSet::build`] loads what the operator wrote into one immutable set, which answers [`crate::hooks::Hooks`].
//! Each call runs in a store of its own plugin, under a CPU budget counted in epochs, a wall budget and a memory cap;
//! whatever goes wrong becomes a [`crate::hooks::CallError`], and the store is thrown away.
//!
//! The only rooms that name wasmtime. May import `mail`, `smtp`, `hooks`, `time`, `authres`, `store` (kv, bodies), `routing`
//! (the resolver) and `tls` (how a server proves its name); must never let a guest's fault reach anything but its own verdict.

mod address;
mod archive;
mod asks;
mod audit;
mod bindings;
mod breaker;
mod bucket;
mod cache;
mod calls;
mod compiler;
mod config;
mod convert;
mod counters;
mod decisions;
mod difference;
mod edits;
mod engine;
mod entry;
mod events;
mod folder;
mod granted;
mod grants;
mod host;
mod inspect;
mod instance;
mod load;
mod loading;
mod manifest;
mod meter;
mod metrics;
mod new_body;
mod outgoing;
mod overrides;
mod questions;
mod rates;
mod recording;
mod rehearsal;
mod role;
mod schema;
mod scratch;
mod set;
mod signature;
mod state;
mod tape;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ticker;
mod trial;
mod turns;
mod verdicts;
mod version;
mod wasi;
mod weaken;
mod workshop;

use std::sync::Arc;

pub use archive::{Archive, Generation};
pub use asks::grant_lines;
pub use audit::{Audit, AuditEntry};
pub use breaker::BreakerInfo;
pub use compiler::{COMMAND as COMPILE_COMMAND, Compiler, serve as compile_for_relay};
pub use config::{
    BreakerConfig, Budget, Candidate, CompileConfig, Config, DecisionsConfig, HostConfig, Instances, Limits,
    PluginConfig, Promotion, TrialMode,
};
pub use counters::PluginInfo;
pub use decisions::{Decisions, DecisionsInfo, Found, Query};
pub use difference::Difference as TrialDifference;
pub use engine::{Engine, EngineError};
pub use events::{Event, Events};
pub use grants::{Access, DnsGrant, Grants, HttpGrant, KvQuota};
pub use inspect::{Inspection, Outline, inspect, outline};
pub use load::{LoadError, Problem};
pub use metrics::{Bucket, Counter, Histogram, PluginMetrics};
pub use overrides::{Laid, Override, Overrides};
pub use recording::{Difference, Part, RecordingError, RecordingInfo, Recordings, Replay, ReplayError, replay};
pub use rehearsal::{Line, Lines, Question, Rehearsed, Said, Web, WebAnswer, WebFault};
pub use set::{Build, PluginSet};
pub use signature::{keygen, sign, verify};
pub use trial::{CandidateInfo, HookTally, TrialReport};
pub use version::Version;
pub use weaken::{Side, weakenings};

use crate::authres::Authenticator;
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
    /// For dns, and for the servers that plugins ask.
    pub resolver: Arc<dyn Resolver>,
    /// Octets of the largest body a plugin may write.
    pub message_max: u64,
    /// Hears when something is to be done about a generation.
    pub events: Events,
    /// For `auth-results`; none where there is no mail to authenticate.
    pub authenticator: Option<Arc<Authenticator>>,
    /// Hears what plugins decide.
    pub decisions: Decisions,
    /// Calls that are being written down.
    pub recordings: Recordings,
    /// Servers that are made up, in place of the network.
    web: Option<Arc<dyn Web>>,
    /// Hears what plugins write.
    lines: Option<Lines>,
    buckets: Arc<bucket::Buckets>,
    rates: Arc<rates::Registry>,
    metrics: Arc<metrics::Registry>,
    roots: Arc<outgoing::Roots>,
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
        let (buckets, rates, metrics, roots) = Default::default();
        let (authenticator, web, lines) = (None, None, None);
        let (decisions, recordings) = (Decisions::new(clock.clone()), Recordings::default());
        Self {
            store,
            spool,
            clock,
            resolver,
            message_max,
            events,
            authenticator,
            decisions,
            recordings,
            web,
            lines,
            buckets,
            rates,
            metrics,
            roots,
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("message_max", &self.message_max).finish_non_exhaustive()
    }
}
