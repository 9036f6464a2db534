//! What the service manager is told (sd_notify(3)): ready, reloading, stopping, and that the relay still works.
//!
//! Only where `NOTIFY_SOCKET` is set; otherwise nothing here does anything. A ping must mean that mail can be taken: it is sent only
//! after a task ran, a blocking thread ran, and the store flushed a write.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError, Write};

/// A tree of its own, with one key.
const TREE: &str = "pulse";

/// Every listener listens and the queue is open.
pub(super) fn ready(generation: u64) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("Generation {generation} serves"))]);
}

/// Settings are being read anew; [`ready`] says that it is over, whatever came of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd 253 and later want to know since when; older ones ignore it.
        Ok(since) => tell(&[NotifyState::Reloading, since, NotifyState::Status("Reloading")]),
        Err(_) => tell(&[NotifyState::Reloading, NotifyState::Status("Reloading")]),
    }
}

/// No new work is begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Draining: transactions under way come to their end")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// Pings the watchdog, if there is one, three times in the time it waits; until `over`, and while the relay drains too.
pub(super) async fn ping(store: Arc<dyn Store>, over: CancellationToken) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let every = (patience / 3).max(Duration::from_millis(50));
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    while over.run_until_cancelled(turns.tick()).await.is_some() {
        match tokio::time::timeout(patience, works(&store)).await {
            Ok(Ok(())) => {
                told = false;
                tell(&[NotifyState::Watchdog]);
            }
            Ok(Err(error)) if !told => {
                told = true;
                tracing::error!(%error, "the store is of no use: the watchdog is left to restart the relay");
            }
            Ok(Err(_)) => {}
            Err(_late) => tracing::error!("the store does not answer: the watchdog is left to restart the relay"),
        }
    }
}

/// That blocking threads run, and that the store makes a write durable. A full disk is no reason for a restart.
async fn works(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let reader = store.clone();
    let beat = tokio::task::spawn_blocking(move || reader.get(TREE, b"beat")).await;
    let beat = beat.unwrap_or(Err(StoreError::Closed))?;
    let last = beat.and_then(|octets| octets.first_chunk::<8>().copied()).map_or(0, u64::from_be_bytes);
    let value = Bytes::copy_from_slice(&last.wrapping_add(1).to_be_bytes());
    match store.commit(TREE, vec![Write::Put { key: Bytes::from_static(b"beat"), value }]).await {
        Err(StoreError::Full(_)) => Ok(()),
        done => done,
    }
}
