//! What requests about the queue are made of, and what their answers are: filters, commands, steps, rules.
//!
//! A command, a count and a summary go through the queue step by step: each answer says where the next step begins, and
//! the request is sent again with that. So a client can tell how far it is, and stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mail::QueueId;
use crate::queue::{Changed, Filter, Reach, Rule, RuleKind};
use crate::time::Timestamp;

/// Messages looked at in one step.
const LOOK: usize = 4096;

/// Which recipients; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterForm {
    /// In the filter language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// These only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Reverse-path contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The recipient contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The recipient's domain is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Held ones only, or others only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
}

impl FilterForm {
    /// Of a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// True if nothing is said.
    pub fn is_empty(&self) -> bool {
        let said = self.text.as_deref().is_some_and(|text| !text.trim().is_empty());
        !said && Self { text: None, ..self.clone() } == Self::default()
    }

    /// True if it names messages one by one.
    pub fn names_messages(&self) -> bool {
        !self.ids.is_empty()
    }

    /// For the queue.
    ///
    /// # Errors
    /// When an id is none, or the text is no filter: what is wrong, and where.
    pub fn filter(&self) -> Result<Filter, String> {
        let mut parts = Vec::new();
        if !self.ids.is_empty() {
            parts.push(Filter::ids(self.ids.iter().map(|id| read_id(id)).collect::<Result<Vec<_>, _>>()?));
        }
        let contains = |field, part: &String| Filter::contains(field, part);
        parts.extend(self.sender.as_ref().map(|part| contains("sender", part)));
        parts.extend(self.recipient.as_ref().map(|part| contains("recipient", part)));
        parts.extend(self.domain.as_ref().map(|domain| Filter::domain(domain)));
        parts.extend(self.held.map(Filter::held));
        if let Some(text) = &self.text {
            parts.push(Filter::parse(text).map_err(|error| format!("{text:?}: {error}"))?);
        }
        Ok(Filter::all_of(parts))
    }
}

/// A queue id as people write it.
pub(super) fn read_id(text: &str) -> Result<QueueId, String> {
    text.parse::<QueueId>().map_err(|error| format!("{text:?}: {error}"))
}

/// A step that begins above an id and ends with another.
pub(super) fn reach(after: Option<&str>, upto: Option<&str>) -> Result<Reach, String> {
    let read = |id: Option<&str>| id.map(read_id).transpose();
    Ok(Reach { after: read(after)?, upto: read(upto)?, look: LOOK, find: LOOK })
}

/// Where the next step begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Next {
    /// `after` of the next step; none: this was the last.
    pub next: Option<String>,
    /// `upto` of the next step.
    pub upto: Option<String>,
    /// Messages looked at in this step.
    pub looked: u64,
}

impl Next {
    pub(super) fn of(next: Option<QueueId>, upto: Option<QueueId>, looked: u64) -> Self {
        Self { next: next.map(|id| id.to_string()), upto: upto.map(|id| id.to_string()), looked }
    }
}

/// What there is in a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Counted {
    /// Messages with a recipient that fits.
    pub messages: u64,
    /// Recipients that fit.
    pub recipients: u64,
    /// Octets of those messages.
    pub octets: u64,
    /// The first few ids.
    pub ids: Vec<String>,
    /// Where the next step begins.
    #[serde(flatten)]
    pub next: Next,
}

/// What a step of a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChangedForm {
    /// Messages changed.
    pub messages: u64,
    /// Recipients changed.
    pub recipients: u64,
    /// Messages that could not be changed.
    pub failed: u64,
    /// Some of them: id and why.
    #[schema(value_type = Vec<Vec<String>>)]
    pub failures: Vec<(String, String)>,
    /// Where the next step begins.
    #[serde(flatten)]
    pub next: Next,
}

impl From<Changed> for ChangedForm {
    fn from(changed: Changed) -> Self {
        let Changed { messages, recipients, looked, failed, failures, next, upto } = changed;
        let failures = failures.into_iter().map(|(id, why)| (id.to_string(), why)).collect();
        Self { messages, recipients, failed, failures, next: Next::of(next, upto, looked) }
    }
}

/// One destination, or what else it is counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SummaryRow {
    /// Which.
    pub name: String,
    /// Recipients by age: up to 5, 10, 20, 40 … 1280 minutes, and older.
    #[schema(value_type = Vec<u64>)]
    pub by_age: [u64; BUCKETS],
    /// Recipients of them that are held.
    pub held: u64,
    /// That wait for the end of a suspension.
    pub suspended: u64,
}

/// Ages that are told apart.
pub const BUCKETS: usize = 10;

/// Which of them an age belongs to: 5 minutes and less, then twice as much each.
pub(super) fn bucket(age: Duration) -> usize {
    let fives = age.as_secs().saturating_sub(1) / 300;
    ((u64::BITS - fives.leading_zeros()) as usize).min(BUCKETS - 1)
}

/// What to do to recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommandForm {
    /// Due at once.
    Retry {
        /// Ask for the route anew.
        #[serde(default)]
        reroute: bool,
    },
    /// Due then.
    Reschedule {
        /// RFC 3339; none: counted from now.
        #[serde(default)]
        at: Option<String>,
        /// So many seconds after that.
        #[serde(default)]
        in_secs: u64,
        /// Spread by chance over so many seconds from then on.
        #[serde(default)]
        spread_secs: u64,
    },
    /// This way from now on.
    Reroute {
        /// A route as it is written in the configuration.
        to: String,
    },
    /// Not tried until released.
    Hold {
        /// Shown with it.
        reason: String,
    },
    /// As before the hold, and due at once.
    Release,
    /// Given up; the sender is told.
    Bounce {
        /// What the sender is told.
        reason: String,
    },
    /// Gone, without a bounce.
    #[serde(alias = "drop")]
    Remove,
}

/// Most characters of a reason.
const REASON: usize = 400;

/// A reason that can be shown anywhere.
pub(super) fn reason(text: String) -> Result<std::sync::Arc<str>, String> {
    if text.chars().count() > REASON {
        return Err(format!("a reason has at most {REASON} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("a reason is one line of text".to_owned());
    }
    Ok(text.into())
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RuleStatus {
    /// Its number.
    pub number: u32,
    /// What it does: `suspend`, `hold` or `bounce`.
    #[schema(value_type = String)]
    pub kind: RuleKind,
    /// To whom.
    pub filter: String,
    /// Why.
    pub reason: String,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339; none: until it is lifted.
    pub until: Option<String>,
    /// Seconds until then.
    pub left_secs: Option<u64>,
    /// Who made it.
    pub by: String,
}

impl RuleStatus {
    pub(super) fn of(rule: &Rule, now: Timestamp) -> Self {
        Self {
            number: rule.number,
            kind: rule.kind,
            filter: rule.filter.to_string(),
            reason: rule.reason.to_string(),
            since: rule.since.rfc3339(),
            until: rule.until.map(Timestamp::rfc3339),
            left_secs: rule.until.map(|until| until.since(now).as_secs()),
            by: rule.by.to_string(),
        }
    }
}

/// What is asked of the suppression list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SuppressForm {
    /// Nothing is sent there any more.
    Add {
        /// An address or a domain.
        address: String,
        /// Whose mail; none: everybody's.
        #[serde(default)]
        tenant: Option<String>,
        /// Shown with it.
        reason: String,
        /// For so many seconds; none: for good.
        #[serde(default)]
        for_secs: Option<u64>,
    },
    /// It is sent there again.
    Remove {
        /// As it was added.
        address: String,
        /// As it was added.
        #[serde(default)]
        tenant: Option<String>,
    },
    /// Entries, in order.
    List {
        /// That contain this.
        #[serde(default)]
        contains: String,
        /// Of this tenant only.
        #[serde(default)]
        tenant: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// The entry that keeps mail from an address, if there is one.
    Check {
        /// Which.
        address: String,
        /// Whose mail.
        #[serde(default)]
        tenant: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fall_into_buckets_that_double() {
        let minutes = |minutes: u64| bucket(Duration::from_secs(60 * minutes));
        for (bound, at) in [5, 10, 20, 40, 80, 160, 320, 640, 1280].into_iter().zip(0..) {
            assert_eq!((minutes(bound), minutes(bound + 1)), (at, at + 1), "{bound}");
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn old_conditions_and_the_language_go_together() {
        let form = FilterForm {
            ids: vec![QueueId::from_u64(9).to_string()],
            sender: Some("ann".into()),
            domain: Some("Example.NET".into()),
            held: Some(true),
            text: Some("age > 2h or size > 1M".into()),
            ..FilterForm::default()
        };
        insta::assert_snapshot!(form.filter().unwrap(), @"id = 0000000000009 and sender ~ ann and domain = example.net and held and (age > 2h or size > 1M)");
        assert!(FilterForm::default().filter().unwrap().is_everything() && FilterForm::default().is_empty());
        assert!(!FilterForm::text("all").is_empty());
        let error = FilterForm::text("domain = ").filter().unwrap_err();
        assert_eq!(error, "\"domain = \": at column 10: expected a value for domain");
    }
}
