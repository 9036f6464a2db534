//! `waypost run`.

use super::Failure;
use super::args::Common;
use crate::{app, config, telemetry};

/// Runs the relay until it is told to stop.
pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let settings = config::load(&common.config)?;
    let telemetry = telemetry::start(&settings.log).map_err(|error| Failure::refused(format!("waypost: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("waypost").enable_all().build();
    let runtime = runtime.map_err(|error| Failure::refused(format!("waypost: no runtime: {error}")))?;
    let ended = runtime.block_on(app::run(settings, common.config.clone(), telemetry.file()));
    ended.map_err(|error| Failure::refused(format!("waypost: {error:#}")))
}
