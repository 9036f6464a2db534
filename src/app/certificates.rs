//! Certificates that changed on disk, as they do every few weeks: noticed by themselves, and put in force only if they are good.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::admin::CertificateStatus;
use crate::tls::{ServerSettings, Stamps, Tls};

/// Where nothing is to be watched, a reload may have changed that.
const UNWATCHED: Duration = Duration::from_secs(60);

/// Looks at the files as often as the settings say, until the relay drains.
pub(super) async fn watch(inner: Arc<Inner>, draining: CancellationToken) {
    let (mut of_listeners, mut of_api) = (None, None);
    loop {
        let pause = inner.in_force.rules.load().config.tls_watch;
        let sleep = tokio::time::sleep(pause.unwrap_or(UNWATCHED));
        if draining.run_until_cancelled(sleep).await.is_none() {
            return;
        }
        if inner.in_force.rules.load().config.tls_watch.is_some() {
            inner.renew_certificates(&mut of_listeners, &mut of_api).await;
        }
    }
}

impl Inner {
    /// The certificates that clients are shown.
    pub(super) fn certificates(&self) -> Vec<CertificateStatus> {
        let now = self.clock.now();
        let (rules, terms) = (self.in_force.rules.load(), self.terms.load());
        let smtp = rules.tls.iter().flat_map(|tls| tls.shown()).map(|shown| ("smtp", shown));
        let admin = terms.tls().into_iter().flat_map(|(_, tls)| tls.shown()).map(|shown| ("admin", shown));
        smtp.chain(admin).map(|(door, shown)| CertificateStatus::of(door, shown, now)).collect()
    }

    /// Those of the listeners, and that of the API, each for itself: what is wrong with one keeps no other.
    async fn renew_certificates(&self, of_listeners: &mut Option<Stamps>, of_api: &mut Option<Stamps>) {
        // A reload puts rules in force that it began to build earlier.
        let _turn = self.generation.lock().await;
        let rules = self.in_force.rules.load_full();
        if let (Some(settings), Some(old)) = (rules.config.tls.clone(), rules.tls.clone())
            && let Some(tls) = renewed("listeners", settings, old, of_listeners).await
        {
            self.in_force.replace_certificates(Arc::new(tls));
        }
        let terms = self.terms.load_full();
        if let Some((settings, old)) = terms.tls().cloned()
            && let Some(tls) = renewed("[admin.http]", settings, old, of_api).await
        {
            self.terms.store(Arc::new(terms.with_certificate(Arc::new(tls))));
        }
    }
}

/// What the files have now, if it is something else, and good. `refused` are the files that were no good last time: whoever
/// writes two of them makes the first one wait for the second, and the log needs to hear of a mistake only once.
async fn renewed(of: &str, settings: ServerSettings, old: Arc<Tls>, refused: &mut Option<Stamps>) -> Option<Tls> {
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
            tracing::info!(of, "certificates changed on disk and are in force");
            Some(tls)
        }
        Ok(Some((stamps, Err(error)))) => {
            tracing::error!(of, %error, "certificates changed on disk and are no good; the old ones go on serving");
            *refused = Some(stamps);
            None
        }
        // Nothing changed, or the runtime ends.
        Ok(None) | Err(_) => None,
    }
}
