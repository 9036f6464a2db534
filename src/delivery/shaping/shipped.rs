//! The back-offs that hold unless the operator says otherwise: what large receivers say when they are worked too hard.
//!
//! Must never hold up mail for what concerns one recipient or one message only: a full mailbox, a greylisting.

use std::time::Duration;

use regex::Regex;

use super::{Backoff, CodePattern, Complaint, Reaction, Slow, Whom};

const MINUTE: Duration = Duration::from_secs(60);

/// Too many connections at a time: half of them do.
const CONNECTIONS: &str = r"(?i)too many (concurrent |simultaneous |smtp )*(connections|sessions)|(concurrent|simultaneous|maximum|max) [a-z ]*(connections|sessions)|connection (limit|count) (exceeded|reached)";

/// Too much in a time: a few a minute go on, so that it shows when it is over.
const RATE: &str = r"(?i)rate[- ]?limit|rate (of|at) which|(exceeded|exceeding|over) [a-z ]*(rate|quota for sending|message limit)|too many (messages|mails|emails|recipients) (from|in|per|received|sent)|(messages|mail) [a-z ]*too (fast|quickly)|throttl|unusual(ly high)? (rate|volume)|sending too (fast|much)";

/// This relay's address is not wanted: going on would bounce the rest of the queue, too.
const BLOCKED: &str = r"(?i)(your|our|sending|client|the) (ip|ip address|host|server|network)[^.]* (is|was|has been|are) [a-z ]*(block|blacklist|blocklist|listed|banned)|blocked using|(ip|address|host)[^.]* (found|listed) (on|in|at|by) [^ ]+|on (our|a) (block|black) ?list|poor reputation|low reputation";

/// What is shipped, in order.
pub fn shipped() -> Vec<Backoff> {
    let slow = Slow { connections: None, divide: 2, per_minute: None, lasts: 10 * MINUTE, successes: None };
    let rated = Slow { connections: Some(1), divide: 2, per_minute: Some(30), lasts: 15 * MINUTE, successes: None };
    let table = [
        ("too-many-connections", CONNECTIONS, "4yz", 1, MINUTE, Reaction::Slow(slow)),
        ("rate-limited", RATE, "4yz", 2, 5 * MINUTE, Reaction::Slow(rated)),
        ("blocked", BLOCKED, "5yz", 5, 10 * MINUTE, Reaction::Suspend(30 * MINUTE)),
        ("blocked-for-now", BLOCKED, "4yz", 5, 10 * MINUTE, Reaction::Suspend(15 * MINUTE)),
    ];
    let one = |(name, regex, code, count, within, reaction): (&str, &str, &str, u32, Duration, Reaction)| {
        let complaint = Complaint {
            reply: Some(Regex::new(regex).ok()?),
            code: CodePattern::parse(code).into_iter().collect(),
            status: Vec::new(),
        };
        Some(Backoff { name: name.into(), whom: Whom::default(), complaint, count, within, reaction })
    };
    table.into_iter().filter_map(one).collect()
}
