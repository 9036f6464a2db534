//! What an Rspamd answers, as far as it is acted on. Pure. Every part of it may be missing or odd: what can't be read is
//! left out, but without an action there is no answer.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// The answer to `/checkv2`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) action: Action,
    pub(crate) score: f64,
    /// The score from which on a message is rejected.
    pub(crate) required: f64,
    /// In order of weight, the heaviest first.
    pub(crate) symbols: Vec<(String, f64)>,
    /// What the client is to be told.
    pub(crate) message: Option<String>,
    /// The rewritten subject.
    pub(crate) subject: Option<String>,
    /// Fields to add, the topmost first.
    pub(crate) add: Vec<(String, String)>,
    /// Fields to remove: which of that name, from 1 on; below zero from the last on; zero: all.
    pub(crate) remove: Vec<(String, i64)>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    Greylist,
    AddHeader,
    RewriteSubject,
    SoftReject,
    Reject,
    Discard,
    Quarantine,
}

impl Action {
    /// Its name, also for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no action",
            Self::Greylist => "greylist",
            Self::AddHeader => "add header",
            Self::RewriteSubject => "rewrite subject",
            Self::SoftReject => "soft reject",
            Self::Reject => "reject",
            Self::Discard => "discard",
            Self::Quarantine => "quarantine",
        }
    }

    fn named(name: &str) -> Option<Self> {
        const ALL: [Action; 8] = [
            Action::Nothing,
            Action::Greylist,
            Action::AddHeader,
            Action::RewriteSubject,
            Action::SoftReject,
            Action::Reject,
            Action::Discard,
            Action::Quarantine,
        ];
        let name = name.replace(['_', '-'], " ").to_ascii_lowercase();
        ALL.into_iter().find(|action| action.name() == name)
    }

    /// True where the message is thought to be spam.
    pub(crate) fn is_spam(self) -> bool {
        matches!(self, Self::AddHeader | Self::RewriteSubject | Self::Reject | Self::Discard | Self::Quarantine)
    }
}

/// As it comes.
#[derive(Deserialize)]
struct Raw {
    action: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    required_score: f64,
    #[serde(default)]
    symbols: BTreeMap<String, Value>,
    #[serde(default)]
    messages: Value,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    milter: Value,
    #[serde(default, rename = "dkim-signature")]
    dkim_signature: Value,
}

impl Answer {
    /// Reads it.
    ///
    /// # Errors
    /// It is no JSON, has no action, or one that nobody knows. Without a word of its content.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        // serde would take a list for the fields in their order.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err("the answer is no answer to /checkv2, but a list".to_owned());
        }
        let raw: Raw = serde_json::from_slice(body).map_err(|error| {
            let what = if error.is_data() { "no answer to /checkv2" } else { "no JSON" };
            format!("the answer is {what}, at line {} column {}", error.line(), error.column())
        })?;
        let action = Action::named(&raw.action).ok_or("the answer has an action that is not known here")?;
        let message = raw.messages.get("smtp_message").and_then(Value::as_str).and_then(one_line);
        let mut add: Vec<(String, String)> =
            texts(&raw.dkim_signature).map(|value| ("DKIM-Signature".to_owned(), unfolded(value))).collect();
        add.extend(additions(raw.milter.get("add_headers").unwrap_or(&Value::Null)));
        add.retain(|(name, _)| is_name(name));
        Ok(Self {
            action,
            score: raw.score,
            required: raw.required_score,
            symbols: symbols(&raw.symbols),
            message,
            subject: raw.subject.map(|subject| unfolded(&subject)),
            add,
            remove: removals(raw.milter.get("remove_headers").unwrap_or(&Value::Null)),
        })
    }
}

fn symbols(raw: &BTreeMap<String, Value>) -> Vec<(String, f64)> {
    let score = |value: &Value| value.get("score").and_then(Value::as_f64).unwrap_or_default();
    let mut symbols: Vec<(String, f64)> = raw.iter().map(|(name, value)| (name.clone(), score(value))).collect();
    symbols.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    symbols
}

/// The first line that says something, without control characters.
fn one_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let line: String = line.chars().filter(|c| !c.is_control()).take(400).collect();
    (!line.is_empty()).then_some(line)
}

/// One text, or a list of them.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    value.as_str().into_iter().chain(list.iter().filter_map(Value::as_str))
}

/// Tables, alone or in a list.
fn tables(value: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    value.as_object().into_iter().chain(list.iter().filter_map(Value::as_object))
}

/// `{NAME: TEXT | {value, order} | [of these]}`, or a list of such tables. Lower orders stand higher.
fn additions(value: &Value) -> Vec<(String, String)> {
    let mut found: Vec<(i64, String, String)> = Vec::new();
    for (name, wanted) in tables(value).flatten() {
        let list = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
        let one = (!wanted.is_array()).then_some(wanted);
        for entry in one.into_iter().chain(list) {
            let text = entry.as_str().or_else(|| entry.get("value").and_then(Value::as_str));
            let order = entry.get("order").and_then(Value::as_i64).unwrap_or(i64::MAX);
            if let Some(text) = text {
                found.push((order, name.clone(), unfolded(text)));
            }
        }
    }
    // Stable: those of the same order stay as they came.
    found.sort_by_key(|(order, _, _)| *order);
    found.into_iter().map(|(_, name, value)| (name, value)).collect()
}

/// `{NAME: NUMBER | [NUMBERS]}`, or a list of such tables, or of names.
fn removals(value: &Value) -> Vec<(String, i64)> {
    let mut found: Vec<(String, i64)> = Vec::new();
    for (name, which) in tables(value).flatten() {
        match which {
            Value::Array(list) => found.extend(list.iter().filter_map(Value::as_i64).map(|n| (name.clone(), n))),
            other => found.push((name.clone(), other.as_i64().unwrap_or_default())),
        }
    }
    let names = value.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str);
    found.extend(names.map(|name| (name.to_owned(), 0)));
    found
}

/// The relay folds: what was folded becomes one line, and no other control character is kept.
fn unfolded(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_matches([' ', '\t', '\r']));
    let joined = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    joined.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// RFC 5322 section 3.6.8, and not longer than a line.
fn is_name(name: &str) -> bool {
    (1..=78).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Answer {
        Answer::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_rspamd_says_is_read() {
        let answer = read(
            r#"{"is_skipped": false, "score": 6.5, "required_score": 15.0, "action": "add header", "thresholds": {"reject": 15.0},
                "symbols": {"A": {"name": "A", "score": 1.5, "options": ["x"]}, "B": {"score": 5.0}, "C": {"score": -2}},
                "messages": {"smtp_message": "\r\n try\u0007 again \r\n"}, "message-id": "x@y", "time_real": 0.1,
                "milter": {"add_headers": {"X-One": "1\r\n\tone", "X-Two": {"value": "2", "order": 0},
                    "X-Many": [{"value": "a", "order": 2}, {"value": "b", "order": 1}], "bad name": "x"},
                    "remove_headers": {"X-Old": 0, "X-Last": -1}}}"#,
        );
        assert_eq!((answer.action, answer.score, answer.required), (Action::AddHeader, 6.5, 15.0));
        assert_eq!(answer.symbols.iter().map(|s| s.0.as_str()).collect::<Vec<_>>(), ["B", "C", "A"]);
        assert_eq!(answer.message.as_deref(), Some("try again"));
        let add: Vec<_> = answer.add.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(add, ["X-Two: 2", "X-Many: b", "X-Many: a", "X-One: 1 one"]);
        let mut remove = answer.remove;
        // Whether a map keeps the order it was written in is a matter of how it was built.
        remove.sort();
        assert_eq!(remove, [("X-Last".to_owned(), -1), ("X-Old".to_owned(), 0)]);
    }

    #[test]
    fn lists_do_as_well() {
        let answer = read(
            r#"{"action": "no action", "dkim-signature": ["v=1;\r\n\tb=x", "v=1"], "milter":
                {"add_headers": [{"X-One": "1"}, {"X-Two": ["2", 3]}], "remove_headers": ["X-Old", {"X-New": [1, 2]}]}}"#,
        );
        let add: Vec<_> = answer.add.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(add, ["DKIM-Signature: v=1; b=x", "DKIM-Signature: v=1", "X-One: 1", "X-Two: 2"]);
        assert_eq!(answer.remove.len(), 3);
    }

    #[test]
    fn all_actions_are_known() {
        for (text, action) in [
            ("no action", Action::Nothing),
            ("greylist", Action::Greylist),
            ("add header", Action::AddHeader),
            ("add_header", Action::AddHeader),
            ("rewrite subject", Action::RewriteSubject),
            ("soft reject", Action::SoftReject),
            ("Reject", Action::Reject),
            ("quarantine", Action::Quarantine),
            ("discard", Action::Discard),
        ] {
            assert_eq!(read(&format!(r#"{{"action": "{text}"}}"#)).action, action);
        }
    }

    #[test]
    fn nonsense_is_no_answer() {
        for (body, words) in [
            ("", "no JSON"),
            ("<html>", "no JSON"),
            (r#"{"action": "rej"#, "no JSON"),
            (r#"{"error": "no such worker"}"#, "no answer to /checkv2"),
            (r#"{"action": 1}"#, "no answer"),
            (r#"{"action": "explode"}"#, "not known"),
            ("[\"reject\"]", "no answer"),
        ] {
            let error = Answer::read(body.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
        let odd = read(r#"{"action": "reject", "messages": "x", "milter": [1], "symbols": {"A": 1}}"#);
        assert_eq!((odd.message, odd.add.len(), odd.symbols.len()), (None, 0, 1));
    }
}
