//! `metrics`: counters and histograms that the plugin's manifest declares.

use wasmtime::Result;

use super::super::metrics::{Counted, Kind, Refusal, Series};
use super::super::state::{State, error};
use super::wit::metrics::Host;
use super::wit::types::{ErrorCode, HostError};

impl State {
    /// What a trial counts is checked as well, and goes nowhere.
    fn count(
        &mut self,
        kind: Kind,
        name: &str,
        labels: Vec<(String, String)>,
        count: impl FnOnce(&Counted, Series) -> Result<(), Refusal>,
    ) -> Result<(), HostError> {
        let series = Series::of(&self.shared.declared, kind, name, labels);
        let counted = self.shared.counted.as_ref();
        series.and_then(|series| counted.map_or(Ok(()), |counted| count(counted, series))).map_err(|why| match why {
            Refusal::Invalid(why) => error(ErrorCode::InvalidArgument, why),
            Refusal::Full => error(ErrorCode::Exhausted, "a plugin has at most 1000 series"),
        })
    }
}

impl Host for State {
    fn add(&mut self, counter: String, delta: u32, labels: Vec<(String, String)>) -> Result<Result<(), HostError>> {
        self.charge()?;
        self.taped("metrics.add", &(&counter, delta, &labels), |state| {
            state.count(Kind::Counter, &counter, labels.clone(), |counted, series| counted.add(series, delta))
        })
    }

    fn observe(
        &mut self,
        histogram: String,
        value: f64,
        labels: Vec<(String, String)>,
    ) -> Result<Result<(), HostError>> {
        self.charge()?;
        if !value.is_finite() {
            return Ok(Err(error(ErrorCode::InvalidArgument, "an observation is a finite number")));
        }
        self.taped("metrics.observe", &(&histogram, value, &labels), |state| {
            state.count(Kind::Histogram, &histogram, labels.clone(), |counted, series| counted.observe(series, value))
        })
    }
}
