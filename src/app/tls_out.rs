//! What TLS on the way out needs: trusted authorities, a memory of the policies that domains publish, a ledger for the reports
//! that they get.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::config::Settings;
use crate::https::Client;
use crate::routing::Resolver;
use crate::store::Store;
use crate::sts::Policies;
use crate::time::Clock;
use crate::tls::TlsClients;
use crate::tlsrpt::{Ledger, Sender};

/// How often policies are looked through for old ones.
const ROUND: Duration = Duration::from_secs(60);

/// Made once, at the start.
pub(super) struct Outward {
    pub(super) clients: Arc<TlsClients>,
    pub(super) policies: Arc<Policies>,
    pub(super) ledger: Arc<Ledger>,
    client: Client,
    resolver: Arc<dyn Resolver>,
}

impl Outward {
    /// With the authorities of the system and of the settings, and the policies that the store has.
    pub(super) async fn open(
        settings: &Settings,
        store: Arc<dyn Store>,
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (trust, cache) = (settings.delivery.tls_out.trust.clone(), settings.delivery.tls_out.sts.cache);
        let open = move || {
            let clients = TlsClients::load(trust.as_deref()).context("setting up TLS for next hops")?;
            let clients = Arc::new(clients);
            let client = Client::new(resolver.clone(), clients.clone());
            let ledger = Ledger::open(store.clone(), clock.clone()).context("reading what TLS reports will say")?;
            let policies = Policies::open(resolver.clone(), client.clone(), store, clock, cache);
            let policies = policies.context("reading MTA-STS policies")?;
            Ok(Self { clients, policies: Arc::new(policies), ledger: Arc::new(ledger), client, resolver })
        };
        tokio::task::spawn_blocking(open).await?
    }

    /// What keeps policies fresh and sends reports.
    pub(super) fn tended(self, inner: &Arc<Inner>, draining: &CancellationToken) -> [JoinHandle<()>; 2] {
        let sender = Sender::new(self.ledger.clone(), inner.queue.clone(), self.resolver, self.client);
        let sender = sender.signing(inner.builder.signing.clone());
        [
            tokio::spawn(tend(inner.clone(), self.policies, draining.clone())),
            tokio::spawn(report(inner.clone(), sender, draining.clone())),
        ]
    }
}

/// Keeps policies fresh.
async fn tend(inner: Arc<Inner>, policies: Arc<Policies>, draining: CancellationToken) {
    let mut round = tokio::time::interval(ROUND);
    while draining.run_until_cancelled(round.tick()).await.is_some() {
        policies.tend(&inner.in_force.delivery.load().tls_out.sts);
    }
}

/// Sends the reports that are due.
async fn report(inner: Arc<Inner>, sender: Sender, draining: CancellationToken) {
    let mut round = tokio::time::interval(ROUND);
    while draining.run_until_cancelled(round.tick()).await.is_some() {
        let delivery = inner.in_force.delivery.load_full();
        let tending = sender.tend(&delivery.hostname, &delivery.tls_out.reports);
        if let Some(Err(error)) = draining.run_until_cancelled(tending).await {
            tracing::error!(%error, "TLS reports can't be kept");
        }
    }
}

/// At the end, what was counted last.
pub(super) async fn write_down(ledger: Arc<Ledger>) {
    let written = tokio::task::spawn_blocking(move || ledger.write()).await;
    if let Ok(Err(error)) = written {
        tracing::error!(%error, "TLS reports can't be kept");
    }
}
