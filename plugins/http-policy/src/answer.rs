//! What the service answers: version 1 of the protocol in `docs/plugins/http-policy.md`. Plain data and its checks: an
//! answer that asks for something its hook can't do is none, and nothing of it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::question::VERSION;
use crate::settings::Hook;

/// One answer. Also the form in which answers are kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Answer {
    pub(crate) version: Option<u32>,
    pub(crate) verdict: Verdict,
    /// `550 5.7.1 text`.
    pub(crate) reply: Option<String>,
    /// For the operator: of discard, quarantine, forget and suppress.
    pub(crate) reason: Option<String>,
    /// Of hold and retry.
    pub(crate) seconds: Option<u32>,
    pub(crate) headers: Headers,
    /// Empty: the null sender.
    pub(crate) sender: Option<String>,
    pub(crate) recipients: Recipients,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) tags: Vec<String>,
    /// Of route.
    pub(crate) routes: Vec<RouteTable>,
    /// Of reroute.
    pub(crate) route: Option<RouteTable>,
    /// At delivery-result: for single recipients, instead of the verdict.
    pub(crate) dispositions: Vec<Disposition>,
    pub(crate) bounce: Option<Bounce>,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    #[default]
    Proceed,
    Accept,
    Reject,
    Tempfail,
    Close,
    Discard,
    Quarantine,
    Assign,
    Hold,
    Reroute,
    Fail,
    Retry,
    Bounce,
    Forget,
    Edit,
    Suppress,
}

/// Changes of the header section.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Headers {
    /// All fields of these names.
    pub(crate) remove: Vec<String>,
    /// The first field of that name, or a new one.
    pub(crate) set: Vec<(String, String)>,
    /// On top, the first the topmost.
    pub(crate) prepend: Vec<(String, String)>,
    /// Below all others.
    pub(crate) append: Vec<(String, String)>,
}

/// Changes of the recipients, by address.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Recipients {
    pub(crate) add: Vec<String>,
    pub(crate) remove: Vec<String>,
    /// From, to.
    pub(crate) rewrite: BTreeMap<String, String>,
}

/// A way, and at the route hook for whom.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct RouteTable {
    /// Indexes; none: all that were asked about.
    pub(crate) recipients: Option<Vec<u32>>,
    pub(crate) hops: Vec<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) source: Option<String>,
    pub(crate) credential: Option<String>,
    pub(crate) lane: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) expires_after_seconds: Option<u32>,
    /// Instead of hops: a permanent failure.
    pub(crate) fail: Option<String>,
}

/// How a connection is to be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tls {
    Off,
    Opportunistic,
    Encrypt,
    Verify,
    Dane,
}

/// What becomes of one recipient after an attempt.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Disposition {
    pub(crate) recipient: u32,
    pub(crate) verdict: Verdict,
    #[serde(default)]
    pub(crate) reply: Option<String>,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) seconds: Option<u32>,
    #[serde(default)]
    pub(crate) route: Option<RouteTable>,
}

/// Changes of a bounce.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Bounce {
    pub(crate) preface: Option<String>,
    pub(crate) headers_only: bool,
    pub(crate) redirect_to: Option<String>,
}

/// Edits that one answer may ask for.
const EDITS_MAX: usize = 200;

impl Answer {
    /// Reads and checks it.
    ///
    /// # Errors
    /// What is wrong with it, without its content.
    pub(crate) fn read(body: &[u8], hook: Hook) -> Result<Self, String> {
        // serde would take a list for the fields in their order.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err("the answer is a list, where a table was agreed on".to_owned());
        }
        let answer: Self = serde_json::from_slice(body).map_err(|error| {
            let what = if error.is_data() { "not of the form that was agreed on" } else { "no JSON" };
            format!("the answer is {what}, at line {} column {}", error.line(), error.column())
        })?;
        answer.check(hook)?;
        Ok(answer)
    }

    fn check(&self, hook: Hook) -> Result<(), String> {
        if let Some(version) = self.version.filter(|version| *version != VERSION) {
            return Err(format!("the answer is of version {version}; this plugin speaks version {VERSION}"));
        }
        if !permitted(hook).contains(&self.verdict) {
            return Err(format!("the verdict {} does not exist at {}", word(self.verdict), hook.name()));
        }
        let queue = hook.is_of_queue();
        let unfit = [
            (self.headers != Headers::default() && hook != Hook::Message, "headers"),
            (self.sender.is_some() && !matches!(hook, Hook::Mail | Hook::Message | Hook::DeliveryAttempt), "sender"),
            (self.recipients != Recipients::default() && hook != Hook::Message, "recipients"),
            (!self.annotations.is_empty() && !annotates(hook), "annotations"),
            (!self.notes.is_empty() && queue, "notes"),
            (!self.tags.is_empty() && !tags(hook), "tags"),
            (!self.routes.is_empty() && hook != Hook::Route, "routes"),
            (!self.dispositions.is_empty() && hook != Hook::DeliveryResult, "dispositions"),
            (self.bounce.is_some() && hook != Hook::Bounce, "bounce"),
        ];
        if let Some((_, what)) = unfit.iter().find(|(wrong, _)| *wrong) {
            return Err(format!("the answer has {what}, which does not exist at {}", hook.name()));
        }
        let headers = &self.headers;
        let edits = headers.remove.len() + headers.set.len() + headers.prepend.len() + headers.append.len();
        let people = self.recipients.add.len() + self.recipients.remove.len() + self.recipients.rewrite.len();
        if edits + people > EDITS_MAX {
            return Err(format!("the answer has more than {EDITS_MAX} edits"));
        }
        Ok(())
    }

    /// True where the same question may be answered with it again: one with edits is about one mail.
    pub(crate) fn is_cacheable(&self) -> bool {
        self.sender.is_none()
    }
}

fn annotates(hook: Hook) -> bool {
    tags(hook) || matches!(hook, Hook::DeliveryAttempt | Hook::DeliveryResult)
}

fn tags(hook: Hook) -> bool {
    matches!(hook, Hook::Mail | Hook::Rcpt | Hook::Message | Hook::Route)
}

/// The verdicts of a hook.
fn permitted(hook: Hook) -> &'static [Verdict] {
    use Verdict::{
        Accept, Assign, Bounce, Close, Discard, Edit, Fail, Forget, Hold, Proceed, Quarantine, Reject, Reroute, Retry,
        Suppress, Tempfail,
    };
    match hook {
        Hook::Connect | Hook::Helo | Hook::Mail | Hook::Rcpt => &[Proceed, Accept, Reject, Tempfail, Close],
        Hook::Auth => &[Proceed, Reject, Tempfail],
        Hook::Message => &[Proceed, Accept, Reject, Tempfail, Discard, Quarantine],
        Hook::Route => &[Proceed, Assign, Reject, Tempfail],
        Hook::DeliveryAttempt => &[Proceed, Hold, Reroute, Fail],
        Hook::DeliveryResult => &[Proceed, Retry, Reroute, Bounce, Forget],
        Hook::Bounce => &[Proceed, Edit, Suppress],
    }
}

/// A verdict as the protocol writes it.
fn word(verdict: Verdict) -> String {
    serde_json::to_value(verdict).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hook: Hook, text: &str) -> Result<Answer, String> {
        Answer::read(text.as_bytes(), hook)
    }

    #[test]
    fn an_empty_answer_has_no_opinion() {
        assert_eq!(read(Hook::Rcpt, "{}").unwrap(), Answer::default());
        assert_eq!(read(Hook::Rcpt, r#"{"version": 1, "verdict": "accept"}"#).unwrap().verdict, Verdict::Accept);
    }

    #[test]
    fn what_does_not_fit_is_no_answer() {
        for (hook, text, words) in [
            (Hook::Rcpt, "", "no JSON"),
            (Hook::Rcpt, "<html>", "no JSON"),
            (Hook::Rcpt, "[]", "a list"),
            (Hook::Rcpt, r#"{"verdict": "allow"}"#, "not of the form"),
            (Hook::Rcpt, r#"{"verdikt": "reject"}"#, "not of the form"),
            (Hook::Rcpt, r#"{"version": 2}"#, "version 2"),
            (Hook::Rcpt, r#"{"verdict": "quarantine"}"#, "verdict quarantine does not exist at rcpt"),
            (Hook::Auth, r#"{"verdict": "accept"}"#, "does not exist at auth"),
            (Hook::Rcpt, r#"{"headers": {"remove": ["X"]}}"#, "headers"),
            (Hook::Route, r#"{"sender": ""}"#, "sender"),
            (Hook::Mail, r#"{"recipients": {"add": ["a@b"]}}"#, "recipients"),
            (Hook::Connect, r#"{"annotations": {"a": "b"}}"#, "annotations"),
            (Hook::Bounce, r#"{"notes": {"a": "b"}}"#, "notes"),
            (Hook::Helo, r#"{"tags": ["a"]}"#, "tags"),
            (Hook::Message, r#"{"routes": [{"hops": ["mx"]}]}"#, "routes"),
            (Hook::Bounce, r#"{"dispositions": [{"recipient": 1, "verdict": "retry"}]}"#, "dispositions"),
            (Hook::Route, r#"{"bounce": {}}"#, "bounce"),
        ] {
            let error = read(hook, text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let many = vec!["X"; 201];
        let text = serde_json::json!({"headers": {"remove": many}}).to_string();
        assert!(read(Hook::Message, &text).unwrap_err().contains("200 edits"));
    }

    #[test]
    fn kept_answers_are_read_again() {
        let answer = read(Hook::Rcpt, r#"{"verdict": "reject", "reply": "550 no", "tags": ["a"]}"#).unwrap();
        let kept = serde_json::to_vec(&answer).unwrap();
        assert_eq!(Answer::read(&kept, Hook::Rcpt).unwrap(), answer);
    }
}
