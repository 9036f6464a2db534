//! From settings to what the loops use: everything new is built and checked here before anything old is replaced.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;

use super::history::History;
use crate::authres::Authenticator;
use crate::config::Settings;
use crate::hooks::Hooks;
use crate::kit::Scratch;
use crate::listen::{Credentials, Rules, Senders};
use crate::plugin::{
    self, Build, Compiler, Decisions, Engine, Events, LoadError, PluginSet, Problem, Recordings, Replay, Services,
};
use crate::routing::{Hickory, Resolver, Table};
use crate::signing::{Keys, Signing};
use crate::store::{Sled, Spool, Store};
use crate::time::{Clock, System};
use crate::{delivery, tls};

/// What serves now: shared with the loops, replaced by a reload.
pub(crate) struct InForce {
    pub(crate) signing: Signing,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) delivery: Arc<ArcSwap<delivery::Config>>,
    pub(crate) table: Arc<ArcSwap<Table>>,
    pub(crate) hooks: Arc<ArcSwap<Arc<dyn Hooks>>>,
    pub(crate) plugins: ArcSwap<PluginSet>,
    pub(crate) plugin_config: ArcSwap<plugin::Config>,
}

/// Everything new, built and checked.
pub(crate) struct New {
    rules: Rules,
    keys: Keys,
    delivery: delivery::Config,
    table: Table,
    pub(crate) plugins: Arc<PluginSet>,
    plugin_config: plugin::Config,
}

/// Builds what a reload replaces.
pub(crate) struct Builder {
    engine: Engine,
    pub(super) services: Services,
    /// Its keys are replaced by a reload; whoever signs keeps it.
    pub(super) signing: Signing,
}

/// The first set: what serves, with which settings, and why some of it is older than it should be.
pub(crate) struct First {
    pub(crate) in_force: InForce,
    pub(crate) last_good: BTreeMap<Arc<str>, String>,
}

impl Builder {
    /// `compiler`, and `cache`, the folder of compiled code, are as in [`Engine::equipped`]. `events` hears of plugins
    /// that trip or ripen.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        spool: Spool,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
        settings: &Settings,
        (compiler, cache): (Option<Compiler>, Option<&Path>),
        events: Events,
    ) -> anyhow::Result<Self> {
        let engine = Engine::new().context("starting the WebAssembly engine")?;
        let engine = engine.equipped(compiler, cache);
        let listeners = settings.listen.listeners.iter();
        let largest = listeners.map(|l| l.session.max_message_size).max().unwrap_or_default();
        let mut services = Services::new(store, spool, clock, resolver, largest);
        services.events = events;
        Ok(Self { engine, services, signing: Signing::default() })
    }

    /// What plugins decide is recorded as these settings say.
    pub(crate) fn configure(&self, settings: &Settings) {
        self.services.decisions.configure(&settings.plugins.host);
    }

    /// The record of what plugins decide.
    pub(crate) fn decisions(&self) -> &Decisions {
        &self.services.decisions
    }

    /// Calls of plugins that are being written down.
    pub(crate) fn recordings(&self) -> &Recordings {
        &self.services.recordings
    }

    /// Gives plugins the means to authenticate senders, as the host of these settings. Blocking: reads files.
    pub(crate) fn authenticating(mut self, settings: &Settings) -> anyhow::Result<Self> {
        let authenticator = Authenticator::from_system(settings.hostname.clone())?;
        self.services.authenticator = Some(Arc::new(authenticator));
        Ok(self)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The first generation. Where a plugin can't be loaded, the last version of it that could be serves; if there is
    /// none, its failure policy answers. The relay starts.
    pub(crate) async fn start(&self, settings: &Settings, number: u64, history: &History) -> anyhow::Result<First> {
        let mut config = settings.plugins.clone();
        let mut last_good = BTreeMap::new();
        let set = match self.plugins(&config, number, Build::Strict).await {
            Ok(set) => set,
            Err(errors) => {
                // Where only a candidate is bad, the version beside it serves alone.
                for error in errors.into_iter().filter(|e| !matches!(e.problem, Problem::Candidate { .. })) {
                    let Some(name) = error.plugin.clone() else { continue };
                    let Some((generation, good)) = history.last_good(&name) else { continue };
                    tracing::error!(target: "plugin", "{error}; its version of generation {generation} serves instead");
                    last_good.insert(name.clone(), format!("of generation {generation}, because: {}", error.problem));
                    config.plugins.insert(name, good);
                }
                let set = self.plugins(&config, number, Build::Lenient).await;
                let mut set = set.map_err(|errors| anyhow::anyhow!(lines(&errors).join("\n")))?;
                last_good.iter().for_each(|(name, reason)| set.mark_last_good(name, reason.clone()));
                set
            }
        };
        let settings = Settings { plugins: config, ..settings.clone() };
        let new = self.finish(&settings, set).await?;
        let hooks: Arc<dyn Hooks> = new.plugins.clone();
        self.signing.replace(new.keys);
        let in_force = InForce {
            signing: self.signing.clone(),
            rules: Arc::new(ArcSwap::from_pointee(new.rules)),
            delivery: Arc::new(ArcSwap::from_pointee(new.delivery)),
            table: Arc::new(ArcSwap::from_pointee(new.table)),
            hooks: Arc::new(ArcSwap::from_pointee(hooks)),
            plugins: ArcSwap::new(new.plugins),
            plugin_config: ArcSwap::from_pointee(new.plugin_config),
        };
        Ok(First { in_force, last_good })
    }

    /// A later generation: all of it is good, or nothing is built. What did not change is not compiled again.
    pub(crate) async fn next(&self, settings: &Settings, generation: u64) -> Result<New, Vec<String>> {
        let set = self.next_plugins(&settings.plugins, generation).await?;
        self.finish(settings, set).await.map_err(|error| vec![format!("{error:#}")])
    }

    /// Only the plugins of a later generation.
    pub(crate) async fn next_plugins(
        &self,
        config: &plugin::Config,
        generation: u64,
    ) -> Result<PluginSet, Vec<String>> {
        self.plugins(config, generation, Build::Strict).await.map_err(|errors| lines(&errors))
    }

    async fn plugins(
        &self,
        config: &plugin::Config,
        generation: u64,
        build: Build,
    ) -> Result<PluginSet, Vec<LoadError>> {
        PluginSet::build(&self.engine, config, &self.services, generation, build).await
    }

    async fn finish(&self, settings: &Settings, set: PluginSet) -> anyhow::Result<New> {
        let plugins = Arc::new(set);
        let hooks: Arc<dyn Hooks> = plugins.clone();
        let config = settings.listen.clone();
        let signing = settings.signing.clone();
        let read = move || Ok::<_, anyhow::Error>((rules(config, hooks)?, super::keys::load(&signing)?));
        let (rules, keys) = tokio::task::spawn_blocking(read).await??;
        let (mut delivery, table, plugin_config) =
            (settings.delivery.clone(), settings.routing.clone(), settings.plugins.clone());
        delivery.notices.signing = self.signing.clone();
        Ok(New { rules, keys, delivery, table, plugins, plugin_config })
    }
}

impl InForce {
    /// From here on new connections, transactions and attempts use the new set.
    pub(crate) fn replace(&self, new: New) {
        let hooks: Arc<dyn Hooks> = new.plugins.clone();
        self.signing.replace(new.keys);
        self.rules.store(Arc::new(new.rules));
        self.delivery.store(Arc::new(new.delivery));
        self.table.store(Arc::new(new.table));
        self.hooks.store(Arc::new(hooks));
        self.plugins.store(new.plugins);
        self.plugin_config.store(Arc::new(new.plugin_config));
    }

    /// Only the certificates: new handshakes use them, connections that stand go on.
    pub(crate) fn replace_certificates(&self, tls: Arc<tls::Tls>) {
        let rules = self.rules.load();
        self.rules.store(Arc::new(Rules { tls: Some(tls), ..Rules::clone(&rules) }));
    }

    /// The same for a new set of plugins alone: whatever else was configured stays as it is.
    pub(crate) fn replace_plugins(&self, set: PluginSet, config: plugin::Config) {
        let plugins = Arc::new(set);
        let hooks: Arc<dyn Hooks> = plugins.clone();
        let rules = self.rules.load();
        self.rules.store(Arc::new(Rules { hooks: hooks.clone(), ..Rules::clone(&rules) }));
        self.hooks.store(Arc::new(hooks));
        self.plugins.store(plugins);
        self.plugin_config.store(Arc::new(config));
    }
}

/// What receiving needs; reads certificates and credentials from disk.
fn rules(config: crate::listen::Config, hooks: Arc<dyn Hooks>) -> anyhow::Result<Rules> {
    let tls = match &config.tls {
        Some(settings) => Some(Arc::new(tls::Tls::load(settings)?)),
        None => None,
    };
    for text in tls.iter().flat_map(|tls| tls.warnings()) {
        tracing::warn!("{text}");
    }
    let credentials = match &config.credentials {
        Some(path) => {
            let loaded = Credentials::load(path).map_err(|errors| anyhow::anyhow!(lines(&errors).join("\n")))?;
            Some(Arc::new(loaded))
        }
        None => None,
    };
    let senders = match &config.senders {
        Some(path) => {
            let loaded = Senders::load(path).map_err(|errors| anyhow::anyhow!(lines(&errors).join("\n")))?;
            Some(Arc::new(loaded))
        }
        None => None,
    };
    Ok(Rules { config, tls, credentials, senders, hooks })
}

/// Reads the certificates of the settings as a start would; blocking.
///
/// # Errors
/// What is wrong with them. Otherwise what an operator should know, a line each.
pub fn check_certificates(settings: &Settings) -> Result<Vec<String>, String> {
    let of_api = settings.admin.http.iter().filter_map(|http| http.certificate.clone()).map(tls::ServerSettings::of);
    let mut warnings = Vec::new();
    for settings in settings.listen.tls.clone().into_iter().chain(of_api) {
        let tls = tls::Tls::load(&settings).map_err(|error| error.to_string())?;
        warnings.extend_from_slice(tls.warnings());
    }
    Ok(warnings)
}

/// Loads every plugin of the settings as a reload would, against a store of its own; returns what is wrong. `cache`: where
/// compiled code is kept, if it is.
pub async fn check_plugins(settings: &Settings, compiler: Option<Compiler>, cache: Option<&Path>) -> Vec<String> {
    let check = async {
        let folder = Scratch::new()?;
        let folder = folder.path();
        let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.join("db"), 1 << 20)?);
        let spool = Spool::open(folder, 0, store.clone())?;
        let resolver = Arc::new(Hickory::new(&settings.dns).context("setting up the resolver")?);
        let (events, _) = Events::channel();
        let equipment = (compiler, cache);
        let builder = Builder::new(store, spool, Arc::new(System), resolver, settings, equipment, events)?;
        let built = builder.plugins(&settings.plugins, 0, Build::Strict).await;
        drop(builder);
        Ok::<_, anyhow::Error>(built.err().map(|errors| lines(&errors)).unwrap_or_default())
    };
    check.await.unwrap_or_else(|error| vec![format!("{error:#}")])
}

/// Runs the calls of a recording against a component, without a relay; `settings` in place of the recorded ones.
///
/// # Errors
/// When the recording or the component can't be used.
pub async fn replay(recording: &Path, component: &Path, settings: Option<serde_json::Value>) -> anyhow::Result<Replay> {
    let folder = Scratch::new()?;
    let folder = folder.path();
    let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.join("db"), 1 << 20)?);
    let spool = Spool::open(folder, 0, store.clone())?;
    let resolver = Arc::new(Hickory::from_system()?);
    let services = Services::new(store, spool, Arc::new(System), resolver, 0);
    Ok(plugin::replay(&Engine::new()?, &services, recording, component, settings).await?)
}

/// One text for each.
pub(crate) fn lines<E: ToString>(errors: &[E]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
