//! The reload: the new whole is built beside the old one and swapped in, or refused with every reason.

use super::Inner;
use super::rules::lines;
use crate::admin::ReloadReport;
use crate::config::Settings;

impl Inner {
    /// Reads the configuration file and everything it names anew.
    ///
    /// # Errors
    /// Everything that is wrong, a line each; the old set goes on serving.
    pub(crate) async fn reload(&self) -> Result<ReloadReport, Vec<String>> {
        let mut last = self.generation.lock().await;
        let generation = *last + 1;
        match self.build_and_swap(generation).await {
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

    async fn build_and_swap(&self, generation: u64) -> Result<ReloadReport, Vec<String>> {
        let path = self.config_path.clone();
        let loaded = tokio::task::spawn_blocking(move || crate::config::load(&path)).await;
        let settings = loaded.map_err(|e| vec![e.to_string()])?.map_err(|errors| lines(&errors))?;
        let before = self.in_force.plugins.load_full();
        let new = self.builder.next(&settings, &before, generation).await?;
        let report = ReloadReport {
            generation,
            changes: self.changes(&settings),
            needs_restart: needs_restart(&self.started, &settings),
        };
        self.in_force.replace(new);
        Ok(report)
    }

    fn changes(&self, new: &Settings) -> Vec<String> {
        let rules = self.in_force.rules.load();
        let parts = [
            ("receiving", format!("{:?}", rules.config) != format!("{:?}", new.listen)),
            ("delivery", format!("{:?}", self.in_force.delivery.load()) != format!("{:?}", new.delivery)),
            ("routing", format!("{:?}", self.in_force.table.load()) != format!("{:?}", new.routing)),
        ];
        let parts = parts.into_iter().filter(|(_, changed)| *changed).map(|(part, _)| part.to_owned());
        parts.chain(self.in_force.plugins.load().changes(&new.plugins)).collect()
    }
}

/// What a running relay keeps from its start, whatever the file says now.
fn needs_restart(started: &Settings, new: &Settings) -> Vec<String> {
    let sockets = |settings: &Settings| {
        settings.listen.listeners.iter().map(|l| (l.name.clone(), l.address)).collect::<Vec<_>>()
    };
    let parts = [
        ("listeners", sockets(started) != sockets(new)),
        ("queue", format!("{:?}", started.queue) != format!("{:?}", new.queue)),
        ("admin.socket", started.admin != new.admin),
        ("log", format!("{:?}", started.log) != format!("{:?}", new.log)),
    ];
    let parts = parts.into_iter().filter(|(_, changed)| *changed);
    parts.map(|(part, _)| format!("{part}: changed, and in force after a restart only")).collect()
}
