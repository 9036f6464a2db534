//! What the admin socket can ask of a running relay.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

use super::Inner;
use super::change::Change;
use super::history::Cause;
use super::queue::said;
use crate::admin::{
    BanStatus, Control, DecisionsStatus, ExplainForm, HistoryForm, ListenerStatus, Peer, Pending, PluginChange,
    RecordingStatus, ReloadReport, SetStatus, Shown, Status, StoreStatus, StsForm, SuppressForm, TracesStatus,
    Weakening, WhyForm,
};
use crate::config;
use crate::hooks::Route;
use crate::mail::QueueId;
use crate::plugin::{DecisionsInfo, Override, Query, RecordingInfo, TrialMode};
use crate::queue::{
    Changed, Command, Filter, Incoming, Injected, Injection, Reach, Record, Rule, RuleKind, Rules, Stepped, Ways,
};
use crate::store::{Content, Draft};
use crate::time::Timestamp;

impl Control for Inner {
    fn status(&self) -> Pending<'_, Status> {
        Box::pin(async {
            let plugins = self.plugins().await?;
            Ok(Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_secs: self.clock.now().since(self.started_at).as_secs(),
                generation: *self.generation.lock().await,
                listeners: self.listeners(),
                load: self.load(),
                certificates: self.certificates(),
                queue: self.queue.counts(),
                quotas: self.queue.quotas(),
                store: StoreStatus {
                    path: self.started.queue.path.display().to_string(),
                    free: self.queue.spool().room().free(),
                    refusing: self.queue.has_room().err().map(|e| e.to_string()),
                },
                plugins,
                decisions: self.decisions(),
                traces: self.log.spans().map(|spans| {
                    let (sent, lost) = spans.counts();
                    TracesStatus { sent, lost }
                }),
            })
        })
    }

    fn reload(&self, by: Peer, weakening: Weakening) -> Pending<'_, ReloadReport> {
        Box::pin(async move { Self::reload(self, &by.to_string(), weakening).await })
    }

    fn queue_look(&self, filter: Filter, reach: Reach) -> Pending<'_, Stepped> {
        Box::pin(async move { self.queue.look(&filter, reach).await.map_err(said) })
    }

    fn queue_show(&self, id: QueueId) -> Pending<'_, Option<Shown>> {
        Box::pin(self.show(id))
    }

    fn queue_content(&self, id: QueueId) -> Pending<'_, Option<(Bytes, Content)>> {
        Box::pin(async move {
            let whole = self.queue.whole(id).await.map_err(said)?;
            Ok(whole.map(|(_, head, body)| (head, body)))
        })
    }

    fn queue_whole(&self, id: QueueId) -> Pending<'_, Option<(Arc<Record>, Bytes, Content)>> {
        Box::pin(async move { self.queue.whole(id).await.map_err(said) })
    }

    fn queue_draft(&self) -> Option<Draft> {
        Some(self.queue.spool().draft())
    }

    fn queue_import(&self, by: Peer, incoming: Incoming) -> Pending<'_, bool> {
        Box::pin(self.import(by, incoming))
    }

    fn queue_command(&self, by: Peer, filter: Filter, reach: Reach, command: Command) -> Pending<'_, Changed> {
        Box::pin(self.command(by, filter, reach, command))
    }

    fn queue_rule(
        &self,
        by: Peer,
        kind: RuleKind,
        filter: Filter,
        reason: Arc<str>,
        until: Option<Timestamp>,
    ) -> Pending<'_, Arc<Rule>> {
        Box::pin(self.add_rule(by, kind, filter, reason, until))
    }

    fn queue_rules(&self) -> Pending<'_, Arc<Rules>> {
        Box::pin(std::future::ready(Ok(self.queue.rules())))
    }

    fn queue_rule_lift(&self, by: Peer, number: u32) -> Pending<'_, Option<Arc<Rule>>> {
        Box::pin(self.lift_rule(by, number))
    }

    fn read_route(&self, text: String) -> Pending<'_, Arc<Route>> {
        let read = config::read_route(&text, &self.in_force.delivery.load());
        Box::pin(std::future::ready(read.map(Arc::new).map_err(|why| vec![why])))
    }

    fn ways(&self) -> Arc<Ways> {
        self.queue.ways()
    }

    fn explain(&self, about: ExplainForm) -> Pending<'_, serde_json::Value> {
        Box::pin(self.explained(about))
    }

    fn sts(&self, about: StsForm) -> Pending<'_, serde_json::Value> {
        Box::pin(self.policy(about))
    }

    fn destinations(&self) -> Pending<'_, Vec<serde_json::Value>> {
        Box::pin(std::future::ready(self.sites()))
    }

    fn bans(&self) -> Pending<'_, (Vec<BanStatus>, u64)> {
        Box::pin(std::future::ready(Ok(self.listed_bans())))
    }

    fn ban(&self, by: Peer, network: IpNet, secs: u64) -> Pending<'_, ()> {
        Box::pin(std::future::ready(self.add_ban(by, network, secs)))
    }

    fn lift_ban(&self, by: Peer, network: IpNet) -> Pending<'_, ()> {
        Box::pin(std::future::ready(self.remove_ban(by, network)))
    }

    fn plugins(&self) -> Pending<'_, Vec<serde_json::Value>> {
        let plugins = self.in_force.plugins.load().list();
        let plugins = plugins.iter().map(|p| serde_json::to_value(p).map_err(|e| vec![e.to_string()])).collect();
        Box::pin(std::future::ready(plugins))
    }

    fn plugin_metrics(&self, plugin: Option<String>) -> Pending<'_, Vec<serde_json::Value>> {
        let set = self.in_force.plugins.load();
        let known = |name: &str| set.list().iter().any(|info| info.name == name);
        let counted = match plugin {
            Some(name) if !known(&name) => Err(vec![format!("no plugin {name}")]),
            Some(name) => Ok(set.metrics().into_iter().filter(|counted| counted.plugin == name).collect()),
            None => Ok(set.metrics()),
        };
        Box::pin(std::future::ready(counted.and_then(|counted| {
            counted.iter().map(|c| serde_json::to_value(c).map_err(|e| vec![e.to_string()])).collect()
        })))
    }

    fn plugin_trial(&self, name: String) -> Pending<'_, (serde_json::Value, Vec<serde_json::Value>)> {
        Box::pin(async move {
            let mut report = self.in_force.plugins.load().trial(&name).map_err(|why| vec![why])?;
            let differences = std::mem::take(&mut report.differences);
            let value = |error: serde_json::Error| vec![error.to_string()];
            let mut trial = serde_json::to_value(report).map_err(value)?;
            if let Some(fields) = trial.as_object_mut() {
                // They come as items of their own.
                fields.remove("differences");
            }
            let differences = differences.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(value)?;
            Ok((trial, differences))
        })
    }

    fn plugin_status(&self) -> Pending<'_, (Vec<serde_json::Value>, SetStatus)> {
        Box::pin(async {
            let (mut plugins, state) = (self.plugins().await?, self.history.state());
            for plugin in plugins.iter_mut().filter_map(serde_json::Value::as_object_mut) {
                let name = plugin.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
                let held = state.overrides.0.get(name).map(in_force);
                plugin.insert("override".to_owned(), held.into());
            }
            // What an override took out is in no set.
            for (name, held) in state.overrides.0.iter().filter(|(_, held)| held.serves.is_none()) {
                plugins.push(serde_json::json!({"name": name, "state": "removed", "override": in_force(held)}));
            }
            let serving = state.serving.ok_or_else(|| vec!["no set serves yet".to_owned()])?;
            let generations = self.plugin_generations().await?;
            let numbers = generations.iter().filter_map(|g| g.get("generation").and_then(serde_json::Value::as_u64));
            let set = SetStatus {
                generation: serving.number,
                since: serving.at.rfc3339(),
                reason: serving.reason,
                by: serving.by,
                kept: numbers.collect(),
            };
            Ok((plugins, set))
        })
    }

    fn plugin_generations(&self) -> Pending<'_, Vec<serde_json::Value>> {
        let history = self.history.clone();
        Box::pin(blocking(move || history.generations()))
    }

    fn plugin_audit(&self, limit: usize) -> Pending<'_, Vec<serde_json::Value>> {
        let history = self.history.clone();
        let entries = blocking(move || history.audited(limit));
        Box::pin(async move { Ok(entries.await?.iter().map(|entry| serde_json::json!(entry)).collect()) })
    }

    fn plugin_change(&self, by: Peer, change: PluginChange, weakening: Weakening) -> Pending<'_, ReloadReport> {
        Box::pin(async move {
            let cause = Cause { reason: String::new(), by: by.to_string() };
            self.change_plugins(change.into(), cause, weakening, None).await
        })
    }

    fn suppress(&self, by: Peer, what: SuppressForm) -> Pending<'_, Vec<serde_json::Value>> {
        Box::pin(self.suppressed(by, what))
    }

    fn history(&self, which: HistoryForm) -> Pending<'_, (Vec<serde_json::Value>, bool)> {
        Box::pin(self.finished(which))
    }

    fn why(&self, which: WhyForm) -> Pending<'_, (Vec<serde_json::Value>, bool)> {
        let now = self.clock.now();
        let ago = |secs: u64| now.minus(Duration::from_secs(secs));
        let WhyForm { id, address, plugin, hook, verdict, failed, since_secs, until_secs, oldest, limit } = which;
        let (since, until) = (since_secs.map(ago), until_secs.map(ago));
        let query = Query { id, address, plugin, hook, verdict, failed, since, until, oldest, limit };
        let decisions = self.builder.decisions().clone();
        let find = move || decisions.find(&query);
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(find).await.map_err(|e| vec![e.to_string()])?;
            let found = found.map_err(|e| vec![format!("the record of decisions: {e}")])?;
            Ok((found.decisions, found.more))
        })
    }

    fn record(&self, plugin: String, calls: u32, address: Option<String>) -> Pending<'_, RecordingStatus> {
        let refused = self.unrecordable(&plugin).or((calls == 0).then(|| "at least one call".to_owned()));
        let (recordings, now) = (self.builder.recordings().clone(), self.clock.now());
        let host = self.in_force.plugin_config.load().host.clone();
        Box::pin(async move {
            if let Some(why) = refused {
                return Err(vec![why]);
            }
            tracing::info!(plugin, calls, "an operator has a plugin recorded");
            let start = move || recordings.start(&host, &plugin, calls, address.as_deref(), now);
            let started = tokio::task::spawn_blocking(start).await.map_err(|e| vec![e.to_string()])?;
            started.map(recording_status).map_err(|e| vec![format!("the recording: {e}")])
        })
    }

    fn inject(&self, mail: Injection) -> Pending<'_, Injected> {
        Box::pin(self.injected(mail))
    }

    fn stop_recording(&self, plugin: String) -> Pending<'_, RecordingStatus> {
        let (recordings, missing) = (self.builder.recordings().clone(), format!("{plugin} is not being recorded"));
        Box::pin(async move {
            let stopped = tokio::task::spawn_blocking(move || recordings.stop(&plugin)).await;
            let stopped = stopped.map_err(|e| vec![e.to_string()])?.map_err(|e| vec![format!("the recording: {e}")])?;
            stopped.map(recording_status).ok_or_else(|| vec![missing])
        })
    }
}

async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, Vec<String>> {
    tokio::task::spawn_blocking(look).await.map_err(|error| vec![error.to_string()])
}

/// What an override is, in words.
fn in_force(held: &Override) -> String {
    format!("{} by {}, since {}", held.reason, held.by, held.at.rfc3339())
}

impl From<PluginChange> for Change {
    fn from(form: PluginChange) -> Self {
        match form {
            PluginChange::Rollback { generation } => Self::RollBack(generation),
            PluginChange::Promote { plugin } => Self::Promote(plugin.into()),
            PluginChange::DropCandidate { plugin } => Self::DropCandidate(plugin.into()),
            PluginChange::Try { plugin, file, share, config } => {
                let mode = share.map_or(TrialMode::Shadow, |share| TrialMode::Canary { share: share.min(100) });
                Self::Try { plugin: plugin.into(), file, mode, config }
            }
        }
    }
}

fn recording_status(info: RecordingInfo) -> RecordingStatus {
    let RecordingInfo { path, wanted, recorded, skipped } = info;
    RecordingStatus { path: path.display().to_string(), wanted, recorded, skipped }
}

impl Inner {
    /// What speaks against recording a plugin.
    fn unrecordable(&self, plugin: &str) -> Option<String> {
        let Some(config) = self.in_force.plugin_config.load().plugins.get(plugin).cloned() else {
            return Some(format!("there is no plugin {plugin}"));
        };
        let why = "it is granted http, and what a web server answers is not recorded";
        config.grants.http.is_some().then(|| format!("{plugin} can't be recorded: {why}"))
    }

    fn decisions(&self) -> DecisionsStatus {
        let info = self.builder.decisions().info();
        let DecisionsInfo { recording, written, dropped, trouble } = info;
        DecisionsStatus { recording, written, dropped, trouble }
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let rules = self.reception.rules.load();
        let listener = |(name, address): &(Arc<str>, String)| {
            let configured = rules.config.listeners.iter().find(|l| l.name == *name);
            let tls = configured.map(|l| l.tls).and_then(|tls| serde_json::to_value(tls).ok());
            ListenerStatus {
                name: name.to_string(),
                address: address.clone(),
                tls: tls.and_then(|tls| tls.as_str().map(ToOwned::to_owned)).unwrap_or_default(),
                connections: self.reception.connections_of(name) as u64,
            }
        };
        self.addresses.iter().map(listener).collect()
    }
}
