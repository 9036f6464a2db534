//! `waypost run`.

use std::time::Duration;

use super::Failure;
use super::args::Common;
use crate::config::Checked;
use crate::listen::Activation;
use crate::telemetry::otlp::Spans;
use crate::{app, config, process, telemetry};

/// How long work on blocking threads - a disk that does not answer, a plugin being compiled - may hold up the end.
const LINGER: Duration = Duration::from_secs(10);

/// Runs the relay until it is told to stop.
pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let Checked { settings, warnings, .. } = config::examine(&common.config)?;
    // First of all, while there are no threads: as root, the program begins anew as another user here.
    let api = settings.admin.http.as_ref().map(|http| http.address);
    let unwise = process::settle(&settings.process, &settings.listen.listeners, api, &settings.folders())
        .map_err(|why| Failure::refused(format!("waypost: {why}")))?;
    let activation = Activation::from_environment();
    let spans = settings.traces.as_ref().map(|traces| Spans::new(traces, &settings.hostname));
    let telemetry =
        telemetry::start(&settings.log, spans).map_err(|error| Failure::refused(format!("waypost: {error}")))?;
    for warning in &warnings {
        tracing::warn!(target: "config", "{warning}");
    }
    if let Some(unwise) = unwise {
        tracing::warn!("{unwise}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("waypost").enable_all().build();
    let runtime = runtime.map_err(|error| Failure::refused(format!("waypost: no runtime: {error}")))?;
    let run = app::run(settings, common.config.clone(), telemetry.file(), super::compiler(), activation);
    let ended = runtime.block_on(run);
    // Told twice to stop, nobody wants to wait.
    runtime.shutdown_timeout(if ended.is_ok() { LINGER } else { Duration::ZERO });
    ended.map_err(|error| Failure::refused(format!("waypost: {error:#}")))
}
