//! The reload: the new whole is built beside the old one and swapped in, or refused with every reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Inner;
use super::differences::{Takes, differences};
use super::history::{Cause, Swap};
use super::manager;
use super::plugins::settle;
use super::rules::lines;
use crate::admin::{ReloadReport, Weakening};
use crate::config::Settings;
use crate::plugin::{self, Laid, PluginConfig, PluginSet};
use crate::routing::Hickory;

impl Inner {
    /// Reads the configuration file and everything it names anew, and opens the log file anew whatever comes of that.
    ///
    /// # Errors
    /// Everything that is wrong, a line each; the old set goes on serving.
    pub(crate) async fn reload(&self, by: &str, weakening: Weakening) -> Result<ReloadReport, Vec<String>> {
        self.log.reopen();
        let mut last = self.generation.lock().await;
        let generation = *last + 1;
        manager::reloading();
        let built = self.build_and_swap(generation, by, weakening).await;
        manager::ready(if built.is_ok() { generation } else { *last });
        match built {
            Ok(report) => {
                *last = generation;
                tracing::info!(generation, changes = ?report.changes, "reloaded");
                for text in &report.needs_restart {
                    tracing::warn!("{text}");
                }
                Ok(report)
            }
            Err(errors) => {
                for error in &errors {
                    tracing::error!(%error, "reload refused; the old set goes on serving");
                }
                Err(errors)
            }
        }
    }

    async fn build_and_swap(
        &self,
        generation: u64,
        by: &str,
        weakening: Weakening,
    ) -> Result<ReloadReport, Vec<String>> {
        let (path, history) = (self.config_path.clone(), self.history.clone());
        let loaded = tokio::task::spawn_blocking(move || {
            let settings = crate::config::load(&path).map_err(|errors| lines(&errors))?;
            let laid = history.lay(&settings.plugins);
            Ok::<_, Vec<String>>((settings, laid))
        });
        let (settings, laid) = loaded.await.map_err(|e| vec![e.to_string()])??;
        let (file, Laid { config, overrides, ended }) = (settings.plugins.clone(), laid);
        let settings = Settings { plugins: config.clone(), ..settings };
        let new = self.builder.next(&settings, generation).await?;
        let resolver = self.another_resolver(&settings).await?;
        let terms = super::api::terms(&settings.admin).await.map_err(|error| vec![format!("{error:#}")])?;
        let cause = Cause { reason: "reload".to_owned(), by: by.to_owned() };
        let weakenings = self.weighed(&config, &new.plugins, weakening, &cause).await?;
        let mut report = ReloadReport {
            generation,
            changes: self.changes(&settings, &new.plugins),
            needs_restart: needs_restart(&self.started, &settings),
            weakenings: weakenings.clone(),
        };
        report.changes.extend(ended);
        if let Some(resolver) = resolver {
            self.resolver.become_like(&resolver);
            report.changes.push("dns".to_owned());
        }
        let (plugins, last_good) = (new.plugins.list(), BTreeMap::new());
        self.in_force.replace(new);
        self.terms.store(Arc::new(terms));
        self.builder.configure(&settings);
        self.finished.configure(&settings.history);
        self.suppression.configure(&settings.suppression);
        if self.queue.set_quotas(&settings.queue.quotas) {
            report.changes.push("quotas".to_owned());
        }
        let (number, taken_back) = (generation, None);
        let file = Some(file);
        let swap = Swap { number, config, plugins, file, overrides, last_good, cause, weakenings, taken_back };
        settle(&self.history, &self.builder, swap, &self.clock).await;
        Ok(report)
    }

    /// The resolver that the settings ask for, if it is another one than there is. That one goes on with what it knows.
    async fn another_resolver(&self, new: &Settings) -> Result<Option<Hickory>, Vec<String>> {
        if self.resolver.settings() == new.dns {
            return Ok(None);
        }
        let dns = new.dns.clone();
        let made = tokio::task::spawn_blocking(move || Hickory::new(&dns)).await.map_err(|e| vec![e.to_string()])?;
        made.map(Some).map_err(|error| vec![error.to_string()])
    }

    fn changes(&self, new: &Settings, plugins: &PluginSet) -> Vec<String> {
        let rules = self.in_force.rules.load();
        let parts = [
            ("receiving", format!("{:?}", rules.config) != format!("{:?}", new.listen)),
            ("delivery", format!("{:?}", self.in_force.delivery.load()) != format!("{:?}", new.delivery)),
            ("routing", format!("{:?}", self.in_force.table.load()) != format!("{:?}", new.routing)),
            ("signing", *self.in_force.signing.keys().config() != new.signing),
            ("plugin-host", self.in_force.plugin_config.load().host != new.plugins.host),
            ("suppression", format!("{:?}", self.suppression.config()) != format!("{:?}", new.suppression)),
        ];
        let parts = parts.into_iter().filter(|(_, changed)| *changed).map(|(part, _)| part.to_owned());
        let before = self.in_force.plugin_config.load();
        let settings = plugin_settings(&before, &new.plugins);
        parts.chain(plugin_changes(&self.in_force.plugins.load(), plugins)).chain(settings).collect()
    }
}

/// Which plugins came, went, or are another component than before.
pub(super) fn plugin_changes(before: &PluginSet, after: &PluginSet) -> Vec<String> {
    let digests = |set: &PluginSet| set.list().into_iter().map(|p| (p.name, p.sha256)).collect::<BTreeMap<_, _>>();
    let (before, after) = (digests(before), digests(after));
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("plugin {name}: removed"));
    let here = after.iter().filter_map(|(name, digest)| match before.get(name) {
        None => Some(format!("plugin {name}: added")),
        Some(was) if was != digest => Some(format!("plugin {name}: another component")),
        Some(_) => None,
    });
    gone.chain(here).collect()
}

/// Which plugins are there as before, with other settings.
fn plugin_settings<'a>(before: &'a plugin::Config, after: &'a plugin::Config) -> impl Iterator<Item = String> + 'a {
    let change = |(name, new): (&Arc<str>, &PluginConfig)| {
        let old = before.plugins.get(name)?;
        let (was, is) = (old.candidate.is_some(), new.candidate.is_some());
        // Which component it is, is told by its digest.
        let alike = PluginConfig { candidate: None, path: new.path.clone(), sha256: new.sha256, ..old.clone() };
        let same = alike == PluginConfig { candidate: None, ..new.clone() };
        Some(match (same, was, is) {
            (false, ..) => format!("plugin {name}: other settings"),
            (true, true, false) => format!("plugin {name}: no candidate any more"),
            (true, false, true) => format!("plugin {name}: a candidate beside it"),
            (true, true, true) if old.candidate != new.candidate => format!("plugin {name}: another candidate"),
            _ => return None,
        })
    };
    after.plugins.iter().filter_map(change)
}

/// What a running relay keeps from its start, whatever the file says now.
fn needs_restart(started: &Settings, new: &Settings) -> Vec<String> {
    let parts = differences(started, new).into_iter().filter(|(_, takes)| *takes == Takes::Restart);
    parts.map(|(part, _)| format!("{part}: changed, and in force after a restart only")).collect()
}
