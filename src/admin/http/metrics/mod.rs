//! Metrics in the text format of Prometheus: read when they are asked for, from what the relay counts anyway.
//!
//! `defined` names every metric, its labels and where it is read; `docs/metrics.md` is made of it. What plugins count comes
//! behind, under names that begin with `waypost_plugin_`. Must never have an address, a message's id or anything else that
//! grows without bound as a label.

mod defined;
mod of_plugins;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use serde_json::Value;

use crate::admin::Status;
use crate::pulse::{Observed, Pulse};

/// What metrics are read from.
#[derive(Debug, Default)]
pub(super) struct Measures {
    pub(super) status: Status,
    /// What plugins counted, as `plugin-metrics` has it.
    pub(super) counted: Vec<Value>,
    /// As `destinations` has them.
    pub(super) sites: Vec<Value>,
    pub(super) pulse: Pulse,
}

/// Counter, gauge or histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What one series has.
#[derive(Clone, Debug, PartialEq)]
enum Measure {
    Count(u64),
    Seconds(f64),
    Durations(Observed),
}

/// Labels' names and values, and what it has.
type Series = (Vec<(String, String)>, Measure);

/// In the text format, version 0.0.4.
///
/// # Errors
/// When they can't be written.
pub(super) fn text(measures: Measures) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("waypost");
    registry.register_collector(Box::new(measures));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Measures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in defined::ALL {
            let series = (metric.read)(self);
            if series.is_empty() {
                continue;
            }
            let named = |series: &Series| series.0.iter().map(|(name, _)| &**name).eq(metric.labels.iter().copied());
            debug_assert!(series.iter().all(named), "{} has other labels than it says", metric.name);
            family(&mut encoder, (metric.name, metric.about), metric.unit, metric.kind, &series)?;
        }
        for (name, kind, series) in of_plugins::families(&self.counted) {
            let about = "Counted by a plugin: see its page.";
            family(&mut encoder, (&name, about), None, kind, &series)?;
        }
        Ok(())
    }
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, about): (&str, &str),
    unit: Option<&str>,
    kind: Kind,
    all: &[Series],
) -> fmt::Result {
    let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
    let of = match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let mut metric = encoder.encode_descriptor(name, about, unit.as_ref(), of)?;
    for (labels, measure) in all {
        if labels.is_empty() {
            series(&mut metric, kind, measure)?;
        } else {
            series(&mut metric.encode_family(labels)?, kind, measure)?;
        }
    }
    Ok(())
}

fn series(metric: &mut MetricEncoder<'_>, kind: Kind, measure: &Measure) -> fmt::Result {
    const NO_EXEMPLAR: Option<&Exemplar<Vec<(String, String)>, f64>> = None;
    match (kind, measure) {
        (Kind::Counter, Measure::Count(count)) => metric.encode_counter(count, NO_EXEMPLAR),
        (Kind::Counter, Measure::Seconds(value)) => metric.encode_counter(value, NO_EXEMPLAR),
        (Kind::Gauge, Measure::Count(count)) => metric.encode_gauge(count),
        (Kind::Gauge, Measure::Seconds(value)) => metric.encode_gauge(value),
        (_, Measure::Durations(observed)) => {
            let Observed { buckets, sum, count } = observed;
            metric.encode_histogram::<Vec<(String, String)>>(*sum, *count, buckets, None)
        }
        // Nobody reads a histogram from a number.
        (Kind::Histogram, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
