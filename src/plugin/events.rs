//! What a set of plugins tells the relay while it serves: that something is to be done about its generation.

use std::sync::Arc;

/// Something to be done. Told once each; a listener that is behind misses nothing that `PluginSet::list` does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A plugin's breaker opened.
    Tripped {
        /// Of this set.
        generation: u64,
        /// `[plugins.NAME]`.
        plugin: Arc<str>,
    },
    /// A candidate has earned its promotion by the rule it was given.
    Ripe {
        /// Of this set.
        generation: u64,
        /// `[plugins.NAME]`.
        plugin: Arc<str>,
    },
}

/// Where events go. Cheap to clone; never waits: what nobody takes in time is dropped.
#[derive(Clone, Debug)]
pub struct Events(tokio::sync::mpsc::Sender<Event>);

/// Events that may wait for the relay.
const WAITING: usize = 256;

impl Events {
    /// Both ends.
    pub fn channel() -> (Self, tokio::sync::mpsc::Receiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    pub(crate) fn tell(&self, event: Event) {
        // Full or closed: the state that led to it stays, and is told again when it next changes.
        let _ = self.0.try_send(event);
    }
}
