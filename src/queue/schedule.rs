//! When to try again, when to warn, when to give up. Pure: time is passed in, randomness too.

use std::time::Duration;

use crate::time::Timestamp;

/// Settings of `[retry]` and `[retry.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Wait after the first failed attempt.
    pub first: Duration,
    /// Wait at most.
    pub longest: Duration,
    /// Each wait is this many times the one before, in hundredths: 200 doubles.
    pub growth_percent: u32,
    /// Waits are spread by up to this share either way, in hundredths.
    pub jitter_percent: u32,
    /// The sender is told of the delay once the message is this old; none: never.
    pub warn_after: Option<Duration>,
    /// Give-up time, counted from arrival.
    pub give_up_after: Duration,
    /// The same for messages with the null reverse-path.
    pub give_up_after_bounce: Duration,
}

/// What a schedule says of a deferral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Try again then; `warn`: tell the sender of the delay now.
    At {
        /// When.
        at: Timestamp,
        /// Tell the sender.
        warn: bool,
    },
    /// The give-up time has come: the deferral becomes a failure.
    GiveUp,
}

impl Default for Schedule {
    /// As Postfix users know it, with a shorter first wait: 5 minutes doubling to 4 hours, a warning after 4 hours,
    /// given up after 5 days (RFC 5321 section 4.5.4.1 asks for at least 4 to 5).
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5 * 60),
            longest: Duration::from_secs(4 * 3600),
            growth_percent: 200,
            jitter_percent: 10,
            warn_after: Some(Duration::from_secs(4 * 3600)),
            give_up_after: Duration::from_secs(5 * 86400),
            give_up_after_bounce: Duration::from_secs(86400),
        }
    }
}
