//! What the admin socket can ask of a running relay.

use std::sync::Arc;

use bytes::Bytes;

use super::Inner;
use crate::admin::{Control, ListenerStatus, Pending, ReloadReport, Status, StoreStatus};
use crate::mail::QueueId;
use crate::queue::{Command, Filter, Record};

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
                queue: self.queue.counts(),
                store: StoreStatus {
                    path: self.started.queue.path.display().to_string(),
                    free: self.queue.spool().room().free(),
                    refusing: self.queue.has_room().err().map(|e| e.to_string()),
                },
                plugins,
            })
        })
    }

    fn reload(&self) -> Pending<'_, ReloadReport> {
        Box::pin(Self::reload(self))
    }

    fn queue_list(&self, filter: Filter, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Arc<Record>>> {
        let queue = self.queue.clone();
        let list = move || queue.list(&filter, after, limit);
        Box::pin(async move {
            let listed = tokio::task::spawn_blocking(list).await.map_err(|e| vec![e.to_string()])?;
            listed.map_err(|e| vec![e.to_string()])
        })
    }

    fn queue_show(&self, id: QueueId) -> Pending<'_, Option<(Arc<Record>, Bytes)>> {
        Box::pin(async move { self.queue.show(id).await.map_err(|e| vec![e.to_string()]) })
    }

    fn queue_command(&self, filter: Filter, command: Command) -> Pending<'_, u64> {
        Box::pin(async move {
            let changed = self.queue.command(&filter, command.clone()).await.map_err(|e| vec![e.to_string()])?;
            tracing::info!(?filter, ?command, changed, "an operator changed the queue");
            Ok(changed)
        })
    }

    fn plugins(&self) -> Pending<'_, Vec<serde_json::Value>> {
        let plugins = self.in_force.plugins.load().list();
        let plugins = plugins.iter().map(|p| serde_json::to_value(p).map_err(|e| vec![e.to_string()])).collect();
        Box::pin(std::future::ready(plugins))
    }

    fn plugin_metrics(&self, plugin: Option<String>) -> Pending<'_, Vec<serde_json::Value>> {
        let set = self.in_force.plugins.load();
        let known = |name: &String| set.list().iter().any(|info| info.name == *name);
        let counted = match plugin.filter(|name| !known(name)) {
            Some(name) => Err(vec![format!("no plugin {name}")]),
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
}

impl Inner {
    fn listeners(&self) -> Vec<ListenerStatus> {
        let rules = self.reception.rules.load();
        let listener = |(name, address): &(Arc<str>, std::net::SocketAddr)| {
            let configured = rules.config.listeners.iter().find(|l| l.name == *name);
            let tls = configured.map(|l| l.tls).and_then(|tls| serde_json::to_value(tls).ok());
            ListenerStatus {
                name: name.to_string(),
                address: address.to_string(),
                tls: tls.and_then(|tls| tls.as_str().map(ToOwned::to_owned)).unwrap_or_default(),
                connections: self.reception.connections_of(name) as u64,
            }
        };
        self.addresses.iter().map(listener).collect()
    }
}
