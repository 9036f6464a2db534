//! Keys that sign: read with everything else, and read again when their files change, as they do when keys are rotated.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Inner;
use super::rules::lines;
use crate::config::Settings;
use crate::routing::Hickory;
use crate::signing::{self, Config, Keys, Published, Stamps};

/// How often the files are looked at. A key is published some time before it signs, so nobody waits for it.
const PAUSE: Duration = Duration::from_secs(60);

/// Reads all keys; blocking.
pub(super) fn load(config: &Config) -> anyhow::Result<Keys> {
    let keys = Keys::load(config).map_err(|errors| anyhow::anyhow!(lines(&errors).join("\n")))?;
    for text in keys.warnings() {
        tracing::warn!("{text}");
    }
    Ok(keys)
}

/// Looks at the files every now and then, until the relay drains.
pub(super) async fn watch(inner: std::sync::Arc<Inner>, draining: CancellationToken) {
    let mut refused = None;
    while draining.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        inner.renew_keys(&mut refused).await;
    }
}

impl Inner {
    /// `refused` are the files that were no good last time: the log needs to hear of a mistake only once.
    async fn renew_keys(&self, refused: &mut Option<Stamps>) {
        // A reload puts keys in force that it began to read earlier.
        let _turn = self.generation.lock().await;
        let (old, known) = (self.in_force.signing.keys(), refused.clone());
        let look = move || {
            let stamps = old.config().stamps();
            let changed = stamps != *old.stamps() && known.as_ref() != Some(&stamps);
            changed.then(|| (stamps, load(old.config())))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Some((_, Ok(keys)))) => {
                *refused = None;
                self.in_force.signing.replace(keys);
                tracing::info!("signing keys changed on disk and are in force");
            }
            Ok(Some((stamps, Err(error)))) => {
                tracing::error!(%error, "signing keys changed on disk and are no good; the old ones go on signing");
                *refused = Some(stamps);
            }
            // Nothing changed, or the runtime ends.
            Ok(None) | Err(_) => {}
        }
    }
}

/// Reads the keys of the settings as a start would; blocking.
///
/// # Errors
/// What is wrong with them. Otherwise what an operator should know, a line each.
pub fn check_keys(settings: &Settings) -> Result<Vec<String>, Vec<String>> {
    Keys::load(&settings.signing).map(|keys| keys.warnings()).map_err(|errors| lines(&errors))
}

/// Asks the DNS whether it has the key of `[dkim.NAME]`: where it looked, and what it found.
///
/// # Errors
/// Why it can't be asked.
pub async fn check_published(settings: &Settings, name: &str) -> Result<(String, Published), String> {
    let resolver = Hickory::new(&settings.dns).map_err(|error| format!("the resolver can't be set up: {error}"))?;
    match signing::check(&settings.signing, name, &resolver).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(format!("there is no [dkim.{name}] in the configuration")),
        Err(error) => Err(error.to_string()),
    }
}
