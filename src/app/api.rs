//! The admin API around the running relay.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::admin::{self, Api, Config, Doors, Surroundings, Terms};
use crate::delivery::Dispatcher;
use crate::listen::Reception;
use crate::pulse::Pulse;
use crate::queue::{Injected, Injection};
use crate::routing::Hickory;

/// Who may ask over networks, and with which certificate.
pub(super) async fn terms(config: &Config) -> anyhow::Result<Terms> {
    let config = config.clone();
    let read = tokio::task::spawn_blocking(move || Terms::of(&config)).await?;
    read.context("the certificate of [admin.http]")
}

/// Where it is listened for, and who may ask.
pub(super) async fn open(config: &Config) -> anyhow::Result<(Doors, Arc<ArcSwap<Terms>>)> {
    let doors = admin::bind(config)?;
    if let Some(address) = doors.address() {
        tracing::info!(%address, "the admin API listens");
    }
    Ok((doors, Arc::new(ArcSwap::from_pointee(terms(config).await?))))
}

/// Has it counted what happens, from here on.
pub(super) fn counting(reception: &mut Reception, resolver: &Hickory, dispatcher: &Dispatcher) -> Pulse {
    let pulse = Pulse::default();
    reception.pulse = pulse.clone();
    resolver.count_in(pulse.clone());
    dispatcher.count_in(pulse.clone());
    pulse
}

/// The API of this relay.
pub(super) fn of(inner: &Arc<Inner>, draining: &CancellationToken) -> Arc<Api> {
    let audit = inner.started.queue.path.join("audit.jsonl");
    let listeners = inner.started.listen.listeners.iter();
    let message_max = listeners.map(|l| l.session.max_message_size).max().unwrap_or_default();
    let message_max = usize::try_from(message_max).unwrap_or(usize::MAX / 4);
    let around = Surroundings {
        terms: inner.terms.clone(),
        audit: Some(audit),
        pulse: inner.pulse.clone(),
        message_max,
        store: Some(inner.builder.services.store.clone()),
        draining: draining.clone(),
    };
    Api::new(inner.clone(), around)
}

impl Inner {
    /// Takes a message as a submission.
    pub(super) async fn injected(&self, mail: Injection) -> Result<Injected, Vec<String>> {
        let by = mail.by.clone();
        self.reception.inject(mail).await.map_err(|error| {
            tracing::error!(%error, %by, "a message that was handed in can't be taken");
            vec![error.to_string()]
        })
    }
}
