//! `waypost check`.

use std::io::Write;

use serde_json::json;

use super::args::{Check, Common};
use super::{Failure, render};
use crate::app::Reach;
use crate::config::{Checked, ConfigError};
use crate::{app, config};

/// Checks the configuration, the files it names, and the plugins.
pub(super) async fn check(common: &Common, how: &Check, out: &mut dyn Write) -> Result<(), Failure> {
    let checked = match config::examine(&common.config) {
        Ok(checked) => checked,
        Err(errors) if common.json => {
            writeln!(out, "{}", json!({ "ok": false, "errors": errors }))?;
            return Err(Failure::refused(format!("waypost: {}", render::count(errors.len() as u64, "mistake"))));
        }
        Err(errors) => return Err(errors.into()),
    };
    if how.print {
        write!(out, "{}", checked.settings.print())?;
    }
    let (problems, warnings) = problems(&checked, how).await;
    if common.json {
        writeln!(out, "{}", json!({ "ok": problems.is_empty(), "errors": problems, "warnings": warnings }))?;
    } else {
        for warning in &warnings {
            writeln!(out, "warning: {}", render::clean(&warning.to_string()))?;
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Refused(problems));
    }
    let count = warnings.len() as u64;
    if how.strict && count > 0 {
        return Err(Failure::refused(format!("waypost: {}, and --strict was said", render::count(count, "warning"))));
    }
    if !common.json && !how.print {
        let so = if count > 0 { format!(", with {}", render::count(count, "warning")) } else { String::new() };
        writeln!(out, "{}: good{so}", common.config.display())?;
    }
    Ok(())
}

/// What only shows when the files that the settings name and the machine are looked at: mistakes; and all that is no mistake
/// but unwise, in the order of the files.
async fn problems(checked: &Checked, how: &Check) -> (Vec<String>, Vec<ConfigError>) {
    let settings = &checked.settings;
    let mut warnings = checked.warnings.clone();
    let mut problems = settings.absent_files();
    if problems.is_empty() {
        problems = app::check_plugins(settings, super::compiler(), None).await;
        if let Err(problem) = app::check_certificates(settings) {
            problems.insert(0, problem);
        }
        if let Err(more) = app::check_keys(settings) {
            problems.extend(more);
        }
    }
    let reach = if how.offline { Reach::Machine } else { Reach::Network };
    warnings.extend(app::surroundings(checked, reach).await);
    checked.sort(&mut warnings);
    (problems, warnings)
}
