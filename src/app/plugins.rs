//! The plugin set over time: the first one, changes by command, and what its own events ask for.
//!
//! One change at a time, under the lock of the generation: built whole beside the old set, checked for what it weakens,
//! written down, then swapped in with one pointer.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::change::{Change, Plan};
use super::history::{Cause, History, Swap};
use super::reload::plugin_changes;
use super::rules::{Builder, First, InForce};
use crate::admin::{ReloadReport, Weakening};
use crate::config::Settings;
use crate::hooks::Hooks as _;
use crate::plugin::{Config, Event, PluginSet, Side, weakenings};
use crate::pulse::Kind;
use crate::time::Clock;

/// Who did what nobody asked for.
const AUTOMATIC: &str = "automatic";

/// The first set, and its number.
pub(super) async fn start(
    builder: &Builder,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(InForce, Arc<History>, u64)> {
    let file = settings.plugins.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let history = History::open(&file);
        let (laid, number) = (history.lay(&file), history.next_number());
        (history, laid, number)
    });
    let (history, laid, number) = opened.await?;
    let history = Arc::new(history);
    for text in &laid.ended {
        tracing::warn!(target: "plugin", "{text}");
    }
    let effective = Settings { plugins: laid.config, ..settings.clone() };
    let First { in_force, last_good } = builder.start(&effective, number, &history).await?;
    let swap = Swap {
        number,
        config: in_force.plugin_config.load().as_ref().clone(),
        plugins: in_force.plugins.load().list(),
        file: Some(settings.plugins.clone()),
        overrides: laid.overrides,
        last_good,
        cause: Cause { reason: "start".to_owned(), by: "the relay".to_owned() },
        weakenings: Vec::new(),
        taken_back: None,
    };
    settle(&history, builder, swap, clock).await;
    Ok((in_force, history, number))
}

/// Writes down what has begun to serve, and lets go of code that nobody needs any more.
pub(super) async fn settle(history: &Arc<History>, builder: &Builder, swap: Swap, clock: &Arc<dyn Clock>) {
    let (history, engine, now) = (history.clone(), builder.engine().clone(), clock.now());
    let settled = tokio::task::spawn_blocking(move || {
        if let Some(wanted) = history.settle(swap, now) {
            engine.forget_all_but(&wanted);
        }
    });
    if let Err(error) = settled.await {
        tracing::error!(target: "plugin", %error, "the new set serves, and could not be written down");
    }
}

impl Inner {
    /// Changes the plugins that serve: all of it, or nothing and the reasons. `from`: only if that set serves still.
    pub(super) async fn change_plugins(
        &self,
        change: Change,
        cause: Cause,
        weakening: Weakening,
        from: Option<u64>,
    ) -> Result<ReloadReport, Vec<String>> {
        let mut last = self.generation.lock().await;
        if from.is_some_and(|from| from != *last) {
            return Err(vec![format!("generation {} serves by now", *last)]);
        }
        let generation = *last + 1;
        let report = self.change_to(generation, change, cause, weakening).await?;
        *last = generation;
        Ok(report)
    }

    async fn change_to(
        &self,
        generation: u64,
        change: Change,
        cause: Cause,
        weakening: Weakening,
    ) -> Result<ReloadReport, Vec<String>> {
        let (history, in_force, now) =
            (self.history.clone(), self.in_force.plugin_config.load_full(), self.clock.now());
        let by = cause.by.clone();
        let planned = tokio::task::spawn_blocking(move || history.plan(change, &in_force, cause, now));
        let plan = planned.await.map_err(|e| vec![e.to_string()])??;
        let mut set = self.builder.next_plugins(&plan.build, generation).await?;
        plan.last_good.iter().for_each(|(name, reason)| set.mark_last_good(name, reason.clone()));
        let cause = Cause { reason: plan.reason.clone(), by };
        let weaker = self.weighed(&plan.config, &set, weakening, &cause).await?;
        // First on disk: a crash from here on must not bring back what is being taken back.
        let (history, overrides) = (self.history.clone(), plan.overrides.clone());
        let written = tokio::task::spawn_blocking(move || history.write(&overrides)).await;
        written.map_err(|e| vec![e.to_string()])??;
        let changes = plugin_changes(&self.in_force.plugins.load(), &set);
        let report = ReloadReport { generation, changes, needs_restart: Vec::new(), weakenings: weaker.clone() };
        self.swap(generation, plan, set, cause, weaker).await;
        Ok(report)
    }

    async fn swap(&self, generation: u64, plan: Plan, set: PluginSet, cause: Cause, weakenings: Vec<String>) {
        let Plan { config, overrides, last_good, taken_back, .. } = plan;
        let plugins = set.list();
        // From here on it serves. What is written down afterwards could not be taken back by then anyway.
        self.in_force.replace_plugins(set, config.clone());
        tracing::warn!(target: "plugin", generation, by = %cause.by, "{}", cause.reason);
        self.pulse.tell(Kind::Plugin, || {
            let (by, reason) = (&cause.by, &cause.reason);
            let data = serde_json::json!({ "what": "swapped", "generation": generation, "by": by, "reason": reason });
            crate::pulse::Event { data, ..crate::pulse::Event::default() }
        });
        let taken_back = taken_back.map(|before| (before, format!("{} ({})", cause.reason, cause.by)));
        let file = None;
        let number = generation;
        let swap = Swap { number, config, plugins, file, overrides, last_good, cause, weakenings, taken_back };
        settle(&self.history, &self.builder, swap, &self.clock).await;
    }

    /// What is weaker in the new set; refused, and put into the audit, unless it is meant.
    pub(super) async fn weighed(
        &self,
        config: &Config,
        set: &PluginSet,
        weakening: Weakening,
        cause: &Cause,
    ) -> Result<Vec<String>, Vec<String>> {
        let (before, old, new) = (self.in_force.plugin_config.load(), self.in_force.plugins.load().list(), set.list());
        let sides = (Side { config: &before, plugins: &old }, Side { config, plugins: &new });
        let weaker = weakenings(sides.0, sides.1, self.history.components());
        if weaker.is_empty() || weakening == Weakening::Allowed {
            return Ok(weaker);
        }
        let (history, now, serving) =
            (self.history.clone(), self.clock.now(), self.in_force.plugins.load().generation());
        let refused = Cause { reason: format!("{} refused", cause.reason), by: cause.by.clone() };
        let told = weaker.clone();
        // It is refused whether that can be written down or not.
        let _ = tokio::task::spawn_blocking(move || history.audit(&refused, serving, told, now)).await;
        let advice = "this would check mail less than before: if it is meant, say so with --allow-weaken".to_owned();
        Err(weaker.into_iter().chain([advice]).collect())
    }

    pub(super) async fn heed(&self, event: Event) {
        self.pulse.tell(Kind::Plugin, || {
            let (what, generation, plugin) = match &event {
                Event::Tripped { generation, plugin } => ("tripped", generation, plugin),
                Event::Ripe { generation, plugin } => ("ripe", generation, plugin),
            };
            let data = serde_json::json!({ "what": what, "plugin": plugin, "generation": generation });
            crate::pulse::Event { data, ..crate::pulse::Event::default() }
        });
        match event {
            Event::Tripped { generation, plugin } => self.tripped(generation, &plugin).await,
            Event::Ripe { generation, plugin } => self.ripe(generation, plugin).await,
        }
    }

    /// A set that came with a version that fails goes, if it has not proved itself before.
    async fn tripped(&self, generation: u64, plugin: &Arc<str>) {
        let probation = self.in_force.plugin_config.load().host.probation;
        let history = self.history.clone();
        let previous = tokio::task::spawn_blocking(move || history.previous()).await.ok().flatten();
        let Some(previous) = previous else { return };
        let Some(serving) = self.history.state().serving else { return };
        let served = self.clock.now().since(serving.at);
        let is_new = match (serving.plugins.get(plugin), previous.plugins.get(plugin)) {
            (Some(now), Some(before)) => !now.is_same(before),
            (now, _) => now.is_some(),
        };
        // What a roll-back brought back has served before: that it fails now has another reason.
        if serving.number != generation || served >= probation || !is_new || serving.brought_back {
            return;
        }
        let reason = format!(
            "automatic roll-back to {}: plugin {plugin} tripped its breaker {} s after it came",
            previous.number,
            served.as_secs()
        );
        tracing::error!(target: "plugin", generation, plugin = %plugin, "{reason}");
        let cause = Cause { reason, by: AUTOMATIC.to_owned() };
        // It served before and was good enough then.
        let done = self
            .change_plugins(Change::RollBack(Some(previous.number)), cause, Weakening::Allowed, Some(generation))
            .await;
        for error in done.err().into_iter().flatten() {
            tracing::error!(target: "plugin", plugin = %plugin, %error, "the roll-back was not possible");
        }
    }

    async fn ripe(&self, generation: u64, plugin: Arc<str>) {
        if self.in_force.plugins.load().generation() != generation {
            return;
        }
        let reason = format!("promotion of the candidate of {plugin}: it has earned it");
        let cause = Cause { reason, by: AUTOMATIC.to_owned() };
        let done =
            self.change_plugins(Change::Promote(plugin.clone()), cause, Weakening::Refused, Some(generation)).await;
        for error in done.err().into_iter().flatten() {
            tracing::error!(target: "plugin", plugin = %plugin, %error, "the promotion was not possible");
        }
    }
}

/// Does what the plugins' events ask for, one after another.
pub(super) async fn heed(inner: Arc<Inner>, mut heard: Receiver<Event>, draining: CancellationToken) {
    while let Some(Some(event)) = draining.run_until_cancelled(heard.recv()).await {
        inner.heed(event).await;
    }
}
