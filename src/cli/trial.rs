//! What there is to say of breakers and of candidates on trial, for people.

use serde_json::Value;

use super::plugin::word;
use super::render::{clean, table};

/// True if the text of a key is one of these.
pub(super) fn is(value: &Value, key: &str, one_of: &[&str]) -> bool {
    value.get(key).and_then(Value::as_str).is_some_and(|text| one_of.contains(&text))
}

/// `left alone since …`.
pub(super) fn left_alone(breaker: &Value) -> String {
    let of = |key| breaker.get(key).map(word).unwrap_or_default();
    format!("left alone since {}, tried again at {}: it {}", of("since"), of("next_probe"), of("cause"))
}

/// `1.1.0, shadow: 812 calls, 805 same, 7 different, 0 skipped`.
pub(super) fn on_trial(candidate: &Value) -> String {
    let of = |key| candidate.get(key).map(word).unwrap_or_default();
    let share = candidate.get("share").and_then(Value::as_u64).map(|share| format!(" {share} %")).unwrap_or_default();
    let mut text = format!("{}, {}{share}", of("version"), of("mode"));
    if is(candidate, "state", &["failed"]) {
        return format!("{text}: not loaded: {}", of("reason"));
    }
    let failed: u64 = candidate
        .get("failures")
        .and_then(Value::as_object)
        .map_or(0, |kinds| kinds.iter().filter(|(kind, _)| *kind != "tripped").filter_map(|(_, n)| n.as_u64()).sum());
    text.push_str(&format!(": {} calls, {failed} failed", of("calls")));
    if is(candidate, "mode", &["shadow"]) {
        text.push_str(&format!(", {} same, {} different, {} skipped", of("same"), of("different"), of("skipped")));
    }
    if let Some(breaker) = candidate.get("breaker").filter(|b| is(b, "state", &["open", "half-open"])) {
        text.push_str(&format!("; {}", left_alone(breaker)));
    }
    text
}

/// A trial for people: what it is, a table by hook, then the last differences, each on a few lines.
pub(super) fn show_trial(trial: &Value, differences: &[Value]) -> String {
    let of = |value: &Value, key: &str| value.get(key).map(word).unwrap_or_default();
    let candidate = trial.get("candidate").map(on_trial).unwrap_or_default();
    let head = format!("{} {}, candidate {candidate}", of(trial, "plugin"), of(trial, "version"));
    let mut text = format!("{}\n", clean(&head));
    if trial.get("waiting").and_then(Value::as_u64).is_some_and(|waiting| waiting > 0) {
        text.push_str(&format!("{} not compared yet\n", of(trial, "waiting")));
    }
    let hooks = trial.get("hooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !hooks.is_empty() {
        let heads = ["HOOK", "SAME", "OTHER VERDICT", "OTHER EDITS", "FAILED", "SKIPPED"];
        let keys = ["hook", "same", "verdict", "edits", "failed", "skipped"];
        let row = |hook: &Value| keys.iter().map(|key| of(hook, key)).collect();
        text.push('\n');
        text.push_str(&table(&heads, &hooks.iter().map(row).collect::<Vec<_>>()));
    }
    for difference in differences {
        let head = format!(
            "{}  {}  {}  session {}  queue id {}  {} -> {}",
            of(difference, "at"),
            of(difference, "hook"),
            of(difference, "kind"),
            of(difference, "session"),
            of(difference, "queue_id"),
            of(difference, "sender"),
            of(difference, "recipients"),
        );
        text.push_str(&format!("\n{}\n", clean(&head)));
        for (whose, said) in [("live", difference.get("live")), ("candidate", difference.get("candidate"))] {
            let said = said.map(said_in_words).unwrap_or_default();
            text.push_str(&format!("  {whose:<9}  {}\n", clean(&said)));
        }
    }
    text
}

fn said_in_words(said: &Value) -> String {
    let mut text = said.get("verdict").map(word).unwrap_or_default();
    if let Some(failure) = said.get("failure").and_then(Value::as_str) {
        text = format!("failed, hence {text}: it {failure}");
    }
    let edits = said.get("edits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !edits.is_empty() {
        text.push_str(&format!("; edits: {}", edits.iter().map(word).collect::<Vec<_>>().join(", ")));
    }
    text
}
