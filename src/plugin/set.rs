//! [`PluginSet`]: all plugins of one configuration, ordered, immutable, swapped whole on reload.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::asks;
use super::calls::Plugin;
use super::decisions::{Known, Listener};
use super::granted::{Granted, Keys, Role};
use super::load::{self, Linked, hex};
use super::questions::{self, Ask};
use super::{Config, Engine, HostConfig, LoadError, PluginConfig, PluginInfo, PluginMetrics, Problem, Services};
use crate::hooks::{
    Answer, AttemptVerdict, AuthAttempt, AuthVerdict, Binding, BounceVerdict, CallError, Called, Cost, Decision,
    Disposition, Hook, Hooks, Link, MessageVerdict, Outcome, Round, RoutingPhase, RoutingVerdict, SessionVerdict,
    Subject, ask, ask_results, ask_routes,
};
use crate::time::Timestamp;

/// All plugins of one hook together: far below the minutes that a client grants for an answer.
const CHAIN_WALL: Duration = Duration::from_secs(30);

/// What becomes of a set in which a plugin can't be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// It is refused: for reload and check, where the old set goes on.
    Strict,
    /// It serves, and the plugin's failure policy answers for it: for the start, which must not fail.
    Lenient,
}

/// Plugins behind the hooks.
pub struct PluginSet {
    generation: u64,
    listens: u16,
    chains: [Vec<Entry>; Hook::ALL.len()],
    members: Vec<Member>,
    /// Hears what they decide.
    listener: Listener,
}

/// A plugin's place in one chain.
#[derive(Clone)]
struct Entry {
    binding: Binding,
    plugin: Result<Arc<Plugin>, Arc<str>>,
}

struct Member {
    name: Arc<str>,
    order: i32,
    hooks: Vec<Hook>,
    plugin: Result<Arc<Plugin>, Arc<str>>,
    warnings: Vec<String>,
}

impl PluginSet {
    /// A set without plugins.
    pub fn empty(generation: u64) -> Self {
        let listener = Box::new(|_: &Decision<'_>| {});
        Self { generation, listens: 0, chains: Default::default(), members: Vec::new(), listener }
    }

    /// Loads, checks and tries all plugins.
    ///
    /// # Errors
    /// Every plugin's, if the build is strict. A lenient one logs them and has none.
    pub async fn build(
        engine: &Engine,
        config: &Config,
        services: &Services,
        generation: u64,
        build: Build,
    ) -> Result<Self, Vec<LoadError>> {
        // All are read and compiled at the same time, off the workers.
        let loading: Vec<_> = config
            .plugins
            .iter()
            .map(|(name, plugin)| {
                let (engine, services) = (engine.clone(), services.clone());
                let (key, wanted, host) = (name.clone(), plugin.clone(), config.host.clone());
                let load = move || prepare(&engine, &services, &host, &key, &wanted, Role::Serving);
                (name, plugin, tokio::task::spawn_blocking(load))
            })
            .collect();
        let mut set = Self::empty(generation);
        let mut errors = Vec::new();
        for (name, plugin, loaded) in loading {
            let tried = match loaded.await {
                Ok(Ok(prepared)) => attempt(engine, name, prepared, services).await,
                Ok(Err(error)) => Err(error),
                Err(why) => Err(LoadError::of(name, Problem::Component(format!("loading it failed: {why}")))),
            };
            match tried {
                Ok((ready, warnings)) => set.admit(name, plugin, Ok(Arc::new(ready)), warnings, None),
                Err(error) => {
                    let reason: Arc<str> = error.problem.to_string().into();
                    set.admit(name, plugin, Err(reason), Vec::new(), error.hooks.clone());
                    errors.push(error);
                }
            }
        }
        set.order();
        set.listener = services.decisions.listener(set.known());
        if errors.is_empty() {
            return Ok(set);
        }
        if build == Build::Strict {
            return Err(errors);
        }
        for error in &errors {
            tracing::error!(target: "plugin", generation, "{error}; its failure policy answers for it");
        }
        Ok(set)
    }

    fn admit(
        &mut self,
        name: &Arc<str>,
        config: &PluginConfig,
        plugin: Result<Arc<Plugin>, Arc<str>>,
        warnings: Vec<String>,
        known: Option<Vec<Hook>>,
    ) {
        for warning in &warnings {
            tracing::warn!(target: "plugin", plugin = %name, "validate-config: {warning}");
        }
        // Of one that is not loaded the hooks may not be known: then it counts as bound to all of them.
        let exported = match &plugin {
            Ok(plugin) => plugin.linked.compiled.hooks.clone(),
            Err(_) => known.unwrap_or_else(|| Hook::ALL.to_vec()),
        };
        let wanted = |hook: &Hook| config.hooks.as_ref().is_none_or(|hooks| hooks.contains(hook));
        let hooks: Vec<Hook> = exported.into_iter().filter(wanted).collect();
        let version: Arc<str> = match &plugin {
            Ok(plugin) => plugin.shared.version.clone(),
            Err(_) => "-".into(),
        };
        for hook in &hooks {
            let on_failure = config.on_failure_at.get(hook).copied().unwrap_or(config.on_failure);
            let binding = Binding {
                plugin: name.clone(),
                version: version.clone(),
                on_failure,
                mandatory: config.mandatory,
                scope: config.scope.clone(),
            };
            if let Some(chain) = self.chains.get_mut(*hook as usize) {
                chain.push(Entry { binding, plugin: plugin.clone() });
            }
            self.listens |= 1 << (*hook as u16);
        }
        self.members.push(Member { name: name.clone(), order: config.order, hooks, plugin, warnings });
    }

    /// By order, then name. Members came by name, and the sort is stable.
    fn order(&mut self) {
        self.members.sort_by_key(|member| member.order);
        let place: Vec<Arc<str>> = self.members.iter().map(|member| member.name.clone()).collect();
        for chain in &mut self.chains {
            chain.sort_by_key(|entry| place.iter().position(|name| *name == entry.binding.plugin));
        }
    }

    /// All plugins, in the order of chains.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.members.iter().map(|member| self.info(member)).collect()
    }

    fn info(&self, member: &Member) -> PluginInfo {
        let plugin = member.plugin.as_ref().ok();
        let count = |read: &dyn Fn(&Plugin) -> u64| plugin.map_or(0, |plugin| read(plugin));
        PluginInfo {
            name: member.name.to_string(),
            version: plugin.map_or("-".to_owned(), |p| p.shared.version.to_string()),
            state: if plugin.is_some() { "serving" } else { "failed" },
            reason: member.plugin.as_ref().err().map(|reason| reason.to_string()),
            sha256: plugin.map(|p| hex(&p.linked.compiled.digest)),
            hooks: member.hooks.iter().map(|hook| hook.interface()).collect(),
            order: member.order,
            generation: self.generation,
            warnings: member.warnings.clone(),
            calls: count(&|p| p.counters.calls.load(Ordering::Relaxed)),
            failures: plugin.map(|p| p.counters.failures()).unwrap_or_default(),
            instances_made: count(&|p| p.counters.instances.load(Ordering::Relaxed)),
            instances_idle: plugin.map_or(0, |p| p.idle()),
        }
    }

    /// Whose decisions there may be.
    fn known(&self) -> Vec<Known> {
        let loaded = self.members.iter().filter_map(|member| member.plugin.as_ref().ok());
        loaded.map(|p| (p.shared.name.clone(), p.shared.version.clone(), hex(&p.linked.compiled.digest))).collect()
    }

    /// True if every plugin is loaded.
    pub fn is_ready(&self) -> bool {
        self.members.iter().all(|member| member.plugin.is_ok())
    }

    /// Housekeeping, for a timer of about a minute: removes expired kv values and instances that idle. Blocking.
    pub fn sweep(&self, now: Timestamp) {
        let mut swept = BTreeSet::new();
        for plugin in self.members.iter().filter_map(|member| member.plugin.as_ref().ok()) {
            plugin.trim();
            for (keys, _) in plugin.shared.buckets.values() {
                let Keys::Real(bucket) = keys else { continue };
                // A shared one is met once for each who shares it.
                if !swept.insert(bucket.tree()) {
                    continue;
                }
                if let Err(error) = bucket.sweep(now) {
                    tracing::warn!(target: "plugin", bucket = bucket.tree(), %error, "expired kv values stay");
                }
            }
        }
    }

    /// What each plugin counted, in the order of chains. One that is not loaded has none.
    pub fn metrics(&self) -> Vec<PluginMetrics> {
        let loaded = self.members.iter().filter_map(|member| member.plugin.as_ref().ok());
        let counted = loaded.filter_map(|plugin| Some((&plugin.shared.name, plugin.shared.counted.as_ref()?)));
        counted.map(|(name, counted)| counted.snapshot(name)).collect()
    }

    fn links(&self, hook: Hook) -> (Round<'_>, impl Iterator<Item = Link<'_, &Entry>> + Send, Instant) {
        let round = Round { hook, generation: self.generation, listener: &*self.listener };
        let chain = self.chains.get(hook as usize).map_or(&[][..], Vec::as_slice);
        let links = chain.iter().map(|entry| Link { binding: &entry.binding, callee: entry });
        (round, links, Instant::now() + CHAIN_WALL)
    }
}

impl std::fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.members.iter().map(|member| &member.name).collect();
        f.debug_struct("PluginSet").field("generation", &self.generation).field("members", &names).finish()
    }
}

/// A plugin that only has to be tried.
struct Prepared {
    linked: Arc<Linked>,
    /// With what its manifest wishes for.
    config: PluginConfig,
    granted: Granted,
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
    let compiled = load::load(engine, config).map_err(|problem| LoadError::of(name, problem))?;
    let hooks = compiled.hooks.clone();
    let ready = || {
        let config = asks::fit(name, compiled.manifest.as_ref(), config)?;
        let linking = config.grants.linking(&compiled.imports);
        let linked = Arc::new(Linked::of(engine, compiled, linking)?);
        let granted = Granted::open(services, host, name, &config.grants, role)?;
        Ok(Prepared { linked, config, granted })
    };
    ready().map_err(|problem| LoadError { hooks: Some(hooks), ..LoadError::of(name, problem) })
}

/// The rest of it: hooks against the configuration, and the trial.
async fn attempt(
    engine: &Engine,
    name: &Arc<str>,
    Prepared { linked, config, granted }: Prepared,
    services: &Services,
) -> Result<(Plugin, Vec<String>), LoadError> {
    let hooks = linked.compiled.hooks.clone();
    let missing = config.hooks.iter().flatten().find(|hook| !hooks.contains(hook));
    if let Some(missing) = missing {
        let problem = Problem::Contract(format!("`hooks` names {}, which it does not export", missing.interface()));
        return Err(LoadError { hooks: Some(hooks), ..LoadError::of(name, problem) });
    }
    let plugin = Plugin::new(engine, name, &config, linked, services, granted);
    match plugin.trial().await {
        Ok(warnings) => Ok((plugin, warnings)),
        Err(problem) => Err(LoadError { hooks: Some(hooks), ..LoadError::of(name, problem) }),
    }
}

impl Entry {
    async fn put<A: Ask>(
        &self,
        question: impl FnOnce(&Plugin, &Subject) -> Option<A> + Send,
        subject: Subject,
        end: Instant,
    ) -> Called<A::Verdict> {
        let failed = |error| Called { outcome: Err(error), cost: Cost::default() };
        let plugin = match &self.plugin {
            Ok(plugin) => plugin,
            Err(reason) => return failed(CallError::NotLoaded(reason.to_string())),
        };
        match question(plugin, &subject) {
            Some(question) => plugin.call(question, subject, end).await,
            None => failed(CallError::Invalid("asked without its facts".to_owned())),
        }
    }
}

impl Hooks for PluginSet {
    fn listens(&self, hook: Hook) -> bool {
        self.listens & (1 << (hook as u16)) != 0
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn connect(&self, subject: Subject) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Connect);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            entry.put(|_, _| Some(questions::Connect), subject, end)
        }))
    }

    fn helo(&self, subject: Subject, name: Arc<str>) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Helo);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            let name = name.clone();
            entry.put(|_, _| Some(questions::Helo(name)), subject, end)
        }))
    }

    fn auth(&self, subject: Subject, attempt: AuthAttempt) -> Answer<'_, AuthVerdict> {
        let (round, links, end) = self.links(Hook::Auth);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            let attempt = attempt.clone();
            entry.put(move |plugin, _| Some(questions::Auth::of(&attempt, plugin.auth_secrets)), subject, end)
        }))
    }

    fn mail(&self, subject: Subject) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Mail);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            entry.put(|_, subject| Some(questions::Mail::of(subject)), subject, end)
        }))
    }

    fn rcpt(&self, subject: Subject) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Rcpt);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            entry.put(|_, subject| questions::Rcpt::of(subject), subject, end)
        }))
    }

    fn message(&self, subject: Subject) -> Answer<'_, MessageVerdict> {
        let (round, links, end) = self.links(Hook::Message);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            entry.put(|_, _| Some(questions::Message), subject, end)
        }))
    }

    fn route(&self, subject: Subject, phase: RoutingPhase) -> Answer<'_, RoutingVerdict> {
        let (round, links, end) = self.links(Hook::Route);
        Box::pin(ask_routes(round, subject, links, move |entry, subject, open| {
            entry.put(move |_, subject| Some(questions::Route::of(subject, phase, open)), subject, end)
        }))
    }

    fn delivery_attempt(&self, subject: Subject) -> Answer<'_, AttemptVerdict> {
        let (round, links, end) = self.links(Hook::DeliveryAttempt);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            entry.put(|_, _| Some(questions::DeliveryAttempt), subject, end)
        }))
    }

    fn delivery_result(&self, subject: Subject, outcomes: Arc<[Outcome]>) -> Answer<'_, Vec<Disposition>> {
        let (round, links, end) = self.links(Hook::DeliveryResult);
        Box::pin(ask_results(round, subject, links, move |entry, subject| {
            let outcomes = outcomes.clone();
            entry.put(move |_, subject| Some(questions::DeliveryResult::of(subject, &outcomes)), subject, end)
        }))
    }

    fn bounce(&self, subject: Subject, failed: Arc<[Outcome]>) -> Answer<'_, BounceVerdict> {
        let (round, links, end) = self.links(Hook::Bounce);
        Box::pin(ask(round, subject, links, move |entry, subject| {
            let failed = failed.clone();
            entry.put(move |_, subject| Some(questions::Bounce::of(subject, &failed)), subject, end)
        }))
    }
}
