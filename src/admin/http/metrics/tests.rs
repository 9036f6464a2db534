//! What is exposed, and the page about it.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::admin::{CertificateStatus, ListenerStatus, LoadStatus, TracesStatus};
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
    let certificate = |name: &str, not_after: &str| CertificateStatus {
        door: "smtp".into(),
        names: vec![name.into()],
        not_after: not_after.into(),
        ..CertificateStatus::default()
    };
    let certificates = vec![
        certificate("mx.example.org", "2027-01-01T00:00:00Z"),
        certificate("mx.example.org", "2026-12-01T00:00:00Z"),
        certificate("mx.example.net", "2027-01-01T00:00:00Z"),
    ];
    let traces = Some(TracesStatus { sent: 5, lost: 2 });
    let version = "0.1.0".into();
    let status = Status { version, plugins: vec![plugin], load, listeners, certificates, traces, ..Status::default() };
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
        "waypost_tls_certificate_expiry_timestamp_seconds{door=\"smtp\",name=\"mx.example.org\"} 1796083200",
        "waypost_tls_certificate_expiry_timestamp_seconds{door=\"smtp\",name=\"mx.example.net\"} 1798761600",
        "waypost_trace_spans_total{outcome=\"lost\"} 2",
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

/// What the dashboard asks for is what there is: a panel of a metric that is not there says nothing, and looks like peace.
#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana/waypost.json"));
    let plain = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let asked: std::collections::BTreeSet<_> = text.split(plain).filter(|word| word.starts_with("waypost_")).collect();
    let known: Vec<_> = defined::ALL.iter().map(|metric| (full_name(metric), metric.kind)).collect();
    let is_known = |word: &str| {
        known.iter().any(|(name, kind)| match word.strip_prefix(name.as_str()) {
            Some("") => true,
            Some("_bucket" | "_sum" | "_count") => *kind == Kind::Histogram,
            _ => false,
        })
    };
    let unknown: Vec<_> = asked.iter().filter(|word| !is_known(word)).collect();
    assert!(asked.len() > 20 && unknown.is_empty(), "{unknown:?} of {asked:?}");
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
