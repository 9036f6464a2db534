//! What the admin socket can ask of a running relay, and the reload.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::plugin::Mode;

impl Inner {
    /// Builds a whole new set of rules from the configuration file, and swaps it in if all of it is good.
    ///
    /// # Errors
    /// Everything that is wrong, a line each; the old set goes on serving.
    pub(crate) async fn reload(&self) -> Result<u64, Vec<String>> {
        let mut number = self.reloads.lock().await;
        let generation = *number + 1;
        match self.build_and_swap(generation).await {
            Ok(()) => {
                *number = generation;
                tracing::info!(generation, "reloaded");
                Ok(generation)
            }
            Err(errors) => {
                for error in &errors {
                    tracing::error!(%error, "reload refused; the old set goes on serving");
                }
                Err(errors)
            }
        }
    }

    async fn build_and_swap(&self, generation: u64) -> Result<(), Vec<String>> {
        let path = self.config_path.clone();
        let loaded = tokio::task::spawn_blocking(move || crate::config::load(&path)).await;
        let settings = loaded.map_err(|e| vec![e.to_string()])?.map_err(|errors| lines(&errors))?;
        self.refuse_what_needs_a_restart(&settings)?;
        let previous = self.plugins.load_full();
        let set = self.builder.plugins(&settings.plugins, Mode::Strict, Some(&previous), generation).await;
        let set = Arc::new(set.map_err(|errors| lines(&errors))?);
        let rules = self.builder.rules(&settings, set.clone()).await.map_err(|e| vec![format!("{e:#}")])?;
        let policy = self.builder.policy(&settings, set.clone());
        self.reception.rules.store(Arc::new(rules));
        self.policy.store(Arc::new(policy));
        self.plugins.store(set);
        Ok(())
    }
}
