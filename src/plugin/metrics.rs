//! Counters and histograms of plugins, in memory: one set for each plugin, whatever its instances and generations.
//!
//! Only what the manifest declares can be counted, and a plugin has a bounded number of series: a label that takes its
//! values from mail must not fill the memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::Serialize;

use super::manifest;

/// Series of one plugin: what an operator can still look at.
const SERIES_MAX: usize = 1000;

/// Octets of a label's value.
const VALUE_MAX: usize = 128;

/// Metrics that a manifest may declare, and labels of one.
const DECLARED_MAX: usize = 100;
const LABELS_MAX: usize = 8;

/// Buckets of a histogram. Their upper bounds are the powers of two from 2^-10 (a millisecond, in seconds) to 2^20; the
/// last has none.
const BUCKETS: usize = 32;

fn bounds() -> impl Iterator<Item = f64> {
    (-10..=20).map(|exponent| f64::powi(2.0, exponent))
}

/// Why something was not counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An argument that breaks a rule.
    Invalid(String),
    /// It would be one series too many.
    Full,
}

/// A counter or a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Counter,
    Histogram,
}

impl Kind {
    fn declared(self, metrics: &manifest::Metrics) -> &BTreeMap<String, Vec<String>> {
        match self {
            Self::Counter => &metrics.counters,
            Self::Histogram => &metrics.histograms,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Counter => ("counter", "counters"),
            Self::Histogram => ("histogram", "histograms"),
        }
    }
}

/// Looks at what a manifest declares.
pub(crate) fn check(declared: &manifest::Metrics) -> Result<(), String> {
    let all = || declared.counters.iter().chain(&declared.histograms);
    if all().count() > DECLARED_MAX {
        return Err(format!("its manifest declares more than {DECLARED_MAX} metrics"));
    }
    let word = |text: &str| {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        (1..=64).contains(&text.len()) && text.bytes().all(good)
    };
    for (name, labels) in all() {
        if !word(name) || !labels.iter().all(|label| word(label)) {
            return Err(format!(
                "metric {name:?} of its manifest: names and labels have 1 to 64 of a-z, 0-9, -, _ and ."
            ));
        }
        if labels.len() > LABELS_MAX {
            return Err(format!("metric `{name}` of its manifest has more than {LABELS_MAX} labels"));
        }
    }
    Ok(())
}

/// One series: of a metric, with one value for each of its labels, in the order they are declared in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    kind: Kind,
    name: String,
    labels: Vec<(String, String)>,
}

impl Series {
    /// Checks name and labels against the manifest; a label that is not given is empty.
    pub(crate) fn of(
        declared: &manifest::Metrics,
        kind: Kind,
        name: &str,
        given: Vec<(String, String)>,
    ) -> Result<Self, Refusal> {
        let (one, all) = kind.words();
        let Some(keys) = kind.declared(declared).get(name) else {
            let name: String = name.chars().take(64).collect();
            return Err(Refusal::Invalid(format!(
                "{one} {name:?} is not declared: add it under `metrics.{all}` to the plugin's manifest"
            )));
        };
        let mut labels: Vec<(String, String)> = keys.iter().map(|key| (key.clone(), String::new())).collect();
        for (key, value) in given {
            let Some(slot) = labels.iter_mut().find(|(known, _)| *known == key) else {
                let key: String = key.chars().take(64).collect();
                return Err(Refusal::Invalid(format!(
                    "label {key:?} of {one} `{name}` is not declared: add it to `metrics.{all}.{name}` in the manifest"
                )));
            };
            if value.len() > VALUE_MAX {
                return Err(Refusal::Invalid(format!("the value of label `{key}` is longer than {VALUE_MAX} octets")));
            }
            slot.1 = value;
        }
        Ok(Self { kind, name: name.to_owned(), labels })
    }
}

#[derive(Clone, Debug)]
enum Sum {
    Counter(u64),
    Histogram(Box<Observed>),
}

#[derive(Clone, Debug)]
struct Observed {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: f64,
}

impl Observed {
    fn add(&mut self, value: f64) {
        let at = bounds().position(|bound| value <= bound).unwrap_or(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.sum += value;
    }
}

/// What one plugin counted.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<BTreeMap<Series, Sum>>);

impl Counted {
    /// As if nothing had been counted.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Adds to a counter.
    pub(crate) fn add(&self, series: Series, delta: u32) -> Result<(), Refusal> {
        self.with(series, |sum| {
            if let Sum::Counter(count) = sum {
                *count = count.saturating_add(delta.into());
            }
        })
    }

    /// Adds an observation to a histogram.
    pub(crate) fn observe(&self, series: Series, value: f64) -> Result<(), Refusal> {
        self.with(series, |sum| {
            if let Sum::Histogram(observed) = sum {
                observed.add(value);
            }
        })
    }

    fn with(&self, series: Series, change: impl FnOnce(&mut Sum)) -> Result<(), Refusal> {
        let mut all = self.0.lock();
        if let Some(sum) = all.get_mut(&series) {
            change(sum);
            return Ok(());
        }
        if all.len() >= SERIES_MAX {
            return Err(Refusal::Full);
        }
        let mut sum = match series.kind {
            Kind::Counter => Sum::Counter(0),
            Kind::Histogram => Sum::Histogram(Box::new(Observed { buckets: [0; BUCKETS], count: 0, sum: 0.0 })),
        };
        change(&mut sum);
        all.insert(series, sum);
        Ok(())
    }

    pub(crate) fn snapshot(&self, plugin: &str) -> PluginMetrics {
        let mut snapshot = PluginMetrics { plugin: plugin.to_owned(), counters: Vec::new(), histograms: Vec::new() };
        for (series, sum) in self.0.lock().iter() {
            let (name, labels) = (series.name.clone(), series.labels.iter().cloned().collect());
            match sum {
                Sum::Counter(value) => snapshot.counters.push(Counter { name, labels, value: *value }),
                Sum::Histogram(observed) => {
                    let buckets = bounds()
                        .map(Some)
                        .chain([None])
                        .zip(observed.buckets)
                        .map(|(up_to, count)| Bucket { up_to, count });
                    let buckets = buckets.filter(|bucket| bucket.count > 0).collect();
                    let (count, sum) = (observed.count, observed.sum);
                    snapshot.histograms.push(Histogram { name, labels, count, sum, buckets });
                }
            }
        }
        snapshot
    }
}

/// What all plugins counted, for as long as a generation has them.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Weak<Counted>>>);

impl Registry {
    pub(crate) fn of(&self, plugin: &str) -> Arc<Counted> {
        let mut known = self.0.lock();
        if let Some(counted) = known.get(plugin).and_then(Weak::upgrade) {
            return counted;
        }
        known.retain(|_, counted| counted.strong_count() > 0);
        let counted = Arc::new(Counted::default());
        known.insert(plugin.to_owned(), Arc::downgrade(&counted));
        counted
    }
}

/// What a plugin counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginMetrics {
    /// `[plugins.NAME]`.
    pub plugin: String,
    /// Its counters.
    pub counters: Vec<Counter>,
    /// Its histograms.
    pub histograms: Vec<Histogram>,
}

/// One series of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// As the manifest has it.
    pub name: String,
    /// By key.
    pub labels: BTreeMap<String, String>,
    /// Since the relay started.
    pub value: u64,
}

/// One series of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// As the manifest has it.
    pub name: String,
    /// By key.
    pub labels: BTreeMap<String, String>,
    /// Observations.
    pub count: u64,
    /// All of them added.
    pub sum: f64,
    /// Those that are not empty.
    pub buckets: Vec<Bucket>,
}

/// Observations of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Not larger than this, and larger than half of it; none: larger than 2^20. The first has all that are smaller.
    pub up_to: Option<f64>,
    /// So many.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> manifest::Metrics {
        let map = |name: &str, labels: &[&str]| {
            [(name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect())].into()
        };
        manifest::Metrics { counters: map("seen", &["hook", "result"]), histograms: map("score", &[]) }
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_is_declared_is_a_series() {
        let of = |kind, name: &str, pairs: &[(&str, &str)]| Series::of(&declared(), kind, name, labels(pairs));
        let one = of(Kind::Counter, "seen", &[("result", "ok"), ("hook", "mail")]).unwrap();
        assert_eq!(one, of(Kind::Counter, "seen", &[("hook", "mail"), ("result", "ok")]).unwrap());
        assert_eq!(one.labels, labels(&[("hook", "mail"), ("result", "ok")]));
        let long = "x".repeat(VALUE_MAX + 1);
        let table = [
            (Kind::Counter, "lost", None, "under `metrics.counters`"),
            (Kind::Histogram, "seen", None, "under `metrics.histograms`"),
            (Kind::Counter, "score", None, "under `metrics.counters`"),
            (Kind::Counter, "seen", Some(("color", "red")), "`metrics.counters.seen`"),
            (Kind::Counter, "seen", Some(("hook", &*long)), "longer than 128"),
        ];
        for (kind, name, label, words) in table {
            match of(kind, name, label.as_slice()) {
                Err(Refusal::Invalid(why)) => assert!(why.contains(words), "{why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn manifests_are_checked() {
        assert_eq!(check(&declared()), Ok(()));
        let one = |name: &str, labels: usize| {
            let labels = (0..labels).map(|n| format!("l{n}")).collect();
            manifest::Metrics { counters: [(name.to_owned(), labels)].into(), ..manifest::Metrics::default() }
        };
        assert!(check(&one("a b", 0)).is_err() && check(&one("", 0)).is_err() && check(&one("a", 9)).is_err());
        let counters = (0..=DECLARED_MAX).map(|n| (n.to_string(), Vec::new())).collect();
        assert!(check(&manifest::Metrics { counters, ..manifest::Metrics::default() }).is_err());
    }

    #[test]
    fn sums_and_buckets() {
        let registry = Registry::default();
        let counted = registry.of("p");
        let seen = || Series::of(&declared(), Kind::Counter, "seen", labels(&[("hook", "mail")])).unwrap();
        let score = || Series::of(&declared(), Kind::Histogram, "score", Vec::new()).unwrap();
        counted.add(seen(), 2).unwrap();
        registry.of("p").add(seen(), u32::MAX).unwrap();
        for value in [-3.0, 0.0, 0.75, 1.0, 1.5, 1e12] {
            counted.observe(score(), value).unwrap();
        }
        let snapshot = counted.snapshot("p");
        assert_eq!(snapshot.counters.first().map(|c| c.value), Some(u64::from(u32::MAX) + 2));
        let histogram = snapshot.histograms.first().unwrap();
        assert_eq!((histogram.count, histogram.sum), (6, 1e12 + 0.25));
        let buckets: Vec<_> = histogram.buckets.iter().map(|b| (b.up_to, b.count)).collect();
        assert_eq!(buckets, [(Some(1.0 / 1024.0), 2), (Some(1.0), 2), (Some(2.0), 1), (None, 1)]);
        assert_eq!(bounds().count() + 1, BUCKETS);
    }

    #[test]
    fn series_are_bounded_and_old_ones_go_on() {
        let counted = Counted::default();
        let series =
            |n: usize| Series::of(&declared(), Kind::Counter, "seen", labels(&[("hook", &n.to_string())])).unwrap();
        for n in 0..SERIES_MAX {
            counted.add(series(n), 1).unwrap();
        }
        assert_eq!(counted.add(series(SERIES_MAX), 1), Err(Refusal::Full));
        assert_eq!(counted.add(series(0), 1), Ok(()));
    }
}
