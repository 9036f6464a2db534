//! `waypost reload`.

use std::io::Write;

use super::args::Common;
use super::{Failure, connect};
use crate::admin::ReloadReport;

/// Has the relay read its configuration and plugins anew.
pub(super) async fn reload(common: &Common, allow_weaken: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let report = connect(common).await?.reload(allow_weaken).await?;
    print(common, &report, out)
}

/// What is different now.
pub(super) fn print(common: &Common, report: &ReloadReport, out: &mut dyn Write) -> Result<(), Failure> {
    if common.json {
        return Ok(writeln!(out, "{}", serde_json::json!(report))?);
    }
    writeln!(out, "generation {} serves", report.generation)?;
    for change in &report.changes {
        writeln!(out, "  {change}")?;
    }
    for weakening in &report.weakenings {
        writeln!(out, "  weaker: {weakening}")?;
    }
    for setting in &report.needs_restart {
        writeln!(out, "  needs a restart: {setting}")?;
    }
    Ok(())
}
