//! One timer for the life of a connection, and its ear for the end of the relay.
//!
//! The timer is set again only when it fires too early, so that a busy connection never touches the timer wheel. What
//! is in time is `deadlines`' to say.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Rules;
use super::deadlines::{Deadlines, Verdict};
use super::guard::Guard;
use super::wire::Arrived;
use crate::session::Awaited;

/// How long a read may take.
pub(crate) struct Patience {
    deadlines: Deadlines,
    rules: Arc<Rules>,
    guard: Guard,
    timer: Pin<Box<Sleep>>,
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Patience {
    pub(crate) fn new(rules: Arc<Rules>, guard: Guard, draining: WaitForCancellationFutureOwned) -> Self {
        let now = Instant::now();
        let limits = &rules.config.limits;
        let deadlines = Deadlines::new(now, limits);
        let timer = Box::pin(tokio::time::sleep_until(now + limits.session_timeout));
        Self { deadlines, rules, guard, timer, draining: Some(Box::pin(draining)) }
    }

    /// What the next read waits for.
    pub(crate) fn expect(&mut self, awaited: Awaited) {
        self.deadlines.expect(awaited, Instant::now());
    }

    /// What a read brought.
    pub(crate) fn arrived(&mut self, octets: &[u8]) {
        self.deadlines.arrived(octets, Instant::now());
    }

    /// How long a reply may take to be written.
    pub(crate) fn for_reply(&self) -> std::time::Duration {
        self.deadlines.for_reply(Instant::now(), self.guard.is_stressed(), &self.rules.config.limits)
    }

    /// Ready when the read is to end without octets.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        if let Some(draining) = &mut self.draining
            && draining.as_mut().poll(cx).is_ready()
        {
            // Told once: a transaction under way then goes on to its end.
            self.draining = None;
            return Poll::Ready(Arrived::Draining);
        }
        loop {
            let now = Instant::now();
            let verdict = self.deadlines.check(now, self.guard.is_stressed(), &self.rules.config.limits);
            let until = match verdict {
                Verdict::Over(why) => {
                    tracing::info!(why, "timed out");
                    return Poll::Ready(Arrived::TimedOut);
                }
                Verdict::Wait(until) => until,
            };
            if self.timer.deadline() > until || self.timer.deadline() <= now {
                self.timer.as_mut().reset(until);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
