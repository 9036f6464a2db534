//! `waypost check`.

use std::io::Write;

use serde_json::json;

use super::args::{Check, Common};
use super::{Failure, render};
use crate::config::Settings;
use crate::{app, config};

/// Checks the configuration, the files it names, and the plugins.
pub(super) async fn check(common: &Common, how: &Check, out: &mut dyn Write) -> Result<(), Failure> {
    let settings = match config::load(&common.config) {
        Ok(settings) => settings,
        Err(errors) if common.json => {
            writeln!(out, "{}", json!({ "ok": false, "errors": errors }))?;
            return Err(Failure::refused(format!("waypost: {}", render::count(errors.len() as u64, "mistake"))));
        }
        Err(errors) => return Err(errors.into()),
    };
    if how.print {
        write!(out, "{}", settings.print())?;
    }
    let (problems, warnings) = problems(&settings).await;
    if common.json {
        writeln!(out, "{}", json!({ "ok": problems.is_empty(), "errors": problems, "warnings": warnings }))?;
    } else {
        for warning in &warnings {
            writeln!(out, "warning: {warning}")?;
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Refused(problems));
    }
    if !common.json && !how.print {
        writeln!(out, "{}: good", common.config.display())?;
    }
    Ok(())
}

/// What only shows when the files that the settings name are looked at: mistakes, and what is no mistake yet.
async fn problems(settings: &Settings) -> (Vec<String>, Vec<String>) {
    let absent = settings.absent_files();
    if !absent.is_empty() {
        return (absent, Vec::new());
    }
    let mut problems = app::check_plugins(settings, super::compiler(), None).await;
    let mut warnings = Vec::new();
    match app::check_certificates(settings) {
        Ok(more) => warnings.extend(more),
        Err(problem) => problems.insert(0, problem),
    }
    match app::check_keys(settings) {
        Ok(more) => warnings.extend(more),
        Err(more) => problems.extend(more),
    }
    (problems, warnings)
}
