//! What others of this room may see of the dispatcher. Nothing here decides anything.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Dispatcher;
use crate::delivery::Config;
use crate::delivery::attach::LookUps;
use crate::delivery::connector::Connector;
use crate::delivery::lane::Lane;
use crate::delivery::places::Places;
use crate::delivery::pools::Sources;
use crate::delivery::sites::Sites;
use crate::delivery::tls_out::Wisdom;
use crate::history::History;
use crate::hooks::Hooks;
use crate::queue::Queue;
use crate::routing::{Resolver, Table};
use crate::suppression::Suppression;
use crate::time::Clock;

impl Dispatcher {
    pub(in crate::delivery) fn suppression(&self) -> Option<&Suppression> {
        self.suppression.get()
    }

    pub(in crate::delivery) fn history(&self) -> Option<&History> {
        self.history.get()
    }

    /// The configuration of this moment.
    pub(in crate::delivery) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The hooks of this moment.
    pub(in crate::delivery) fn hooks(&self) -> Arc<Arc<dyn Hooks>> {
        self.hooks.load_full()
    }

    pub(in crate::delivery) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The routes of this moment.
    pub(in crate::delivery) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    pub(in crate::delivery) fn sites(&self) -> &Sites {
        &self.sites
    }

    pub(in crate::delivery) fn sources(&self) -> &Arc<Mutex<Sources>> {
        &self.sources
    }

    /// Completes when nothing new is to be begun.
    pub(in crate::delivery) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    pub(in crate::delivery) fn places(&self) -> &Places {
        &self.places
    }

    pub(in crate::delivery) fn look_ups(&self) -> &LookUps {
        &self.look_ups
    }

    /// All lanes.
    pub(in crate::delivery) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.lock().values().cloned().collect()
    }

    pub(in crate::delivery) fn resolver(&self) -> &dyn Resolver {
        &*self.resolver
    }

    pub(in crate::delivery) fn connector(&self) -> &dyn Connector {
        &*self.connector
    }

    pub(in crate::delivery) fn wisdom(&self) -> &Wisdom {
        &self.wisdom
    }

    pub(in crate::delivery) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
