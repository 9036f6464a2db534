//! Back-off: which replies are complaints about how a site is worked, how many of them are too many, and what is done then.
//!
//! Pure. Patterns are matched only against replies that are no success. Must never take a greylisting for a complaint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;

use super::{Place, Whom};
use crate::smtp::Reply;

/// Moments remembered of one pattern at one site; a threshold is no larger.
const MOST_COUNTED: u32 = 1000;

/// One of `[[shaping.backoff]]`.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// For people.
    pub name: Arc<str>,
    /// At which sites.
    pub whom: Whom,
    /// Which replies.
    pub complaint: Complaint,
    /// So many of them…
    pub count: u32,
    /// …within this time.
    pub within: Duration,
    /// What is done then.
    pub reaction: Reaction,
}

/// Which replies; all that is given has to fit.
#[derive(Clone, Debug, Default)]
pub struct Complaint {
    /// Code, status and text of the reply, lines joined by a space.
    pub reply: Option<Regex>,
    /// One of them.
    pub code: Vec<CodePattern>,
    /// One of them.
    pub status: Vec<StatusPattern>,
}

/// `421`, or the first digits of codes: `45`, written `45z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePattern(Arc<str>);

/// `4.7.28`, or the first parts of statuses: `4.7`, written `4.7.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPattern(Arc<str>);

/// What follows too many complaints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing is sent for this long.
    Suspend(Duration),
    /// Less is sent for a while.
    Slow(Slow),
}

/// How much less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// At most so many connections.
    pub connections: Option<usize>,
    /// Connections and rates are divided by this.
    pub divide: u32,
    /// At most so many messages per minute.
    pub per_minute: Option<u32>,
    /// For so long.
    pub lasts: Duration,
    /// Or until so many messages were taken.
    pub successes: Option<u32>,
}

impl Slow {
    /// The stricter of both in each respect; how long is the newer one's.
    pub(in crate::delivery) fn stricter(self, newer: &Self) -> Self {
        let least = |a: Option<u32>, b: Option<u32>| [a, b].into_iter().flatten().min();
        Self {
            connections: [self.connections, newer.connections].into_iter().flatten().min(),
            divide: self.divide.max(newer.divide),
            per_minute: least(self.per_minute, newer.per_minute),
            lasts: newer.lasts,
            successes: newer.successes,
        }
    }
}

impl CodePattern {
    /// None: it is no pattern of codes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(['x', 'y', 'z', '*']);
        let code = text.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        (code && digits.starts_with(['4', '5'])).then(|| Self(digits.into()))
    }
}

impl StatusPattern {
    /// None: it is no pattern of enhanced statuses (RFC 3463).
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.strip_suffix(".*").unwrap_or(text);
        let parts: Vec<&str> = plain.split('.').collect();
        let number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let whole = parts.len() == 3 && plain == text || (1..=2).contains(&parts.len()) && plain != text;
        let class = parts.first().is_some_and(|class| matches!(*class, "4" | "5"));
        (whole && class && parts.iter().all(number)).then(|| Self(plain.into()))
    }
}

impl Complaint {
    fn fits(&self, reply: &Reply, text: &str) -> bool {
        let code = reply.code.to_string();
        let status = reply.status.map(|status| status.to_string()).unwrap_or_default();
        let below =
            |pattern: &str| status.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let code_fits = self.code.is_empty() || self.code.iter().any(|pattern| code.starts_with(&*pattern.0));
        let status_fits = self.status.is_empty() || self.status.iter().any(|pattern| below(&pattern.0));
        code_fits && status_fits && self.reply.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// The back-offs that a reply at this place counts for, by their number.
pub(in crate::delivery) fn heard(backoff: &[Backoff], place: &Place<'_>, reply: &Reply) -> Vec<usize> {
    if backoff.is_empty() {
        return Vec::new();
    }
    let text = text_of(reply);
    let fits = |b: &&(usize, &Backoff)| b.1.whom.fit(place).is_some() && b.1.complaint.fits(reply, &text);
    let numbered: Vec<_> = backoff.iter().enumerate().collect();
    numbered.iter().filter(fits).map(|(at, _)| *at).collect()
}

/// Longer replies than this say what they mean at their beginning; whoever sends more has us search no longer.
const TEXT: usize = 2000;

/// Code, status and text, as one line.
fn text_of(reply: &Reply) -> String {
    let mut text = reply.code.to_string();
    if let Some(status) = reply.status {
        text.push_str(&format!(" {status}"));
    }
    for line in reply.lines.iter() {
        text.push(' ');
        text.extend(line.chars().take(TEXT.saturating_sub(text.len())));
    }
    text
}

/// How many complaints a site made lately, by back-off. Empty as long as it made none.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Heard(Vec<(usize, VecDeque<Instant>)>);

impl Heard {
    /// One more. True if that is too many; then counting begins anew.
    pub(in crate::delivery) fn count(&mut self, at: usize, backoff: &Backoff, now: Instant) -> bool {
        let most = backoff.count.clamp(1, MOST_COUNTED) as usize;
        if most == 1 {
            return true;
        }
        let place = self.0.iter().position(|(known, _)| *known == at);
        let place = place.unwrap_or_else(|| {
            self.0.push((at, VecDeque::new()));
            self.0.len() - 1
        });
        let Some((_, moments)) = self.0.get_mut(place) else { return false };
        while moments.front().is_some_and(|first| now.duration_since(*first) > backoff.within) {
            moments.pop_front();
        }
        moments.push_back(now);
        let enough = moments.len() >= most;
        if enough {
            self.0.swap_remove(place);
        }
        enough
    }

    /// The settings have changed, and numbers mean others now.
    pub(in crate::delivery) fn forget(&mut self) {
        self.0.clear();
    }
}
