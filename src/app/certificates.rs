//! Certificates that changed on disk, as they do every few weeks: noticed by themselves, and put in force only if they are good.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::tls::{Stamps, Tls};

/// Where nothing is to be watched, a reload may have changed that.
const UNWATCHED: Duration = Duration::from_secs(60);

/// Looks at the files as often as the settings say, until the relay drains.
pub(super) async fn watch(inner: Arc<Inner>, draining: CancellationToken) {
    let mut refused = None;
    loop {
        let pause = inner.in_force.rules.load().config.tls_watch;
        let sleep = tokio::time::sleep(pause.unwrap_or(UNWATCHED));
        if draining.run_until_cancelled(sleep).await.is_none() {
            return;
        }
        if inner.in_force.rules.load().config.tls_watch.is_some() {
            inner.renew_certificates(&mut refused).await;
        }
    }
}

impl Inner {
    /// `refused` are the files that were no good last time: whoever writes two of them makes the first one wait for the second,
    /// and the log needs to hear of a mistake only once.
    async fn renew_certificates(&self, refused: &mut Option<Stamps>) {
        // A reload puts rules in force that it began to build earlier.
        let _turn = self.generation.lock().await;
        let rules = self.in_force.rules.load_full();
        let (Some(settings), Some(old)) = (rules.config.tls.clone(), rules.tls.clone()) else { return };
        let known = refused.clone();
        let look = move || {
            let stamps = settings.stamps();
            let changed = stamps != *old.stamps() && known.as_ref() != Some(&stamps);
            changed.then(|| (stamps, Tls::load(&settings)))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Some((_, Ok(tls)))) => {
                *refused = None;
                for text in tls.warnings() {
                    tracing::warn!("{text}");
                }
                self.in_force.replace_certificates(Arc::new(tls));
                tracing::info!("certificates changed on disk and are in force");
            }
            Ok(Some((stamps, Err(error)))) => {
                tracing::error!(%error, "certificates changed on disk and are no good; the old ones go on serving");
                *refused = Some(stamps);
            }
            // Nothing changed, or the runtime ends.
            Ok(None) | Err(_) => {}
        }
    }
}
