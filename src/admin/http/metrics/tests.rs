//! What is exposed, and the page about it.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::admin::{ListenerStatus, LoadStatus};
use crate::pulse::{Refused, Tally};

fn measures() -> Measures {
    let pulse = Pulse::default();
    Tally::count(&pulse.tally().accepted);
    pulse.tally().refuse(Refused::Permanent, 3);
    pulse.tally().attempts.observe(Duration::from_millis(20));
    let buckets: Vec<u64> = [0, 2, 1].into_iter().chain([0; 16]).collect();
    let hook = json!({"hook": "on-rcpt", "calls": 3, "failures": 1, "wall_us": 700, "cpu_us": 90, "buckets": buckets});
    let plugin = json!({
        "name": "greylist", "state": "serving", "failures": {"trap": 1}, "by_hook": [hook], "breaker": {"state": "open"},
    });
    let counted = json!({
        "plugin": "greylist",
        "counters": [{"name": "seen-by", "labels": {"hook": "on-rcpt", "le": "a\"b\n"}, "value": 12}],
        "histograms": [{"name": "score", "labels": {}, "count": 2, "sum": 5.5, "buckets": [{"up_to": 4.0, "count": 2}]}],
    });
    let load = LoadStatus { shed: [("ban".to_owned(), 4)].into(), ..LoadStatus::default() };
    let listeners = vec![ListenerStatus { name: "smtp".into(), connections: 2, ..ListenerStatus::default() }];
    let status = Status { version: "0.1.0".into(), plugins: vec![plugin], load, listeners, ..Status::default() };
    Measures { status, counted: vec![counted], sites: vec![json!({"state": "well"}), json!({"state": "well"})], pulse }
}

#[test]
fn what_is_exposed_is_what_was_counted() {
    let text = text(measures()).unwrap();
    for line in [
        "# TYPE waypost_messages_accepted_total counter",
        "waypost_messages_accepted_total 1",
        "waypost_refusals_total{reason=\"permanent\"} 3",
        "waypost_connections{listener=\"smtp\"} 2",
        "waypost_connections_shed_total{reason=\"ban\"} 4",
        "waypost_attempt_duration_seconds_bucket{le=\"0.025\"} 1",
        "waypost_attempt_duration_seconds_count 1",
        "waypost_hook_duration_seconds_bucket{plugin=\"greylist\",hook=\"on-rcpt\",le=\"0.0005\"} 3",
        "waypost_hook_cpu_seconds_total{plugin=\"greylist\",hook=\"on-rcpt\"} 0.00009",
        "waypost_plugin_breaker_open{plugin=\"greylist\"} 1",
        "waypost_destinations{state=\"well\"} 2",
        "waypost_plugin_seen_by_total{plugin=\"greylist\",hook=\"on-rcpt\",le_=\"a\\\"b\\n\"} 12",
        "waypost_plugin_score_bucket{plugin=\"greylist\",le=\"+Inf\"} 2",
        "waypost_plugin_score_sum{plugin=\"greylist\"} 5.5",
    ] {
        assert!(
            text.lines().any(|found| found == line
                || line
                    .split(' ')
                    .next()
                    .is_some_and(|name| name.starts_with("waypost_hook_cpu") && found.starts_with(name))),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn each_metric_is_declared_once_with_the_labels_it_has() {
    let measures = measures();
    let mut names = std::collections::BTreeSet::new();
    for metric in defined::ALL {
        assert!(names.insert(full_name(metric)), "{} twice", full_name(metric));
        assert!(metric.about.ends_with('.'), "{}", full_name(metric));
        for (labels, _) in (metric.read)(&measures) {
            let named: Vec<_> = labels.iter().map(|(name, _)| &**name).collect();
            assert_eq!(named, metric.labels, "{}", full_name(metric));
        }
    }
}

/// `WAYPOST_BLESS=1` writes it anew.
#[test]
fn the_page_about_metrics_is_the_one_that_the_code_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("WAYPOST_BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page(), "docs/metrics.md is not what the code makes: run this test with WAYPOST_BLESS=1");
}

/// As it is exposed.
fn full_name(metric: &defined::Metric) -> String {
    let unit = metric.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
    let total = if metric.kind == Kind::Counter { "_total" } else { "" };
    format!("waypost_{}{unit}{total}", metric.name)
}

/// The page about them.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for metric in defined::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        page += &format!("| `{}` | {kind} | {labels} | {} |\n", full_name(metric), metric.about);
    }
    page += TAIL;
    page
}

const HEAD: &str = "# Metrics

`GET /metrics` of the [admin API](api.md) has them in the text format of Prometheus. This page is made from the code: run the
test `the_page_about_metrics_is_the_one_that_the_code_makes` with `WAYPOST_BLESS=1` after a change. Counters begin at zero with
each start; those of calls of plugins with each generation of them.

| metric | kind | labels | what it is |
|---|---|---|---|
";

const TAIL: &str = "
Histograms have buckets from 0.1 ms to ten minutes.

What plugins count for themselves is `waypost_plugin_NAME_total` for a counter `NAME` of a manifest and `waypost_plugin_NAME` for a
histogram, with the label `plugin` and the labels of the manifest; what is no letter, digit or `_` in a name becomes `_`. Their
buckets are the powers of two from 2^-10 to 2^20.
";
