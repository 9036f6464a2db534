//! The composition root: builds the seams, starts the loops, reloads, drains. May touch everything.
//!
//! Nothing here decides about mail. What a reload may change lies in shared values, each replaced in one step once
//! everything new has been built and checked (`rules`).

mod api;
mod certificates;
mod change;
mod clients;
mod control;
mod descriptors;
mod differences;
mod explain;
mod history;
mod keys;
mod load;
mod maildrop;
mod manager;
mod plugins;
mod queue;
mod reload;
mod rules;
mod suppression;
mod surroundings;
#[cfg(test)]
mod tests;
mod tls_out;
mod traces;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Terms, Weakening};
use crate::config::Settings;
use crate::delivery::Dispatcher;
use crate::delivery::tcp::Tcp;
use crate::listen::{Activation, Bound, Reception};
use crate::plugin::{Compiler, Event, Events};
use crate::pulse::Pulse;
use crate::queue::Queue;
use crate::routing::{Hickory, Resolver};
use crate::store::{Sled, Store};
use crate::suppression::Suppression;
use crate::telemetry::LogFile;
use crate::time::{Clock, System, Timestamp};
use crate::tlsrpt::Ledger;

pub use explain::explain;
use history::History;
pub use keys::{check_keys, check_published};
use rules::{Builder, InForce};
pub use rules::{check_certificates, check_plugins, replay};
pub use surroundings::{Reach, surroundings};
use tls_out::Outward;

/// A running relay.
pub struct App {
    inner: Arc<Inner>,
    loops: Vec<JoinHandle<()>>,
    dispatcher: JoinHandle<()>,
    draining: CancellationToken,
    delivering: CancellationToken,
    /// Sessions that TLS reports will tell of.
    counted: Arc<Ledger>,
}

/// What the admin socket and the signals reach.
pub(crate) struct Inner {
    config_path: PathBuf,
    log: LogFile,
    started: Settings,
    started_at: Timestamp,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    reception: Reception,
    dispatcher: Arc<Dispatcher>,
    builder: Builder,
    in_force: InForce,
    /// Shared with all who ask the DNS.
    resolver: Hickory,
    history: Arc<History>,
    /// Of messages.
    finished: crate::history::History,
    suppression: Suppression,
    addresses: Vec<(Arc<str>, String)>,
    /// One reload at a time; the number of the last one.
    generation: tokio::sync::Mutex<u64>,
    /// What happens, counted and told.
    pulse: Pulse,
    /// Who may use the admin API over networks.
    terms: Arc<ArcSwap<Terms>>,
}

/// How long the last settlements may take to reach the disk, and the store to be closed. What was accepted is durable
/// long before; what is cut off here costs a second attempt, or a longer start.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Runs the relay, with the sockets that it was started with, until it is told to stop: SIGTERM or SIGINT drain it, a second one ends it at once, SIGHUP reloads it.
///
/// # Errors
/// When it can't start; the error says what and where.
pub async fn run(
    settings: Settings,
    config_path: PathBuf,
    log: LogFile,
    compiler: Option<Compiler>,
    activation: Activation,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = App::start(settings, config_path, log, compiler, activation).await?;
    manager::ready(*app.inner.generation.lock().await);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                // The outcome is in the log; a bad set leaves the old one serving.
                let _ = app.inner.reload("signal", Weakening::Refused).await;
            }
        }
    }
    let mut shutdown = Box::pin(app.shutdown());
    let told_twice = tokio::select! {
        () = &mut shutdown => return Ok(()),
        _ = terminate.recv() => told_twice(),
        _ = interrupt.recv() => told_twice(),
    };
    // Dropped, it would close the store, and wait for a disk that may be why somebody asks twice.
    std::mem::forget(shutdown);
    Err(told_twice)
}

/// Whoever asks twice does not want to wait. What was accepted is in the journal; attempts cut off are made again.
fn told_twice() -> anyhow::Error {
    anyhow::anyhow!("told to stop a second time: ended before everything was drained")
}

impl App {
    /// Opens the queue, builds the plugins, binds the listeners and starts to work. `compiler` compiles components in a
    /// process of its own; none: this one does. `activation` has the sockets that the process was started with.
    ///
    /// # Errors
    /// When the queue, a listener or the admin socket can't be had.
    pub async fn start(
        settings: Settings,
        config_path: PathBuf,
        log: LogFile,
        compiler: Option<Compiler>,
        activation: Activation,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(System);
        descriptors::provide(settings.listen.limits.connections.saturating_add(settings.delivery.max_connections));
        // First of all: two relays must never work on one queue, and this is the clearest way to be told.
        let (doors, terms) = api::open(&settings.admin).await?;
        let bound = bind(&settings, activation)?;
        let store = open_store(&settings).await?;
        let queue =
            Queue::open(settings.queue.clone(), store.clone(), clock.clone()).await.context("opening the queue")?;
        let suppression = suppression_list(&settings, &store, &clock).await?;
        let resolver = resolver(&settings).await?;
        let names_of = Hickory::clone(&resolver);
        let (events, heard) = Events::channel();
        let folder = settings.plugins.host.path.clone();
        let equipment = (compiler, Some(&*folder));
        let (spool, asked, beaten) = (queue.spool().clone(), resolver.clone(), store.clone());
        let outward = Outward::open(&settings, store.clone(), resolver.clone(), clock.clone()).await?;
        let builder = Builder::new(store, spool, clock.clone(), asked.clone(), &settings, equipment, events)?;
        let builder = builder.authenticating(&settings)?;
        let (in_force, history, generation) = plugins::start(&builder, &settings, &clock).await?;
        builder.configure(&settings);
        let (draining, delivering) = (CancellationToken::new(), CancellationToken::new());
        let (names, rules) = (clients::names(resolver.clone()), in_force.rules.clone());
        let mut reception = Reception::new(queue.clone(), rules, clock.clone(), names, draining.clone());
        reception.results =
            builder.services.authenticator.clone().map(|found| clients::results(found, resolver.clone()));
        reception.signing = builder.signing.clone();
        let finished = message_history(&settings, &clock);
        let dispatcher = dispatcher(&queue, &in_force, resolver, &clock, (&finished, &suppression), &outward);
        dispatcher.warm_up_from(beaten.clone()).await.context("reading what sources sent today")?;
        let pulse = api::counting(&mut reception, &names_of, &dispatcher);
        let inner = Arc::new(Inner {
            config_path,
            log,
            started_at: clock.now(),
            clock,
            queue,
            reception: reception.clone(),
            dispatcher: dispatcher.clone(),
            builder,
            in_force,
            resolver: names_of,
            history,
            finished,
            suppression,
            addresses: addresses_of(&bound)?,
            generation: tokio::sync::Mutex::new(generation),
            pulse,
            terms,
            started: settings,
        });
        let mut loops: Vec<_> = bound.into_iter().map(|b| tokio::spawn(reception.clone().accept(b))).collect();
        loops.push(tokio::spawn(admin::serve(doors, api::of(&inner, &draining), draining.clone())));
        loops.extend(traces::spawn(&inner, asked, outward.clients.clone(), &draining)?);
        let counted = outward.ledger.clone();
        loops.extend(outward.tended(&inner, &draining));
        loops.extend(watches(&inner, heard, &draining));
        loops.extend(on_this_machine(&inner, &draining, beaten));
        let dispatcher = tokio::spawn(dispatcher.run(delivering.clone()));
        Ok(Self { inner, loops, dispatcher, draining, delivering, counted })
    }

    /// Where it listens, by the name of the listener.
    pub fn addresses(&self) -> &[(Arc<str>, String)] {
        &self.inner.addresses
    }

    /// Stops accepting, lets what is under way come to its end within the drain time, flushes the queue, closes the
    /// store. Every wait has a bound: a disk or a peer that does not answer must not keep the process alive.
    pub async fn shutdown(self) {
        tracing::info!("draining");
        manager::stopping();
        let drain = self.inner.reception.rules.load().config.limits.drain;
        self.draining.cancel();
        if tokio::time::timeout(drain, self.inner.reception.drained()).await.is_err() {
            tracing::warn!(connections = self.inner.reception.load().connections, "drain time is over");
        }
        self.delivering.cancel();
        if tokio::time::timeout(drain, self.dispatcher).await.is_err() {
            tracing::warn!("attempts under way are cut off; they will be made again");
        }
        // Before the loop that tends it is cut off, and after the last attempt.
        if tokio::time::timeout(CLOSE_WITHIN, tls_out::write_down(self.counted)).await.is_err() {
            tracing::error!("the store does not answer: what was counted last for TLS reports is lost");
        }
        self.loops.iter().for_each(JoinHandle::abort);
        if tokio::time::timeout(CLOSE_WITHIN, self.inner.queue.close()).await.is_err() {
            tracing::error!("the store does not answer: the last settlements may be repeated");
        }
        let (decisions, recordings) = (self.inner.builder.decisions().clone(), self.inner.builder.recordings().clone());
        // What a disk that does not answer costs here is not worth waiting for.
        let finished = self.inner.finished.clone();
        let end = move || {
            finished.close();
            recordings.close();
            decisions.close();
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN, tokio::task::spawn_blocking(end)).await;
        let inner = self.inner;
        let closed = async {
            for task in self.loops {
                // Aborted, or over already.
                let _ = task.await;
            }
            // The last one who has the store closes it, which blocks.
            let _ = tokio::task::spawn_blocking(move || drop(inner)).await;
        };
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::error!("the store can't be closed in time: the next start reads its journal");
        }
        tracing::info!("stopped");
    }
}

/// What the service manager and local programs are served by.
fn on_this_machine(inner: &Arc<Inner>, draining: &CancellationToken, store: Arc<dyn Store>) -> [JoinHandle<()>; 2] {
    let mail = tokio::spawn(maildrop::pick_up(inner.clone(), draining.clone()));
    // Until the loops are ended, after the drain: a relay that takes its time to stop still works.
    [mail, tokio::spawn(manager::ping(store, CancellationToken::new()))]
}

async fn open_store(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    let (queue, cache) = (settings.queue.path.clone(), settings.queue.cache);
    let opened = tokio::task::spawn_blocking(move || {
        // People's mail is in it: other users of the machine have no business there.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&queue);
        made.with_context(|| format!("making the folder {}", queue.display()))?;
        crate::queue::check_form(&queue).map_err(anyhow::Error::msg)?;
        let path = queue.join("db");
        Sled::open(&path, cache).with_context(|| format!("opening the database in {}", path.display()))
    });
    Ok(Arc::new(opened.await??))
}

/// What becomes of messages is written down as these settings say.
fn message_history(settings: &Settings, clock: &Arc<dyn Clock>) -> crate::history::History {
    let history = crate::history::History::new(clock.clone());
    history.configure(&settings.history);
    history
}

async fn suppression_list(
    settings: &Settings,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Suppression> {
    let (store, clock) = (store.clone(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || Suppression::open(store, clock)).await?;
    let list = opened.context("reading the suppression list")?;
    list.configure(&settings.suppression);
    Ok(list)
}

async fn resolver(settings: &Settings) -> anyhow::Result<Arc<Hickory>> {
    let dns = settings.dns.clone();
    let resolver = tokio::task::spawn_blocking(move || Hickory::new(&dns)).await?.context("setting up the resolver")?;
    tracing::info!(validation = resolver.validation(), "DNS answers are validated by");
    Ok(Arc::new(resolver))
}

/// Where they really listen, by the name of the listener.
fn addresses_of(bound: &[Bound]) -> anyhow::Result<Vec<(Arc<str>, String)>> {
    let addresses: anyhow::Result<Vec<(Arc<str>, String)>> =
        bound.iter().map(|b| Ok((b.name().clone(), b.address()?))).collect();
    for (name, address) in addresses.iter().flatten() {
        tracing::info!(listener = %name, %address, "listening");
    }
    addresses
}

fn bind(settings: &Settings, mut activation: Activation) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for listener in &settings.listen.listeners {
        bound.extend(Bound::bind(listener, &mut activation)?);
    }
    for name in activation.left() {
        tracing::warn!("no listener has address = \"systemd:{name}\": what comes to that socket is not answered");
    }
    Ok(bound)
}

fn dispatcher(
    queue: &Arc<Queue>,
    in_force: &InForce,
    resolver: Arc<dyn Resolver>,
    clock: &Arc<dyn Clock>,
    (finished, suppression): (&crate::history::History, &Suppression),
    outward: &Outward,
) -> Arc<Dispatcher> {
    let table = in_force.table.clone();
    queue.route_by(Arc::new(move |recipient| table.load().route(&recipient.mailbox.domain)));
    let dispatcher = Dispatcher::new(
        in_force.delivery.clone(),
        in_force.table.clone(),
        queue.clone(),
        in_force.hooks.clone(),
        resolver,
        Arc::new(Tcp::new(outward.clients.clone())),
        clock.clone(),
    );
    let dispatcher = dispatcher.with_policies(outward.policies.clone(), outward.ledger.clone());
    dispatcher.record_in(finished.clone());
    dispatcher.heed(suppression.clone());
    dispatcher
}

/// What is looked after all the time: what expires, certificates, keys, and what plugins do.
fn watches(inner: &Arc<Inner>, heard: Receiver<Event>, draining: &CancellationToken) -> [JoinHandle<()>; 4] {
    let (inner, draining) = (|| inner.clone(), || draining.clone());
    [
        tokio::spawn(sweep(inner(), draining())),
        tokio::spawn(certificates::watch(inner(), draining())),
        tokio::spawn(keys::watch(inner(), draining())),
        tokio::spawn(plugins::heed(inner(), heard, draining())),
    ]
}

/// Removes what has expired from the plugins' kv and from the suppression list, once a minute.
async fn sweep(inner: Arc<Inner>, draining: CancellationToken) {
    let (mut minute, mut minutes) = (tokio::time::interval(Duration::from_secs(60)), 0_u32);
    while draining.run_until_cancelled(minute.tick()).await.is_some() {
        let (set, list, now) = (inner.in_force.plugins.load_full(), inner.suppression.clone(), inner.clock.now());
        inner.expire_held(&mut minutes).await;
        // It only comes again in a minute, whatever became of this time.
        let _ = tokio::task::spawn_blocking(move || {
            set.sweep(now);
            list.sweep();
        })
        .await;
    }
}
