//! From settings to what the loops use: everything new is built and checked here before anything old is replaced.

use std::sync::Arc;

use anyhow::Context;

use crate::config::Settings;
use crate::delivery;
use crate::hooks::Hooks;
use crate::listen::{Credentials, Rules};
use crate::plugin::{self, Engine, LoadError, Mode, PluginSet, Services};
use crate::store::{Spool, Store};
use crate::time::Clock;

/// Builds what a reload replaces.
pub(crate) struct Builder {
    engine: Engine,
    services: Services,
}

impl Builder {
    pub(crate) fn new(store: Arc<dyn Store>, spool: Spool, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let engine = Engine::new().context("starting the WebAssembly engine")?;
        Ok(Self { engine, services: Services { store, spool, clock } })
    }

    /// The plugins of a generation. `previous` lends compiled code of components that did not change.
    pub(crate) async fn plugins(
        &self,
        config: &plugin::Config,
        mode: Mode,
        previous: Option<&PluginSet>,
        generation: u64,
    ) -> Result<PluginSet, Vec<LoadError>> {
        PluginSet::build(&self.engine, config, &self.services, mode, previous, generation).await
    }

    /// What receiving needs.
    pub(crate) async fn rules(&self, settings: &Settings, hooks: Arc<dyn Hooks>) -> anyhow::Result<Rules> {
        let config = settings.listen.clone();
        let built = tokio::task::spawn_blocking(move || {
            let acceptor = match &config.certificate {
                Some(certificate) => Some(crate::tls::acceptor(&certificate.chain, &certificate.key)?),
                None => None,
            };
            let credentials = match &config.credentials {
                Some(path) => Some(Arc::new(Credentials::load(path)?)),
                None => None,
            };
            Ok::<_, anyhow::Error>(Rules { config, acceptor, credentials, hooks })
        });
        built.await?
    }

    /// What delivering needs.
    pub(crate) fn policy(&self, settings: &Settings, hooks: Arc<dyn Hooks>) -> delivery::Policy {
        delivery::Policy { config: settings.delivery.clone(), table: settings.routing.clone(), hooks }
    }
}

/// Loads every plugin of the settings as a reload would, in a store of its own; returns what is wrong.
pub async fn check_plugins(settings: &Settings) -> Vec<String> {
    let check = async {
        let store: Arc<dyn Store> = Arc::new(crate::store::Scratch::default());
        let spool = Spool::scratch();
        let builder = Builder::new(store, spool, Arc::new(crate::time::System))?;
        let built = builder.plugins(&settings.plugins, Mode::Strict, None, 0).await;
        Ok::<_, anyhow::Error>(built.err().unwrap_or_default().iter().map(ToString::to_string).collect())
    };
    check.await.unwrap_or_else(|error| vec![format!("{error:#}")])
}
