//! `waypost reload`.

use std::io::Write;

use super::args::Common;
use super::{Failure, connect};

/// Has the relay read its configuration and plugins anew.
pub(super) async fn reload(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let report = connect(common).await?.reload().await?;
    if common.json {
        return Ok(writeln!(out, "{}", serde_json::json!(report))?);
    }
    writeln!(out, "generation {} serves", report.generation)?;
    for change in &report.changes {
        writeln!(out, "  {change}")?;
    }
    for setting in &report.needs_restart {
        writeln!(out, "  needs a restart: {setting}")?;
    }
    Ok(())
}
