//! [`PluginSet`]: all plugins of one configuration, ordered, immutable, swapped whole on reload.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::calls::Plugin;
use super::decisions::Listener;
use super::entry::{Callee, Entry, OnTrial};
use super::granted::Keys;
use super::load::hex;
use super::loading::{Loading, beside, place_of};
use super::questions;
use super::role::{Place, Role};
use super::trial::{CandidateInfo, Trial, TrialReport, lot};
use super::{
    Candidate, Config, Engine, LoadError, PluginConfig, PluginInfo, PluginMetrics, Problem, Services, TrialMode,
};
use crate::hooks::{
    Answer, AttemptVerdict, AuthAttempt, AuthVerdict, Binding, BounceVerdict, Decision, Disposition, Hook, Hooks, Link,
    MessageVerdict, Outcome, Round, RoutingPhase, RoutingVerdict, SessionVerdict, Subject, ask, ask_results,
    ask_routes,
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
    /// Somebody may accept what the relay's own rule refuses.
    authorizes: bool,
    /// Somebody is shown the secrets that clients offer.
    sees_secrets: bool,
    /// Some candidate is asked instead of the version that serves.
    canaries: bool,
    chains: [Vec<Entry>; Hook::ALL.len()],
    members: Vec<Member>,
    /// Hears what they decide.
    listener: Listener,
}

struct Member {
    name: Arc<str>,
    order: i32,
    hooks: Vec<Hook>,
    plugin: Result<Arc<Plugin>, Arc<str>>,
    warnings: Vec<String>,
    trial: Option<Tried>,
    /// Why it is an older version that serves; none: it is the one that was asked for.
    last_good: Option<String>,
}

/// A candidate, or why it is not loaded and the other version goes on alone.
type Tried = Result<Arc<Trial>, CandidateInfo>;

impl PluginSet {
    /// A set without plugins.
    pub fn empty(generation: u64) -> Self {
        Self {
            generation,
            listens: 0,
            authorizes: false,
            sees_secrets: false,
            canaries: false,
            chains: Default::default(),
            members: Vec::new(),
            listener: Box::new(|_: &Decision<'_>| {}),
        }
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
        let host = &config.host;
        let serving = Place { generation, role: Role::Serving, candidate: false };
        let loading: Vec<_> = config
            .plugins
            .iter()
            .map(|(name, plugin)| {
                let candidate = plugin.candidate.as_ref().map(|candidate| {
                    let loading = {
                        let (config, place) = (beside(plugin, candidate), place_of(candidate, serving));
                        Loading::start(engine, services, host, name, config, place)
                    };
                    (candidate, loading)
                });
                (plugin, Loading::start(engine, services, host, name, plugin.clone(), serving), candidate)
            })
            .collect();
        let mut set = Self::empty(generation);
        let (mut errors, mut candidates) = (Vec::new(), Vec::new());
        for (plugin, loading, candidate) in loading {
            let name = loading.name.clone();
            match loading.finish(engine, services).await {
                Ok((ready, warnings)) => set.admit(&name, plugin, Ok(Arc::new(ready)), warnings, None),
                Err(error) => {
                    let reason: Arc<str> = error.problem.to_string().into();
                    set.admit(&name, plugin, Err(reason), Vec::new(), error.hooks.clone());
                    errors.push(error);
                }
            }
            if let Some((candidate, loading)) = candidate {
                let tried = loading.finish(engine, services).await;
                candidates.extend(set.admit_candidate(candidate, tried));
            }
        }
        set.order();
        set.listener = services.decisions.listener();
        if build == Build::Strict {
            errors.append(&mut candidates);
            return if errors.is_empty() { Ok(set) } else { Err(errors) };
        }
        for error in &candidates {
            tracing::error!(target: "plugin", generation, "{error}; the version that serves goes on alone");
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
        let digest: Arc<str> = plugin.as_ref().map_or("".into(), |p| hex(&p.linked.compiled.digest).into());
        // As it was given: what its manifest does not ask for is not.
        let relay = plugin.as_ref().map_or(config.grants.relay, |p| p.shared.grants.relay);
        let shown = plugin.as_ref().map_or(config.grants.auth_secrets, |p| p.shared.grants.auth_secrets);
        for hook in &hooks {
            let on_failure = config.on_failure_at.get(hook).copied().unwrap_or(config.on_failure);
            let binding = Binding {
                plugin: name.clone(),
                version: version.clone(),
                digest: digest.clone(),
                on_failure,
                mandatory: config.mandatory,
                scope: config.scope.clone(),
                relay,
            };
            if let Some(chain) = self.chains.get_mut(*hook as usize) {
                chain.push(Entry { binding, plugin: plugin.clone(), trial: None });
            }
            self.listens |= 1 << (*hook as u16);
            // Not loaded as well: its failure policy then answers for it, and a sender comes back.
            self.authorizes |= relay && *hook == Hook::Rcpt;
            self.sees_secrets |= shown && *hook == Hook::Auth;
        }
        let trial = None;
        self.members.push(Member {
            name: name.clone(),
            order: config.order,
            hooks,
            plugin,
            warnings,
            trial,
            last_good: None,
        });
    }

    /// Puts the candidate of the plugin admitted last beside it, at the hooks that both have. What is wrong with it comes
    /// back, and is remembered.
    fn admit_candidate(
        &mut self,
        config: &Candidate,
        tried: Result<(Plugin, Vec<String>), LoadError>,
    ) -> Option<LoadError> {
        let member = self.members.last_mut()?;
        let (candidate, warnings) = match tried {
            Ok(tried) => tried,
            Err(LoadError { plugin, problem, .. }) => {
                let problem = Problem::Candidate { plugin: member.name.clone(), problem: Box::new(problem) };
                member.trial = Some(Err(CandidateInfo::failed(config.mode, &problem.to_string())));
                return Some(LoadError { plugin, problem, hooks: None });
            }
        };
        let hooks = candidate.linked.compiled.hooks.clone();
        let digest: Arc<str> = hex(&candidate.linked.compiled.digest).into();
        let only = |here: &[Hook], there: &[Hook], whose: &str| {
            let hooks = here.iter().filter(|hook| !there.contains(hook)).map(|hook| hook.interface());
            let hooks: Vec<_> = hooks.collect();
            (!hooks.is_empty()).then(|| format!("only {whose} has {}: not on trial there", hooks.join(", ")))
        };
        let differing =
            [only(&hooks, &member.hooks, "the candidate"), only(&member.hooks, &hooks, "the version that serves")];
        for warning in warnings.into_iter().chain(differing.into_iter().flatten()) {
            tracing::warn!(target: "plugin", plugin = %member.name, candidate = true, "{warning}");
            member.warnings.push(format!("candidate: {warning}"));
        }
        let trial = Arc::new(Trial::new(candidate, config.mode, config.promote));
        for hook in hooks {
            let chain = self.chains.get_mut(hook as usize);
            let entry = chain.and_then(|chain| chain.last_mut()).filter(|entry| entry.binding.plugin == member.name);
            // Beside one that is not loaded there is nothing to be compared with.
            if let Some(entry) = entry.filter(|entry| entry.plugin.is_ok()) {
                let (version, digest) = (trial.candidate.shared.version.clone(), digest.clone());
                let relay = entry.binding.relay && trial.candidate.shared.grants.relay;
                let binding = Binding { version, digest, relay, ..entry.binding.clone() };
                entry.trial = Some(OnTrial { binding, trial: trial.clone() });
                self.canaries |= matches!(config.mode, TrialMode::Canary { .. });
            }
        }
        member.trial = Some(Ok(trial));
        None
    }

    /// By order, then name. Members came by name, and the sort is stable.
    fn order(&mut self) {
        self.members.sort_by_key(|member| member.order);
        let place: Vec<Arc<str>> = self.members.iter().map(|member| member.name.clone()).collect();
        for chain in &mut self.chains {
            chain.sort_by_key(|entry| place.iter().position(|name| *name == entry.binding.plugin));
        }
    }

    /// Says that a plugin is of the last good generation, because of what `reason` says of the newest.
    pub fn mark_last_good(&mut self, name: &str, reason: String) {
        if let Some(member) = self.members.iter_mut().find(|member| &*member.name == name) {
            member.last_good = Some(reason);
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
            state: match (plugin, &member.last_good) {
                (None, _) => "failed",
                (Some(plugin), _) if plugin.is_tripped() => "tripped",
                (Some(_), None) => "serving",
                (Some(_), Some(_)) => "last-good",
            },
            mode: "serving",
            reason: member.plugin.as_ref().err().map(|reason| reason.to_string()).or(member.last_good.clone()),
            sha256: plugin.map(|p| hex(&p.linked.compiled.digest)),
            hooks: member.hooks.iter().map(|hook| hook.interface()).collect(),
            order: member.order,
            generation: self.generation,
            warnings: member.warnings.clone(),
            calls: count(&|p| p.counters.calls.load(Ordering::Relaxed)),
            failures: plugin.map(|p| p.counters.failures()).unwrap_or_default(),
            by_hook: plugin.map(|p| p.counters.by_hook()).unwrap_or_default(),
            breaker: plugin.and_then(|p| p.breaker_info()),
            candidate: member.trial.as_ref().map(|tried| match tried {
                Ok(trial) => trial.info(),
                Err(info) => info.clone(),
            }),
            instances_made: count(&|p| p.counters.instances.load(Ordering::Relaxed)),
            instances_idle: plugin.map_or(0, |p| p.idle()),
        }
    }

    /// What the trial of a plugin's candidate has come to so far.
    ///
    /// # Errors
    /// When there is none.
    pub fn trial(&self, name: &str) -> Result<TrialReport, String> {
        let member = self.members.iter().find(|member| &*member.name == name);
        let member = member.ok_or_else(|| format!("there is no plugin {name}"))?;
        match (&member.plugin, &member.trial) {
            (Ok(live), Some(Ok(trial))) => Ok(trial.report(live)),
            (_, Some(Err(info))) => Err(info.reason.clone().unwrap_or_default()),
            (Err(reason), Some(Ok(_))) => Err(format!("plugin {name} is not loaded itself: {reason}")),
            (_, None) => Err(format!("plugin {name} has no candidate: configure one in [plugins.{name}.candidate]")),
        }
    }

    /// True if every plugin is loaded.
    pub fn is_ready(&self) -> bool {
        self.members.iter().all(|member| member.plugin.is_ok())
    }

    /// Housekeeping, for a timer of about a minute: removes expired kv values and instances that idle. Blocking.
    pub fn sweep(&self, now: Timestamp) {
        let candidates = self.members.iter().filter_map(|member| member.trial.as_ref()?.as_ref().ok());
        candidates.for_each(|trial| trial.candidate.trim());
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

    pub(super) fn loaded(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.members.iter().find(|member| &*member.name == name)?.plugin.as_ref().ok()
    }

    pub(super) fn set_listener(&mut self, listener: Listener) {
        self.listener = listener;
    }

    fn links<'a>(
        &'a self,
        hook: Hook,
        subject: &Subject,
    ) -> (Round<'a>, impl Iterator<Item = Link<'a, Callee<'a>>> + Send + use<'a>, Instant) {
        let round = Round { hook, generation: self.generation, listener: &*self.listener };
        let chain = self.chains.get(hook as usize).map_or(&[][..], Vec::as_slice);
        let lot = self.canaries.then(|| lot(subject));
        let links = chain.iter().map(move |entry| entry.link(lot));
        (round, links, Instant::now() + CHAIN_WALL)
    }
}

impl std::fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.members.iter().map(|member| &member.name).collect();
        f.debug_struct("PluginSet").field("generation", &self.generation).field("members", &names).finish()
    }
}

impl Hooks for PluginSet {
    fn listens(&self, hook: Hook) -> bool {
        self.listens & (1 << (hook as u16)) != 0
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn may_authorize(&self) -> bool {
        self.authorizes
    }

    fn sees_secrets(&self) -> bool {
        self.sees_secrets
    }

    fn connect(&self, subject: Subject) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Connect, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            callee.put(|_, _| Some(questions::Connect), subject, end)
        }))
    }

    fn helo(&self, subject: Subject, name: Arc<str>) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Helo, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            let name = name.clone();
            callee.put(|_, _| Some(questions::Helo(name)), subject, end)
        }))
    }

    fn auth(&self, subject: Subject, attempt: AuthAttempt) -> Answer<'_, AuthVerdict> {
        let (round, links, end) = self.links(Hook::Auth, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            let attempt = attempt.clone();
            callee.put(move |plugin, _| Some(questions::Auth::of(&attempt, plugin.auth_secrets)), subject, end)
        }))
    }

    fn mail(&self, subject: Subject) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Mail, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            callee.put(|_, subject| Some(questions::Mail::of(subject)), subject, end)
        }))
    }

    fn rcpt(&self, subject: Subject) -> Answer<'_, SessionVerdict> {
        let (round, links, end) = self.links(Hook::Rcpt, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            callee.put(|_, subject| questions::Rcpt::of(subject), subject, end)
        }))
    }

    fn message(&self, subject: Subject) -> Answer<'_, MessageVerdict> {
        let (round, links, end) = self.links(Hook::Message, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            callee.put(|_, _| Some(questions::Message), subject, end)
        }))
    }

    fn route(&self, subject: Subject, phase: RoutingPhase) -> Answer<'_, RoutingVerdict> {
        let (round, links, end) = self.links(Hook::Route, &subject);
        Box::pin(ask_routes(round, subject, links, move |callee, subject, open| {
            callee.put(move |_, subject| Some(questions::Route::of(subject, phase, open)), subject, end)
        }))
    }

    fn delivery_attempt(&self, subject: Subject) -> Answer<'_, AttemptVerdict> {
        let (round, links, end) = self.links(Hook::DeliveryAttempt, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            callee.put(|_, _| Some(questions::DeliveryAttempt), subject, end)
        }))
    }

    fn delivery_result(&self, subject: Subject, outcomes: Arc<[Outcome]>) -> Answer<'_, Vec<Disposition>> {
        let (round, links, end) = self.links(Hook::DeliveryResult, &subject);
        Box::pin(ask_results(round, subject, links, move |callee, subject| {
            let outcomes = outcomes.clone();
            callee.put(move |_, subject| Some(questions::DeliveryResult::of(subject, &outcomes)), subject, end)
        }))
    }

    fn bounce(&self, subject: Subject, failed: Arc<[Outcome]>) -> Answer<'_, BounceVerdict> {
        let (round, links, end) = self.links(Hook::Bounce, &subject);
        Box::pin(ask(round, subject, links, move |callee, subject| {
            let failed = failed.clone();
            callee.put(move |_, subject| Some(questions::Bounce::of(subject, &failed)), subject, end)
        }))
    }
}
