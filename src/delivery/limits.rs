//! How hard a site may be worked: connections, rates, rest after it could not be reached, and back-off when it complains.
//!
//! Pure: told what happened and `now`, it says go or later. Never waits, never reads time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LaneLimits;
use super::rates::{Bucket, Rate};
use super::shaping::Slow;

/// Connections a site may have once it has let one in. Each success allows one more, so that a small host is not stormed by
/// the first batch for it (Postfix starts with 5 too). Before, there is one: of a dead host a single one waits.
const FIRST_CONNECTIONS: usize = 5;

/// Complaints that make a burst, if there is at least as much complaint as praise: one 421 is how some servers end a long
/// connection, three in a row are not.
const BURST: u32 = 3;

/// A round of outcomes, after which old complaints are forgotten.
const ROUND: u32 = 20;

/// After connections were halved, those under way may still complain: that is the same burst, not another one.
const SAME_BURST: Duration = Duration::from_secs(10);

/// The rest doubles with each try that fails, up to this or the configured one: a host that is back is found soon enough,
/// and a dead one costs a look every few minutes.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A wait that grows without bound would overflow; eight times the first is past [`LONGEST_REST`] for usual settings.
const DOUBLINGS: u32 = 3;

/// Rates of a minute, an hour and a day.
const TIMES: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(3600), Duration::from_secs(86_400)];

/// The state of one site.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: LaneLimits,
    /// Connections allowed now: what success has earned, at most the limit.
    earned: usize,
    /// Connections were halved: one more is earned by a round of successes, not by each.
    careful: bool,
    /// Successes since the last connection was earned.
    credit: usize,
    /// No growth before this: the site refused a connection while it served others, or complained.
    grow_from: Option<Instant>,
    rest: Option<Rest>,
    /// Rests in a row because it could not be reached.
    failures: u32,
    backoff: Option<Backoff>,
    messages: [Bucket; 5],
    opens: Bucket,
    good: u32,
    bad: u32,
    /// It let a connection in since this state began.
    greeted: bool,
    /// It took part in a transaction since this state began.
    proven: bool,
}

/// No attempt before a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) until: Instant,
    /// The back-off that wanted it; none: it could not be reached.
    pub(super) why: Option<Arc<str>>,
}

/// Slower for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    pub(super) slow: Slow,
    pub(super) until: Instant,
    /// The back-off's name.
    pub(super) why: Arc<str>,
    /// Successes since it began.
    done: u32,
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
    /// For a site nothing is known of.
    pub(super) fn new(limits: LaneLimits) -> Self {
        Self {
            earned: limits.connections.clamp(1, FIRST_CONNECTIONS),
            limits,
            careful: false,
            credit: 0,
            grow_from: None,
            rest: None,
            failures: 0,
            backoff: None,
            messages: Default::default(),
            opens: Bucket::default(),
            good: 0,
            bad: 0,
            greeted: false,
            proven: false,
        }
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
        if !self.greeted {
            return 1;
        }
        let Some(Backoff { slow, .. }) = &self.backoff else { return self.earned };
        let most = self.limits.connections.max(1) / slow.divide.max(1) as usize;
        self.earned.min(slow.connections.unwrap_or(usize::MAX)).min(most).max(1)
    }

    /// True if there is something that a success, a failure or time could change: else nobody needs to ask.
    pub(super) fn is_watched(&self) -> bool {
        let rated = self.rates().iter().any(Option::is_some);
        let troubled = self.rest.is_some() || self.backoff.is_some() || self.bad > 0 || self.failures > 0;
        rated || troubled || !self.proven || self.earned < self.limits.connections
    }

    /// Ends what time has ended.
    pub(super) fn pass(&mut self, now: Instant) {
        self.backoff.take_if(|backoff| backoff.until <= now);
        self.rest.take_if(|rest| rest.until <= now);
    }

    /// Counts the start of a message, or says when it may start. A second's worth may start in one burst.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        self.pass(now);
        let rates = self.rates();
        let pairs = || self.messages.iter().zip(rates);
        let at = pairs().filter_map(|(bucket, rate)| Some(bucket.opens(rate?, now))).max().unwrap_or(now);
        if at > now {
            return Admission::Later(at);
        }
        for (bucket, rate) in self.messages.iter_mut().zip(rates) {
            if let Some(rate) = rate {
                bucket.take(rate, now);
            }
        }
        Admission::Go
    }

    /// When a connection may be opened; none: now.
    pub(super) fn connection_opens(&self, now: Instant) -> Option<Instant> {
        let rate = Rate::per(self.limits.connects_per_minute?, TIMES[0]);
        Some(self.opens.opens(rate, now)).filter(|at| *at > now)
    }

    /// Counts the opening of a connection, or says when it may be opened.
    pub(super) fn admit_connection(&mut self, now: Instant) -> Admission {
        let Some(count) = self.limits.connects_per_minute else { return Admission::Go };
        if let Some(at) = self.connection_opens(now) {
            return Admission::Later(at);
        }
        self.opens.take(Rate::per(count, TIMES[0]), now);
        Admission::Go
    }

    /// Time between two messages at an even flow; none: there is no rate.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.rates().iter().flatten().map(|rate| rate.interval).max()
    }

    /// True while nothing should be tried.
    pub(super) fn is_cooling(&self, now: Instant) -> bool {
        self.rest(now).is_some()
    }

    /// Until when and why nothing should be tried.
    pub(super) fn rest(&self, now: Instant) -> Option<&Rest> {
        self.rest.as_ref().filter(|rest| now < rest.until)
    }

    /// Why it is worked less hard than it could be.
    pub(super) fn backoff(&self, now: Instant) -> Option<&Backoff> {
        self.backoff.as_ref().filter(|backoff| now < backoff.until)
    }

    /// It took part in a transaction before, and could be reached since.
    pub(super) fn is_proven(&self) -> bool {
        self.proven && self.failures == 0
    }

    /// The site let a connection in.
    pub(super) fn greeted(&mut self) {
        self.greeted = true;
    }

    /// The site took part in a transaction, and did not complain of how it is worked.
    pub(super) fn reached(&mut self, now: Instant) {
        self.contacted(now);
        if self.bad > 0 {
            self.good += 1;
            self.turn_round();
        }
        let recovered = |backoff: &mut Backoff| {
            backoff.done += 1;
            backoff.slow.successes.is_some_and(|enough| backoff.done >= enough)
        };
        self.backoff.take_if(recovered);
        if self.rest.is_some() || self.grow_from.is_some_and(|from| now < from) {
            return;
        }
        self.grow_from = None;
        self.credit += 1;
        if !self.careful || self.credit >= self.earned {
            self.credit = 0;
            self.earned = (self.earned + 1).min(self.limits.connections.max(1));
            self.careful &= self.earned < self.limits.connections;
        }
    }

    /// It took part, and put off a whole message or ended the connection, while `used` connections were in use. In a burst
    /// of such answers half of the connections are given up.
    pub(super) fn complained(&mut self, now: Instant, used: usize) {
        self.contacted(now);
        self.bad += 1;
        let burst = self.bad >= BURST && self.bad >= self.good;
        self.turn_round();
        let same = self.careful && self.grow_from.is_some_and(|from| now < from);
        if burst && !same {
            (self.good, self.bad, self.credit) = (0, 0, 0);
            self.earned = (self.earned.min(used.max(1)) / 2).max(1);
            self.careful = true;
            self.grow_from = Some(now + SAME_BURST);
        }
    }

    /// A connection could not be opened while `open` others were.
    pub(super) fn refused(&mut self, now: Instant, open: usize) -> Reach {
        self.grow_from = Some(now + self.limits.cool_down);
        self.earned = open.clamp(1, self.limits.connections.max(1));
        if open > 0 {
            return Reach::Enough;
        }
        // Those that were tried together fail together: that is one failure.
        if !self.is_cooling(now) {
            let until = now + grown(self.limits.cool_down, self.failures);
            self.failures = self.failures.saturating_add(1);
            self.rest = Some(Rest { until, why: None });
        }
        Reach::Unreachable
    }

    /// Somebody who should know says that it may be reachable again. A back-off stays: it is not about that.
    pub(super) fn look_again(&mut self) {
        self.rest.take_if(|rest| rest.why.is_none());
    }

    /// Nothing is tried for a while, and then by one connection first.
    pub(super) fn suspend(&mut self, now: Instant, time: Duration, why: Arc<str>) {
        let until = now + time;
        if self.rest(now).is_none_or(|rest| rest.until < until) {
            self.rest = Some(Rest { until, why: Some(why) });
        }
        (self.earned, self.careful, self.credit) = (1, true, 0);
    }

    /// It is worked less hard for a while. What is slower already stays so.
    pub(super) fn back_off(&mut self, now: Instant, slow: Slow, why: Arc<str>) {
        let slow = match self.backoff(now) {
            Some(now_in_force) => now_in_force.slow.clone().stricter(&slow),
            None => slow,
        };
        let until = now + slow.lasts;
        self.backoff = Some(Backoff { slow, until, why, done: 0 });
        self.earned = self.earned.min(self.connections());
        self.careful = true;
    }

    /// True if a state that begins anew would be no worse for the site.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        let resting = self.is_cooling(now) || self.backoff(now).is_some();
        !resting && self.opens.is_blank(now) && self.messages.iter().all(|bucket| bucket.is_blank(now))
    }

    fn contacted(&mut self, now: Instant) {
        self.pass(now);
        (self.greeted, self.proven) = (true, true);
        self.failures = 0;
        // A connection from before a suspension says nothing of it.
        self.rest.take_if(|rest| rest.why.is_none());
    }

    fn turn_round(&mut self) {
        if self.good + self.bad >= ROUND {
            (self.good, self.bad) = (0, 0);
        }
    }

    /// Those in force, back-off included.
    fn rates(&self) -> [Option<Rate>; 5] {
        let LaneLimits { per_second, per_minute, per_hour, per_day, .. } = self.limits;
        let divide = self.backoff.as_ref().map_or(1, |backoff| backoff.slow.divide);
        let slow = self.backoff.as_ref().and_then(|backoff| backoff.slow.per_minute);
        let [minute, hour, day] = TIMES;
        [
            per_second.map(|count| Rate::per_second(count).slowed(divide)),
            per_minute.map(|count| Rate::per(count, minute).slowed(divide)),
            per_hour.map(|count| Rate::per(count, hour).slowed(divide)),
            // What is allowed in a day is no matter of speed.
            per_day.map(|count| Rate::per(count, day)),
            slow.map(|count| Rate::per(count, minute)),
        ]
    }
}

/// How long a rest is after so many before it.
pub(super) fn grown(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(DOUBLINGS)).min(LONGEST_REST.max(first))
}

#[cfg(test)]
mod tests;
