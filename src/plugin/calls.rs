//! One plugin of one generation: its warm instances, its slots, and one call from begin to end.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::breaker::{Breaker, BreakerInfo, Pass, Turn};
use super::counters::Counters;
use super::engine::MEMORY_MAX;
use super::granted::{Granted, Keys, Secrets};
use super::host::LogBudget;
use super::instance::{LOAD_CPU, Live, failure, guest, plain};
use super::load::{Linked, Problem};
use super::meter::Meter;
use super::metrics::Counted;
use super::outgoing::Policy;
use super::questions::Ask;
use super::rates::Rates;
use super::recording::PluginFacts;
use super::role::{Place, Role};
use super::tape::Tape;
use super::turns::Turns;
use super::{Access, Budget, Engine, Event, Grants, Instances, Limits, PluginConfig, Services, manifest};
use crate::hooks::{CallError, Called, Hook, Journal, Subject};

/// Calls after which an instance is not used again: what a guest leaks has an end.
const CALLS_MAX: u32 = 10_000;

/// How long a call waits for a slot.
const SLOT_WAIT: Duration = Duration::from_secs(1);

/// Wall time of a trial at load.
const LOAD_WALL: Duration = Duration::from_secs(10);

/// What all instances of a plugin share.
pub(crate) struct Shared {
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub config: serde_json::Value,
    pub services: Services,
    pub grants: Grants,
    /// By the names it calls them by.
    pub buckets: BTreeMap<Arc<str>, (Keys, Access)>,
    pub secrets: Secrets,
    pub rates: Arc<Rates>,
    /// What its manifest lets it count.
    pub declared: manifest::Metrics,
    /// None: nothing of it counts.
    pub counted: Option<Arc<Counted>>,
    pub limits: Limits,
    pub budgets: [Budget; Hook::ALL.len()],
    /// What it may ask of servers over HTTP.
    pub http: Option<Arc<Policy>>,
    pub log: Mutex<LogBudget>,
    /// Whose turn it is, of calls that compute for long.
    pub turns: Arc<Turns>,
    pub message_max: u64,
    /// Octets of linear memory of one instance.
    pub memory: usize,
    /// Where it stands.
    pub place: Place,
}

impl Shared {
    fn new(
        name: &Arc<str>,
        config: &PluginConfig,
        linked: &Linked,
        services: &Services,
        granted: Granted,
        place: Place,
    ) -> Self {
        let Granted { role, buckets, secrets } = granted;
        let rates = services.rates.of(name);
        // A candidate that is only tried must not be heard of outside.
        let http = config.grants.http.as_ref().filter(|_| role == Role::Serving);
        let (rates, counted) = match role {
            Role::Serving => (rates, Some(services.metrics.of(name))),
            Role::Shadow => (Arc::new(Rates::over(rates)), None),
        };
        Self {
            name: name.clone(),
            version: linked.compiled.version().into(),
            config: config.config.clone(),
            grants: config.grants.clone(),
            http: http.map(|grant| Arc::new(Policy::of(grant))),
            buckets,
            secrets,
            rates,
            declared: linked.compiled.manifest.as_ref().map(|m| m.metrics.clone()).unwrap_or_default(),
            counted,
            limits: config.limits,
            budgets: Hook::ALL.map(|hook| config.budgets.get(&hook).copied().unwrap_or(Budget::of(hook))),
            log: Mutex::new(LogBudget::new(services.clock.now())),
            turns: Turns::new(),
            message_max: services.message_max.min(i32::MAX as u64),
            memory: config.memory.unwrap_or(PluginConfig::MEMORY).min(MEMORY_MAX),
            services: services.clone(),
            place,
        }
    }

    pub(crate) fn budget(&self, hook: Hook) -> Budget {
        self.budgets.get(hook as usize).copied().unwrap_or(Budget::of(hook))
    }

    /// A guest's words as they may stand in a log or a listing.
    pub(crate) fn plain(&self, text: &str) -> String {
        plain(&self.secrets.redact(text))
    }
}

/// One plugin of one generation.
pub(crate) struct Plugin {
    pub shared: Arc<Shared>,
    pub linked: Arc<Linked>,
    pub counters: Counters,
    pub auth_secrets: bool,
    breaker: Option<Breaker>,
    /// For recordings.
    pub facts: Arc<PluginFacts>,
    engine: Engine,
    instances: Instances,
    slots: Semaphore,
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    round: AtomicU64,
}

/// A warm instance and when it was last used, in rounds of [`Plugin::trim`].
struct Idle {
    live: Box<Live>,
    round: u64,
}

impl Plugin {
    pub(crate) fn new(
        engine: &Engine,
        name: &Arc<str>,
        config: &PluginConfig,
        linked: Arc<Linked>,
        services: &Services,
        granted: Granted,
        place: Place,
    ) -> Self {
        let shared = Shared::new(name, config, &linked, services, granted, place);
        let facts = Arc::new(PluginFacts::of(&shared, &linked));
        let concurrency = config.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            shared: Arc::new(shared),
            linked,
            counters: Counters::default(),
            auth_secrets: config.grants.auth_secrets,
            breaker: config.breaker.map(Breaker::new),
            facts,
            engine: engine.clone(),
            instances: config.instances(),
            slots: Semaphore::new(concurrency),
            idle: Mutex::default(),
            idle_max: concurrency,
            round: AtomicU64::new(0),
        }
    }

    /// The trial before it may serve: every hook type-checked, configuration and self-test run. Warnings come back.
    pub(crate) async fn trial(&self) -> Result<Vec<String>, Problem> {
        let _flight = self.engine.flight();
        match timeout(LOAD_WALL, self.try_trial()).await {
            Ok(done) => done,
            Err(_) => Err(Problem::Start(format!("it did not start within {} s", LOAD_WALL.as_secs()))),
        }
    }

    async fn try_trial(&self) -> Result<Vec<String>, Problem> {
        let start = |what: &str, why: &dyn std::fmt::Display| Problem::Start(format!("{what}: {why}"));
        let mut live = self.start(None).await.map_err(|e| start("it can't be started", &e))?;
        let linked = &*self.linked;
        live.check_hooks(linked).map_err(|e| {
            Problem::Contract(format!(
                "a hook is not of the contract's type: {e:#}; rebuild it against the relay's wit/"
            ))
        })?;
        let mut warnings = Vec::new();
        if linked.indices.lifecycle.is_some() {
            let document = self.shared.config.to_string();
            live.begin(None, Subject::default(), LOAD_CPU);
            let said = validate(&mut live, linked, &document).await;
            match said.map_err(|e| start("validate-config", &failure(&e, live.store.data(), LOAD_CPU)))? {
                Ok(said) => warnings = said.iter().map(|w| self.shared.plain(w)).collect(),
                Err(errors) => {
                    return Err(start("it refuses its configuration", &self.shared.plain(&errors.join("; "))));
                }
            }
            live.begin(None, Subject::default(), LOAD_CPU);
            let said = self_test(&mut live, linked).await;
            said.map_err(|e| start("self-test", &failure(&e, live.store.data(), LOAD_CPU)))?
                .map_err(|why| start("its self-test failed", &self.shared.plain(&why)))?;
            live.store.data_mut().end();
        }
        self.keep(live);
        Ok(warnings)
    }

    async fn start(&self, tape: Option<Tape>) -> Result<Box<Live>, CallError> {
        self.counters.instances.fetch_add(1, Ordering::Relaxed);
        Live::start(&self.engine, &self.linked, &self.shared, tape).await
    }

    /// Leave for one call, unless the plugin is left alone for now.
    pub(crate) fn admit(&self) -> Result<Pass<'_>, CallError> {
        let Some(breaker) = &self.breaker else { return Ok(Pass::free()) };
        breaker.admit(Instant::now).map_err(|refusal| {
            let until = self.shared.services.clock.now().plus(refusal.wait).rfc3339();
            CallError::Tripped(format!("until {until} at least, after repeated failures; it {}", refusal.cause))
        })
    }

    /// One call: a verdict and what it edits, or why it failed. `end` is when the chain's patience ends.
    pub(crate) async fn call<A: Ask>(
        &self,
        pass: Pass<'_>,
        ask: A,
        subject: Subject,
        end: Instant,
    ) -> Called<A::Verdict> {
        // A candidate is asked beside the version that is being recorded, or instead of it.
        let recordings = &self.shared.services.recordings;
        let place = if self.shared.place.candidate { None } else { recordings.place(&self.shared.name, &subject) };
        let called = match place {
            None => self.measured(ask, subject, end, None).await,
            Some(place) => Box::pin(self.recorded(place, ask, subject, end)).await,
        };
        let turn = match &called.outcome {
            Ok(_) => pass.succeeded(),
            Err(error) => pass.failed(Instant::now(), fastrand::u32(0..=1000), error),
        };
        if let Some(turn) = turn {
            self.turned(turn);
        }
        called
    }

    /// The same, and what it took. With a tape it runs in an instance of its own.
    pub(crate) async fn measured<A: Ask>(
        &self,
        ask: A,
        subject: Subject,
        end: Instant,
        tape: Option<Tape>,
    ) -> Called<A::Verdict> {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let meter = Meter::default();
        let outcome = meter.run(pin!(self.try_call(ask, subject, end, &meter, tape))).await;
        if let Err(error) = &outcome {
            self.counters.failed(error);
        }
        let cost = meter.cost(began.elapsed());
        self.counters.took(A::HOOK, cost.wall, cost.cpu, outcome.is_err());
        Called { outcome, cost }
    }

    /// Says that the breaker opened or closed. Of a candidate only the log hears: it is left out, and nothing has to be
    /// taken back for that.
    fn turned(&self, turn: Turn) {
        let Shared { name, version, place, .. } = &*self.shared;
        let (generation, candidate) = (place.generation, place.candidate.then_some(true));
        match turn {
            Turn::Opened(pause) => {
                let cause = self.breaker_info().and_then(|info| info.cause);
                tracing::warn!(
                    target: "plugin", plugin = %name, %version, generation, candidate, ?pause, cause,
                    "its breaker opened: it is not asked until a call is let through to see"
                );
                if !place.candidate {
                    self.shared.services.events.tell(Event::Tripped { generation, plugin: name.clone() });
                }
            }
            Turn::Reopened(pause) => tracing::info!(
                target: "plugin", plugin = %name, %version, generation, candidate, ?pause, "its breaker stays open"
            ),
            Turn::Closed => tracing::info!(
                target: "plugin", plugin = %name, %version, generation, candidate, "its breaker closed: it is asked again"
            ),
        }
    }

    /// How its breaker stands; none: it has none.
    pub(crate) fn breaker_info(&self) -> Option<BreakerInfo> {
        self.breaker.as_ref().map(|breaker| breaker.info(Instant::now(), self.shared.services.clock.now()))
    }

    /// True while its breaker is not closed.
    pub(crate) fn is_tripped(&self) -> bool {
        self.breaker.as_ref().is_some_and(Breaker::is_tripped)
    }

    async fn try_call<A: Ask>(
        &self,
        ask: A,
        subject: Subject,
        end: Instant,
        meter: &Meter,
        tape: Option<Tape>,
    ) -> Result<(A::Verdict, Journal), CallError> {
        let _slot = self.slot().await?;
        let _flight = self.engine.flight();
        let (budget, is_taped) = (self.shared.budget(A::HOOK), tape.is_some());
        // Dropped when the time is up, and the instance with it. What is rare is boxed, so that the rest stays small.
        let run = async {
            let idle = if is_taped { None } else { self.idle.lock().pop() };
            let mut live = match idle {
                Some(idle) => idle.live,
                None => Box::pin(self.start(tape)).await?,
            };
            live.begin(Some(A::HOOK), subject, budget.cpu);
            live.store.data_mut().patience = Some(patience(budget.wall, end));
            let said = ask.put(&mut live, &self.linked).await;
            meter.host_calls(live.store.data().host_calls());
            meter.instance(live.store.data().memory, live.fuel());
            said.map(|said| (said, live.store.data_mut().end()))
                .map_err(|e| failure(&e, live.store.data(), budget.cpu))
                .map(|(said, journal)| (live, said, journal))
        };
        let (live, said, mut journal) = within(budget.wall, end, pin!(run)).await?;
        let said = said.map_err(|why| CallError::Guest(self.shared.plain(&why)))?;
        let verdict = ask.check(said).map_err(CallError::Invalid)?;
        journal.complete().map_err(|error| CallError::Invalid(error.to_string()))?;
        if !is_taped {
            self.keep(live);
        }
        Ok((verdict, journal))
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(permit) = self.slots.try_acquire() {
            return Ok(permit);
        }
        match Box::pin(timeout(SLOT_WAIT, self.slots.acquire())).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(CallError::Busy(millis(SLOT_WAIT))),
        }
    }

    /// After a clean return: for the next call, unless it is worn out.
    fn keep(&self, mut live: Box<Live>) {
        live.calls += 1;
        let worn = live.calls >= CALLS_MAX || live.store.data().memory > self.shared.memory / 4 * 3;
        if worn || self.instances == Instances::Fresh {
            return;
        }
        let round = self.round.load(Ordering::Relaxed);
        let mut idle = self.idle.lock();
        if idle.len() < self.idle_max {
            idle.push(Idle { live, round });
        }
    }

    /// Drops instances that were not used between the last two calls of this.
    pub(crate) fn trim(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        let mut old = Vec::new();
        let mut idle = self.idle.lock();
        let (keep, drop) = std::mem::take(&mut *idle).into_iter().partition(|i| i.round >= round);
        *idle = keep;
        old.extend::<Vec<Idle>>(drop);
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}

/// Runs a call until it is done, its wall budget is used up or the chain's patience ends. Most calls are done when they
/// are first polled, which takes a tick at most: only then are the clock and a timer needed.
async fn within<T>(
    wall: Duration,
    end: Instant,
    mut call: Pin<&mut impl Future<Output = Result<T, CallError>>>,
) -> Result<T, CallError> {
    if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
        return done;
    }
    let wall = wall.min(end.saturating_duration_since(Instant::now()));
    match Box::pin(timeout(wall, call)).await {
        Ok(done) => done,
        Err(_) => Err(CallError::Wall(millis(wall))),
    }
}

/// When to stop waiting for others: four fifths of the time there is, so that the guest can still answer, if only that it
/// does not know.
fn patience(wall: Duration, end: Instant) -> Instant {
    let now = Instant::now();
    now + wall.min(end.saturating_duration_since(now)) / 5 * 4
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn validate(
    live: &mut Live,
    linked: &Linked,
    document: &str,
) -> wasmtime::Result<Result<Vec<String>, Vec<String>>> {
    let guest = guest!(live, linked, lifecycle);
    guest.call_validate_config(&mut live.store, document).await
}

async fn self_test(live: &mut Live, linked: &Linked) -> wasmtime::Result<Result<(), String>> {
    let guest = guest!(live, linked, lifecycle);
    guest.call_self_test(&mut live.store).await
}
