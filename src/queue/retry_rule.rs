//! What is different after certain failures: a schedule of its own, given up at once, or tried again against the next hop's
//! word. Pure.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::Schedule;
use crate::hooks::{Outcome, OutcomeKind, Stage};
use crate::mail::Domain;
use crate::smtp::Status;

/// One of `[[retry.rules]]`. All conditions that are there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryRule {
    /// The reply's code is one of these.
    pub codes: Vec<CodePattern>,
    /// Its enhanced status is one of these.
    pub statuses: Vec<StatusPattern>,
    /// The reply, or what went wrong below SMTP, has this in it.
    pub text: Option<Pattern>,
    /// It came so far.
    pub stages: Vec<Stage>,
    /// The recipient's domain is one of these; a leading dot stands for every subdomain.
    pub domains: Vec<Domain>,
    /// What happens then.
    pub then: Then,
}

/// What a rule makes of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// It is permanent.
    Fail,
    /// It is temporary, and the schedule goes on.
    #[default]
    Usual,
    /// It is temporary, and these times are used instead of the schedule's.
    Retry(Pace),
}

impl Then {
    /// What the failure counts as.
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Fail => OutcomeKind::Permanent,
            Self::Usual | Self::Retry(_) => OutcomeKind::Temporary,
        }
    }
}

/// Times that replace those of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// As in [`Schedule`].
    pub first: Option<Duration>,
    /// As in [`Schedule`].
    pub longest: Option<Duration>,
    /// As in [`Schedule`].
    pub growth_percent: Option<u32>,
    /// As in [`Schedule`], for the null reverse-path too.
    pub give_up_after: Option<Duration>,
    /// As in [`Schedule`].
    pub give_up_attempts: Option<u32>,
}

/// `421`, `45x`, `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePattern([Option<u8>; 3]);

/// `4.7.1`, `4.7`, `5`: what is left out may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusPattern(u8, Option<u16>, Option<u16>);

/// A regular expression, and its text.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<str>, Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Reads one, of bounded size; upper and lower case are the same.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SIZE: usize = 256 << 10;
        let mut pattern = regex::RegexBuilder::new(text);
        pattern.size_limit(SIZE).dfa_size_limit(4 * SIZE).nest_limit(32).case_insensitive(true);
        match pattern.build() {
            Ok(regex) => Ok(Self(text.into(), regex)),
            Err(error) => {
                Err(error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
            }
        }
    }
}

impl CodePattern {
    /// Reads one; none: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |c: char| match c {
            'x' | 'y' | 'z' => Some(None),
            c => c.to_digit(10).and_then(|digit| u8::try_from(digit).ok()).map(Some),
        };
        let digits: Vec<Option<u8>> = text.chars().map(digit).collect::<Option<_>>()?;
        let digits: [Option<u8>; 3] = digits.try_into().ok()?;
        matches!(digits, [Some(2..=5), ..]).then_some(Self(digits))
    }

    fn fits(self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        self.0.iter().zip(digits).all(|(wanted, digit)| wanted.is_none_or(|wanted| u16::from(wanted) == digit))
    }
}

impl StatusPattern {
    /// Reads one; none: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = parts.next()?.parse().ok().filter(|class| (2..=5).contains(class))?;
        let mut part = || match parts.next() {
            None => Some(None),
            Some(part) => part.parse::<u16>().ok().filter(|part| *part < 1000).map(Some),
        };
        let (subject, detail) = (part()?, part()?);
        parts.next().is_none().then_some(Self(class, subject, detail))
    }

    fn fits(self, status: Status) -> bool {
        self.0 == status.class
            && self.1.is_none_or(|subject| subject == status.subject)
            && self.2.is_none_or(|detail| detail == status.detail)
    }
}

impl RetryRule {
    /// True if no condition is there.
    pub fn is_boundless(&self) -> bool {
        let Self { codes, statuses, text, stages, domains, .. } = self;
        codes.is_empty() && statuses.is_empty() && text.is_none() && stages.is_empty() && domains.is_empty()
    }

    /// Whether it is about this failure. Those that the relay, a plugin or an operator decided are not looked at; nor are
    /// permanent ones, unless the rule names codes or statuses.
    pub(super) fn fits(&self, outcome: &Outcome, domain: &Domain) -> bool {
        let named = !self.codes.is_empty() || !self.statuses.is_empty();
        let looked_at = match outcome.kind {
            OutcomeKind::Temporary => true,
            OutcomeKind::Permanent => named,
            OutcomeKind::Delivered | OutcomeKind::Expired => false,
        };
        let reply = outcome.reply.as_ref();
        let within = |wanted: &Domain| match wanted.as_str().strip_prefix('.') {
            Some(_) => !domain.is_literal() && domain.as_str().ends_with(wanted.as_str()),
            None => wanted == domain,
        };
        looked_at
            && outcome.stage != Stage::Queue
            && (self.codes.is_empty() || reply.is_some_and(|r| self.codes.iter().any(|code| code.fits(r.code))))
            && (self.statuses.is_empty()
                || reply.and_then(|r| r.status).is_some_and(|status| self.statuses.iter().any(|s| s.fits(status))))
            && (self.stages.is_empty() || self.stages.contains(&outcome.stage))
            && (self.domains.is_empty() || self.domains.iter().any(within))
            && self.text.as_ref().is_none_or(|Pattern(_, pattern)| {
                reply.is_some_and(|reply| pattern.is_match(&reply.to_string()))
                    || outcome.error.as_deref().is_some_and(|error| pattern.is_match(error))
            })
    }

    /// The schedule with the rule's times.
    pub fn over(&self, schedule: &Schedule) -> Schedule {
        let mut schedule = schedule.clone();
        if let Then::Retry(pace) = &self.then {
            schedule.first = pace.first.unwrap_or(schedule.first);
            schedule.longest = pace.longest.unwrap_or(schedule.longest).max(schedule.first);
            schedule.growth_percent = pace.growth_percent.unwrap_or(schedule.growth_percent);
            schedule.give_up_attempts = pace.give_up_attempts.or(schedule.give_up_attempts);
            if let Some(after) = pace.give_up_after {
                schedule.give_up_after = after.min(schedule.give_up_after);
                schedule.give_up_after_bounce = after.min(schedule.give_up_after_bounce);
            }
        }
        schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Reply;
    use crate::time::Timestamp;

    fn outcome(kind: OutcomeKind, stage: Stage, reply: Option<Reply>, error: Option<&str>) -> Outcome {
        let (remote, remote_endpoint) = (None, None);
        Outcome {
            recipient: 0,
            kind,
            stage,
            reply,
            error: error.map(Into::into),
            remote,
            remote_endpoint,
            at: Timestamp::default(),
        }
    }

    #[test]
    fn patterns_read_and_fit() {
        for (text, fitting, other) in [("421", 421, 420), ("45x", 459, 460), ("5yz", 599, 499)] {
            let pattern = CodePattern::parse(text).unwrap();
            assert!(pattern.fits(fitting) && !pattern.fits(other), "{text}");
        }
        for text in ["", "42", "4211", "xxx", "1xx", "4a1"] {
            assert_eq!(CodePattern::parse(text), None, "{text}");
        }
        let fits = |text: &str, status| StatusPattern::parse(text).unwrap().fits(status);
        assert!(
            fits("4.7.1", Status::new(4, 7, 1)) && fits("4.7", Status::new(4, 7, 9)) && fits("5", Status::new(5, 0, 0))
        );
        assert!(!fits("4.7.1", Status::new(4, 7, 0)) && !fits("4", Status::new(5, 0, 0)));
        for text in ["", "x", "4.x", "4.7.1.1", "9.1.1", "4..1", "4.1000"] {
            assert_eq!(StatusPattern::parse(text), None, "{text}");
        }
        assert!(Pattern::parse("(").is_err());
    }

    #[test]
    fn each_condition_must_hold() {
        let domain = Domain::parse("mail.example.net").unwrap();
        let reply = Reply::new(421, Status::new(4, 7, 0), "Too many connections");
        let deferred = outcome(OutcomeKind::Temporary, Stage::Rcpt, Some(reply.clone()), None);
        let rule = RetryRule {
            codes: vec![CodePattern::parse("42x").unwrap()],
            statuses: vec![StatusPattern::parse("4.7").unwrap()],
            text: Some(Pattern::parse("too many").unwrap()),
            stages: vec![Stage::Mail, Stage::Rcpt],
            domains: vec![Domain::parse_pattern(".example.net").unwrap()],
            then: Then::Usual,
        };
        assert!(rule.fits(&deferred, &domain) && !rule.is_boundless());
        let misses = [
            RetryRule { codes: vec![CodePattern::parse("450").unwrap()], ..rule.clone() },
            RetryRule { statuses: vec![StatusPattern::parse("4.2").unwrap()], ..rule.clone() },
            RetryRule { text: Some(Pattern::parse("greylist").unwrap()), ..rule.clone() },
            RetryRule { stages: vec![Stage::Connect], ..rule.clone() },
            RetryRule { domains: vec![Domain::parse("example.net").unwrap()], ..rule.clone() },
        ];
        assert!(misses.iter().all(|rule| !rule.fits(&deferred, &domain)));
        let ours = outcome(OutcomeKind::Temporary, Stage::Queue, Some(reply), None);
        assert!(!rule.fits(&ours, &domain), "the relay's own word");
        let by_text = RetryRule { text: Some(Pattern::parse("refused").unwrap()), ..RetryRule::default() };
        let lost = |kind| outcome(kind, Stage::Connect, None, Some("connection refused"));
        assert!(by_text.fits(&lost(OutcomeKind::Temporary), &domain));
        assert!(!by_text.fits(&lost(OutcomeKind::Permanent), &domain), "unless it names codes");
    }

    #[test]
    fn only_what_a_rule_says_is_different() {
        let usual = Schedule::default();
        let pace = Pace { first: Some(Duration::from_secs(3600)), give_up_attempts: Some(3), ..Pace::default() };
        let other = RetryRule { then: Then::Retry(pace), ..RetryRule::default() }.over(&usual);
        assert_eq!((other.first, other.give_up_attempts), (Duration::from_secs(3600), Some(3)));
        assert_eq!((other.longest, other.give_up_after), (usual.longest, usual.give_up_after));
    }
}
