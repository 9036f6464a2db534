//! What plugins counted, as metrics of the relay.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Kind, Measure, Series};
use crate::pulse::Observed;

/// By name: kind, and a series for each plugin and its labels. A name that is a counter of one plugin and a histogram of another
/// is two: the second has its kind behind it.
pub(super) fn families(counted: &[Value]) -> Vec<(String, Kind, Vec<Series>)> {
    let mut families: BTreeMap<String, (Kind, Vec<Series>)> = BTreeMap::new();
    let mut add = |name: &str, kind: Kind, series: Series| {
        let mut name = format!("plugin_{}", plain(name.trim_end_matches("_total")));
        if families.get(&name).is_some_and(|(other, _)| *other != kind) || is_own(&name) {
            name.push_str(if kind == Kind::Counter { "_counter" } else { "_histogram" });
        }
        families.entry(name).or_insert((kind, Vec::new())).1.push(series);
    };
    for plugin in counted {
        let name = text(plugin, "plugin");
        for counter in list(plugin, "counters") {
            let value = counter.get("value").and_then(Value::as_u64).unwrap_or_default();
            add(&text(counter, "name"), Kind::Counter, (labels(&name, counter), Measure::Count(value)));
        }
        for histogram in list(plugin, "histograms") {
            add(&text(histogram, "name"), Kind::Histogram, (labels(&name, histogram), observed(histogram)));
        }
    }
    families.into_iter().map(|(name, (kind, series))| (name, kind, series)).collect()
}

/// Those that the relay has itself.
fn is_own(name: &str) -> bool {
    super::defined::ALL.iter().any(|metric| metric.name == name)
}

fn observed(histogram: &Value) -> Measure {
    let mut buckets: Vec<(f64, u64)> = list(histogram, "buckets")
        .map(|bucket| {
            let bound = bucket.get("up_to").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
            (bound, bucket.get("count").and_then(Value::as_u64).unwrap_or_default())
        })
        .collect();
    if buckets.last().is_none_or(|(bound, _)| bound.is_finite()) {
        buckets.push((f64::INFINITY, 0));
    }
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = histogram.get("sum").and_then(Value::as_f64).unwrap_or_default();
    Measure::Durations(Observed { buckets, sum, count })
}

fn labels(plugin: &str, series: &Value) -> Vec<(String, String)> {
    let given = series.get("labels").and_then(Value::as_object).into_iter().flatten();
    let given = given.map(|(name, value)| {
        let name = plain(name);
        // `plugin` and `le` are taken.
        let name = if matches!(&*name, "plugin" | "le") { format!("{name}_") } else { name };
        (name, value.as_str().unwrap_or_default().to_owned())
    });
    std::iter::once(("plugin".to_owned(), plugin.to_owned())).chain(given).collect()
}

/// As Prometheus lets names be.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("_{plain}") } else { plain }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}
