//! `[[retry.rules]]` and `[[retry.NAME.rules]]`: what is different after certain failures.

use std::sync::Arc;
use std::time::Duration;

use super::YEAR;
use super::relay::domain_pattern;
use crate::config::raw::{Table, Value};
use crate::hooks::Stage;
use crate::queue::{CodePattern, Pace, Pattern, RetryRule, StatusPattern, Then};

const SECOND: Duration = Duration::from_secs(1);

/// Each failure is held against each of them.
const MOST: usize = 100;

/// Those of a schedule; none: nothing is said.
pub(super) fn rules(table: &Table<'_>) -> Option<Arc<[RetryRule]>> {
    let value = table.get("rules")?;
    let entries = value.array().unwrap_or_default();
    if entries.len() > MOST {
        value.wrong(format!("more than {MOST} rules"), "let one rule have several codes or domains");
    }
    Some(entries.iter().filter_map(rule).collect())
}

fn rule(value: &Value<'_>) -> Option<RetryRule> {
    let table = value.table()?;
    let rule = RetryRule {
        codes: each(&table, "codes", "write codes such as \"421\", \"45x\" or \"5xx\"", CodePattern::parse),
        statuses: each(&table, "statuses", "write statuses such as \"4.7.1\" or \"4.7\"", StatusPattern::parse),
        text: table.parsed("text", |text| {
            Pattern::parse(text).map_err(|why| (format!("no pattern: {why}"), "write a regular expression".to_owned()))
        }),
        stages: each(
            &table,
            "stages",
            "stages are resolve, connect, greeting, helo, tls, auth, mail, rcpt, data, answer",
            stage,
        ),
        domains: table.array("domains").iter().filter_map(domain_pattern).collect(),
        then: then(&table),
    };
    if rule.is_boundless() {
        table.wrong("has no condition", "give it codes, statuses, text, stages or domains");
    }
    table.finish();
    Some(rule)
}

fn each<T>(table: &Table<'_>, key: &'static str, help: &str, read: fn(&str) -> Option<T>) -> Vec<T> {
    let one = |value: &Value<'_>| {
        value.parsed(|text| read(text).ok_or_else(|| (format!("{text:?} is none of those"), help.to_owned())))
    };
    table.array(key).iter().filter_map(one).collect()
}

fn stage(text: &str) -> Option<Stage> {
    let stages = [
        ("resolve", Stage::Resolve),
        ("connect", Stage::Connect),
        ("greeting", Stage::Greeting),
        ("helo", Stage::Helo),
        ("tls", Stage::Tls),
        ("auth", Stage::Auth),
        ("mail", Stage::Mail),
        ("rcpt", Stage::Rcpt),
        ("data", Stage::Data),
        ("answer", Stage::Answer),
    ];
    stages.iter().find(|(name, _)| *name == text).map(|(_, stage)| *stage)
}

fn then(table: &Table<'_>) -> Then {
    let fail = table.choice("then", false, &[("fail", true), ("retry", false)]);
    let time = |key| table.get(key).and_then(|value| value.duration(SECOND..=YEAR));
    let number = |key, range| table.get(key).and_then(|value| value.integer(range)).and_then(|n| u32::try_from(n).ok());
    let pace = Pace {
        first: time("first"),
        longest: time("longest"),
        growth_percent: number("growth-percent", 100..=1000),
        give_up_after: time("give-up-after"),
        give_up_attempts: number("give-up-attempts", 1..=1_000_000),
    };
    match (fail, pace == Pace::default()) {
        (true, true) => Then::Fail,
        (true, false) => {
            table.wrong("times make no sense where it fails at once", "leave them out, or write then = \"retry\"");
            Then::Fail
        }
        (false, true) => Then::Usual,
        (false, false) => Then::Retry(pace),
    }
}
