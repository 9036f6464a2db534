//! Components on their way into a set, each with its place: those that serve, and the candidates beside them.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::bucket::Bucket;
use super::calls::Plugin;
use super::load::Linked;
use super::role::{Place, Role};
use super::set::{attempt, prepare};
use super::{Candidate, Engine, LoadError, PluginConfig, Problem, Services, TrialMode};

/// Linked, with its bucket.
pub(super) type Prepared = (Arc<Linked>, Option<Arc<Bucket>>);

/// The settings of a candidate: those of the version that serves, but for what it has of its own.
pub(super) fn beside(config: &PluginConfig, candidate: &Candidate) -> PluginConfig {
    let Candidate { path, sha256, config: own, .. } = candidate.clone();
    let own = own.unwrap_or_else(|| config.config.clone());
    PluginConfig { path, sha256, config: own, candidate: None, ..config.clone() }
}

/// Its place.
pub(super) fn place_of(candidate: &Candidate, serving: Place) -> Place {
    let role = match candidate.mode {
        TrialMode::Shadow => Role::Shadow,
        TrialMode::Canary { .. } => Role::Serving,
    };
    Place { role, candidate: true, ..serving }
}

/// One component on its way into a set: read and compiled off the workers.
pub(super) struct Loading {
    pub(super) name: Arc<str>,
    config: PluginConfig,
    place: Place,
    prepared: JoinHandle<Result<Prepared, Problem>>,
}

impl Loading {
    pub(super) fn start(
        engine: &Engine,
        services: &Services,
        name: &Arc<str>,
        config: PluginConfig,
        place: Place,
    ) -> Self {
        let (engine, services) = (engine.clone(), services.clone());
        let (key, wanted) = (name.clone(), config.clone());
        let prepare = move || prepare(&engine, &services, &key, &wanted, place.role);
        Self { name: name.clone(), config, place, prepared: tokio::task::spawn_blocking(prepare) }
    }

    pub(super) async fn finish(self, engine: &Engine, services: &Services) -> Result<(Plugin, Vec<String>), LoadError> {
        let Self { name, config, place, prepared } = self;
        match prepared.await {
            Ok(Ok(prepared)) => attempt(engine, &name, &config, services, place, prepared).await,
            Ok(Err(problem)) => Err(LoadError::of(&name, problem)),
            Err(why) => Err(LoadError::of(&name, Problem::Component(format!("loading it failed: {why}")))),
        }
    }
}
