//! The breaker: a plugin that keeps failing is left alone for a while, then tried with one call at a time.
//!
//! [`Machine`] is pure: time and chance are passed in. [`Breaker`] puts it behind a lock which only the calls of a
//! plugin in trouble take. Must never log, tell or wait for anything: whoever settles a call learns what turned.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::BreakerConfig;
use crate::time::Timestamp;

/// What a settled call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Too many failures: nobody is let through for so long.
    Opened(Duration),
    /// The probe failed as well: for so long again.
    Reopened(Duration),
    /// The probe was good: everybody is let through.
    Closed,
}

/// Why a call is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How long until one call is; zero while one is under way.
    pub wait: Duration,
    /// What the failures that led to it said last.
    pub cause: Arc<str>,
}

/// How a breaker stands, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerInfo {
    /// `closed`, `open`, `half-open`.
    pub state: &'static str,
    /// When it opened; none: it is closed.
    pub since: Option<String>,
    /// When one call is let through to see; none: it is closed, or that call is under way.
    pub next_probe: Option<String>,
    /// How often it opened.
    pub trips: u64,
    /// What the failures that led to it said last.
    pub cause: Option<String>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        since: Instant,
        until: Instant,
        pause: Duration,
    },
    /// One call is under way. `until` has passed.
    HalfOpen {
        since: Instant,
        until: Instant,
        pause: Duration,
    },
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admission {
    Ordinary,
    Probe,
    Refused(Refusal),
}

#[derive(Debug)]
struct Machine {
    config: BreakerConfig,
    state: State,
    /// Failures while closed, oldest first; no more than it takes to open.
    failures: VecDeque<Instant>,
    cause: Arc<str>,
    trips: u64,
}

impl Machine {
    fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed, failures: VecDeque::new(), cause: "".into(), trips: 0 }
    }

    fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Ordinary,
            State::Open { since, until, pause } if now >= until => {
                self.state = State::HalfOpen { since, until, pause };
                Admission::Probe
            }
            State::Open { until, .. } => Admission::Refused(self.refusal(until.saturating_duration_since(now))),
            State::HalfOpen { .. } => Admission::Refused(self.refusal(Duration::ZERO)),
        }
    }

    fn refusal(&self, wait: Duration) -> Refusal {
        Refusal { wait, cause: self.cause.clone() }
    }

    /// The probe was good. Other calls need not say so: while it is closed only failures count, and those that began
    /// before it opened tell nothing new.
    fn probe_succeeded(&mut self) -> Option<Turn> {
        if !matches!(self.state, State::HalfOpen { .. }) {
            return None;
        }
        self.state = State::Closed;
        self.failures.clear();
        Some(Turn::Closed)
    }

    /// The probe failed: twice the pause, but no more than the longest. `jitter`, of a thousand, takes up to a fifth off
    /// the wait, so that plugins which failed together are not probed together for ever.
    fn probe_failed(&mut self, now: Instant, jitter: u32, cause: &dyn Display) -> Option<Turn> {
        let State::HalfOpen { since, pause, .. } = self.state else { return None };
        let pause = pause.saturating_mul(2).min(self.config.pause_max);
        let wait = pause.saturating_sub(pause / 5000 * jitter.min(1000));
        self.state = State::Open { since, until: now + wait, pause };
        self.cause = cause.to_string().into();
        Some(Turn::Reopened(wait))
    }

    /// The probe came to no end: the next call is one.
    fn probe_lost(&mut self) {
        if let State::HalfOpen { since, until, pause } = self.state {
            self.state = State::Open { since, until, pause };
        }
    }

    fn failed(&mut self, now: Instant, cause: &dyn Display) -> Option<Turn> {
        // Of a call that began before it opened.
        if !matches!(self.state, State::Closed) {
            return None;
        }
        let window = self.config.window;
        while self.failures.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() < self.config.failures as usize {
            return None;
        }
        let pause = self.config.pause;
        self.failures.clear();
        self.state = State::Open { since: now, until: now + pause, pause };
        self.cause = cause.to_string().into();
        self.trips += 1;
        Some(Turn::Opened(pause))
    }
}

/// One version's, for all its hooks.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// False as long as every call is let through: all that a plugin without trouble looks at.
    tripped: AtomicBool,
    machine: Mutex<Machine>,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self { tripped: AtomicBool::new(false), machine: Mutex::new(Machine::new(config)) }
    }

    /// Lets a call through, or says why not.
    pub(crate) fn admit(&self, now: impl FnOnce() -> Instant) -> Result<Pass<'_>, Refusal> {
        if !self.tripped.load(Ordering::Acquire) {
            return Ok(Pass { breaker: Some(self), probe: false });
        }
        match self.machine.lock().admit(now()) {
            Admission::Ordinary => Ok(Pass { breaker: Some(self), probe: false }),
            Admission::Probe => Ok(Pass { breaker: Some(self), probe: true }),
            Admission::Refused(refusal) => Err(refusal),
        }
    }

    /// True while calls are refused, or one is under way to see.
    pub(crate) fn is_tripped(&self) -> bool {
        self.tripped.load(Ordering::Acquire)
    }

    /// How it stands at `now`, which the wall clock calls `wall`.
    pub(crate) fn info(&self, now: Instant, wall: Timestamp) -> BreakerInfo {
        let machine = self.machine.lock();
        let past = |at: Instant| {
            let micros = i64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(wall.micros().saturating_sub(micros)).rfc3339()
        };
        let (state, since, next_probe) = match machine.state {
            State::Closed => ("closed", None, None),
            State::Open { since, until, .. } => {
                ("open", Some(past(since)), Some(wall.plus(until.saturating_duration_since(now)).rfc3339()))
            }
            State::HalfOpen { since, .. } => ("half-open", Some(past(since)), None),
        };
        let cause = (machine.trips > 0).then(|| machine.cause.to_string());
        BreakerInfo { state, since, next_probe, trips: machine.trips, cause }
    }

    fn settle(&self, change: impl FnOnce(&mut Machine) -> Option<Turn>) -> Option<Turn> {
        let mut machine = self.machine.lock();
        let turn = change(&mut machine);
        self.tripped.store(!matches!(machine.state, State::Closed), Ordering::Release);
        turn
    }
}

/// Leave for one call. Says how it ended; one that is dropped without a word was no probe of anything.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'a> {
    /// None where there is no breaker.
    breaker: Option<&'a Breaker>,
    probe: bool,
}

impl Pass<'_> {
    /// For a plugin without a breaker.
    pub(crate) const fn free() -> Self {
        Self { breaker: None, probe: false }
    }

    /// The call was good.
    pub(crate) fn succeeded(mut self) -> Option<Turn> {
        let probe = std::mem::take(&mut self.probe);
        self.breaker.filter(|_| probe)?.settle(Machine::probe_succeeded)
    }

    /// It failed. `jitter`: of a thousand.
    pub(crate) fn failed(mut self, now: Instant, jitter: u32, cause: &dyn Display) -> Option<Turn> {
        let probe = std::mem::take(&mut self.probe);
        self.breaker?.settle(|machine| match probe {
            true => machine.probe_failed(now, jitter, cause),
            false => machine.failed(now, cause),
        })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let (Some(breaker), true) = (self.breaker, self.probe) {
            breaker.machine.lock().probe_lost();
        }
    }
}

#[cfg(test)]
mod tests;
