//! How hard a next hop may be worked: connections, messages per second, and rest after it could not be reached.
//!
//! Pure: told what happened and `now`, it says go or later. Never waits, never reads time.

use std::time::Duration;

use tokio::time::Instant;

use super::LaneLimits;

/// Connections a next hop that was not heard of yet may get at once. Each success allows one more, so that a small
/// host is not stormed by the first batch for it (Postfix starts with 5 too).
const FIRST_CONNECTIONS: usize = 5;

/// The state of one next hop.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: LaneLimits,
    /// Connections allowed now: what success has earned, at most the limit.
    earned: usize,
    /// No growth before this: the next hop refused a connection while it served others.
    grow_from: Option<Instant>,
    /// No attempt before this: the next hop could not be reached.
    cool_until: Option<Instant>,
    /// When the next message would start if all kept the exact rate.
    next_start: Option<Instant>,
}

/// May a message start now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes; it was counted.
    Go,
    /// Not before this.
    Later(Instant),
}

/// What it means that a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Others are open: the next hop has enough of them.
    Enough,
    /// None is open: nothing gets through.
    Unreachable,
}

impl Limiter {
    /// For a next hop nothing is known of.
    pub(super) fn new(limits: LaneLimits) -> Self {
        let earned = limits.connections.clamp(1, FIRST_CONNECTIONS);
        Self { limits, earned, grow_from: None, cool_until: None, next_start: None }
    }

    /// The limits now in force.
    pub(super) fn limits(&self) -> &LaneLimits {
        &self.limits
    }

    /// After a reload.
    pub(super) fn retune(&mut self, limits: LaneLimits) {
        self.limits = limits;
        self.earned = self.earned.min(limits.connections.max(1));
    }

    /// Connections that may be open now.
    pub(super) fn connections(&self) -> usize {
        self.earned
    }

    /// Counts the start of a message, or says when it may start. A second's worth may start in one burst.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        let Some(rate) = self.limits.per_second else { return Admission::Go };
        let interval = Duration::from_secs(1) / rate.max(1);
        let burst = Duration::from_secs(1).saturating_sub(interval);
        let next = self.next_start.filter(|next| *next > now).unwrap_or(now);
        if next.duration_since(now) > burst {
            return Admission::Later(next.checked_sub(burst).unwrap_or(now));
        }
        self.next_start = Some(next + interval);
        Admission::Go
    }

    /// True while nothing should be tried.
    pub(super) fn is_cooling(&self, now: Instant) -> bool {
        self.cool_until.is_some_and(|until| now < until)
    }

    /// The next hop took part in a transaction, whatever it said.
    pub(super) fn reached(&mut self, now: Instant) {
        self.cool_until = None;
        if self.grow_from.is_none_or(|from| now >= from) {
            self.grow_from = None;
            self.earned = (self.earned + 1).min(self.limits.connections.max(1));
        }
    }

    /// A connection could not be opened while `open` others were.
    pub(super) fn refused(&mut self, now: Instant, open: usize) -> Reach {
        self.grow_from = Some(now + self.limits.cool_down);
        self.earned = open.clamp(1, self.limits.connections.max(1));
        if open > 0 {
            return Reach::Enough;
        }
        self.cool_until = Some(now + self.limits.cool_down);
        Reach::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> LaneLimits {
        LaneLimits { connections: 8, cool_down: Duration::from_secs(60), ..LaneLimits::default() }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn without_a_rate_everything_goes() {
        let mut limiter = Limiter::new(limits());
        let now = Instant::now();
        assert!((0..1000).all(|_| limiter.admit(now) == Admission::Go));
    }

    #[test]
    fn a_rate_allows_one_second_at_once_and_then_an_even_flow() {
        let mut limiter = Limiter::new(LaneLimits { per_second: Some(4), ..limits() });
        let now = Instant::now();
        assert!((0..4).all(|_| limiter.admit(now) == Admission::Go));
        assert_eq!(limiter.admit(now), Admission::Later(now + ms(250)));
        assert_eq!(limiter.admit(now), Admission::Later(now + ms(250)), "asking costs nothing");
        assert_eq!(limiter.admit(now + ms(250)), Admission::Go);
        assert_eq!(limiter.admit(now + ms(250)), Admission::Later(now + ms(500)));
        let later = now + ms(10_000);
        assert!((0..4).all(|_| limiter.admit(later) == Admission::Go), "rest is not saved up beyond a second");
        assert_eq!(limiter.admit(later), Admission::Later(later + ms(250)));
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut limiter = Limiter::new(LaneLimits { per_second: Some(1), ..limits() });
        let now = Instant::now();
        assert_eq!(limiter.admit(now), Admission::Go);
        assert_eq!(limiter.admit(now + ms(400)), Admission::Later(now + ms(1000)));
        assert_eq!(limiter.admit(now + ms(1000)), Admission::Go);
    }

    #[test]
    fn connections_are_earned_up_to_the_limit() {
        let mut limiter = Limiter::new(limits());
        let now = Instant::now();
        assert_eq!(limiter.connections(), 5);
        (0..10).for_each(|_| limiter.reached(now));
        assert_eq!(limiter.connections(), 8);
        limiter.retune(LaneLimits { connections: 2, ..limits() });
        assert_eq!(limiter.connections(), 2);
        assert_eq!(Limiter::new(LaneLimits { connections: 0, ..limits() }).connections(), 1, "one at least");
    }

    #[test]
    fn a_refusal_beside_open_connections_only_stops_growth() {
        let mut limiter = Limiter::new(limits());
        let now = Instant::now();
        assert_eq!(limiter.refused(now, 3), Reach::Enough);
        assert!(!limiter.is_cooling(now));
        limiter.reached(now + ms(100));
        assert_eq!(limiter.connections(), 3);
        limiter.reached(now + ms(60_000));
        assert_eq!(limiter.connections(), 4);
    }

    #[test]
    fn an_unreachable_host_rests_and_is_then_tried_by_one() {
        let mut limiter = Limiter::new(limits());
        let now = Instant::now();
        assert_eq!(limiter.refused(now, 0), Reach::Unreachable);
        assert!(limiter.is_cooling(now + ms(59_999)));
        assert!(!limiter.is_cooling(now + ms(60_000)));
        assert_eq!(limiter.connections(), 1);
        limiter.reached(now + ms(60_000));
        assert_eq!(limiter.connections(), 2);
        assert!(!limiter.is_cooling(now + ms(60_001)));
    }
}
