//! How long a client may take: for a command, for a piece of mail data, for a message, for all of it.
//!
//! Pure: the time is passed in. The clock runs only while the client is waited for. A command has its time as a whole
//! (RFC 5321 section 4.5.3.2 counts for commands, not for octets), so that octets that trickle in do not prolong it; mail
//! data has to come in time and at a least rate. A message by BDAT goes on between its chunks.

use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use crate::session::Awaited;

/// Under stress, in place of `command-timeout`: enough for a mail server that has something to say.
const STRESS_COMMAND: Duration = Duration::from_secs(10);
/// Under stress, before the first command: clients that connect and say nothing are what stress is made of.
const STRESS_SILENT: Duration = Duration::from_secs(5);
/// Under stress, in place of `data-timeout`.
const STRESS_DATA: Duration = Duration::from_secs(30);
/// Under stress, in place of `handshake-timeout`.
const STRESS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Nobody is woken when stress begins: each connection looks this often.
const LOOK: Duration = Duration::from_secs(10);

/// Whether to go on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask again then.
    Wait(Instant),
    /// It is over, for this reason.
    Over(&'static str),
}

/// Of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// The whole connection ends then, whatever it does.
    ends: Instant,
    awaited: Awaited,
    /// Since when the client has been waited for: for the whole command, or for this piece of data.
    since: Instant,
    /// The command has begun to come in.
    midway: bool,
    /// What came last was a CR.
    cr: bool,
    /// A command was heard.
    heard: bool,
    /// The message began.
    message_since: Option<Instant>,
    pace: Pace,
}

/// How fast mail data has come lately.
#[derive(Clone, Copy, Debug)]
struct Pace {
    waited: Duration,
    octets: u64,
    since: Instant,
}

impl Deadlines {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        let pace = Pace { waited: Duration::ZERO, octets: 0, since: now };
        Self {
            ends: now + limits.session_timeout,
            awaited: Awaited::Command,
            since: now,
            midway: false,
            cr: false,
            heard: false,
            message_since: None,
            pace,
        }
    }

    /// The client is waited for from now on.
    pub(super) fn expect(&mut self, awaited: Awaited, now: Instant) {
        if awaited == Awaited::Data || !self.midway {
            self.since = now;
        }
        if awaited == Awaited::Command {
            self.message_since = None;
        } else if self.message_since.is_none() {
            self.message_since = Some(now);
            self.pace.waited = Duration::ZERO;
            self.pace.octets = 0;
        }
        self.pace.since = now;
        self.awaited = awaited;
    }

    /// Something came.
    pub(super) fn arrived(&mut self, octets: &[u8], now: Instant) {
        if self.awaited == Awaited::Data {
            self.midway = false;
        } else {
            // CRLF alone ends a command (RFC 5321 section 2.3.8): a bare LF gains no time.
            let whole = octets.windows(2).any(|two| two == b"\r\n") || self.cr && octets.first() == Some(&b'\n');
            self.cr = octets.last() == Some(&b'\r');
            self.midway = !whole;
            self.heard |= whole;
        }
        if self.awaited != Awaited::Command {
            self.pace.octets = self.pace.octets.saturating_add(octets.len() as u64);
            self.pace.waited += now.saturating_duration_since(self.pace.since);
        }
    }

    /// Whether to go on waiting. To be asked after `expect`, and again when it says so.
    pub(super) fn check(&mut self, now: Instant, stressed: bool, limits: &Limits) -> Verdict {
        let within = |usual: Duration, short: Duration| if stressed { usual.min(short) } else { usual };
        let (limit, why) = match self.awaited {
            Awaited::Command if !self.heard => (within(limits.command_timeout, STRESS_SILENT), "not a single command"),
            Awaited::Command => (within(limits.command_timeout, STRESS_COMMAND), "no command"),
            Awaited::NextChunk => (within(limits.command_timeout, STRESS_COMMAND), "no chunk"),
            Awaited::Data => (within(limits.data_timeout, STRESS_DATA), "no mail data"),
        };
        let message = self.message_since.map(|since| (since + limits.message_timeout, "the message took too long"));
        let bounds = [Some((self.since + limit, why)), message, Some((self.ends, "the session took too long"))];
        let soonest = bounds.into_iter().flatten().min_by_key(|(at, _)| *at);
        let (until, why) = soonest.unwrap_or((self.ends, why));
        if now >= until {
            return Verdict::Over(why);
        }
        match self.judge_pace(now, limits) {
            Verdict::Wait(at) => Verdict::Wait(until.min(at).min(now + LOOK)),
            over @ Verdict::Over(_) => over,
        }
    }

    /// At the end of each window: was it enough? Time in which the relay itself was busy does not count.
    fn judge_pace(&mut self, now: Instant, limits: &Limits) -> Verdict {
        let window = limits.min_rate_over;
        if self.awaited == Awaited::Command || limits.min_rate == 0 {
            return Verdict::Wait(self.ends);
        }
        let waited = self.pace.waited + now.saturating_duration_since(self.pace.since);
        if waited < window {
            return Verdict::Wait(now + (window - waited));
        }
        let wanted = u128::from(limits.min_rate).saturating_mul(waited.as_millis()) / 1000;
        if u128::from(self.pace.octets) < wanted {
            return Verdict::Over("mail data came too slowly");
        }
        self.pace = Pace { waited: Duration::ZERO, octets: 0, since: now };
        Verdict::Wait(now + window)
    }

    /// How long a reply may take to be written: a client that reads nothing must not hold the connection for longer
    /// than one that says nothing.
    pub(super) fn for_reply(&self, now: Instant, stressed: bool, limits: &Limits) -> Duration {
        let usual = limits.command_timeout.min(self.ends.saturating_duration_since(now));
        if stressed { usual.min(STRESS_COMMAND) } else { usual }
    }

    /// How long a handshake may take.
    pub(super) fn for_handshake(stressed: bool, limits: &Limits) -> Duration {
        if stressed { limits.handshake_timeout.min(STRESS_HANDSHAKE) } else { limits.handshake_timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// When it is over, and why, if `every` so long one of `octets` comes.
    fn trickle(awaited: Awaited, octets: &[u8], every: u64, limits: &Limits, stressed: bool) -> (u64, &'static str) {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start, limits);
        let mut next = 0;
        for at in 0..10_000 {
            let now = start + secs(at);
            if at == next {
                if at > 0 {
                    deadlines.arrived(octets, now);
                }
                deadlines.expect(awaited, now);
                next = at + every;
            }
            if let Verdict::Over(why) = deadlines.check(now, stressed, limits) {
                return (at, why);
            }
        }
        (10_000, "never")
    }

    #[test]
    fn octets_that_trickle_in_prolong_nothing() {
        let limits = Limits::default();
        let long = Limits { session_timeout: secs(9000), ..Limits::default() };
        let cases = [
            (trickle(Awaited::Command, b"x", 10, &limits, false), (300, "not a single command")),
            (trickle(Awaited::Command, b"\n", 10, &limits, false), (300, "not a single command")),
            (trickle(Awaited::Command, b"NOOP\r\n", 200, &limits, false), (3600, "the session took too long")),
            (trickle(Awaited::Command, b"NOOP\r\n", 400, &limits, false), (300, "not a single command")),
            (trickle(Awaited::Data, b"x", 10, &limits, false), (60, "mail data came too slowly")),
            (trickle(Awaited::Data, &[b'x'; 1000], 10, &long, false), (3600, "the message took too long")),
            (trickle(Awaited::Data, &[b'x'; 1000], 200, &limits, false), (60, "mail data came too slowly")),
            (trickle(Awaited::Data, &[b'x'; 99], 1, &limits, false), (60, "mail data came too slowly")),
            (trickle(Awaited::Data, &[b'x'; 101], 1, &long, false), (3600, "the message took too long")),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_fast_start_is_no_licence_for_a_slow_end() {
        let limits = Limits::default();
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start, &limits);
        deadlines.expect(Awaited::Data, start);
        deadlines.arrived(&[b'x'; 100_000], start + secs(1));
        deadlines.expect(Awaited::Data, start + secs(1));
        assert_eq!(deadlines.check(start + secs(60), false, &limits), Verdict::Wait(start + secs(70)));
        assert_eq!(deadlines.check(start + secs(120), false, &limits), Verdict::Over("mail data came too slowly"));
    }

    #[test]
    fn chunks_one_by_one_are_one_message() {
        let slow = Limits { min_rate: 0, ..Limits::default() };
        let long = Limits { session_timeout: secs(9000), ..slow.clone() };
        for (limits, every, octets, over) in [
            (Limits::default(), 299, 1, (60, "mail data came too slowly")),
            (slow, 301, 1, (300, "no chunk")),
            (long, 299, 1, (3600, "the message took too long")),
            (
                Limits { session_timeout: secs(9000), ..Limits::default() },
                30,
                3500,
                (3600, "the message took too long"),
            ),
        ] {
            let (start, chunk) = (Instant::now(), vec![b'x'; octets]);
            let mut deadlines = Deadlines::new(start, &limits);
            deadlines.expect(Awaited::Command, start);
            let ended = (0..10_000).find_map(|at| {
                let now = start + secs(at);
                if at % every == 0 {
                    deadlines.arrived(b"BDAT\r\n", now);
                    deadlines.expect(Awaited::Data, now);
                    deadlines.arrived(&chunk, now);
                    deadlines.expect(Awaited::NextChunk, now);
                }
                match deadlines.check(now, false, &limits) {
                    Verdict::Over(why) => Some((at, why)),
                    Verdict::Wait(_) => None,
                }
            });
            assert_eq!(ended, Some(over), "{octets} octets each {every} s");
        }
    }

    #[test]
    fn what_follows_a_message_is_none_of_it() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut deadlines = Deadlines::new(start, &limits);
        deadlines.expect(Awaited::NextChunk, start);
        deadlines.arrived(b"BDAT 0 LAST\r\n", start + secs(1));
        deadlines.expect(Awaited::Command, start + secs(1));
        assert!(matches!(deadlines.check(start + secs(299), false, &limits), Verdict::Wait(_)));
    }

    #[test]
    fn stress_shortens_what_is_under_way() {
        let limits = Limits::default();
        assert_eq!(trickle(Awaited::Command, b"x", 1000, &limits, true), (5, "not a single command"));
        assert_eq!(trickle(Awaited::Command, b"NOOP\r\n", 4, &limits, true), (3600, "the session took too long"));
        assert_eq!(trickle(Awaited::Data, b"x", 1000, &limits, true), (30, "no mail data"));
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start, &limits);
        deadlines.expect(Awaited::Command, start);
        deadlines.arrived(b"EHLO a\r\n", start);
        deadlines.expect(Awaited::Command, start);
        assert_eq!(
            deadlines.check(start + secs(11), false, &limits),
            Verdict::Wait(start + secs(21)),
            "it looks again"
        );
        assert_eq!(deadlines.check(start + secs(21), true, &limits), Verdict::Over("no command"));
        assert_eq!(deadlines.for_reply(start, true, &limits), secs(10));
        assert_eq!(Deadlines::for_handshake(true, &limits), secs(10));
    }

    #[test]
    fn time_the_relay_takes_is_not_the_clients() {
        let limits = Limits::default();
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start, &limits);
        deadlines.expect(Awaited::Data, start);
        deadlines.arrived(b"x", start + secs(1));
        // The disk took a minute and a half.
        deadlines.expect(Awaited::Data, start + secs(91));
        assert!(matches!(deadlines.check(start + secs(92), false, &limits), Verdict::Wait(_)));
    }
}
