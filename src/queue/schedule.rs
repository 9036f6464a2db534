//! When to try again, when to warn, when to give up. Pure: time is passed in, randomness too.

use std::sync::Arc;
use std::time::Duration;

use super::retry_rule::RetryRule;
use crate::hooks::Outcome;
use crate::mail::{DeliverBy, Domain};
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
    /// The sender is told of the delay once the message is this old, each time; in order. None: never.
    pub warn_after: Arc<[Duration]>,
    /// Give-up time, counted from arrival.
    pub give_up_after: Duration,
    /// The same for messages with the null reverse-path.
    pub give_up_after_bounce: Duration,
    /// Given up after so many attempts; none: only time counts.
    pub give_up_attempts: Option<u32>,
    /// What is different after certain failures; the first that fits.
    pub rules: Arc<[RetryRule]>,
}

/// What was before an attempt that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// The sender has been told of the delay.
    pub warned: bool,
    /// When the attempt before it ended, as far as that is remembered.
    pub last: Option<Timestamp>,
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
            warn_after: Arc::new([Duration::from_secs(4 * 3600)]),
            give_up_after: Duration::from_secs(5 * 86400),
            give_up_after_bounce: Duration::from_secs(86400),
            give_up_attempts: None,
            rules: Arc::new([]),
        }
    }
}

impl Schedule {
    /// What follows an attempt that failed for now. `attempts` counts it; `random` is of 0..1 and spreads the wait.
    pub fn next(
        &self,
        attempts: u32,
        arrived: Timestamp,
        null_sender: bool,
        before: Before,
        now: Timestamp,
        random: f64,
    ) -> Retry {
        let expires = self.expires(arrived, null_sender);
        if now >= expires || self.give_up_attempts.is_some_and(|most| attempts >= most) {
            return Retry::GiveUp;
        }
        // One last try at the give-up time itself, rather than none in the wait that would pass it.
        let at = now.plus(self.wait(attempts, random)).min(expires);
        // RFC 3464 section 2.3.3: a delay notice goes to a sender; the null reverse-path is none (RFC 5321 section 4.5.5).
        Retry::At { at, warn: !null_sender && self.warns(arrived, before, now) }
    }

    fn warns(&self, arrived: Timestamp, before: Before, now: Timestamp) -> bool {
        let mut come = self.warn_after.iter().map(|after| arrived.plus(*after)).filter(|at| *at <= now);
        // Whether the first was told is remembered. A later one is told by the first attempt after its time.
        let Some(_first) = come.next() else { return false };
        !before.warned || come.any(|at| before.last.is_some_and(|last| last < at))
    }

    /// The schedule of a message whose sender asked for something: told to be quick, it is given up, or its sender told,
    /// when the time is over (RFC 2852 section 4.1.3).
    #[must_use]
    pub fn asked(&self, by: DeliverBy) -> Self {
        let time = Duration::from_secs(u64::try_from(by.secs).unwrap_or(0));
        let mut schedule = self.clone();
        if by.give_up {
            schedule.give_up_after = self.give_up_after.min(time);
            schedule.give_up_after_bounce = self.give_up_after_bounce.min(time);
        } else {
            let first = self.warn_after.first().map_or(time, |after| time.min(*after));
            let later = self.warn_after.iter().copied().filter(|after| *after > first);
            schedule.warn_after = std::iter::once(first).chain(later).collect();
        }
        schedule
    }

    /// What is different after this failure of a recipient of that domain.
    pub fn rule(&self, outcome: &Outcome, domain: &Domain) -> Option<&RetryRule> {
        self.rules.iter().find(|rule| rule.fits(outcome, domain))
    }

    /// The schedule of a message that has a give-up time of its own.
    #[must_use]
    pub fn within(&self, give_up: Duration) -> Self {
        Self { give_up_after: give_up, give_up_after_bounce: give_up, ..self.clone() }
    }

    /// The give-up time.
    pub fn expires(&self, arrived: Timestamp, null_sender: bool) -> Timestamp {
        arrived.plus(if null_sender { self.give_up_after_bounce } else { self.give_up_after })
    }

    fn wait(&self, attempts: u32, random: f64) -> Duration {
        let growth = f64::from(self.growth_percent.max(100)) / 100.0;
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let longest = self.longest.as_secs_f64();
        let plain = (self.first.as_secs_f64() * growth.powi(exponent)).min(longest);
        let jitter = f64::from(self.jitter_percent.min(100)) / 100.0;
        let spread = 1.0 + jitter * (random.clamp(0.0, 1.0) * 2.0 - 1.0);
        Duration::try_from_secs_f64(plain * spread).unwrap_or(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVED: Timestamp = Timestamp::from_secs(1_000_000);

    fn after(secs: u64) -> Timestamp {
        ARRIVED.plus(Duration::from_secs(secs))
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let schedule = Schedule { jitter_percent: 0, ..Schedule::default() };
        let table = [(1, 300), (2, 600), (3, 1200), (6, 9600), (7, 14400), (50, 14400), (u32::MAX, 14400), (0, 300)];
        for (attempts, wait) in table {
            let retry = schedule.next(attempts, ARRIVED, false, Before::default(), after(60), 0.9);
            assert_eq!(retry, Retry::At { at: after(60 + wait), warn: false }, "attempt {attempts}");
        }
    }

    #[test]
    fn randomness_spreads_a_wait_either_way_and_no_further() {
        let schedule = Schedule::default();
        for (random, wait) in [(0.0, 270), (0.5, 300), (1.0, 330), (7.0, 330), (-1.0, 270)] {
            let retry = schedule.next(1, ARRIVED, false, Before::default(), ARRIVED, random);
            assert_eq!(retry, Retry::At { at: after(wait), warn: false }, "{random}");
        }
    }

    #[test]
    fn a_delay_is_told_once_and_never_to_nobody() {
        let schedule = Schedule::default();
        let four_hours = 4 * 3600;
        let table = [
            (four_hours - 1, false, false, false),
            (four_hours, false, false, true),
            (four_hours, true, false, false),
            (four_hours, false, true, false),
        ];
        for (age, null_sender, warned, expected) in table {
            let before = Before { warned, last: None };
            let Retry::At { warn, .. } = schedule.next(1, ARRIVED, null_sender, before, after(age), 0.5) else {
                panic!("given up after {age} s");
            };
            assert_eq!(warn, expected, "{age} {null_sender} {warned}");
        }
        let silent = Schedule { warn_after: Arc::new([]), ..schedule };
        assert!(matches!(
            silent.next(1, ARRIVED, false, Before::default(), after(86_400), 0.5),
            Retry::At { warn: false, .. }
        ));
    }

    #[test]
    fn each_further_delay_is_told_by_the_first_attempt_after_it() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let schedule = Schedule { warn_after: Arc::new([hours(4), hours(24), hours(72)]), ..Schedule::default() };
        // Attempts, in hours after arrival, and whether each of them tells.
        for (attempts, expected) in [
            (&[1, 3, 5, 23, 25, 30, 71, 74, 80][..], &[false, false, true, false, true, false, false, true, false][..]),
            (&[1, 80, 81], &[false, true, false]),
            (&[4, 24, 72, 73], &[true, true, true, false]),
        ] {
            let mut before = Before::default();
            let mut told = Vec::new();
            for at in attempts.iter().map(|at| ARRIVED.plus(hours(*at))) {
                let Retry::At { warn, .. } = schedule.next(1, ARRIVED, false, before, at, 0.5) else { panic!() };
                told.push(warn);
                before = Before { warned: before.warned || warn, last: Some(at) };
            }
            assert_eq!(told, expected, "{attempts:?}");
        }
        let forgotten = Before { warned: true, last: None };
        let retry = schedule.next(1, ARRIVED, false, forgotten, ARRIVED.plus(hours(25)), 0.5);
        assert!(matches!(retry, Retry::At { warn: false, .. }), "rather once too seldom");
        let by = DeliverBy { secs: 6 * 3600, give_up: false, trace: false };
        assert_eq!(schedule.asked(by).warn_after, schedule.warn_after);
        let by = DeliverBy { secs: 60, ..by };
        assert_eq!(schedule.asked(by).warn_after[..2], [Duration::from_secs(60), hours(4)]);
    }

    #[test]
    fn who_asks_for_haste_is_told_in_time() {
        let by = |secs, give_up| DeliverBy { secs, give_up, trace: false };
        let usual = Schedule::default();
        let quick = usual.asked(by(600, true));
        assert_eq!(quick.next(1, ARRIVED, false, Before::default(), after(600), 0.5), Retry::GiveUp);
        assert_eq!(
            quick.next(1, ARRIVED, false, Before::default(), after(500), 0.5),
            Retry::At { at: after(600), warn: false }
        );
        let told = usual.asked(by(600, false));
        assert_eq!(
            told.next(1, ARRIVED, false, Before::default(), after(600), 0.5),
            Retry::At { at: after(900), warn: true }
        );
        assert_eq!(usual.asked(by(-1, false)).warn_after[0], Duration::ZERO, "late already");
        assert_eq!(usual.asked(by(999_999_999, true)), usual, "nobody gets longer than others");
    }

    #[test]
    fn attempts_have_a_limit_too() {
        let schedule = Schedule { give_up_attempts: Some(3), ..Schedule::default() };
        assert!(matches!(schedule.next(2, ARRIVED, false, Before::default(), after(60), 0.5), Retry::At { .. }));
        assert_eq!(schedule.next(3, ARRIVED, false, Before::default(), after(60), 0.5), Retry::GiveUp);
    }

    #[test]
    fn the_last_try_is_at_the_give_up_time() {
        let told = Before { warned: true, last: None };
        let schedule = Schedule::default();
        let (days5, day) = (5 * 86_400, 86_400);
        for (null_sender, end) in [(false, days5), (true, day)] {
            assert_eq!(schedule.expires(ARRIVED, null_sender), after(end));
            let retry = schedule.next(9, ARRIVED, null_sender, told, after(end - 60), 0.5);
            assert_eq!(retry, Retry::At { at: after(end), warn: false });
            assert_eq!(schedule.next(9, ARRIVED, null_sender, told, after(end), 0.5), Retry::GiveUp);
        }
    }
}
