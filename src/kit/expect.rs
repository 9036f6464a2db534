//! What was expected, held against what happened. Pure.

use serde_json::Value;

use super::dialogue::matches;
use super::said::Decided;
use super::scenario::{Entry, Expect, Message};
use super::taken::Taken;
use crate::plugin::Line;

/// What happened in one step.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    /// Answers of the plugin, in order.
    pub decisions: Vec<Decided>,
    pub lines: Vec<Line>,
    /// Requests over HTTP.
    pub asked: Vec<String>,
    /// Requests that no server was made up for.
    pub unknown: Vec<String>,
    /// Messages that were taken.
    pub taken: Vec<Taken>,
    /// Sums of counters, by name.
    pub counted: std::collections::BTreeMap<String, u64>,
}

/// All that is other than expected. Values of kv are looked up by whoever has the store.
pub(crate) fn differences(expect: &Expect, happened: &Happened, is_dialogue: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    answer(expect, happened, &mut wrong);
    log(expect, &happened.lines, &mut wrong);
    if let Some(wanted) = &expect.http
        && *wanted != happened.asked
    {
        wrong.push(format!("http: expected {wanted:?}, got {:?}", happened.asked));
    }
    for asked in &happened.unknown {
        wrong.push(format!("http: nobody was made up for {asked:?}: add it to [[fakes.http]]"));
    }
    for (name, wanted) in &expect.metrics {
        let got = happened.counted.get(name).copied().unwrap_or(0);
        if got != *wanted {
            wrong.push(format!("metrics.{name}: expected {wanted}, got {got}"));
        }
    }
    if let Some(wanted) = expect.messages.filter(|wanted| *wanted != happened.taken.len()) {
        wrong.push(format!("messages: expected {wanted}, {} were taken", happened.taken.len()));
    }
    if let Some(wanted) = &expect.taken {
        if !is_dialogue {
            wrong.push("message: only a dialogue (`smtp`) has messages taken; use `edits` here".to_owned());
        } else if wanted.len() != happened.taken.len() {
            wrong.push(format!("message: expected {}, {} were taken", wanted.len(), happened.taken.len()));
        }
        for (number, (wanted, taken)) in (1..).zip(wanted.iter().zip(&happened.taken)) {
            let mut of_it = Vec::new();
            message(wanted, taken, &mut of_it);
            wrong.extend(of_it.into_iter().map(|text| format!("message {number}: {text}")));
        }
    }
    wrong
}

/// Of a hook asked directly its only answer counts, of a dialogue the last one; edits may be of any.
fn answer(expect: &Expect, happened: &Happened, wrong: &mut Vec<String>) {
    let last = happened.decisions.last();
    let failure = happened.decisions.iter().rev().find_map(|decided| decided.failure.as_ref());
    match (&expect.failure, failure) {
        (Some(wanted), Some(failure)) if failure.is(wanted) => return,
        (Some(wanted), Some(failure)) => {
            return wrong.push(format!("failure: expected {wanted:?}, it {}", failure.text));
        }
        (Some(wanted), None) => return wrong.push(format!("failure: expected {wanted:?}, and it did not fail")),
        (None, Some(failure)) => {
            return wrong.push(format!(
                "the plugin failed: it {}{}; if that is what it should do, write expect.failure = \"{}\"",
                failure.text,
                if failure.kind == "trap" { ", which is how a panic or an abort ends: see what it wrote" } else { "" },
                failure.short()
            ));
        }
        (None, None) => {}
    }
    let word = last.map_or("nothing: it was not asked", |decided| &*decided.word);
    if let Some(wanted) = expect.verdict.as_deref().filter(|wanted| *wanted != word) {
        wrong.push(format!("verdict: expected {wanted}, got {word}"));
    }
    let told = last.map_or("", |decided| &*decided.told);
    if let Some(wanted) = expect.reply.as_deref().filter(|wanted| !matches(told, wanted)) {
        wrong.push(format!("reply: expected {wanted:?}, got {told:?}"));
    }
    let verdict = last.map_or(&Value::Null, |decided| &decided.verdict);
    if let Some(wanted) = expect.answer.as_ref().filter(|wanted| !holds(verdict, wanted)) {
        wrong.push(format!("answer: expected {wanted} to be part of {verdict}"));
    }
    let Some(wanted) = &expect.edits else { return };
    let edits: Vec<&String> = happened.decisions.iter().flat_map(|decided| &decided.edits).collect();
    if wanted.is_empty() && !edits.is_empty() {
        wrong.push(format!("edits: expected none, got {edits:?}"));
    }
    for edit in wanted.iter().filter(|wanted| !edits.iter().any(|edit| matches(edit, wanted))) {
        wrong.push(format!("edits: expected {edit:?}, got {edits:?}"));
    }
}

fn log(expect: &Expect, lines: &[Line], wrong: &mut Vec<String>) {
    let found = |part: &String| lines.iter().any(|line| line.text.contains(part.as_str()));
    for part in expect.log.iter().filter(|part| !found(part)) {
        let texts: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        wrong.push(format!("log: no line has {part:?}; there are {texts:?}"));
    }
    for part in expect.no_log.iter().filter(|part| found(part)) {
        wrong.push(format!("no-log: a line has {part:?}"));
    }
}

/// A value of a bucket.
pub(crate) fn entry(name: &str, wanted: &Entry, got: Option<&str>) -> Option<String> {
    match (wanted, got) {
        (Entry::Absent(false), None) | (Entry::Absent(true), Some(_)) => None,
        (Entry::Absent(false), Some(got)) => Some(format!("{name}: expected nothing, got {got:?}")),
        (Entry::Absent(true), None) => Some(format!("{name}: expected some value, there is none")),
        (Entry::Value(wanted), Some(got)) if matches(got, wanted) => None,
        (Entry::Value(wanted), got) => Some(format!("{name}: expected {wanted:?}, got {got:?}")),
    }
}

/// True if the expected value is part of the other: of an object some keys, of a list some element.
fn holds(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::Object(got), Value::Object(wanted)) => {
            let all = wanted.iter().all(|(key, wanted)| got.get(key).is_some_and(|got| holds(got, wanted)));
            // What becomes of a recipient stands one level deeper.
            all || got.get("action").is_some_and(|action| holds(action, &Value::Object(wanted.clone())))
        }
        (Value::Array(got), Value::Array(wanted)) => {
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(got, wanted)| holds(got, wanted))
        }
        (Value::Array(got), wanted) => got.iter().any(|got| holds(got, wanted)),
        (Value::String(got), Value::String(wanted)) => matches(got, wanted),
        (Value::Object(got), wanted) => got.get("action").is_some_and(|action| holds(action, wanted)),
        // TOML and JSON write whole numbers in different types.
        (Value::Number(got), Value::Number(wanted)) => got.as_f64() == wanted.as_f64(),
        (got, wanted) => got == wanted,
    }
}

fn message(wanted: &Message, taken: &Taken, wrong: &mut Vec<String>) {
    let mut is = |what: &str, wanted: &dyn std::fmt::Debug, got: &dyn std::fmt::Debug, same: bool| {
        if !same {
            wrong.push(format!("{what}: expected {wanted:?}, got {got:?}"));
        }
    };
    if let Some(sender) = &wanted.sender {
        is("sender", sender, &taken.sender, *sender == taken.sender);
    }
    if let Some(recipients) = &wanted.recipients {
        is("recipients", recipients, &taken.recipients, *recipients == taken.recipients);
    }
    for line in &wanted.headers {
        is("headers", line, &taken.headers, taken.headers.iter().any(|got| matches(got, line)));
    }
    for name in &wanted.no_headers {
        let named = |got: &&String| got.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
        let got = taken.headers.iter().find(named);
        is("no-headers", name, &got, got.is_none());
    }
    if let Some(body) = &wanted.body {
        let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        is("body", &body, &taken.body, body == taken.body);
    }
    for part in &wanted.body_contains {
        let part = part.replace("\r\n", "\n").replace('\n', "\r\n");
        is("body-contains", &part, &taken.body, taken.body.contains(&part));
    }
    if let Some(held) = &wanted.held {
        let got = taken.held.as_deref().unwrap_or_default();
        let same = if held.is_empty() { got.is_empty() } else { got.contains(held.as_str()) };
        is("held", held, &got, same);
    }
    for (key, value) in &wanted.annotations {
        let got = taken.annotations.get(key);
        is(&format!("annotations.{key}"), value, &got, got == Some(value));
    }
    if let Some(tags) = &wanted.tags {
        is("tags", tags, &taken.tags, *tags == taken.tags);
    }
    if let Some(route) = &wanted.route {
        is("route", route, &taken.route, *route == taken.route);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn part_of_an_answer_is_enough() {
        let dispositions = json!([{"recipient": 0, "action": {"retry-after-seconds": 300}}]);
        for (got, wanted, holding) in [
            (dispositions.clone(), json!({"retry-after-seconds": 300}), true),
            (dispositions.clone(), json!({"retry-after-seconds": 301}), false),
            (dispositions, json!([{"recipient": 0}]), true),
            (json!([{"recipient": 1, "action": "proceed"}]), json!("proceed"), true),
            (json!({"reject": {"code": 550, "lines": ["no such user"]}}), json!({"reject": {"lines": ["no…"]}}), true),
            (json!({"reject": {"code": 550}}), json!({"reject": {"code": 551}}), false),
            (json!("proceed"), json!("accept"), false),
        ] {
            assert_eq!(holds(&got, &wanted), holding, "{got} {wanted}");
        }
    }

    #[test]
    fn entries_are_there_or_not() {
        let value = |text: &str| Entry::Value(text.to_owned());
        assert_eq!(entry("kv.a", &value("1…"), Some("12")), None);
        assert_eq!(entry("kv.a", &Entry::Absent(false), None), None);
        assert!(entry("kv.a", &value("1"), None).is_some() && entry("kv.a", &Entry::Absent(true), None).is_some());
        assert!(entry("kv.a", &Entry::Absent(false), Some("")).unwrap().contains("expected nothing"));
    }

    #[test]
    fn a_line_that_is_missing_and_one_too_many_are_said() {
        let line = Line { level: "info", hook: "on-rcpt".into(), text: "refused x".into() };
        let happened = Happened { lines: vec![line], ..Happened::default() };
        let expect =
            Expect { log: vec!["refused".into(), "kept".into()], no_log: vec!["x".into()], ..Expect::default() };
        let wrong = differences(&expect, &happened, false);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }
}
