//! `waypost config`: the default configuration, the schema, and what is in force in a file and its drop-ins.

use std::io::Write;

use clap::Subcommand;
use serde_json::json;

use super::Failure;
use super::args::Common;
use crate::config;

/// What is shown.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Print the default configuration: every key with its default and what it does, commented out.
    Default,
    /// Print the JSON Schema of a configuration, for editors and for those who make configurations.
    Schema,
    /// Print what a configuration and its drop-ins come to, defaults included and secrets left out.
    ///
    /// With --json: the files, and what they say together.
    Show,
}

/// Shows it.
pub(super) fn config(common: &Common, what: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    match what {
        Config::Default if common.json => Ok(writeln!(out, "{}", json!({ "default": config::DEFAULT }))?),
        Config::Default => Ok(out.write_all(config::DEFAULT.as_bytes())?),
        Config::Schema => Ok(out.write_all(config::SCHEMA.as_bytes())?),
        Config::Show => show(common, out),
    }
}

fn show(common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    let checked = config::examine(&common.config)?;
    if common.json {
        return Ok(writeln!(out, "{}", json!({ "files": checked.files, "written": checked.written }))?);
    }
    for file in &checked.files {
        writeln!(out, "# {file}")?;
    }
    Ok(write!(out, "{}", checked.settings.print())?)
}
