//! Components on their way into a set, each with its place: those that serve, and the candidates beside them.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::asks;
use super::calls::Plugin;
use super::granted::Granted;
use super::load::{self, Linked};
use super::role::{Place, Role};
use super::{Candidate, Engine, HostConfig, LoadError, PluginConfig, Problem, Services, TrialMode};

/// A plugin that only has to be tried.
pub(super) struct Prepared {
    pub(super) linked: Arc<Linked>,
    /// With what its manifest wishes for.
    pub(super) config: PluginConfig,
    pub(super) granted: Granted,
    /// What is odd about its grants.
    pub(super) warning: Option<String>,
}

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
    place: Place,
    prepared: JoinHandle<Result<Prepared, LoadError>>,
}

impl Loading {
    pub(super) fn start(
        engine: &Engine,
        services: &Services,
        host: &HostConfig,
        name: &Arc<str>,
        config: PluginConfig,
        place: Place,
    ) -> Self {
        let (engine, services) = (engine.clone(), services.clone());
        let (key, host) = (name.clone(), host.clone());
        let prepare = move || prepare(&engine, &services, &host, &key, &config, place.role);
        Self { name: name.clone(), place, prepared: tokio::task::spawn_blocking(prepare) }
    }

    pub(super) async fn finish(self, engine: &Engine, services: &Services) -> Result<(Plugin, Vec<String>), LoadError> {
        let Self { name, place, prepared } = self;
        match prepared.await {
            Ok(Ok(prepared)) => attempt(engine, &name, services, place, prepared).await,
            Ok(Err(error)) => Err(error),
            Err(why) => Err(LoadError::of(&name, Problem::Component(format!("loading it failed: {why}")))),
        }
    }
}

/// The blocking part of loading one plugin.
fn prepare(
    engine: &Engine,
    services: &Services,
    host: &HostConfig,
    name: &Arc<str>,
    config: &PluginConfig,
    role: Role,
) -> Result<Prepared, LoadError> {
    let compiled = load::load(engine, config, host).map_err(|problem| LoadError::of(name, problem))?;
    let hooks = compiled.hooks.clone();
    let ready = || {
        let (config, warning) = asks::fit(name, compiled.manifest.as_ref(), config)?;
        let mut linking = config.grants.linking(&compiled.imports);
        // What others could see of it is denied to a shadow.
        linking.http &= role == Role::Serving;
        let linked = Arc::new(Linked::of(engine, compiled, linking)?);
        let granted = Granted::open(services, host, name, &config.grants, role)?;
        Ok(Prepared { linked, config, granted, warning })
    };
    ready().map_err(|problem| LoadError { hooks: Some(hooks), ..LoadError::of(name, problem) })
}

/// The rest of it: hooks against the configuration, and the trial.
async fn attempt(
    engine: &Engine,
    name: &Arc<str>,
    services: &Services,
    place: Place,
    Prepared { linked, config, granted, warning }: Prepared,
) -> Result<(Plugin, Vec<String>), LoadError> {
    let hooks = linked.compiled.hooks.clone();
    let missing = config.hooks.iter().flatten().find(|hook| !hooks.contains(hook));
    if let Some(missing) = missing {
        let problem = Problem::Contract(format!("`hooks` names {}, which it does not export", missing.interface()));
        return Err(LoadError { hooks: Some(hooks), ..LoadError::of(name, problem) });
    }
    let plugin = Plugin::new(engine, name, &config, linked, services, granted, place);
    match plugin.trial().await {
        Ok(warnings) => Ok((plugin, warning.into_iter().chain(warnings).collect())),
        Err(problem) => Err(LoadError { hooks: Some(hooks), ..LoadError::of(name, problem) }),
    }
}
