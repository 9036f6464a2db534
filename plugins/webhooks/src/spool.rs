//! What could not be told waits in the plugin's kv bucket, one key for each request, and is told at a later event.
//!
//! Everything here is best effort: a spool that can't be written to loses an event, never a mail.

use waypost_plugin::{OWN, rate_limits, raw_kv, system};

use crate::settings::Settings;

/// Begins the keys of what waits; the time follows, so that the oldest is first.
const PREFIX: &str = "e:";

/// The relay's rate limit that says whether the service is left alone.
const PAUSE: &str = "pause";

/// Counts what waits, roughly: it is there to bound the spool, not to be right.
const COUNT: &str = "count";

/// True while the service is left alone because it did not answer a moment ago.
pub(crate) fn is_paused(settings: &Settings) -> bool {
    matches!(rate_limits::take(PAUSE, quota(settings), 0), Ok(decision) if decision.remaining == 0)
}

/// Leaves the service alone for a while.
pub(crate) fn pause(settings: &Settings) {
    // Without it the service is asked sooner.
    let _ = rate_limits::take(PAUSE, quota(settings), 1);
}

/// One failure at a time: a token that is gone for as long as the service is left alone.
fn quota(settings: &Settings) -> rate_limits::Quota {
    rate_limits::Quota { burst: 1, refill: 1, period_millis: settings.retry_seconds.saturating_mul(1000) }
}

/// Keeps a body to be told later.
///
/// # Errors
/// There is no spool, it is full, or kv refuses.
pub(crate) fn keep(body: &[u8], settings: &Settings) -> Result<(), String> {
    if settings.spool_keys == 0 {
        return Err("nothing is kept".to_owned());
    }
    let count = raw_kv::increment(OWN.0, COUNT, 1, Some(settings.spool_seconds))?;
    if count > i64::from(settings.spool_keys) {
        let _ = raw_kv::increment(OWN.0, COUNT, -1, None);
        return Err("the spool is full".to_owned());
    }
    let now = system::now();
    let random = system::random_bytes(6).iter().fold(0_u64, |all, octet| all << 8 | u64::from(*octet));
    let key = format!("{PREFIX}{:012}.{:09}.{random:012x}", now.seconds.max(0), now.nanoseconds);
    raw_kv::set(OWN.0, &key, body, Some(settings.spool_seconds))?;
    Ok(())
}

/// The oldest that waits, and its key.
pub(crate) fn oldest(settings: &Settings) -> Option<(String, Vec<u8>)> {
    if settings.spool_keys == 0 {
        return None;
    }
    let key = raw_kv::keys(OWN.0, PREFIX, None, 1).ok()?.keys.into_iter().next();
    let Some(key) = key else {
        // Those that ran out of time were never counted down.
        if matches!(raw_kv::get_text(OWN.0, COUNT), Ok(Some(count)) if count != "0") {
            let _ = raw_kv::delete(OWN.0, COUNT);
        }
        return None;
    };
    let found = raw_kv::get(OWN.0, &key).ok()??;
    Some((key, found.value))
}

/// It was told.
pub(crate) fn forget(key: &str) {
    // What stays is told once more, with the same ids.
    if raw_kv::delete(OWN.0, key).is_ok() {
        let _ = raw_kv::increment(OWN.0, COUNT, -1, None);
    }
}
