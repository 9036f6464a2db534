//! `config`, `log`, `metrics`, `rate-limits` and `system`, which every plugin is granted.

use super::{error, invalid, with};
use crate::bindings::imports::waypost::plugin as wit;
use crate::{ErrorCode, HostError, Timestamp};

/// What the operator wrote for the plugin.
pub mod config {
    use super::{ErrorCode, HostError, error, with};

    /// A value by its key: a string as it is, anything else as JSON.
    pub fn get(key: &str) -> Option<String> {
        let table: serde_json::Value = serde_json::from_str(&document()).ok()?;
        match table.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The whole table as JSON.
    pub fn document() -> String {
        with(|state| state.services.config.clone())
    }

    /// A secret by its name.
    ///
    /// # Errors
    /// `denied` unless the test gave it.
    pub fn secret(name: &str) -> Result<String, HostError> {
        let secret = with(|state| state.services.secrets.get(name).cloned());
        secret
            .ok_or_else(|| error(ErrorCode::Denied, &format!("add `secrets = {{ {name} = \"FILE\" }}` to its grants")))
    }
}

/// The relay's log.
pub mod log {
    pub use super::wit::log::Level;
    use super::with;

    /// True: a test sees every line.
    pub fn enabled(_level: Level) -> bool {
        true
    }

    /// Writes a line, here as `level message key=value`.
    pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        with(|state| state.call.log.push(format!("{level} {message}{fields}")));
    }
}

/// Counters and histograms.
pub mod metrics {
    use super::super::state::State;
    use super::{HostError, invalid, with};

    /// Adds to a counter.
    ///
    /// # Errors
    /// `invalid-argument` for what is not declared, if the test says what is.
    pub fn add(counter: &str, delta: u32, labels: &[(String, String)]) -> Result<(), HostError> {
        with(|state| {
            let series = series(state, counter, labels)?;
            *state.call.counters.entry(series).or_default() += u64::from(delta);
            Ok(())
        })
    }

    /// Adds an observation to a histogram.
    ///
    /// # Errors
    /// As `add`; `invalid-argument` also for what is no finite number.
    pub fn observe(histogram: &str, value: f64, labels: &[(String, String)]) -> Result<(), HostError> {
        if !value.is_finite() {
            return Err(invalid("an observation is a finite number"));
        }
        with(|state| {
            let series = series(state, histogram, labels)?;
            state.call.observed.entry(series).or_default().push(value);
            Ok(())
        })
    }

    /// `name`, or `name{key=value,key=value}`.
    fn series(state: &State, name: &str, labels: &[(String, String)]) -> Result<String, HostError> {
        let declared = &state.services.declared;
        if !declared.is_empty() {
            let keys = declared.get(name).ok_or_else(|| invalid(&format!("`{name}` is not declared")))?;
            if let Some((key, _)) = labels.iter().find(|(key, _)| !keys.contains(key)) {
                return Err(invalid(&format!("label `{key}` of `{name}` is not declared")));
            }
        }
        if labels.is_empty() {
            return Ok(name.to_owned());
        }
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok(format!("{name}{{{}}}", labels.join(",")))
    }
}

/// Token buckets.
pub mod rate_limits {
    pub use super::wit::rate_limits::{Decision, Quota};

    use super::super::state::Pail;
    use super::{HostError, invalid, with};

    /// Takes `cost` tokens if it can.
    ///
    /// # Errors
    /// `invalid-argument` for a key, a quota or a cost that does not fit.
    pub fn take(key: &str, quota: Quota, cost: u32) -> Result<Decision, HostError> {
        if !(1..=512).contains(&key.len()) {
            return Err(invalid("a key has 1 to 512 octets"));
        }
        if quota.burst == 0 || quota.refill == 0 || quota.period_millis == 0 {
            return Err(invalid("burst, refill and period are at least 1"));
        }
        if cost > quota.burst {
            return Err(invalid("the cost is above the burst"));
        }
        let period = u128::from(quota.period_millis);
        let full = u128::from(quota.burst) * period;
        with(|state| {
            let now = state.services.clock;
            let pail = state.services.rates.entry(key.to_owned()).or_insert(Pail { parts: full, period, at: now });
            let millis = u128::from(now.saturating_sub(pail.at).max(0).unsigned_abs()) * 1000;
            // Other settings than last time: as full as it was, in the new measure.
            let parts = pail.parts * period / pail.period;
            pail.parts = (parts + millis * u128::from(quota.refill)).min(full);
            (pail.period, pail.at) = (period, now);
            let wanted = u128::from(cost) * period;
            let allowed = wanted <= pail.parts;
            let missing =
                if allowed && cost > 0 { 0 } else { (u128::from(cost.max(1)) * period).saturating_sub(pail.parts) };
            if allowed {
                pail.parts -= wanted;
            }
            Ok(Decision {
                allowed,
                remaining: small(pail.parts / period),
                retry_after_millis: small(missing.div_ceil(quota.refill.into())),
            })
        })
    }

    fn small(number: u128) -> u32 {
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

/// Time and randomness.
pub mod system {
    use super::{Timestamp, with};

    /// The test's time, which stands still.
    pub fn now() -> Timestamp {
        with(|state| Timestamp { seconds: state.services.clock, nanoseconds: 0 })
    }

    /// The same octets in every run of the test; at most 1024.
    pub fn random_bytes(count: u32) -> Vec<u8> {
        (0..count.min(1024)).map(|_| with(|state| next(&mut state.services.random))).collect()
    }

    /// One step of a linear congruential generator; its upper bits are good enough for tests.
    fn next(state: &mut u64) -> u8 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(*state >> 56).unwrap_or(0)
    }
}
