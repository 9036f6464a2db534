//! What replies say about how a site is worked: praise, complaint, or nothing. And how what waited for it is spread.
//!
//! Pure but for the lane that is told. Must never take what concerns one recipient for a complaint.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lane::Lane;
use super::shaping::Backoff;
use super::site::Served;
use crate::hooks::{NextHop, Outcome, OutcomeKind, Stage};
use crate::smtp::Reply;

/// Different replies of one transaction that are looked at: what says more says the same.
const REPLIES: usize = 8;

/// The least time over which mail comes back to a site that was left alone.
const SPREAD: Duration = Duration::from_secs(30);

/// Tells the lane how its next hop took a transaction. Answers who gets a worker because of it.
pub(super) fn reached(lane: &Lane, backoffs: &[Backoff], outcomes: &[Outcome], now: Instant) -> Served {
    if outcomes.iter().all(|outcome| outcome.kind == OutcomeKind::Delivered) {
        return lane.reached(now);
    }
    hear(lane, backoffs, outcomes, now);
    if outcomes.iter().any(is_complaint) {
        if let Some(site) = lane.site() {
            site.complained(now);
        }
        return Vec::new();
    }
    lane.reached(now)
}

/// Looks through what the next hop said for what an operator, or experience, calls a complaint.
pub(super) fn hear(lane: &Lane, backoffs: &[Backoff], outcomes: &[Outcome], now: Instant) {
    let replies = distinct(outcomes);
    if replies.is_empty() || backoffs.is_empty() {
        return;
    }
    let domain = match lane.key.route.hops.first() {
        Some(NextHop::Mx(domain)) => Some(&**domain),
        _ => None,
    };
    let Some(site) = lane.site() else { return };
    for reply in replies {
        site.heard(domain, backoffs, reply, now);
    }
}

/// The next hop's own refusals, each once.
fn distinct(outcomes: &[Outcome]) -> Vec<&Reply> {
    let mut replies: Vec<&Reply> = Vec::new();
    for reply in outcomes.iter().filter_map(own_refusal) {
        if !replies.contains(&reply) && replies.len() < REPLIES {
            replies.push(reply);
        }
    }
    replies
}

/// What the host said itself: with an error, or without a host, the words are the relay's.
fn own_refusal(outcome: &Outcome) -> Option<&Reply> {
    let own = outcome.error.is_none() && outcome.remote.is_some() && outcome.stage != Stage::Queue;
    outcome.reply.as_ref().filter(|reply| own && reply.code >= 400)
}

/// True for 421 (RFC 5321 section 3.8), and where a whole message was put off: what RCPT is told concerns that recipient, and
/// greylisting is meant to be answered with patience, not with fewer connections.
fn is_complaint(outcome: &Outcome) -> bool {
    let Some(reply) = own_refusal(outcome) else { return false };
    let whole = matches!(outcome.stage, Stage::Mail | Stage::Data | Stage::Answer);
    reply.code == 421 || reply.is_transient() && whole && !is_greylisting(reply)
}

fn is_greylisting(reply: &Reply) -> bool {
    let grey = |line: &Arc<str>| {
        let line = line.to_ascii_lowercase();
        line.contains("greylist")
            || line.contains("graylist")
            || line.contains("grey list")
            || line.contains("gray list")
    };
    reply.lines.iter().any(grey)
}

/// When mail that found its site left alone for `left` is due again: after that, and not all of it at once. `random` is of
/// 0..1.
pub(super) fn spread(left: Duration, random: f64) -> Duration {
    left + left.max(SPREAD).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Status;
    use crate::time::Timestamp;

    fn outcome(stage: Stage, code: u16, text: &str) -> Outcome {
        Outcome {
            recipient: 0,
            kind: if code < 500 { OutcomeKind::Temporary } else { OutcomeKind::Permanent },
            stage,
            reply: Some(Reply::new(code, Status::new((code / 100) as u8, 0, 0), text)),
            error: None,
            remote: Some("mx.test".into()),
            remote_endpoint: None,
            at: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn what_is_a_complaint() {
        for (stage, code, text, expected) in [
            (Stage::Rcpt, 421, "too much", true),
            (Stage::Answer, 421, "closing", true),
            (Stage::Mail, 451, "later", true),
            (Stage::Data, 451, "later", true),
            (Stage::Answer, 452, "later", true),
            (Stage::Answer, 451, "Greylisted, come back", false),
            (Stage::Rcpt, 451, "later", false),
            (Stage::Rcpt, 452, "mailbox full", false),
            (Stage::Answer, 554, "spam", false),
        ] {
            assert_eq!(is_complaint(&outcome(stage, code, text)), expected, "{stage:?} {code} {text}");
        }
        let ours = Outcome { error: Some("connection reset".into()), ..outcome(Stage::Answer, 451, "later") };
        assert!(!is_complaint(&ours), "the words are ours");
    }

    #[test]
    fn replies_are_looked_at_once() {
        let outcomes: Vec<_> =
            (0..100).map(|n| outcome(Stage::Rcpt, 450, if n % 2 == 0 { "a" } else { "b" })).collect();
        assert_eq!(distinct(&outcomes).len(), 2);
    }

    #[test]
    fn what_waited_comes_back_later_and_spread() {
        let secs = |n| Duration::from_secs(n);
        for (left, random, expected) in [(60, 0.0, 60), (60, 0.5, 90), (60, 1.0, 120), (2, 0.5, 17), (0, 0.0, 0)] {
            assert_eq!(spread(secs(left), random), secs(expected));
        }
    }
}
