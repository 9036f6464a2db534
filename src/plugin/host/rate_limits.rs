//! `rate-limits`: token buckets, one set for each plugin.

use wasmtime::Result;

use super::super::rates;
use super::super::state::{State, error};
use super::wit::rate_limits::{Decision, Host, Quota};
use super::wit::types::{ErrorCode, HostError};

/// Octets of a key.
const KEY_MAX: usize = 512;

fn checked(key: &str, quota: &Quota, cost: u32) -> Result<rates::Quota, HostError> {
    let invalid = |why: &str| error(ErrorCode::InvalidArgument, why);
    if !(1..=KEY_MAX).contains(&key.len()) {
        return Err(invalid("a key has 1 to 512 octets"));
    }
    let quota = rates::Quota::new(quota.burst, quota.refill, quota.period_millis);
    let quota = quota.ok_or_else(|| invalid("burst, refill and period of a quota are at least 1"))?;
    if cost > quota.burst() {
        return Err(invalid("a cost above the burst can never be paid"));
    }
    Ok(quota)
}

impl Host for State {
    fn take(&mut self, key: String, quota: Quota, cost: u32) -> Result<Result<Decision, HostError>> {
        self.charge()?;
        self.taped("rate-limits.take", &(&key, &quota, cost), |state| {
            let now = state.shared.services.clock.now();
            let decision = state.shared.rates.take(&key, checked(&key, &quota, cost)?, cost, now);
            Ok(Decision {
                allowed: decision.allowed,
                remaining: decision.remaining,
                retry_after_millis: decision.retry_after,
            })
        })
    }
}
